"""Dialogues: what a client says, message by message, and everything that it hears, from a server or through the proxy.

    # title: …              # for: clear masked                 # what=…
    START user=x …          the start-up packet; the default has user and database
    Query "select 1"        any client message in the text form of `proxy.wire.trace`; `x1000 Sync` says it a thousand times
    WAIT Z                  read until a message of that type has come (`WAIT ZZ`: two); `WAIT close`: until the peer hangs up

Dialogues in a file are separated by `===`. At the end the client says Terminate, unless it waits for the end itself. What is
heard comes back in the same text form, equal messages in a row as `x1000 …`. What differs from session to session by its
nature (keys, process numbers) is replaced by `*`.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from proxy.wire import codec, startup, tags, trace

PATIENCE = 60.0


@dataclass
class Dialogue:
    title: str
    kinds: tuple[str, ...] = ("clear", "masked")
    """Kinds of sessions it is played in."""
    versions: str = ""
    """Of servers it is meant for: `>=18`, `<17`; empty: all."""
    lines: list[str] = field(default_factory=list)

    def suits(self, version: int) -> bool:
        if not self.versions:
            return True
        bound = int(self.versions.lstrip("<>="))
        return version >= bound if self.versions.startswith(">=") else version < bound


def load(path: Path) -> list[Dialogue]:
    found = []
    for block in re.split(r"^===\s*$", path.read_text("utf-8"), flags=re.M):
        dialogue = Dialogue("")
        for line in filter(None, map(str.strip, block.splitlines())):
            key, colon, value = line[1:].partition(":")
            if line.startswith("#") and colon:
                value = value.strip()
                if key.strip() == "title":
                    dialogue.title = value
                elif key.strip() == "for":
                    dialogue.kinds = tuple(value.split())
                elif key.strip() == "server":
                    dialogue.versions = value
            elif not line.startswith("#"):
                dialogue.lines.append(line)
        found.append(dialogue)
    return found


class Client:
    """A socket that speaks in text form."""

    def __init__(self, port: int, secure: ssl.SSLContext | None = None) -> None:
        """`secure`: begin with TLS, without asking for it."""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure is not None:
            self.sock = secure.wrap_socket(self.sock, server_hostname="localhost")
        self.heard: list[str] = []
        self.closed = False
        self._rest = b""

    def close(self) -> None:
        self.sock.close()

    def start(self, parameters: dict[str, str], minor: int = 0) -> None:
        raw = tuple((k.encode(), v.encode()) for k, v in parameters.items())
        self.send(startup.encode(startup.StartupMessage(3, minor, raw)))

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed = True

    def next(self) -> bytes:
        """The next message; empty at the end of the stream."""
        while True:
            data = self._rest
            if len(data) >= 5:
                end = 1 + int.from_bytes(data[1:5], "big")
                if len(data) >= end:
                    self._rest = data[end:]
                    self.heard.append(_stable(data[:end]))
                    return data[:end]
            try:
                more = self.sock.recv(1 << 20)
            except ConnectionError:
                more = b""
            if not more:
                self.closed = True
                if data:
                    self.heard.append(f"torn {data!r}")
                return b""
            self._rest = data + more

    def wait(self, letters: str) -> bytes:
        """Until messages with these tags have come, in this order; or the end. The last one."""
        message = b""
        for letter in letters:
            while (message := self.next()) and message[0] != ord(letter):
                pass
        return message

    def wait_close(self) -> None:
        while self.next():
            pass
        self.heard.append("closed")


def _stable(message: bytes) -> str:
    text = trace.show(message, from_client=False)
    if message[0] == tags.BACKEND_KEY_DATA:
        return f"BackendKeyData * {len(message) - 9}"
    if message[0] == tags.NOTIFICATION_RESPONSE:
        return re.sub(r"^(\w+) \d+", r"\1 *", text)
    return text


def play(dialogue: Dialogue, port: int, parameters: dict[str, str]) -> list[str]:
    """All that the client hears."""
    client = Client(port)
    lines = list(dialogue.lines)
    try:
        if lines and lines[0].startswith("START"):
            words = re.findall(r"((?:\\.|[^\s\\])+)", lines.pop(0))[1:]
            given = {key: value for key, _, value in (re.sub(r"\\(.)", r"\1", word).partition("=") for word in words)}
            minor = int(given.pop("minor", "0"))
            client.start(parameters | given, minor)
        else:
            client.start(parameters)
        for line in lines:
            _step(client, line)
        if not client.closed:
            client.send(codec.TERMINATE)
            client.wait_close()
    finally:
        client.close()
    return _packed(client.heard)


def _step(client: Client, line: str) -> None:
    if line == "WAIT close":
        client.wait_close()
    elif line.startswith("WAIT"):
        client.wait(line[4:].strip())
    else:
        times = re.match(r"x(\d+) ", line)
        message = _message(line[times.end() :] if times else line)
        client.send(message * int(times[1]) if times else message)


def _message(text: str) -> bytes:
    if text.startswith("Bytes "):
        return trace.unquote(text[6:].strip().strip('"'))
    return trace.read(text, from_client=True)


def _packed(heard: list[str]) -> list[str]:
    out: list[str] = []
    count = 0
    for line, following in zip(heard, [*heard[1:], ""], strict=True):
        count += 1
        if line != following:
            out.append(line if count == 1 else f"x{count} {line}")
            count = 0
    return out
