"""Which code a masked session may run, with and without a call in sight."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewrite.catalog import Catalog, Function, Operator
from rewrite.plan import Effect, Verdict
from tests.support.minibank import CATALOG, context, plan, profile

BANK = ("pg_catalog", "bank")


def verdict(text: str, path: tuple[str, ...] = ("pg_catalog", "public"), catalog: Catalog = CATALOG) -> str:
    got = plan(text, context(catalog=catalog, of=profile(catalog, "f"), path=path))
    return got.refusal.sqlstate if got.refusal is not None else got.verdict.value


def with_function(schema: str, name: str, volatility: str = "s", extension: str | None = None) -> Catalog:
    new = Function(5000, schema, name, "f", volatility, extension)
    return replace(CATALOG, version=f"v-{schema}.{name}-{extension}", functions={**CATALOG.functions, 5000: new})


@pytest.mark.parametrize(
    "text", ["SELECT upper('a')", "SELECT bank.band(1)", "SELECT pg_catalog.now()", "SELECT nextval('s')", "SELECT int4('1')"]
)
def test_allowed(text: str) -> None:
    assert verdict(text) == "pass"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT bank.get_phone(1)",
        "SELECT 1 FROM bank.get_phone(1)",
        'SELECT "bank"."get_phone"(1)',
        "SELECT minibank.bank.get_phone(1)",
        'SELECT bank.U&"\\0067et_phone"(1)',
        "SELECT pg_read_file('x')",
        "SELECT pg_catalog.lo_get(1)",
        "SELECT ts_stat('select 1')",
        "SELECT pg_temp.f(1)",
        "CALL bank.get_phone(1)",
        "SELECT 1 OPERATOR(bank.~>) 'a'",
        "SELECT 1 OPERATOR(minibank.bank.~>) 'a'",
        "SELECT 1::bank.hooked_t",
        "SELECT bank.hooked_t(1)",
        "SELECT (pg_class.oid).pg_get_indexdef FROM pg_catalog.pg_class",
    ],
)
def test_refused(text: str) -> None:
    assert verdict(text) == "42501"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT get_phone(1)",
        "SELECT (1).get_phone",
        "SELECT (ARRAY[1])[1].get_phone",
        "SELECT x.get_phone FROM (SELECT 1) x",
        "SELECT x.get_phone FROM generate_series(1, 2) x",
        "SELECT b.get_phone FROM branches b",
        "SELECT branches.get_phone FROM branches",
        "SELECT bank.branches.get_phone FROM bank.branches",
        "SELECT (SELECT c.get_phone FROM (SELECT 1) c) FROM public.customers AS c(get_phone)",
        "SELECT 1 ~> 'a'",
        "SELECT 1 ORDER BY 1 USING ~>",
        "SELECT 1::hooked_t",
    ],
)
def test_refused_where_the_path_leads_to_it(text: str) -> None:
    assert verdict(text, BANK) == "42501"


def test_a_column_of_that_name_is_a_column() -> None:
    assert verdict("SELECT c.get_phone FROM public.customers AS c(get_phone)", BANK) in ("pass", "rewrite")


def test_other_paths_do_not_matter() -> None:
    assert verdict("SELECT 1 ~> 'a'") == "pass"


def test_a_function_of_the_same_name_as_a_builtin() -> None:
    evil = with_function("public", "upper")
    assert verdict("SELECT upper('a')", catalog=evil) == "42501"
    assert verdict("SELECT upper('a')", ("pg_catalog", "bank"), evil) == "pass"
    assert verdict("SELECT pg_catalog.upper('a')", catalog=evil) == "pass"


def test_the_masks_own_functions_are_pinned_against_it() -> None:
    evil = with_function("public", "overlay")
    got = plan("SELECT phone FROM bank.customers", context(catalog=evil, of=profile(evil, "g")))
    assert got.verdict is Verdict.REWRITE
    assert '"pg_catalog"."overlay"' in got.text


def test_extensions() -> None:
    assert verdict("SELECT f(1)", catalog=with_function("public", "f", extension="pgcrypto")) == "pass"
    assert verdict("SELECT crosstab('x')", catalog=with_function("public", "crosstab", extension="tablefunc")) == "42501"
    assert verdict("SELECT f(1)", catalog=with_function("public", "f", extension="dblink")) == "42501"


def test_builtins_that_may_look_at_more_than_their_arguments_have_to_be_listed() -> None:
    assert verdict("SELECT new_thing()", catalog=with_function("pg_catalog", "new_thing", "v")) == "42501"
    assert verdict("SELECT new_thing()", catalog=with_function("pg_catalog", "new_thing", "s")) == "42501"
    assert verdict("SELECT new_thing()", catalog=with_function("pg_catalog", "new_thing", "i")) == "pass"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT JSON_SCALAR(1)", "json_scalar"),
        ("SELECT JSON_OBJECT('a': 1)", "json_object"),
        ("SELECT JSON_EXISTS('{}', '$')", "json_exists"),
    ],
)
def test_later_syntax_is_a_call_on_an_older_server(text: str, name: str) -> None:
    evil = with_function("public", name)
    assert verdict(text, catalog=evil) == "42501"
    assert verdict(text, catalog=replace(evil, version="18", server_version=180000)) == "pass"


def test_implicit_operators() -> None:
    attr = next(f.oid for f in CATALOG.functions.values() if f.name == "attr")
    evil = replace(CATALOG, version="eq", operators=(Operator("public", "=", attr),))
    for text in (
        "SELECT 1 = 1",
        "SELECT 1 IN (1)",
        "SELECT 1 IN (SELECT 1)",
        "SELECT NULLIF(1, 1)",
        "SELECT 1 IS DISTINCT FROM 1",
        "SELECT CASE 1 WHEN 1 THEN 1 END",
        "SELECT 1 FROM bank.branches JOIN bank.branches b USING (code)",
        "SELECT 1 FROM bank.branches NATURAL JOIN bank.v_branches",
    ):
        assert verdict(text, catalog=evil) == "42501", text


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('session_authorization', 'x', false)",
        "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false)",
        "SELECT minibank.pg_catalog.set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config(setting_name => 'x', new_value => 'y', is_local => false)",
        "SET standard_conforming_strings = off",
        "SET standard_conforming_strings = DEFAULT",
        "SET standard_conforming_strings FROM CURRENT",
        "SET standard_conforming_strings = 'on', 'off'",
        "RESET standard_conforming_strings",
        "SET SESSION AUTHORIZATION x",
        "SET session_replication_role = replica",
    ],
)
def test_settings_that_stay(text: str) -> None:
    assert verdict(text) == "42501"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE t (a text DEFAULT set_config('search_path', 'bank', false))",
        "CREATE TEMP TABLE t (a text CHECK (set_config('search_path', 'bank', false) <> ''))",
        "ALTER TABLE bank.branches ALTER name SET DEFAULT set_config('search_path', 'bank', false)",
        "CREATE TEMP VIEW v AS SELECT set_config('search_path', 'bank', false)",
        "CREATE TEMP TABLE t AS SELECT set_config('search_path', 'bank', false)",
        "SELECT set_config('search_path', 'bank', false) AS a INTO TEMP t",
        "DECLARE c CURSOR FOR SELECT set_config('search_path', 'bank', false)",
        "PREPARE p AS SELECT set_config('search_path', 'bank', false)",
        "EXECUTE p(set_config('search_path', 'bank', false))",
        "COPY bank.branches FROM STDIN WHERE set_config('search_path', 'bank', false) <> ''",
    ],
)
def test_settings_do_not_change_unseen(text: str) -> None:
    assert verdict(text) == "42501"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('standard_' || 'conforming_strings', 'off', false)",
        "SELECT set_config(name, 'off', false) FROM (VALUES ('x')) v(name)",
        "SELECT (SELECT 1 FROM set_config(name, 'bank', true) f, (SELECT 'x'::text AS name) g WHERE name = 'x') "
        "FROM (VALUES ('search_path')) o(name)",
        "SELECT minibank.pg_catalog.set_config($1, $2, $3)",
    ],
)
def test_settings_that_are_known_only_later_are_looked_at_then(text: str) -> None:
    got = plan(text, context(path=("pg_catalog", "public")))
    assert got.verdict is Verdict.REWRITE
    assert "standard_conforming_strings" in got.text
    assert got.effects & Effect.RESOLUTION


def test_names_of_a_view_s_definition_are_looked_up_in_the_session_s_path() -> None:
    assert verdict("SELECT label FROM bank.v_label") == "rewrite"
    attr = next(f.oid for f in CATALOG.functions.values() if f.name == "attr")
    evil = replace(CATALOG, version="||", operators=(Operator("public", "||", attr),))
    assert verdict("SELECT label FROM bank.v_label", catalog=evil) == "42501"
    assert verdict("SELECT label FROM bank.v_label", BANK, evil) == "rewrite"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_get_indexdef(30)",
        "SELECT pg_catalog.pg_get_indexdef(30, 1, true)",
        "SELECT minibank.pg_catalog.pg_get_indexdef(30)",
        "SELECT obj_description(12, 'pg_class')",
    ],
)
def test_printed_definitions_are_looked_at(text: str) -> None:
    got = plan(text)
    assert got.verdict is Verdict.REWRITE
    assert "THEN NULL::pg_catalog.oid" in got.text


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE t (a text DEFAULT pg_get_indexdef(30))",
        "ALTER TABLE bank.branches ALTER name TYPE text USING obj_description(12)",
        "EXECUTE p(pg_get_indexdef(30))",
        "COPY bank.branches FROM STDIN WHERE pg_get_indexdef(30) LIKE '%1%'",
    ],
)
def test_printed_definitions_are_refused_elsewhere(text: str) -> None:
    assert verdict(text) == "42501"


def test_user_code_that_may_write_counts_as_a_write() -> None:
    for volatility, effects in (("v", Effect.WRITES), ("s", Effect.NONE)):
        catalog = with_function("bank", "book", volatility)
        of = replace(profile(catalog, "f"), functions=frozenset({"bank.book"}))
        assert plan("SELECT bank.book(1)", context(catalog=catalog, of=of)).effects == effects
        operators = replace(catalog, version=f"o{volatility}", operators=(Operator("bank", "<->", 5000),))
        assert plan("SELECT 1 OPERATOR(bank.<->) 2", context(catalog=operators, of=of)).effects == effects


BODIES = {
    "BEGIN PERFORM set_config('search_path', 'evil', false); END": True,
    "BEGIN SET Search_Path = evil; END": True,
    "BEGIN EXECUTE 'SET search' || '_path = evil'; END": True,
    "BEGIN RETURN helper(1); END": True,
    "BEGIN UPDATE bank.branches SET name = 'x'; RETURN lower('X'); END": False,
}


@pytest.mark.parametrize("body", BODIES)
def test_an_allowed_function_that_changes_the_search_path(body: str) -> None:
    """The session has to ask the server again behind it."""
    band = next(f for f in CATALOG.functions.values() if (f.schema, f.name) == ("bank", "band"))
    new = {
        band.oid: replace(band, oid=20001, language="plpgsql", body=body),
        20002: Function(20002, "bank", "helper", "f", "v", language="c"),
    }
    catalog = replace(CATALOG, version=body, functions={**CATALOG.functions, **new})
    got = plan("SELECT bank.band(1)", context(catalog=catalog, of=profile(catalog, "f")))
    assert got.verdict is Verdict.PASS
    assert bool(got.effects & Effect.RESOLUTION) is BODIES[body]


def test_overloads_are_told_apart_by_the_number_of_arguments() -> None:
    one = Function(20001, "bank", "over", "f", "i", language="sql", body="SELECT 1", arguments=1)
    more = Function(20002, "bank", "over", "f", "i", language="c", arguments=3, defaults=1)
    many = Function(20003, "bank", "many", "f", "i", language="c", arguments=2, variadic=True)
    new = {f.oid: f for f in (one, more, many)}
    catalog = replace(CATALOG, version="overloads", functions={**CATALOG.functions, **new})
    found = {text: verdict(text, catalog=catalog) for text in OVERLOADS}
    assert found == OVERLOADS


OVERLOADS = {
    "SELECT bank.over(1)": "pass",
    "SELECT bank.over()": "pass",
    "SELECT (1).over": "pass",
    "SELECT bank.over(1, 2)": "42501",
    "SELECT bank.over(1, b => 2)": "42501",
    "SELECT bank.over(1, 2, 3)": "42501",
    "SELECT bank.over(VARIADIC ARRAY[1])": "42501",
    "SELECT bank.over(1) WITHIN GROUP (ORDER BY 1)": "42501",
    "SELECT bank.many(1)": "pass",
    "SELECT bank.many(1, 2, 3, 4)": "42501",
}


def test_an_extension_that_is_there_is_not_made_again() -> None:
    there = replace(CATALOG, version="with dblink", extensions=frozenset({"dblink"}))
    assert verdict("CREATE EXTENSION IF NOT EXISTS dblink", catalog=there) == "pass"
    assert verdict("CREATE EXTENSION dblink", catalog=there) == "42501"
    assert verdict("CREATE EXTENSION IF NOT EXISTS dblink") == "42501"
