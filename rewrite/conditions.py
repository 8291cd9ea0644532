"""SQL conditions and plain SELECTs over rows that Python has at hand: for policy tests that run without a server.

Only what means the same in every database is worked out: comparisons of numbers, equality of texts, IN, BETWEEN, IS NULL, AND,
OR, NOT. Everything else (functions, casts, patterns, the order of texts) is `Undecided`, so that a test is left out rather than
answered wrongly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from rewrite.pgtree import Node, ParseError, parse

Row = Mapping[str, object]


class Undecided(Exception):
    """Only a server can tell; the text says why."""


@dataclass(frozen=True, slots=True)
class _Literal:
    """A quoted constant: of no type yet, it takes that of what it is compared with."""

    text: str


_COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_PLAIN = frozenset({"targetList", "fromClause", "whereClause", "sortClause", "limitOption", "op"})
"""Fields of a SELECT that are understood here."""


@dataclass(frozen=True, slots=True)
class Select:
    """`SELECT columns FROM one table WHERE condition ORDER BY …`; the order is not worked out."""

    schema: str
    relation: str
    columns: tuple[tuple[str, str], ...] | None
    """(label, column) in order; None: every column."""
    where: Node | None
    compared: frozenset[str]
    """Columns that the condition names."""

    @property
    def used(self) -> frozenset[str]:
        """Columns that the statement names."""
        return self.compared | {name for _, name in self.columns or ()}


def holds(condition: str, row: Row) -> bool | None:
    """SQL's answer, None for NULL. Raises Undecided. Columns that the row does not have are NULL."""
    found = _select(f"SELECT 1 WHERE {condition}")
    return evaluate(found["whereClause"], row)


def plain_select(sql: str) -> Select:
    """Raises Undecided for any other statement."""
    body = _select(sql)
    if (
        body.keys() - {"targetList", "fromClause", "whereClause", "sortClause", "limitOption", "op"}
        or len(body.get("fromClause", ())) != 1
    ):
        raise Undecided("it is more than columns of one table and a condition")
    (table,) = body["fromClause"]
    if "RangeVar" not in table or "alias" in table["RangeVar"] or "schemaname" not in table["RangeVar"]:
        raise Undecided("it is more than columns of one table, written as schema.table")
    columns: list[tuple[str, str]] | None = []
    for target in body.get("targetList", ()):
        name = _column(target["ResTarget"].get("val", {}))
        if name == "*" and len(body["targetList"]) == 1:
            columns = None
            break
        if name is None or name == "*":
            raise Undecided("it computes something")
        assert columns is not None
        columns.append((target["ResTarget"].get("name", name), name))
    where = body.get("whereClause")
    source = table["RangeVar"]
    return Select(
        source["schemaname"], source["relname"], None if columns is None else tuple(columns), where, frozenset(_names(where))
    )


def _select(sql: str) -> Node:
    try:
        statements = parse(sql)
    except ParseError as error:
        raise Undecided(f"it cannot be parsed: {error.message}") from None
    if len(statements) != 1 or statements[0].kind != "SelectStmt":
        raise Undecided("it is not a SELECT")
    return statements[0].body


def _column(node: Node) -> str | None:
    """The name of a bare column, * for all of them."""
    fields = node.get("ColumnRef", {}).get("fields", [])
    if len(fields) != 1:
        return None
    if "A_Star" in fields[0]:
        return "*"
    return str(fields[0]["String"]["sval"])


def _names(node: Node) -> set[str]:
    if isinstance(node, dict):
        name = _column(node) if "ColumnRef" in node else None
        return {name} if name is not None else set().union(*(_names(n) for n in node.values()))
    return set().union(*(_names(n) for n in node)) if isinstance(node, list) else set()


def evaluate(node: Node, row: Row) -> bool | None:
    """A condition for one row. Raises Undecided."""
    ((kind, body),) = node.items()
    if kind == "BoolExpr":
        return _connected(body["boolop"], [evaluate(n, row) for n in body["args"]])
    if kind == "NullTest":
        is_null = _value(body["arg"], row) is None
        return is_null if body.get("nulltesttype", "IS_NULL") == "IS_NULL" else not is_null
    if kind == "A_Expr":
        return _compared(body, row)
    value = _value(node, row)
    if value is None or isinstance(value, bool):
        return value
    raise Undecided("a condition is neither true nor false")


def _connected(word: str, parts: list[bool | None]) -> bool | None:
    if word == "NOT_EXPR":
        return None if parts[0] is None else not parts[0]
    decisive = word == "OR_EXPR"
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive


def _compared(body: Node, row: Row) -> bool | None:
    kind = body.get("kind", "AEXPR_OP")
    symbol = body["name"][-1].get("String", {}).get("sval", "")
    left = _value(body["lexpr"], row) if "lexpr" in body else None
    if kind == "AEXPR_OP" and "lexpr" in body and symbol in _COMPARE and len(body["name"]) == 1:
        return _compare(symbol, left, _value(body["rexpr"], row))
    if kind == "AEXPR_IN":
        items = body["rexpr"]["List"]["items"]
        found = _connected("OR_EXPR", [_compare("=", left, _value(n, row)) for n in items])
        return found if symbol == "=" or found is None else not found
    if kind in ("AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"):
        low, high = (_value(n, row) for n in body["rexpr"]["List"]["items"])
        inside = _connected("AND_EXPR", [_compare(">=", left, low), _compare("<=", left, high)])
        return inside if kind == "AEXPR_BETWEEN" or inside is None else not inside
    raise Undecided("a condition uses an operator that only a server knows")


def _compare(symbol: str, left: object, right: object) -> bool | None:
    if left is None or right is None:
        return None
    numbers = _number(left, right), _number(right, left)
    if numbers[0] is not None and numbers[1] is not None:
        return _COMPARE[symbol](numbers[0], numbers[1])
    texts = [x.text if isinstance(x, _Literal) else x for x in (left, right)]
    same_kind = all(isinstance(x, str) for x in texts) or all(isinstance(x, bool) for x in texts)
    if same_kind and symbol in ("=", "<>"):
        return (texts[0] == texts[1]) is (symbol == "=")
    raise Undecided("a condition compares what only a server can compare")


def _number(value: object, other: object) -> Decimal | None:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, _Literal) and isinstance(other, int | Decimal) and not isinstance(other, bool):
        try:
            return Decimal(value.text)
        except InvalidOperation:
            raise Undecided("a condition compares a number with text") from None
    return None


def _value(node: Node, row: Row) -> object:
    if "ColumnRef" in node:
        name = _column(node)
        if name is None or name == "*":
            raise Undecided("a condition names more than a column")
        return row.get(name)
    if "A_Const" in node:
        return _constant(node["A_Const"])
    if "A_Expr" in node and "lexpr" not in node["A_Expr"] and node["A_Expr"]["name"][-1]["String"]["sval"] == "-":
        value = _value(node["A_Expr"]["rexpr"], row)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return -value
    raise Undecided("a condition computes something")


def _constant(body: Node) -> object:
    if body.get("isnull"):
        return None
    if "ival" in body:
        return int(body["ival"].get("ival", 0))
    if "fval" in body:
        return Decimal(body["fval"]["fval"])
    if "boolval" in body:
        return bool(body["boolval"].get("boolval", False))
    if "sval" in body:
        return _Literal(body["sval"].get("sval", ""))
    raise Undecided("a condition has a constant that only a server knows")
