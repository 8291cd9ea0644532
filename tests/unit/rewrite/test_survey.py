"""What a statement names, and what the names may mean."""

from __future__ import annotations

import pytest

from rewrite.columns import Columns
from rewrite.pgtree import parse
from rewrite.survey import Survey, Use
from tests.support.minibank import CATALOG


def survey(text: str) -> Survey:
    (statement,) = parse(text)
    return Survey(statement.kind, statement.body)


def names(text: str) -> list[str]:
    """Relations in the order of the walk; common table expressions in brackets, targets and plain names marked."""
    marks = {Use.SOURCE: "", Use.TARGET: "!", Use.NAME: "?"}
    return [f"[{s.name}]" if s.cte else s.name + marks[s.use] for s in survey(text).sites]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1 FROM a, b JOIN c ON true", ["a", "b", "c"]),
        ("WITH a AS (SELECT 1 FROM a) SELECT 1 FROM a", ["a", "[a]"]),
        ("WITH RECURSIVE a AS (SELECT 1 FROM a) SELECT 1 FROM a", ["[a]", "[a]"]),
        ("WITH a AS (SELECT 1 FROM b), b AS (SELECT 1 FROM a) SELECT 1 FROM a, b", ["b", "[a]", "[a]", "[b]"]),
        ("WITH RECURSIVE a AS (SELECT 1 FROM b), b AS (SELECT 1) SELECT 1 FROM a", ["[b]", "[a]"]),
        ("WITH a AS (SELECT 1) SELECT 1 FROM s.a", ["a"]),
        ("WITH a AS (SELECT 1) SELECT (SELECT 1 FROM a) FROM (SELECT 1 FROM a) x", ["[a]", "[a]"]),
        ("SELECT 1 FROM (WITH a AS (SELECT 1) SELECT 1 FROM a) x, a", ["[a]", "a"]),
        ("WITH a AS (SELECT 1) SELECT 1 FROM a UNION SELECT 1 FROM a", ["[a]", "[a]"]),
        ("SELECT 1 FROM a UNION (WITH a AS (SELECT 1) SELECT 1 FROM a)", ["a", "[a]"]),
        ("WITH a AS (SELECT 1) INSERT INTO a SELECT 1 FROM a", ["a!", "[a]"]),
        ("WITH a AS (SELECT 1) UPDATE a SET x = 1 FROM a b WHERE a.x = b.x", ["a!", "[a]"]),
        ("WITH a AS (DELETE FROM b RETURNING 1) SELECT 1 FROM a", ["b!", "[a]"]),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DO NOTHING", ["a!", "b"]),
        ("SELECT 1 FROM ONLY a, b *, LATERAL (SELECT 1 FROM c) x", ["a", "b", "c"]),
        ("SELECT 1 FROM a TABLESAMPLE system (1)", ["a"]),
        ("TABLE a", ["a"]),
        ("COPY a TO STDOUT", ["a?"]),
        ("LOCK TABLE a, b", ["a?", "b?"]),
        ("CREATE TABLE a (LIKE b, c int REFERENCES d) INHERITS (e)", ["a?", "e?", "b?", "d?"]),
        ("CREATE INDEX ON a ((lower(b)))", ["a?"]),
    ],
)
def test_relations(text: str, expected: list[str]) -> None:
    assert sorted(names(text)) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT f(1)",
        "SELECT 1 FROM f(1)",
        "SELECT 1 FROM ROWS FROM (f(1), g(2))",
        "SELECT 1 ORDER BY f(1)",
        "SELECT 1 LIMIT f(1)",
        "SELECT sum(1) OVER (ORDER BY f(1))",
        "SELECT sum(1) FILTER (WHERE f(1))",
        "SELECT 1 GROUP BY GROUPING SETS ((f(1)))",
        "SELECT CASE WHEN f(1) THEN 1 END",
        "SELECT (ARRAY[f(1)])[f(2)]",
        "SELECT xmlelement(name a, xmlattributes(f(1) AS b))",
        "SELECT JSON_OBJECT('a': f(1))",
        "VALUES (f(1))",
        "INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET b = f(1)",
        "INSERT INTO a VALUES (1) RETURNING f(1)",
        "MERGE INTO a USING b ON f(1) WHEN MATCHED THEN DO NOTHING",
        "MERGE INTO a USING b ON true WHEN MATCHED AND f(1) THEN DELETE",
        "CREATE TABLE a (b int DEFAULT f(1))",
        "CREATE TABLE a (b int CHECK (f(1)))",
        "CREATE TABLE a (b int GENERATED ALWAYS AS (f(1)) STORED)",
        "CREATE INDEX ON a (f(1)) WHERE f(2)",
        "ALTER TABLE a ALTER b TYPE int USING f(1)",
        "EXECUTE p(f(1))",
        "COPY a FROM STDIN WHERE f(1)",
        "SELECT 1 FROM a TABLESAMPLE system (f(1))",
        "SELECT 1 FROM XMLTABLE('/' PASSING f(1) COLUMNS a int DEFAULT f(2))",
        "SELECT 1 FROM JSON_TABLE(f(1), '$' COLUMNS (a int PATH '$'))",
    ],
)
def test_calls_are_found_everywhere(text: str) -> None:
    assert ("f",) in [c.names for c in survey(text).calls]


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        ("SELECT 1 OPERATOR(s.+) 2", {("s", "+")}),
        ("SELECT 1 IN (2)", {("=",)}),
        ("SELECT 1 IN (SELECT 2)", {("=",)}),
        ("SELECT 1 < ALL (SELECT 2)", {("<",)}),
        ("SELECT CASE 1 WHEN 2 THEN 3 END", {("=",)}),
        ("SELECT 1 FROM a ORDER BY b USING <", {("<",)}),
        ("SELECT 1 FROM a NATURAL JOIN b", {("=",)}),
        ("SELECT 1 FROM a JOIN b USING (c)", {("=",)}),
        ("SELECT NULLIF(1, 2)", {("=",)}),
        ("SELECT 1 IS DISTINCT FROM 2", {("=",)}),
        ("SELECT 'a' LIKE 'b'", {("~~",)}),
    ],
)
def test_operators(text: str, operators: set[tuple[str, ...]]) -> None:
    assert set(survey(text).operators) >= operators


def test_types_samples_and_fields() -> None:
    s = survey("SELECT (1::s.t).f, CAST(NULL AS u[]) FROM a TABLESAMPLE s.m (1), f() AS x(c v)")
    assert {("s", "t"), ("u",), ("v",)} <= set(s.types)
    assert s.samples == [("s", "m")]
    assert s.fields == ["f"]


def test_what_is_not_known_is_told() -> None:
    assert survey("CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS ''").unknown


def used(text: str, relation: str) -> set[str]:
    """Columns of the first site of that name that may be meant; `*` when the whole row may be."""
    s = survey(text)
    relations = {}
    for site in s.sites:
        found = CATALOG.by_name.get((site.schema or "public", site.name))
        if not site.cte and found is not None:
            relations[site] = found
    columns = Columns(s, relations)
    usage = next(u for site, u in columns.usages.items() if site.name == relation)
    return set(usage.columns) | ({"*"} if usage.whole else set())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT id FROM bank.watchlist", {"id"}),
        ("SELECT w.id FROM bank.watchlist w", {"id"}),
        ("SELECT bank.watchlist.id FROM bank.watchlist", {"id"}),
        ("SELECT watchlist FROM bank.watchlist", {"*"}),
        ("SELECT w FROM bank.watchlist w", {"*"}),
        ("SELECT w.upper FROM bank.watchlist w", {"*"}),
        ("SELECT * FROM bank.watchlist, bank.branches", {"*"}),
        ("SELECT b.* FROM bank.watchlist, bank.branches b", set()),
        ("SELECT count(*) FROM bank.watchlist", set()),
        ("SELECT r FROM bank.watchlist AS w(i, r)", {"reason"}),
        ("SELECT reason FROM bank.watchlist AS w(i, r)", set()),
        ("SELECT hotline FROM bank.watchlist AS w(i, r)", {"hotline"}),
        ("SELECT 1 FROM bank.watchlist NATURAL JOIN bank.branches", {"*"}),
        ("SELECT 1 FROM bank.watchlist JOIN bank.customers USING (id)", {"id"}),
        ("SELECT j FROM (bank.watchlist w JOIN bank.branches b ON true) AS j", {"*"}),
        ("SELECT (SELECT reason) FROM bank.watchlist", {"reason"}),
        ("SELECT (SELECT id FROM bank.customers) FROM bank.watchlist", set()),
        ("SELECT (SELECT w.id FROM bank.customers w) FROM bank.watchlist w", set()),
        ("SELECT 1 FROM bank.watchlist, LATERAL (SELECT reason) x", {"reason"}),
        # Names that do not see the level they stand in.
        ("SELECT (SELECT 1 FROM bank.customers c, (SELECT id) x) FROM bank.watchlist", {"id"}),
        ("SELECT (SELECT 1 FROM bank.customers w, (SELECT w.id) x) FROM bank.watchlist w", {"id"}),
        ("SELECT (SELECT 1 FROM bank.customers c, f(id)) FROM bank.watchlist", {"id"}),
        ("SELECT (SELECT 1 FROM bank.customers c, (bank.branches a JOIN bank.branches b ON id = 1)) FROM bank.watchlist", {"id"}),
        ("SELECT (WITH x AS (SELECT id) SELECT 1 FROM bank.customers, x) FROM bank.watchlist", {"id"}),
        ("SELECT (SELECT id FROM (bank.customers c JOIN bank.branches b ON true) AS j (a)) FROM bank.watchlist", {"id"}),
        ("SELECT (SELECT w.id FROM (bank.customers w JOIN bank.branches b ON true) AS j) FROM bank.watchlist w", {"id"}),
        ("DELETE FROM bank.watchlist RETURNING old.reason", {"reason"}),
        ("DELETE FROM bank.watchlist RETURNING new", {"*"}),
        ("UPDATE bank.watchlist SET reason = 1 RETURNING WITH (OLD AS o) o.id", {"id"}),
        ("UPDATE bank.watchlist SET reason = 1", set()),
        ("UPDATE bank.watchlist SET reason = hotline WHERE id = 1", {"hotline", "id"}),
    ],
)
def test_columns_that_may_be_meant(text: str, expected: set[str]) -> None:
    assert used(text, "watchlist") == expected
