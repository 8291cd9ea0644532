"""A client that speaks the protocol itself, message by message."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from proxy.wire import codec, tags

Message = tuple[int, bytes]
READY = tags.READY_FOR_QUERY
SYNC = codec.SYNC
FLUSH = codec.FLUSH


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client makes of the replies to one step."""

    rows: tuple[tuple[str | None, ...], ...] = ()
    error: str = ""
    """SQLSTATE, empty when all went well."""
    message: str = ""
    routine: str = ""

    @property
    def kind(self) -> str:
        return self.error or "ok"


class Wire:
    """One connection. Texts only; every reply is kept until the step's last message has come."""

    def __init__(self, port: int, user: str, database: str = "postgres", encoding: str = "UTF8", **startup: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        pairs = {"user": user, "database": database, "client_encoding": encoding, **startup}
        body = b"".join(f"{k}\0{v}\0".encode() for k, v in pairs.items()) + b"\0"
        self.buffer = b""
        self.status = b"I"
        self.sock.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self.until(READY)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def message(self) -> Message:
        while True:
            if len(self.buffer) >= 5 and len(self.buffer) > (size := int.from_bytes(self.buffer[1:5], "big")):
                tag, body = self.buffer[0], self.buffer[5 : size + 1]
                self.buffer = self.buffer[size + 1 :]
                if tag == READY:
                    self.status = body
                return tag, body
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the connection has been closed")
            self.buffer += data

    def until(self, *last: int) -> list[Message]:
        out = []
        while True:
            out.append(self.message())
            if out[-1][0] in last:
                return out

    def send(self, *messages: bytes) -> None:
        self.sock.sendall(b"".join(messages))

    def ask(self, *messages: bytes) -> Answer:
        self.send(*messages)
        return read(self.until(READY))

    def query(self, text: str) -> Answer:
        return self.ask(codec.encode_query(text.encode()))


def parse(name: str, text: str) -> bytes:
    return codec.encode_parse(codec.Parse(name.encode(), text.encode()))


def bind(portal: str, name: str) -> bytes:
    return codec.encode_bind(codec.Bind(portal.encode(), name.encode()))


def execute(portal: str, rows: int = 0) -> bytes:
    return codec.encode_execute(codec.Execute(portal.encode(), rows))


def describe(kind: str, name: str) -> bytes:
    return codec.encode_describe(codec.Target(ord(kind), name.encode()))


def read(messages: list[Message]) -> Answer:
    rows: list[tuple[str | None, ...]] = []
    error: dict[str, bytes] = {}
    for tag, body in messages:
        if tag == tags.DATA_ROW:
            rows.append(tuple(None if v is None else v.decode() for v in codec.decode_data_row(body)))
        elif tag == tags.ERROR_RESPONSE and not error:
            error = dict(codec.decode_fields(body))
    if not error:
        return Answer(tuple(rows))
    routine = error.get("R", b"").decode()
    return Answer(tuple(rows), error["C"].decode(), error["M"].decode("utf-8", "replace"), routine)
