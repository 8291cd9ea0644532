"""A server that dies, stalls, refuses or talks nonsense: the client is told, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.impostor import (
    AUTH_OK,
    KEY,
    PASSWORD_WANTED,
    READY,
    ROW,
    ROWS,
    WELCOME,
    Caller,
    Impostor,
    Script,
    error,
    status,
)  # fmt: skip
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until
from tests.support.wire import WireClient, fields, message, query, startup

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE bad_user LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int, phone text);
INSERT INTO shop.people VALUES (1, '13812345678');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.people TO PUBLIC;
"""
MEGABYTE = 1 << 20
DONE = message(b"C", b"SELECT 1\0")


def says(*parts: bytes, then: str = "close") -> Script:
    def script(caller: Caller) -> None:
        for part in parts:
            caller.say(part)
        if then == "wait":
            caller.wait()

    return script


def endlessly(first: bytes, again: bytes) -> Script:
    def script(caller: Caller) -> None:
        caller.say(first)
        while True:
            caller.say(again)

    return script


def answers(*parts: bytes, then: str = "close") -> Script:
    """Lets the client in and answers its first message."""

    def script(caller: Caller) -> None:
        caller.say(WELCOME)
        caller.hear()
        says(*parts, then=then)(caller)

    return script


NOTICE = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0M" + b"x" * 1000 + b"\0\0")

LOGINS: dict[str, tuple[Script, str]] = {
    "gone": (says(), "08006"),
    "gone_after_the_question": (says(PASSWORD_WANTED), "08006"),
    "gone_after_yes": (says(AUTH_OK, KEY), "08006"),
    "gone_within_a_message": (says(AUTH_OK, KEY[:5]), "08006"),
    "another_protocol": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n", then="wait"), "08P01"),
    "too_short": (says(b"R\0\0\0\3", then="wait"), "08P01"),
    "too_long": (says(b"R\x7f\xff\xff\xff", then="wait"), "08P01"),
    "negative": (says(b"R\xff\xff\xff\xff", then="wait"), "08P01"),
    "unknown_type": (says(message(b"?", b"what"), then="wait"), "08P01"),
    "rows_before_the_login": (says(ROW, then="wait"), "08P01"),
    "ready_before_yes": (says(READY, then="wait"), "08P01"),
    "rows_before_ready": (says(AUTH_OK, ROW, READY, then="wait"), "08P01"),
    "unknown_authentication": (says(message(b"R", b"\0\0\0\x63"), then="wait"), "57014"),
    "empty_authentication": (says(message(b"R"), then="wait"), "08P01"),
    "giant_status": (says(b"S\x30\0\0\0client_encoding\0", then="wait"), "08P01"),
    "giant_status_after_yes": (says(AUTH_OK, b"S\x30\0\0\0client_encoding\0", then="wait"), "08P01"),
    "giant_error": (says(b"E\x30\0\0\0S", then="wait"), "08P01"),
    "status_without_end": (says(AUTH_OK, message(b"S", b"client_encoding"), READY, then="wait"), "08P01"),
    "silence": (says(then="wait"), "57014"),
    "silence_after_yes": (says(AUTH_OK, then="wait"), "57014"),
    "endless_notices": (endlessly(b"", NOTICE), "57014"),
    "endless_status": (endlessly(AUTH_OK, status("client_encoding", "UTF8")), "08P01"),
    "endless_error": (endlessly(b"E\x0f\xff\xff\xffSFATAL\0", b"Mx" * 500), "08P01"),
    "full": (says(error("53300", "sorry, too many clients already")), "53300"),
    "starting": (says(error("57P03", "the database system is starting up")), "57P03"),
    "recovering": (says(error("57P03", "the database system is not yet accepting connections")), "57P03"),
    "full_after_yes": (says(AUTH_OK, error("53300", 'too many connections for role "x"')), "53300"),
}
"""What the server does, and the SQLSTATE of the last word that the client hears."""

STATEMENTS: dict[str, tuple[Script, str]] = {
    "gone": (answers(), "08006"),
    "gone_within_a_row": (answers(ROWS, ROW, ROW[:-1]), "08006"),
    "gone_within_a_header": (answers(ROWS, ROW, ROW[:3]), "08006"),
    "gone_within_an_error": (answers(error("42601", "no")[:-5]), "08006"),
    "terminated": (answers(error("57P01", "terminating connection due to administrator command")), "57P01"),
    "terminated_within_a_result": (answers(ROWS, ROW, error("57P02", "crash of another server process")), "57P02"),
    "too_short": (answers(b"T\0\0\0\1", then="wait"), "08P01"),
    "too_long": (answers(b"D\x7f\xff\xff\xff", then="wait"), "08P01"),
    "unknown_type": (answers(message(b"?", b"what"), then="wait"), "08P01"),
    "out_of_order": (answers(message(b"1"), then="wait"), "08P01"),
    "rows_without_description_end": (answers(message(b"T", b"\0\2x\0"), then="wait"), "08P01"),
    "a_second_login": (answers(AUTH_OK, then="wait"), "08P01"),
    "giant_status": (answers(b"S\x30\0\0\0client_encoding\0", then="wait"), "08P01"),
    "two_answers": (answers(ROWS, ROW, DONE, READY, ROW, then="wait"), "08P01"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    scripts = {f"login_{name}": script for name, (script, _) in LOGINS.items()}
    scripts |= {f"statement_{name}": script for name, (script, _) in STATEMENTS.items()}
    home = tmp_path_factory.mktemp("proxy") / "home"
    with Impostor(server.port, scripts) as impostor:
        extra = "limits: { login_timeout: 2s }"
        with ProxyProcess(home, server, server_port=impostor.port, extra=extra) as proxy:
            yield proxy
            assert "Traceback" not in proxy.text()


@pytest.fixture(scope="module")
def at_rest(proxy: ProxyProcess) -> int:
    until(lambda: proxy.get("/readyz")[0] == 200, "the catalog's connection is there")
    return descriptors(proxy)


@pytest.fixture(autouse=True)
def nothing_is_left(proxy: ProxyProcess, at_rest: int) -> Iterator[None]:
    """Two file descriptors more at most, however many tests there were: the control connection may be there or not."""
    until(lambda: proxy.get("/readyz")[0] == 200, "the catalog's connection is there")
    yield
    until(lambda: proxy.metric("pgveil_connections") == 0, "sessions gone")
    until(lambda: descriptors(proxy) <= at_rest + 2, "file descriptors closed")


def descriptors(proxy: ProxyProcess) -> int:
    assert proxy.process is not None
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


def last_word(seen: list[tuple[bytes, bytes]]) -> str:
    """The SQLSTATE of the one error that ends the conversation."""
    assert [tag for tag, _ in seen].count(b"E") == 1, seen
    assert seen[-1][0] == b"E", seen
    found = fields(seen[-1][1])
    assert found["V"] == "FATAL"
    assert found["M"]
    return found["C"]


@pytest.mark.parametrize("name", LOGINS)
def test_logins(proxy: ProxyProcess, name: str) -> None:
    with WireClient(proxy.port) as client:
        client.send(startup(f"login_{name}"))
        assert last_word(client.end()) == LOGINS[name][1]


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements(proxy: ProxyProcess, name: str) -> None:
    with WireClient(proxy.port) as client:
        assert client.login(f"statement_{name}") is None
        client.send(query("SELECT 1"))
        assert last_word(client.end()) == STATEMENTS[name][1]


def test_many_at_once_do_not_fill_memory(proxy: ProxyProcess) -> None:
    def rss() -> int:
        assert proxy.process is not None
        text = Path(f"/proc/{proxy.process.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024

    before = rss()
    with ExitStack() as stack:
        clients = [stack.enter_context(WireClient(proxy.port)) for _ in range(10)]
        for client in clients:
            client.send(startup("login_endless_error"))
        peak = 0
        for client in clients:
            assert last_word(client.end()) == "08P01"
            peak = max(peak, rss())
    assert peak - before < 60 * MEGABYTE


def test_the_real_server_restarts(server: TestServer, tmp_path: Path) -> None:
    """Sessions are told; the catalog's own connections come back by themselves, and so may the clients."""
    home = tmp_path / "home"
    with ProxyProcess(home, server) as proxy, WireClient(proxy.port) as idle, WireClient(proxy.port) as busy:
        for client in (idle, busy):
            assert client.login("bad_user") is None
        busy.send(query("SELECT pg_sleep(60)"))
        until(lambda: "pg_sleep" in server.execute_sql("postgres", "SELECT query FROM pg_stat_activity"), "the statement runs")
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGQUIT)
        server._process.wait(20)
        for client in (idle, busy):
            assert last_word(client.end()) in ("57P01", "57P02", "08006")
        with WireClient(proxy.port) as early:
            assert early.login("bad_user") == "08001"
        until(lambda: proxy.metric("pgveil_connections") == 0, "sessions gone")
        server.start()

        def back() -> bool:
            with WireClient(proxy.port) as again:
                if again.login("bad_user") is not None:
                    return False
                return (b"D", b"\0\1\0\0\0\x0b138****5678") in again.ask("SELECT phone FROM shop.people")

        until(back, "masked answers again")


GREETINGS: dict[str, tuple[Script, str]] = {
    "no": (says(b"N", then="wait"), "does not offer TLS"),
    "an_error": (says(error("08P01", "unsupported frontend protocol"), then="wait"), "no answer to the TLS request"),
    "nonsense": (says(b"x", then="wait"), "no answer to the TLS request"),
    "gone": (says(), "no answer to the TLS request"),
    "glued": (says(b"S" + AUTH_OK + WELCOME, then="wait"), "TLS failed"),
    "silence": (says(then="wait"), "timeout expired"),
    "silence_after_yes": (says(b"S", then="wait"), "timeout expired"),
}


@pytest.mark.parametrize("name", GREETINGS)
def test_encryption_requests(server: TestServer, tmp_path: Path, name: str) -> None:
    script, reason = GREETINGS[name]
    with Impostor(server.port, {}, greeting=script) as impostor:
        proxy = ProxyProcess(tmp_path / "home", server, server_port=impostor.port, server_tls="{ mode: require }")
        proxy.config.write_text(proxy.config.read_text().replace("connect_timeout: 5s", "connect_timeout: 1s"))
        proxy.start(ready=False)
        try:
            with WireClient(proxy.port) as client:
                client.send(startup("bad_user"))
                seen = client.end()
                assert last_word(seen) == "08001"
                assert reason in fields(seen[-1][1])["M"]
        finally:
            proxy.stop()
