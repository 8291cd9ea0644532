"""A client that speaks the protocol by hand over a blocking socket: for what no driver does, and to hear every word."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

DEADLINE = 20.0


def message(tag: bytes, body: bytes = b"") -> bytes:
    return tag + struct.pack("!i", len(body) + 4) + body


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def startup(user: str, database: str = "postgres", **more: str) -> bytes:
    pairs = {"user": user, "database": database, **more}
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, 196608) + body


def fields(body: bytes) -> dict[str, str]:
    """Of an ErrorResponse."""
    parts = [part.decode("utf-8", "replace") for part in body.split(b"\0") if part]
    return {part[0]: part[1:] for part in parts}


class WireClient:
    """Use as a context manager. `source`: the address it comes from."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
        self._buffer = b""

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def next(self) -> tuple[bytes, bytes]:
        """Tag and body of the next message; two empty ones when the connection has ended."""
        while len(self._buffer) < 5 or len(self._buffer) <= (size := int.from_bytes(self._buffer[1:5], "big")):
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                assert self._buffer == b"", f"the connection has ended within {self._buffer!r}"
                return b"", b""
            self._buffer += data
        found, self._buffer = self._buffer[: size + 1], self._buffer[size + 1 :]
        return found[:1], found[5:]

    def until(self, tags: bytes) -> list[tuple[bytes, bytes]]:
        """The messages up to one of these, or up to the end of the connection."""
        seen = []
        while True:
            found = self.next()
            if found[0]:
                seen.append(found)
            if not found[0] or found[0] in [bytes([tag]) for tag in tags]:
                return seen

    def end(self) -> list[tuple[bytes, bytes]]:
        """Everything up to the end of the connection."""
        return self.until(b"")

    def login(self, user: str, password: str = "", database: str = "postgres") -> str | None:
        """Log in, in plain text if the server asks for that; the SQLSTATE when it does not work."""
        self.send(startup(user, database))
        while True:
            tag, body = self.next()
            if tag == b"R" and body[:4] == b"\0\0\0\3":
                self.send(message(b"p", password.encode() + b"\0"))
            elif tag == b"E":
                return fields(body)["C"]
            elif tag in (b"Z", b""):
                return None if tag else "closed"

    def ask(self, text: str) -> list[tuple[bytes, bytes]]:
        self.send(query(text))
        return self.until(b"Z")
