"""One walk over a statement's parse tree: every relation, column reference, function, operator and type it names.

Scoping follows PostgreSQL (parse_cte.c, parse_relation.c): a common table expression hides a relation of the same unqualified
name from the place where it becomes visible; targets of INSERT, UPDATE, DELETE and MERGE are never common table expressions.
What the walk does not know ends up in `unknown`, and the planner refuses it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rewrite.nodes import EXPRESSIONS
from rewrite.pgtree import Node, strings


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
    """Aliases of range items that are not relations: subqueries, functions, common table expressions."""
    joins: dict[str, bool] = field(default_factory=dict)
    """Aliases of joins; True when the alias renames columns."""
    natural: bool = False
    rows: set[str] = field(default_factory=set)
    """Names by which RETURNING knows the target's old and new rows (PostgreSQL 18)."""
    sure: bool = True
    """Everything in the parent's range table is visible here. Not so in WITH, in FROM and in ON (see `Survey._seeing`)."""


@dataclass(slots=True, eq=False)
class Site:
    """A place where a relation is named."""

    node: Node
    use: Use
    level: Level
    cte: bool = False
    item: Node | None = None
    """The range table item around it, type key included: {"RangeVar": ...} or {"RangeTableSample": ...}."""

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
    sure: bool = True
    """Everything in the level's range table is visible here."""


@dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """An item of RETURNING that is nothing but a column or a star."""

    level: Level
    clause: Node
    index: int
    """Place in the clause's `exprs`."""
    ref: Ref


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    names: tuple[str, ...]
    node: Node
    """The FuncCall node."""
    level: Level
    sure: bool = True
    """Everything in the level's range table is visible here, and the level's WHERE has been applied."""


_MORE_RELATIONS = {"fromClause", "usingClause", "sourceRelation"}
"""Fields of a write that bring relations besides its target into sight."""

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
        self.returned: list[Returned] = []
        """Plain columns and stars that a statement with no relation but its target returns; not in `refs`."""
        self.locks: bool = False
        self._sure = True
        self.root = Level(None, body)
        self._typed(kind, body, self.root, frozenset(), "unknown", top=True)

    # -- levels ---------------------------------------------------------------------------------------------------------

    def _level(self, parent: Level, body: Node) -> Level:
        level = Level(parent, body, sure=self._sure)
        self.levels.append(level)
        return level

    @contextmanager
    def _seeing(self, everything: bool) -> Iterator[None]:
        """While names are walked that see (or may not see) all of their level's range table.

        WITH sees nothing of it, a subquery in FROM sees nothing unless LATERAL and then only what stands left of it, ON sees the
        two sides of its join: a name that looks like a column of the level may there be one of a level further out.
        """
        before, self._sure = self._sure, everything
        yield
        self._sure = before

    def _with(self, body: Node, level: Level, ctes: frozenset[str]) -> frozenset[str]:
        clause = body.get("withClause")
        if clause is None:
            return ctes
        with self._seeing(False):
            return self._ctes(clause, level, ctes)

    def _ctes(self, clause: Node, level: Level, ctes: frozenset[str]) -> frozenset[str]:
        items = [c["CommonTableExpr"] for c in clause["ctes"]]
        names = frozenset(c["ctename"] for c in items)
        inner = ctes | names if clause.get("recursive") else ctes
        for item in items:
            for key, value in item.items():
                if key not in ("aliascolnames",):
                    self._any(value, level, inner, "unknown")
            if not clause.get("recursive"):
                inner = inner | {item["ctename"]}
        return ctes | names

    def _select(self, body: Node, parent: Level, ctes: frozenset[str]) -> None:
        level = self._level(parent, body)
        with self._seeing(True):
            self._select_parts(body, level, self._with(body, level, ctes))

    def _select_parts(self, body: Node, level: Level, scope: frozenset[str]) -> None:
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

    def _dml(self, kind: str, body: Node, parent: Level, ctes: frozenset[str]) -> None:
        self.targets.append((kind, body))
        level = self._level(parent, body)
        with self._seeing(True):
            self._dml_parts(kind, body, level, self._with(body, level, ctes))

    def _dml_parts(self, kind: str, body: Node, level: Level, scope: frozenset[str]) -> None:
        self._site(body["relation"], Use.TARGET, level, frozenset())
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
            if key in ("withClause", "relation", "fromClause", "usingClause", "sourceRelation", "cols"):
                if key == "cols":
                    for col in value:
                        self._any(col["ResTarget"].get("indirection", []), level, scope, "write")
                continue
            if key == "returningClause" and level.parent is self.root and not body.keys() & _MORE_RELATIONS:
                self._returning(value, level, scope)
                continue
            if key in ("returningClause", "returningList"):
                clause = "output"
            elif key in ("targetList", "mergeWhenClauses", "onConflictClause", "selectStmt"):
                clause = "write"
            else:
                clause = _CLAUSES.get(key, "unknown")
            self._any(value, level, scope, clause)

    def _returning(self, clause: Node, level: Level, scope: frozenset[str]) -> None:
        """RETURNING of a statement whose only relation is its target: plain columns and stars are kept apart in `returned`."""
        self._any(clause.get("options", []), level, scope, "output")
        for index, item in enumerate(clause["exprs"]):
            target = item["ResTarget"]
            reference = target.get("val", {}).get("ColumnRef")
            if reference is None:
                self._any(item, level, scope, "output")
                continue
            self.returned.append(Returned(level, clause, index, Ref(_fields(reference), level, "output", reference)))

    # -- range items ----------------------------------------------------------------------------------------------------

    def _site(self, node: Node, use: Use, level: Level, ctes: frozenset[str], item: Node | None = None) -> None:
        cte = use is Use.SOURCE and "schemaname" not in node and node["relname"] in ctes
        site = Site(node, use, level, cte, item)
        if cte:
            level.others.add(site.alias)
        else:
            level.sites.append(site)
        self.sites.append(site)

    def _from(self, item: Node, level: Level, ctes: frozenset[str]) -> None:
        with self._seeing(False):
            self._range_item(item, level, ctes)

    def _range_item(self, item: Node, level: Level, ctes: frozenset[str]) -> None:
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
            self._from(body["larg"], level, ctes)
            self._from(body["rarg"], level, ctes)
            if body.get("isNatural"):
                level.natural = True
            if body.get("isNatural") or "usingClause" in body:
                self.operators.append(("=",))
            for name in strings(body.get("usingClause", [])):
                self.refs.append(Ref((name,), level, "join", body))
            if "quals" in body:
                self._any(body["quals"], level, ctes, "join")
        else:  # RangeSubselect, RangeFunction, RangeTableFunc, JsonTable
            if kind not in EXPRESSIONS:
                self.unknown.append(kind)
            if alias is not None:
                level.others.add(alias)
            self._any({k: v for k, v in body.items() if k != "alias"}, level, ctes, "output")

    # -- everything else ------------------------------------------------------------------------------------------------

    def _any(self, node: Node, level: Level, ctes: frozenset[str], clause: str) -> None:
        if isinstance(node, dict):
            if len(node) == 1:
                ((key, value),) = node.items()
                if key[0].isupper():
                    self._typed(key, value, level, ctes, clause)
                    return
            if "relname" in node and "relpersistence" in node:
                self._site(node, Use.NAME, level, frozenset())
                return
            if "names" in node and "typemod" in node:
                self.types.append(strings(node["names"]))
            for value in node.values():
                if isinstance(value, (dict, list)):
                    self._any(value, level, ctes, clause)
        elif isinstance(node, list):
            for value in node:
                self._any(value, level, ctes, clause)

    def _typed(self, kind: str, body: Node, level: Level, ctes: frozenset[str], clause: str, *, top: bool = False) -> None:
        if kind == "SelectStmt":
            self._select(body, level, ctes)
        elif kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
            self._dml(kind, body, level, ctes)
        elif kind == "RangeVar":
            self._site(body, Use.NAME, level, frozenset())
        elif kind == "ColumnRef":
            fields = _fields(body)
            self.refs.append(Ref(fields, level, clause, body, self._sure))
        elif top:
            self._any(body, level, ctes, clause)
        else:
            if kind == "FuncCall":
                self.calls.append(Call(strings(body["funcname"]), body, level, self._sure))
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
