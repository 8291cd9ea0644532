"""The tools around a policy against a live catalog: its tests, `pgveil explain` of columns, `pgveil diff`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import cli
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL

SECRET = "13900001111"
"""In a table; may never be printed."""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE tool_teller;
CREATE ROLE tool_auditor;
CREATE ROLE tool_li LOGIN IN ROLE tool_teller;
CREATE ROLE tool_wang LOGIN IN ROLE tool_teller;
CREATE ROLE tool_zhao LOGIN IN ROLE tool_auditor;
CREATE ROLE tool_app LOGIN;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO {CONTROL};
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone varchar(20), balance numeric(12,2), branch text, tags text[]);
INSERT INTO shop.people VALUES (1, 'Wang', '{SECRET}', 10, 'N', NULL);
CREATE TABLE shop.open (id int, note text, phone text);
INSERT INTO shop.open VALUES (1, 'x', '{SECRET}');
GRANT SELECT ON shop.open TO {CONTROL};
CREATE TABLE shop.staff (login text, branch text);
INSERT INTO shop.staff VALUES ('tool_li', 'N'), ('tool_wang', 'S');
CREATE FUNCTION shop.leak() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT phone FROM shop.people LIMIT 1';
CREATE SEQUENCE shop.seq;
GRANT ALL ON shop.seq TO {CONTROL};
GRANT SELECT ON shop.staff TO {CONTROL};
ALTER ROLE tool_li SET search_path = shop, public;
"""
POLICY = """\
version: 1
classes:
  phone:  { level: C2, mask: { keep: { first: 3, last: 4 } } }
  amount: { level: C3, mask: { sql: "round($1, -4)" } }
  cvv: { level: C3, mask: null }
columns:
  shop.people.phone: phone
  shop.people.balance: amount
  shop.people.tags: { class: phone, mask: { each: redact } }
  shop.open.phone: phone
  shop.open.note: cvv
rules:
  - { name: cvv, role: tool_teller, columns: class=cvv, show: deny }
  - { name: own branch, role: tool_teller, columns: "shop.people.[pt]*", rows: "branch = :user.branch", show: clear }
  - { name: by day, role: tool_auditor, columns: class=amount, when: { time: "08:00-18:00", days: mon-fri }, show: clear }
  - { name: menu, user: tool_app, columns: class=amount, when: { menu: "0412" }, show: { round: 10 } }
  - { name: batch, user: tool_app, columns: shop.open.phone, show: clear }
functions: { allow: [shop.leak] }
attributes:
  user: { from: shop.staff }
  trusted_apps: { tool_app: [menu] }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture
def home(server: TestServer, tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (tmp_path / "pgveil.yaml").write_text(
        f"upstream: {{ host: 127.0.0.1, port: {server.port}, tls: {{ mode: disable }} }}\n"
        f"control: {{ user: {CONTROL} }}\npolicy: policy.yaml\naudit: {{ directory: audit }}\n"
    )
    return tmp_path


def pgveil(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output. Whatever comes out of tables is never in it."""
    with contextlib.chdir(home):
        done = CliRunner().invoke(cli, list(arguments))
    assert SECRET not in done.output
    return done.exit_code, done.output.replace(f"{home}/", "")


def check(home: Path, tests: str) -> tuple[int, list[str]]:
    """What `check` says of these tests."""
    (home / "policy.test.yaml").write_text("version: 1\ntests:\n" + tests, encoding="utf-8")
    status, out = pgveil(home, "check", "-c", "pgveil.yaml")
    first, *rest = out.splitlines()
    assert first.endswith(", 0 findings"), out
    return status, rest


FIRST = '{ id: 1, phone: "13812345678", branch: N, balance: 12345.67, tags: [a, null] }'
GIVEN = f"given: {{ shop.people: [{FIRST}, {{ id: 2, branch: S }}] }}"


def test_tests_that_pass(home: Path) -> None:
    tests = f"""\
  - {{ as: tool_zhao, time: 2026-11-20T20:00, {GIVEN}, select: "* from shop.people order by id", expect: [
      {{ id: 1, phone: "138****5678", balance: 10000, tags: ["***", null] }}, {{ id: 2, phone: null }}] }}
  - {{ as: tool_li, {GIVEN}, select: "phone, upper(branch) AS b from people p where p.phone like '138%'",
      expect: [{{ phone: "13812345678", b: N }}] }}
  - {{ as: tool_wang, {GIVEN}, sql: "WITH people AS (SELECT phone FROM ONLY shop.people) SELECT count(phone) AS n FROM people",
      expect: [{{ n: 1 }}] }}
  - {{ as: tool_li, select: note from shop.open, expect: refused 42501 }}
  - {{ as: tool_li, sql: "UPDATE shop.people SET name = NULL WHERE id = 1", expect: allowed }}
  - {{ as: tool_zhao, time: 2026-11-20T09:00, expect: {{ shop.people.balance: clear, shop.people.phone: mask }} }}
  - {{ as: tool_zhao, time: 2026-11-21T09:00, expect: {{ shop.people.balance: {{ sql: "round($1, -4)" }} }} }}
  - {{ as: tool_li, expect: {{ shop.people.phone: conditional, shop.open.note: deny }} }}
  - {{ as: tool_app, asserted: {{ menu: "0412" }}, {GIVEN}, select: "balance from shop.people where id = 1",
      expect: [{{ balance: 12350 }}] }}
  - {{ as: somebody, roles: tool_auditor, time: 2026-11-20T09:00, {GIVEN}, select: sum(balance) as s from shop.people,
      expect: [{{ s: 12345.67 }}] }}
  - {{ as: tool_zhao, time: 2026-11-20T09:00, select: phone from shop.open, expect: [{{ phone: "139****1111" }}] }}
  - {{ as: tool_zhao, given: {{ shop.people: [] }}, select: phone from shop.people, expect: [] }}
"""
    assert check(home, tests) == (0, ["tests: 12 ran, 0 failed, 0 left out"])


# fmt: off
FAILING = [
    (
        f"{{ as: tool_wang, {GIVEN}, select: phone from shop.people where id = 1, expect: [{{ phone: '13812345678' }}] }}",
        ["expected row 1, phone: 13812345678", "got      138****5678",
         "by       rule 'own branch' (policy.yaml:14)", "by       no rule, class phone"],
    ),
    (
        "{ as: tool_app, select: phone from shop.open, expect: [{ phone: x }] }",
        ["expected row 1, phone: x", "got      something else (not shown: it is not from the test)",
         "by       rule 'batch' (policy.yaml:17)"],
    ),
    ("{ as: tool_app, select: phone from shop.open, expect: [] }", ["expected 0 rows", "got      1"]),
    (
        "{ as: tool_app, select: phone::int from shop.open, expect: [{ phone: 1 }] }",
        ["expected rows", "got      error 22003"],
    ),
    (
        "{ as: tool_zhao, expect: { shop.people.balance: clear } }",
        ["it depends on the time: say `time`", "expected shop.people.balance: clear", "got      sql round($1, -4)",
         "by       no rule, class amount"],
    ),
    (f"{{ as: tool_zhao, {GIVEN}, select: balance from shop.people, expect: [] }}", ["it depends on the time: say `time`"]),
    ("{ as: tool_li, expect: { shop.people.phones: clear } }", ["database postgres has no column shop.people.phones"]),
    ("{ as: tool_li, given: { shop.people: [{ ic: 1 }] }, select: 1, expect: [] }", ["shop.people has no column ic"]),
    ("{ as: tool_li, asserted: { menu: x }, select: 1, expect: [] }", ["tool_li may not assert menu"]),
    (
        "{ as: tool_app, select: 'shop.leak()', expect: [{ leak: x }] }",
        ["expected row 1, leak: x", "got      something else (not shown: it is not from the test)"],
    ),
    ("{ as: tool_app, select: note from shop.open, expect: refused }", ["expected refused", "got      allowed"]),
]
# fmt: on


def test_tests_that_fail(home: Path) -> None:
    status, lines = check(home, "".join(f"  - {text}\n" for text, _ in FAILING))
    wanted = []
    for number, (text, why) in enumerate(FAILING, 3):
        user = text.split()[2].strip(",")
        wanted += [f"policy.test.yaml:{number}: error: test as {user} failed", *(f"    {line}" for line in why)]
    assert [line for line in lines if " not      rule " not in line] == [
        *wanted,
        f"tests: {len(FAILING)} ran, {len(FAILING)} failed, 0 left out",
    ]
    assert status == 1


def test_what_cannot_run_is_left_out_with_the_reason(home: Path) -> None:
    status, lines = check(
        home,
        """\
  - { name: unreadable, as: tool_zhao, select: id from shop.people, expect: [] }
  - { as: nobody, select: 1, expect: [] }
  - { as: tool_app, database: other, select: 1, expect: [] }
  - { as: tool_app, sql: "DELETE FROM shop.open WHERE id = 1", expect: [] }
""",
    )
    assert lines == [
        "policy.test.yaml:3: test 'unreadable' left out: the control login may not: permission denied for table people; "
        "give the rows (`given`)",
        "policy.test.yaml:4: test left out: the server has no login nobody, and the test names no roles",
        "policy.test.yaml:5: test left out: database other is not among those that are checked",
        "policy.test.yaml:6: test left out: only SELECT is run; expect `allowed` or `refused` of other statements",
        "tests: 0 ran, 0 failed, 4 left out",
    ]
    assert status == 0


def test_nothing_that_a_test_does_stays(home: Path) -> None:
    """The transaction is read-only, even where a function would write."""
    status, lines = check(home, "  - { as: tool_app, select: \"nextval('shop.seq')\", expect: [{ nextval: 1 }] }\n")
    assert (status, lines[-1]) == (1, "tests: 1 ran, 1 failed, 0 left out")
    assert "    got      error 25006" in lines


def test_names_that_are_not_on_the_server(home: Path) -> None:
    table = "user: { from: shop.staff }"
    wrong = (
        (
            table,
            "user: { from: shop.stuff }",
            "there is no table shop.stuff (did you mean 'shop.staff'?); no session goes on",
        ),
        (table, "user: { from: shop.staff, login: logn }", "no column logn (did you mean 'login'?); no session goes on"),
        (table, "user: { from: shop.staff, names: [branch, brnch] }", "no column brnch (did you mean 'branch'?): nobody has it"),
        ("role: tool_auditor", "role: tool_auditor, database: postgress", "no database 'postgress' (did you mean 'postgres'?)"),
    )
    for old, new, said in wrong:
        (home / "policy.yaml").write_text(POLICY.replace(old, new), encoding="utf-8")
        status, out = pgveil(home, "check", "-c", "pgveil.yaml")
        assert said in out
        assert status == (1 if "no session" in said else 0)


# -- explain -----------------------------------------------------------------------------------------------------------------


def test_explain_columns_of_a_table(home: Path) -> None:
    status, out = pgveil(
        home, "explain", "-c", "pgveil.yaml", "--as", "tool_li", "--at", "2026-11-20T09:00", "--app", "psql", "shop.people"
    )
    lines = out.splitlines()
    assert lines[2:5] == ["client    psql", "time      2026-11-20T09:00:00+00:00", "person    branch = N"]
    assert (
        "\n".join(lines[6:])
        == """
shop.people.phone: clear where branch = 'N', otherwise keep first 3, last 4  [class phone, level C2]
  - rule 'cvv': for columns class=cvv
  + rule 'own branch' (policy.yaml:14): shows clear where branch = 'N'
  - rule 'by day': for columns class=amount; for members of tool_auditor
  - rule 'menu': for columns class=amount; for user tool_app; for menu 0412
  - rule 'batch': for columns shop.open.phone; for user tool_app
  + default (policy.yaml:3): no rule without a row condition matches: default of class phone

shop.people.balance: sql round($1, -4)  [class amount, level C3]
  - rule 'cvv': for columns class=cvv
  - rule 'own branch': for columns shop.people.[pt]*
  - rule 'by day': for members of tool_auditor
  - rule 'menu': for user tool_app; for menu 0412
  - rule 'batch': for columns shop.open.phone; for user tool_app
  + default (policy.yaml:4): no rule without a row condition matches: default of class amount

shop.people.tags: clear where branch = 'N', otherwise each redact  [class phone, level C2]
  - rule 'cvv': for columns class=cvv
  + rule 'own branch' (policy.yaml:14): shows clear where branch = 'N'
  - rule 'by day': for columns class=amount; for members of tool_auditor
  - rule 'menu': for columns class=amount; for user tool_app; for menu 0412
  - rule 'batch': for columns shop.open.phone; for user tool_app
  + default (policy.yaml:3): no rule without a row condition matches: default of class phone

not sensitive: shop.people.id, shop.people.name, shop.people.branch"""
    )
    assert status == 0


def test_explain_for_programs(home: Path) -> None:
    status, out = pgveil(
        home, "explain", "-c", "pgveil.yaml", "--as", "tool_app", "--attribute", "menu=0412", "--known", "branch=S",
        "--role", "tool_auditor", "--at", "2026-11-21T09:00 Asia/Shanghai", "--json", "SELECT balance FROM shop.people",
    )  # fmt: skip
    said = json.loads(out)
    assert said["roles"] == ["tool_auditor"]
    assert said["attributes"] == {"branch": "S", "login": "tool_app", "menu": "0412"}
    assert said["time"] == "2026-11-21T01:00:00+00:00"
    (column,) = said["columns"]
    assert (column["column"], column["shows"]) == ("shop.people.balance", "mask")
    assert column["branches"] == [{"rows": None, "shows": "mask", "mask": "round 10", "rule": "menu"}]
    assert [(r["rule"], r["matched"]) for r in column["rules"]] == [
        ("cvv", False), ("own branch", False), ("by day", False), ("menu", True), ("batch", False), (None, False),
    ]  # fmt: skip
    assert "holds only at 08:00-18:00 mon,tue,wed,thu,fri UTC, where it is sat 01:00" in out
    assert said["statement"]["verdict"] == "rewrite"
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop.peeple"], "database postgres has no shop.peeple (did you mean 'shop.people'?)"),
        (["shop.people.fone"], "database postgres has no shop.people.fone (did you mean 'shop.people.phone'?)"),
        (["--at", "tomorrow", "shop.people"], "expected a time such as 2026-11-20T09:00 Asia/Shanghai"),
        (["--at", "2026-11-20T09:00 Asia/Shanghay", "shop.people"], "(did you mean 'Asia/Shanghai'?)"),
        (["--attribute", "menu", "shop.people"], "expected NAME=VALUE"),
        (["--attribute", "menu=1", "shop.people"], "tool_li may not assert menu"),
    ],
)
def test_explain_says_what_it_does_not_understand(home: Path, arguments: list[str], message: str) -> None:
    status, out = pgveil(home, "explain", "-c", "pgveil.yaml", "--as", "tool_li", *arguments)
    assert message in " ".join(out.split())
    assert status != 0


# -- diff --------------------------------------------------------------------------------------------------------------------

CHANGES = (
    ("keep: { first: 3, last: 4 }", "keep: { last: 4 }"),
    ('"08:00-18:00"', '"08:00-20:00"'),
    ('{ menu: "0412" }', '{ menu: ["0412", "0413"] }'),
    ("  shop.open.note: cvv\n", "  shop.open.note: cvv\n  shop.people.name: phone\n"),
    ("  - { name: batch, user: tool_app, columns: shop.open.phone, show: clear }\n", ""),
)


def changed(*changes: tuple[str, str]) -> str:
    text = POLICY
    for old, new in changes:
        text = text.replace(old, new)
    return text


def test_diff_of_every_login(home: Path) -> None:
    (home / "new.yaml").write_text(changed(*CHANGES), encoding="utf-8")
    status, out = pgveil(home, "diff", "-c", "pgveil.yaml", "new.yaml")
    assert (
        out
        == """\
from policy.yaml to new.yaml

what is written:
  - rule 'batch' (policy.yaml:17)
  ~ rule 'by day' (new.yaml:16): time
  ~ rule 'menu' (new.yaml:17): when
  ~ class phone (new.yaml:3): mask
  + column shop.people.name (new.yaml:12)

what is sensitive:
  + postgres: shop.people.name (class phone, level C2)

who sees what:
  all 2 logins of role tool_teller (tool_li, tool_wang):
    shop.open.phone: masked (keep first 3, last 4) → masked (keep last 4) by no rule
    shop.people.name: clear (not sensitive) → masked (keep last 4) by no rule
    shop.people.phone:
      was clear where branch = :user.branch, otherwise masked (keep first 3, last 4)
      now clear where branch = :user.branch, otherwise masked (keep last 4)
      by rule 'own branch'
  postgres:
    shop.open.phone, shop.people.phone: masked (keep first 3, last 4) → masked (keep last 4) by no rule
    shop.people.name: clear (not sensitive) → masked (keep last 4) by no rule
  tool_app:
    shop.open.phone: clear → masked (keep last 4) by no rule, was by rule 'batch'
    shop.people.name: clear (not sensitive) → masked (keep last 4) by no rule
    shop.people.phone: masked (keep first 3, last 4) → masked (keep last 4) by no rule
    shop.people.balance: masked (sql round($1, -4)) → masked (round 10) by rule 'menu', only with menu 0413
  1 login of role tool_auditor (tool_zhao):
    shop.open.phone, shop.people.phone: masked (keep first 3, last 4) → masked (keep last 4) by no rule
    shop.people.name: clear (not sensitive) → masked (keep last 4) by no rule
    shop.people.balance: masked (sql round($1, -4)) → clear by rule 'by day', only at mon-fri 18:00-20:00 UTC

looked at: 5 logins, database postgres
not looked at: databases other than postgres (name them in `databases` of the configuration)
"""
    )
    assert status == 1


def test_diff_for_programs_and_of_one_login(home: Path) -> None:
    (home / "new.yaml").write_text(changed(CHANGES[0]), encoding="utf-8")
    status, out = pgveil(home, "diff", "-c", "pgveil.yaml", "--as", "tool_zhao", "--json", "policy.yaml", "new.yaml")
    said = json.loads(out)
    assert (status, said["same"]) == (1, False)
    (person,) = said["people"]
    assert person["logins"] == ["tool_zhao"]
    assert [(c["column"], c["old"], c["new"], c["only"]) for c in person["changes"]] == [
        ("shop.open.phone", "masked (keep first 3, last 4)", "masked (keep last 4)", ""),
        ("shop.people.phone", "masked (keep first 3, last 4)", "masked (keep last 4)", ""),
    ]


def test_diff_of_the_same(home: Path) -> None:
    (home / "new.yaml").write_text("# another comment\n" + POLICY, encoding="utf-8")
    status, out = pgveil(home, "diff", "-c", "pgveil.yaml", "new.yaml")
    assert "nobody sees anything else, of what was looked at: 5 logins, database postgres\n" in out
    assert "not looked at: databases other than postgres" in out
    assert status == 0


def test_diff_in_trouble(home: Path) -> None:
    assert pgveil(home, "diff", "-c", "pgveil.yaml", "gone.yaml")[0] == 2
    assert pgveil(home, "diff", "policy.yaml")[0] == 2
    assert pgveil(home, "diff", "-c", "gone.yaml", "policy.yaml")[0] == 2
