"""Digests of values: one for every way to write a value, of every literal of a statement, and nothing of them readable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import Profile
from proxy.audit.redact import MAX_VALUES, redact
from proxy.audit.sink import DecisionEncoder, SessionAudit
from proxy.audit.values import DigestKeys, ValueDigest, members
from proxy.session.effects import UNTOLD, Binds, Identity
from rewrite.plan import Plan, StatementPlan, Touch, Verdict
from rewrite.template import cut, shape

KEYS = DigestKeys.of(bytes(range(32)))
DIGEST = ValueDigest(KEYS.value)
SHARED = (StatementPlan("SELECT", shareable=True),)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("13800138000", "138-0013 8000"),
        ("13800138000", "%13800138000%"),
        ("11010119900307001x", "11010119900307001X"),
        ("１３８００１３８０００", "13800138000"),
        ("张三", "张 三"),
        ("STRASSE", "straße"),
    ],
)
def test_one_value_has_one_digest(a: str, b: str) -> None:
    assert DIGEST(a) == DIGEST(b)
    assert DIGEST(a) != DIGEST(a + "0")


def test_without_the_key_nothing_can_be_tried_out() -> None:
    other = ValueDigest(DigestKeys.of(bytes(32)).value)
    assert DIGEST("13800138000") != other("13800138000")
    assert len({DIGEST(str(n)) for n in range(10_000)}) == 10_000


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    assert len(DIGEST(text)) == 16
    assert DIGEST(text) == DIGEST(f"% {text.upper() if text.isascii() else text}-%")


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("select 1", [("1",)]),
        ("select 'a', 'b', 'a'", [("a", "b")]),
        ("select 'it''s'", [("it's",)]),
        (r"select E'a\'b\x41\u4e2d\102\n'", [("a'bA中B\n",)]),
        (r"select U&'\5f20\+004e09'", [("张三",)]),
        ("select N'x', B'101', X'1F'", [("x", "101", "1F")]),
        ("select 'abc'\n'def'", [("abc", "def", "abcdef")]),
        ("select 'abc' -- so\n 'def', 'g'", [("abc", "def", "abcdef", "g")]),
        ("select 'abc', 'def'", [("abc", "def")]),
        ("select $x$13800138000$x$", [("13800138000",)]),
        ("do $$begin perform f('secret', 5); end$$", [("begin perform f('secret', 5); end", "secret", "5")]),
        ("select 1; select 2;", [("1",), ("2",)]),
        (" ; select 1;; select 'x;y' ; ", [("1",), ("x;y",)]),
        ("select \"13800138000\", '1'", [("1",)]),
        ("select * from t where a = $1 and b = 7", [("7",)]),
        ("select 1 /* '2' */ -- '3'", [("1",)]),
        ("select", [()]),
        ("", [()]),
    ],
)
def test_what_the_literals_of_a_text_say(sql: str, values: list[tuple[str, ...]]) -> None:
    found = redact(sql)
    assert list(found.values) == values
    assert found.whole


@pytest.mark.parametrize("sql", ["select 'a", "select 'x', 'O'Brien'", "select $$a", "select " + "1," * 200_000])
def test_what_is_in_doubt_is_said_to_be(sql: str) -> None:
    assert not redact(sql).whole


@pytest.mark.parametrize(
    "sql",
    [
        "alter role anna password 'hush'",
        "CREATE USER anna\nWITH ENCRYPTED PASSWORD 'hush'",
        "alter /* x */ user -- y\n anna password 'hush'",
        "create user mapping for anna server s options (password 'hush')",
        "alter subscription s connection 'password=hush'",
        "create server s foreign data wrapper w options (password 'hush')",
        "create foreign table t (a int) server s options (password 'hush')",
        "  alter group g rename to \"a\"; alter role b valid until 'hush'",
    ],
)
def test_of_passwords_there_is_not_even_a_digest(sql: str) -> None:
    assert redact(f"do $$ begin {sql}; end $$").values[0][1:] == ()
    found = redact(f"select 'before'; {sql}; select 'after'")
    assert {v for piece in found.values for v in piece} == {"before", "after"}
    assert not found.whole


def test_words_in_a_query_hide_nothing() -> None:
    assert redact("select 'a' as password from alter_role where create_user = 'b'").values == (("a", "b"),)


def test_no_more_values_than_the_limit() -> None:
    found = redact("select " + ",".join(map(str, range(MAX_VALUES + 5))))
    assert (len(found.values[0]), found.whole) == (MAX_VALUES, False)


@given(st.text())
def test_any_text_can_be_searched(sql: str) -> None:
    for piece in redact(sql).values:
        for value in piece:
            DIGEST(value)


@pytest.mark.parametrize(
    ("value", "within"),
    [
        ("{13800138000,NULL,'x'}", ["13800138000", "'x'"]),
        (" {1, 2}", ["1", "2"]),
        ("{{1,2},{3,4}}", ["1", "2", "3", "4"]),
        ("[0:1]={1,2}", ["0:1", "1", "2"]),
        (r'{"a\"b","{c}",""}', ['a"b', "{c}"]),
        ('{"phone": "138", "n": 5}', ["phone", "138", "n", "5"]),
        ("[1,2]", ["1", "2"]),
        ("1{2}", None),
        ("plain", None),
    ],
)
def test_an_array_has_its_members(value: str, within: list[str] | None) -> None:
    assert members(value) == [value, *(within or [])]


def test_very_many_members_are_not_taken_for_few() -> None:
    encoder, many = DecisionEncoder(KEYS), "{" + ",".join(map(str, range(MAX_VALUES + 5))) + "}"
    plan = Plan(Verdict.PASS, "", (StatementPlan("SELECT"),))
    assert encoder.named(plan, 0, f"select '{many}'", None) is None
    assert encoder.named(plan, 0, "select $1", encoder.bound([many])) is None
    named = encoder.named(plan, 0, "select '{" + ",".join(map(str, range(3000))) + "}'", None)
    assert named is not None
    assert len(named) == 3001


def test_strings_that_continue_each_other_take_no_more_room_than_they_have() -> None:
    found = redact("select " + "\n".join(["'ab'"] * 50_000))
    assert sum(map(len, found.values[0])) == 2 + 2 * 50_000


_literals = st.one_of(
    st.text(st.characters(exclude_characters="'\\\0"), max_size=8).map(lambda s: f"'{s}'"), st.integers(0, 10**12).map(str)
)


@given(st.lists(_literals, min_size=1, max_size=5), st.sampled_from([" , ", " ", "\n", " and x = ", ";"]))
def test_a_shared_plan_tells_of_the_same_values(literals: list[str], between: str) -> None:
    """What a template has cut out is what reading the text would find."""
    sql = "select " + between.join(literals)
    found = cut(sql)
    if found is None:
        return
    shared = shape(Plan(Verdict.PASS, sql, SHARED, shareable=True), found)
    assert shared is not None
    encoder = DecisionEncoder(KEYS)
    filled, plain = shared.fill(sql, found), Plan(Verdict.PASS, sql, SHARED)
    by_template = json.loads("{%s}" % encoder._values(filled, 0, sql))  # noqa: UP031
    by_reading = json.loads("{%s}" % encoder._values(plain, 0, sql))  # noqa: UP031
    assert set(by_template["values"]) == set(by_reading["values"])


@pytest.fixture
def session(tmp_path: Path, make: Callable) -> Callable[..., list[dict]]:
    """Decisions of the statements of a text, as the trail has them."""

    def decide(sql: str, kinds: tuple[str, ...], binds: Binds = None, **options: object) -> list[dict]:
        writer = make(tmp_path / "t")
        audit = SessionAudit(writer, DecisionEncoder(KEYS, **options), "s", Identity("anna", "bank"))  # type: ignore[arg-type]
        audit.context(Profile("p", "v", {}, person="core/T01"), [])
        plan = Plan(Verdict.PASS, sql, tuple(map(StatementPlan, kinds)))
        for index in range(len(kinds)):
            audit.decision("s", "statement", plan, index, sql, "simple", binds)
        audit.release()
        writer.flush()
        path = next(writer.directory.glob("*.jsonl"))
        return [json.loads(line) for line in path.read_bytes().splitlines()][1:]

    return decide


def test_each_statement_has_its_own_values(session: Callable) -> None:
    first, second = session("select 'a'; select 'b'", ("SELECT", "SELECT"))
    assert (first["values"], second["values"]) == ([DIGEST("a")], [DIGEST("b")])
    assert first["values_whole"] is second["values_whole"] is True
    assert (first["login"], first["person"]) == ("anna", "core/T01")


def test_where_nobody_can_tell_the_first_statement_has_them_all(session: Callable) -> None:
    first, second = session(
        "create rule r as on insert to t do also (select 'a'; select 'b'); select 'c'", ("CREATE RULE", "SELECT")
    )
    assert first["values"] == [DIGEST(v) for v in "abc"]
    assert (second["values"], second["values_whole"]) == ([], False)


def test_no_values_if_nobody_wants_them(session: Callable) -> None:
    (record,) = session("select 'a'", ("SELECT",), ["b"], values=False)
    assert (record["values"], record["values_whole"], record["binds"]) == (None, None, None)


def test_parameters_as_they_were_bound() -> None:
    encoder = DecisionEncoder(KEYS)
    bound = encoder.bound(["a", None, "", UNTOLD, "{x,y}"])
    assert bound == [DIGEST("a"), None, DIGEST(""), "", *map(DIGEST, ("{x,y}", "x", "y"))]
    assert encoder.bound(None) == [""]


def test_all_that_a_statement_names() -> None:
    encoder, sql = DecisionEncoder(KEYS), "select 'a' where x = $1 or y = 7"
    plan = Plan(Verdict.PASS, sql, (StatementPlan("SELECT"),))
    assert encoder.named(plan, 0, sql, ["b", None]) == {DIGEST("a"), DIGEST("7"), "b"}
    assert encoder.named(plan, 0, sql, ["b", ""]) is None, "nobody knows what one of them is"
    assert encoder.named(plan, 0, "select 'a", None) is None


@pytest.mark.parametrize(
    ("sql", "kind", "kept"),
    [
        ("select * from c where phone = '138'", "SELECT", True),
        ("alter role anna password 'x138'", "ALTER ROLE", False),
        ("select dblink_connect('host=a password=x138')", "SELECT", False),
        ("select crypt('x138', gen_salt('bf'))", "SELECT", False),
        ("set veil.x = 'x138'", "SET", False),
        ("select 'x138", "UNPARSED", False),
    ],
)
def test_full_text_but_no_passwords(session: Callable, sql: str, kind: str, kept: bool) -> None:
    (record,) = session(sql, (kind,), text="full")
    assert (record["text"] == sql) is kept
    assert ("138" in record["text"]) is kept


def test_the_highest_level_in_clear(tmp_path: Path, make: Callable) -> None:
    writer = make(tmp_path / "t")
    audit = SessionAudit(writer, DecisionEncoder(KEYS), "s", Identity("anna", "bank"))
    touches = (
        Touch("b.c", "a", "x", "C2", "output", "clear", "grant 7"),
        Touch("b.c", "b", "x", "C10", "output", "conditional", "own branch", ("grant 9",)),
        Touch("b.c", "d", "x", "C11", "output", "mask", None),
        Touch("b.c", "e", "x", "C11", "filter", "clear", "r"),
    )
    audit.decision("s", "statement", Plan(Verdict.PASS, "", (StatementPlan("SELECT", touches),)), 0, "x", "simple")
    audit.decision("s", "statement", Plan(Verdict.PASS, "", (StatementPlan("SELECT", touches[2:]),)), 0, "y", "simple")
    audit.release()
    writer.flush()
    some, none = [json.loads(line) for line in next(writer.directory.glob("*.jsonl")).read_bytes().splitlines()][1:]
    assert (some["clear"], none["clear"]) == ("C10", None)
    assert [(t["grant"], t["others"]) for t in some["touches"]] == [(7, []), (None, ["grant 9"]), (None, []), (None, [])]
