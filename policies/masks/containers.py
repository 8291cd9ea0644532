"""json and each: masks for what is inside json documents and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from policies.masks.base import NUMERIC, TEXT, BaseMask, call, literal, op
from policies.model import ColumnType

_NULL = "'null'::pg_catalog.jsonb"
_EMPTY_PATH = "'{}'::pg_catalog.text[]"
ELEMENTS = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "citext"), "S"),
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "money"), "N"),
    **dict.fromkeys(("date", "time", "timestamp", "timestamptz"), "D"),
    **dict.fromkeys(("inet", "cidr"), "I"),
    "bool": "B",
}
"""typcategory of the element types that `each` knows."""


def element_type(column: ColumnType) -> ColumnType | None:
    """The type of an array's elements, or None when it is not an array of a known type."""
    name = column.base_type.removeprefix("_")
    if column.category != "A" or name == column.base_type or name not in ELEMENTS:
        return None
    return ColumnType(name, ELEMENTS[name], column.base_sql.removesuffix("[]"))


@dataclass(frozen=True, slots=True)
class Each(BaseMask):
    """A mask for every element of an array. Order, NULL elements and NULL arrays stay; the result has one dimension."""

    mask: BaseMask

    def accepts(self, column: ColumnType) -> str | None:
        element = element_type(column)
        if element is None:
            return f"each masks arrays of text, numbers, dates and addresses, not {column.base_type}"
        return self.mask.accepts(element)

    @property
    def companions(self) -> frozenset[str]:
        return self.mask.companions

    def sql(self, column: str, column_type: ColumnType) -> str:
        element = element_type(column_type)
        if element is None:
            raise ValueError(f"each cannot mask {column_type.base_type}")
        masked = f"({self.mask.sql('pgveil_e.v', element)})::{element.base_sql}"
        source = f"{call('unnest', column)} WITH ORDINALITY AS pgveil_e(v, n)"
        array = f"ARRAY(SELECT {masked} FROM {source} ORDER BY pgveil_e.n)"
        return f"(CASE WHEN ({column}) IS NULL THEN NULL ELSE {array} END)"

    def apply(self, value: object) -> object:
        return None if value is None else [self.mask.apply(v) for v in _flat(value)]

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        element = element_type(column_type)
        if value is None or element is None:
            return None
        return [self.mask.apply_as(v, element) for v in _flat(value)]


def _flat(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    out: list[object] = []
    for v in value:
        out.extend(_flat(v) if isinstance(v, list | tuple) else [v])
    return out


@dataclass(frozen=True, slots=True)
class Remove(BaseMask):
    """Only inside json: the key goes away."""

    def accepts(self, column: ColumnType) -> str | None:
        return "remove can be used inside json only"

    def sql(self, column: str, column_type: ColumnType) -> str:
        raise NotImplementedError("remove can be used inside json only")

    def apply(self, value: object) -> object:
        raise NotImplementedError("remove can be used inside json only")


@dataclass(frozen=True, slots=True)
class Node:
    """A key of the document: a mask for its value, or the keys below it."""

    key: str
    mask: BaseMask | None
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Json(BaseMask):
    """Masks for the values at paths of a json or jsonb document; all other keys stay.

    Strings and numbers at a path are masked; anything else there, and anything that stands where the path needs an
    object, becomes a json null, so that a document of an unexpected shape shows less, not more.
    """

    nodes: tuple[Node, ...]

    @property
    def companions(self) -> frozenset[str]:
        return _companions(self.nodes)

    def accepts(self, column: ColumnType) -> str | None:
        return None if column.base_type in ("json", "jsonb") else f"json masks json and jsonb, not {column.base_type}"

    def sql(self, column: str, column_type: ColumnType) -> str:
        document = f"(({column})::pg_catalog.jsonb)"
        inside = _object_sql(document, self.nodes)
        return f"(CASE WHEN ({column}) IS NULL THEN NULL WHEN {_is(document, 'object')} THEN {inside} ELSE {_NULL} END)"

    def apply(self, value: object) -> object:
        return None if value is None else _object(value, self.nodes)


def build_nodes(paths: list[tuple[tuple[str, ...], BaseMask]]) -> tuple[Node, ...] | str:
    """A tree of the paths, or a sentence when one path lies inside another."""
    heads: dict[str, list[tuple[tuple[str, ...], BaseMask]]] = {}
    for path, mask in paths:
        heads.setdefault(path[0], []).append((path[1:], mask))
    out = []
    for key, rest in heads.items():
        if any(not path for path, _ in rest):
            if len(rest) > 1:
                return f"{key!r} is masked as a whole and has masked keys below it"
            out.append(Node(key, rest[0][1]))
            continue
        below = build_nodes(rest)
        if isinstance(below, str):
            return below
        out.append(Node(key, None, below))
    return tuple(out)


def _companions(nodes: tuple[Node, ...]) -> frozenset[str]:
    here = (n.mask.companions for n in nodes if n.mask is not None)
    return frozenset().union(*here, *(_companions(n.children) for n in nodes))


def inner_type(mask: BaseMask) -> ColumnType | None:
    """As what a mask sees a json value: as text, else as a number, else not at all."""
    return TEXT if mask.accepts(TEXT) is None else NUMERIC if mask.accepts(NUMERIC) is None else None


def _is(document: str, kind: str) -> str:
    return op(call("jsonb_typeof", document), "=", literal(kind))


def _object_sql(document: str, nodes: tuple[Node, ...]) -> str:
    """`document` (an object) with its keys masked. References go to the raw document, so the text stays linear."""
    out = document
    for node in nodes:
        key = literal(node.key)
        if isinstance(node.mask, Remove):
            out = op(out, "-", key)
            continue
        value = op(document, "->", key)
        path = f"ARRAY[{key}]"
        out = call("jsonb_set", out, path, _value_sql(value, node), "false")
    return out


def _value_sql(value: str, node: Node) -> str:
    if node.mask is None:
        return f"(CASE WHEN {_is(value, 'object')} THEN {_object_sql(value, node.children)} ELSE {_NULL} END)"
    kind = inner_type(node.mask)
    text = op(value, "#>>", _EMPTY_PATH)
    if kind is None:
        return _NULL
    if kind is NUMERIC:
        masked = call("to_jsonb", f"({node.mask.sql(f'({text}::pg_catalog.numeric)', NUMERIC)})::pg_catalog.numeric")
        return f"COALESCE((CASE WHEN {_is(value, 'number')} THEN {masked} END), {_NULL})"
    masked = call("to_jsonb", f"({node.mask.sql(text, TEXT)})::pg_catalog.text")
    scalar = f"({_is(value, 'string')} OR {_is(value, 'number')})"
    return f"COALESCE((CASE WHEN {scalar} THEN {masked} END), {_NULL})"


def _object(value: object, nodes: tuple[Node, ...]) -> object:
    if not isinstance(value, Mapping):
        return None
    out: dict[str, object] = dict(value)
    for node in nodes:
        if node.key not in out:
            continue
        if isinstance(node.mask, Remove):
            del out[node.key]
        else:
            out[node.key] = _value(out[node.key], node)
    return out


def _value(value: object, node: Node) -> object:
    if node.mask is None:
        return _object(value, node.children)
    kind = inner_type(node.mask)
    if kind is None or isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if kind is NUMERIC:
        return None if isinstance(value, str) else node.mask.apply_as(_decimal(value), NUMERIC)
    return node.mask.apply(value if isinstance(value, str) else f"{_decimal(value):f}")


def _decimal(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
