"""The policy changes while sessions hold prepared statements: no query is lost, and the new decision shows at once.

Drivers prepare on their own. What they hold on the server's side was planned under yesterday's policy.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest

from proxy.wire import codec, tags
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, POLICY, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE ROLE renew_staff LOGIN IN ROLE pgveil_test_staff;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, '张三', '13812345678'), (2, 'Ann', '13987654321');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.people TO PUBLIC;
"""
CLEAR = POLICY.replace("version: 1\n", "version: 1\nnotice: false\n")
MASKED = CLEAR.partition("rules:")[0]
SHOWN = {CLEAR: ("13812345678", "13987654321"), MASKED: ("138****5678", "139****4321")}
CHANGES = [MASKED, CLEAR, MASKED, CLEAR]
"""After a session has begun in clear: both directions, and twice."""
Change = Callable[[str], tuple[str, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("renew") / "home", server) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, **more: object) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user="renew_staff", dbname="postgres", autocommit=True, connect_timeout=20, **more
    )  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def change(proxy: ProxyProcess) -> Iterator[Change]:
    """Put a policy in force, beginning with CLEAR; answers what it shows of the two phones."""
    with connect(proxy, prepare_threshold=None) as witness:

        def put(policy: str) -> tuple[str, str]:
            proxy.policy.write_text(policy, encoding="utf-8")
            proxy.signal(signal.SIGHUP)
            first = SHOWN[policy][0]
            sql = "SELECT phone FROM shop.people WHERE id = 1"
            until(lambda: witness.execute(sql).fetchone() == (first,), "the new policy is in force")
            return SHOWN[policy]

        put(CLEAR)
        yield put


@pytest.mark.parametrize("transaction", [False, True])
def test_psycopg_prepares_on_its_own(proxy: ProxyProcess, change: Change, transaction: bool) -> None:
    sql = "SELECT id, phone FROM shop.people WHERE id = %s"
    with connect(proxy, prepare_threshold=0) as connection:
        if transaction:
            connection.execute("BEGIN")
        assert connection.execute(sql, (1,)).fetchall() == [(1, "13812345678")]
        names = connection.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall()
        assert names, "psycopg has prepared the statement"
        for policy in CHANGES:
            phones = change(policy)
            for binary in (False, True):
                assert connection.execute(sql, (1,), binary=binary).fetchall() == [(1, phones[0])]
                assert connection.execute(sql, (2,), binary=binary).fetchall() == [(2, phones[1])]
        assert connection.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall() == names


def test_psycopg_pipeline(proxy: ProxyProcess, change: Change) -> None:
    sql = "SELECT phone FROM shop.people WHERE id = %s"
    with connect(proxy, prepare_threshold=0) as connection, connection.cursor() as cursor:
        cursor.execute(sql, (1,))
        for policy in CHANGES:
            phones = change(policy)
            with connection.pipeline():
                cursor.executemany(sql, [(1,), (2,)] * 20, returning=True)
                seen = [cursor.fetchone()]
                while cursor.nextset():
                    seen.append(cursor.fetchone())
            assert seen == [(phones[0],), (phones[1],)] * 20


@pytest.mark.parametrize("transaction", [False, True])
def test_asyncpg_prepared_statements(proxy: ProxyProcess, change: Change, transaction: bool) -> None:
    async def scene() -> None:
        connection = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="renew_staff", database="postgres", ssl=False)
        try:
            if transaction:
                await connection.execute("BEGIN")
            held = await connection.prepare("SELECT phone FROM shop.people WHERE id = $1")
            cached = "SELECT id, phone FROM shop.people ORDER BY id"
            assert await held.fetchval(1) == "13812345678"
            assert len(await connection.fetch(cached)) == 2
            for policy in CHANGES:
                phones = await asyncio.to_thread(change, policy)
                assert (await held.fetchval(1), await held.fetchval(2)) == phones
                assert tuple(row["phone"] for row in await connection.fetch(cached)) == phones
        finally:
            await connection.close()

    asyncio.run(scene())


class Wire:
    """A client that speaks the protocol itself."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        body = b"user\0renew_staff\0database\0postgres\0client_encoding\0UTF8\0\0"
        self.buffer = b""
        self.sock.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self.until_ready()

    def until_ready(self) -> list[tuple[int, bytes]]:
        """The messages up to ReadyForQuery: tag and body."""
        out = []
        while True:
            while len(self.buffer) >= 5 and len(self.buffer) > (size := int.from_bytes(self.buffer[1:5], "big")):
                tag, body = self.buffer[0], self.buffer[5 : size + 1]
                self.buffer = self.buffer[size + 1 :]
                out.append((tag, body))
                if tag == tags.READY_FOR_QUERY:
                    return out
            data = self.sock.recv(65536)
            assert data, f"closed after {out}"
            self.buffer += data

    def ask(self, *messages: bytes) -> list[tuple[int, bytes]]:
        self.sock.sendall(b"".join(messages))
        return self.until_ready()


def test_named_statements_as_pgjdbc_uses_them(proxy: ProxyProcess, change: Change) -> None:
    """Parse and Describe once, then Bind and Execute only, results in binary form."""
    wire = Wire(proxy.port)
    with wire.sock:
        text = "SELECT name, phone FROM shop.people WHERE id = $1 AND name <> '李四'"
        parse = codec.encode_parse(codec.Parse(b"S_1", text.encode(), (23,)))
        replies = wire.ask(parse, codec.encode_describe(codec.Target(ord("S"), b"S_1")), codec.SYNC)
        assert [tag for tag, _ in replies] == list(b"1tTZ")
        types = [f.type_oid for f in codec.decode_row_description(replies[2][1])]
        bind = codec.encode_bind(codec.Bind(b"", b"S_1", (1,), ((1).to_bytes(4, "big"),), (1,)))
        for policy in [CLEAR, *CHANGES]:
            phones = change(policy)
            replies = wire.ask(bind, codec.encode_execute(codec.Execute(b"")), codec.SYNC)
            assert [tag for tag, _ in replies] == list(b"2DCZ")
            assert codec.decode_data_row(replies[1][1]) == ("张三".encode(), phones[0].encode())
        change(MASKED)
        replies = wire.ask(codec.encode_describe(codec.Target(ord("S"), b"S_1")), codec.SYNC)
        assert [tag for tag, _ in replies] == list(b"tTZ")
        fields = codec.decode_row_description(replies[1][1])
        assert [f.type_oid for f in fields] == types
        assert fields[1].table == 0, "computed: the mask"


def test_a_portal_from_before_gives_no_more_rows(proxy: ProxyProcess, change: Change) -> None:
    wire = Wire(proxy.port)
    with wire.sock:
        wire.ask(codec.encode_query(b"BEGIN"))
        opening = [
            codec.encode_parse(codec.Parse(b"s", b"SELECT phone FROM shop.people ORDER BY id")),
            codec.encode_bind(codec.Bind(b"c", b"s")),
        ]
        replies = wire.ask(*opening, codec.encode_execute(codec.Execute(b"c", 1)), codec.SYNC)
        assert codec.decode_data_row(replies[2][1]) == (b"13812345678",)
        change(MASKED)
        replies = wire.ask(codec.encode_execute(codec.Execute(b"c", 1)), codec.SYNC)
        assert [tag for tag, _ in replies] == list(b"EZ")
        assert dict(codec.decode_fields(replies[0][1]))["C"] == b"0A000"
        wire.ask(codec.encode_query(b"ROLLBACK"))
        bind = codec.encode_bind(codec.Bind(b"", b"s"))
        replies = wire.ask(bind, codec.encode_execute(codec.Execute(b"")), codec.SYNC)
        assert [codec.decode_data_row(body) for tag, body in replies if tag == tags.DATA_ROW] == [
            (phone.encode(),) for phone in SHOWN[MASKED]
        ]


def is_known(witness: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        return witness.execute("SELECT extra FROM shop.people WHERE id = 1").fetchall() == [(None,)]
    except psycopg.errors.UndefinedColumn:
        return False


def test_a_new_column(proxy: ProxyProcess, server: TestServer, change: Change) -> None:
    """It changes what is sent upstream, and for `SELECT *` the result, which PostgreSQL would not stand either."""
    change(MASKED)
    wire = Wire(proxy.port)
    with wire.sock, connect(proxy, prepare_threshold=None) as witness:
        for name, text in ((b"phone", b"SELECT phone FROM shop.people WHERE id = 1"), (b"star", b"SELECT * FROM shop.people")):
            parse = codec.encode_parse(codec.Parse(name, text))
            wire.ask(parse, codec.encode_describe(codec.Target(ord("S"), name)), codec.SYNC)
        server.execute_sql("postgres", "ALTER TABLE shop.people ADD COLUMN extra text")
        until(lambda: is_known(witness), "the new column is known")
        answers = {}
        for name in (b"phone", b"star"):
            bind = codec.encode_bind(codec.Bind(b"", name))
            answers[name] = wire.ask(bind, codec.encode_execute(codec.Execute(b"")), codec.SYNC)
        assert codec.decode_data_row(answers[b"phone"][1][1]) == (SHOWN[MASKED][0].encode(),)
        tag, body = answers[b"star"][0]
        assert tag == tags.ERROR_RESPONSE
        assert dict(codec.decode_fields(body))["C"] == b"0A000"
