"""Between the server's yes to a login and the session: nothing of ours is touched before.

Whoever connects is led to the server as he is, and the server decides about password, database and privileges. Only
after its first ReadyForQuery do we look at the database ourselves, so that a stranger cannot make us connect to names
of his choice, nor learn from our answers or our haste which of them exist. So AuthenticationOk and what follows it is
kept until the catalog is at hand. The server says little there (ParameterStatus, BackendKeyData), and the client has
nothing to say before it has got it. Pure. Manual: protocol-flow "Start-up".
"""

from __future__ import annotations

import enum
from typing import Final

MAX_KEPT: Final = 1 << 20
"""Bytes that a server may say between AuthenticationOk and ReadyForQuery; login triggers may raise notices."""
_AUTHENTICATION: Final = ord("R")
_OK: Final = b"\0\0\0\0"
_READY: Final = ord("Z")
_ERROR: Final = ord("E")


class Stage(enum.Enum):
    ASKED = "asked"
    """Authentication is under way: messages pass."""
    ADMITTED = "admitted"
    """AuthenticationOk has come: messages are kept until the server is ready, or says why it is not."""
    ENTERED = "entered"
    """The server is ready: `kept` holds everything from AuthenticationOk on."""
    OVER = "over"
    """The server has said no, or something we do not understand; the rest is for the session, which has not been admitted."""


class Entrance:
    """Feed the server's bytes; what comes back may go to the session at once."""

    __slots__ = ("_buffer", "_kept", "problem", "refused", "stage")

    def __init__(self) -> None:
        self.stage = Stage.ASKED
        self.refused = ""
        """SQLSTATE with which the server has said no."""
        self.problem = ""
        """What is wrong with the server where the session cannot tell."""
        self._kept = bytearray()
        self._buffer = bytearray()

    @property
    def kept(self) -> bytes:
        return bytes(self._kept)

    def feed(self, data: bytes) -> bytes:
        """Whole messages only, until it is over."""
        if self.stage is Stage.OVER:
            return data
        self._buffer += data
        passed: list[bytes] = []
        while self.stage in (Stage.ASKED, Stage.ADMITTED) and (message := self._next()):
            if message[0] == _ERROR:
                self.refused = _sqlstate(message)
            if self.stage is Stage.ASKED and not _is_ok(message):
                passed.append(message)
                continue
            self.stage = Stage.ADMITTED
            self._kept += message
            if message[0] == _ERROR:
                passed.append(self.kept)
                self._give_up()
                break
            if message[0] == _READY:
                self.stage = Stage.ENTERED
            elif len(self._kept) > MAX_KEPT:
                self.problem = "it says too much before the session is ready"
                self._give_up()
        if self.stage is Stage.ENTERED:
            self._kept += self._buffer
            self._buffer.clear()
        elif self.stage is Stage.OVER:
            passed.append(bytes(self._buffer))
            self._buffer.clear()
        return b"".join(passed)

    def _next(self) -> bytes:
        """The next message, empty when it is not all there."""
        buffer = self._buffer
        if len(buffer) < 5:
            return b""
        length = int.from_bytes(buffer[1:5], "big")
        if not 4 <= length <= MAX_KEPT:
            self._give_up()  # the session has words for it
            return b""
        if len(buffer) <= length:
            return b""
        message = bytes(buffer[: length + 1])
        del buffer[: length + 1]
        return message

    def _give_up(self) -> None:
        self.stage = Stage.OVER
        self._kept.clear()


def _is_ok(message: bytes) -> bool:
    return message[0] == _AUTHENTICATION and message[5:9] == _OK


def _sqlstate(message: bytes) -> str:
    """Of an ErrorResponse; XX000 when it names none."""
    found = next((field for field in message[5:].split(b"\0") if field[:1] == b"C"), b"CXX000")
    return found[1:].decode("ascii", "replace")[:5]
