"""Messages of the server: decoding and encoding. The other half is `wire.client`; both are used as `wire.codec`.

Messages with row data (DataRow, CopyData) are relayed by slices; DataRow is decoded for our own probe only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from proxy.wire import tags
from proxy.wire.body import CodecError, Reader, encode_value, message, only_text, pack_u16, pack_u32

_field = Struct(">IhIhih").unpack_from
_pack_field = Struct(">IhIhih").pack
_FIELD_SIZE: Final = 18


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
AUTH_SASL_FINAL: Final = 12


def encode_authentication(kind: int, data: bytes = b"") -> bytes:
    return message(tags.AUTHENTICATION, pack_u32(kind) + data)


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
    return message(tags.ROW_DESCRIPTION, pack_u16(len(parts)) + b"".join(parts))


def decode_row_description(body: bytes) -> tuple[Field, ...]:
    r = Reader(body)
    out = []
    for _ in range(r.u16()):
        name = r.cstring()
        out.append(Field(name, *_field(body, r.advance(_FIELD_SIZE))))
    r.end()
    return tuple(out)


def encode_data_row(values: Iterable[bytes | None]) -> bytes:
    parts = [encode_value(v) for v in values]
    return message(tags.DATA_ROW, pack_u16(len(parts)) + b"".join(parts))


def decode_data_row(body: bytes) -> tuple[bytes | None, ...]:
    r = Reader(body)
    out = tuple(r.value() for _ in range(r.u16()))
    r.end()
    return out


def encode_command_complete(tag: bytes) -> bytes:
    return message(tags.COMMAND_COMPLETE, tag + b"\0")


def decode_command_complete(body: bytes) -> bytes:
    return only_text(body)


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


def decode_first_fields(body: bytes) -> Fields:
    """What comes before the text in the body of an ErrorResponse or NoticeResponse of which only the beginning is at hand."""
    out = []
    at = 0
    while body[at : at + 1] not in (b"", b"\0", b"M"):
        end = body.find(0, at + 1)
        if end < 0:
            break
        out.append((chr(body[at]), body[at + 1 : end]))
        at = end + 1
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
    return message(tags.BACKEND_KEY_DATA, pack_u32(pid) + key)


def decode_backend_key(body: bytes) -> tuple[int, bytes]:
    """Process id and secret key: 4 bytes in protocol 3.0, up to 256 in 3.2."""
    r = Reader(body)
    pid, key = r.u32(), r.rest()
    if not 4 <= len(key) <= 256:
        raise CodecError("invalid length of the cancel key")
    return pid, key


def encode_notification(n: Notification) -> bytes:
    return message(tags.NOTIFICATION_RESPONSE, b"%b%b\0%b\0" % (pack_u32(n.pid), n.channel, n.payload))


def decode_notification(body: bytes) -> Notification:
    r = Reader(body)
    out = Notification(r.u32(), r.cstring(), r.cstring())
    r.end()
    return out


def encode_parameter_description(types: tuple[int, ...]) -> bytes:
    return message(tags.PARAMETER_DESCRIPTION, pack_u16(len(types)) + b"".join(map(pack_u32, types)))


def decode_parameter_description(body: bytes) -> tuple[int, ...]:
    r = Reader(body)
    count = r.u16()
    if count * 4 != len(body) - r.pos:
        raise CodecError("parameter types do not fit")
    return tuple(r.u32() for _ in range(count))


def encode_copy(tag: int, copy: Copy) -> bytes:
    columns = b"".join(map(pack_u16, copy.columns))
    return message(tag, b"%c%b%b" % (copy.format, pack_u16(len(copy.columns)), columns))


def decode_copy(body: bytes) -> Copy:
    r = Reader(body)
    kind = r.byte()
    out = Copy(kind, tuple(r.u16() for _ in range(r.u16())))
    r.end()
    return out


def encode_function_result(value: bytes | None) -> bytes:
    return message(tags.FUNCTION_CALL_RESPONSE, encode_value(value))


def decode_function_result(body: bytes) -> bytes | None:
    r = Reader(body)
    out = r.value()
    r.end()
    return out


def encode_negotiation(n: Negotiation) -> bytes:
    options = b"".join(o + b"\0" for o in n.options)
    return message(tags.NEGOTIATE_PROTOCOL_VERSION, pack_u32(n.version) + pack_u32(len(n.options)) + options)


def decode_negotiation(body: bytes) -> Negotiation:
    r = Reader(body)
    version, count = r.u32(), r.u32()
    if count > len(body):
        raise CodecError("option count does not fit")
    out = Negotiation(version, tuple(r.cstring() for _ in range(count)))
    r.end()
    return out
