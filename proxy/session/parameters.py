"""The parameters of a Bind: what each of them says, read from its bytes.

Whoever counts or records a value has to know for certain which one it is: `Uncertain` says what cannot be read. Binary forms are
those of the types' send functions (src/backend/utils/adt).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from policies.filters import MAX_ELEMENTS
from proxy.session.effects import UNTOLD
from proxy.session.state import State
from proxy.session.statements import Record
from proxy.wire import encodings
from rewrite.plan import Refusal

TEXTS: Final = frozenset({25, 1042, 1043})
INTEGERS: Final = frozenset({20, 21, 23})
NUMERIC: Final = 1700
_DATE: Final = 1082
_UUID: Final = 2950
_JSONB: Final = 3802
_EPOCH: Final = date(2000, 1, 1)
UNKNOWN: Final = 705
MOST: Final = 1 << 20
"""Bytes of a parameter that is read."""
_PRINTED: Final = TEXTS | {18, 19, 114, 142, UNKNOWN}
"""Types whose binary form is text: char, name, json and xml as well."""
_FIXED: Final = frozenset({16, 17, 26, 650, 700, 701, 790, 829, 869, 1083, 1114, 1184, 1186, 1266})
"""bool, bytea, oid, cidr, float4, float8, money, macaddr, inet, time, timestamp, timestamptz, interval, timetz: each is one
value, told by its bytes."""
_MEMBERS: Final = TEXTS | INTEGERS | {NUMERIC, _DATE, _UUID}
_CLEARER: Final = "Give the value as a string or number of the column's own type, or as a parameter; dates as YYYY-MM-DD."


_NONE: Final[list[int]] = []


class Uncertain(Exception):
    """A value cannot be read with certainty."""

    def __init__(self, why: str, hint: str = _CLEARER) -> None:
        super().__init__(why)
        self.refusal = Refusal("0A000", why, hint)


def given(s: State) -> list[tuple[int, bytes | None]] | None:
    """Format and bytes of each parameter of the current Bind; None when it is not here as a whole. One that does not decode is
    for the server to refuse."""
    scan = s.client
    if scan.inside or scan.large:
        return None
    buf, end = scan.buf, scan.end
    at = buf.find(0, scan.body, end)
    at = buf.find(0, at + 1, end) + 1 if at >= 0 else 0
    if at <= 0 or end - at < 4:
        return []
    form = buf[at] << 8 | buf[at + 1]  # their number; most have none, or one for all
    at += 2 + 2 * form
    if end - at < 2:
        return []
    formats = [_short(buf, i) for i in range(at - 2 * form, at, 2)] if form else _NONE
    count = buf[at] << 8 | buf[at + 1]
    at += 2
    out: list[tuple[int, bytes | None]] = []
    for i in range(count):
        if end - at < 4:
            return out
        length = buf[at] << 24 | buf[at + 1] << 16 | buf[at + 2] << 8 | buf[at + 3]
        at += 4
        form = formats[i] if len(formats) == count and count > 1 else formats[0] if formats else 0
        if length >= 0x80000000:  # negative: NULL
            out.append((form, None))
            continue
        if length > end - at:
            return out
        out.append((form, buf[at : at + length]))
        at += length
    return out


def declared(types: bytes, number: int) -> int:
    """The type that the client's Parse gave to a parameter; 0: none."""
    at = 2 + 4 * (number - 1)
    return int.from_bytes(types[at : at + 4], "big") if at + 4 <= len(types) else 0


def said(s: State, record: Record) -> list[str | None] | None:
    """What the parameters of the current Bind say, for its record: None for NULL, UNTOLD for what cannot be read, an array as
    `{a,b}`. None altogether: the message is not here as a whole."""
    values = given(s)
    if values is None:
        return None
    out: list[str | None] = []
    for before, (form, data) in enumerate(values):  # counting from 0 costs the compiled loop nothing
        if data is None:
            out.append(None)
        elif len(data) > MOST:
            out.append(UNTOLD)
        elif form == 0 and data.isascii():
            out.append(data.decode("ascii"))
        else:
            try:
                out.append(text_of(s, data, before + 1) if form == 0 else _binary(s, record, data, before + 1))
            except Uncertain:
                out.append(UNTOLD)
    return out


def _binary(s: State, record: Record, data: bytes, number: int) -> str:
    """A binary value as the text that would mean the same. Raises Uncertain."""
    oid = declared(record.types, number)
    if oid in (0, UNKNOWN) and record.inputs is not None:
        oid = declared(record.inputs, number)
    if oid == NUMERIC:
        plain = format(Decimal(_decimal(data, number)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if oid in _PRINTED or oid in _MEMBERS:
        return scalar(s, 25 if oid in _PRINTED else oid, data, number)
    if oid in _FIXED:
        return data.hex()
    if not oid and len(data) in (2, 4, 8) and min(data) < 32:  # no text has such characters
        return scalar(s, 20, data, number)
    if len(data) >= 12 and data[:4] in (b"\0\0\0\0", b"\0\0\0\1"):
        return written(array_of(s, _MEMBERS, data, number))
    if oid == _JSONB:
        return text_of(s, data[1:], number)
    return text_of(s, data, number)


def written(members: Iterable[str | None]) -> str:
    """An array as text, which `policies.filters.elements` reads."""
    quoted = ["NULL" if m is None else '"' + m.replace("\\", "\\\\").replace('"', '\\"') + '"' for m in members]
    return "{" + ",".join(quoted) + "}"


def text_of(s: State, data: bytes, number: int) -> str:
    text = encodings.decode(data, s.codec, s.within)
    if text is None or "\0" in text:
        raise Uncertain(f"parameter ${number} cannot be read with certainty in the session's client_encoding")
    return text


def scalar(s: State, oid: int, data: bytes, number: int) -> str:
    """A value in its type's binary form. Raises Uncertain."""
    if oid in TEXTS:
        return text_of(s, data, number)
    if oid in INTEGERS and len(data) in (2, 4, 8):
        return str(int.from_bytes(data, "big", signed=True))
    if oid == NUMERIC and len(data) >= 8:
        return _decimal(data, number)
    if oid == _DATE and len(data) == 4:
        days = int.from_bytes(data, "big", signed=True)
        try:
            return (_EPOCH + timedelta(days=days)).isoformat()
        except OverflowError:
            raise Uncertain(f"parameter ${number} is not a date that can be counted") from None
    if oid == _UUID and len(data) == 16:
        return data.hex()
    raise Uncertain(f"parameter ${number} is not of the form that its type has")


def array_of(s: State, of: Collection[int], data: bytes, number: int) -> list[str | None]:
    """array_send: dimensions, whether there are NULLs, type of the members, length and lower bound of each dimension, members.

    `of`: types that the members may have. Raises Uncertain.
    """
    dimensions, oid = int.from_bytes(data[:4], "big"), int.from_bytes(data[8:12], "big")
    wrong = Uncertain(f"parameter ${number} is not a plain array")
    if len(data) < 12 or dimensions > 1 or oid not in of:
        raise wrong
    if not dimensions:
        return []
    count = int.from_bytes(data[12:16], "big")
    if len(data) < 20 or count > MAX_ELEMENTS:
        raise wrong
    at = 20
    out: list[str | None] = []
    for _ in range(count):
        if len(data) - at < 4:
            raise wrong
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if length > len(data) - at:
            raise wrong
        out.append(None if length < 0 else scalar(s, oid, data[at : at + length], number))
        at += max(length, 0)
    return out


def _decimal(data: bytes, number: int) -> str:
    """numeric_send: count of digits to the base 10000, weight of the first, sign, scale, digits."""
    count, weight, sign = _short(data, 0), int.from_bytes(data[2:4], "big", signed=True), _short(data, 4)
    if sign not in (0, 0x4000) or len(data) != 8 + 2 * count:
        raise Uncertain(f"parameter ${number} is not a number that can be counted")
    digits = [_short(data, 8 + 2 * i) for i in range(count)]
    if any(d > 9999 for d in digits):
        raise Uncertain(f"parameter ${number} is not a number that can be counted")
    shown = "".join(f"{d:04}" for d in digits) or "0"
    return f"{'-' if sign else ''}{shown}e{4 * (weight - count + 1)}"


def _short(buf: bytes, at: int) -> int:
    return int.from_bytes(buf[at : at + 2], "big")
