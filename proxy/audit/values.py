"""Keyed digests of what statements compare and write, so that "who looked up this ID number?" has an answer for whoever has
the key, and none without it.

A value has one digest whatever way it is usually written: see `normal`. Digests are keyed BLAKE2b (RFC 7693) of 8 bytes: that any
two of 10 million values have the same one has a probability of one in 370,000.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from proxy.audit.chain import Hmac

_LEFT_OUT = str.maketrans("", "", " -\t\r\n")
_LEAF = re.compile(r'"((?:[^"\\]|\\.)*+)"|([^{}\[\],"]++)', re.DOTALL)
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DigestKeys:
    """Keys of the digests in records. One way from the audit key: they do not give it away."""

    text: bytes
    """Of whole statement texts."""
    value: bytes
    """Of constants and parameters."""

    @classmethod
    def of(cls, key: bytes) -> DigestKeys:
        """From the audit key."""
        hmac = Hmac(key)
        return cls(hmac.digest(b"pgveil audit 1 text"), hmac.digest(b"pgveil audit 1 value"))


def normal(value: str) -> str:
    """What is digested: NFKC, without regard to case, without blanks, hyphens, and % signs around it."""
    plain = value.lower() if value.isascii() else unicodedata.normalize("NFKC", value).casefold()
    return plain.translate(_LEFT_OUT).strip("%")


class TextDigest:
    """Makes 16 hexadecimal digits of bytes."""

    def __init__(self, key: bytes) -> None:
        """`key`: of `DigestKeys`."""
        self.begin = hashlib.blake2b(key=key, digest_size=8).copy
        """For what comes in pieces."""

    def __call__(self, data: bytes) -> str:
        state = self.begin()
        state.update(data)
        return state.hexdigest()


class ValueDigest:
    """Makes 16 hexadecimal digits of a value."""

    def __init__(self, key: bytes) -> None:
        """`key`: `DigestKeys.value`."""
        self._new = hashlib.blake2b(key=key, digest_size=8).copy

    def __call__(self, value: str) -> str:
        state = self._new()
        if value.isascii() and value.isalnum():  # most are, and then there is nothing to leave out
            state.update(value.lower().encode())
        else:
            state.update(normal(value).encode("utf-8", "backslashreplace"))
        return state.hexdigest()


def is_list(value: str) -> bool:
    """Whether it may be read as several values: JSON, or an array as PostgreSQL takes it (blanks or bounds in front, nested)."""
    return value[:1] in "{[" or value.lstrip()[:1] in ("{", "[")


def members(value: str) -> list[str]:
    """The value, and every value in it when it `is_list`: `ANY ('{a,b}')`. Of JSON the names as well."""
    if not is_list(value):
        return [value]
    out = [value]
    for quoted, plain in _LEAF.findall(value):
        leaf = _BACKSLASH.sub(r"\1", quoted) if quoted else plain.strip().strip(":= ")
        if leaf and leaf.lower() != "null":
            out.append(leaf)
    return out
