"""Spelling of types, from rows as pg_type has them."""

from __future__ import annotations

import pytest

from proxy.control.types import TypeNames, TypeRow, modifier_pairs


def row(oid: int, schema: str, name: str, quoted: str | None = None, kind: str = "b", **more: int | bool | str) -> TypeRow:
    values: dict[str, int | bool | str] = {"category": "S", "element": 0, "array": 0, "base": 0, "base_typmod": -1}
    values |= {"checked": False, "relation": 0}
    values.update(more)
    return TypeRow(oid, schema, name, quoted or f"{schema}.{name}", kind, **values)  # type: ignore[arg-type]


TYPES = {
    r.oid: r
    for r in (
        row(18, "pg_catalog", "char", 'pg_catalog."char"'),
        row(25, "pg_catalog", "text", array=1009),
        row(1009, "pg_catalog", "_text", element=25, category="A"),
        row(26, "pg_catalog", "oid", array=1028),
        row(30, "pg_catalog", "oidvector", element=26),
        row(1043, "pg_catalog", "varchar", 'pg_catalog."varchar"', array=1015),
        row(1015, "pg_catalog", "_varchar", element=1043, category="A"),
        row(1186, "pg_catalog", "interval", 'pg_catalog."interval"'),
        row(1266, "pg_catalog", "timetz"),
        row(500, "bank", "phone_t", kind="d", base=1043, base_typmod=14, array=501, checked=True),
        row(501, "bank", "_phone_t", element=500, category="A"),
        row(502, "bank", "vip_t", kind="d", base=500),
        row(503, "bank", "tags", kind="d", base=1015, base_typmod=14),
        row(504, "My Geo", "Point(x)", '"My Geo"."Point(x)"'),
    )
}
MODIFIERS = {
    (1043, 14): "character varying(10)",
    (1186, 67895299): "interval day to second(3)",
    (1266, 3): "time(3) with time zone",
    (504, 7): '"My Geo"."Point(x)"(Z,4326)',
}
NAMES = TypeNames(TYPES, MODIFIERS)


@pytest.mark.parametrize(
    ("oid", "typmod", "expected"),
    [
        (25, -1, "pg_catalog.text"),
        (18, -1, 'pg_catalog."char"'),
        (30, -1, "pg_catalog.oidvector"),
        (1009, -1, "pg_catalog.text[]"),
        (1043, 14, "pg_catalog.varchar(10)"),
        (1015, 14, "pg_catalog.varchar(10)[]"),
        (1186, 67895299, "interval day to second(3)"),
        (1266, 3, "pg_catalog.timetz(3)"),
        (500, -1, "bank.phone_t"),
        (501, -1, "bank.phone_t[]"),
        (504, 7, '"My Geo"."Point(x)"(Z,4326)'),
        (504, -1, '"My Geo"."Point(x)"'),
    ],
)
def test_sql(oid: int, typmod: int, expected: str) -> None:
    assert NAMES.sql(oid, typmod) == expected


@pytest.mark.parametrize(
    ("oid", "expected"),
    [
        (25, "pg_catalog.text"),
        (502, "pg_catalog.varchar(10)"),
        (501, "pg_catalog.varchar(10)[]"),
        (503, "pg_catalog.varchar(10)[]"),
    ],
)
def test_base_takes_all_domains_off(oid: int, expected: str) -> None:
    assert NAMES.sql(*NAMES.base(oid, -1)) == expected


def test_checked_looks_through_domains_and_arrays() -> None:
    assert [oid for oid in TYPES if NAMES.checked(oid)] == [500, 501, 502]


def test_modifier_pairs_are_those_of_elements() -> None:
    assert modifier_pairs(TYPES, {(1015, 9), (25, -1)}) == {(1043, 9), (1043, 14)}
