"""Clients that are slow, silent or greedy, and processes that are short of what they need."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until
from tests.support.wire import WireClient, fields, message, query, startup

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all adversity_pw 127.0.0.1/32 password
host all all 127.0.0.1/32 trust
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE adversity_user LOGIN;
CREATE ROLE adversity_pw LOGIN PASSWORD 'pw';
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int, phone text);
"""
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    home = tmp_path_factory.mktemp("proxy")
    cert, key = Authority(home).issue("localhost")
    extra = f"limits: {{ login_timeout: 2s }}\ntls: {{ cert: {cert}, key: {key}, mode: allow }}"
    with ProxyProcess(home / "home", server, extra=extra) as proxy:
        yield proxy
        assert "Traceback" not in proxy.text()


def hello() -> bytes:
    """The first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def rss(proxy: ProxyProcess) -> int:
    assert proxy.process is not None
    text = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def begin_tls(client: WireClient, data: bytes) -> None:
    client.send(SSL_REQUEST)
    assert client.sock.recv(1) == b"S"
    client.send(data)


SILENT: dict[str, Callable[[WireClient], None]] = {
    "nothing": lambda c: None,
    "half_a_packet": lambda c: c.send(startup("adversity_user")[:20]),
    "half_a_length": lambda c: c.send(b"\0\0"),
    "tls_request": lambda c: c.send(SSL_REQUEST),
    "half_a_handshake": lambda c: begin_tls(c, hello()[:50]),
    "handshake_without_end": lambda c: begin_tls(c, hello()),
    "half_a_direct_handshake": lambda c: c.send(hello()[:50]),
}


@pytest.mark.parametrize("stage", SILENT)
def test_silence_before_the_start_up_packet_ends_without_a_word(proxy: ProxyProcess, stage: str) -> None:
    before = proxy.metric('pgveil_logins_total{result="timeout"}')
    with WireClient(proxy.port) as client:
        SILENT[stage](client)
        while client.sock.recv(1 << 16):  # what belongs to the handshake
            continue
    until(lambda: proxy.metric('pgveil_logins_total{result="timeout"}') == before + 1, "counted")


def test_silence_at_the_password_is_told(proxy: ProxyProcess) -> None:
    with WireClient(proxy.port) as client:
        client.send(startup("adversity_pw"))
        (tag, _), (last, body) = client.end()
        assert (tag, last, fields(body)["C"]) == (b"R", b"E", "57014")
    until(lambda: proxy.metric("pgveil_connections") == 0, "session gone")


def test_one_byte_at_a_time(proxy: ProxyProcess) -> None:
    with WireClient(proxy.port) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in startup("adversity_user"):
            client.send(bytes([byte]))
        client.until(b"Z")
        for byte in query("SELECT 'crumbs'") + message(b"X"):
            client.send(bytes([byte]))
        assert (b"D", b"\0\1\0\0\0\6crumbs") in client.end()


def fill(client: WireClient, data: bytes) -> int:
    """Send it again and again until nothing more is taken; how many bytes were."""
    sent = 0
    while sent < 100 * MEGABYTE:
        try:
            sent += client.sock.send(data[sent % len(data) :])
        except TimeoutError:
            return sent
    raise AssertionError("somebody takes it all")


def test_a_client_that_sends_and_does_not_read(proxy: ProxyProcess) -> None:
    """It is held up by its own answers; nothing piles up on the way. When it reads, everything is there."""
    asked = query("SELECT repeat('x', 2000)") * 40
    with WireClient(proxy.port) as client:
        assert client.login("adversity_user") is None
        before = rss(proxy)
        client.sock.settimeout(2.0)
        sent = fill(client, asked)
        client.sock.settimeout(20.0)
        assert rss(proxy) - before < 24 * MEGABYTE
        rest = -sent % len(asked)
        writer = threading.Thread(target=lambda: client.send(asked[len(asked) - rest :]))
        writer.start()
        answers = 0
        for _ in range((sent + rest) // len(asked) * 40):
            answers += sum(tag == b"D" for tag, _ in client.until(b"Z"))
        writer.join()
        assert answers == (sent + rest) // len(asked) * 40


def test_no_file_descriptors_left(server: TestServer, tmp_path: Path) -> None:
    """Running sessions go on, new ones wait in the system's queue and are served when there is room again."""
    with ProxyProcess(tmp_path / "home", server) as proxy, WireClient(proxy.port) as steady, ExitStack() as stack:
        assert proxy.process is not None
        assert steady.login("adversity_user") is None
        used = len(os.listdir(f"/proc/{proxy.process.pid}/fd"))
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        crowd = [stack.enter_context(WireClient(proxy.port)) for _ in range(30)]
        proxy.wait_for("event=accept_failed")
        assert steady.ask("SELECT 1")[-1] == (b"Z", b"I")
        for client in crowd:
            client.sock.close()

        def served() -> bool:
            with WireClient(proxy.port) as late:
                return late.login("adversity_user") is None

        until(served, "room again")
        assert steady.ask("SELECT 1")[-1] == (b"Z", b"I")
        assert "Traceback" not in proxy.text()


def test_a_running_statement_survives_reload_and_drain(server: TestServer, tmp_path: Path) -> None:
    extra = "limits: { drain_timeout: 30s }"
    with ProxyProcess(tmp_path / "home", server, extra=extra) as proxy, ExitStack() as stack:
        single, several, batch = (stack.enter_context(WireClient(proxy.port)) for _ in range(3))
        for client in (single, several, batch):
            assert client.login("adversity_user") is None
        sleep = "SELECT pg_sleep(3), 'done'"
        single.send(query(sleep))
        several.send(query(f"{sleep}; SELECT 1; SELECT 'done'"))
        parse = message(b"P", b"\0" + sleep.encode() + b"\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0")
        batch.send(parse + message(b"E", b"\0\0\0\0\0") + message(b"S"))
        sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'adversity_user' AND query ~ 'pg_sleep' AND state = 'active'"
        until(lambda: server.execute_sql("postgres", sql) == "3", "all are running")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("event=reloading")
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("event=draining")
        for client in (single, several, batch):
            seen = client.end()
            assert sum(b"done" in body for tag, body in seen if tag == b"D") >= 1
            assert (b"Z", b"I") in seen
            assert seen[-1][0] == b"E"
            assert fields(seen[-1][1])["C"] == "57P01"
        assert proxy.wait() == 0


def test_whoever_waits_in_the_queue_is_told(server: TestServer, tmp_path: Path) -> None:
    """A client that the system has accepted and pgveil has not yet is refused with a reason, rather than reset."""
    with ProxyProcess(tmp_path / "home", server) as proxy:
        assert proxy.process is not None
        os.kill(proxy.process.pid, signal.SIGSTOP)
        with WireClient(proxy.port) as client:
            client.send(startup("adversity_user"))
            proxy.signal(signal.SIGTERM)
            os.kill(proxy.process.pid, signal.SIGCONT)
            seen = client.end()
        assert proxy.wait() == 0
        assert seen == [] or fields(seen[-1][1])["C"] in ("57P03", "57P01")


def test_a_control_connection_that_hangs(server: TestServer, tmp_path: Path) -> None:
    """Nobody waits for ever for a catalog that does not come: masked sessions end with a reason, and work again when it does."""
    proxy = ProxyProcess(tmp_path / "home", server)
    proxy.config.write_text(proxy.config.read_text().replace("max_stale: 30s", "max_stale: 3s"))
    with proxy, WireClient(proxy.port) as client:
        assert client.login("adversity_user") is None
        sql = f"SELECT pid FROM pg_stat_activity WHERE usename = '{CONTROL}'"
        backends = [int(pid) for pid in server.execute_sql("postgres", sql).split()]
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            client.send(query("SELECT phone FROM shop.people"))
            ((tag, body),) = client.end()
            assert (tag, fields(body)["C"]) == (b"E", "57P03")
        finally:
            for pid in backends:
                os.kill(pid, signal.SIGCONT)

        def works() -> bool:
            with WireClient(proxy.port) as again:
                return again.login("adversity_user") is None and again.ask("SELECT phone FROM shop.people")[-1] == (b"Z", b"I")

        until(works, "masked sessions again")
