"""Constants that a column is compared with: literals and parameters, perhaps cast to a type of the column's family, and arrays.

What the client has written goes on byte by byte; casts are written anew, with their type pinned. A `Value` says what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from policies.filters import FAMILIES
from rewrite.pgtree import Node, strings, strip
from rewrite.plan import Value
from rewrite.source import Origin

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter

Part = str | tuple[int, int]
"""Generated text, or the bytes [start, end) of the client's text that stand there."""


@dataclass(frozen=True, slots=True)
class Constant:
    parts: tuple[Part, ...]
    value: Value | None
    """None for NULL, which equals nothing."""


def spelled(parts: Iterable[Part], source: str) -> str:
    raw = source.encode()
    return "".join(p if isinstance(p, str) else raw[p[0] : p[1]].decode() for p in parts)


def constants(rewriter: Rewriter, kind: str, node: Node, origin: Origin) -> list[Constant] | None:
    """What the column is compared with; None when that is anything but constants."""
    if kind == "AEXPR_OP":
        items = [node]
    elif kind == "AEXPR_IN":
        items = node["List"]["items"]
    elif kind == "AEXPR_OP_ANY":
        found = _array(rewriter, node, origin)
        if found is not None:
            return found
        one = _constant(rewriter, node, origin, many=True)
        return None if one is None else [one]
    else:
        return None
    out = [_constant(rewriter, item, origin) for item in items]
    return None if any(c is None for c in out) else [c for c in out if c is not None]


def _array(rewriter: Rewriter, node: Node, origin: Origin) -> list[Constant] | None:
    """ARRAY[constants], perhaps cast."""
    cast = node.get("TypeCast")
    inner = cast["arg"] if cast is not None else node
    array = inner.get("A_ArrayExpr")
    if array is None or not array.get("elements"):
        return None
    family = FAMILIES[origin.column.base_type]
    out = []
    for item in array["elements"]:
        one = _constant(rewriter, item, origin)
        if one is None or (family != "text" and cast is None and "sval" in item.get("A_Const", {})):
            return None
        if cast is not None:
            spelling = cast_to(cast["typeName"], family, many=True)
            if spelling is None or "TypeCast" in item:
                return None
            value = replace(one.value, cast=spelling.removesuffix("[]")) if one.value is not None else None
            one = Constant((*one.parts, f"::{spelling.removesuffix('[]')}"), value)
        out.append(one)
    return out


def _constant(rewriter: Rewriter, node: Node, origin: Origin, *, many: bool = False) -> Constant | None:
    """A literal or parameter, perhaps cast; with `many` one that is an array."""
    family = FAMILIES[origin.column.base_type]
    spelling = ""
    cast = node.get("TypeCast")
    if cast is not None:
        found = cast_to(cast["typeName"], family, many=many)
        if found is None:
            return None
        spelling, node = found, cast["arg"]
    suffix = f"::{spelling}" if spelling else ""
    if "ParamRef" in node:
        number = node["ParamRef"].get("number", 0)
        if number < 1:
            return None
        return Constant((f"${number}{suffix}",), Value(parameter=number, many=many, cast=spelling))
    constant = node.get("A_Const")
    if constant is None:
        return None
    if constant.get("isnull"):
        return Constant((f"NULL{suffix}",), None)
    if "sval" in constant:
        return _literal(rewriter, constant, constant["sval"].get("sval", ""), suffix, spelling, many=many)
    if family != "number" or many or not ("ival" in constant or "fval" in constant):
        return None
    text = str(constant["ival"].get("ival", 0)) if "ival" in constant else constant["fval"]["fval"]
    if text.startswith("-"):
        made = _literal(rewriter, constant, text, suffix, spelling, many=many)
        return Constant(("(", *made.parts[:1], ")", *made.parts[1:]), made.value)
    return _literal(rewriter, constant, text, suffix, spelling, many=many)


def _literal(rewriter: Rewriter, node: Node, text: str, suffix: str, cast: str, *, many: bool) -> Constant:
    start = node["location"]
    spans = rewriter.spans
    last = spans.at(start)
    if text.startswith("-") and spans.tokens[last].text == "-":
        last += 1
    end = spans.tokens[last].end
    raw = rewriter.text.encode()
    chars = len(raw[:start].decode())
    value = Value(text=text, many=many, cast=cast, start=chars, end=chars + len(raw[start:end].decode()))
    return Constant(((start, end), suffix) if suffix else ((start, end),), value)


def cast_to(name: Node, family: str, *, many: bool) -> str | None:
    """How a cast to a type of the family is written; None for any other type."""
    names = strings(name.get("names", []))
    if len(names) == 2 and names[0] == "pg_catalog":
        names = names[1:]
    bounds = name.get("arrayBounds", [])
    if len(names) != 1 or name.get("setof") or name.get("pct_type") or bool(bounds) is not many or len(bounds) > 1:
        return None
    if FAMILIES.get(names[0]) != family:
        return None
    typmods = [m.get("A_Const", {}).get("ival") for m in name.get("typmods", [])]
    if any(m is None for m in typmods):
        return None
    inside = f"({', '.join(str(m.get('ival', 0)) for m in typmods)})" if typmods else ""
    return f"pg_catalog.{names[0]}{inside}" + ("[]" if many else "")


def said(node: Node) -> list[Node]:
    """The constants and parameters of an expression, in order."""
    if isinstance(node, dict):
        if "A_Const" in node:
            return [strip(node["A_Const"])]
        if "ParamRef" in node:
            return [node["ParamRef"].get("number")]
        return [x for key, value in node.items() if key != "typeName" for x in said(value)]
    return [x for value in node for x in said(value)] if isinstance(node, list) else []


def arguments(items: list[Node]) -> tuple[Value | None, ...]:
    """The arguments of an EXECUTE; None for one whose value is not there to be read."""
    return tuple(_argument(item) for item in items)


def _argument(node: Node) -> Value | None:
    cast = node.get("TypeCast")
    many = False
    if cast is not None:
        name = cast["typeName"]
        names = strings(name.get("names", []))
        many = bool(name.get("arrayBounds"))
        if name.get("typmods") or names[-1] not in FAMILIES or (len(names) > 1 and names[0] != "pg_catalog"):
            return None
        node = cast["arg"]
    constant = node.get("A_Const")
    if constant is None:
        return None
    if constant.get("isnull"):
        return Value(many=many)
    if "sval" in constant:
        return Value(text=constant["sval"].get("sval", ""), many=many)
    if "ival" in constant:
        return Value(text=str(constant["ival"].get("ival", 0)))
    return Value(text=constant["fval"]["fval"]) if "fval" in constant else None
