"""Policy expressions, pinned: nothing in a search_path can change what they mean."""

from __future__ import annotations

import pytest

from rewrite.expression import ExpressionError, pin
from rewrite.pgtree import parse

COLUMNS = {"amount": '"amount"', "name": '"name"', "day": '"day"', "ok": '"ok"', "j": '"j"', "a": '"a"'}

ACCEPTED = [
    ("amount < 100", '("amount" OPERATOR(pg_catalog.<) 100)'),
    ("-amount", '( OPERATOR(pg_catalog.-) "amount")'),
    ("amount IN (1, 2)", '(("amount" OPERATOR(pg_catalog.=) 1) OR ("amount" OPERATOR(pg_catalog.=) 2))'),
    ("amount NOT IN (1, 2)", '(("amount" OPERATOR(pg_catalog.<>) 1) AND ("amount" OPERATOR(pg_catalog.<>) 2))'),
    ("amount BETWEEN 1 AND 2", '(("amount" OPERATOR(pg_catalog.>=) 1) AND ("amount" OPERATOR(pg_catalog.<=) 2))'),
    ("amount NOT BETWEEN 1 AND 2", '(("amount" OPERATOR(pg_catalog.<) 1) OR ("amount" OPERATOR(pg_catalog.>) 2))'),
    ("NULLIF(amount, 0)", '(CASE WHEN ("amount" OPERATOR(pg_catalog.=) 0) THEN NULL ELSE "amount" END)'),
    ("name LIKE 'x%'", "(\"name\" OPERATOR(pg_catalog.~~) 'x%')"),
    ("name NOT ILIKE 'x'", "(\"name\" OPERATOR(pg_catalog.!~~*) 'x')"),
    ("amount = ANY (ARRAY[1, 2])", '("amount" OPERATOR(pg_catalog.=) ANY (ARRAY[1, 2]))'),
    ("amount > ALL (a)", '("amount" OPERATOR(pg_catalog.>) ALL ("a"))'),
    ("ok AND NOT ok OR ok", '(("ok" AND (NOT "ok")) OR "ok")'),
    ("name IS NOT NULL", '(("name") IS NOT NULL)'),
    ("ok IS NOT TRUE", '(("ok") IS NOT TRUE)'),
    ("left(name, 1) || '*'", '("pg_catalog"."left"("name", 1) OPERATOR(pg_catalog.||) \'*\')'),
    ("pg_catalog.upper(name)", '"pg_catalog"."upper"("name")'),
    ("name::varchar(3)", '("name")::"pg_catalog"."varchar"(3)'),
    ("CAST(name AS bank.phone_t)", '("name")::"bank"."phone_t"'),
    ("amount::numeric(10, 2)[]", '("amount")::"pg_catalog"."numeric"(10, 2)[]'),
    ("COALESCE(name, 'x')", "COALESCE(\"name\", 'x')"),
    ("GREATEST(amount, 1)", 'GREATEST("amount", 1)'),
    ("CASE WHEN ok THEN 1 ELSE 2 END", '(CASE WHEN "ok" THEN 1 ELSE 2 END)'),
    ("CASE amount WHEN 1 THEN 2 END", '(CASE WHEN ("amount" OPERATOR(pg_catalog.=) 1) THEN 2 END)'),
    ("j -> 'a' ->> 0", "((\"j\" OPERATOR(pg_catalog.->) 'a') OPERATOR(pg_catalog.->>) 0)"),
    ("a[1]", '(("a")[1])'),
    ("(a).phone", '(("a")."phone")'),
    ("ROW(1, name)", 'ROW(1, "name")'),
    ('name COLLATE "C"', '(("name") COLLATE "pg_catalog"."C")'),
    ("CURRENT_DATE", "CURRENT_DATE"),
    ("SESSION_USER = 'x'", "(SESSION_USER OPERATOR(pg_catalog.=) 'x')"),
    ("true", "true"),
    ("NULL", "NULL"),
    ("1.50", "1.50"),
    ("E'a\\\\b'", "E'a\\\\b'"),
    ("'it''s'", "'it''s'"),
    ("overlay(name placing '*' from 2)", '"pg_catalog"."overlay"("name", \'*\', 2)'),
    ("extract(year from day)", '"pg_catalog"."extract"(\'year\', "day")'),
    ("amount IS DISTINCT FROM 1", None),
    ("name -- a comment", '"name"'),
]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_pinned(text: str, expected: str | None) -> None:
    got = pin(text, COLUMNS)
    if expected is not None:
        assert got == expected
    parse(f"SELECT {got}")
    assert _unpinned(parse(f"SELECT {got}")[0].body) == []
    assert pin(got, COLUMNS) == got or "IN" in text


def _unpinned(node: object) -> list[object]:
    """Names of functions, operators and types without a schema."""
    found: list[object] = []
    if isinstance(node, dict):
        for key in ("funcname", "name", "names"):
            if isinstance(node.get(key), list) and len(node[key]) < 2:
                found.append(node)
        for value in node.values():
            found += _unpinned(value)
    elif isinstance(node, list):
        for value in node:
            found += _unpinned(value)
    return found


def test_is_distinct_from_has_no_operator_to_look_up() -> None:
    assert "DISTINCT" not in pin("amount IS DISTINCT FROM 1", COLUMNS)
    assert pin("amount IS NOT DISTINCT FROM 1", COLUMNS) in pin("amount IS DISTINCT FROM 1", COLUMNS)


def test_the_parameter_is_the_column() -> None:
    assert pin("upper($1)", {}, '"x"') == '"pg_catalog"."upper"("x")'


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT 1)",
        "EXISTS (SELECT 1)",
        "amount IN (SELECT 1)",
        "unknown_column > 1",
        "t.amount > 1",
        "count(*)",
        "count(DISTINCT amount)",
        "sum(amount) OVER ()",
        "string_agg(name, ',' ORDER BY name)",
        "sum(amount) FILTER (WHERE ok)",
        "amount OPERATOR(evil.<) 1",
        "$1",
        "$2",
        "1); SELECT (2",
        "1) FROM pg_class WHERE (true",
        "amount AS x",
        "",
        "amount <",
        "b'1'",
        "'1'::interval day",
        "a[1:2]",
        "CURRENT_CATALOG",
        "xmlparse(document name)",
        "format(VARIADIC a)",
        "DEFAULT",
        "1 AS x) AS y, (2",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        pin(text, COLUMNS)
