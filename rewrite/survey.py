"""One walk over a statement's parse tree: every relation, column reference, function, operator and type it names.

Scoping follows PostgreSQL (parse_cte.c, parse_relation.c): a common table expression hides a relation of the same unqualified
name from the place where it becomes visible; targets of INSERT, UPDATE, DELETE and MERGE are never common table expressions.
What the walk does not know ends up in `unknown`, and the planner refuses it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from rewrite.nodes import EXPRESSIONS
from rewrite.pgtree import Node, strings

Path: TypeAlias = tuple[tuple[str, int], ...]
"""Where in the statement something stands: `cte` and a CommonTableExpr, `write` or `returning` and an INSERT, UPDATE, DELETE or
MERGE (their id()), the outermost first."""

Ctes: TypeAlias = Mapping[str, Node]
"""The common table expressions in sight, by name."""

_NOTHING: frozenset[Site] = frozenset()


class Use(enum.Enum):
    SOURCE = "source"  # read in a FROM clause
    TARGET = "target"  # written by INSERT, UPDATE, DELETE, MERGE
    NAME = "name"  # named by another statement: COPY, LOCK, CREATE INDEX ON, ...


@dataclass(slots=True, eq=False)
class Level:
    """A query level: one SELECT, INSERT, UPDATE, DELETE or MERGE with its own range table."""

    parent: Level | None
    body: Node
    sites: list[Site] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    """Aliases of range items that are not relations: subqueries, functions, common table expressions; empty for one without."""
    joins: dict[str, bool] = field(default_factory=dict)
    """Aliases of joins; True when the alias renames columns."""
    natural: bool = False
    rows: set[str] = field(default_factory=set)
    """Names by which RETURNING knows the target's old and new rows (PostgreSQL 18)."""
    sees: frozenset[Site] | None = None
    """What of the parent's range table is certainly visible here; None: all of it (see `Survey._seeing`)."""
    path: Path = ()


@dataclass(slots=True, eq=False)
class Site:
    """A place where a relation is named."""

    node: Node
    use: Use
    level: Level
    cte: bool = False
    item: Node | None = None
    """The range table item around it, type key included: {"RangeVar": ...} or {"RangeTableSample": ...}."""
    path: Path = ()
    refers: Node | None = None
    """The CommonTableExpr that it names, if it is no relation."""

    @property
    def schema(self) -> str | None:
        return self.node.get("schemaname")  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self.node["relname"]  # type: ignore[no-any-return]

    @property
    def alias(self) -> str:
        """The name by which the query refers to it."""
        return self.node.get("alias", {}).get("aliasname") or self.node["relname"]  # type: ignore[no-any-return]

    @property
    def parts(self) -> int:
        """How many parts the written name has."""
        return 1 + ("schemaname" in self.node) + ("catalogname" in self.node)

    @property
    def only(self) -> bool:
        return not self.node.get("inh", False)

    @property
    def location(self) -> int:
        return self.node.get("location", 0)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """A column reference: its parts as written, `*` for a star."""

    fields: tuple[str, ...]
    level: Level
    clause: str
    """output, filter, join, group, sort, write or unknown."""
    node: Node
    sees: frozenset[Site] | None = None
    """What of the level's range table is certainly visible here; None: all of it."""
    path: Path = ()


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    names: tuple[str, ...]
    node: Node
    """The FuncCall node."""
    level: Level
    sure: bool = True
    """Everything in the level's range table is visible here, and the level's WHERE has been applied."""


_CLAUSES = {
    "targetList": "output",
    "valuesLists": "output",
    "whereClause": "filter",
    "havingClause": "filter",
    "joinCondition": "join",
    "groupClause": "group",
    "distinctClause": "group",
    "sortClause": "sort",
    "windowClause": "sort",
    "limitOffset": "filter",
    "limitCount": "filter",
}


class Survey:
    """The findings of one walk; plain lists in the order of the walk."""

    def __init__(self, kind: str, body: Node) -> None:
        self.sites: list[Site] = []
        self.refs: list[Ref] = []
        self.calls: list[Call] = []
        self.fields: list[str] = []
        """Names of fields taken from a value, `(x).name`: each may be a function instead."""
        self.operators: list[tuple[str, ...]] = []
        self.types: list[tuple[str, ...]] = []
        self.samples: list[tuple[str, ...]] = []
        self.unknown: list[str] = []
        self.keywords: list[str] = []
        """Node types of SQL/JSON constructors and the like: functions of the same name on servers that lack the syntax."""
        self.levels: list[Level] = []
        self.into: list[Node] = []
        """SelectStmt bodies that carry an INTO clause."""
        self.targets: list[tuple[str, Node]] = []
        """(kind, body) of every INSERT, UPDATE, DELETE and MERGE, the outermost first."""
        self.locks: bool = False
        self._sees: frozenset[Site] | None = None
        self._path: Path = ()
        self.root = Level(None, body)
        self._typed(kind, body, self.root, {}, "unknown", top=True)

    # -- levels ---------------------------------------------------------------------------------------------------------

    def _level(self, parent: Level, body: Node) -> Level:
        level = Level(parent, body, sees=self._sees, path=self._path)
        self.levels.append(level)
        return level

    @contextmanager
    def _seeing(self, sites: frozenset[Site] | None) -> Iterator[None]:
        """While names are walked that are certain to see only the given relations of their level (None: all).

        WITH sees nothing of it, nor does the query of an INSERT; a subquery in FROM sees nothing unless LATERAL and then only
        what stands left of it; ON sees the two sides of its join. A name that looks like a column of the level may there be one
        of a level further out; in none of these places it can be one of the target of a write.
        """
        before, self._sees = self._sees, sites
        yield
        self._sees = before

    @contextmanager
    def _inside(self, what: str, node: Node) -> Iterator[None]:
        before, self._path = self._path, (*self._path, (what, id(node)))
        yield
        self._path = before

    def _with(self, body: Node, level: Level, ctes: Ctes) -> Ctes:
        clause = body.get("withClause")
        if clause is None:
            return ctes
        with self._seeing(_NOTHING):
            return self._ctes(clause, level, ctes)

    def _ctes(self, clause: Node, level: Level, ctes: Ctes) -> Ctes:
        items = [c["CommonTableExpr"] for c in clause["ctes"]]
        names = {c["ctename"]: c for c in items}
        inner = {**ctes, **names} if clause.get("recursive") else ctes
        for item in items:
            with self._inside("cte", item):
                for key, value in item.items():
                    if key not in ("aliascolnames",):
                        self._any(value, level, inner, "unknown")
            if not clause.get("recursive"):
                inner = {**inner, item["ctename"]: item}
        return {**ctes, **names}

    def _select(self, body: Node, parent: Level, ctes: Ctes) -> None:
        level = self._level(parent, body)
        with self._seeing(None):
            self._select_parts(body, level, self._with(body, level, ctes))

    def _select_parts(self, body: Node, level: Level, scope: Ctes) -> None:
        if "intoClause" in body:
            self.into.append(body)
        for item in body.get("fromClause", ()):
            self._from(item, level, scope)
        for key in ("larg", "rarg"):
            if key in body:
                self._select(body[key], level, scope)
        for key, value in body.items():
            if key == "lockingClause":
                self.locks = True
            elif key not in ("withClause", "fromClause", "larg", "rarg", "intoClause"):
                self._any(value, level, scope, _CLAUSES.get(key, "unknown"))

    def _dml(self, kind: str, body: Node, parent: Level, ctes: Ctes) -> None:
        self.targets.append((kind, body))
        level = self._level(parent, body)
        with self._seeing(None):
            self._dml_parts(kind, body, level, self._with(body, level, ctes))

    def _dml_parts(self, kind: str, body: Node, level: Level, scope: Ctes) -> None:
        self._site(body["relation"], Use.TARGET, level, {})
        with self._inside("write", body):
            for key in ("fromClause", "usingClause"):
                for item in body.get(key, ()):
                    self._from(item, level, scope)
            if "sourceRelation" in body:
                self._from(body["sourceRelation"], level, scope)
        if "onConflictClause" in body or kind == "InsertStmt":
            level.others.add("excluded")
        level.rows |= {"old", "new"}
        for option in body.get("returningClause", {}).get("options", ()):
            level.rows.add(option["ReturningOption"].get("value", ""))
        for key, value in body.items():
            if key in ("withClause", "relation", "fromClause", "usingClause", "sourceRelation"):
                continue
            with self._inside("returning" if key == "returningClause" else "write", body):
                self._dml_part(key, value, level, scope)

    def _dml_part(self, key: str, value: Node, level: Level, scope: Ctes) -> None:
        if key == "cols":
            for col in value:
                self._any(col["ResTarget"].get("indirection", []), level, scope, "write")
        elif key == "selectStmt":
            with self._seeing(_NOTHING):
                self._any(value, level, scope, "write")
        elif key == "returningClause":
            self._any(value, level, scope, "output")
        elif key in ("targetList", "mergeWhenClauses", "onConflictClause"):
            self._any(value, level, scope, "write")
        else:
            self._any(value, level, scope, _CLAUSES.get(key, "unknown"))

    # -- range items ----------------------------------------------------------------------------------------------------

    def _site(self, node: Node, use: Use, level: Level, ctes: Ctes, item: Node | None = None) -> None:
        cte = use is Use.SOURCE and "schemaname" not in node and node["relname"] in ctes
        site = Site(node, use, level, cte, item, self._path, ctes[node["relname"]] if cte else None)
        if cte:
            level.others.add(site.alias)
        else:
            level.sites.append(site)
        self.sites.append(site)

    def _from(self, item: Node, level: Level, ctes: Ctes) -> None:
        with self._seeing(_NOTHING):
            self._range_item(item, level, ctes)

    def _range_item(self, item: Node, level: Level, ctes: Ctes) -> None:
        ((kind, body),) = item.items()
        alias = body.get("alias", {}).get("aliasname")
        if kind == "RangeVar":
            self._site(body, Use.SOURCE, level, ctes, item)
        elif kind == "RangeTableSample":
            self.samples.append(strings(body["method"]))
            self._site(body["relation"]["RangeVar"], Use.SOURCE, level, ctes, item)
            self._any([body.get("args", []), body.get("repeatable")], level, ctes, "filter")
        elif kind == "JoinExpr":
            if alias is not None:
                level.joins[alias] = "colnames" in body["alias"]
            using_alias = body.get("join_using_alias", {}).get("aliasname")
            if using_alias is not None:
                level.joins[using_alias] = False
            before = len(level.sites)
            self._from(body["larg"], level, ctes)
            self._from(body["rarg"], level, ctes)
            if body.get("isNatural"):
                level.natural = True
            if body.get("isNatural") or "usingClause" in body:
                self.operators.append(("=",))
            for name in strings(body.get("usingClause", [])):
                self.refs.append(Ref((name,), level, "join", body, frozenset(level.sites[before:]), self._path))
            if "quals" in body:
                with self._seeing(frozenset(level.sites[before:])):
                    self._any(body["quals"], level, ctes, "join")
        else:  # RangeSubselect, RangeFunction, RangeTableFunc, JsonTable
            if kind not in EXPRESSIONS:
                self.unknown.append(kind)
            level.others.add(alias or "")
            self._any({k: v for k, v in body.items() if k != "alias"}, level, ctes, "output")

    # -- everything else ------------------------------------------------------------------------------------------------

    def _any(self, node: Node, level: Level, ctes: Ctes, clause: str) -> None:
        if isinstance(node, dict):
            if len(node) == 1:
                ((key, value),) = node.items()
                if key[0].isupper():
                    self._typed(key, value, level, ctes, clause)
                    return
            if "relname" in node and "relpersistence" in node:
                self._site(node, Use.NAME, level, {})
                return
            if "names" in node and "typemod" in node:
                self.types.append(strings(node["names"]))
            for value in node.values():
                if isinstance(value, (dict, list)):
                    self._any(value, level, ctes, clause)
        elif isinstance(node, list):
            for value in node:
                self._any(value, level, ctes, clause)

    def _typed(self, kind: str, body: Node, level: Level, ctes: Ctes, clause: str, *, top: bool = False) -> None:
        if kind == "SelectStmt":
            self._select(body, level, ctes)
        elif kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
            self._dml(kind, body, level, ctes)
        elif kind == "RangeVar":
            self._site(body, Use.NAME, level, {})
        elif kind == "ColumnRef":
            fields = _fields(body)
            self.refs.append(Ref(fields, level, clause, body, self._sees, self._path))
        elif top:
            self._any(body, level, ctes, clause)
        else:
            if kind == "FuncCall":
                self.calls.append(Call(strings(body["funcname"]), body, level, self._sees is None))
            elif kind in ("A_Expr", "SubLink", "SortBy"):
                for key in ("name", "operName", "useOp"):
                    if key in body:
                        self.operators.append(strings(body[key]))
                if "BETWEEN" in body.get("kind", ""):
                    self.operators += [("<=",), (">=",), ("<",), (">",)]
                if kind == "SubLink" and "operName" not in body and "testexpr" in body:
                    self.operators.append(("=",))
            elif kind == "CaseExpr" and "arg" in body:
                self.operators.append(("=",))
            elif kind == "A_Indirection":
                self.fields += [i["String"].get("sval", "") for i in body["indirection"] if "String" in i]
            elif kind == "TypeName":
                self.types.append(strings(body["names"]))
            elif kind.startswith("Json") or kind == "MergeSupportFunc":
                self.keywords.append(kind)
            elif kind not in EXPRESSIONS:
                self.unknown.append(kind)
            self._any(body, level, ctes, clause)


def _fields(reference: Node) -> tuple[str, ...]:
    """The parts of a ColumnRef as written, `*` for a star."""
    return tuple("*" if "A_Star" in f else f["String"].get("sval", "") for f in reference["fields"])
