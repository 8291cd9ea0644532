"""Policy tests without a server: what they say, and what they refuse to guess."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from policies.document import DocumentError, parse_document
from policies.trials import parse_trials, schema_of_tests
from policies.values import plain
from proxy.cli import cli
from proxy.trials.offline import run_offline
from proxy.trials.outcome import Status, compare_rows, same, told
from rewrite.conditions import Undecided, holds, plain_select
from rewrite.standin import reads_nothing_else, stand_in
from tests.unit.policies.support import policy

POLICY = """
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
  amount: { level: C2, mask: { round: 10000 } }
  birthday: { level: C2, mask: { truncate: year } }
  profile: { level: C2, mask: { json: { $.id: redact } } }
  cvv: { level: C3, mask: null }
  ref: { level: C1, mask: token }
  odd: { level: C1, mask: { sql: "upper($1)" } }
columns:
  "*.*.phone*": phone
  a.b.amount: amount
  a.b.born: birthday
  a.b.profile: profile
  a.b.cvv: cvv
  a.b.ref: ref
  a.b.odd: odd
rules:
  - { name: cvv, role: teller, columns: class=cvv, show: deny }
  - name: own
    role: teller
    columns: class=phone
    rows: branch = :user.branch and (amount < 100 or vip is null)
    show: clear
  - { name: day, role: auditor, columns: class=amount, when: { time: "08:00-18:00" }, show: clear }
  - { name: menu, user: app, columns: "*", when: { menu: "1" }, show: clear }
attributes: { user: { from: a.users, names: [branch] }, trusted_apps: { app: [menu] } }
"""


def run(test: str) -> tuple[Status, tuple[str, ...]]:
    trials = parse_trials(parse_document("version: 1\ntests: [{ as: li, " + test + " }]", "t.yaml"))
    (result,) = run_offline(policy(POLICY), trials)
    return result.outcome.status, result.outcome.lines


ROW = 'given: { a.b: [{ phone: "13812345678", branch: N, amount: 12345.6, born: 1990-03-05, profile: { id: x, y: [1] } }] }'


@pytest.mark.parametrize(
    "test",
    [
        f"{ROW}, select: phone from a.b, expect: [{{ phone: '138****5678' }}]",
        f"{ROW}, select: phone AS p from a.b where branch = 'N', expect: [{{ p: '138****5678' }}]",
        f"{ROW}, select: phone from a.b where branch <> 'N', expect: []",
        f"{ROW}, select: 'amount, born, profile from a.b',"
        " expect: [{ amount: 10000, born: 1990-01-01, profile: { id: '***', y: [1] } }]",
        f"{ROW}, roles: teller, attributes: {{ branch: N }}, select: phone from a.b, expect: [{{ phone: '13812345678' }}]",
        f"{ROW}, roles: teller, attributes: {{ branch: S }}, select: phone from a.b, expect: [{{ phone: '138****5678' }}]",
        f"{ROW}, roles: teller, select: phone from a.b, expect: [{{ phone: '138****5678' }}]",
        "given: { a.b: [{ amount: 5 }, { amount: null }] }, roles: auditor, time: 2026-11-20T09:00, select: amount from a.b,"
        " expect: [{ amount: null }, { amount: 5 }]",
        "roles: teller, select: cvv from a.b, expect: refused 42501",
        "roles: teller, select: phone from a.b where cvv = '1', expect: refused",
        "roles: teller, select: phone from a.b, expect: allowed",
        "expect: { a.b.cvv: mask, a.b.phone2: { keep: { first: 3, last: 4 } }, a.b.other: clear, a.b.born: { truncate: year } }",
        "roles: teller, attributes: { branch: N }, expect: { a.b.cvv: deny, a.b.phone: conditional }",
        "roles: auditor, time: 2026-11-20T09:00, expect: { a.b.amount: clear }",
        "roles: auditor, time: 2026-11-20T18:00, expect: { a.b.amount: mask }",
    ],
)
def test_passes(test: str) -> None:
    assert run(test) == (Status.PASSED, ())


@pytest.mark.parametrize(
    ("test", "lines"),
    [
        (
            f"{ROW}, select: phone from a.b, expect: [{{ phone: '13812345678' }}]",
            ("expected row 1, phone: 13812345678", "got      138****5678", "by       no rule, class phone"),
        ),
        (f"{ROW}, select: phone from a.b, expect: []", ("expected 0 rows", "got      1")),
        (f"{ROW}, select: phone from a.b, expect: [{{ x: 1 }}]", ("expected row 1, a column x: the result has phone",)),
        ("roles: teller, select: cvv from a.b, expect: []", ("expected rows", "got      refused 42501: cvv is denied")),
        ("roles: teller, select: cvv from a.b, expect: allowed", ("expected allowed", "got      refused 42501: cvv is denied")),
        ("roles: teller, select: cvv from a.b, expect: refused 0A000", ("expected refused 0A000", "got      refused 42501")),
        ("select: cvv from a.b, expect: refused", ("expected refused", "got      allowed")),
        (
            "roles: auditor, expect: { a.b.amount: clear }",
            (
                "it depends on the time: say `time`",
                "expected a.b.amount: clear",
                "got      round 10000",
                "by       no rule, class amount",
            ),
        ),
        ("asserted: { menu: x }, expect: { a.b.amount: clear }", ("li may not assert menu",)),
        (
            "expect: { a.b.other: mask }",
            ("expected a.b.other: mask", "got      clear, by no rule: the column is not sensitive"),
        ),
    ],
)
def test_fails(test: str, lines: tuple[str, ...]) -> None:
    status, found = run(test)
    assert (status, found[: len(lines)]) == (Status.FAILED, lines)
    assert all(line.startswith("not      rule '") for line in found[len(lines) :])


def test_a_failure_names_the_rules_that_do_not_match() -> None:
    _, lines = run("time: 2026-11-20T19:00, roles: auditor, expect: { a.b.amount: clear }")
    assert lines[2:] == (
        "by       no rule, class amount",
        "not      rule 'day' (p1.yaml:26): holds only at 08:00-18:00 UTC, where it is fri 19:00",
        "not      rule 'menu' (p1.yaml:27): for user app; for menu 1",
    )


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("select: count(*) from a.b, expect: []", "it computes something"),
        ("select: phone from a.b join a.c on true, expect: []", "it is more than columns of one table"),
        ("select: phone from b, expect: []", "written as schema.table"),
        ("select: phone from a.b, expect: []", "it gives no rows of a.b"),
        ("sql: DELETE FROM a.b, expect: []", "it is not a SELECT"),
        ("sql: SELEC, expect: []", "it cannot be parsed"),
        (f"{ROW}, select: phone from a.b where phone = 'x', expect: []", "its condition names a masked column"),
        ("select: id from a.b where phone = 'x', expect: refused", "its condition names a masked column"),
        (f"{ROW}, select: phone from a.b where lower(branch) = 'x', expect: []", "computes something"),
        (f"{ROW}, select: '* from a.b', expect: []", "whether the table has a column cvv is not known"),
        ("given: { a.b: [{ ref: x }] }, select: ref from a.b, expect: []", "the mask token needs keys"),
        ("given: { a.b: [{ odd: x }] }, select: odd from a.b, expect: []", "an SQL mask is worked out by a server"),
    ],
)
def test_is_left_out(test: str, why: str) -> None:
    status, lines = run(test)
    assert status is Status.LEFT_OUT
    assert why in lines[0]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("select: x, sql: y, expect: []", "t.yaml:2:21: key 'tests[0].sql': found a second statement, expected select or sql"),
        ("expect: []", "found no statement, expected 'select' or 'sql'"),
        ("select: x, expect: { a.b.c: clear }", "found columns and a statement"),
        ("expect: { a.b: clear }", "expected schema.table.column"),
        ("expect: { a.b.c: claer }", "did you mean 'clear'?"),
        ("expect: {}", "expected at least one column"),
        ("select: x, expect: refused always", "expected a list of rows, allowed, refused, refused 42501"),
        ("select: x, expct: []", "did you mean 'expect'?"),
        ("network: here, select: x, expect: []", "expected an address such as 10.1.2.3"),
        ("time: noon, select: x, expect: []", "expected a time such as 2026-11-20T09:00 Asia/Shanghai"),
        ("time: 2026-11-20T09:00 Asia/Shanghay, select: x, expect: []", "did you mean 'Asia/Shanghai'?"),
        ("given: { b: [] }, select: x, expect: []", "expected schema.table"),
        ("given: { a.b: [1] }, select: x, expect: []", "expected a mapping"),
    ],
)
def test_refused(test: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_trials(parse_document("version: 1\ntests:\n  - { as: li, " + test + " }", "t.yaml"))
    text = str(caught.value).replace("t.yaml:3:26", "t.yaml:2:21")
    assert message in text


def test_what_is_printed_and_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "p.test.yaml").write_text("version: 1\ntests:\n  - { name: n, as: li, expect: { a.b.cvv: clear } }\n")
    more = tmp_path / "more.yaml"
    more.write_text(
        "version: 1\ntests: [{ as: li, select: count(*) from a.b, expect: [] }, { as: li, expect: { a.b.cvv: mask } }]\n"
    )
    done = CliRunner().invoke(cli, ["check", "standard:jrt-0171", str(tmp_path / "p.yaml"), "--tests", str(more)])
    lines = done.output.replace(f"{tmp_path}/", "").splitlines()
    assert [line for line in lines if " not      rule " not in line][-6:] == [
        "p.test.yaml:3: error: test 'n' as li failed",
        "    expected a.b.cvv: clear",
        "    got      null",
        "    by       no rule, class cvv",
        "more.yaml:2: test left out: it computes something; run it with a database (-c)",
        "tests: 2 ran, 1 failed, 1 left out",
    ]
    assert [line for line in lines if "class 'phone' replaces" in line] != []
    assert done.exit_code == 1
    assert CliRunner().invoke(cli, ["check"]).exit_code == 2
    wrong = CliRunner().invoke(cli, ["check", "standard:jrt0171"])
    assert "did you mean 'standard:jrt-0171'?" in wrong.output


def test_the_example_passes_its_tests() -> None:
    bank = Path(__file__).parents[3] / "policies" / "examples" / "bank.yaml"
    done = CliRunner().invoke(cli, ["check", str(bank)])
    assert done.output.splitlines()[-1] == "tests: 8 ran, 0 failed, 0 left out"
    assert done.exit_code == 0
    document = parse_document(bank.with_suffix(".test.yaml").read_text(encoding="utf-8"))
    assert list(Draft7Validator(schema_of_tests()).iter_errors(plain(document))) == []


def test_the_tour_in_the_manual(tmp_path: Path) -> None:
    """The policy of docs/first-policy.md passes the tests that stand there, and prints what stands there."""
    tour = (Path(__file__).parents[3] / "docs" / "first-policy.md").read_text(encoding="utf-8")
    _, policy_text, tests = re.findall(r"```yaml\n(.*?)```", tour, re.DOTALL)
    said = re.search(r"```\n\$ pgveil check .*?\n(.*?)```", tour, re.DOTALL)
    assert said is not None
    (tmp_path / "insurance.yaml").write_text(policy_text, encoding="utf-8")
    (tmp_path / "insurance.test.yaml").write_text(tests, encoding="utf-8")
    done = CliRunner().invoke(cli, ["check", "standard:jrt-0197", str(tmp_path / "insurance.yaml")])
    assert (done.exit_code, done.output.replace(f"{tmp_path}/", "")) == (0, said[1])


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("n = 1", True), ("n <> 1", False), ("n >= 1 and n < 2", True), ("n = '1'", True), ("n > -1", True),
        ("t = 'x'", True), ("t <> 'x'", False), ("t IN ('y', 'x')", True), ("t NOT IN ('y')", True), ("n BETWEEN 0 AND 1", True),
        ("flag", True), ("not flag", False), ("flag = true", True), ("gone IS NULL", True), ("n IS NOT NULL", True),
        ("gone = 1", None), ("not (gone = 1)", None), ("gone = 1 or n = 1", True), ("gone = 1 and n = 2", False),
        ("n NOT IN (2, NULL)", None), ("null", None), ("d = 1.5", True), ("n NOT BETWEEN 2 AND 3", True),
    ],
)  # fmt: skip
def test_conditions(condition: str, answer: bool | None) -> None:
    assert holds(condition, {"n": 1, "t": "x", "flag": True, "gone": None, "d": Decimal("1.50")}) is answer


@pytest.mark.parametrize(
    "condition",
    [
        "lower(t) = 'x'",
        "t > 'a'",
        "t LIKE 'x%'",
        "n + 1 = 2",
        "t::int = 1",
        "n = 'one'",
        "n",
        "n = t",
        "a.n = 1",
        "n = $1",
        "n = ALL('{}')",
    ],
)
def test_conditions_that_only_a_server_knows(condition: str) -> None:
    with pytest.raises(Undecided):
        holds(condition, {"n": 1, "t": "x"})


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "SELECT a.b FROM s.t", "SELECT a FROM s.t x", "SELECT a FROM s.t LIMIT 1", "SELECT DISTINCT a FROM s.t",
     "SELECT a FROM s.t, s.u", "SELECT a FROM s.t UNION SELECT a FROM s.t",
     "TABLE s.t; SELECT 1", "SELECT a INTO x FROM s.t", "WITH x AS (SELECT 1) SELECT a FROM s.t", "SELECT a FROM s.t FOR UPDATE"],
)  # fmt: skip
def test_statements_that_only_a_server_knows(sql: str) -> None:
    with pytest.raises(Undecided):
        plain_select(sql)


def test_values_that_are_not_from_the_test_are_never_shown() -> None:
    lines = compare_rows([{"a": 1}], [{"a": "secret"}], lambda label: (), ordered=True, given=False)
    assert lines == ["expected row 1, a: 1", "got      something else (not shown: it is not from the test)"]


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT a, count(*), pg_catalog.upper(b) FROM s.t GROUP BY a", True),
        ("SELECT s.f(a) FROM s.t", False),
        ("SELECT a FROM s.t WHERE query_to_xml('SELECT 1', true, true, '') IS NULL", False),
        ("SELECT s.upper(a) FROM s.t", False),
    ],
)
def test_whether_a_function_may_bring_other_values(sql: str, answer: bool) -> None:
    assert reads_nothing_else(sql) is answer


def test_rows_may_come_in_any_order_but_for_order_by() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 2, "b": 3}]
    assert compare_rows([{"a": 2}, {"a": 1}], rows, lambda label: (), ordered=False, given=True) == []
    assert compare_rows([{"a": 2}, {"a": 1}], rows, lambda label: (), ordered=True, given=True) != []
    assert compare_rows([{"a": 2}, {"a": 2}], rows, lambda label: (), ordered=False, given=True) != []


def test_values() -> None:
    assert same(1, Decimal("1.0"))
    assert not same("1", 2)
    assert not same(None, "x")
    assert not same(True, "t")
    assert same({"a": [1, None]}, '{"a": [1.0, null]}')
    assert told([])[-1] == "tests: 0 ran, 0 failed, 0 left out"


@pytest.mark.parametrize(
    ("text", "expected", "real"),
    [
        ('SELECT a FROM (SELECT "a" FROM "s"."t") AS "t"', 'SELECT a FROM (SELECT "a" FROM (R) AS "t") AS "t"', ()),
        ("SELECT a FROM ONLY s.t x, s.u", "SELECT a FROM (R) x, s.u", ("s.u",)),
        ("SELECT a FROM t, u", 'SELECT a FROM (R) AS "t", u', ("s.u",)),
        ("WITH t AS (SELECT 1 AS a) SELECT a FROM t", "WITH t AS (SELECT 1 AS a) SELECT a FROM t", ()),
        ("SELECT 'é' FROM s.t WHERE EXISTS (TABLE s.u)", "SELECT 'é' FROM (R) AS \"t\" WHERE EXISTS (TABLE s.u)", ("s.u",)),
        ("SELECT a FROM gone", "SELECT a FROM gone", (".gone",)),
    ],
)  # fmt: skip
def test_given_rows_stand_in_for_tables(text: str, expected: str, real: tuple[str, ...]) -> None:
    found = stand_in(text, {("s", "t"): "(R)"}, ["pg_catalog", "s"], frozenset({("s", "t"), ("s", "u")}))
    assert (found.text, found.real) == (expected, real)
