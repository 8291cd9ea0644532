"""Functions that need nobody's leave: written in SQL or PL/pgSQL, and all that they do can be seen.

A masked session may call a function that the policy does not list when its body is nothing but SELECTs that read no
protected relation and use no function, operator, type or cast that the session could not use itself. It must run with the
caller's own rights (SECURITY INVOKER), and the same must hold of whatever it calls. Aggregates are what their parts are.
PL/pgSQL is judged by its words (`rewrite.procedural`).

A function is `pure` when, besides, it leaves nothing behind, nor does whatever it calls: it notifies nobody, moves no
sequence, changes no setting. Such a one may also be made by a masked session: others who call it, with values the session
may not see, get its result, and nobody else anything.

The server reads a body that is a string when the function is called, under the search_path of that moment, which may be
any: an unqualified name in it has to be harmless in every schema of the database. Only a function that sets its own
search_path, or has a SQL-standard body (read when it was created), is judged by less.

Manual: xfunc-sql, sql-createfunction.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from policies.model import COMPANION, Profile
from rewrite import casts, dialect, functions, procedural, system
from rewrite.catalog import Catalog, Function, Relation
from rewrite.functions import Names
from rewrite.pgtree import Node, ParseError, parse
from rewrite.plan import Resolution
from rewrite.spans import SpanError, Spans
from rewrite.survey import Site, Survey, Use

_MAX_BODY = 20_000

_RANGE_CONSTRUCTORS = frozenset(
    "range_constructor2 range_constructor3 multirange_constructor0 multirange_constructor1 multirange_constructor2".split()
)
"""What CREATE TYPE … AS RANGE makes functions of, in the type's schema."""


class Protection(Protocol):
    """What has to be known of the relations that a body reads (rewrite.source.SourceBook)."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def pure(self) -> Bodies: ...

    def is_guarded(self, relation: Relation) -> bool:
        """Whether a masked session does not see everything that the relation, or one behind or below it, holds."""


class Bodies:
    """The verdicts for one catalog and profile, each made when first asked for."""

    def __init__(self, book: Protection, allowed: frozenset[str], extensions: frozenset[str], *, pure: bool = False) -> None:
        self._book: Protection = weakref.proxy(book)  # it keeps us: without a circle, a catalog that is replaced is freed at once
        self._allowed = allowed
        self._extensions = extensions
        self._pure = pure
        self._verdicts: dict[int, bool] = {}

    def harmless(self, function: Function) -> bool:
        known = self._verdicts.get(function.oid)
        if known is None:
            self._verdicts[function.oid] = False  # while it is looked at: a function that calls itself stays refused
            try:
                known = self.judge(function)
            except RecursionError:
                known = False
            self._verdicts[function.oid] = known
        return known

    def names(self, resolution: Resolution | None) -> Names:
        return Names(
            self._book.catalog, resolution, self._allowed, self._extensions, self._book.profile.assertable, self.harmless
        )

    def judge(self, function: Function, statements: list[tuple[str, Node]] | None = None) -> bool:
        """The verdict about a function that may not be there yet. `statements`: of a SQL-standard body, as it is written."""
        try:
            return self._judge(function, statements)
        except (ParseError, SpanError, KeyError):
            return False

    def _judge(self, function: Function, statements: list[tuple[str, Node]] | None) -> bool:
        if function.kind == "a":
            return bool(function.parts) and all(self._is_usable(oid) for oid in function.parts)
        if function.language == "internal":
            return function.body in _RANGE_CONSTRUCTORS
        if function.kind not in "fwp" or function.language not in ("sql", "plpgsql") or function.schema == COMPANION:
            return False
        if (
            function.schema == COMPANION
            or function.definer
            or function.extension is not None
            or (function.kind == "p" and function.language == "sql")
        ):
            return False
        text = function.body
        if text is None or len(text) > _MAX_BODY or "\\" in text:  # what a backslash means depends on a setting
            return False
        settings = dict(s.partition("=")[::2] for s in function.settings)
        if settings.keys() & (system.rules().settings | {"role"}) or self._takes_guarded_rows(function):
            return False
        if not self._defaults_are_plain(function):
            return False
        if function.language == "plpgsql":
            return procedural.is_harmless(text, function.types, self._book, self._extensions, self._book.pure.harmless)
        if dialect.refusal(text, Spans(text).tokens, self._book.catalog) is not None:
            return False
        names = self.names(_resolution(function, settings.get("search_path")) if statements is None else None)
        if statements is None:
            statements = _statements(function)
        return all(kind == "SelectStmt" and self._reads_nothing(function, kind, body, names) for kind, body in statements)

    def _is_usable(self, oid: int) -> bool:
        function = self._book.catalog.functions.get(oid)
        if function is None:
            return False
        if system.is_allowed(function, self._allowed, self._extensions):
            return True
        return self.harmless(function)

    def _defaults_are_plain(self, function: Function) -> bool:
        """The defaults of arguments run in the caller's place, whatever the body is."""
        if not function.given:
            return True
        (statement,) = parse(f"SELECT {function.given}")
        return self._reads_nothing(function, statement.kind, statement.body, self.names(Resolution(("pg_catalog",))))

    def _takes_guarded_rows(self, function: Function) -> bool:
        """A row of a protected relation is among its arguments: the masked row that a session has is of another type."""
        types = set(function.types)
        rows = (t for t in self._book.catalog.types if t.oid in types)
        relations = (self._book.catalog.by_name.get((t.schema, t.name)) for t in rows)
        return any(r is not None and self._book.is_guarded(r) for r in relations)

    def _reads_nothing(self, function: Function, kind: str, body: Node, names: Names) -> bool:
        """Nothing that the session could not read itself, and nothing that it could not use."""
        survey = Survey(kind, body)
        if survey.unknown or survey.into or survey.targets or functions.set_config_names(survey):
            return False
        if any(functions.guard(call).objects or call.names[-1] in functions.STORAGE for call in survey.calls):
            return False
        types = list(function.types)
        for site in survey.sites:
            found = () if site.cte else self._readable(site, names)
            if found is None:
                return False
            types += (c.type_oid for r in found for c in r.columns)
            types += (t.oid for r in found for t in names.catalog.types_by_name.get(r.name, ()) if t.schema == r.schema)
        if functions.check(survey, names) is not None or (self._pure and functions.effect(survey, names, own=True) is not None):
            return False
        if casts.check(survey, kind, {}, {}, names, given=types, assigned=function.types) is not None:
            return False
        fields = {r.fields[-1] for r in survey.refs if len(r.fields) > 1} | set(survey.fields)
        return all(functions.attribute(name, names) is None for name in fields)

    def _readable(self, site: Site, names: Names) -> tuple[Relation, ...] | None:
        """The relations that the body may mean; None when the session may not read one of them as it is, or there is none."""
        catalog = self._book.catalog
        if site.use is not Use.SOURCE or site.node.get("catalogname") not in (None, catalog.database):
            return None
        if site.schema is not None:
            schemas: frozenset[str] = frozenset({site.schema})
        elif names.resolution is not None:
            schemas = frozenset(names.resolution.path)
        else:
            schemas = catalog.schemas
        found = tuple(r for s in schemas if (r := catalog.by_name.get((s, site.name))) is not None)
        return found if found and not any(self._book.is_guarded(r) for r in found) else None


def _resolution(function: Function, path: str | None) -> Resolution | None:
    """Where the names of the body are looked for; None: anywhere."""
    if function.standard_body:
        return Resolution(("pg_catalog",))
    if path is None:
        return None
    schemas = [_unquoted(part) for part in path.split(",")]
    if "," in "".join(schemas) or '"' in "".join(schemas) or "$user" in schemas or any(s.startswith("pg_temp") for s in schemas):
        return None
    return Resolution(("pg_catalog", *schemas))


def _unquoted(part: str) -> str:
    part = part.strip()
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] == '"' else part.lower()


def _statements(function: Function) -> list[tuple[str, Node]]:
    """Kind and body of every statement of the function; raises ParseError."""
    assert function.body is not None
    if not function.standard_body:
        return [(s.kind, s.body) for s in parse(function.body)]
    (created,) = parse(f"CREATE FUNCTION f() RETURNS void LANGUAGE sql {function.body}")
    return standard(created.body["sql_body"])


def standard(body: Node) -> list[tuple[str, Node]]:
    """Kind and body of the statements of a SQL-standard body."""
    found: list[tuple[str, Node]] = []
    _collect(body, found)
    return found


def _collect(node: Node, found: list[tuple[str, Node]]) -> None:
    if not node:  # an empty statement
        return
    ((kind, body),) = node.items()
    if kind == "List":
        for item in body.get("items", ()):
            _collect(item, found)
    elif kind == "ReturnStmt":
        found.append(("SelectStmt", {"targetList": [{"ResTarget": {"val": body["returnval"]}}]}))
    else:
        found.append((kind, body))
