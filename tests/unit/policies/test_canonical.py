"""Values have one form however they are written, and different values never have the same."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import can_filter, filters_of
from policies.dictionary import Classified
from policies.document import parse_document
from policies.filters import FAMILIES, MASKED, MAX_ELEMENTS, FilterKind, Filters, canonical, elements
from policies.limits import Cap, Caps, Limit
from policies.load import build_policy
from rewrite.catalog import Column

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6) | st.integers(-(10**40), 10**40).map(Decimal)


@given(NUMBERS, NUMBERS)
def test_numbers_have_one_form(a: Decimal, b: Decimal) -> None:
    forms = [canonical("number", str(x)) for x in (a, b)]
    assert (forms[0] == forms[1]) == (a == b)
    assert canonical("number", f" {a:f}00 " if "." in f"{a:f}" else f"{a:f}.0") == forms[0]


@pytest.mark.parametrize(
    ("family", "text", "form"),
    [
        ("number", "0.00", "0"),
        ("number", "-0", "0"),
        ("number", "1e3", "1e3"),
        ("number", "123456789012345678901234567890123456789", "123456789012345678901234567890123456789e0"),
        ("number", "0x10", None),
        ("number", "", None),
        ("date", " 1990-01-31 ", "1990-01-31"),
        ("date", "31.01.1990", None),
        ("date", "today", None),
        ("date", "1990-01-31 BC", None),
        ("date", "１990-01-31", None),
        ("uuid", "{A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ("uuid", "a0eebc99", None),
        ("text", " a ", " a "),
    ],
)
def test_forms(family: str, text: str, form: str | None) -> None:
    assert canonical(family, text) == form


@given(st.lists(st.none() | st.text(max_size=6), max_size=6))
def test_arrays_are_read_as_they_are_written(members: list[str | None]) -> None:
    quoted = ["NULL" if m is None else '"' + m.replace("\\", "\\\\").replace('"', '\\"') + '"' for m in members]
    assert elements("{" + ",".join(quoted) + "}") == members
    assert elements(" { " + " , ".join(quoted) + " } ") == members


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{}", []),
        ("{a, b c ,d}", ["a", "b c", "d"]),
        ("{null,NULL,\"null\",n\\ull}", [None, None, "null", "null"]),
        ("{a\\,b}", ["a,b"]),
        ('{"a\\\\b"}', ["a\\b"]),
        ("{a\\ }", ["a "]),
        ("{{a},{b}}", None),
        ("[0:1]={a,b}", None),
        ("{a", None),
        ("{a,}", None),
        ("{,a}", None),
        ('{"a}', None),
        ('{a"b"}', None),
        ('{"a"b}', None),
        ("{a\\}", None),
        ("", None),
        ("a", None),
    ],
)  # fmt: skip
def test_arrays(text: str, members: list[str | None] | None) -> None:
    assert elements(text) == members


def test_arrays_have_an_end() -> None:
    assert elements("{" + "1," * MAX_ELEMENTS + "1}") is None


def policy(filters: str) -> Filters:
    text = f"version: 1\nclasses: {{ p: {{ level: C2, mask: null }} }}\ncolumns: {{ a.b.c: {{ class: p, filters: {filters} }} }}"
    return build_policy([parse_document(text)], "v").entries[0].filters


def test_the_key() -> None:
    assert policy("masked") == MASKED
    assert policy("refuse").kind is FilterKind.REFUSE
    assert policy("equality") == Filters(FilterKind.EQUALITY, 60)
    assert policy("{ equality: { probes_per_hour: 5 } }") == Filters(FilterKind.EQUALITY, 5)


def column(base: str = "text", schema: str = "pg_catalog", *, loose: bool = False) -> Column:
    sql = f"{schema}.{base}"
    return Column(1, "c", 25, -1, sql, sql, base, "S", loose=loose)


def test_types() -> None:
    assert all(can_filter(column(name)) for name in FAMILIES)
    for name in (
        "float4",
        "float8",
        "bool",
        "timestamp",
        "timestamptz",
        "interval",
        "jsonb",
        "_text",
        "money",
        "name",
        "bytea",
        "oid",
    ):
        assert not can_filter(column(name))
    assert not can_filter(column("citext", "public"))
    assert not can_filter(column("text", "mine"))
    assert not can_filter(column(loose=True))


def test_the_smallest_budget_counts() -> None:
    text = "version: 1\nclasses: { p: { level: C2, mask: null } }\ncolumns: { a.b.c: { class: p, filters: equality } }"
    made = build_policy([parse_document(text)], "v")
    classified = Classified(made.classes["p"], made.classes["p"].mask, made.entries[0])
    limit = Limit("few", frozenset(), frozenset(), {"probes_per_hour": 7}, "refuse", "f:1")
    many = Limit("many", frozenset(), frozenset(), {"probes_per_hour": 700}, "refuse", "f:1")
    assert filters_of(classified, column()).probes_per_hour == 60
    assert filters_of(classified, column(), Caps(probes=Cap(7, limit))).probes_per_hour == 7
    assert filters_of(classified, column(), Caps(probes=Cap(700, many))).probes_per_hour == 60
    assert filters_of(classified, column("bool")) == MASKED
