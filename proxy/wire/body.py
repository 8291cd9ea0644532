"""What the two halves of the codec share: a reader that checks every length, and the frame around a body.

`wire.client` holds the messages that clients send, `wire.server` those that servers send.
"""

from __future__ import annotations

from struct import Struct

_i16 = Struct(">h").unpack_from
_u16 = Struct(">H").unpack_from
_i32 = Struct(">i").unpack_from
_u32 = Struct(">I").unpack_from
pack_i16 = Struct(">h").pack
pack_u16 = Struct(">H").pack
pack_i32 = Struct(">i").pack
pack_u32 = Struct(">I").pack


class CodecError(ValueError):
    """A body that is not what its tag promises, in the words of PostgreSQL (src/backend/libpq/pqformat.c)."""


def message(tag: int, body: bytes = b"") -> bytes:
    return b"%c%b%b" % (tag, pack_u32(len(body) + 4), body)


class Reader:
    """Takes a body apart from front to back."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def advance(self, size: int) -> int:
        at = self.pos
        if at + size > len(self.data):
            raise CodecError("insufficient data left in message")
        self.pos = at + size
        return at

    def cstring(self) -> bytes:
        end = self.data.find(b"\0", self.pos)
        if end < 0:
            raise CodecError("invalid string in message")
        out = self.data[self.pos : end]
        self.pos = end + 1
        return out

    def byte(self) -> int:
        if self.pos == len(self.data):
            raise CodecError("no data left in message")
        return self.data[self.advance(1)]

    def i16(self) -> int:
        value: int = _i16(self.data, self.advance(2))[0]
        return value

    def u16(self) -> int:
        value: int = _u16(self.data, self.advance(2))[0]
        return value

    def i32(self) -> int:
        value: int = _i32(self.data, self.advance(4))[0]
        return value

    def u32(self) -> int:
        value: int = _u32(self.data, self.advance(4))[0]
        return value

    def blob(self, size: int) -> bytes:
        at = self.advance(size)
        return self.data[at : at + size]

    def value(self) -> bytes | None:
        """A length-prefixed value; -1 is NULL."""
        size = self.i32()
        if size == -1:
            return None
        if size < 0:
            raise CodecError("negative length")
        return self.blob(size)

    def rest(self) -> bytes:
        out = self.data[self.pos :]
        self.pos = len(self.data)
        return out

    def end(self) -> None:
        if self.pos != len(self.data):
            raise CodecError("invalid message format")


def encode_value(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else pack_i32(len(value)) + value


def only_text(body: bytes) -> bytes:
    """Bodies that are one string."""
    end = body.find(0)
    if end < 0:
        raise CodecError("invalid string in message")
    if end != len(body) - 1:
        raise CodecError("invalid message format")
    return body[:-1]
