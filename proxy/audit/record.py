"""The shape of the audit trail's records: one JSON object a line, fields in a fixed order, version `v`.

Contract: every record begins `{"v":1,"seq":N,"kind":"K","time":"T","worker":"W"` and ends `,"mac":"<64 hex>"}`; what is
between is listed per kind in FIELDS and explained in docs/audit.md. The verifier relies on both ends being literal.
A record never changes meaning: new fields are added before `mac`, anything else raises VERSION.
"""

from __future__ import annotations

import enum
import json
import time
from binascii import hexlify
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring as quote

from proxy.errors import PgveilError
from proxy.session.effects import Unrecorded

__all__ = [
    "COMMON", "FIELDS", "MAX_LINE", "MAX_TOUCHES", "NESTED", "RESULT", "TAIL", "VERSION",
    "AuditError", "Kind", "Stamp", "encode", "encode_fields", "prefix", "quote", "tail",
]  # fmt: skip

VERSION = 1
MAX_LINE = 4 << 20
"""Bytes in a line, newline included; the writer refuses longer records, so the verifier holds no more than this."""
MAX_TOUCHES = 4000
"""Touched columns listed in one decision; `touches_more` counts the rest."""


class AuditError(PgveilError, Unrecorded):
    """Evidence cannot be written, or what is there cannot be trusted. No data may flow on it."""

    sqlstate = "58030"


class Kind(enum.Enum):
    SEGMENT = "segment"  # first record of a file: how it joins the one before
    START = "start"
    STOP = "stop"  # last record of a clean stop
    LOGIN = "login"
    LOGOUT = "logout"
    LOGIN_FAILED = "login_failed"
    DECISION = "decision"  # one statement, before its data; with its outcome when that is known by then
    REFUSED = "refused"  # a decision whose verdict is refuse
    OUTCOME = "outcome"  # what became of a decision that was written before
    POLICY = "policy"  # a policy was loaded, changed or rejected
    EVENT = "event"  # anything else worth keeping, named by `event`


COMMON = ("v", "seq", "kind", "time", "worker", "mac")
_WHO = ("session", "login", "person", "database", "client", "client_port", "application", "tls", "asserted")
_DECISION = (
    *_WHO, "roles", "profile", "policy", "protocol", "statement", "part", "parts", "verdict", "touches",
    "touches_more", "clear", "refusal", "on_failure", "placed_by", "text", "text_digest", "values", "values_whole", "binds",
)  # fmt: skip
RESULT = ("tag", "rows", "bytes", "seconds", "sqlstate")
FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.SEGMENT: ("segment", "previous", "key_id", "found", "torn", "damage"),
    Kind.START: ("version", "pid", "host", "listen", "mode"),
    Kind.STOP: ("reason",),
    Kind.LOGIN: (*_WHO, "roles", "profile", "policy"),
    Kind.LOGOUT: (*_WHO, "statements", "seconds", "reason"),
    Kind.LOGIN_FAILED: (*_WHO, "sqlstate", "reason"),
    Kind.DECISION: (*_DECISION, *RESULT),
    Kind.REFUSED: _DECISION,
    Kind.OUTCOME: ("session", "decision", *RESULT),
    Kind.POLICY: ("policy", "previous_policy", "files", "accepted", "reason"),
    Kind.EVENT: ("event", "session", "detail"),
}
"""What may stand between the common fields, in this order. Fields that are not given are written as null."""
NESTED = {
    "touches": ("relation", "column", "class", "level", "use", "show", "rule", "grant", "others"),
    "refusal": ("sqlstate", "message"),
    "torn": ("segment", "bytes", "sha256"),
}
"""The fields of the objects inside a field."""

TAIL = len(b',"mac":"') + 64 + len(b'"}')
"""Bytes that end a line before its newline; what is before them is the body that the chain covers."""


def encode(value: object) -> str:
    """JSON text of a value that is not on the hot path. Lone surrogates survive (they become \\udcXX escapes)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode_fields(kind: Kind, fields: Mapping[str, object]) -> str:
    """`"a":1,"b":null` in the documented order; an undocumented field is a bug and raises."""
    known = FIELDS[kind]
    unknown = fields.keys() - set(known)
    if unknown:
        raise ValueError(f"undocumented field of audit kind {kind.value}: {', '.join(sorted(unknown))}")
    return ",".join(f"{quote(name)}:{encode(fields.get(name))}" for name in known)


def prefix(seq: int) -> bytes:
    """What every record with this number begins with."""
    return b'{"v":1,"seq":%d,"kind":"' % seq


def tail(mac: bytes) -> bytes:
    """What every record with this mac ends with."""
    return b',"mac":"' + hexlify(mac) + b'"}'


def micros(seconds: float) -> str:
    """Less than a second, as six digits. Twice as fast as a format."""
    return str(1_000_000 + int(seconds * 1e6))[1:]


def decimal(seconds: float) -> str:
    """Seconds with six digits behind the point, rounded; not negative."""
    amount = int(seconds * 1e6 + 0.5)
    if amount < 1_000_000:
        return f"0.{str(1_000_000 + amount)[1:]}"
    return f"{amount // 1_000_000}.{str(1_000_000 + amount % 1_000_000)[1:]}"


class Stamp:
    """Formats the clock as `2026-01-31T08:15:30.123456Z`; the part down to the second is kept while it lasts."""

    __slots__ = ("_clock", "_second", "_text")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second
        return f"{self._text}{micros(now - second)}Z"
