"""The loop that checks records: number, mac and JSON of every line, as fast as Python can.

Contract: a line is taken when it begins with its number, ends with the mac that the chain demands, and is one JSON object
and nothing else; the first line that is not ends the run. Memory is bounded by one chunk and one line (MAX_LINE). The JSON
is read by msgspec, which is ten times faster than the json module and accepts nothing that this does not, between the two
ends that are compared byte by byte; what it does not take (a lone surrogate, which the writer escapes) is put to json.
"""

from __future__ import annotations

import enum
import json
from binascii import hexlify
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import msgspec

from proxy.audit.chain import Hmac
from proxy.audit.record import MAX_LINE, TAIL, prefix

CHUNK = 1 << 20
STATEMENTS = frozenset(("witness", "expired"))
"""Events that say something about trails, for verify to check."""


class Fault(enum.Enum):
    CHAIN = "chain"  # number or mac
    JSON = "json"
    MORE = "more"  # JSON with something behind it
    LONG = "long"  # no end within MAX_LINE


class _Record(msgspec.Struct):
    kind: str
    event: str | None = None


_decode = msgspec.json.Decoder(_Record).decode


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(parse_constant=_no_constant))["scan_once"]
"""The decoder's C scanner without the Python around it: (value, end), or StopIteration where no value begins."""


class Lines:
    """A run over consecutive records of one file, from a state that is known or claimed."""

    def __init__(self, file: BinaryIO, key: bytes, seq: int, previous: bytes, size: int, mark: int = -1) -> None:
        """`file` stands at offset `size`, behind record `seq` whose mac is `previous`. `mark`: a number of interest."""
        self.file = file
        self.seq, self.previous, self.size = seq, previous, size
        """Of the last record that is intact."""
        self.count = 0
        """Intact lines of this run."""
        self.first = self.last = self.rest = b""
        """First and last intact line, and what is behind the last newline."""
        self.bad = b""
        """The line at fault."""
        self.marked: tuple[int, int, bytes] | None = None
        """Of record `mark`: its line in this run, the bytes up to its end, its mac."""
        self.statements: list[tuple[int, bytes]] = []
        self._key, self._mark = Hmac(key), mark

    def read(self, until: int | None = None) -> Fault | None:
        """Take every line that begins before offset `until` (None: to the end); answers what stopped it early."""
        inner_copy, outer_copy = self._key.inner.copy, self._key.outer.copy  # what follows is Hmac.digest, without the call
        mark, read, body = self._mark, self.file.read, -TAIL
        seq, previous, size, count = self.seq, self.previous, self.size, self.count
        rest = line = b""
        fault: Fault | None = None
        while fault is None and (until is None or size < until):
            chunk = read(CHUNK)
            if not chunk:
                break
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if until is not None and size >= until:
                    rest = b""  # it begins behind the part that was asked for
                    break
                inner, outer = inner_copy(), outer_copy()
                inner.update(previous + line[:body])
                outer.update(inner.digest())
                mac = outer.digest()
                if line[body:] != b',"mac":"%b"}' % hexlify(mac) or not line.startswith(prefix(seq + 1)):
                    fault = Fault.CHAIN
                    break
                try:
                    record = _decode(line)
                    if record.event in STATEMENTS and record.kind == "event":
                        self.statements.append((seq + 1, line))
                    if not line.isascii():
                        line.decode()
                except (ValueError, RecursionError):
                    fault = _slowly(line)
                    if fault is not None:
                        break
                seq += 1
                count += 1
                previous = mac
                size += len(line) + 1
                if count == 1:
                    self.first = line
                self.last = line
                if seq == mark:
                    self.marked = count, size, mac
            if len(rest) > MAX_LINE and fault is None:
                fault = Fault.LONG
        self.seq, self.previous, self.size, self.count, self.rest = seq, previous, size, count, rest
        if fault is not None:
            self.bad = line
        return fault


def _slowly(line: bytes) -> Fault | None:
    try:
        text = line.decode()
        _, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        return Fault.JSON
    return Fault.MORE if end != len(text) else None
