"""What a write sets off: triggers, defaults and checks that a masked session may not make run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewrite.catalog import Catalog, Function
from tests.support.minibank import CATALOG, context, plan, profile

BRANCHES = next(r for r in CATALOG.relations.values() if (r.schema, r.name) == ("bank", "branches"))
OID = 20001


def with_trigger(body: str | None, language: str = "plpgsql", extension: str | None = None) -> Catalog:
    trigger = Function(OID, "bank", "on_write", "f", "v", extension, language=language, body=body, types=(2279,))
    branches = replace(BRANCHES, sets_off=(OID,))
    reader = Function(20002, "bank", "reader", "f", "v", language="plpgsql", body="BEGIN SELECT x FROM bank.customers; END")
    return replace(
        CATALOG,
        version=f"{language} {extension} {body}",
        relations={**CATALOG.relations, BRANCHES.oid: branches},
        functions={**CATALOG.functions, OID: trigger, 20002: reader},
    )


def verdict(catalog: Catalog, text: str = "INSERT INTO bank.branches (code) VALUES ('x')") -> str:
    got = plan(text, context(catalog=catalog, of=profile(catalog, "f")))
    return got.refusal.message if got.refusal is not None else got.verdict.value


FINE = [
    "BEGIN NEW.name := upper(NEW.name); RETURN NEW; END",
    "BEGIN INSERT INTO bank.customers (id) VALUES (NEW.id); RETURN NEW; END",
    'BEGIN INSERT INTO "bank" . "customers" (id) SELECT 1; RETURN NEW; END',
    "BEGIN RAISE EXCEPTION 'no such thing in customers'; END",
    "BEGIN -- customers\n /* customers */ RETURN NEW; END",
    "BEGIN PERFORM $$customers$$; RETURN NEW; END",
    "BEGIN PERFORM pg_notify('x', txid_current()::text); RETURN NEW; END",
]
NOT_FINE = [
    "BEGIN SELECT phone INTO NEW.name FROM bank.customers; RETURN NEW; END",
    'BEGIN SELECT phone INTO NEW.name FROM "customers"; RETURN NEW; END',
    "BEGIN SELECT phone INTO NEW.name FROM bank.v_contact, customers; RETURN NEW; END",
    "BEGIN INSERT INTO bank.branches SELECT phone FROM customers; RETURN NEW; END",
    "BEGIN INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO NOTHING RETURNING phone INTO NEW.name; RETURN NEW; END",
    "BEGIN EXECUTE 'SELECT phone FROM cust' || 'omers' INTO NEW.name; RETURN NEW; END",
    "BEGIN NEW.name := reader(); RETURN NEW; END",
    "BEGIN NEW.name := 17 ~> 'phone'; RETURN NEW; END",
    "BEGIN NEW.name := query_to_xml('x', true, true, ''); RETURN NEW; END",
    "BEGIN NEW.name := '--'; SELECT phone INTO NEW.name FROM customers; RETURN NEW; END",
    "BEGIN NEW.name := '/*'; SELECT phone INTO NEW.name FROM customers; RETURN NEW; END -- */",
    "BEGIN PERFORM $$it's$$; SELECT phone INTO NEW.name FROM customers WHERE name = ''; RETURN NEW; END",
    "BEGIN NEW.name := E'\\''; SELECT phone INTO NEW.name FROM customers WHERE name = ''; RETURN NEW; END",
    'BEGIN SELECT phone INTO NEW.name FROM U&"c\\0075stomers"; RETURN NEW; END',
]


@pytest.mark.parametrize("body", FINE)
def test_a_trigger_that_keeps_to_itself(body: str) -> None:
    assert verdict(with_trigger(body)) == "pass"


@pytest.mark.parametrize("body", NOT_FINE)
@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO bank.branches (code) VALUES ('x')",
        "UPDATE bank.branches SET code = 'x'",
        "COPY bank.branches FROM STDIN",
        "WITH w AS (DELETE FROM bank.branches RETURNING code) SELECT * FROM w",
    ],
)
def test_a_trigger_that_may_read_protected_data(body: str, text: str) -> None:
    assert verdict(with_trigger(body), text).startswith("writing to bank.branches runs function bank.")


def test_other_languages_need_leave_and_extensions_do_not() -> None:
    assert "on_write" in verdict(with_trigger(None, "c"))
    assert "on_write" in verdict(with_trigger("return None", "plpython3u"))
    assert verdict(with_trigger(None, "c", "tcn")) == "pass"


def test_the_policy_can_allow_it() -> None:
    catalog = with_trigger(None, "c")
    allowed = profile(catalog, "allowed")
    allowed = replace(allowed, key="allowed", functions=allowed.functions | {"bank.on_write"})
    got = plan("DELETE FROM bank.branches", context(catalog=catalog, of=allowed))
    assert got.refusal is None


def test_reading_sets_nothing_off() -> None:
    assert verdict(with_trigger(None, "c"), "SELECT code FROM bank.branches") == "pass"
