"""Limits on rows in clear, and statements that cannot be read, with real clients on a real server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.support.bouncer import Bouncer
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until
from tests.support.wire import WireClient, message

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
attributes:
  user: { from: staff.users, on_behalf: teller }
  trusted_apps: { gov_app: [teller] }
rules:
  - { name: core only for the row, user: [gov_core, gov_few, gov_twin], columns: "*", show: mask }
  - { name: everybody else, columns: "*", show: clear }
limits:
  - { name: little, user: [gov_ann, gov_psql, gov_aio, gov_wire, gov_restart, gov_app, gov_pool], clear_rows_per_day: 100 }
  - { name: single, user: gov_single, clear_rows_per_statement: 10 }
  - { name: then masked, user: gov_mask, clear_rows_per_session: 10, over: mask }
  - { name: one by one, user: [gov_v1, gov_v4, gov_v5], clear_values_per_day: 3 }
  - { name: at once, user: gov_v2, clear_values_per_statement: 2, clear_values_per_session: 4 }
  - { name: enough, user: gov_v3, clear_values_per_session: 2, over: mask }
alerts:
  - { name: core failed, on: failure, severity: critical, within: 1s }
  - { name: much in clear, on: clear, columns: class=phone, more_than: 12, within: 1h }
  - { on: refused, more_than: 2, within: 1h, per: database }
  - { on: limit, severity: info }
  - { on: login_failed, per: address }
  - { on: policy_changed }
on_failure:
  default: refuse
  gov_core: clear
  gov_few: { show: clear, at_most: 2, within: 1h }
"""
USERS = "ann psql aio wire restart app single mask core few twin pool v1 v2 v3 v4 v5".split()
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
{"".join(f"CREATE ROLE gov_{user} LOGIN;" for user in USERS)}
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int, phone text);
INSERT INTO shop.people SELECT i, '1381' || lpad(i::text, 7, '0') FROM generate_series(1, 20000) i;
CREATE TABLE shop.notes (id int);
CREATE SCHEMA staff;
CREATE TABLE staff.users (login text);
GRANT USAGE, CREATE ON SCHEMA shop TO PUBLIC;
GRANT USAGE ON SCHEMA staff TO PUBLIC;
GRANT ALL ON shop.people, shop.notes TO PUBLIC;
GRANT SELECT ON staff.users TO {CONTROL};
"""
FIRST = "SELECT phone FROM shop.people WHERE id <= %s"
DEEP = "SELECT phone" + " || ''" * 2500 + " FROM shop.people WHERE id = 7"
CLEAR = ("13810000007",)
LIMIT = "53400"
CUT = psycopg.errors.ConfigurationLimitExceeded


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA, settings={"max_stack_depth": "7MB"}) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy"), server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(f"host=127.0.0.1 port={proxy.port} dbname=postgres user={user}", autocommit=True, **options)


def execute(session: psycopg.Connection[tuple[Any, ...]], *texts: str) -> list[psycopg.Cursor[tuple[Any, ...]]]:
    """In a pipeline, what has become of a cursor that nobody keeps is not told."""
    return [session.execute(text) for text in texts]


def audited(proxy: ProxyProcess) -> list[dict[str, Any]]:
    lines = [line for path in sorted((proxy.home / "audit").glob("*.jsonl")) for line in path.read_text("utf-8").splitlines(True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_a_result_is_cut_and_the_day_is_over(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_ann") as ann:
        assert len(ann.execute(FIRST, (60,)).fetchall()) == 60
        with pytest.raises(CUT, match="no more than 100 rows with data in clear per day") as caught:
            ann.execute("SELECT phone FROM shop.people")
        assert caught.value.sqlstate == LIMIT
        assert ann.execute("SELECT count(*) FROM shop.people").fetchone() == (20000,)
        with pytest.raises(CUT):
            ann.execute("SELECT phone FROM shop.people WHERE id = 1")
        with connect(proxy, "gov_ann") as other, pytest.raises(CUT):  # whatever the session
            other.execute("SELECT phone FROM shop.people WHERE id = 2", prepare=True)
        assert ann.execute("SELECT id FROM shop.people WHERE id = 1", prepare=True).fetchone() == (1,)
    found = [r for r in audited(proxy) if r["kind"] == "event" and r["event"] == "rows_withheld"]
    assert {"limit": "little", "per": "day", "most": 100, "rows": 40} in [r["detail"] for r in found]


@pytest.mark.parametrize("binary", [False, True])
def test_no_row_too_many(proxy: ProxyProcess, binary: bool) -> None:
    with connect(proxy, "gov_single") as single:
        for text in ("SELECT phone FROM shop.people", "SELECT * FROM shop.people LIMIT 11", "TABLE shop.people"):
            with pytest.raises(CUT):
                single.execute(text, binary=binary)
        assert len(single.execute("SELECT phone FROM shop.people LIMIT 10", binary=binary).fetchall()) == 10
        got: list[object] = []
        with pytest.raises(CUT), single.cursor().copy("COPY shop.people TO STDOUT") as copy:
            got.extend(copy.rows())
        assert len(got) in (0, 10)
        got.clear()
        with pytest.raises(CUT):
            got.extend(single.cursor(binary=binary).stream("SELECT phone FROM shop.people"))
        assert len(got) == 10


def test_in_a_transaction(proxy: ProxyProcess, server: TestServer) -> None:
    with connect(proxy, "gov_single") as single:
        single.execute("BEGIN")
        single.execute("INSERT INTO shop.notes VALUES (1)")
        with pytest.raises(CUT):
            single.execute("SELECT phone FROM shop.people")
        assert single.execute("COMMIT").statusmessage == "ROLLBACK"
        with single.transaction(), single.cursor("c") as cursor:  # a cursor of SQL
            cursor.execute("SELECT phone FROM shop.people")
            assert len(cursor.fetchmany(6)) == 6
            with pytest.raises(CUT):
                cursor.fetchmany(6)
            assert single.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
            single.execute("ROLLBACK")
        with pytest.raises(CUT), single.pipeline():
            kept = execute(single, "INSERT INTO shop.notes VALUES (2)", "TABLE shop.people", "INSERT INTO shop.notes VALUES (3)")
        assert [cursor.statusmessage for cursor in kept] == ["INSERT 0 1", None, None]
        for text in (
            "INSERT INTO shop.notes VALUES (4); SELECT phone FROM shop.people",
            "UPDATE shop.people SET id = id RETURNING phone",
        ):
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                single.execute(text)
        assert single.execute("SELECT id FROM shop.notes").fetchall() == []
        with pytest.raises(CUT):  # prepared, so its Sync can wait for its rows
            single.execute("UPDATE shop.people SET id = id RETURNING phone", prepare=True)
        assert single.execute("DELETE FROM shop.people WHERE id = 20000 RETURNING phone", prepare=True).fetchall() == [
            ("13810020000",)
        ]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE t AS SELECT phone FROM shop.people", "SELECT phone INTO TEMP t FROM shop.people",
        "CREATE TABLE shop.t AS SELECT phone FROM shop.people", "INSERT INTO shop.notes SELECT length(phone) FROM shop.people",
        "UPDATE shop.notes SET id = p.phone::numeric FROM shop.people p",
        "WITH x AS (INSERT INTO shop.notes SELECT length(phone) FROM shop.people RETURNING id) SELECT * FROM x",
        "CREATE MATERIALIZED VIEW shop.m AS SELECT phone FROM shop.people",
    ],
)  # fmt: skip
def test_nothing_is_put_where_it_would_not_be_counted(proxy: ProxyProcess, text: str) -> None:
    with connect(proxy, "gov_single") as single:
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="could be read without being counted"):
                single.execute(text, prepare=prepare)


def test_many_rows_in_one_are_many(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_single") as single:
        for text in ("SELECT string_agg(phone, ',') FROM shop.people", "SELECT array_agg(p) FROM shop.people p"):
            with pytest.raises(CUT):
                single.execute(text)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            single.execute("DO $$BEGIN PERFORM pg_sleep(0); EXECUTE 'select 1'; END$$")


def test_over_mask(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_mask") as mask:
        seven = ("SELECT phone FROM shop.people WHERE id = 7", [("13810000007",)], [("138****0007",)])
        assert mask.execute(seven[0], prepare=True).fetchall() == seven[1]
        assert len(mask.execute("SELECT phone FROM shop.people LIMIT 9").fetchall()) == 9
        for prepare in (True, False):
            assert mask.execute(seven[0], prepare=prepare).fetchall() == seven[2]
    with connect(proxy, "gov_mask") as mask:
        assert mask.execute(seven[0]).fetchall() == seven[1]
        with pytest.raises(CUT):
            mask.execute("SELECT phone FROM shop.people")
        assert mask.execute(seven[0]).fetchall() == seven[2]


def test_psql(proxy: ProxyProcess, server: TestServer) -> None:
    command = [server.psql_path, "-X", "-At", "-h", "127.0.0.1", "-p", str(proxy.port), "-U", "gov_psql", "-d", "postgres"]
    copy = "\\copy (SELECT phone FROM shop.people LIMIT 50) TO STDOUT"
    text = f"{copy}\n\\set FETCH_COUNT 7\nSELECT phone FROM shop.people;\nSELECT 1;"
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("1381")]) <= 100
    assert done.stdout.endswith("1\n")
    assert "no more than 100 rows" in done.stderr


def test_asyncpg(proxy: ProxyProcess) -> None:
    async def run() -> None:
        aio = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="gov_aio", database="postgres", ssl=False)
        try:
            assert len(await aio.fetch("SELECT phone FROM shop.people WHERE id <= $1", 30)) == 30
            got = 0

            async def read() -> None:
                nonlocal got
                async with aio.transaction():
                    async for _ in aio.cursor("SELECT phone FROM shop.people", prefetch=9):
                        got += 1

            with pytest.raises(asyncpg.PostgresError) as caught:
                await read()
            assert caught.value.sqlstate == LIMIT
            assert 60 <= got <= 70
            with pytest.raises(asyncpg.PostgresError):
                await aio.fetch("SELECT phone FROM shop.people")
            assert await aio.fetchval("SELECT 1") == 1
        finally:
            await aio.close()

    asyncio.run(run())


def test_the_server_is_cancelled(proxy: ProxyProcess, server: TestServer) -> None:
    """A result that would go on for a long time ends at once, and so does the server's work."""
    with connect(proxy, "gov_single") as single:
        with pytest.raises(CUT):
            single.execute("SELECT p.phone FROM shop.people p, generate_series(1, 1000000)")
        assert single.execute("SELECT 1").fetchone() == (1,)
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%series(1, 1000000)%'"
    until(lambda: server.execute_sql("postgres", running + " AND pid <> pg_backend_pid()").strip() == "0", "the end of the query")


def test_people_behind_an_application_are_counted_apart(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_app") as app:
        for teller in ("t1", "t2"):
            app.execute(f"SET veil.teller = '{teller}'")
            assert len(app.execute(FIRST, (100,)).fetchall()) == 100
            with pytest.raises(CUT):
                app.execute(FIRST, (1,))


def test_a_restart_forgets_nothing(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("restart")
    with ProxyProcess(home, server, policy=POLICY) as proxy, connect(proxy, "gov_restart") as before:
        assert len(before.execute(FIRST, (100,)).fetchall()) == 100
    with ProxyProcess(home, server, policy=POLICY) as proxy, connect(proxy, "gov_restart") as after, pytest.raises(CUT):
        after.execute(FIRST, (1,))


def test_workers_count_together(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ProxyProcess(tmp_path_factory.mktemp("workers"), server, policy=POLICY, extra="workers: 2") as proxy:
        shown = refused = 0
        for _ in range(16):
            with connect(proxy, "gov_pool") as session:
                try:
                    shown += len(session.execute(FIRST, (10,)).fetchall())
                except CUT:
                    refused += 1
        assert (shown, refused) == (100, 6)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler(server: TestServer, tmp_path_factory: pytest.TempPathFactory, mode: str) -> None:
    users = tuple(f"gov_{user}" for user in USERS)
    home = tmp_path_factory.mktemp("pooled")
    with (
        Bouncer(server.port, mode, users=users) as bouncer,
        ProxyProcess(home, server, policy=POLICY, server_port=bouncer.port, pooling=mode) as proxy,
        connect(proxy, "gov_single") as single,
        connect(proxy, "gov_core") as core,
    ):
        for prepare in (False, True):
            with pytest.raises(CUT):
                single.execute("SELECT phone FROM shop.people", prepare=prepare)
            with pytest.raises(CUT), single.transaction():
                single.execute("SELECT p.phone FROM shop.people p, generate_series(1, 1000000)", prepare=prepare)
            assert len(single.execute("SELECT phone FROM shop.people LIMIT 10", prepare=prepare).fetchall()) == 10
            for _ in range(2):
                assert core.execute(DEEP, prepare=prepare).fetchall() == [CLEAR]
                assert core.execute(FIRST, (7,), prepare=prepare).fetchall()[-1] == ("138****0007",)


# -- on_failure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [False, True])
def test_what_cannot_be_read_passes_for_one_login(proxy: ProxyProcess, prepare: bool) -> None:
    with connect(proxy, "gov_core") as core:
        assert core.execute(FIRST, (7,), prepare=prepare).fetchall()[-1] == ("138****0007",)
        assert core.execute(DEEP, prepare=prepare).fetchall() == [CLEAR]
        assert core.execute(FIRST, (7,), prepare=prepare).fetchall()[-1] == ("138****0007",)
        assert core.execute(DEEP, prepare=prepare).fetchall() == [CLEAR]
        assert core.execute("SELECT phone FROM shop.people WHERE id = 7", prepare=prepare).fetchall() == [("138****0007",)]
    with connect(proxy, "gov_twin") as twin, pytest.raises(psycopg.errors.StatementTooComplex):
        twin.execute(DEEP, prepare=prepare)
    records = [r for r in audited(proxy) if r["kind"] == "decision" and r["on_failure"]]
    assert {(r["login"], r["on_failure"], r["refusal"]["sqlstate"]) for r in records} == {("gov_core", "clear", "54001")}
    assert any(r["kind"] == "event" and r["event"] == "on_failure" for r in audited(proxy))
    assert ("core failed", "gov_core", "critical") in {(a["alert"], a["user"], a["severity"]) for a in alerts_of(proxy)}
    assert 'pgveil_alerts_total{name="core failed",severity="critical"}' in proxy.get("/metrics")[1]
    assert float(dict(line.rsplit(" ", 1) for line in proxy.get("/metrics")[1].splitlines())["pgveil_on_failure_total"]) >= 2


def test_what_is_too_long_passes_too(proxy: ProxyProcess) -> None:
    long = "SELECT phone FROM shop.people WHERE id = 7 /* " + "x" * 1_100_000 + " */"
    with connect(proxy, "gov_core") as core:
        for prepare in (False, True):
            assert core.execute(long, prepare=prepare).fetchall() == [CLEAR]
    with connect(proxy, "gov_twin") as twin, pytest.raises(psycopg.errors.ProgramLimitExceeded):
        twin.execute(long)


def test_pipelines_and_transactions(proxy: ProxyProcess) -> None:
    masked = [("138****0007",)]
    seven = "SELECT phone FROM shop.people WHERE id = 7"
    with connect(proxy, "gov_core") as core:
        with core.pipeline():
            found = [core.execute(text) for text in (seven, DEEP, seven, DEEP, seven)]
        assert [f.fetchall() for f in found] == [masked, [CLEAR], masked, [CLEAR], masked]
        with core.transaction():
            assert [core.execute(text).fetchall() for text in (seven, DEEP, seven)] == [masked, [CLEAR], masked]


def alerts_of(proxy: ProxyProcess) -> list[dict[str, Any]]:
    return [r["detail"] for r in audited(proxy) if r["kind"] == "event" and r["event"] == "alert"]


def test_alerts(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over two workers: each is told once, in the trail, in the log and to Prometheus."""
    with ProxyProcess(tmp_path_factory.mktemp("alerts"), server, policy=POLICY, extra="workers: 2") as proxy:
        for _ in range(7):
            with connect(proxy, "gov_psql") as session:
                execute(session, "SELECT phone FROM shop.people WHERE id = 1", "SELECT phone FROM shop.people WHERE id = 2")
            with connect(proxy, "gov_twin") as twin, pytest.raises(psycopg.errors.StatementTooComplex):
                twin.execute(DEEP)
        with pytest.raises(psycopg.OperationalError):
            connect(proxy, "gov_nobody")
        until(lambda: any(a["alert"] == "login_failed" for a in alerts_of(proxy)), "the failed login")
        loaded = proxy.text().count("event=policy_loaded")
        proxy.policy.write_text(POLICY + "\n", encoding="utf-8")
        until(lambda: proxy.text().count("event=policy_loaded") >= loaded + 2, "the new policy")
        until(lambda: any(a["alert"] == "policy_changed" for a in alerts_of(proxy)), "the alert of it")
        found = {(a["alert"], a["count"], a["user"], a["severity"]) for a in alerts_of(proxy)}
        assert found == {
            ("much in clear", 13, "gov_psql", "warning"), ("refused", 3, "gov_twin", "warning"),
            ("login_failed", 1, "gov_nobody", "warning"), ("policy_changed", 1, "", "warning"),
        }  # fmt: skip
        assert len(alerts_of(proxy)) == 4
        assert len(re.findall(r"event=alert .*alert=.*severity=", proxy.text())) == 4


def test_what_is_forbidden_stays_so(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_core") as core:
        for text in (
            "SELECT pg_read_file('x'), phone FROM shop.people",
            "CREATE TABLE shop.copy AS SELECT phone FROM shop.people",
            "SET SESSION AUTHORIZATION gov_twin",
            "DO $$BEGIN EXECUTE 'select phone from shop.people'; END$$",
        ):
            with pytest.raises(psycopg.Error) as caught:
                core.execute(text)
            assert caught.value.sqlstate in ("42501", "0A000"), text
        with pytest.raises(psycopg.errors.SyntaxError):
            core.execute("SELEC phone FROM shop.people")


def test_nobody_else_becomes_the_login(proxy: ProxyProcess) -> None:
    """Not by a role, not by its name in another case, not by what the session says of itself."""
    with connect(proxy, "gov_twin", application_name="gov_core", options="-c veil.user=gov_core") as twin:
        for text in ("SET ROLE gov_core", "SET SESSION AUTHORIZATION gov_core"):
            with pytest.raises(psycopg.Error):
                twin.execute(text)
        with pytest.raises(psycopg.errors.StatementTooComplex):
            twin.execute(DEEP)


def test_names_made_by_an_unread_statement_do_not_pass_for_known_ones(proxy: ProxyProcess) -> None:
    """The text puts a query of its own in the place of a prepared statement and a cursor."""
    unread = " /* " + "(" * 10 + " */ AND ''" + " || ''" * 2500 + " = ''"
    with WireClient(proxy.port) as core:
        assert core.login("gov_core") is None
        core.ask("PREPARE p AS SELECT id FROM shop.people WHERE id = 7")
        core.ask("BEGIN")
        core.ask("DECLARE c CURSOR FOR SELECT id FROM shop.people WHERE id = 7")
        swap = (
            "DEALLOCATE p; PREPARE p AS SELECT id || phone FROM shop.people WHERE id = 7;"
            "CLOSE c; DECLARE c CURSOR FOR SELECT id || phone FROM shop.people WHERE id = 7;"
            f"SELECT 1 WHERE true {unread}"
        )
        assert [tag for tag, _ in core.ask(swap) if tag == b"E"] == []
        for text in ("FETCH c", "ROLLBACK", "EXECUTE p"):
            assert b"13810000007" not in b"".join(body for _, body in core.ask(text)), text


def test_at_most(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_few") as few:
        assert few.execute(DEEP).fetchall() == [CLEAR]
        assert few.execute(DEEP, prepare=True).fetchall() == [CLEAR]
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.StatementTooComplex, match="nested too deeply"):
                few.execute(DEEP, prepare=prepare)


def test_bytes_in_an_encoding_that_cannot_be_read(proxy: ProxyProcess) -> None:
    for user, shown in (("gov_core", b"13810000007"), ("gov_twin", b"")):
        with WireClient(proxy.port) as client:
            assert client.login(user) is None
            client.ask("SET client_encoding TO 'EUC_TW'")
            client.send(message(b"Q", b"SELECT phone || ' \xc4\xe3' FROM shop.people WHERE id = 7\0"))
            answer = b"".join(body for _, body in client.until(b"Z"))
            assert shown in answer
            assert (b"ASCII" in answer) == (user == "gov_twin")
            assert b"138****0007" in b"".join(b for _, b in client.ask("SELECT phone FROM shop.people WHERE id = 7"))


def test_the_policy_takes_it_back(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared statements of an open session included."""
    with ProxyProcess(tmp_path_factory.mktemp("back"), server, policy=POLICY) as proxy, connect(proxy, "gov_core") as core:
        assert core.execute(DEEP, prepare=True).fetchall() == [CLEAR]
        loaded = proxy.text().count("event=policy_loaded")
        proxy.policy.write_text(POLICY.replace("gov_core: clear", "gov_core: refuse"), encoding="utf-8")
        until(lambda: proxy.text().count("event=policy_loaded") > loaded, "the new policy")
        with pytest.raises(psycopg.errors.StatementTooComplex):
            core.execute(DEEP, prepare=True)


BY_ID = "SELECT phone FROM shop.people WHERE id = "


def test_customers_are_counted_one_by_one(proxy: ProxyProcess) -> None:
    """In any form, each once; whatever client; over sessions; what shows nothing in clear is free."""
    with connect(proxy, "gov_v1") as one:
        for _ in range(3):
            assert one.execute(BY_ID + "7").fetchone() == CLEAR
        assert one.execute(BY_ID + "%s", (7,)).fetchone() == CLEAR
        assert one.execute(BY_ID + "%b", (8,)).fetchone() == ("13810000008",)
        one.execute("PREPARE q AS " + BY_ID + "$1")
        assert one.execute("EXECUTE q(7)").fetchone() == CLEAR
    with connect(proxy, "gov_v1") as again:
        again.execute("SELECT id FROM shop.people WHERE id IN (11, 12, 13, 14)")
        with pytest.raises(CUT, match="no more than 3 different values per day"):
            again.execute(BY_ID + "ANY ('{8,9,10}')")
        assert again.execute(BY_ID + "%s", (9,)).fetchone() == ("13810000009",)
        for values in ("10", "'10'", "5 + 5"):
            with pytest.raises(CUT):
                again.execute(BY_ID + values)
        with pytest.raises(CUT):
            again.execute(BY_ID + "%b", (10,))
        assert again.execute(BY_ID + "7").fetchone() == CLEAR, "who is known already costs nothing"
        again.execute("PREPARE q AS " + BY_ID + "$1")
        with pytest.raises(CUT):
            again.execute("EXECUTE q(10)")
        with again.transaction(), pytest.raises(CUT):
            again.execute("DECLARE c CURSOR FOR " + BY_ID + "10")
        with pytest.raises(CUT), again.pipeline():
            kept = execute(again, BY_ID + "7", BY_ID + "10", BY_ID + "8")
        assert kept[0].fetchone() == CLEAR
        assert again.execute("SELECT phone FROM shop.people").rowcount > 10000, "names nobody"
    details = [r["detail"] for r in audited(proxy) if r.get("event") == "values_withheld"]
    assert details[0] == {"limit": "one by one", "per": "day", "most": 3}


def test_values_of_a_statement_and_a_session(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_v2") as two:
        with pytest.raises(CUT, match="no more than 2 different values per statement"):
            two.execute(BY_ID + "ANY (ARRAY[1, 2, 3])")
        for first in (1, 3):
            assert two.execute("SELECT phone FROM shop.people WHERE id IN (%s, %s)" % (first, first + 1)).rowcount == 2  # noqa: UP031
        with pytest.raises(CUT, match="no more than 4 different values per session"):
            two.execute(BY_ID + "5")
        two.execute(BY_ID + "4; " + BY_ID + "3")
        with pytest.raises(CUT):
            two.execute(BY_ID + "4; " + BY_ID + "6")
    with connect(proxy, "gov_v2") as later:
        assert later.execute(BY_ID + "7").fetchone() == CLEAR


def test_after_enough_values_all_is_masked(proxy: ProxyProcess) -> None:
    with connect(proxy, "gov_v3") as three:
        assert three.execute(BY_ID + "7").fetchone() == CLEAR
        assert three.execute(BY_ID + "8").fetchone() == ("13810000008",)
        assert three.execute(BY_ID + "7").fetchone() == ("138****0007",)
        assert three.execute(BY_ID + "9").fetchone() == ("138****0009",)


def test_asyncpg_looks_customers_up(proxy: ProxyProcess) -> None:
    async def run() -> None:
        session = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="gov_v4", database="postgres")
        try:
            for number in (7, 8, 7, 9):
                assert await session.fetchval(BY_ID + "$1", number) == f"1381{number:07}"
            with pytest.raises(asyncpg.ConfigurationLimitExceededError):
                await session.fetchval(BY_ID + "$1", 10)
            assert await session.fetchval(BY_ID + "$1", 9) == "13810000009"
        finally:
            await session.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "many",
    [
        "' {1,2,3,4}'::int[]", "'{{1,2},{3,4}}'::int[]", "'[0:3]={1,2,3,4}'::int[]",
        "'{1,2,'\n'3,4}'::int[]", "$${1,2,3,4}$$::int[]",
    ],
)  # fmt: skip
def test_no_way_to_write_an_array_makes_it_one_value(proxy: ProxyProcess, many: str) -> None:
    with connect(proxy, "gov_v5") as five, pytest.raises(CUT):
        five.execute(BY_ID + f"ANY ({many})")


def test_what_cannot_be_counted_is_refused(proxy: ProxyProcess) -> None:
    """A Bind that is too long to be held; an empty text, a moment and a flag are values like others."""
    with connect(proxy, "gov_v5") as five:
        with pytest.raises(CUT):
            five.execute("SELECT phone, length(%s) FROM shop.people WHERE id = %s", ("x" * 3_000_000, 7))
        assert five.execute(BY_ID + "7 AND %s = ''", ("",)).fetchone() == CLEAR

    async def run() -> None:
        session = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="gov_v5", database="postgres")
        try:
            when = "SELECT phone FROM shop.people WHERE id = 7 AND $1::timestamptz IS NOT NULL"
            assert await session.fetchval(when, datetime(2026, 1, 1, tzinfo=UTC)) == CLEAR[0]
            with pytest.raises(asyncpg.ConfigurationLimitExceededError):
                await session.fetch(BY_ID + "ANY ($1::int[])", [[1, 2], [3, 4]])
        finally:
            await session.close()

    asyncio.run(run())
