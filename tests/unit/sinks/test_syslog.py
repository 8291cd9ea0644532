"""The syslog sink: everything arrives, across breaks at least once, and the place is kept only for what has arrived."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Io
from proxy.sinks.settings import SyslogSink
from proxy.sinks.syslog import SyslogConsumer
from proxy.supervision import consumer as module
from proxy.supervision.consumer import Drive
from tests.support.certificates import Authority

RECORDS = 60
P = ParamSpec("P")


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PAUSE", 0.01)
    monkeypatch.setattr(module, "MAX_PAUSE", 0.02)
    monkeypatch.setattr(module, "POLL", 0.01)


@pytest.fixture
def writer(tmp_path: Path) -> AuditWriter:
    writer = AuditWriter(tmp_path, "w1", bytes(32), io=Io(sync=lambda fd: None))
    append(writer, RECORDS)
    return writer


def append(writer: AuditWriter, count: int) -> None:
    for n in range(count):
        writer.append(Kind.EVENT, {"event": f"e{n}", "detail": {"text": "字\n|=\\]" * 20}})
    writer.flush()


def sink(scheme: str, port: int, host: str = "127.0.0.1", ca: Path | None = None, kinds: tuple[str, ...] = ()) -> SyslogSink:
    return SyslogSink("siem", scheme, host, port, "json", 13, 60_000, "here", ca, kinds)


class Receiver:
    """Reads octet-counted messages; hangs up after `most` of them, once."""

    def __init__(self, most: int | None = None) -> None:
        self.seqs: list[int] = []
        self.most = most
        self.changed = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int(await reader.readuntil(b" "))
                message = await reader.readexactly(size)
                self.seqs.append(json.loads(message[message.index(b"] ") + 2 :])["seq"])
                self.changed.set()
                if self.most is not None and len(self.seqs) >= self.most:
                    self.most = None
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.transport.abort()


@asynccontextmanager
async def listening(receiver: Receiver, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[int]:
    server = await asyncio.start_server(receiver, "127.0.0.1", port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def arrived(receiver: Receiver, last: int) -> None:
    async with asyncio.timeout(20):
        while last not in receiver.seqs:
            receiver.changed.clear()
            await receiver.changed.wait()


async def drive(directory: Path, of: SyslogSink, done: asyncio.Task[None]) -> Drive:
    stop = asyncio.Event()
    done.add_done_callback(lambda _: stop.set())
    made = Drive(SyslogConsumer(of, directory), directory, block=2000)
    await asyncio.wait_for(made.run(stop), 30)
    await done
    return made


@in_a_loop
async def test_everything_once_when_nothing_breaks(tmp_path: Path, writer: AuditWriter) -> None:
    receiver = Receiver()
    async with listening(receiver) as port:
        await drive(tmp_path, sink("tcp", port), asyncio.ensure_future(arrived(receiver, RECORDS + 1)))
        append(writer, 5)  # and it goes on where it was, in a new process
        await drive(tmp_path, sink("tcp", port), asyncio.ensure_future(arrived(receiver, RECORDS + 6)))
    assert receiver.seqs == list(range(1, RECORDS + 7))


@in_a_loop
async def test_a_break_doubles_and_loses_nothing(tmp_path: Path, writer: AuditWriter) -> None:
    receiver = Receiver(most=17)
    async with listening(receiver) as port:
        made = await drive(tmp_path, sink("tcp", port), asyncio.ensure_future(arrived(receiver, RECORDS + 1)))
    assert made.failures >= 1
    assert set(receiver.seqs) == set(range(1, RECORDS + 2))


@in_a_loop
async def test_nobody_there_at_first(tmp_path: Path, writer: AuditWriter) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    receiver = Receiver()
    stop = asyncio.Event()
    made = Drive(SyslogConsumer(sink("tcp", port), tmp_path), tmp_path)
    running = asyncio.ensure_future(made.run(stop))
    async with asyncio.timeout(20):
        while made.failures < 2:
            await asyncio.sleep(0)
    assert made.failing
    assert made.lag().bytes == 0 or made.lag().seconds >= 0
    async with listening(receiver, port=port):
        await arrived(receiver, RECORDS + 1)
        stop.set()
        await running
    assert receiver.seqs == list(range(1, RECORDS + 2))


@in_a_loop
async def test_tls(tmp_path: Path, writer: AuditWriter) -> None:
    for name in ("ca", "other"):
        (tmp_path / name).mkdir()
    authority = Authority(tmp_path / "ca")
    cert = authority.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*cert)
    receiver = Receiver()
    async with listening(receiver, context) as port:
        await drive(tmp_path, sink("tls", port, ca=authority.certificate), asyncio.ensure_future(arrived(receiver, RECORDS + 1)))
        stranger = Authority(tmp_path / "other")
        refused = SyslogConsumer(sink("tls", port, ca=stranger.certificate), tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            await refused.begin()
    assert receiver.seqs == list(range(1, RECORDS + 2))


@pytest.mark.parametrize("scheme", ["udp", "unix"])
@in_a_loop
async def test_datagrams(tmp_path: Path, writer: AuditWriter, scheme: str) -> None:
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.bind(str(tmp_path / "log") if scheme == "unix" else ("127.0.0.1", 0))
        receiver.setblocking(False)
        host, port = (str(tmp_path / "log"), 0) if scheme == "unix" else receiver.getsockname()
        seqs: list[int] = []

        async def read() -> None:
            while len(seqs) < RECORDS:
                message = await asyncio.get_running_loop().sock_recv(receiver, 70_000)
                found = re.search(rb' seq="(\d+)"\]', message)
                assert found is not None
                seqs.append(int(found[1]))

        await drive(tmp_path, sink(scheme, port, host, kinds=("event",)), asyncio.ensure_future(read()))
    assert seqs == list(range(2, RECORDS + 2)), "the segment's header is of another kind"


@in_a_loop
async def test_a_place_that_cannot_be_read_is_no_beginning(tmp_path: Path, writer: AuditWriter) -> None:
    (tmp_path / "sink-siem.json").write_text("{")
    with pytest.raises(ValueError, match="not what was written"):
        await SyslogConsumer(sink("tcp", 1), tmp_path).begin()
