"""Texts that PostgreSQL before 18, or a database in another encoding, would read in another way than we do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewrite.catalog import Function, TypeName
from rewrite.plan import Plan, Verdict
from tests.support.minibank import CATALOG, context, plan


def at(text: str, version: int = 180000, encoding: str = "UTF8") -> Plan:
    catalog = replace(CATALOG, server_version=version, encoding=encoding)
    return plan(text, context(catalog=catalog))


def code(given: Plan) -> str:
    return given.refusal.sqlstate if given.refusal is not None else given.verdict.value


@pytest.mark.parametrize("number", ["0x1F", "0X1f", "0o17", "0b101", "1_000", "1_0.5", ".1_0", "1.5_0", "1_0e5", "1e1_0"])
@pytest.mark.parametrize("text", ["SELECT {} FROM bank.branches", "SELECT phone FROM bank.customers LIMIT {}"])
def test_numbers_of_16(number: str, text: str) -> None:
    for version in (130000, 140000, 150000):
        got = at(text.format(number), version)
        if version == 150000 and number == "1_000":  # its lexer says so itself
            assert got.refusal is not None
            assert got.refusal.message == 'trailing junk after numeric literal at or near "1_000"'
            assert (got.refusal.sqlstate, got.refusal.position) == ("42601", text.index("{}") + 1)
            continue
        assert got.refusal is not None
        assert got.refusal.sqlstate == "0A000"
        assert "means something else to PostgreSQL" in got.refusal.message
        assert got.refusal.hint
    assert at(text.format(number), 160000).refusal is None


@pytest.mark.parametrize(
    "number", ["1", "1.5", "1e5", ".5", "1.", "10000000000000000000000", "'0x1F'", '"0x1F"', "_1", "x1f", "$1"]
)
def test_other_numbers(number: str) -> None:
    assert at(f'SELECT {number} FROM (SELECT 1 AS "0x1F", 2 AS _1, 3 AS x1f) q, bank.customers', 140000).refusal is None


@pytest.mark.parametrize(
    "text", ["SELECT 1abc", "SELECT 0x", "SELECT 0xG", "SELECT 1__0", "SELECT 1_", "SELECT 0b2", "SELECT 1.5x"]
)
def test_junk_after_numbers(text: str) -> None:
    """Before 15 a number and an alias; an error since."""
    assert code(at(text, 140000)) == code(at(text, 180000)) == "42601"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM system_user",
        "SELECT SYSTEM_USER FROM bank.customers",
        "DELETE FROM bank.branches WHERE code = system_user",
        "UPDATE bank.branches SET name = System_User",
    ],
)
def test_a_word_that_became_reserved(text: str) -> None:
    """To 15 it is the name of a column or of a table."""
    got = at(text, 150000)
    assert got.refusal is not None
    assert got.refusal.sqlstate == "0A000"
    assert got.refusal.hint == 'write "system_user" with quotes when it is a name'
    assert "something else" not in str(at(text, 160000).refusal)


def test_the_same_word_where_it_can_only_be_a_name() -> None:
    for text in ('SELECT "system_user" FROM bank.branches', "SELECT b.system_user FROM bank.branches b", "SELECT 'system_user'"):
        assert "something else" not in str(at(text, 150000).refusal)


def test_types_by_another_name() -> None:
    types = (*CATALOG.types, TypeName(90010, "evil", "json"))
    for version, state in ((160000, "0A000"), (170000, "pass")):
        catalog = replace(CATALOG, server_version=version, types=types)
        assert code(plan("SELECT '{}'::json FROM bank.branches", context(catalog=catalog))) == state
        assert code(plan("SELECT '{}'::pg_catalog.json FROM bank.branches", context(catalog=catalog))) == "pass"
    assert code(at("SELECT '{}'::json FROM bank.branches", 150000)) == "pass"


def test_functions_by_another_name() -> None:
    builtin = Function(9901, "pg_catalog", "json_object", "f", "i")
    functions = {**CATALOG.functions, 9901: builtin, 9902: Function(9902, "public", "json_object", "f", "v")}
    for version, state in ((150000, "42501"), (160000, "pass")):
        catalog = replace(CATALOG, server_version=version, functions=functions)
        assert code(plan("SELECT json_object('{a,1}') FROM bank.branches", context(catalog=catalog))) == state


@pytest.mark.parametrize("encoding", ["EUC_CN", "EUC_JP", "LATIN1", "SQL_ASCII", "WIN1252", "KOI8R"])
def test_long_names_in_other_encodings(encoding: str) -> None:
    for text in (f'SELECT 1 AS "{"长" * 22}"', f'SELECT 1 AS "{"长" * 16}"', f'SELECT 1 AS "a{"é" * 40}"'):
        got = at(text, encoding=encoding)
        assert got.refusal is not None
        assert got.refusal.sqlstate == "0A000"
        assert got.refusal.hint
        assert at(text).verdict is Verdict.PASS
    for text in (f'SELECT 1 AS "{"长" * 15}"', f'SELECT 1 AS "{"x" * 80}"', f"SELECT '{'长' * 80}'", f"SELECT 1 -- {'长' * 80}"):
        assert at(text, encoding=encoding).verdict is Verdict.PASS
    assert code(at('SELECT 1 AS U&"\\00e9"', encoding=encoding)) == "0A000"


def test_letters_beyond_ascii_are_folded_in_single_byte_encodings() -> None:
    assert code(at("SELECT 1 AS É", encoding="LATIN1")) == "0A000"
    for text in ('SELECT 1 AS "É"', "SELECT 'É'"):
        assert at(text, encoding="LATIN1").verdict is Verdict.PASS
    for encoding in ("EUC_JP", "UTF8"):
        assert at("SELECT 1 AS É", encoding=encoding).verdict is Verdict.PASS
    assert code(at("SELECT 1 AS 长", encoding="SQL_ASCII")) == "0A000"
