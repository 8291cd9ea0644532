"""Texts that are hard to read, through the proxy and on a masked copy as they stand: equal answers, or a refusal.

What each side reads in a text shows in its answer: every table here has one masked column whose raw value appears nowhere else.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import psycopg
import pytest
from psycopg import pq

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

SECRET, MASKED = "13812345678", "138****5678"
LONG = "名" * 20 + "ab"  # 62 bytes
ODD = [
    *("plain", "a.b", 'a"b', "a'b", "a\\b", "new\nline", "tab\there", "zero\u200bwidth", "no\u00a0break", "t€2", "Mixed Case"),
    *("ſelect", "select", LONG, "x" * 63, "日付", "--", "/*", "$$", "1_000", "é", "e\u0301"),
]
OPEN = "t€1"
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  "shop.*.phone": phone
"""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _script(value: str) -> str:
    lines = ["CREATE SCHEMA shop;", f"CREATE TABLE shop.{quoted(OPEN)} (id int, name text);"]
    for name in ODD:
        lines.append(f"CREATE TABLE shop.{quoted(name)} (id int, phone text, note text);")
        lines.append(f"INSERT INTO shop.{quoted(name)} VALUES (1, '{value}', 'note');")
    lines.append("GRANT USAGE ON SCHEMA shop TO lexer, lexer_off; GRANT ALL ON ALL TABLES IN SCHEMA shop TO lexer, lexer_off;")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql(
            "postgres",
            f"CREATE ROLE {CONTROL} LOGIN; CREATE ROLE lexer LOGIN; CREATE ROLE lexer_off LOGIN; "
            "ALTER ROLE lexer_off SET standard_conforming_strings = off; CREATE DATABASE copy",
        )
        server.execute_sql("postgres", _script(SECRET))
        server.execute_sql("copy", _script(MASKED))
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy") / "home", server, policy=POLICY) as proxy:
        yield proxy


class Sides(NamedTuple):
    ours: psycopg.Connection[tuple[object, ...]]
    copy: psycopg.Connection[tuple[object, ...]]
    version: int


@pytest.fixture(scope="module")
def sides(server: TestServer, proxy: ProxyProcess) -> Iterator[Sides]:
    parameters = {"user": "lexer", "autocommit": True, "client_encoding": "utf8", "host": "127.0.0.1"}
    with (
        closing(psycopg.connect(port=proxy.port, dbname="postgres", **parameters)) as ours,  # type: ignore[arg-type]
        closing(psycopg.connect(port=server.port, dbname="copy", **parameters)) as copy,  # type: ignore[arg-type]
    ):
        yield Sides(ours, copy, copy.info.server_version)


class Answer(NamedTuple):
    state: str
    rows: list[list[tuple[bytes | None, ...]]]
    names: list[list[bytes | None]]
    message: bytes


def ask(connection: psycopg.Connection[tuple[object, ...]], text: str) -> Answer:
    """Everything that one query string brings back."""
    pg = connection.pgconn
    pg.send_query(text.encode())
    state, message = "", b""
    rows, names = [], []
    while (result := pg.get_result()) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            message = result.error_message
        elif result.status == pq.ExecStatus.TUPLES_OK:
            names.append([result.fname(i) for i in range(result.nfields)])
            rows.append([tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples)])
    return Answer(state, rows, names, message)


P = "FROM shop.plain"
EQUAL = [
    *(f"SELECT * FROM shop.{quoted(name)}" for name in ODD),
    *(f"SELECT t.phone, t FROM shop.{quoted(name)} t WHERE t.phone LIKE '138%'" for name in ODD),
    *(f"SELECT {quoted(name)}.phone AS {quoted(name)} FROM shop.{quoted(name)}" for name in ODD),
    # names
    f"SELECT PHONE, Phone {P}",
    'SELECT "phone" FROM "shop"."plain"',
    "SELECT phone FROM SHOP.PLAIN",
    "SELECT phone FROM shop.t€2",
    "SELECT * FROM shop.t€1",
    "SELECT phone FROM shop.zero\u200bwidth",
    "SELECT phone FROM shop.no\u00a0break",
    "SELECT phone FROM shop.日付",
    'SELECT U&"ph\\006fne" FROM U&"\\0073hop".U&"pl\\+000061in"',
    """SELECT U&"ph!006fne" UESCAPE '!' FROM shop.U&"pl!0061in" UESCAPE '!' AS q""",
    'SELECT phone FROM shop.u&"t\\20ac2"',
    f"SELECT phone FROM shop.{LONG}cdefgh",
    f"SELECT phone FROM shop.{'x' * 80}",
    f'SELECT phone AS "{"长" * 30}" {P}',
    "SELECT phone FROM shop/* c */./* d */plain",
    "SELECT phone FROM shop\n.\r\n-- comment . shop.t€1\nplain",
    "SELECT shop.plain.phone FROM shop.plain",
    "SELECT postgres.shop.plain.phone FROM postgres.shop.plain",
    # strings
    rf"SELECT E'a\'b\\\x41\u0042' || phone {P}",
    rf"SELECT 'a\' || phone, '--', '/*', $$'$$ {P}",
    rf"SELECT U&'\0041' || phone, U&'!0041' UESCAPE '!' {P}",
    f"SELECT B'101', X'1F', N'x' || phone {P}",
    f"SELECT $a$ $b$ ' -- $$ /* $a$ || phone {P}",
    f"SELECT $长$ ' $长$ || phone {P}",
    f"SELECT 'a'\n'b' || phone {P}",
    f"SELECT 'a' -- x 'c'\n  'b' || phone {P}",
    f"SELECT e'a'\r\n\t'\\'' || phone {P}",
    f"SELECT 'a''b' || phone {P}",
    f"SELECT '\u00a0\u200b\ufeff' || phone {P}",
    # comments
    f"SELECT phone /* /* nested */ 'x' -- */ {P}",
    f"SELECT phone -- x\r{P}",
    f"SELECT phone -- x\n{P}",
    f"SELECT phone -- x\r\n{P}",
    f"SELECT phone -- x\x0c FROM nothing\n{P}",
    f"SELECT phone -- x\x0b FROM nothing\n{P}",
    f"SELECT phone -- x\u00a0\u0085\u2028 FROM nothing\n{P}",
    f"SELECT phone\f{P}",
    f"--\nSELECT/**/phone/**/{P}--",
    f"/* ; */ SELECT phone {P} -- ; DROP TABLE shop.plain",
    # operators
    f"SELECT id*-1, id@-1 {P}",
    f"SELECT id+--x\n1, id-/* - */-1, id <-1, id>=-1, 2*/*x*/3 {P}",
    f"SELECT @-id, |/4, 5!=-3, 2^-1, - -id {P}",
    f"SELECT '{{}}'::jsonb ? 'a', '{{}}'::jsonb #>> '{{}}' {P}",
    f'SELECT id::text::varchar(3)::"char", phone::text COLLATE "C", CAST(id AS int8) {P}',
    f"SELECT id OPERATOR(pg_catalog.+) 1 {P}",
    f"SELECT (ARRAY[phone, 'x'])[1], (ARRAY[1, 2])[1:], id {P}",
    f"SELECT substring(string => phone, start => 1)::text, make_interval(days := id) {P}",
    # numbers
    f"SELECT 1.5e3, .5, 1., 1e-3, 00012, 10000000000, 1..::text {P}",
    f"SELECT 1.5e3, .5, 1., 1e-3, 00012, 10000000000 {P}",
    f"SELECT 0x1F, 0o17, 0b101, 1_000 {P}",
    f"SELECT 1_000 AS n {P}",
    f"SELECT 1abc {P}",
    f"SELECT 1\u00a0, phone {P}",
    # statements
    "",
    ";",
    " ;; ; -- x\n ;",
    "-- nothing at all",
    "/* nothing */",
    f"SELECT phone {P};; SELECT id {P};",
    "\ufeffSELECT 1",
    f"SELECT phone {P} WHERE note = '{'n' * 100_000}' OR id = 1",
    "; ".join([f"SELECT phone {P}"] * 300),
    f"SELECT {'(' * 300}phone{')' * 300} {P}",
    f"SELECT {' + '.join(['id'] * 500)} {P}",
    f"SELECT phone {P} WHERE id IN ({', '.join(['1'] * 5000)})",
    f"SELECT * FROM {'(SELECT * FROM ' * 40}shop.plain{') q' * 40}",
    # errors of the lexer
    "SELECT 'open",
    'SELECT "open',
    "SELECT /* open",
    "SELECT $a$ open",
    'SELECT ""',
    f'SELECT U&"\\zzzz" {P}',
    f"SELECT E'\\u00' {P}",
    f"SELECT U&'\\d800' {P}",
    f"SELECT x'fg' {P}",
    f"SELECT \\ {P}",
]
REFUSABLE = frozenset({"0A000"})


@pytest.mark.parametrize("text", EQUAL, ids=lambda t: repr(t[:70]))
def test_the_masked_copys_answer(sides: Sides, text: str) -> None:
    ours = ask(sides.ours, text)
    theirs = ask(sides.copy, text.replace("postgres.", "copy."))
    assert SECRET.encode() not in b"".join(v or b"" for rows in ours.rows for row in rows for v in row) + ours.message
    if ours.state in REFUSABLE:
        assert sides.version < 160000, ours.message
        assert b"means something else" in ours.message
    elif sides.version < 150000 and b"trailing junk" in ours.message:
        assert theirs.state == ""  # a number and a name to servers that old: refused, as newer ones do
    elif theirs.state:
        assert ours.state, (ours, theirs)
        assert ours.state[:2] in ("42", "22", theirs.state[:2])
    else:
        assert (ours.state, ours.names, ours.rows) == ("", theirs.names, theirs.rows)
    assert ask(sides.ours, f"SELECT phone {P}").rows == [[(MASKED.encode(),)]]


def test_the_comparison_can_fail(server: TestServer, sides: Sides) -> None:
    with closing(psycopg.connect(server.dsn("lexer"), autocommit=True)) as raw:
        assert ask(raw, f"SELECT phone {P}").rows == [[(SECRET.encode(),)]]
    assert sum(bool(ask(sides.copy, t.replace("postgres.", "copy.")).rows) for t in EQUAL) > len(EQUAL) * 0.75


def test_digits_beside_odd_letters_are_part_of_the_name(sides: Sides) -> None:
    """The plan of the table that may be seen is not that of the one beside it."""
    for _ in range(2):
        assert ask(sides.ours, "SELECT * FROM shop.t€1").state == ""
        assert ask(sides.ours, "SELECT * FROM shop.t€2").rows == [[(b"1", MASKED.encode(), b"note")]]


@pytest.mark.parametrize("depth", [5_000, 50_000])
def test_nesting_beyond_reason_is_refused(sides: Sides, depth: int) -> None:
    chains = ["SELECT " + "NOT " * depth + "true", "SELECT " + "1+" * depth * 5 + "1", "SELECT 1" + "::int" * depth]
    for text in (f"SELECT {'(' * depth}1{')' * depth}", *chains, " UNION ALL ".join([f"SELECT phone {P}"] * depth)):
        assert ask(sides.ours, text).state in ("54000", "54001", "42601", "")
        assert ask(sides.ours, f"SELECT phone {P}").rows == [[(MASKED.encode(),)]]


def test_thousands_of_statements(sides: Sides) -> None:
    text = ";".join([f"SELECT phone {P}"] * 3000)
    assert ask(sides.ours, text).rows == [[(MASKED.encode(),)]] * 3000


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def test_nul_bytes(proxy: ProxyProcess) -> None:
    """A text ends at its first zero byte; what is behind it makes the message malformed, and the session goes on."""
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as client, client.makefile("rb") as stream:
        start = struct.pack("!i", 196608) + b"user\0lexer\0database\0postgres\0client_encoding\0UTF8\0\0"
        client.sendall(struct.pack("!i", len(start) + 4) + start)

        def until_ready() -> list[tuple[bytes, bytes]]:
            seen = []
            while not seen or seen[-1][0] != b"Z":
                head = stream.read(5)
                assert len(head) == 5, seen
                seen.append((head[:1], stream.read(struct.unpack("!i", head[1:])[0] - 4)))
            return seen

        until_ready()
        for text in (b"SELECT 1\0 FROM shop.plain\0", b"\0SELECT phone FROM shop.plain\0", b"SELECT 1"):
            client.sendall(message(b"Q", text))
            seen = until_ready()
            assert [k for k, _ in seen if k in b"EDT"] == [b"E"], seen
        client.sendall(message(b"Q", b"SELECT phone FROM shop.plain\0"))
        assert MASKED.encode() in dict(until_ready())[b"D"]


def off(proxy: ProxyProcess, user: str = "lexer", **more: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, client_encoding="utf8", **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "more"), [("lexer", {"options": "-c standard_conforming_strings=off"}), ("lexer_off", {})], ids=["options", "role"]
)
def test_strings_with_backslashes(proxy: ProxyProcess, user: str, more: dict[str, str]) -> None:
    r"""With standard_conforming_strings off `'\'' … '` goes on where we would end it: refused, and only that."""
    with closing(off(proxy, user, **more)) as connection:
        assert ask(connection, "SHOW standard_conforming_strings").rows == [[(b"off",)]]
        for text in (r"SELECT '\', phone FROM shop.plain --'", r"SELECT E'\n'", rf"SELECT '\\' {P}"):
            answer = ask(connection, text)
            assert answer.state == "0A000"
            assert b"standard_conforming_strings" in answer.message
        assert ask(connection, f"SELECT phone, 'a''b' {P}").rows == [[(MASKED.encode(), b"a'b")]]
        assert ask(connection, "SET standard_conforming_strings = on").state == ""
        assert ask(connection, rf"SELECT '\', phone {P} --'").rows == [[(b"\\", MASKED.encode())]]
        assert ask(connection, "RESET standard_conforming_strings").state == "42501"
        assert ask(connection, "SELECT set_config('standard_conforming_strings', 'off', false)").state == "42501"


def test_strings_switch_back_with_a_transaction(proxy: ProxyProcess) -> None:
    with closing(off(proxy, options="-c standard_conforming_strings=off")) as connection:
        for undo in ("ROLLBACK", "ROLLBACK TO a; COMMIT"):
            assert ask(connection, "BEGIN; SAVEPOINT a; SET standard_conforming_strings = on").state == ""
            assert ask(connection, rf"SELECT '\', phone {P} --'").rows == [[(b"\\", MASKED.encode())]]
            assert ask(connection, undo).state == ""
            assert ask(connection, rf"SELECT '\', phone {P} --'").state == "0A000"
        assert ask(connection, "DISCARD ALL").state == ""
        assert ask(connection, rf"SELECT '\', phone {P} --'").state == "0A000"
