"""Statements that are addressed to pgveil itself: SHOW veil.access, CALL veil.request(…) and their like.

The server does not know them. What it gets in their place is a query that yields the answer, so that types, formats, encodings,
portals and transactions are all its own work; until the answer is there, one of the same shape that yields no row.

A statement is a command only when it is the whole text. Arguments are constants or parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rewrite.pgtree import Node, ParseError, Statement, parse, strings
from rewrite.plan import Argument, Command, Edit, Effect, Parameter, Plan, Refusal, Says, StatementPlan, Verdict

SCHEMA: Final = "veil"
_MAYBE: Final = re.compile(r"\bveil\s*\.", re.I)
_TEXT: Final = "pg_catalog.text"
_INT: Final = "pg_catalog.int8"
_TIME: Final = "pg_catalog.timestamptz"
_NEEDED: Final = object()


@dataclass(frozen=True, slots=True)
class Signature:
    parameters: tuple[tuple[str, str, bool], ...]
    """Name, type, and whether it has to be given."""
    columns: tuple[tuple[str, str], ...]
    """Of the answer."""
    hint: str


_DECIDED = (("request", _INT), ("state", _TEXT), ("until", _TIME), ("message", _TEXT))
_NUMBER = ("request", _INT, True)
_NOTE = ("note", _TEXT, False)
_ASK = (("columns", _TEXT, True), ("reason", _TEXT, True), ("duration", _TEXT, True))

SHOWN: Final[Mapping[str, Signature]] = {
    "access": Signature(
        (),
        (("column", _TEXT), ("class", _TEXT), ("level", _TEXT), ("shown", _TEXT), ("rule", _TEXT), ("until", _TIME)),
        "SHOW veil.access",
    ),
    "why": Signature(
        (),
        (("column", _TEXT), ("class", _TEXT), ("level", _TEXT), ("use", _TEXT), ("shown", _TEXT), ("rule", _TEXT)),
        "SHOW veil.why",
    ),
    "requests": Signature(
        (),
        (
            ("request", _INT), ("state", _TEXT), ("person", _TEXT), ("columns", _TEXT), ("rows", _TEXT), ("reason", _TEXT),
            ("made", _TIME), ("until", _TIME), ("rows_left", _INT), ("waits_for", _TEXT), ("decided_by", _TEXT),
        ),
        "SHOW veil.requests",
    ),
}  # fmt: skip
"""SHOW veil.<name>."""
CALLED: Final[Mapping[str, Signature]] = {
    "request": Signature(
        (*_ASK, ("rows", _TEXT, False), ("max_rows", _INT, False)),
        _DECIDED,
        "CALL veil.request('bank.customers.phone', 'case 123', '2 hours')",
    ),
    "break_glass": Signature(
        (*_ASK, ("rows", _TEXT, False)), _DECIDED, "CALL veil.break_glass('bank.customers.phone', 'fire in branch 7', '30 min')"
    ),
    "approve": Signature((_NUMBER, _NOTE), _DECIDED, "CALL veil.approve(7)"),
    "reject": Signature((_NUMBER, _NOTE), _DECIDED, "CALL veil.reject(7, 'not needed for this')"),
    "revoke": Signature((_NUMBER, _NOTE), _DECIDED, "CALL veil.revoke(7)"),
    "proposal": Signature((_NUMBER,), (("request", _INT), ("file", _TEXT), ("text", _TEXT)), "CALL veil.proposal(7)"),
    "review": Signature((_NUMBER, ("finding", _TEXT, True), _NOTE), _DECIDED, "CALL veil.review(7, 'justified')"),
}
"""CALL veil.<name>(…), or SELECT * FROM veil.<name>(…) where a client cannot say CALL."""

_ALONE: Final = Refusal("0A000", "a command of pgveil has to be the whole query string", "send the statements one by one")


def command_plan(text: str) -> Plan | None:
    """The plan of a text that is a command, or that has one among others; None: there is none in it."""
    if _MAYBE.search(text) is None:
        return None
    try:
        parsed = parse(text)
    except (ParseError, RecursionError):
        return None
    found = [(s, c) for s in parsed if (c := _command(s)) is not None]
    if not found:
        return None
    if len(parsed) > 1:
        return _refused(_ALONE)
    ((_, (name, signature, arguments)),) = found
    command = _filled(name, signature, arguments)
    if isinstance(command, Refusal):
        return _refused(command)
    neutral = answer(signature.columns, (), [p for p in command.arguments if isinstance(p, Parameter)], signature.parameters)
    kind = f"{'CALL' if name in CALLED else 'SHOW'} VEIL.{name.upper()}"
    statement = StatementPlan(kind, effects=Effect.COMMAND, says=Says.ALL, command=command)
    return Plan(Verdict.REWRITE, neutral, (statement,), (Edit(0, len(text), neutral),), own=True)


def _refused(refusal: Refusal) -> Plan:
    return Plan(Verdict.REFUSE, "", refusal=refusal, own=True)


def columns_of(command: Command) -> tuple[tuple[str, str], ...]:
    """Names and types of the answer's columns."""
    return (CALLED.get(command.name) or SHOWN[command.name]).columns


def answer(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str | int | None]],
    parameters: Sequence[Parameter] = (),
    types: Sequence[tuple[str, str, bool]] = (),
) -> str:
    """A query that yields these rows. It is ASCII, and reads the same whatever the session's settings are."""
    names = ", ".join(f'"{name}"' for name, _ in columns)
    lines = [", ".join(_literal(v, t) for v, (_, t) in zip(row, columns, strict=True)) for row in rows]
    if not lines:
        given = ", ".join(f"${p.number}::{types[p.place][1]}" for p in parameters) or "1"
        nulls = ", ".join(f"NULL::{t}" for _, t in columns)
        return f"SELECT * FROM (SELECT {nulls} FROM (SELECT {given}) AS given LIMIT 0) AS veil ({names})"
    return f"SELECT * FROM (VALUES {', '.join(f'({line})' for line in lines)}) AS veil ({names})"


def _literal(value: str | int | None, type_: str) -> str:
    if value is None:
        return f"NULL::{type_}"
    if isinstance(value, int):
        return f"{value}::{type_}"
    out = []
    for ch in value:
        code = ord(ch)
        if ch in "'\\":
            out.append(ch + ch)
        elif 32 <= code < 127:
            out.append(ch)
        elif code:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f"E'{''.join(out)}'::{type_}"


def _command(statement: Statement) -> tuple[str, Signature, list[Node]] | None:
    kind, body = statement.kind, statement.body
    if kind == "VariableShowStmt":
        schema, _, name = body.get("name", "").lower().partition(".")
        shown = SHOWN.get(name) if schema == SCHEMA else None
        return (name, shown, []) if shown is not None else None
    if kind == "CallStmt":
        return _called(body["funccall"])
    if kind == "SelectStmt" and set(body) == {"targetList", "fromClause", "limitOption", "op"} and len(body["fromClause"]) == 1:
        star = [t["ResTarget"].get("val", {}).get("ColumnRef", {}).get("fields") for t in body["targetList"]]
        table = body["fromClause"][0].get("RangeVar", {})
        shown = SHOWN.get(table.get("relname", "")) if table.get("schemaname") == SCHEMA else None
        if star == [[{"A_Star": {}}]] and shown is not None:
            return table["relname"], shown, []
        function = body["fromClause"][0].get("RangeFunction", {})
        items = function.get("functions", ())
        if star == [[{"A_Star": {}}]] and len(items) == 1 and not function.keys() - {"functions", "alias"}:
            call = items[0]["List"]["items"][0].get("FuncCall")
            return _called(call) if call is not None else None
    return None


def _called(call: Node) -> tuple[str, Signature, list[Node]] | None:
    names = strings(call["funcname"])
    if len(names) != 2 or names[0] != SCHEMA:
        return None
    signature = CALLED.get(names[1])
    return (names[1], signature, call.get("args", [])) if signature is not None else None


def _filled(name: str, signature: Signature, given: list[Node]) -> Command | Refusal:
    """Every parameter with its argument."""
    hint = f"for example: {signature.hint}"
    wanted = [p[0] for p in signature.parameters]
    if len(given) > len(wanted):
        return Refusal("42883", f"veil.{name} takes {', '.join(wanted) or 'no arguments'}", hint)
    out: list[Argument | object] = [_NEEDED] * len(wanted)
    for at, node in enumerate(given):
        named = node.get("NamedArgExpr")
        if named is not None and named["name"] not in wanted:
            return Refusal("42883", f"veil.{name} has no argument {named['name']}, but {', '.join(wanted)}", hint)
        place = at if named is None else wanted.index(named["name"])
        argument = _value(node if named is None else named["arg"], place)
        if isinstance(argument, Refusal):
            return argument
        if out[place] is not _NEEDED:
            return Refusal("42601", f"the argument {wanted[place]} is given twice", hint)
        out[place] = argument
    arguments: list[Argument] = []
    for found, (parameter, type_, needed) in zip(out, signature.parameters, strict=True):
        value = None if found is _NEEDED else found
        if value is None and needed:
            return Refusal("22023", f"veil.{name} needs the argument {parameter}", hint)
        if type_ == _INT and isinstance(value, str):
            if not re.fullmatch(r"[0-9]{1,18}", value.strip()):
                return Refusal("22023", f"the argument {parameter} has to be a number", hint)
            value = int(value)
        assert value is None or isinstance(value, str | int | Parameter)
        arguments.append(str(value) if type_ == _TEXT and isinstance(value, int) else value)
    return Command(name, tuple(arguments), tuple(type_ == _INT for _, type_, _ in signature.parameters))


def _value(node: Node, place: int) -> Argument | Refusal:
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    if "ParamRef" in node:
        return Parameter(node["ParamRef"].get("number", 0), place)
    constant = node.get("A_Const")
    if constant is not None:
        if constant.get("isnull"):
            return None
        if "ival" in constant:
            return int(constant["ival"].get("ival", 0))
        if "sval" in constant:
            return str(constant["sval"].get("sval", ""))
        if "fval" in constant:
            return str(constant["fval"].get("fval", ""))
    return Refusal("0A000", "arguments of pgveil's commands have to be constants or parameters", "write the value out")
