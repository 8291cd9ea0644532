"""Ways by which code that a masked session makes, or other people's code, was found to show what the policy hides.

`support` sees everything; `analyst` and `colleague` do not. What is in the catalog when a body is looked at is not what is there
when it runs: names come to mean temporary views, better fitting functions, other types.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from proxy.wire import codec
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until
from tests.support.wire import WireClient, fields, query

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
  shop.orders.phone: phone
  shop.calls.phone: phone
  shop.late_orders.phone: phone
  shop.late_calls.phone: phone
functions: { allow: [shop.shown, shop.listed] }
rules:
  - { name: support sees phones, user: support, columns: [class=phone], show: clear }
"""
SECRET, MASKED = "13812345678", "138****5678"
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE analyst LOGIN;
CREATE ROLE colleague LOGIN;
CREATE ROLE support LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, phone varchar);
INSERT INTO shop.people VALUES (1, '{SECRET}');
CREATE TABLE shop.notes (id int, note text);
CREATE TABLE shop."o'brien" (phone text);
CREATE TABLE shop.groups (id int PRIMARY KEY);
CREATE TABLE shop.orders (phone text PRIMARY KEY, g int REFERENCES shop.groups ON DELETE CASCADE);
CREATE TABLE shop.calls (phone text REFERENCES shop.orders);
INSERT INTO shop.groups VALUES (1);
INSERT INTO shop.orders VALUES ('{SECRET}', 1);
INSERT INTO shop.calls VALUES ('{SECRET}');
CREATE TABLE shop.late_groups (id int PRIMARY KEY);
CREATE TABLE shop.late_orders (phone text PRIMARY KEY, g int REFERENCES shop.late_groups ON DELETE CASCADE);
CREATE TABLE shop.late_calls (phone text REFERENCES shop.late_orders DEFERRABLE INITIALLY DEFERRED);
INSERT INTO shop.late_groups VALUES (1);
INSERT INTO shop.late_orders VALUES ('{SECRET}', 1);
INSERT INTO shop.late_calls VALUES ('{SECRET}');
CREATE VIEW shop.changing AS SELECT 'open'::varchar AS x, 0 AS id;
CREATE VIEW shop.every_group AS SELECT id FROM shop.groups;
CREATE DOMAIN shop.short_text AS char(3);
CREATE FUNCTION shop.short(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT substr(x, 1, 1)';
CREATE FUNCTION shop.cut(x varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN short(x); END $$;
CREATE FUNCTION shop.shown(i int) RETURNS text LANGUAGE plpgsql
  AS $$ BEGIN RETURN (SELECT cut(phone) || phone::short_text FROM shop.people WHERE id = i); END $$;
CREATE TABLE shop.told (phone varchar, ending text);
CREATE FUNCTION shop.tells() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.ending := tail(NEW.phone); RETURN NEW; END $$;
CREATE FUNCTION shop.tail(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT right(x, 1)';
CREATE TRIGGER t BEFORE INSERT ON shop.told FOR EACH ROW EXECUTE FUNCTION shop.tells();
CREATE FUNCTION shop.get_phone() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT max(phone) FROM shop.people';
CREATE FUNCTION shop.echo(x text DEFAULT shop.get_phone()) RETURNS text LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION shop.said(x text DEFAULT upper('a')) RETURNS text LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION shop.listed() RETURNS SETOF text LANGUAGE sql STABLE AS
  $$ SELECT ('x' || left(phone, 3) || ' ' || id)::json::text FROM shop.people $$;
GRANT USAGE, CREATE ON SCHEMA shop, public TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO PUBLIC;
ALTER ROLE ALL SET search_path = public, shop;
"""
VIEW = "CREATE TEMP VIEW mine AS SELECT id, phone FROM shop.people"
READS = "BEGIN RETURN (SELECT max(q.phone) FROM mine q); EXCEPTION WHEN undefined_table THEN RETURN 'none'; END"
FUNCTION = f"CREATE FUNCTION public.reads() RETURNS text LANGUAGE plpgsql AS $$ {READS} $$"
Connection = psycopg.Connection[tuple[object, ...]]
Refused = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("attacks") / "home", server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str = "analyst") -> Connection:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, connect_timeout=20)


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with connect(proxy) as connection:
        yield connection
        connection.execute("ROLLBACK; DROP FUNCTION IF EXISTS public.reads()")


def heard(connection: Connection, text: str) -> str:
    """All that comes back: rows, notices, the error."""
    out: list[object] = []

    def note(d: psycopg.errors.Diagnostic) -> None:
        out.append((d.sqlstate, d.message_primary, d.message_detail, d.message_hint, d.context))

    connection.add_notice_handler(note)
    try:
        cursor = connection.execute(text)
        while True:
            out += cursor.fetchall() if cursor.description is not None else []
            if not cursor.nextset():
                break
    except psycopg.Error as error:
        note(error.diag)
    finally:
        connection.remove_notice_handler(note)
    return repr(out)


@pytest.mark.parametrize(
    "texts",
    [
        (VIEW, "DO $$ BEGIN RAISE NOTICE '%', (SELECT max(phone) FROM mine); END $$"),
        (VIEW, FUNCTION, "SELECT public.reads()"),
        (VIEW, FUNCTION, "PREPARE p AS SELECT public.reads()", "EXECUTE p"),
        ("BEGIN", FUNCTION, VIEW, "SELECT public.reads()"),
        ("BEGIN", FUNCTION, "DECLARE c CURSOR FOR SELECT public.reads() FROM generate_series(1, 3)", VIEW, "FETCH ALL c"),
        (f"{VIEW}; {FUNCTION}; SELECT public.reads()",),
        (VIEW, "ALTER VIEW mine RENAME TO other", FUNCTION.replace("mine", "other"), "SELECT public.reads()"),
        (VIEW, "CREATE TEMP VIEW other AS SELECT * FROM mine", FUNCTION.replace("mine", "other"), "SELECT public.reads()"),
        (
            VIEW,
            FUNCTION,
            "CREATE TABLE public.t (p text DEFAULT public.reads())",
            "INSERT INTO public.t VALUES (DEFAULT) RETURNING p",
        ),
    ],
)
def test_code_cannot_read_a_temporary_view(connection: Connection, texts: tuple[str, ...]) -> None:
    for text in texts:
        assert SECRET not in heard(connection, text)
    assert heard(connection, "ROLLBACK; DROP TABLE IF EXISTS public.t") is not None


def test_a_function_that_changes_while_a_statement_sleeps(proxy: ProxyProcess, connection: Connection) -> None:
    """The text is planned when it comes; a colleague replaces the function while its first statement waits for a lock."""
    connection.execute(FUNCTION.replace(READS, "BEGIN RETURN 'first'; END"))
    connection.execute(VIEW)
    with connect(proxy) as holder, connect(proxy) as other:
        holder.execute("BEGIN; LOCK TABLE shop.notes")
        with connection.cursor() as cursor:
            pid = connection.info.backend_pid
            connection.pgconn.send_query(b"SELECT count(*) FROM shop.notes; SELECT public.reads()")
            waits = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
            while other.execute(waits, (pid,)).fetchone() is None:
                pass
            other.execute(FUNCTION.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
            holder.execute("COMMIT")
            found = []
            while (result := connection.pgconn.get_result()) is not None:
                found.append((result.error_message, result.get_value(0, 0) if result.ntuples else None))
            assert cursor is not None
    assert len(found) == 2
    assert SECRET not in repr(found)


def test_a_temporary_view_is_read_as_ever(connection: Connection) -> None:
    connection.execute("CREATE TEMP VIEW mine (n, tel) AS SELECT id, phone FROM shop.people ORDER BY phone -- the end")
    assert connection.execute("SELECT n, tel FROM mine WHERE tel LIKE '138%'").fetchall() == [(1, MASKED)]
    connection.execute("ALTER VIEW mine RENAME COLUMN tel TO p")
    connection.execute("CREATE TEMP VIEW other AS SELECT p || '!' AS p FROM mine UNION ALL SELECT 'x' ORDER BY 1")
    assert connection.execute("SELECT p FROM other").fetchall() == [(MASKED + "!",), ("x",)]
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW other AS SELECT 'y'::text AS p; CREATE TEMP VIEW plain AS SELECT * FROM shop.people"
    )
    connection.execute("INSERT INTO shop.notes SELECT id FROM plain")
    assert connection.execute("DELETE FROM shop.notes RETURNING id, (SELECT p FROM other)").fetchall() == [(1, "y")]
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute("CREATE TEMP VIEW third AS SELECT phone FROM shop.people WITH CHECK OPTION")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("CREATE FUNCTION public.short(x varchar) RETURNS text LANGUAGE sql AS 'SELECT x::text'", "may call cut"),
        ("CREATE FUNCTION public.tail(x varchar) RETURNS text LANGUAGE sql AS 'SELECT x::text'", "uses a function tells"),
        ("CREATE DOMAIN public.short_text AS text", "another type short_text"),
        ("CREATE TYPE public.short_text AS ENUM ('a')", "another type short_text"),
        ("SELECT shop.echo()", "function shop.echo"),
        ("SELECT shop.echo('x')", "function shop.echo"),
        ('DO $$ BEGIN PERFORM phone FROM "o\'brien"; PERFORM 1 FROM people; END $$', "DO is not possible"),
        ("DO $$ DECLARE c refcursor := 'c'; v text; BEGIN FETCH c INTO v; END $$", "DO is not possible"),
        (
            "DO $$ DECLARE d text; BEGIN DELETE FROM shop.groups; EXCEPTION WHEN others THEN "
            "GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; INSERT INTO shop.notes VALUES (1, d); END $$",
            "DO is not possible",
        ),
        (
            "DO $$ BEGIN DELETE FROM every_group; EXCEPTION WHEN others THEN INSERT INTO shop.notes VALUES (1, SQLERRM); END $$",
            "DO is not possible",
        ),
        (
            "DO $$ BEGIN INSERT INTO notes VALUES (1, shown(1)); EXCEPTION WHEN others THEN RAISE NOTICE '%', sqlerrm; END $$",
            "DO is not possible",
        ),
        ("DO $$ DECLARE c refcursor := 'c'; BEGIN IF true THEN MOVE c; END IF; END $$", "DO is not possible"),
    ],
)
def test_refused(connection: Connection, text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        connection.execute(text)


def test_what_is_near_by_runs(connection: Connection) -> None:
    assert connection.execute("SELECT shop.said(), shop.said('b')").fetchone() == ("A", "b")
    connection.execute("DO $$ BEGIN PERFORM id FROM notes FETCH FIRST 1 ROWS ONLY; END $$")
    caught = "EXCEPTION WHEN others THEN RAISE NOTICE 'caught %', SQLERRM"
    found = heard(connection, f"DO $$ BEGIN INSERT INTO notes VALUES (1, 'x'), (9999999999, 'y'); {caught}; END $$")
    assert "caught integer out of range" in found
    connection.execute("DO $$ BEGIN DELETE FROM groups WHERE id < 0; EXCEPTION WHEN foreign_key_violation THEN NULL; END $$")
    connection.execute("CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    connection.execute("CREATE FUNCTION public.two() RETURNS int LANGUAGE sql AS 'SELECT public.one() * 2'")
    connection.execute("CREATE OR REPLACE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 3'")
    assert connection.execute("SELECT public.two()").fetchone() == (6,)
    connection.execute("DROP FUNCTION public.two(), public.one(); CREATE TYPE public.fresh AS ENUM ('a'); DROP TYPE public.fresh")


def test_rows_behind_a_view_that_is_written(connection: Connection) -> None:
    """Orders go with their group, calls refer to orders: the error behind it quotes the phone number."""
    found = heard(connection, "DELETE FROM shop.every_group WHERE id = 1")
    assert "23503" in found
    assert SECRET not in found


def test_details_of_a_function_that_is_expanded(connection: Connection) -> None:
    """The server puts the body of an SQL function in the place of its call: the error has no context then."""
    connection.execute("CREATE VIEW public.through AS SELECT * FROM shop.listed()")
    for text in ("SELECT * FROM shop.listed()", "SELECT * FROM public.through"):
        found = heard(connection, text)
        assert "22P02" in found
        assert "x138" not in found
    connection.execute("DROP VIEW public.through")


def test_a_query_at_the_end_of_somebody_elses_batch(proxy: ProxyProcess) -> None:
    """The Query commits what was sent before it without a Sync: the deferred check fails there, and quotes the phone number."""
    with WireClient(proxy.port) as client:
        client.login("analyst")
        client.send(
            codec.encode_parse(codec.Parse(b"", b"DELETE FROM shop.late_groups"))
            + codec.encode_bind(codec.Bind(b"", b""))
            + codec.encode_execute(codec.Execute(b""))
            + query("SELECT 1")
        )
        heard_ = client.until(b"Z")
        client.send(codec.SYNC)  # in later versions it is the Sync that ends the transaction
        heard_ += client.until(b"Z")
        errors = [fields(body) for tag, body in heard_ if tag == b"E"]
        asked = client.ask("SHOW server_version_num")
        old = any(tag == b"D" and int(body[6:]) < 170000 for tag, body in asked)
        assert not old or [e["C"] for e in errors] == ["23503"]
        assert SECRET not in repr(heard_)
        detail = [fields(body).get("D") for tag, body in client.ask("SELECT 'x'::json") if tag == b"E"]
        assert detail == ['Token "x" is invalid.']


def test_code_carries_no_masked_values(connection: Connection) -> None:
    connection.execute("CREATE TEMP TABLE held AS SELECT phone FROM people")
    connection.execute(
        "CREATE FUNCTION public.reads() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT max(phone) FROM held); END $$"
    )
    assert connection.execute("SELECT public.reads()").fetchone() == (MASKED,)
    connection.execute("CREATE TABLE public.t (id int, p text DEFAULT public.reads())")
    connection.execute("CREATE VIEW public.through AS SELECT public.reads() AS p")
    for text in (
        "INSERT INTO shop.notes VALUES (1, public.reads())",
        "INSERT INTO public.t (id) VALUES (1)",
        "ALTER TABLE public.t ADD COLUMN q text DEFAULT public.reads()",
        "CREATE TABLE public.u AS SELECT public.reads()",
        "SELECT public.reads() INTO public.u",
        "INSERT INTO shop.notes SELECT 1, p FROM public.through",
        "DO $$ BEGIN INSERT INTO shop.notes VALUES (1, public.reads()); END $$",
    ):
        with pytest.raises(Refused):
            connection.execute(text)
    connection.execute("DROP TABLE public.t, held; DROP VIEW public.through")
    connection.execute("INSERT INTO shop.notes VALUES (1, 'x'); DELETE FROM shop.notes")


def test_what_an_index_computes_after_a_view_has_changed(server: TestServer, proxy: ProxyProcess, connection: Connection) -> None:
    """ANALYZE runs the functions of indexes; what was open when the index was made need not be so any more."""
    connection.execute(
        "CREATE FUNCTION public.reads(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN RETURN (SELECT max(c.x) || CASE max(c.id) WHEN 0 THEN i::text ELSE '' END FROM shop.changing c); END $$"
    )
    connection.execute(
        "CREATE TABLE public.t AS SELECT generate_series(1, 20) AS id; CREATE UNIQUE INDEX ti ON public.t (reads(id))"
    )
    connection.execute("ALTER TABLE public.t ADD CONSTRAINT k CHECK (public.reads(id) <> 'x') NOT VALID; ANALYZE public.t")
    shown = "SELECT count(histogram_bounds) FROM pg_stats WHERE tablename IN ('t', 'ti')"
    assert connection.execute(shown).fetchone() == (2,)
    server.execute_sql("postgres", "CREATE OR REPLACE VIEW shop.changing AS SELECT phone AS x, id FROM shop.people")
    until(lambda: "may not be used" in heard(connection, "SELECT public.reads(1)"), "the new view")
    connection.execute("ANALYZE public.t")
    assert connection.execute(shown).fetchone() == (0,)
    found = [
        heard(connection, text)
        for text in (
            "REINDEX TABLE public.t",
            "REINDEX INDEX public.ti",
            "CLUSTER public.t USING ti",
            "VACUUM FULL public.t",
            "ALTER TABLE public.t VALIDATE CONSTRAINT k",
            "ALTER TABLE public.t ALTER COLUMN id TYPE bigint",
            "INSERT INTO public.t VALUES (1)",
            "SELECT * FROM pg_stats WHERE tablename = 'ti'",
        )
    ]
    assert SECRET not in repr(found)
    connection.execute("DROP TABLE public.t")
    connection.execute("DROP FUNCTION public.reads(int)")
