"""SQL expressions out of a policy (row predicates, `sql` masks), printed so that nothing in a search_path can change them.

An operator or function of the same name elsewhere in the search_path is preferred over the builtin when its argument types
match exactly, even with pg_catalog first. So every operator becomes OPERATOR(pg_catalog.x), every function and type carries its
schema, and constructs whose `=` PostgreSQL looks up by search_path (IN, BETWEEN, NULLIF, CASE x WHEN, IS DISTINCT FROM) are
spelled out. Everything is parenthesised, because OPERATOR() has a precedence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rewrite.pgtree import Node, ParseError, parse, quote_ident, quote_literal, strings

_NULL_TESTS = {"IS_NULL": "IS NULL", "IS_NOT_NULL": "IS NOT NULL"}
_VALUE_FUNCTIONS = {
    "SVFOP_CURRENT_DATE": "CURRENT_DATE",
    "SVFOP_CURRENT_TIMESTAMP": "CURRENT_TIMESTAMP",
    "SVFOP_LOCALTIMESTAMP": "LOCALTIMESTAMP",
    "SVFOP_CURRENT_USER": "CURRENT_USER",
    "SVFOP_SESSION_USER": "SESSION_USER",
}
_EXTENSION = {"BETWEEN": (">=", "<="), "NOT_BETWEEN": ("<", ">")}


class ExpressionError(Exception):
    """The expression is not one a policy may contain; the text says why."""


def pin(text: str, columns: Mapping[str, str], parameter: str | None = None) -> str:
    """The expression `text` with every name pinned.

    `columns` maps the names that may be referred to onto their SQL; `parameter` is the SQL that takes the place of $1.
    Raises ExpressionError for anything that is not a plain expression: subqueries, aggregates, unknown columns.
    """
    try:
        statements = parse(f"SELECT ({text}\n)")
    except ParseError as e:
        raise ExpressionError(f"not a valid SQL expression: {e.message}") from e
    body = statements[0].body
    if len(statements) != 1 or set(body) != {"targetList", "limitOption", "op"} or len(body["targetList"]) != 1:
        raise ExpressionError("not a single SQL expression")
    return _Printer(columns, parameter).expr(body["targetList"][0]["ResTarget"]["val"])


def columns_of(text: str) -> frozenset[str] | None:
    """Names of the columns that an expression uses; None when it cannot be read."""
    try:
        (statement,) = parse(f"SELECT ({text}\n)")
    except (ParseError, ValueError):
        return None
    found: set[str] = set()
    _column_names(statement.body, found)
    return frozenset(found)


def _column_names(node: Node, found: set[str]) -> None:
    if isinstance(node, dict):
        for field in node.get("ColumnRef", {}).get("fields", ()):
            found.add(field.get("String", {}).get("sval", ""))
        for value in node.values():
            _column_names(value, found)
    elif isinstance(node, list):
        for value in node:
            _column_names(value, found)


_PLAIN = frozenset(
    """A_Expr BoolExpr ColumnRef A_Const NullTest BooleanTest List TypeCast TypeName A_ArrayExpr String Integer Float
    Boolean""".split()
)


def is_plain(text: str) -> bool:
    """Whether an expression compares columns and constants only: it calls nothing by name, and only constants are made into
    another type, a builtin one. (A cast can fail with the value in its message; one to a domain runs what its owner wrote.)"""
    try:
        (statement,) = parse(f"SELECT ({text}\n)")
    except (ParseError, ValueError, RecursionError):
        return False
    return set(statement.body) == {"targetList", "limitOption", "op"} and _all_plain(
        statement.body["targetList"][0]["ResTarget"]["val"]
    )


def _all_plain(node: Node) -> bool:
    """Without recursion: how deep it goes is the client's choice."""
    rest = [node]
    while rest:
        one = rest.pop()
        if isinstance(one, list):
            rest.extend(one)
        elif isinstance(one, dict):
            if any(key[:1].isupper() and key not in _PLAIN for key in one):
                return False
            cast = one.get("TypeCast")
            if cast is not None and not _is_constant_of_builtin(cast):
                return False
            rest.extend(one.values())
    return True


def _is_constant_of_builtin(cast: Node) -> bool:
    names = strings(cast["typeName"].get("names", []))
    return "A_Const" in cast["arg"] and (len(names) == 1 or names[:-1] == ("pg_catalog",))


def operator(left: str, name: str, right: str) -> str:
    return f"({left} OPERATOR(pg_catalog.{name}) {right})"


class _Printer:
    def __init__(self, columns: Mapping[str, str], parameter: str | None) -> None:
        self.columns = columns
        self.parameter = parameter

    def expr(self, node: Node) -> str:
        ((kind, body),) = node.items()
        method: Callable[[Any], str] | None = getattr(self, "_" + kind, None)
        if method is None:
            raise ExpressionError(f"{kind} is not allowed in a policy expression")
        return method(body)

    def exprs(self, nodes: list[Node]) -> list[str]:
        return [self.expr(n) for n in nodes]

    def _A_Const(self, n: Node) -> str:
        if n.get("isnull"):
            return "NULL"
        if "ival" in n:
            return str(n["ival"].get("ival", 0))
        if "fval" in n:
            return str(n["fval"]["fval"])
        if "boolval" in n:
            return "true" if n["boolval"].get("boolval") else "false"
        if "sval" in n:
            return quote_literal(n["sval"].get("sval", ""))
        raise ExpressionError("bit string constants are not allowed in a policy expression")

    def _ColumnRef(self, n: Node) -> str:
        if len(n["fields"]) == 1 and "String" in n["fields"][0]:
            name = n["fields"][0]["String"].get("sval", "")
            if name in self.columns:
                return self.columns[name]
            raise ExpressionError(f'the relation has no column "{name}"')
        raise ExpressionError("columns are named without a table in a policy expression")

    def _ParamRef(self, n: Node) -> str:
        if self.parameter is None or n.get("number") != 1:
            raise ExpressionError("only $1, the masked column, may be used as a parameter")
        return self.parameter

    def _TypeCast(self, n: Node) -> str:
        return f"({self.expr(n['arg'])})::{self.type_name(n['typeName'])}"

    def type_name(self, t: Node) -> str:
        names = strings(t["names"])
        if t.get("setof") or t.get("pct_type"):
            raise ExpressionError("not a plain type name")
        if len(names) == 1:
            names = ("pg_catalog", names[0])
        out = ".".join(quote_ident(x) for x in names)
        if "typmods" in t:
            if names == ("pg_catalog", "interval"):
                raise ExpressionError("interval fields are not allowed in a policy expression")
            out += "(" + ", ".join(self.exprs(t["typmods"])) + ")"
        return out + "[]" * len(t.get("arrayBounds", ()))

    def _FuncCall(self, n: Node) -> str:
        for key in ("agg_order", "agg_filter", "over", "agg_within_group", "agg_distinct", "agg_star", "func_variadic"):
            if n.get(key):
                raise ExpressionError("aggregates and window functions are not allowed in a policy expression")
        names = strings(n["funcname"])
        if len(names) == 1:
            names = ("pg_catalog", names[0])
        return ".".join(quote_ident(x) for x in names) + "(" + ", ".join(self.exprs(n.get("args", []))) + ")"

    def _A_Expr(self, n: Node) -> str:
        kind = n["kind"].removeprefix("AEXPR_")
        names = strings(n["name"])
        if len(names) > 1 and names[0] != "pg_catalog":
            raise ExpressionError("only builtin operators are allowed in a policy expression")
        op = names[-1]
        left = self.expr(n["lexpr"]) if "lexpr" in n else ""
        if kind in ("OP", "LIKE", "ILIKE", "SIMILAR"):
            return operator(left, op, self.expr(n["rexpr"]))
        if kind in ("OP_ANY", "OP_ALL"):
            word = kind.removeprefix("OP_")
            return f"({left} OPERATOR(pg_catalog.{op}) {word} ({self.expr(n['rexpr'])}))"
        if kind == "IN":
            items = n["rexpr"]["List"]["items"]
            joined = (" OR " if op == "=" else " AND ").join(operator(left, op, x) for x in self.exprs(items))
            return f"({joined})"
        if kind in ("BETWEEN", "NOT_BETWEEN"):
            low, high = self.exprs(n["rexpr"]["List"]["items"])
            first, second = _EXTENSION[kind]
            word = "AND" if kind == "BETWEEN" else "OR"
            return f"({operator(left, first, low)} {word} {operator(left, second, high)})"
        if kind == "NULLIF":
            right = self.expr(n["rexpr"])
            return f"(CASE WHEN {operator(left, '=', right)} THEN NULL ELSE {left} END)"
        if kind in ("DISTINCT", "NOT_DISTINCT"):
            right = self.expr(n["rexpr"])
            same = (
                f"(CASE WHEN ({left}) IS NULL OR ({right}) IS NULL THEN ({left}) IS NULL AND ({right}) IS NULL "
                f"ELSE {operator(left, '=', right)} END)"
            )
            return same if kind == "NOT_DISTINCT" else f"(NOT {same})"
        raise ExpressionError(f"{kind} is not allowed in a policy expression")

    def _BoolExpr(self, n: Node) -> str:
        args = self.exprs(n["args"])
        if n["boolop"] == "NOT_EXPR":
            return f"(NOT {args[0]})"
        return "(" + (" AND " if n["boolop"] == "AND_EXPR" else " OR ").join(args) + ")"

    def _NullTest(self, n: Node) -> str:
        return f"(({self.expr(n['arg'])}) {_NULL_TESTS[n['nulltesttype']]})"

    def _BooleanTest(self, n: Node) -> str:
        word = n["booltesttype"].replace("_", " ")
        return f"(({self.expr(n['arg'])}) {word})"

    def _CaseExpr(self, n: Node) -> str:
        subject = self.expr(n["arg"]) if "arg" in n else None
        parts = []
        for w in n["args"]:
            when = self.expr(w["CaseWhen"]["expr"])
            if subject is not None:
                when = operator(subject, "=", when)
            parts.append(f"WHEN {when} THEN {self.expr(w['CaseWhen']['result'])}")
        default = f" ELSE {self.expr(n['defresult'])}" if "defresult" in n else ""
        return f"(CASE {' '.join(parts)}{default} END)"

    def _CoalesceExpr(self, n: Node) -> str:
        return "COALESCE(" + ", ".join(self.exprs(n["args"])) + ")"

    def _MinMaxExpr(self, n: Node) -> str:
        word = "GREATEST" if n["op"] == "IS_GREATEST" else "LEAST"
        return f"{word}(" + ", ".join(self.exprs(n["args"])) + ")"

    def _A_ArrayExpr(self, n: Node) -> str:
        return "ARRAY[" + ", ".join(self.exprs(n.get("elements", []))) + "]"

    def _RowExpr(self, n: Node) -> str:
        return "ROW(" + ", ".join(self.exprs(n.get("args", []))) + ")"

    def _A_Indirection(self, n: Node) -> str:
        out = f"({self.expr(n['arg'])})"
        for step in n["indirection"]:
            if "String" in step:
                out += "." + quote_ident(step["String"]["sval"])
            elif "A_Indices" in step and not step["A_Indices"].get("is_slice"):
                out += f"[{self.expr(step['A_Indices']['uidx'])}]"
            else:
                raise ExpressionError("not a plain field or element")
        return f"({out})"

    def _CollateClause(self, n: Node) -> str:
        names = strings(n["collname"])
        if len(names) == 1:
            names = ("pg_catalog", names[0])
        return f"(({self.expr(n['arg'])}) COLLATE {'.'.join(quote_ident(x) for x in names)})"

    def _SQLValueFunction(self, n: Node) -> str:
        if n["op"] not in _VALUE_FUNCTIONS:
            raise ExpressionError("this value function is not allowed in a policy expression")
        return _VALUE_FUNCTIONS[n["op"]]
