"""A live pgveil between clients and servers that do not keep to the protocol.

A `vandal` is a client that says what real clients have said, changed. A `Meddler` is the network between pgveil and a real
PostgreSQL: it changes what the server says, or cuts the connection. All the while other sessions must get right answers, the
process must stay up, its memory flat. A client must be told why its session ends; a masked login must never see a raw value.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import psycopg

from proxy.wire import codec, startup, tags
from tests.fuzz.greetings import stream
from tests.fuzz.lab import PHONES, RAW, USERS, Lab
from tests.fuzz.mutate import Event, mutate
from tests.fuzz.peer import Peer
from tests.fuzz.recording import CLIENT, SERVER, all_recordings

MASKED_PHONE = PHONES[0][:3] + "****" + PHONES[0][7:]
GROWTH = 60 * 1024 * 1024
"""Bytes by which the process may grow after it has warmed up."""
QUERY = "select phone from bank.people where id = 1"


class Watch:
    """Calm sessions through pgveil, and the process itself."""

    def __init__(self, lab: Lab, port: int, pid: int) -> None:
        self._pid = pid
        self._calm = {
            login: psycopg.connect(f"host=127.0.0.1 port={port} user={user} dbname={RAW} application_name=calm", autocommit=True)
            for login, user in USERS.items()
        }
        self._base: int | None = None

    def close(self) -> None:
        for connection in self._calm.values():
            connection.close()

    def look(self) -> str | None:
        """What is wrong, or None."""
        for login, wanted in (("clear", PHONES[0]), ("masked", MASKED_PHONE)):
            try:
                row = self._calm[login].execute(QUERY, prepare=None).fetchone()
            except psycopg.Error as error:
                return f"another session is disturbed: {error}"
            if row != (wanted,):
                return f"another session gets {row}"
        return None

    def memory(self) -> str | None:
        """The first look sets the mark."""
        size = 0
        for pid in self._family():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            size += int(status.partition("VmRSS:")[2].split()[0]) * 1024 if "VmRSS:" in status else 0
        if self._base is None:
            self._base = size
        elif size > self._base + GROWTH:
            return f"memory has grown from {self._base >> 20} to {size >> 20} MiB"
        return None

    def _family(self) -> list[int]:
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children")
        return [self._pid, *(map(int, children.read_text().split()) if children.exists() else ())]


def vandal(port: int, seed: str) -> str | None:
    """One client; what is wrong with what it was told, or None."""
    rng = random.Random(seed)
    login = rng.choice(("clear", "masked"))
    recordings = [r for r in all_recordings() if r.messages]
    said = [
        Event(CLIENT, d)
        for side, d in rng.choice(recordings).messages
        if side == CLIENT and d[0] not in (tags.PASSWORD, tags.TERMINATE)
    ]
    donors = [Event(CLIENT, d) for side, d in rng.choice(recordings).messages if side == CLIENT and d[0] != tags.PASSWORD]
    if len(said) > 30:
        at = rng.randrange(len(said) - 20)
        said = said[at : at + 20]
    events = [e for e in mutate(said, rng, donors, rng.choice((1, 3, 6))) if e.kind == CLIENT and e.data]
    peer = Peer(port, USERS[login], RAW)
    try:
        for event in events:
            if peer.ended:
                break
            peer.send(event.data)
            if rng.random() < 0.3:
                peer.receive(lambda: False, 0.002)
        ending = rng.randrange(3)
        if ending == 0:  # cut off
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.receive(lambda: False, 0.002)
        elif not peer.ended:
            # What may be needed to come back into step, whatever state the server is in; then an end.
            peer.send(bytes(4) if ending == 1 else b"")
            peer.sock.shutdown(socket.SHUT_WR)
            if not peer.receive(lambda: False, 20):
                return "the session does not end when the client has gone"
        return wrong(peer, login)
    except OSError:
        return None
    finally:
        peer.close()


def wrong(peer: Peer, login: str) -> str | None:
    """Something no client should be told."""
    everything = b"".join(peer.messages)
    if login == "masked" and any(phone.encode() in everything for phone in PHONES):
        return "a raw value was shown"
    if b"internal error" in everything:
        return f"internal error: {next(m for m in peer.messages if b'internal error' in m)!r}"
    for ours in (b"pgveil.probe", b"pgveil.refused", b"refused by pgveil"):
        if ours in everything:
            return f"a message of pgveil's own was shown: {ours.decode()}"
    return None


class Meddler:
    """Listens; passes everything on to the server and changes what comes back, for the users it is told to."""

    def __init__(self, target: int, users: tuple[str, ...]) -> None:
        self._target = target
        self._users = tuple(b"\0" + u.encode() + b"\0" for u in users)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._rng = random.Random(0)
        self._meddled: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def cut(self) -> None:
        """The end of all connections that were meddled with. One of them may wait for something that has been left out."""
        for sock in self._meddled:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pump, args=(client, random.Random(self._rng.random())), daemon=True).start()

    def _pump(self, client: socket.socket, rng: random.Random) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        meddles: bool | None = None
        stream = b""
        passed = 0
        patience = rng.choice((0, 5, 12, 14, 16, 25))
        try:
            with client, server:
                while True:
                    for sock in select.select([client, server], [], [])[0]:
                        data = sock.recv(1 << 16)
                        if not data:
                            return
                        if sock is client:
                            if meddles is None:
                                calm = b"\0calm\0" in data
                                meddles = not calm and any(u in data for u in self._users)
                                if meddles:
                                    self._meddled.append(client)
                            server.sendall(data)
                        elif not meddles:
                            client.sendall(data)
                        else:
                            stream += data
                            while len(stream) >= 5 and len(stream) >= (end := 1 + int.from_bytes(stream[1:5], "big")):
                                message, stream = stream[:end], stream[end:]
                                passed += 1
                                if not self._pass(client, message, rng, passed > patience):
                                    return
        except OSError:
            return

    def _pass(self, client: socket.socket, message: bytes, rng: random.Random, meddle: bool) -> bool:
        if meddle and rng.random() < 0.15:
            # What was recorded without a mask is not what the server has said here.
            recorded = rng.choice(all_recordings()).messages
            donors = [Event(SERVER, d) for side, d in recorded if side == SERVER and not any(p.encode() in d for p in PHONES)]
            for event in mutate([Event(SERVER, message)], rng, donors, 1):
                if event.kind not in (CLIENT, SERVER):
                    return False
                if event.kind == SERVER:
                    client.sendall(event.data)
            return rng.random() > 0.05
        client.sendall(message)
        return True


def victim(port: int, seed: str) -> str | None:
    """A client that keeps to the protocol, before a server that does not; what is wrong with what it was told, or None."""
    rng = random.Random(seed)
    login = rng.choice(("clear", "masked"))
    try:
        peer = Peer(port, USERS[login], RAW)
    except OSError:
        return None
    texts = (
        b"select id, phone from bank.people order by id",
        b"begin",
        b"select 1/0",
        b"rollback",
        b"select x from bank.grown x",
    )
    try:
        for _ in range(6):
            if peer.ended:
                break
            ready = peer.ready()
            text = rng.choice(texts)
            if rng.random() < 0.5:
                peer.send(codec.encode_query(text))
            else:
                peer.send(
                    codec.encode_parse(codec.Parse(b"", text)) + codec.encode_bind(codec.Bind(b"", b""))
                    + codec.encode_describe(codec.Target(ord("P"), b"")) + codec.encode_execute(codec.Execute(b"")) + codec.SYNC
                )  # fmt: skip
            peer.receive(lambda: peer.ready() > ready, 0.2)  # noqa: B023
        if peer.ended and not peer.broken and not any(_is_fatal(m) for m in [*peer.greeting, *peer.messages]):
            return f"the session ended without a word: {[chr(m[0]) for m in peer.messages[-5:]]}"
        return wrong(peer, login)
    except OSError:
        return None
    finally:
        peer.close()


def _is_fatal(message: bytes) -> bool:
    return message[0] == tags.ERROR_RESPONSE and (b"FATAL" in message or b"PANIC" in message)


def startups(port: int, seed: str) -> None:
    """A visitor that does not get beyond the door, or into the house with strange parameters."""
    rng = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(stream(rng))
            if rng.random() < 0.5:
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)
        except OSError:
            return


def parameters(rng: random.Random) -> bytes:
    """A start-up packet with odd names and values."""
    odd = (b"\xff\xfe", b"x" * 60, b"'", b"a\nb", "ü".encode(), b"", b"-c search_path=bank", b"on")
    pairs = (
        (b"user", rng.choice((USERS["clear"].encode(), rng.choice(odd) or b"x"))),
        (b"database", rng.choice((RAW.encode(), b"\xff"))),
    )
    more = tuple(
        (rng.choice((b"application_name", b"options", b"replication", b"client_encoding", b"_pq_.x")), rng.choice(odd))
        for _ in range(3)
    )
    return startup.encode(startup.StartupMessage(3, rng.choice((0, 2, 9)), pairs + more))


def odd_startup(port: int, seed: str) -> str | None:
    """Whoever comes with odd parameters is told what the server says of them, or what pgveil says."""
    rng = random.Random(seed)
    packet = parameters(rng)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(packet)
            heard = sock.recv(1 << 16)
        except OSError:
            return None
    if not heard:
        return f"no answer to {packet!r}"
    if b"internal error" in heard:
        return f"internal error for {packet!r}"
    return None
