"""Finds message boundaries in a stream of chunks without copying what is only relayed.

A leaf module: it imports nothing from the project, so that mypyc can compile it; the same source runs pure.

Every tag of a direction has a class. RELAY messages are reported as runs: all neighbouring messages of one tag that
are in the chunk are one event, and a body that goes on beyond the chunk is reported piece by piece, so a row of 1 GB
is never held. INSPECT messages are reported whole, up to a limit per tag. HEAD messages are reported whole when they
are small; of larger ones the first `HEAD` bytes are reported, the rest comes as further events with `count` 0. TEXT
messages are INSPECT messages up to the limit of their tag; longer ones are `large` and come like HEAD messages.

Use: `feed(chunk)`, then `next()` until it answers 0. After each event `buf[start:end]` is the message (run, piece),
`buf[body:end]` its body. Offsets are valid until the next `feed`. Bytes that no event has covered are kept by the
scanner (`held` of them).

Cost: a header that is cut by a chunk boundary, or an INSPECT message that is, costs one copy of the bytes at hand;
nothing is copied twice, however small the chunks are.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

INVALID: Final = 0
RELAY: Final = 1
INSPECT: Final = 2
HEAD_ONLY: Final = 3
TEXT: Final = 4

HEAD: Final = 4096
"""Bytes of a HEAD message that are reported at once, at least; enough for two names."""
SHORT: Final = 0x10000
"""Messages up to this size can be given to the other side whole or not at all, at little cost."""
MAX_MESSAGE: Final = 0x40000003
"""Length word of the longest message that PostgreSQL sends or takes (a body of 1 GB - 1)."""
HEADER: Final = 5

_header = Struct(">BI").unpack_from


class ScanError(Exception):
    """The peer does not speak the protocol, or sends more than we are willing to hold."""

    def __init__(self, message: str, tag: int, length: int, too_long: bool) -> None:
        """`length` is -1 when the tag itself is not known."""
        super().__init__(message)
        self.tag = tag
        self.length = length
        self.too_long = too_long


class Scanner:
    __slots__ = (
        "_classes", "_limits", "_need", "_rest", "_rest_tag", "_size", "_stash",
        "began", "body", "buf", "count", "end", "first", "large", "start",
    )  # fmt: skip

    def __init__(self, classes: bytes, limits: dict[int, int], limit: int) -> None:
        """`classes[tag]` for all 256 tags; `limits` has the longest INSPECT or TEXT message by tag, `limit` all others."""
        self._classes: bytes = classes
        self._limits: list[int] = [limits.get(tag, limit) for tag in range(256)]
        self._stash: bytearray = bytearray()  # the beginning of a header or INSPECT message
        self._need: int = 0  # bytes that must be in the stash before it is looked at again; 0: nothing is stashed
        self._rest: int = 0  # bytes of the current RELAY or HEAD body that are still to come
        self._rest_tag: int = 0
        self._size: int = 0
        self.buf: bytes = b""
        self.start: int = 0
        self.body: int = 0
        self.end: int = 0
        self.count: int = 0
        self.first: int = 0
        """Where in `buf` the first message of a run begins; before it there may be the end of another one."""
        self.large: bool = False
        self.began: int = -1
        """Where in `buf` the RELAY message begins whose end has not come yet, if it is a `SHORT` one."""

    @property
    def held(self) -> int:
        """Bytes kept for later."""
        return len(self._stash) + self._size - self.end

    @property
    def inside(self) -> bool:
        """The stream stands inside a message of which some bytes have already been reported."""
        return self._rest > 0

    @property
    def rest(self) -> int:
        """Bytes of that message which are still to come."""
        return self._rest

    def feed(self, data: bytes) -> None:
        """Give the next chunk. All of the chunk before must have been scanned (`next()` answered 0)."""
        if self._need:
            self._stash += data
            if len(self._stash) < self._need:
                self.release()
                return
            data = bytes(self._stash)
            self._stash = bytearray()
            self._need = 0
        self.buf = data
        self._size = len(data)
        self.start = self.body = self.end = 0
        self.began = -1

    def reclass(self, classes: bytes) -> None:
        """From the next message on."""
        self._classes = classes

    def rewind(self) -> None:
        """Make `next()` report the last event again; it must not have been a run or a piece."""
        self.end = self.start
        self._rest = 0

    def forget(self) -> None:
        """The rest of the message that the last event began will not be missed by anybody: nothing of it has been passed on."""
        if self.body > self.start:
            self._rest = 0

    def release(self) -> None:
        """Let go of the chunk once `next()` has answered 0."""
        self.buf = b""
        self.start = self.body = self.end = self._size = 0

    def take(self) -> bytes:
        """Everything that no event has covered; the scanner is empty afterwards."""
        out = bytes(self._stash) + self.buf[self.end : self._size]
        self._stash = bytearray()
        self._need = 0
        self.release()
        return out

    def next(self) -> int:
        """The tag of the next event, or 0 when the chunk is used up. Raises ScanError."""
        pos = self.end
        size = self._size
        self.start = pos
        if pos == size:
            return 0
        buf = self.buf
        count = 0
        if self._rest:
            tag = self._rest_tag
            self.body = pos
            pos += self._rest
            if pos > size:
                self._rest = pos - size
                pos = size
            else:
                self._rest = 0
            if pos == size or self._classes[tag] != RELAY:
                self.count = 0
                self.end = pos
                return tag
            if buf[pos] != tag or size - pos < HEADER:
                self.count = 0
                self.end = pos
                return tag
            self.first = pos
        else:
            self.first = pos
            self.body = pos + HEADER
            if size - pos < HEADER:
                self._check_tag(buf[pos])
                self._keep(pos, HEADER)
                return 0
            tag = buf[pos]
            kind = self._classes[tag]
            if kind != RELAY:
                return self._whole(tag, kind, pos, size)
        length = 0
        last = size - HEADER
        while pos <= last:
            found, length = _header(buf, pos)
            if found != tag:
                break
            if length < 4 or length > MAX_MESSAGE:
                if pos > self.start:
                    break  # what is good is reported first
                raise ScanError("invalid message length", tag, length, False)
            count += 1
            pos += length + 1
        if pos > size:
            self._rest = pos - size
            self._rest_tag = tag
            if length < SHORT:
                self.began = pos - length - 1
            pos = size
        self.count = count
        self.end = pos
        return tag

    def following(self, at: int) -> int:
        """Where the message that begins at `at`, within the current run, ends. That may be beyond `buf`."""
        length: int = _header(self.buf, at)[1]
        return at + length + 1

    def _whole(self, tag: int, kind: int, pos: int, size: int) -> int:
        if kind == INVALID:
            self._check_tag(tag)
        length = _header(self.buf, pos)[1]
        if length < 4 or length > MAX_MESSAGE:
            raise ScanError("invalid message length", tag, length, False)
        end = pos + length + 1
        large = kind == TEXT and length > self._limits[tag]
        if end > size:
            if length > HEAD and (large or kind == HEAD_ONLY):
                if size - pos <= HEAD:
                    self._keep(pos, HEAD + 1)
                    return 0
                self._rest = end - size
                self._rest_tag = tag
                end = size
            else:
                if kind == INSPECT and length > self._limits[tag]:
                    raise ScanError("message is too long", tag, length, True)
                self._keep(pos, length + 1)
                return 0
        elif length > self._limits[tag] and kind == INSPECT:
            raise ScanError("message is too long", tag, length, True)
        self.count = 1
        self.large = large
        self.end = end
        return tag

    def _check_tag(self, tag: int) -> None:
        if self._classes[tag] == INVALID:
            raise ScanError("invalid message type", tag, -1, False)

    def _keep(self, pos: int, need: int) -> None:
        """Keep everything from `pos` until `need` bytes are there."""
        self._stash += self.buf[pos:]
        self._need = need
        self.start = self.body = self.end = self._size = pos


def table(relay: str, inspect: str, head: str = "", text: str = "") -> bytes:
    """A class table for `Scanner`; tags not named are INVALID."""
    out = bytearray(256)
    for letters, kind in ((relay, RELAY), (inspect, INSPECT), (head, HEAD_ONLY), (text, TEXT)):
        for letter in letters:
            out[ord(letter)] = kind
    return bytes(out)
