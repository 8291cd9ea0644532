"""Messages of the client: decoding and encoding. The other half is `wire.server`; both are used as `wire.codec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.wire import tags
from proxy.wire.body import CodecError, Reader, encode_value, message, only_text, pack_i16, pack_i32, pack_u16, pack_u32

SYNC: Final = message(tags.SYNC)
FLUSH: Final = message(tags.FLUSH)
TERMINATE: Final = message(tags.TERMINATE)


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
    return only_text(body)


def encode_parse(parse: Parse) -> bytes:
    types = b"".join(map(pack_u32, parse.types))
    return message(tags.PARSE, b"%b\0%b\0%b%b" % (parse.name, parse.text, pack_u16(len(parse.types)), types))


def decode_parse(body: bytes) -> Parse:
    r = Reader(body)
    name, text = r.cstring(), r.cstring()
    out = Parse(name, text, tuple(r.u32() for _ in range(r.u16())))
    r.end()
    return out


def encode_bind(bind: Bind) -> bytes:
    parts = [bind.portal, b"\0", bind.statement, b"\0", pack_u16(len(bind.formats))]
    parts.extend(map(pack_i16, bind.formats))
    parts.append(pack_u16(len(bind.values)))
    parts.extend(map(encode_value, bind.values))
    parts.append(pack_u16(len(bind.results)))
    parts.extend(map(pack_i16, bind.results))
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
        raise CodecError("invalid string in message")
    return body[:first], body[first + 1 : second]


def encode_execute(execute: Execute) -> bytes:
    return message(tags.EXECUTE, execute.portal + b"\0" + pack_i32(execute.limit))


def decode_execute(body: bytes) -> Execute:
    r = Reader(body)
    out = Execute(r.cstring(), r.i32())
    r.end()
    return out


def _encode_target(tag: int, target: Target) -> bytes:
    return message(tag, b"%c%b\0" % (target.kind, target.name))


def decode_target(body: bytes, what: str = "DESCRIBE") -> Target:
    """The body of a Describe or Close; `what` it is, for the complaint."""
    r = Reader(body)
    out = Target(r.byte(), r.cstring())
    r.end()
    if out.kind not in b"SP":
        raise CodecError(f"invalid {what} message subtype {out.kind}")
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
    return only_text(body)


def encode_function_call(call: FunctionCall) -> bytes:
    parts = [pack_u32(call.function), pack_u16(len(call.formats))]
    parts.extend(map(pack_i16, call.formats))
    parts.append(pack_u16(len(call.values)))
    parts.extend(map(encode_value, call.values))
    parts.append(pack_i16(call.result))
    return message(tags.FUNCTION_CALL, b"".join(parts))


def decode_function_call(body: bytes) -> FunctionCall:
    r = Reader(body)
    function = r.u32()
    formats = tuple(r.i16() for _ in range(r.u16()))
    values = tuple(r.value() for _ in range(r.u16()))
    out = FunctionCall(function, formats, values, r.i16())
    r.end()
    return out
