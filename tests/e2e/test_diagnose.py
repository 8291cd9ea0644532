"""`pgveil check` and `pgveil explain` against a live catalog: every line they print."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, DEADLINE

SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE diagnose_teller;
CREATE ROLE diagnose_li LOGIN IN ROLE diagnose_teller;
CREATE SCHEMA shop;
CREATE DOMAIN shop.amount AS numeric(12,2);
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone varchar(20), balance shop.amount, branch int);
CREATE TABLE shop.cards (id int PRIMARY KEY, number char(16), branch text);
ALTER ROLE diagnose_li SET search_path = shop, public;
"""
GOOD = """\
version: 1
classes:
  phone:  { level: C2, mask: { keep: { first: 3, last: 4 } } }
  amount: { level: C3, mask: { sql: "round($1, -4)" } }
columns:
  shop.people.phone: phone
  shop.people.balance: amount
rules:
  - { name: tellers see their branch, role: diagnose_teller, columns: [class=phone], rows: "branch = 1", show: clear }
  - { name: nobody else, role: diagnose_teller, columns: [level=C3], when: { app: core }, show: clear }
"""
BAD = """\
version: 1
classes:
  phone:  { level: C2, mask: { keep: { first: 3 } } }
  amount: { level: C3, mask: { sql: "upper($1)" } }
  card:   { level: C3, mask: { sql: "(SELECT 'x')" } }
columns:
  shop.people.phone: phone
  shop.people.balance: amount
  shop.people.nothing: phone
  shop.cards.number: card
rules:
  - name: own branch
    role: diagnose_teller
    columns: ["*"]
    rows: branch = 1
    show: clear
  - name: counted
    role: diagnose_teller
    columns: [class=phone]
    rows: count(*) > 1
    show: clear
  - name: rounded
    role: diagnose_nobody
    columns: [class=phone]
    show: { sql: "round($1)" }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


def pgveil(server: TestServer, home: Path, policy: str, command: str, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors, with the policy's path cut to its name."""
    (home / "policy.yaml").write_text(dedent(policy), encoding="utf-8")
    (home / "pgveil.yaml").write_text(
        f"upstream: {{ host: 127.0.0.1, port: {server.port}, tls: {{ mode: disable }} }}\n"
        f"control: {{ user: {CONTROL} }}\npolicy: policy.yaml\naudit: {{ directory: audit }}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", command, "-c", str(home / "pgveil.yaml"), *arguments],
        capture_output=True, encoding="utf-8", timeout=DEADLINE,
    )  # fmt: skip
    return done.returncode, done.stdout.replace(f"{home}/", ""), done.stderr.replace(f"{home}/", "")


def golden(text: str) -> str:
    """Without what differs from server to server and from policy to policy."""
    text = re.sub(r"\d+ relations", "N relations", text)
    return re.sub(r"^(policy +)[0-9a-f]{32}$", r"\1DIGEST", text, flags=re.MULTILINE)


def test_check_finds_nothing(server: TestServer, tmp_path: Path) -> None:
    status, out, err = pgveil(server, tmp_path, GOOD, "check")
    assert golden(out) == "database postgres: N relations, 2 sensitive columns, 0 findings\n"
    assert (status, err) == (0, "")


def test_check_finds_everything(server: TestServer, tmp_path: Path) -> None:
    status, out, err = pgveil(server, tmp_path, BAD, "check")
    assert golden(out).splitlines() == [
        "policy.yaml:9: warning: shop.people.nothing matches no column of a table: there is no column nothing",
        "policy.yaml:22: warning: rule 'rounded': the server has no role 'diagnose_nobody'",
        "policy.yaml:17: error: rows of rule 'counted': aggregates and window functions are not allowed in a policy expression; "
        "shown as NULL: shop.people",
        "policy.yaml:22: error: mask of rule 'rounded': PostgreSQL does not accept the expression "
        "(function pg_catalog.round(character varying) does not exist), so statements fail: shop.people.phone",
        "policy.yaml:4: error: mask of class 'amount': PostgreSQL does not accept the expression "
        "(function pg_catalog.upper(numeric) does not exist), so statements fail: shop.people.balance",
        "policy.yaml:5: error: mask of class 'card': SubLink is not allowed in a policy expression; shown as NULL: "
        "shop.cards.number",
        "policy.yaml:12: error: rows of rule 'own branch': PostgreSQL does not accept the expression "
        "(operator does not exist: text pg_catalog.= integer), so statements fail: shop.cards",
        "database postgres: N relations, 3 sensitive columns, 7 findings",
    ]
    assert (status, err) == (1, "")


def test_check_needs_the_server(server: TestServer, tmp_path: Path) -> None:
    status, out, err = pgveil(server, tmp_path, GOOD, "explain", "--as", "diagnose_li", "--database", "elsewhere", "SELECT 1")
    assert (status, out) == (1, "")
    assert err == (
        f"Error: cannot read the catalog of database elsewhere on 127.0.0.1:{server.port} as {CONTROL}: "
        'database "elsewhere" does not exist\n'
    )


HEAD = """\
login     diagnose_li, member of diagnose_teller
database  postgres, search_path pg_catalog, shop, public
policy    DIGEST
"""
COLUMNS = """\

shop.people.phone: clear where branch = 1, otherwise keep first 3, last 4  [class phone, level C2]
  + rule 'tellers see their branch' (policy.yaml:9): shows clear where branch = 1
  - rule 'nobody else': for columns level=C3; for application_name core
  + default (policy.yaml:3): no rule without a row condition matches: default of class phone

shop.people.balance: sql round($1, -4)  [class amount, level C3]
  - rule 'tellers see their branch': for columns class=phone
  - rule 'nobody else': for application_name core
  + default (policy.yaml:4): no rule without a row condition matches: default of class amount

"""


def test_explain_what_is_rewritten(server: TestServer, tmp_path: Path) -> None:
    sql = "SELECT phone, balance FROM people"
    status, out, err = pgveil(server, tmp_path, GOOD, "explain", "--as", "diagnose_li", sql)
    told, sent = golden(out).split("rewritten (placed by sqlglot)\n")
    assert told == HEAD + COLUMNS
    assert re.fullmatch(r'SELECT phone, balance FROM \(SELECT .* FROM "shop"\."people"\) AS "people"\n', sent)
    assert (status, err) == (0, "")
    server.execute_sql("postgres", sent)


def test_explain_a_condition_that_holds(server: TestServer, tmp_path: Path) -> None:
    sql = "SELECT balance FROM people"
    _, out, _ = pgveil(server, tmp_path, GOOD, "explain", "--as", "diagnose_li", "--application-name", "core", sql)
    assert "shop.people.balance: clear  [class amount, level C3]" in out
    assert "+ rule 'nobody else' (policy.yaml:10): shows clear" in out


def test_explain_what_is_refused(server: TestServer, tmp_path: Path) -> None:
    sql = "DELETE FROM shop.people WHERE phone = 'x'"
    status, out, err = pgveil(server, tmp_path, GOOD, "explain", "--as", "nobody", sql)
    assert out.startswith("warning: the server has no login nobody\nlogin     nobody, member of no other role\n")
    assert "shop.people.phone: keep first 3, last 4  [class phone, level C2]\n" in out
    assert "\nrefused   42501: column shop.people.phone is masked" in out
    assert "\nhint      " in out
    assert (status, err) == (1, "")


def test_explain_what_is_not_sensitive(server: TestServer, tmp_path: Path) -> None:
    status, out, _ = pgveil(server, tmp_path, GOOD, "explain", "--as", "diagnose_li", "SELECT 1 FROM shop.cards")
    assert golden(out) == HEAD + "\nno sensitive column is used\n\nsent as it is\n"
    assert status == 0
