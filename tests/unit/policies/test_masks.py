"""Masks without a server: which types they take, and that their SQL names everything in full."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime

import pytest

from policies.document import parse_document
from policies.masks.base import BaseMask
from policies.masks.parse import parse_mask
from policies.model import ColumnType

CATEGORIES = {
    "text": "S", "bpchar": "S", "varchar": "S", "int2": "N", "int4": "N", "int8": "N", "numeric": "N", "money": "N",
    "float4": "N", "float8": "N", "oid": "N", "date": "D", "timestamp": "D", "timestamptz": "D", "time": "D",
    "timetz": "D", "bool": "B", "inet": "I", "cidr": "I", "json": "U", "jsonb": "U", "uuid": "U", "bytea": "U",
    "interval": "T", "_text": "A", "_int4": "A", "_uuid": "A", "contact_t": "C", "mood": "E",
}  # fmt: skip
TEXT = {"text", "bpchar", "varchar"}
NUMBERS = {"int2", "int4", "int8", "numeric", "money", "float4", "float8"}
ALL = set(CATEGORIES)


def column(base: str) -> ColumnType:
    sql = f"pg_catalog.{base.removeprefix('_')}" + ("[]" if base.startswith("_") else "")
    return ColumnType(base, CATEGORIES[base], sql)


def mask(text: str) -> BaseMask:
    return parse_mask(parse_document(text))


ACCEPTED = [
    ("null", ALL),
    ("{ sql: '$1' }", ALL),
    ("{ keep: { first: 3, last: 4 } }", TEXT),
    ("{ keep: { last: 4, fill: '#', fill_length: 3 } }", TEXT),
    ("redact", TEXT),
    ("name", TEXT),
    ("email", TEXT),
    ("address", TEXT),
    ("scrub", TEXT),
    ("ip", TEXT | {"inet", "cidr"}),
    ("{ round: 10000 }", NUMBERS),
    ("{ round: 7 }", NUMBERS),
    ("{ bucket: 250 }", NUMBERS),
    ("{ round: 0.1 }", NUMBERS - {"int2", "int4", "int8"}),
    ("{ round: 1 }", NUMBERS - {"int2", "int4", "int8"}),
    ("{ truncate: year }", {"date", "timestamp", "timestamptz"}),
    ("{ truncate: day }", {"timestamp", "timestamptz"}),
    ("{ truncate: hour }", {"timestamp", "timestamptz", "time"}),
    ("{ constant: 5 }", NUMBERS),
    ("{ constant: 40000 }", NUMBERS - {"int2"}),
    ("{ constant: 1.5 }", NUMBERS - {"int2", "int4", "int8"}),
    ("{ constant: x }", TEXT),
    ("{ constant: '1970-01-01' }", TEXT | {"date"}),
    ("{ constant: true }", {"bool"}),
    ("{ json: { $.a: redact, $.b.c: null, $.d: remove, $.e: { round: 10 } } }", {"json", "jsonb"}),
    ("{ each: redact }", {"_text"}),
    ("{ each: { round: 10 } }", {"_int4"}),
]


@pytest.mark.parametrize(("text", "types"), ACCEPTED)
def test_types(text: str, types: set[str]) -> None:
    accepted = {t for t in CATEGORIES if mask(text).accepts(column(t)) is None}
    assert accepted == types
    for other in ALL - types:
        assert mask(text).accepts(column(other))


KEYWORDS = {"CASE", "WHEN", "THEN", "ELSE", "END", "IS", "NULL", "NOT", "AND", "OR", "ARRAY", "SELECT", "FROM", "WITH",
            "ORDINALITY", "AS", "ORDER", "BY", "COALESCE", "COLLATE", "OPERATOR", "true", "false"}  # fmt: skip


def unpinned(sql: str) -> list[str]:
    """What in generated SQL would be looked up by search_path."""
    bare = re.sub(r"'(?:[^']|'')*'", "''", sql)
    bare = re.sub(r'"[^"]*"', "q", bare)
    bare = re.sub(r"OPERATOR\(pg_catalog\.[-+*/<>=~!@#%^&|`?]+\)", " ", bare)
    bad = re.findall(r"[-+*/<>=~!@#%^&|`?]+", bare)
    bare = re.sub(r"pg_catalog\.\w+", "''", bare)
    bare = re.sub(r"pgveil_e\.?\w*(\(v, n\))?", " ", bare)
    return bad + [w for w in re.findall(r"[A-Za-z_]\w*", bare) if w not in KEYWORDS and w != "q"]


@pytest.mark.parametrize("text", [t for t, _ in ACCEPTED if "sql" not in t])
def test_generated_sql_names_everything(text: str) -> None:
    for base in CATEGORIES:
        if mask(text).accepts(column(base)) is None:
            sql = mask(text).sql('"col"', column(base))
            assert unpinned(sql) == [], sql
            assert sql.isascii()


def test_the_check_for_bare_names_works() -> None:
    assert unpinned("left('x', 1) || pg_catalog.left(a, 1)") == ["||", "left", "a"]
    assert unpinned("(a LIKE 'x')") == ["a", "LIKE"]


def test_sql_has_no_python_face() -> None:
    with pytest.raises(NotImplementedError, match="computed by PostgreSQL only"):
        mask("{ sql: 'left($1, 1)' }").apply("x")


def test_python_face_of_driver_values() -> None:
    assert mask("{ truncate: month }").apply(date(2024, 5, 6)) == date(2024, 5, 1)
    moment = datetime.fromisoformat("2024-01-01T03:00:00+08:00")
    assert mask("{ truncate: year }").apply(moment) == datetime(2023, 1, 1, tzinfo=UTC)
    assert mask("ip").apply(ipaddress.ip_address("10.1.2.3")) == ipaddress.ip_interface("10.1.0.0/16")
    assert mask("ip").apply(ipaddress.ip_interface("2001:db8:1::1/64")) == ipaddress.ip_interface("2001:db8::/32")
    assert mask("{ round: 100 }").apply(149) == 100
    assert mask("{ each: redact }").apply([["a", None], ["b", "c"]]) == ["***", None, "***", "***"]
    for text in ("redact", "name", "ip", "{ round: 5 }", "{ truncate: year }", "{ each: name }", "{ json: { $.a: name } }"):
        assert mask(text).apply(None) is None


@pytest.mark.parametrize("text", ["redact", "name", "ip", "{ round: 5 }", "{ truncate: year }", "{ each: name }"])
def test_a_value_of_the_wrong_type_is_an_error(text: str) -> None:
    with pytest.raises(TypeError, match="expected"):
        mask(text).apply(object())


def test_repr_is_the_canonical_form() -> None:
    one, two = mask("{ keep: { first: 1 } }"), mask("{ keep: { first: 1, fill: '*' } }")
    assert repr(one) == repr(two)
    assert one == two
    assert repr(one) != repr(mask("{ keep: { last: 1 } }"))
