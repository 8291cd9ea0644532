"""Masks with a key: token, fpe and shift. The same value shows the same everywhere, and only who has the key can work back to it.

The SQL face calls the companion schema (`pgveil install`, proxy/companion), whose functions look the key up where no client can
read it; the Python face takes it from the ring given with `use_keys`. What is written into statements is the name of a key, never
a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from policies.keys import Key, KeyRef, Keyring
from policies.masks import ff1
from policies.masks.base import BaseMask, as_text, call, literal, op, typmod
from policies.model import COMPANION, ColumnType

_ring: ContextVar[Keyring | None] = ContextVar("keys of masks", default=None)
_TEXT_TOKEN_LEAST = 16
"""Hexadecimal digits of the shortest token: 64 bits, so that two of ten million values meet once in 370,000 such tables."""
_INT8_MAX = 2**63 - 1
_GREATEST = {"int4": 2**31 - 1, "int8": _INT8_MAX}
_EPOCH = date(2000, 1, 1)
SEPARATORS = " -./()+,:;'_#@·　－．／（），：；"
"""What format-preserving encryption leaves where it is, beside the characters of its alphabet."""


@contextmanager
def use_keys(ring: Keyring) -> Iterator[None]:
    """The Python faces of keyed masks find their keys in this ring."""
    token = _ring.set(ring)
    try:
        yield
    finally:
        _ring.reset(token)


@dataclass(frozen=True, slots=True)
class KeyedMask(BaseMask):
    """A mask whose SQL face calls `pgveil.<function>(key name, version or 0, …)`."""

    key: KeyRef = KeyRef()

    def _called(self, function: str, *arguments: str) -> str:
        reference = (f"{literal(self.key.name)}, {self.key.version or 0}", *arguments)
        return f"{COMPANION}.{function}({', '.join(reference)})"

    def _key(self) -> Key:
        ring = _ring.get()
        if ring is None:
            raise LookupError(f"no keys are at hand for {self.name}: use_keys(...)")
        return ring.get(self.key)


@dataclass(frozen=True, slots=True)
class Token(KeyedMask):
    """A keyed digest (HMAC-SHA256) of the value: equal values have equal tokens in all tables and systems with the key.

    Text: hexadecimal digits, `length` of them, fewer where the column is shorter, but 16 at least. int8 and whole numeric of 19
    and more digits: a number of 63 bits. uuid: a UUID of version 8 (RFC 9562).
    """

    length: int = 32
    prefix: str = ""

    def accepts(self, column: ColumnType) -> str | None:
        kind = column.base_type
        if column.category == "S" and kind != "name":
            room = self._room(column)
            if room < _TEXT_TOKEN_LEAST:
                return f"a token needs {_TEXT_TOKEN_LEAST + len(self.prefix)} characters: use fpe"
            return None
        if kind in ("int8", "uuid") or (kind == "numeric" and _whole(column, 19)):
            return None
        return f"token masks text, uuid, bigint and numeric(19,0) or wider, not {kind}"

    def _room(self, column: ColumnType) -> int:
        limit = typmod(column) if column.base_type in ("varchar", "bpchar") else None
        return min(self.length, limit[0] - len(self.prefix)) if limit else self.length

    def sql(self, column: str, column_type: ColumnType) -> str:
        digest = self._called("digest", as_text(column))
        if column_type.category == "S":
            shown = call("left", call("encode", digest, literal("hex")), str(self._room(column_type)))
            return op(literal(self.prefix), "||", shown) if self.prefix else shown
        if column_type.base_type == "uuid":
            return f"{call('encode', self._called('uuid_bytes', as_text(column)), literal('hex'))}::pg_catalog.uuid"
        return self._called("number", as_text(column))

    @property
    def companions(self) -> frozenset[str]:
        return frozenset({"digest", "uuid_bytes", "number"})

    def apply(self, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, str):
            return self.prefix + self._key().digest(value).hex()[: self.length]
        if isinstance(value, UUID):
            raw = bytearray(self._key().digest(str(value))[:16])
            raw[6] = raw[6] & 0x0F | 0x80
            raw[8] = raw[8] & 0x3F | 0x80
            return UUID(bytes=bytes(raw))
        if isinstance(value, int | Decimal):
            number = _number(self._key().digest(str(value)))
            return Decimal(number) if isinstance(value, Decimal) else number
        raise TypeError(f"expected text, a number or a UUID, got {type(value).__name__}")

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        if isinstance(value, str):
            if column_type.base_type == "bpchar":
                value = value.rstrip(" ")
            return self.prefix + self._key().digest(value).hex()[: self._room(column_type)]
        return self.apply(value)


@dataclass(frozen=True, slots=True)
class Fpe(KeyedMask):
    """Format-preserving encryption (FF1): a number of as many digits, a text of the same form.

    In text, characters of the `alphabet` are encrypted together; `SEPARATORS` stay, anything else becomes `*`. The first and last
    characters can be kept. What is too short to be safe (fewer than a million possibilities) becomes `*` too. Whole numbers keep
    sign and number of digits; below six digits they show as NULL.
    """

    alphabet: str = "0123456789"
    first: int = 0
    last: int = 0
    tweak: str = ""

    @property
    def companions(self) -> frozenset[str]:
        return frozenset({"fpe", "fpe_number"})

    def accepts(self, column: ColumnType) -> str | None:
        kind = column.base_type
        if column.category == "S" and kind != "name":
            return None
        if kind in _GREATEST or (kind == "numeric" and _whole(column, 6)):
            if self.alphabet != "0123456789" or self.first or self.last:
                return "fpe of numbers encrypts all digits: neither alphabet nor keep"
            return None
        return f"fpe masks text, integer, bigint and whole numeric, not {kind}"

    def sql(self, column: str, column_type: ColumnType) -> str:
        if column_type.category == "S":
            rest = (literal(self.alphabet), str(self.first), str(self.last), literal(self.tweak))
            return self._called("fpe", as_text(column), *rest)
        number = self._called("fpe_number", f"({column})::pg_catalog.numeric", str(_greatest(column_type)), literal(self.tweak))
        return f"({number})::{column_type.base_sql}"

    def apply(self, value: object) -> object:
        return self.apply_as(value, ColumnType("numeric" if isinstance(value, Decimal) else "int8", "N", ""))

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        if value is None:
            return None
        if isinstance(value, str):
            return self._text(value.rstrip(" ") if column_type.base_type == "bpchar" else value)
        if isinstance(value, int):
            return self._number(value, _greatest(column_type))
        if isinstance(value, Decimal):
            if not value.is_finite():
                return None
            found = self._number(int(value), _greatest(column_type))
            return None if found is None else Decimal(found)
        raise TypeError(f"expected text or a whole number, got {type(value).__name__}")

    def _text(self, value: str) -> str:
        places = [i for i in range(self.first, len(value) - self.last) if value[i] in self.alphabet]
        out = list(value)
        for i in range(self.first, len(value) - self.last):
            if value[i] not in SEPARATORS:
                out[i] = "*"
        if len(value) <= self.first + self.last:
            return "".join(c if c in SEPARATORS else "*" for c in value)
        radix = len(self.alphabet)
        if ff1.suits(radix, len(places)):
            numerals = [self.alphabet.index(value[i]) for i in places]
            for i, numeral in zip(places, ff1.encrypt(self._key().cipher, radix, numerals, self.tweak.encode()), strict=True):
                out[i] = self.alphabet[numeral]
        return "".join(out)

    def _number(self, value: int, greatest: int) -> int | None:
        digits = [int(c) for c in str(abs(value))]
        if not ff1.suits(10, len(digits)):
            return None
        key, tweak = self._key().cipher, self.tweak.encode()
        while True:  # cycle walking: encrypted again until it is a number of the same length that the type can hold
            digits = ff1.encrypt(key, 10, digits, tweak)
            found = int("".join(map(str, digits)))
            if digits[0] and found <= greatest:
                return found if value > 0 else -found


@dataclass(frozen=True, slots=True)
class Shift(KeyedMask):
    """Dates moved by up to `days` days to either side, the same date always by as much, never by none. The time of day stays."""

    days: int = 30

    @property
    def companions(self) -> frozenset[str]:
        return frozenset({"shift_days"})

    def accepts(self, column: ColumnType) -> str | None:
        if column.base_type in ("date", "timestamp", "timestamptz"):
            return None
        return f"shift masks date and timestamp, not {column.base_type}"

    def sql(self, column: str, column_type: ColumnType) -> str:
        value = f"({column})"
        if column_type.base_type == "timestamptz":
            moment = call("timezone", literal("UTC"), value)
            return call("timezone", literal("UTC"), self._moved(moment, f"({moment})::pg_catalog.date", value, "timestamp"))
        if column_type.base_type == "timestamp":
            return self._moved(value, f"{value}::pg_catalog.date", value, "timestamp")
        return self._moved(value, value, value, "date")

    def _moved(self, value: str, day: str, finite: str, kind: str) -> str:
        """Infinite and remote dates show as NULL: nothing can overflow."""
        number = op(day, "-", "'2000-01-01'::pg_catalog.date")
        offset = self._called("shift_days", number, str(self.days))
        if kind == "timestamp":
            offset = call("make_interval", "0", "0", "0", offset)
        after, before = op(day, ">", "'4000-01-01 BC'::pg_catalog.date"), op(day, "<", "'200000-01-01'::pg_catalog.date")
        near = f"({call('isfinite', finite)} AND {after} AND {before})"
        return f"(CASE WHEN {near} THEN {op(value, '+', offset)} END)"

    def apply(self, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, datetime):
            moment = value.astimezone(UTC) if value.tzinfo is not None else value
            return moment + timedelta(days=self._offset(moment.date()))
        if isinstance(value, date):
            return value + timedelta(days=self._offset(value))
        raise TypeError(f"expected a date or timestamp, got {type(value).__name__}")

    def _offset(self, day: date) -> int:
        number = _number(self._key().digest(f"shift {(day - _EPOCH).days}"))
        days = 1 + (number >> 1) % self.days
        return -days if number & 1 else days


def _number(digest: bytes) -> int:
    """The first 63 bits that matter."""
    return int.from_bytes(digest[:8], "big") & _INT8_MAX


def _whole(column: ColumnType, digits: int) -> bool:
    """numeric without a fraction, wide enough. Without a modifier a numeric may have one."""
    found = typmod(column)
    return found is not None and found[1] <= 0 and found[0] >= digits


def _greatest(column: ColumnType) -> int:
    found = typmod(column)
    return _GREATEST.get(column.base_type) or (10 ** found[0] - 1 if found else 10**ff1.MAX_LENGTH)
