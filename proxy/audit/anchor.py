"""An anchor: the head of a trail in a line of text that can be kept anywhere, because nobody without the key can make one.

    {"anchor":1,"time":…,"worker":…,"key_id":…,"segment":…,"seq":…,"size":…,"mac":…,"hmac":…}
    hmac = HMAC(HMAC(K(segment), "anchor"), line up to and without `,"hmac":`)

K(segment) is gone from the proxy's host when the segment ends: what was anchored before cannot be anchored otherwise afterwards.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.audit.chain import Head, InitialKeys
from proxy.audit.record import AuditError, encode
from proxy.audit.statements import Source, read_statement, statement

_HMAC = re.compile(rb'(\{"anchor":1,.*),"hmac":"([0-9a-f]{64})"\}')
MAX_ANCHOR = 4096


def _seal(key: bytes, body: bytes) -> str:
    return hmac.digest(hmac.digest(key, b"anchor", "sha256"), body, "sha256").hex()


def encode_anchor(worker: str, head: Head, key: bytes, key_id: str, time: str) -> bytes:
    """A line without its newline. `key` is that of the head's segment."""
    said = statement(worker, head)
    body = encode({"anchor": 1, "time": time, "worker": said.pop("worker"), "key_id": key_id, **said})[:-1].encode()
    return b'%b,"hmac":"%b"}' % (body, _seal(key, body).encode())


def read_anchors(path: Path, keys: Sequence[bytes]) -> Iterator[tuple[Source, object | None]]:
    """What each line of the file states; None for a line that is no anchor made with one of the keys. Raises AuditError."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_ANCHOR), b""), 1):
                said = decode_anchor(line.rstrip(b"\r\n"), keys)
                time = str(said["time"]) if said is not None else ""
                yield Source(path.name, number, None, time), said
    except OSError as error:
        raise AuditError(f"cannot read anchors {path}: {error.strerror}") from None


def decode_claims(line: bytes) -> tuple[str, Head]:
    """(worker, head) of an anchor of our own making."""
    read = read_statement(json.loads(line))
    if read is None:
        raise ValueError("not an anchor")
    return read


def decode_anchor(line: bytes, keys: Sequence[bytes]) -> dict[str, object] | None:
    """The statement, when the line is genuine."""
    match = _HMAC.fullmatch(line)
    if match is None:
        return None
    try:
        said = json.loads(match[1] + b"}")
        read = read_statement(said)
        if read is None or not isinstance(said.get("time"), str):
            return None
        key = InitialKeys(keys, read[0]).segment(str(said["key_id"]), read[1].segment)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return said if key is not None and hmac.compare_digest(_seal(key, match[1]).encode(), match[2]) else None
