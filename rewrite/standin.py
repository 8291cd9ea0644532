"""Rows given by a policy test in the place of tables: the planned statement with VALUES where it reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rewrite.catalog import Column, Relation
from rewrite.pgtree import Node, parse, quote_ident, quote_literal, tokens

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StandIn:
    text: str
    real: tuple[str, ...]
    """Relations that the text still reads."""


def values_of(relation: Relation, rows: Sequence[Mapping[str, object]]) -> str:
    """A sub-select with these rows, each value of the column's type; columns that a row does not have are NULL."""
    columns = ", ".join(quote_ident(c.name) for c in relation.columns)
    empty = "(" + ", ".join(_literal(None, c) for c in relation.columns) + ")"
    lines = ", ".join("(" + ", ".join(_literal(row.get(c.name), c) for c in relation.columns) + ")" for row in rows)
    return f"(SELECT * FROM (VALUES {lines or empty}) AS given ({columns}){'' if rows else ' WHERE false'})"


def _literal(value: object, column: Column) -> str:
    return f"{_constant(value, column)}::{column.base_sql}"


def _constant(value: object, column: Column) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list) and column.category == "A":
        inner = ", ".join(_constant(v, column) for v in value)
        return f"ARRAY[{inner}]::{column.base_sql}" if inner else "'{}'"
    if isinstance(value, bool):
        return quote_literal("true" if value else "false")
    if isinstance(value, dict | list):
        return quote_literal(json.dumps(value, ensure_ascii=False, default=str))
    return quote_literal(str(value) if not isinstance(value, Decimal) else format(value, "f"))


def stand_in(text: str, given: Mapping[Name, str], path: Sequence[str], known: frozenset[Name]) -> StandIn:
    """`given`: sub-selects by table. `path`: schemas in which a bare name is looked up, of the `known` relations.

    A bare name that is also that of a WITH query is left as it is. Raises ParseError.
    """
    raw = text.encode()
    all_tokens = tokens(text)
    at = {t.start: i for i, t in enumerate(all_tokens)}
    trees = [s.body for s in parse(text)]
    ctes = {str(n["ctename"]) for tree in trees for n in _of_kind(tree, "CommonTableExpr")}
    edits: list[tuple[int, int, str]] = []
    real: list[str] = []
    for source in (n for tree in trees for n in _sources(tree)):
        name = _name(source, path, known, ctes)
        if name is None:
            continue
        if name not in given:
            real.append(".".join(name))
            continue
        first = at[source.get("location", 0)]
        last = first + (2 if "schemaname" in source else 0)
        start, end = all_tokens[first].start, all_tokens[last].end
        if first and all_tokens[first - 1].text.upper() == "ONLY":
            start = all_tokens[first - 1].start
        alias = "" if "alias" in source else f" AS {quote_ident(source['relname'])}"
        edits.append((start, end, given[name] + alias))
    for start, end, new in sorted(edits, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return StandIn(raw.decode(), tuple(dict.fromkeys(real)))


_HARMLESS = frozenset(
    "count sum min max avg upper lower initcap length char_length left right btrim ltrim rtrim substr substring replace concat "
    "round floor ceil abs mod date_trunc date_part extract to_char array_agg string_agg jsonb_agg json_agg bool_and bool_or "
    "row_number rank dense_rank lag lead".split()
)


def reads_nothing_else(sql: str) -> bool:
    """Whether a statement sees nothing but the tables that it names: no function that it calls could read others. Raises
    ParseError."""
    calls = [n for s in parse(sql) for n in _of_kind(s.body, "FuncCall")]
    names = [[part["String"]["sval"] for part in call["funcname"]] for call in calls]
    return all(n[-1] in _HARMLESS and n[:-1] in ([], ["pg_catalog"]) for n in names)


def _name(source: Node, path: Sequence[str], known: frozenset[Name], ctes: set[str]) -> Name | None:
    relation = str(source["relname"])
    if "schemaname" in source:
        return str(source["schemaname"]), relation
    if relation in ctes:
        return None
    return next(((s, relation) for s in path if (s, relation) in known), ("", relation))


def _sources(node: Node) -> Iterator[Node]:
    yield from _of_kind(node, "RangeVar")


def _of_kind(node: Node, kind: str) -> Iterator[Node]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == kind:
                yield value
            yield from _of_kind(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from _of_kind(value, kind)
