"""Relations that the open transaction has made, which nobody but this session can know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewrite.plan import Plan, PlanContext, Resolution, Verdict
from tests.support import minibank
from tests.support.minibank import MASKED, plan


def made(*fresh: tuple[str, str], unread: tuple[tuple[str, str], ...] = ()) -> PlanContext:
    return replace(MASKED, resolution=Resolution((*minibank.PATH, "bank"), fresh=frozenset(fresh), unread=frozenset(unread)))


def refusal(given: Plan) -> tuple[str, str]:
    assert given.refusal is not None
    return given.refusal.sqlstate, given.refusal.message


@pytest.mark.parametrize("name", ["made", "bank.made"])
def test_a_table_of_the_own_transaction_is_read_and_pinned(name: str) -> None:
    got = plan(f"SELECT m.*, c.phone FROM {name} m JOIN bank.customers c ON c.id = m.id", made(("bank", "made")))
    assert got.verdict is Verdict.REWRITE
    assert "bank.made m JOIN (SELECT" in got.text.replace('"', "")


def test_it_is_permanent_masked_values_do_not_go_into_it() -> None:
    assert refusal(plan("INSERT INTO made SELECT phone FROM bank.customers", made(("bank", "made"))))[0] == "42501"
    assert plan("INSERT INTO made SELECT id FROM bank.customers", made(("bank", "made"))).verdict is Verdict.REWRITE


def test_it_hides_what_the_catalog_has_under_its_name() -> None:
    assert plan("SELECT new FROM branches", made(("bank", "branches"))).verdict is Verdict.REWRITE


def test_a_view_of_the_own_transaction_has_not_been_read() -> None:
    assert refusal(plan("SELECT * FROM v_made", made(unread=(("bank", "v_made"),))))[0] == "0A000"


def test_a_relation_that_is_not_there_is_named_with_its_place() -> None:
    got = plan("SELECT '张三' FROM nowhere", MASKED)
    assert got.refusal is not None
    assert (got.refusal.sqlstate, got.refusal.position) == ("42P01", 18)
    in_ddl = plan("LOCK nowhere", MASKED)
    assert in_ddl.refusal is not None
    assert in_ddl.refusal.position is None


def test_errors_of_the_grammar_keep_their_state() -> None:
    assert refusal(plan(r"SELECT E'\u061'"))[0] == "22025"
    assert refusal(plan(r"SELECT U&'\061'"))[0] == "42601"
    assert refusal(plan(r"SELECT U&'a' UESCAPE '+'"))[0] == "42601"
    assert refusal(plan("SELECT FROM FROM"))[0] == "42601"


def test_a_foreign_key_may_refer_to_the_table_that_is_being_made() -> None:
    got = plan(
        "CREATE TABLE bank.tree (id int PRIMARY KEY, up int REFERENCES tree, FOREIGN KEY (up) REFERENCES bank.tree)", made()
    )
    assert got.verdict is Verdict.PASS or "REFERENCES" in got.text
    assert refusal(plan("CREATE TABLE bank.tree (id int REFERENCES bank.trees)"))[0] == "42P01"
    assert refusal(plan("CREATE TABLE bank.tree (c int REFERENCES bank.customers)"))[0] == "42501"


def test_a_table_made_in_the_same_string_is_known() -> None:
    text = "CREATE TABLE bank.notes (a int); INSERT INTO bank.notes VALUES (1); SELECT a FROM bank.notes"
    got = plan(text)
    assert got.verdict in (Verdict.PASS, Verdict.REWRITE)
    assert got.statements[2].fresh == 1
    refused = plan("CREATE TABLE bank.notes (p text); INSERT INTO bank.notes SELECT phone FROM bank.customers")
    assert refusal(refused)[0] == "42501"
    perhaps = "CREATE TABLE IF NOT EXISTS bank.notes (a int); SELECT a FROM bank.notes"
    assert plan(perhaps).verdict is Verdict.PASS
    assert plan("BEGIN; " + perhaps).verdict is Verdict.PASS
    assert plan("SELECT pg_sleep(9); " + perhaps).verdict is Verdict.NEED  # by then somebody else may have made it


def test_refusals_name_the_object_and_not_the_parser() -> None:
    assert plan("COMMENT ON FUNCTION bank.band(int) IS 'x'").verdict is Verdict.PASS
    assert "DROP POLICY" in refusal(plan("DROP POLICY p ON bank.branches"))[1]


@pytest.mark.parametrize("name", ["nowhere", "bank.nowhere", "minibank.bank.nowhere", "no.nowhere"])
@pytest.mark.parametrize("change", ["ADD COLUMN a int", "RENAME COLUMN a TO b", "RENAME TO x"])
def test_altering_what_need_not_be_there_touches_nothing(name: str, change: str) -> None:
    assert plan(f"ALTER TABLE IF EXISTS {name} {change}").text == f"ALTER TABLE IF EXISTS pg_temp.nowhere {change}"
    assert refusal(plan(f"ALTER TABLE {name} {change}"))[0] in ("42P01", "3F000")
    assert refusal(plan(f"ALTER TABLE IF EXISTS bank.customers {change}"))[0] == "42501"
    temporary = minibank.context(temp=("nowhere",))
    if "." in name:
        assert refusal(plan(f"ALTER TABLE IF EXISTS {name} {change}", temporary))[0] in ("42P01", "3F000")


def test_a_sequence_that_need_not_be_there() -> None:
    got = plan("ALTER SEQUENCE IF EXISTS bank.nowhere RESTART")
    assert got.text == "ALTER SEQUENCE IF EXISTS pg_temp.nowhere RESTART"
