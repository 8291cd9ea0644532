"""The keyed hash chain: how a record, a segment and a head are bound to everything before them.

    worker key      K1     = HMAC(key, "pgveil audit 1 worker " + name)
    segment keys    K(n+1) = HMAC(K(n), "next")       one way: who steals K(n) cannot rewrite segments before n
    record          mac    = HMAC(K(n), previous mac + line up to its mac field)
    head            hmac   = HMAC(HMAC(K(n), "head"), text of the head)

All HMACs are HMAC-SHA256 (RFC 2104). The chain runs on across segments: the first record of a segment is chained to the
last complete record before it. Without the key nobody can compute any of it; with the initial key anybody can.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

GENESIS = bytes(32)
"""The `previous mac` of a worker's first record."""
WORKER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
_SEGMENT = re.compile(r"audit-(.+)-(\d{6,10})\.jsonl")
_INNER = bytes(i ^ 0x36 for i in range(256))
_OUTER = bytes(i ^ 0x5C for i in range(256))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _head_mac(worker: str, key: bytes, text: bytes) -> bytes:
    return _hmac(_hmac(key, b"head"), worker.encode() + b"\n" + text)


def worker_key(key: bytes, worker: str) -> bytes:
    return _hmac(key, b"pgveil audit 1 worker " + worker.encode())


def next_key(segment_key: bytes) -> bytes:
    return _hmac(segment_key, b"next")


def segment_key(key: bytes, worker: str, segment: int) -> bytes:
    """K(segment); segment 0 stands for a trail without a record and has K1."""
    out = worker_key(key, worker)
    for _ in range(segment - 1):
        out = next_key(out)
    return out


def key_id(key: bytes) -> str:
    """Names the initial key without giving it away."""
    return _hmac(key, b"pgveil audit 1 key id").hex()[:16]


class Hmac:
    """HMAC-SHA256 under one key with the key's two blocks hashed once; about half the cost of hmac.digest."""

    __slots__ = ("inner", "outer")

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("an audit key has 32 bytes")
        block = key.ljust(64, b"\0")
        self.inner = hashlib.sha256(block.translate(_INNER))
        self.outer = hashlib.sha256(block.translate(_OUTER))

    def digest(self, message: bytes, more: bytes = b"") -> bytes:
        """Of both pieces together."""
        inner = self.inner.copy()
        inner.update(message)
        if more:
            inner.update(more)
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.digest()


def segment_path(directory: Path, worker: str, segment: int) -> Path:
    return directory / f"audit-{worker}-{segment:06d}.jsonl"


def head_path(directory: Path, worker: str) -> Path:
    return directory / f"{worker}.head"


def parse_segment_name(name: str) -> tuple[str, int] | None:
    """(worker, segment) of a file name that a writer could have given; None otherwise."""
    match = _SEGMENT.fullmatch(name)
    if match is None or not WORKER.fullmatch(match[1]):
        return None
    number = int(match[2])
    return (match[1], number) if number > 0 and name == f"audit-{match[1]}-{number:06d}.jsonl" else None


@dataclass(frozen=True, slots=True)
class Head:
    """How far a worker's trail reaches at least. Written after the records it names, so it may lag, never lead."""

    segment: int
    seq: int
    size: int
    """Bytes in the segment up to and with the record `seq`."""
    mac: bytes

    def encode(self, worker: str, key: bytes) -> bytes:
        """`key` is the segment's. Always HEAD_SIZE bytes, so that one pwrite replaces it."""
        text = b"pgveil-head 1 segment=%010d seq=%020d size=%020d mac=%b" % (
            self.segment, self.seq, self.size, self.mac.hex().encode(),
        )  # fmt: skip
        return b"%b hmac=%b\n" % (text, _head_mac(worker, key, text).hex().encode())


HEAD_SIZE = len(Head(0, 0, 0, GENESIS).encode("", bytes(32)))
_HEAD = re.compile(rb"(pgveil-head 1 segment=(\d{10}) seq=(\d{20}) size=(\d{20}) mac=([0-9a-f]{64})) hmac=([0-9a-f]{64})\n")
MAX_SEGMENTS = 10**6
"""A head that names more is not believed: deriving its key would take for ever."""


class Keys(Protocol):
    """Where the keys of one worker's segments come from: an initial key, several, or only the present segment's."""

    @property
    def ids(self) -> Sequence[str]:
        """The initial keys they descend from (`key_id`), the one to write with last."""

    def segment(self, key_id: str, number: int) -> bytes | None:
        """K(number) under the initial key called so; None when it cannot be known (any more)."""


class InitialKeys:
    """Every segment's key of one worker, from one or more initial keys."""

    def __init__(self, keys: Sequence[bytes], worker: str) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._worker = worker
        self._last: dict[str, tuple[int, bytes]] = {}

    @property
    def ids(self) -> Sequence[str]:
        return tuple(self._keys)

    def segment(self, key_id: str, number: int) -> bytes | None:
        initial = self._keys.get(key_id)
        if initial is None or number > MAX_SEGMENTS:
            return None
        at, key = self._last.get(key_id, (0, b""))
        if not 0 < at <= number:
            at, key = 1, worker_key(initial, self._worker)
        for _ in range(number - at):
            key = next_key(key)
        self._last[key_id] = max(1, number), key
        return key


def claimed_head(data: bytes) -> Head | None:
    """What a head file says, whoever wrote it; None when it is not whole."""
    match = _HEAD.fullmatch(data)
    return None if match is None else Head(int(match[2]), int(match[3]), int(match[4]), bytes.fromhex(match[5].decode()))


def open_head(data: bytes, worker: str, keys: Keys) -> tuple[Head, str] | None:
    """The head in `data` and the id of its initial key, when it is whole and one of the keys made it for `worker`."""
    head = claimed_head(data)
    if head is None or head.segment > MAX_SEGMENTS:
        return None
    for name in reversed(keys.ids):
        key = keys.segment(name, head.segment)
        if key is not None and hmac.compare_digest(head.encode(worker, key), data):
            return head, name
    return None


def decode_head(data: bytes, worker: str, key: bytes) -> Head | None:
    """The head in `data` when it is whole and was written with the initial key `key` for `worker`; None otherwise."""
    found = open_head(data, worker, InitialKeys([key], worker))
    return None if found is None else found[0]
