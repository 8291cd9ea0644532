"""A server that misbehaves: it answers some logins by a script of its own, and hands everybody else on to a real server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from tests.support.wire import message

Script = Callable[["Caller"], None]

AUTH_OK = message(b"R", b"\0\0\0\0")
PASSWORD_WANTED = message(b"R", b"\0\0\0\3")
READY = message(b"Z", b"I")
KEY = message(b"K", b"\0\0\1\0\0\0\0\1")


def status(name: str, value: str) -> bytes:
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def error(sqlstate: str, text: str, severity: str = "FATAL") -> bytes:
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": text}
    return message(b"E", b"".join(f"{code}{value}".encode() + b"\0" for code, value in fields.items()) + b"\0")


WELCOME = AUTH_OK + status("client_encoding", "UTF8") + status("server_encoding", "UTF8") + KEY + READY
ROW = message(b"D", b"\0\1\0\0\0\1x")
ROWS = message(b"T", b"\0\1x\0" + bytes(6) + b"\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")


class Caller:
    """The connection as a script sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self, count: int = 1) -> bytes:
        """So many whole messages; fewer when the peer is gone."""
        return b"".join(self._message() for _ in range(count))

    def wait(self) -> None:
        """Until the peer is gone."""
        while self.sock.recv(1 << 16):
            continue

    def _message(self) -> bytes:
        head = self._exactly(5)
        return head + self._exactly(int.from_bytes(head[1:], "big") - 4) if head else b""

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.sock.recv(size - len(data))):
            data += more
        return data


class Impostor:
    """Use as a context manager. `scripts` by user name; `greeting` answers encryption requests, None: as the real server does."""

    def __init__(self, real_port: int, scripts: dict[str, Script], greeting: Script | None = None) -> None:
        self._real_port = real_port
        self.scripts = scripts
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Impostor:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        try:
            with sock, contextlib.suppress(OSError):
                caller = Caller(sock)
                packet = caller._exactly(4)
                packet += caller._exactly(int.from_bytes(packet, "big") - 4)
                if len(packet) == 8 and self._greeting is not None:
                    self._greeting(caller)
                    return
                words = packet[8:].split(b"\0")
                user = words[words.index(b"user") + 1].decode() if b"user" in words else ""
                if user in self.scripts:
                    self.scripts[user](caller)
                else:
                    self._hand_on(sock, packet)
        finally:
            self._open.discard(sock)

    def _hand_on(self, sock: socket.socket, packet: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._real_port)) as real:
            self._open.add(real)
            real.sendall(packet)
            there = threading.Thread(target=_pour, args=(sock, real), daemon=True)
            there.start()
            _pour(real, sock)
            there.join(5)
            self._open.discard(real)


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
