"""What alert rules look at in a record: decoded once, and only the fields that they need.

msgspec decodes into a structure and passes over the rest, some five times as fast as json.loads; what a plan's statements touch
and who has which roles repeats, and is taken apart once.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from rewrite.plan import OUT, SHOWN

_KEPT: Final = 4096
_COMPARED: Final = frozenset({"filter", "join"})
_NAME: Final = 200
"""Characters of a name that are kept; application names are as long as clients like."""
NO_TOUCHES: Final = b"[]"


class Record(msgspec.Struct, gc=False):
    """Fields that a kind does not have are None."""

    seq: int
    kind: str
    time: str
    worker: str
    session: str | None = None
    login: str | None = None
    person: str | None = None
    database: str | None = None
    client: str | None = None
    application: str | None = None
    asserted: dict[str, Any] | None = None
    roles: msgspec.Raw = msgspec.Raw(b"[]")
    policy: str | None = None
    accepted: bool | None = None
    touches: msgspec.Raw = msgspec.Raw(NO_TOUCHES)
    values: list[str | None] | None = None
    binds: list[str | None] | None = None
    decision: int = 0
    tag: str | None = None
    rows: int | None = None
    event: str | None = None
    detail: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Record).decode


def decode(line: bytes) -> Record | None:
    """None for a line that is no record."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:  # names with lone surrogates are JSON for Python only
        found = json.loads(line)
        return _decode(json.dumps(_clean(found)).encode())
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return value


class Touch(msgspec.Struct, frozen=True, rename={"data_class": "class"}):
    relation: str
    column: str
    data_class: str
    level: str
    use: str
    show: str


class Touched:
    """What one statement touches, sorted by what it means."""

    __slots__ = ("compared", "out", "selected")

    def __init__(self, touches: list[Touch]) -> None:
        self.out = tuple(t for t in touches if t.show in SHOWN and t.use in OUT)
        """Leaves in clear, for some rows at least."""
        self.compared = tuple(t for t in touches if t.use in _COMPARED and t.show not in SHOWN)
        """In a condition, and not shown in clear."""
        self.selected: dict[int, tuple[Touch, ...]] = {}
        """By rule: those of its columns."""


_touches = msgspec.json.Decoder(list[Touch]).decode
_roles = msgspec.json.Decoder(list[str]).decode
_kept: dict[bytes, Touched] = {}
_kept_roles: dict[bytes, frozenset[str]] = {}
NOTHING: Final = Touched([])


def touched(raw: msgspec.Raw) -> Touched:
    key = bytes(raw)
    if key == NO_TOUCHES:
        return NOTHING
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= _KEPT:
            _kept.clear()
        try:
            found = Touched(_touches(key))
        except msgspec.MsgspecError:
            found = NOTHING
        _kept[key] = found
    return found


def forget_selections() -> None:
    """Rules have changed."""
    _kept.clear()
    NOTHING.selected.clear()


def roles_of(raw: msgspec.Raw) -> frozenset[str]:
    key = bytes(raw)
    found = _kept_roles.get(key)
    if found is None:
        if len(_kept_roles) >= _KEPT:
            _kept_roles.clear()
        try:
            found = frozenset(_roles(key))
        except msgspec.MsgspecError:
            found = frozenset()
        _kept_roles[key] = found
    return found


def short(name: str | None) -> str:
    """A name as it is kept and told: what is too long is cut, and told apart by its length."""
    if not name:
        return ""
    return name if len(name) <= _NAME else f"{name[: _NAME - 20]}… ({len(name)} characters)"


_minutes: dict[str, float] = {}


def seconds(time: str) -> float:
    """Unix time of `2026-01-31T08:15:30.123456Z`; 0 for what is none."""
    minute = _minutes.get(time[:16])
    try:
        if not "1970" < time[:4] < "2100":  # beyond it calendars end
            return 0.0
        if minute is None:
            from datetime import datetime

            minute = datetime.fromisoformat(time[:16] + "+00:00").timestamp()
            if len(_minutes) >= _KEPT:
                _minutes.clear()
            _minutes[time[:16]] = minute
        return minute + float(time[17:26])
    except ValueError:
        return 0.0
