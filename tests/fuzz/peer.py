"""A client that is nothing but a socket: writes bytes as they are given, reads whole messages."""

from __future__ import annotations

import select
import socket
import time

from proxy.wire import codec, startup, tags


class Peer:
    """One connection, past authentication (trust) and up to the first ReadyForQuery."""

    def __init__(self, port: int, user: str, database: str, parameters: dict[str, str] | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.messages: list[bytes] = []
        self.ended = False
        """The server has closed the connection."""
        self.broken = ""
        """Why the connection broke instead of being closed."""
        self._stream = bytearray()
        pairs = [("user", user), ("database", database), *(parameters or {}).items()]
        packet = startup.StartupMessage(3, 0, tuple((k.encode(), v.encode()) for k, v in pairs))
        self.sock.sendall(startup.encode(packet))
        self.sock.setblocking(False)
        self.receive(lambda: any(m[0] in (tags.READY_FOR_QUERY, tags.ERROR_RESPONSE) for m in self.messages), 20)
        self.greeting, self.messages = self.messages, []

    @property
    def pid(self) -> int:
        keys = [m for m in self.greeting if m[0] == tags.BACKEND_KEY_DATA]
        return codec.decode_backend_key(keys[0][5:])[0] if keys else 0

    def ready(self) -> int:
        """ReadyForQuery messages so far."""
        return sum(m[0] == tags.READY_FOR_QUERY for m in self.messages)

    def send(self, data: bytes) -> None:
        """Write all of it, reading meanwhile."""
        view = memoryview(data)
        while view and not self.ended:
            readable, writable, _ = select.select([self.sock], [self.sock], [], 20)
            if readable:
                self._read()
            if writable and not self.ended:
                try:
                    view = view[self.sock.send(view) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._break(error)
            elif not readable:
                self._break(TimeoutError("the other side does not read"))

    def receive(self, enough: object, timeout: float) -> bool:
        """Read until `enough()` says so or the server closes; False when nothing comes for `timeout` seconds before that."""
        assert callable(enough)
        end = time.monotonic() + timeout
        while not enough() and not self.ended:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return bool(enough())
            self._read()
            end = time.monotonic() + timeout
        return True

    def close(self) -> None:
        self.sock.close()

    def _break(self, error: BaseException) -> None:
        self.broken = f"{type(error).__name__}: {error}"
        self.ended = True

    def _read(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if not data:
            self.ended = True
            if self._stream:
                self.broken = "the connection was closed within a message"
            return
        stream = self._stream
        stream += data
        at = 0
        while len(stream) - at >= 5:
            end = at + 1 + int.from_bytes(stream[at + 1 : at + 5], "big")
            if len(stream) < end:
                break
            self.messages.append(bytes(stream[at:end]))
            at = end
        del stream[:at]
