"""Decodes and encodes the messages that the proxy looks into or makes itself.

`decode_x` takes the body of one message (without tag and length) and raises `CodecError` for anything that the
manual's "Message Formats" does not allow: every count and length is checked before it is believed, and nothing may be
left over. `encode_x` returns a whole message, tag and length included. Names, texts and values stay bytes: their
encoding is the session's business.

Messages with row data (DataRow, CopyData) are relayed by slices; DataRow is decoded for our own probe only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from proxy.wire import tags

_i16 = Struct(">h").unpack_from
_u16 = Struct(">H").unpack_from
_i32 = Struct(">i").unpack_from
_u32 = Struct(">I").unpack_from
_pack_i16 = Struct(">h").pack
_pack_u16 = Struct(">H").pack
_pack_i32 = Struct(">i").pack
_pack_u32 = Struct(">I").pack
_field = Struct(">IhIhih").unpack_from
_pack_field = Struct(">IhIhih").pack
_FIELD_SIZE: Final = 18


class CodecError(ValueError):
    """A body that is not what its tag promises."""


def message(tag: int, body: bytes = b"") -> bytes:
    return b"%c%b%b" % (tag, _pack_u32(len(body) + 4), body)


SYNC: Final = message(tags.SYNC)
FLUSH: Final = message(tags.FLUSH)
TERMINATE: Final = message(tags.TERMINATE)


class Reader:
    """Takes a body apart from front to back."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def _advance(self, size: int) -> int:
        at = self.pos
        if at + size > len(self.data):
            raise CodecError("message is too short")
        self.pos = at + size
        return at

    def cstring(self) -> bytes:
        end = self.data.find(b"\0", self.pos)
        if end < 0:
            raise CodecError("string is not terminated")
        out = self.data[self.pos : end]
        self.pos = end + 1
        return out

    def byte(self) -> int:
        return self.data[self._advance(1)]

    def i16(self) -> int:
        value: int = _i16(self.data, self._advance(2))[0]
        return value

    def u16(self) -> int:
        value: int = _u16(self.data, self._advance(2))[0]
        return value

    def i32(self) -> int:
        value: int = _i32(self.data, self._advance(4))[0]
        return value

    def u32(self) -> int:
        value: int = _u32(self.data, self._advance(4))[0]
        return value

    def blob(self, size: int) -> bytes:
        at = self._advance(size)
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
            raise CodecError("bytes left over at the end of the message")


def _value(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else _pack_i32(len(value)) + value


def _only_text(tag: int, body: bytes) -> bytes:
    """Bodies that are one string."""
    if not body or body.find(0) != len(body) - 1:
        raise CodecError(f"invalid string in message {chr(tag)!r}")
    return body[:-1]


# Client messages.


@dataclass(frozen=True, slots=True)
class Parse:
    name: bytes
    text: bytes
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bind:
    portal: bytes
    statement: bytes
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    results: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Execute:
    portal: bytes
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """What Describe and Close name: `S` a statement, `P` a portal."""

    kind: int
    name: bytes


@dataclass(frozen=True, slots=True)
class FunctionCall:
    function: int
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    result: int = 0


def encode_query(text: bytes) -> bytes:
    return message(tags.QUERY, text + b"\0")


def decode_query(body: bytes) -> bytes:
    return _only_text(tags.QUERY, body)


def encode_parse(parse: Parse) -> bytes:
    types = b"".join(map(_pack_u32, parse.types))
    return message(tags.PARSE, b"%b\0%b\0%b%b" % (parse.name, parse.text, _pack_u16(len(parse.types)), types))


def decode_parse(body: bytes) -> Parse:
    r = Reader(body)
    name, text = r.cstring(), r.cstring()
    count = r.u16()
    if count * 4 != len(body) - r.pos:
        raise CodecError("parameter types do not fit")
    return Parse(name, text, tuple(r.u32() for _ in range(count)))


def encode_bind(bind: Bind) -> bytes:
    parts = [bind.portal, b"\0", bind.statement, b"\0", _pack_u16(len(bind.formats))]
    parts.extend(map(_pack_i16, bind.formats))
    parts.append(_pack_u16(len(bind.values)))
    parts.extend(map(_value, bind.values))
    parts.append(_pack_u16(len(bind.results)))
    parts.extend(map(_pack_i16, bind.results))
    return message(tags.BIND, b"".join(parts))


def decode_bind(body: bytes) -> Bind:
    r = Reader(body)
    portal, statement = r.cstring(), r.cstring()
    formats = tuple(r.i16() for _ in range(r.u16()))
    values = tuple(r.value() for _ in range(r.u16()))
    results = tuple(r.i16() for _ in range(r.u16()))
    r.end()
    return Bind(portal, statement, formats, values, results)


def decode_bind_names(body: bytes) -> tuple[bytes, bytes]:
    """Portal and statement of a Bind of which only the beginning need be there."""
    first = body.find(0)
    second = body.find(0, first + 1)
    if first < 0 or second < 0:
        raise CodecError("string is not terminated")
    return body[:first], body[first + 1 : second]


def encode_execute(execute: Execute) -> bytes:
    return message(tags.EXECUTE, execute.portal + b"\0" + _pack_i32(execute.limit))


def decode_execute(body: bytes) -> Execute:
    r = Reader(body)
    out = Execute(r.cstring(), r.i32())
    r.end()
    return out


def _encode_target(tag: int, target: Target) -> bytes:
    return message(tag, b"%c%b\0" % (target.kind, target.name))


def decode_target(body: bytes) -> Target:
    """The body of a Describe or Close."""
    r = Reader(body)
    out = Target(r.byte(), r.cstring())
    r.end()
    if out.kind not in b"SP":
        raise CodecError("neither a statement nor a portal")
    return out


def encode_describe(target: Target) -> bytes:
    return _encode_target(tags.DESCRIBE, target)


def encode_close(target: Target) -> bytes:
    return _encode_target(tags.CLOSE, target)


def encode_password(data: bytes) -> bytes:
    """PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse: opaque to us."""
    return message(tags.PASSWORD, data)


def encode_copy_data(data: bytes) -> bytes:
    return message(tags.COPY_DATA, data)


def encode_copy_done() -> bytes:
    return message(tags.COPY_DONE)


def encode_copy_fail(reason: bytes) -> bytes:
    return message(tags.COPY_FAIL, reason + b"\0")


def decode_copy_fail(body: bytes) -> bytes:
    return _only_text(tags.COPY_FAIL, body)


def encode_function_call(call: FunctionCall) -> bytes:
    parts = [_pack_u32(call.function), _pack_u16(len(call.formats))]
    parts.extend(map(_pack_i16, call.formats))
    parts.append(_pack_u16(len(call.values)))
    parts.extend(map(_value, call.values))
    parts.append(_pack_i16(call.result))
    return message(tags.FUNCTION_CALL, b"".join(parts))


def decode_function_call(body: bytes) -> FunctionCall:
    r = Reader(body)
    function = r.u32()
    formats = tuple(r.i16() for _ in range(r.u16()))
    values = tuple(r.value() for _ in range(r.u16()))
    out = FunctionCall(function, formats, values, r.i16())
    r.end()
    return out


# Server messages.


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result, as RowDescription tells it."""

    name: bytes
    table: int
    """OID of the relation the column comes from unchanged; 0: computed."""
    attnum: int
    type_oid: int
    size: int
    typmod: int
    format: int


@dataclass(frozen=True, slots=True)
class Notification:
    pid: int
    channel: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """CopyInResponse, CopyOutResponse and CopyBothResponse."""

    format: int
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Negotiation:
    """NegotiateProtocolVersion."""

    version: int
    options: tuple[bytes, ...]


Fields = tuple[tuple[str, bytes], ...]
"""The fields of an ErrorResponse or NoticeResponse in order: one-letter code, text."""

AUTH_OK: Final = 0
AUTH_SASL: Final = 10


def encode_authentication(kind: int, data: bytes = b"") -> bytes:
    return message(tags.AUTHENTICATION, _pack_u32(kind) + data)


def decode_authentication(body: bytes) -> tuple[int, bytes]:
    r = Reader(body)
    return r.u32(), r.rest()


def encode_sasl(mechanisms: Iterable[bytes]) -> bytes:
    return encode_authentication(AUTH_SASL, b"".join(m + b"\0" for m in mechanisms) + b"\0")


def decode_sasl(data: bytes) -> tuple[bytes, ...]:
    """Mechanisms offered in an AuthenticationSASL (its data behind the kind)."""
    r = Reader(data)
    out = []
    while name := r.cstring():
        out.append(name)
    r.end()
    return tuple(out)


def encode_row_description(fields: Iterable[Field]) -> bytes:
    parts = [
        f.name + b"\0" + _pack_field(f.table, f.attnum, f.type_oid, f.size, f.typmod, f.format) for f in fields
    ]  # fmt: skip
    return message(tags.ROW_DESCRIPTION, _pack_u16(len(parts)) + b"".join(parts))


def decode_row_description(body: bytes) -> tuple[Field, ...]:
    r = Reader(body)
    out = []
    for _ in range(r.u16()):
        name = r.cstring()
        out.append(Field(name, *_field(body, r._advance(_FIELD_SIZE))))
    r.end()
    return tuple(out)


def encode_data_row(values: Iterable[bytes | None]) -> bytes:
    parts = [_value(v) for v in values]
    return message(tags.DATA_ROW, _pack_u16(len(parts)) + b"".join(parts))


def decode_data_row(body: bytes) -> tuple[bytes | None, ...]:
    r = Reader(body)
    out = tuple(r.value() for _ in range(r.u16()))
    r.end()
    return out


def encode_command_complete(tag: bytes) -> bytes:
    return message(tags.COMMAND_COMPLETE, tag + b"\0")


def decode_command_complete(body: bytes) -> bytes:
    return _only_text(tags.COMMAND_COMPLETE, body)


def _encode_fields(tag: int, fields: Fields) -> bytes:
    return message(tag, b"".join(b"%b%b\0" % (code.encode("latin-1"), text) for code, text in fields) + b"\0")


def encode_error(fields: Fields) -> bytes:
    return _encode_fields(tags.ERROR_RESPONSE, fields)


def encode_notice(fields: Fields) -> bytes:
    return _encode_fields(tags.NOTICE_RESPONSE, fields)


def decode_fields(body: bytes) -> Fields:
    """The body of an ErrorResponse or NoticeResponse."""
    r = Reader(body)
    out = []
    while code := r.byte():
        out.append((chr(code), r.cstring()))
    r.end()
    return tuple(out)


def encode_ready(status: int) -> bytes:
    return message(tags.READY_FOR_QUERY, b"%c" % status)


def decode_ready(body: bytes) -> int:
    if len(body) != 1 or body[0] not in b"ITE":
        raise CodecError("invalid transaction status")
    return body[0]


def encode_parameter_status(name: bytes, value: bytes) -> bytes:
    return message(tags.PARAMETER_STATUS, b"%b\0%b\0" % (name, value))


def decode_parameter_status(body: bytes) -> tuple[bytes, bytes]:
    r = Reader(body)
    out = r.cstring(), r.cstring()
    r.end()
    return out


def encode_backend_key(pid: int, key: bytes) -> bytes:
    return message(tags.BACKEND_KEY_DATA, _pack_u32(pid) + key)


def decode_backend_key(body: bytes) -> tuple[int, bytes]:
    """Process id and secret key: 4 bytes in protocol 3.0, up to 256 in 3.2."""
    r = Reader(body)
    pid, key = r.u32(), r.rest()
    if not 4 <= len(key) <= 256:
        raise CodecError("invalid length of the cancel key")
    return pid, key


def encode_notification(n: Notification) -> bytes:
    return message(tags.NOTIFICATION_RESPONSE, b"%b%b\0%b\0" % (_pack_u32(n.pid), n.channel, n.payload))


def decode_notification(body: bytes) -> Notification:
    r = Reader(body)
    out = Notification(r.u32(), r.cstring(), r.cstring())
    r.end()
    return out


def encode_parameter_description(types: tuple[int, ...]) -> bytes:
    return message(tags.PARAMETER_DESCRIPTION, _pack_u16(len(types)) + b"".join(map(_pack_u32, types)))


def decode_parameter_description(body: bytes) -> tuple[int, ...]:
    r = Reader(body)
    count = r.u16()
    if count * 4 != len(body) - r.pos:
        raise CodecError("parameter types do not fit")
    return tuple(r.u32() for _ in range(count))


def encode_copy(tag: int, copy: Copy) -> bytes:
    columns = b"".join(map(_pack_u16, copy.columns))
    return message(tag, b"%c%b%b" % (copy.format, _pack_u16(len(copy.columns)), columns))


def decode_copy(body: bytes) -> Copy:
    r = Reader(body)
    kind = r.byte()
    out = Copy(kind, tuple(r.u16() for _ in range(r.u16())))
    r.end()
    return out


def encode_function_result(value: bytes | None) -> bytes:
    return message(tags.FUNCTION_CALL_RESPONSE, _value(value))


def decode_function_result(body: bytes) -> bytes | None:
    r = Reader(body)
    out = r.value()
    r.end()
    return out


def encode_negotiation(n: Negotiation) -> bytes:
    options = b"".join(o + b"\0" for o in n.options)
    return message(tags.NEGOTIATE_PROTOCOL_VERSION, _pack_u32(n.version) + _pack_u32(len(n.options)) + options)


def decode_negotiation(body: bytes) -> Negotiation:
    r = Reader(body)
    version, count = r.u32(), r.u32()
    if count > len(body):
        raise CodecError("option count does not fit")
    out = Negotiation(version, tuple(r.cstring() for _ in range(count)))
    r.end()
    return out
