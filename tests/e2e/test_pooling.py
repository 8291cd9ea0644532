"""PgBouncer between pgveil and PostgreSQL: what others leave on a server connection shows nothing, and drivers work.

One pool of one server connection in transaction mode, so that every client meets what every other has left. The same login sees
everything in clear under the application name `office`.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import psycopg
import pytest

from proxy.wire import codec, tags
from tests.change.changes import LOGIN, RAW, ROLES, WORLD
from tests.change.matrix import HBA
from tests.change.wire import SYNC, Wire, bind, describe, execute, parse, read
from tests.support.bouncer import Bouncer
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
rules:
  - { name: office, when: { app: office }, columns: [class=phone], show: clear }
  - { name: desk, when: { menu: desk }, columns: [class=phone], show: clear }
attributes:
  trusted_apps: { LOGIN: [menu] }
  comments: [menu]
""".replace("LOGIN", LOGIN)
MASKED = ("138****5678", "139****4321", "150****2222")
PHONES = "SELECT phone FROM shop.people ORDER BY id"
SETTINGS = {
    "session": {"server_reset_query": "", "default_pool_size": "8"},
    "transaction": {"default_pool_size": "1"},
}
"""A session pooler that resets nothing is a mistake that must not cost more than an error."""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';\n" + ROLES + WORLD)
        server.execute_sql("postgres", f"CREATE SCHEMA evil AUTHORIZATION {LOGIN}; GRANT CREATE ON DATABASE postgres TO {LOGIN};")
        server.execute_sql("postgres", f"GRANT TEMP ON DATABASE postgres TO {LOGIN}; CREATE TABLE shop.notes (a int, b text);")
        server.execute_sql("postgres", "GRANT ALL ON shop.notes TO PUBLIC")
        yield server


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bouncer(server: TestServer, mode: str) -> Iterator[Bouncer]:
    with Bouncer(server.port, mode, users=(LOGIN,), settings=SETTINGS[mode]) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def proxy(server: TestServer, bouncer: Bouncer, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    home = tmp_path_factory.mktemp("pooling") / "home"
    with ProxyProcess(home, server, policy=POLICY, server_port=bouncer.port, pooling=mode) as proxy:
        yield proxy


@pytest.fixture
def office(proxy: ProxyProcess, mode: str) -> Iterator[Wire]:
    """Sees everything, and leaves the server connection to the next."""
    with Wire(proxy.port, LOGIN, application_name="office") as wire:
        assert tuple(row[0] for row in wire.query(PHONES).rows) == RAW
        yield wire
        with suppress(OSError):
            wire.query("ROLLBACK")
            wire.query("DISCARD ALL")


@pytest.fixture
def teller(proxy: ProxyProcess, mode: str, office: Wire) -> Teller:
    return Teller(proxy, mode, office)


class Teller:
    """The masked session: in session mode it begins when the other has ended, to get its server connection."""

    def __init__(self, proxy: ProxyProcess, mode: str, office: Wire) -> None:
        self.proxy, self.mode, self.office = proxy, mode, office

    def __enter__(self) -> Wire:
        if self.mode == "session":
            self.office.send(codec.TERMINATE)
            self.office.sock.close()
        self.wire = Wire(self.proxy.port, LOGIN)
        assert tuple(row[0] for row in self.wire.query(PHONES).rows) == MASKED
        return self.wire

    def __exit__(self, *_: object) -> None:
        self.wire.query("ROLLBACK")
        self.wire.query("DISCARD ALL")
        self.wire.sock.close()


def all_of(*steps: object) -> set[str]:
    return {value for step in steps for row in step.rows for value in row if value}  # type: ignore[attr-defined]


def test_temporary_tables_of_others(office: Wire, teller: Teller) -> None:
    assert office.query("CREATE TEMP TABLE leak AS SELECT * FROM shop.people").kind == "ok"
    assert office.query("CREATE TEMP VIEW leaking AS SELECT * FROM shop.people").kind == "ok"
    with teller as wire:
        for text in (
            "SELECT phone FROM leak",
            "SELECT phone FROM pg_temp.leak",
            "SELECT phone FROM leaking",
            "BEGIN; SELECT phone FROM leak",
            "ROLLBACK; SELECT l FROM leak l",
            "TABLE leak",
            "COPY leak TO STDOUT",
        ):
            answer = wire.query(text)
            assert answer.error == "0A000", (text, answer)
            assert "another client has left" in answer.message
            wire.query("ROLLBACK")
        answer = wire.ask(parse("", "SELECT phone FROM leak"), bind("", ""), execute(""), SYNC)
        assert answer.error == "0A000"


def test_what_a_comment_asserts_is_for_its_statement_alone(office: Wire, teller: Teller) -> None:
    """Settings count for nothing here, comments do."""
    said = f"{PHONES} /*menu='desk'*/"
    with teller as wire:
        assert wire.query("SET veil.menu = 'desk'").kind == ("ok" if teller.mode == "session" else "0A000")
        assert tuple(row[0] for row in wire.query(PHONES).rows) == MASKED
        for _ in range(2):
            assert tuple(row[0] for row in wire.query(said).rows) == RAW
            assert tuple(row[0] for row in wire.query(PHONES).rows) == MASKED
            assert tuple(row[0] for row in wire.ask(parse("", said), bind("", ""), execute(""), SYNC).rows) == RAW
            assert tuple(row[0] for row in wire.ask(parse("", PHONES), bind("", ""), execute(""), SYNC).rows) == MASKED
        assert wire.query("BEGIN").kind == "ok"
        assert wire.query("SET LOCAL veil.menu = 'desk'").kind == "ok"
        assert tuple(row[0] for row in wire.query(said).rows) == RAW
        assert tuple(row[0] for row in wire.query(PHONES).rows) == MASKED
        assert wire.query("ROLLBACK").kind == "ok"


def test_commands(office: Wire, teller: Teller) -> None:
    assert office.query("SHOW veil.access").rows[0][3] == "clear"
    with teller as wire:
        for answer in (wire.query("SHOW veil.access"), wire.ask(parse("", "SHOW veil.access"), bind("", ""), execute(""), SYNC)):
            assert [row[:3] for row in answer.rows] == [("shop.people.phone", "phone", "C2")]
        assert wire.query("CALL veil.approve(7)").error == "0A000"
        assert wire.query("BEGIN; SHOW veil.access").error == "0A000"


def test_prepared_statements_of_others(office: Wire, teller: Teller) -> None:
    assert office.query(f"PREPARE p AS {PHONES}").kind == "ok"
    assert office.ask(parse("s", PHONES), SYNC).kind == "ok"
    with teller as wire:
        for text in (
            "EXECUTE p",
            "EXECUTE s",
            "BEGIN; EXECUTE p",
            "EXPLAIN ANALYZE EXECUTE p",
            "CREATE TEMP TABLE x AS EXECUTE p",
        ):
            assert wire.query(text).error in ("0A000", "42501"), text
            wire.query("ROLLBACK")
        assert wire.ask(bind("", "s"), execute(""), SYNC).error == "26000"
        assert wire.ask(describe("S", "s"), SYNC).error == "26000"


def test_cursors_of_others(office: Wire, teller: Teller) -> None:
    assert office.query(f"DECLARE h CURSOR WITH HOLD FOR {PHONES}").kind == "ok"
    with teller as wire:
        assert wire.query("FETCH 1 FROM h").error == "0A000"
        assert wire.query("BEGIN; FETCH 1 FROM h").error == "0A000"
        wire.query("ROLLBACK")
        assert wire.query("MOVE h").error == "0A000"
        assert wire.ask(execute("h", 1), SYNC).error == "0A000"


def test_the_search_path_of_others(office: Wire, teller: Teller) -> None:
    office.query(
        "CREATE OR REPLACE FUNCTION evil.shown(text) RETURNS text LANGUAGE sql AS 'SELECT phone::text FROM shop.people LIMIT 1'"
    )
    assert office.query("SET search_path = evil, other, shop").kind == "ok"
    with teller as wire:
        assert not all_of(wire.query("SELECT phone FROM people")) & set(RAW)
        assert not all_of(wire.query("SELECT shown('x')")) & set(RAW)
        wire.query("SET search_path = shop")
        wire.ask(parse("a", "SELECT phone FROM people ORDER BY id"), SYNC)
        assert not all_of(wire.ask(bind("", "a"), execute(""), SYNC)) & set(RAW)
        wire.query("BEGIN; SET LOCAL search_path = shop")
        assert all_of(wire.ask(bind("", "a"), execute(""), SYNC)) == set(MASKED)


LEFT = {
    "SET ROLE change_staff": "SET ROLE",
    "SET transform_null_equals = on": "transform_null_equals",
    "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (evil.tells(VALUE))": "types or functions",
    "CREATE TYPE pg_temp.mood AS ENUM ('fine')": "types or functions",
    "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT phone::text FROM shop.people'": "types or functions",
    "SET search_path = pg_temp, shop": "pg_temp",
}


@pytest.mark.parametrize("text", LEFT, ids=lambda x: "_".join(x.split()[:2]))
def test_what_cannot_be_told_apart(office: Wire, proxy: ProxyProcess, mode: str, text: str) -> None:
    office.query(
        "CREATE OR REPLACE FUNCTION evil.tells(text) RETURNS bool LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''%'', (SELECT phone FROM shop.people LIMIT 1); END'"
    )
    assert office.query(text).kind == "ok"
    if mode == "session":
        if "search_path" in text:
            return  # what is made there ends with the session
        office.send(codec.TERMINATE)
        office.sock.close()
    with Wire(proxy.port, LOGIN) as wire:
        for statement in (PHONES, "SELECT 'x'::text", "INSERT INTO shop.notes VALUES (1, 'x')", "BEGIN; SELECT 1"):
            answer = wire.query(statement)
            assert answer.error == "0A000", (statement, answer)
            assert LEFT[text] in answer.message
            wire.query("ROLLBACK")
        answer = wire.ask(parse("", PHONES), bind("", ""), execute(""), SYNC)
        assert answer.error == "0A000"
        assert wire.query("DISCARD ALL").kind == "ok"
        if mode == "transaction":
            assert all_of(wire.query(PHONES)) == set(MASKED)


def test_lexing_of_others(office: Wire, teller: Teller) -> None:
    assert office.query("SET standard_conforming_strings = off").kind == "ok"
    assert office.query("SET client_encoding = 'GBK'").kind == "ok"
    assert office.query("SET backslash_quote = on").kind == "ok"
    with teller as wire:
        for text in (
            "SELECT '\\''; SELECT phone FROM shop.people --'",
            "SELECT '\\'' AS a, phone FROM shop.people --'",
            "SHOW standard_conforming_strings; SELECT '\\''; SELECT phone FROM shop.people --'",
        ):
            assert not all_of(wire.query(text)) & set(RAW)
            assert not all_of(wire.ask(parse("", text), bind("", ""), execute(""), SYNC)) & set(RAW)
            wire.query("ROLLBACK")


def test_the_name_of_others(proxy: ProxyProcess, office: Wire, mode: str) -> None:
    """Which application it is may only come from the client itself: the connection was opened by another."""
    assert office.query("SET application_name = 'office'").kind == "ok"
    if mode == "session":
        office.send(codec.TERMINATE)
        office.sock.close()
    with Wire(proxy.port, LOGIN) as wire:
        for text in ("SELECT 1", "RESET application_name", "RESET ALL", "DISCARD ALL", "BEGIN; RESET application_name; COMMIT"):
            wire.query(text)
            assert all_of(wire.query(PHONES)) == set(MASKED), text
        wire.query("SET application_name = 'office'")
        assert all_of(wire.query(PHONES)) == set(RAW)
        wire.query("SET application_name = 'teller'")
        assert all_of(wire.query(PHONES)) == set(MASKED)
        wire.query("BEGIN; SET LOCAL application_name = 'office'")
        assert all_of(wire.query(PHONES)) == set(RAW)
        wire.query("ROLLBACK")
        assert all_of(wire.query(PHONES)) == set(MASKED)
        wire.query("DISCARD ALL")


def test_what_a_shared_connection_cannot_do(teller: Teller, mode: str) -> None:
    kind = "ok" if mode == "session" else "0A000"
    with teller as wire:
        for text in (
            "LISTEN news",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_catalog.pg_try_advisory_lock_shared(1)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "CREATE TEMP TABLE later (a int)",
            "SELECT 1 AS a INTO TEMP later_still",
            "EXPLAIN ANALYZE CREATE TEMP TABLE much_later AS SELECT 1 AS a",
            "CREATE TEMP VIEW seen AS SELECT 1 AS a",
            "CREATE TEMP SEQUENCE counted",
            "DO $$BEGIN CREATE TEMP TABLE done (a int); END$$",
        ):
            answer = wire.query(text)
            assert answer.kind in (kind, "42501" if text.startswith("DO") else kind), (text, answer)
        for name, value in (("search_path", "pg_temp, shop"), ("role", "change_staff")):
            assert wire.query(f"SET {name} = {value}").kind == kind
            assert wire.query(f"SELECT set_config('{name}', '{value}', false)").kind == kind
            for text in (f"SET LOCAL {name} = {value}", f"SELECT set_config('{name}', '{value}', true)"):
                assert wire.query("BEGIN; " + text).kind == "ok"
                wire.query("ROLLBACK")
            assert wire.query(f"RESET {name}").kind == "ok"
            assert all_of(wire.query(PHONES)) == set(MASKED)
        for text in ("SELECT pg_advisory_xact_lock(1)", "NOTIFY news", "UNLISTEN *", "VACUUM shop.notes", "DISCARD ALL"):
            assert wire.query(text).kind == "ok", text


def test_copy(teller: Teller) -> None:
    with teller as wire:
        assert wire.query("COPY shop.people TO STDOUT").kind == "ok"
        for last, kind in ((codec.encode_copy_done(), "ok"), (codec.encode_copy_fail(b"no"), "57014")):
            wire.send(codec.encode_query(b"COPY shop.notes FROM STDIN"), codec.encode_copy_data(b"1\tx\n"), last)
            wire.send(codec.encode_query(PHONES.encode()))
            assert read(wire.until(tags.READY_FOR_QUERY)).kind == kind
            assert all_of(read(wire.until(tags.READY_FOR_QUERY))) == set(MASKED)
        answer = wire.ask(
            parse("", "COPY shop.notes FROM STDIN"), bind("", ""), execute(""), codec.encode_copy_data(b"2\ty\n"),
            codec.encode_copy_done(), SYNC,
        )  # fmt: skip
        assert answer.kind == "ok"
        assert all_of(wire.query(PHONES)) == set(MASKED)


def test_own_temporary_tables(teller: Teller, mode: str) -> None:
    with teller as wire:
        lasting = wire.query("CREATE TEMP TABLE t AS SELECT * FROM shop.people")
        assert lasting.kind == ("ok" if mode == "session" else "0A000")
        wire.query("DROP TABLE IF EXISTS pg_temp.t")
        wire.query("BEGIN")
        assert wire.query("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT * FROM shop.people").kind == "ok"
        assert all_of(wire.query("SELECT phone FROM t")) == set(MASKED)
        assert wire.query("INSERT INTO other.people SELECT id, name, phone FROM t").error == "42501"
        wire.query("ROLLBACK")
        for text in (
            "CREATE TEMP SEQUENCE q",
            "CREATE TEMP VIEW v AS SELECT 1",
            "SELECT 1 AS a INTO TEMP x",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "EXPLAIN ANALYZE CREATE TEMP TABLE y AS SELECT 1",
        ):
            assert wire.query(text).kind == ("ok" if mode == "session" else "0A000"), text


def test_prepared_statements_outlive_transactions(teller: Teller) -> None:
    with teller as wire:
        assert wire.ask(parse("s", PHONES), describe("S", "s"), SYNC).kind == "ok"
        assert wire.ask(parse("", "SELECT name FROM shop.people ORDER BY id"), SYNC).kind == "ok"
        for _ in range(2):
            assert all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(MASKED)
        assert wire.ask(parse("s", "SELECT 1"), SYNC).error == "42P05"
        assert wire.ask(bind("", "nobody"), SYNC).error == "26000"
        wire.send(*(bind("", "s") + execute("") + SYNC for _ in range(3)))
        for _ in range(3):
            assert [tag for tag, _ in wire.until(tags.READY_FOR_QUERY)] == list(b"2DDDCZ")
        wire.ask(codec.encode_close(codec.Target(ord("S"), b"s")), SYNC)
        assert wire.ask(bind("", "s"), SYNC).error == "26000"


def test_transactions(teller: Teller) -> None:
    with teller as wire:
        assert wire.query("BEGIN").kind == "ok"
        assert wire.query("PREPARE p AS " + PHONES).kind == "ok"
        assert all_of(wire.query("EXECUTE p")) == set(MASKED)
        wire.query("DECLARE c CURSOR FOR " + PHONES)
        assert all_of(wire.query("FETCH ALL FROM c")) == set(MASKED)
        wire.query("DEALLOCATE p; COMMIT")
        assert wire.query("SELECT 1/0").error == "22012"
        assert wire.query("BEGIN; SELECT 1/0").error == "22012"
        assert wire.query("SELECT 1").error == "25P02"
        assert wire.query("SELECT pg_read_file('x')").error == "25P02"
        assert wire.query("ROLLBACK").kind == "ok"
        assert wire.query("SELECT pg_read_file('x')").error == "42501"
        assert wire.query("COPY shop.people TO STDOUT").kind == "ok"


def test_drivers(proxy: ProxyProcess, teller: Teller) -> None:
    dsn = f"host=127.0.0.1 port={proxy.port} user={LOGIN} dbname=postgres sslmode=disable"
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as c:
        for _ in range(3):
            assert c.execute("SELECT phone FROM shop.people WHERE id = %s", (1,)).fetchall() == [(MASKED[0],)]
        with c.transaction(), c.cursor(name="c") as cursor:
            cursor.execute(PHONES)
            assert [row[0] for row in cursor.fetchall()] == list(MASKED)
        with c.pipeline():
            done = [c.execute("SELECT phone FROM shop.people WHERE id = %s", (i,)) for i in (1, 2, 3)]
        assert [d.fetchone() for d in done] == [(phone,) for phone in MASKED]

    async def scene() -> None:
        c = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user=LOGIN, database="postgres", ssl=False)
        try:
            for _ in range(3):
                assert await c.fetchval("SELECT phone FROM shop.people WHERE id = $1", 2) == MASKED[1]
            async with c.transaction():
                assert [r["phone"] async for r in c.cursor(PHONES)] == list(MASKED)
        finally:
            await c.close()

    asyncio.run(scene())


def test_asyncpg_without_a_cache(proxy: ProxyProcess, teller: Teller) -> None:
    async def scene() -> None:
        c = await asyncpg.connect(
            host="127.0.0.1", port=proxy.port, user=LOGIN, database="postgres", ssl=False, statement_cache_size=0
        )
        try:
            assert await c.fetchval("SELECT phone FROM shop.people WHERE id = $1", 2) == MASKED[1]
            async with c.transaction(isolation="serializable"):
                assert await c.fetchval("SELECT phone FROM shop.people WHERE id = $1", 3) == MASKED[2]
            await c.copy_records_to_table("notes", schema_name="shop", records=[(3, "z")])
            await c.execute("SET search_path = shop; SELECT phone FROM people")
        finally:
            await c.close()

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["simple", "extended", "prepared"])
def test_pgbench(server: TestServer, proxy: ProxyProcess, teller: Teller, how: str) -> None:
    if how == "simple":
        server.execute_sql(
            "postgres", "DROP SCHEMA IF EXISTS bench CASCADE; CREATE SCHEMA bench; GRANT ALL ON SCHEMA bench TO PUBLIC"
        )
        server.execute_sql(
            "postgres", "CREATE TABLE bench.people AS SELECT * FROM shop.people; GRANT ALL ON bench.people TO PUBLIC"
        )
    script = proxy.home / f"{how}.sql"
    script.write_text(
        "\\set id random(1, 3)\nBEGIN;\nUPDATE bench.people SET name = 'x' WHERE id = :id;\n"
        "SELECT phone FROM shop.people WHERE id = :id;\nEND;\nSELECT phone, name FROM shop.people WHERE id = :id;\n"
    )
    command = [
        "pgbench", "-n", "-h", "127.0.0.1", "-p", str(proxy.port), "-U", LOGIN, "-M", how, "-c", "4", "-j", "4", "-t", "25",
        "-f", str(script), "postgres",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 100/100" in done.stdout
    assert "aborted" not in done.stderr


def test_masked_and_clear_at_once(proxy: ProxyProcess, mode: str) -> None:
    """Each sees what it may, whatever the others do to the connection that they share."""
    problems: list[str] = []

    def work(name: str, shown: tuple[str, ...], mess: tuple[str, ...]) -> None:
        try:
            with Wire(proxy.port, LOGIN, application_name=name) as wire:
                for turn in range(30):
                    wire.query(mess[turn % len(mess)])
                    for answer in (
                        wire.query("SELECT phone FROM shop.people"),
                        wire.ask(parse("", "SELECT phone FROM shop.people"), bind("", ""), execute(""), SYNC),
                        wire.query("SELECT phone FROM people"),
                    ):
                        seen = all_of(answer)
                        if not seen <= set(shown) | {"other"} or (answer.kind == "ok" and not seen):
                            problems.append(f"{name} {turn} {answer}")
        except Exception as error:
            problems.append(f"{name}: {error!r}")

    paths = ("SET search_path = shop", "SET search_path = other, shop", "SET search_path = evil, shop")
    clear = (*paths, "PREPARE p AS SELECT phone FROM shop.people", "CREATE TEMP TABLE people AS SELECT * FROM shop.people",
             "DROP TABLE IF EXISTS pg_temp.people", "DEALLOCATE ALL")  # fmt: skip
    threads = [
        threading.Thread(target=work, args=("office", RAW, clear)),
        threading.Thread(target=work, args=("teller", MASKED, paths)),
        threading.Thread(target=work, args=("", MASKED, ("EXECUTE p", "SELECT phone FROM pg_temp.people", "RESET search_path"))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    with Wire(proxy.port, LOGIN, application_name="office") as wire:
        wire.query("DISCARD ALL")


def test_policy_change(proxy: ProxyProcess) -> None:
    with Wire(proxy.port, LOGIN, application_name="office") as wire:
        assert wire.ask(parse("s", PHONES), describe("S", "s"), SYNC).kind == "ok"
        assert all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(RAW)
        wire.query("BEGIN")
        wire.query(f"DECLARE c CURSOR FOR {PHONES}")
        proxy.policy.write_text(POLICY.replace("office", "nobody"))
        until(lambda: all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(MASKED), "masked from now on")
        assert not all_of(wire.query("FETCH ALL FROM c")) & set(RAW)
        wire.query("ROLLBACK")
        assert all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(MASKED)
        assert all_of(wire.query(PHONES)) == set(MASKED)
        proxy.policy.write_text(POLICY)
        until(lambda: all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(RAW), "and in clear again")
        wire.query("DISCARD ALL")


def test_a_pooler_that_is_not_named(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """pooling: none, and the control connection goes to the server itself: sessions find out by the first question."""
    home = tmp_path_factory.mktemp("unnamed")
    with (
        Bouncer(server.port, "transaction", users=(LOGIN,)) as bouncer,
        ProxyProcess(home / "direct", server, policy=POLICY, server_port=bouncer.port, pooling="none") as proxy,
        Wire(proxy.port, LOGIN) as wire,
    ):
        wire.send(codec.encode_query(b"SELECT phone FROM people"))
        answer = read(wire.until(tags.ERROR_RESPONSE))
        assert (answer.error, "pooler" in answer.message) == ("57P03", True)


def test_cancel(proxy: ProxyProcess, server: TestServer, teller: Teller) -> None:
    def sleeping() -> bool:
        return server.execute_sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"

    dsn = f"host=127.0.0.1 port={proxy.port} user={LOGIN} dbname=postgres sslmode=disable"
    with psycopg.connect(dsn, autocommit=True) as c:

        def cancel() -> None:
            until(sleeping, "it sleeps")
            c.cancel()

        other = threading.Thread(target=cancel)
        other.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute("SELECT pg_sleep(60)")
        other.join()
        assert c.execute(PHONES).fetchone() == (MASKED[0],)


def test_the_pooler_goes_and_comes_back(proxy: ProxyProcess, bouncer: Bouncer) -> None:
    with Wire(proxy.port, LOGIN) as wire:
        assert all_of(wire.query(PHONES)) == set(MASKED)
        bouncer.stop()
        assert read(wire.until(tags.ERROR_RESPONSE)).error in ("57P01", "08006", "58000", "08P01")
    bouncer.start()
    with Wire(proxy.port, LOGIN) as wire:
        assert all_of(wire.query(PHONES)) == set(MASKED)


@pytest.mark.parametrize("name", ["", "office"])
def test_a_pooler_that_leads_elsewhere(server: TestServer, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The control connection reads another database than the one behind the pooler: nobody gets in."""
    home = tmp_path_factory.mktemp("elsewhere") / "home"
    mode = "transaction" if name else "session"
    server.execute_sql("postgres", f"CREATE DATABASE elsewhere_{mode}")
    with (
        Bouncer(server.port, mode, users=(LOGIN,), databases={"postgres": f"elsewhere_{mode}"}) as bouncer,
        ProxyProcess(home, server, policy=POLICY, server_port=bouncer.port, pooling=mode) as proxy,
        Wire(proxy.port, LOGIN, application_name=name) as wire,
    ):
        wire.send(codec.encode_query(b"SELECT 1"))
        tag, body = wire.message()
    assert tag == tags.ERROR_RESPONSE
    fields = dict(codec.decode_fields(body))
    assert (fields["V"], fields["C"]) == (b"FATAL", b"57P03")


def test_a_pooler_is_found_out(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing in the configuration says so, and the control connection goes the same way."""
    home = tmp_path_factory.mktemp("auto") / "home"
    settings = {"auth_type": "scram-sha-256", "auth_user": "postgres", "default_pool_size": "2"}
    server.execute_sql("postgres", "CREATE ROLE pooled_login LOGIN PASSWORD 'pw'")
    with (
        Bouncer(server.port, "transaction", settings=settings) as bouncer,
        ProxyProcess(home, server, policy=POLICY, server_port=bouncer.port) as proxy,
        psycopg.connect(
            host="127.0.0.1", port=proxy.port, user="pooled_login", password="pw", dbname="postgres", autocommit=True
        ) as c,
    ):
        assert c.execute(PHONES).fetchone() == (MASKED[0],)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="pooled server connection"):
            c.execute("CREATE TEMP TABLE t (a int)")
        server.execute_sql("postgres", "CREATE TABLE shop.later (phone text); GRANT SELECT ON shop.later TO PUBLIC")
        until(lambda: "shop.later" in str(c.execute("SELECT 'shop.later'::regclass").fetchone()), "made")
        assert c.execute("SELECT * FROM shop.later").fetchall() == []


def test_pgveil_in_front_of_pgveil_and_pgbouncer_in_front_of_pgveil(
    server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("nested")
    with (
        ProxyProcess(home / "inner", server, policy=POLICY) as inner,
        ProxyProcess(home / "outer", server, policy=POLICY, server_port=inner.port, pooling="none") as outer,
        Bouncer(inner.port, "transaction", users=(LOGIN,)) as front,
    ):
        for port in (outer.port, front.port):
            with Wire(port, LOGIN) as wire:
                assert wire.query("SET search_path = shop").kind == "ok"
                assert all_of(wire.query("SELECT phone FROM people")) == set(MASKED)
                assert wire.ask(parse("s", "SELECT phone FROM people"), describe("S", "s"), SYNC).kind == "ok"
                assert all_of(wire.ask(bind("", "s"), execute(""), SYNC)) == set(MASKED)
                assert wire.query("SELECT pg_read_file('x')").error == "42501"
                assert wire.ask(parse("x", "SELECT pg_read_file('x')"), SYNC).error == "42501"
                if port == outer.port:  # PgBouncer gives statements names of its own, or none
                    assert wire.ask(parse("pgveil.probe", "SELECT 1"), SYNC).error == "42939"
                assert wire.query("BEGIN; SELECT 1/0").error == "22012"
                assert wire.query("SELECT phone FROM people").error == "25P02"
                assert wire.query("ROLLBACK").kind == "ok"
