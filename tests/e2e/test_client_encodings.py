"""Every client_encoding: the codecs against the server's own conversions, and statements in it through the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import pq

from proxy.wire import encodings
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

ALIASES = {"UNICODE", "WIN936", "WIN950", "WIN932", "WIN949"}
NAMES = sorted(set(encodings.CODECS) - ALIASES)
UNREADABLE = ("EUC_TW", "MULE_INTERNAL")
SERVER_ENCODINGS = ("EUC_CN", "EUC_JP", "LATIN1", "SQL_ASCII")
SECRET = "13812345678"
SAMPLES = {
    "GBK": "客户张三", "GB18030": "客户𠮷", "BIG5": "客戶張", "EUC_CN": "客户张三", "SJIS": "顧客ソ表", "EUC_JP": "顧客ソ",
    "SHIFT_JIS_2004": "顧客ソ", "EUC_JIS_2004": "顧客ソ", "EUC_KR": "고객", "UHC": "똠방각하", "JOHAB": "모힣", "UTF8": "客户🔒",
    "EUC_TW": "客戶", "MULE_INTERNAL": "客户", "SQL_ASCII": "客户",
}  # fmt: skip
"""Text of each encoding; of a single-byte one, its upper half is taken. SJIS ソ holds 0x5C as its second byte. PostgreSQL takes
only a part of JOHAB."""

CONVERT = """
CREATE FUNCTION public.convert_or_null(data bytea, encoding text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN pg_catalog.convert_from(data, encoding); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$
"""

POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  "shop.*.phone": phone
"""


def sample(encoding: str) -> str:
    text = SAMPLES.get(encoding)
    if text is None:
        upper = bytes([*range(0xC1, 0xDB), *range(0x80, 0xC0), *range(0xE0, 0xFF)]).decode(encodings.CODECS[encoding], "ignore")
        text = "".join(c for c in upper if c.isalpha())[:5]
    return text


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer({"max_connections": "60"}, hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN; CREATE ROLE coder LOGIN; {CONVERT}")
        tables = []
        for encoding in [*NAMES, *UNREADABLE]:
            tables.append(f'CREATE TABLE shop."t_{sample(encoding)}" (id int, phone text, note text)')
            tables.append(f"""INSERT INTO shop."t_{sample(encoding)}" VALUES (1, '{SECRET}', '{sample(encoding)}')""")
        tables = list(dict.fromkeys(tables))
        server.execute_sql("postgres", "CREATE SCHEMA shop; " + ";".join(tables) + _GRANTS)
        for encoding in SERVER_ENCODINGS:
            server.execute_sql(
                "postgres", f"CREATE DATABASE {encoding.lower()} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
            )
            text = sample(encoding)
            server.execute_sql(
                encoding.lower(),
                f"""CREATE SCHEMA shop; CREATE TABLE shop."t_{text}" (id int, phone text, note text);
                INSERT INTO shop."t_{text}" VALUES (1, '{SECRET}', '{text}'); {_GRANTS}""",
            )
        yield server


_GRANTS = "; GRANT USAGE ON SCHEMA shop TO coder; GRANT ALL ON ALL TABLES IN SCHEMA shop TO coder"


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    databases = ", ".join(["postgres", *[e.lower() for e in SERVER_ENCODINGS]])
    home = tmp_path_factory.mktemp("proxy") / "home"
    with ProxyProcess(home, server, policy=POLICY, extra=f"databases: [{databases}]") as proxy:
        yield proxy


def connect(proxy: ProxyProcess, dbname: str = "postgres", **more: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user="coder", dbname=dbname, autocommit=True, connect_timeout=20, **more
    )  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Reply:
    rows: list[tuple[bytes | None, ...]]
    state: str
    message: bytes


def send(connection: psycopg.Connection[tuple[object, ...]], query: bytes, extended: bool = False) -> Reply:
    """One query string as these bytes; what came back of its last statement."""
    pg = connection.pgconn
    if extended:
        pg.send_query_params(query, None)
    else:
        pg.send_query(query)
    last = None
    while (result := pg.get_result()) is not None:
        last = result
    assert last is not None
    state = (last.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    rows = [tuple(last.get_value(r, c) for c in range(last.nfields)) for r in range(last.ntuples)]
    return Reply(rows, state, last.error_message)


def every_character(codec: str) -> Iterator[tuple[str, bytes]]:
    """What one client character can be: each character that the codec has and `encodings` lets through."""
    planes = [range(0x80, 0x10000), range(0x20000, 0x2A6E0) if codec.endswith("2004") else range(0x10000, 0x110000, 509)]
    for plane in planes:
        for number in plane:
            data = encodings.encode(chr(number), codec)
            if data is not None and encodings.decode(data, codec) is not None:
                yield chr(number), data


@pytest.mark.parametrize("encoding", [n for n in NAMES if n not in ("UTF8",)])
def test_codec_and_server_read_the_same(server: TestServer, encoding: str) -> None:
    """Each character, twice with a letter between, so that both also agree where it ends."""
    characters = list(every_character(encodings.CODECS[encoding]))
    assert len(characters) > 80
    with closing(psycopg.connect(server.dsn())) as connection:
        found = connection.execute(
            "SELECT convert_or_null(x.b || 'A'::bytea || x.b, %s) FROM unnest(%s::bytea[]) WITH ORDINALITY x(b, n) ORDER BY n",
            (encoding, [data for _, data in characters]),
        ).fetchall()
    wrong = [(c, data, got) for (c, data), (got,) in zip(characters, found, strict=True) if got not in (None, f"{c}A{c}")]
    assert not wrong[:20]
    assert sum(got is not None for (got,) in found) > 80


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("encoding", NAMES)
def test_statements_in_every_encoding(proxy: ProxyProcess, encoding: str, extended: bool) -> None:
    text = sample(encoding)
    codec = encodings.CODECS[encoding]
    for name in (encoding, encoding.lower()):
        with closing(connect(proxy, options=f"-c client_encoding={name}")) as connection:
            query = f"""SELECT phone, note, '{text}' AS "{text}" FROM shop."t_{text}" WHERE note = '{text}'"""
            reply = send(connection, query.encode(codec), extended)
            assert reply.rows == [(b"138****5678", text.encode(codec), text.encode(codec))], reply


@pytest.mark.parametrize("encoding", UNREADABLE)
def test_encodings_that_cannot_be_read(proxy: ProxyProcess, encoding: str) -> None:
    with closing(connect(proxy)) as connection:
        if (reply := send(connection, f"SET client_encoding = '{encoding}'".encode())).state:
            assert b'invalid value for parameter "client_encoding"' in reply.message  # no conversion to UTF8
            return
        reply = send(connection, b"SELECT '\xa4\xa4' FROM shop.\"t_x\"")
        assert (reply.state, reply.rows) == ("0A000", [])
        assert b"client_encoding" in reply.message
        assert send(connection, b"SELECT 1").rows == [(b"1",)]


def test_bytes_that_are_not_text(proxy: ProxyProcess) -> None:
    cases = {"UTF8": [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe5"], "GBK": [b"\xff\xff", b"\xd5"], "SJIS": [b"\x87\x90"]}
    for encoding, broken in cases.items():
        with closing(connect(proxy, options=f"-c client_encoding={encoding}")) as connection:
            for data in broken:
                for query in (b"SELECT '" + data + b"'", b"SELECT 1 -- " + data, b'SELECT 1 AS "' + data + b'"'):
                    assert send(connection, query).state == "22021"
                    assert send(connection, query, extended=True).state == "22021"
            assert send(connection, b"SELECT 1").rows == [(b"1",)]


def test_the_encoding_changes_on_the_way(proxy: ProxyProcess) -> None:
    """SET, SET NAMES, SET LOCAL, rollback, set_config, RESET, DISCARD: the next text is read as the server reads it."""
    gbk, utf8 = sample("GBK").encode("gbk"), sample("GBK").encode()

    def works(connection: psycopg.Connection[tuple[object, ...]], data: bytes) -> bool:
        reply = send(connection, b'SELECT phone FROM shop."t_' + data + b'"')
        assert reply.rows in ([], [(b"138****5678",)])
        return bool(reply.rows)

    with closing(connect(proxy, options="-c client_encoding=UTF8")) as connection:
        for change, then in (
            (b"SELECT 1", utf8),
            (b"SET client_encoding = 'GBK'", gbk),
            (b"SET NAMES 'UTF8'", utf8),
            (b"BEGIN; SET LOCAL client_encoding TO gbk", gbk),
            (b"ROLLBACK", utf8),
            (b"SELECT set_config('client_encoding', 'gbk', false)", gbk),
            (b"RESET client_encoding", utf8),
            (b"BEGIN; SAVEPOINT a; SET NAMES 'gbk'", gbk),
            (b"ROLLBACK TO a", utf8),
            (b"COMMIT; SET NAMES 'gbk'", gbk),
            (b"DISCARD ALL", utf8),
        ):
            assert send(connection, change).state == "", change
            assert works(connection, then), change
            if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
                assert not works(connection, gbk if then == utf8 else utf8), change


def test_the_encoding_changes_inside_a_pipeline(proxy: ProxyProcess) -> None:
    gbk, utf8 = sample("GBK").encode("gbk"), sample("GBK").encode()
    select = b'SELECT phone FROM shop."t_%b"'
    with closing(connect(proxy, options="-c client_encoding=UTF8")) as connection:
        pg = connection.pgconn
        pg.enter_pipeline_mode()
        queries = [b"SET client_encoding = 'GBK'", select % gbk, b"SET NAMES 'UTF8'", select % utf8]
        for query in queries:
            pg.send_query_params(query, None)
        pg.pipeline_sync()
        rows = []
        for _ in queries:
            while (result := pg.get_result()) is not None:
                assert result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK), result.error_message
                rows += [result.get_value(i, 0) for i in range(result.ntuples)]
        assert rows == [b"138****5678"] * 2


def test_the_role_has_an_encoding(server: TestServer, proxy: ProxyProcess) -> None:
    server.execute_sql("postgres", "CREATE ROLE coder_big5 LOGIN; ALTER ROLE coder_big5 SET client_encoding = 'BIG5'")
    server.execute_sql("postgres", "GRANT coder TO coder_big5")
    text = sample("BIG5")
    parameters = f"host=127.0.0.1 port={proxy.port} user=coder_big5 dbname=postgres"
    pg = pq.PGconn.connect(parameters.encode())
    try:
        assert pg.parameter_status(b"client_encoding") == b"BIG5"
        result = pg.exec_(f'SELECT phone FROM shop."t_{text}"'.encode("big5"))
        assert result.get_value(0, 0) == b"138****5678"
    finally:
        pg.finish()


@pytest.mark.parametrize("encoding", SERVER_ENCODINGS)
def test_databases_in_other_encodings(proxy: ProxyProcess, encoding: str) -> None:
    text = sample(encoding)
    own = encodings.CODECS.get(encoding, "utf-8")
    with closing(connect(proxy, encoding.lower())) as connection:
        for client, codec in ((encoding, own), ("UTF8", "utf-8"), ("SQL_ASCII", own)):
            assert send(connection, f"SET client_encoding = '{client}'".encode()).state == ""
            reply = send(connection, f"""SELECT phone, note FROM shop."t_{text}" WHERE note <> 'x'""".encode(codec))
            assert reply.rows == [(b"138****5678", text.encode(codec))], reply
            reply = send(connection, f"""SELECT phone FROM shop."t_{text}" AS "{text * 20}" """.encode(codec))
            assert reply.state == "0A000"
            assert b"cut at another place" in reply.message


def test_letters_that_the_server_folds(proxy: ProxyProcess) -> None:
    with closing(connect(proxy, "latin1")) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        text = sample("LATIN1")
        reply = send(connection, f"SELECT phone FROM shop.t_{text}".encode())
        assert reply.state == "0A000"
        assert b"folded" in reply.message
        reply = send(connection, b'SELECT phone FROM shop.U&"t_\\00c1"')
        assert reply.state == "0A000"


def test_a_text_the_database_cannot_hold(proxy: ProxyProcess) -> None:
    with closing(connect(proxy, "euc_jp")) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        assert send(connection, "SELECT '〜'".encode()).state == "22P05"
        assert send(connection, "SELECT '漢字'".encode()).rows == [("漢字".encode(),)]


def test_bytes_go_through_a_database_without_encoding(proxy: ProxyProcess) -> None:
    """LATIN1 bytes that are another name in UTF-8: to a SQL_ASCII database they are the UTF-8 name."""
    with closing(connect(proxy, "sql_ascii")) as connection:
        connection.execute("SET client_encoding = 'LATIN1'")
        reply = send(connection, f'SELECT phone FROM shop."t_{sample("SQL_ASCII")}"'.encode())
        assert (reply.state, reply.rows) == ("0A000", [])
