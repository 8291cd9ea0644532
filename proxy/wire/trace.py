"""One readable text form of a message, for debugging and for playbooks: `show` prints it, `read` parses it back.

    Parse "s1" "select $1" [23]          Bind "" "s1" [0] ["7" NULL] []        Describe S "s1"
    RowDescription ["id" 16384 1 23 4 -1 0]      DataRow "1" NULL      ErrorResponse S "ERROR" C "42601" M "…"

The name of the message, then its fields in the manual's order: numbers, "strings" (UTF-8, with \\n, \\", \\\\ and
\\xNN), NULL, bare words and [lists]. Lists at the end may be left out when they are empty. A message that does not
decode is shown as `Raw "tag" "body"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from proxy.wire import codec, tags


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: a status letter, a field code, S or P."""

    text: str


Arg = int | bytes | Word | None | list["Arg"]


class TraceError(ValueError):
    """A text that names no message, or not with these fields."""


def show(message: bytes, from_client: bool) -> str:
    """The text form of one whole message."""
    names = tags.CLIENT_NAMES if from_client else tags.SERVER_NAMES
    name = names.get(message[0])
    body = message[5:]
    if name is None or int.from_bytes(message[1:5], "big") != len(message) - 1:
        return _join("Raw", [message[:1], message[5:]])
    try:
        args = _DECODE[name](body) if name in _DECODE else _nothing(body)
    except codec.CodecError:
        return _join("Raw", [message[:1], body])
    return _join(name, args)


def read(text: str, from_client: bool) -> bytes:
    """The message that a text form stands for. Raises TraceError."""
    args = _parse(text)
    if not args or not isinstance(args[0], Word):
        raise TraceError(f"no message name in {text!r}")
    name, rest = args[0].text, args[1:]
    if name == "Raw":
        tag, body = cast(list[bytes], rest)
        return codec.message(tag[0], body)
    names = tags.CLIENT_NAMES if from_client else tags.SERVER_NAMES
    found = [tag for tag, known in names.items() if known == name]
    if not found:
        raise TraceError(f"no message {name!r} in this direction")
    encode = _ENCODE.get(name)
    try:
        return encode(rest) if encode else codec.message(found[0], _none(rest))
    except (TypeError, AttributeError, IndexError, ValueError) as e:
        raise TraceError(f"{text!r}: {e}") from e


def split(stream: bytes) -> list[bytes]:
    """A stream of whole messages, taken apart."""
    out = []
    at = 0
    while at < len(stream):
        end = at + 1 + int.from_bytes(stream[at + 1 : at + 5], "big")
        if end < at + 5 or end > len(stream):
            raise TraceError("the stream does not end with a message")
        out.append(stream[at:end])
        at = end
    return out


def _join(name: str, args: Sequence[Arg]) -> str:
    args = list(args)
    while args and args[-1] == []:
        args.pop()
    return " ".join([name, *map(_print, args)])


def _print(arg: Arg) -> str:
    if arg is None:
        return "NULL"
    if isinstance(arg, list):
        return "[" + " ".join(map(_print, arg)) + "]"
    if isinstance(arg, Word):
        return arg.text
    if isinstance(arg, bytes):
        return quote(arg)
    return str(arg)


def quote(data: bytes) -> str:
    out = []
    for char in data.decode("utf-8", "surrogateescape"):
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif "\udc80" <= char <= "\udcff":
            out.append(f"\\x{ord(char) - 0xDC00:02x}")
        elif char.isprintable():
            out.append(char)
        else:
            out.extend(f"\\x{byte:02x}" for byte in char.encode())
    return '"' + "".join(out) + '"'


_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([\[\]])|([^\s"\[\]]+))', re.S)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.S)


def unquote(text: str) -> bytes:
    def escape(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if len(code) == 3:
            return bytes([int(code[1:], 16)])
        return b"\n" if code == b"n" else code

    return _ESCAPE.sub(escape, text.encode())


def _parse(text: str) -> list[Arg]:
    stack: list[list[Arg]] = [[]]
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise TraceError(f"cannot read {text[at:]!r}")
        at = match.end()
        string, bracket, word = match.groups()
        if string is not None:
            stack[-1].append(unquote(string))
        elif bracket == "[":
            stack.append([])
        elif bracket == "]":
            if len(stack) == 1:
                raise TraceError("] without [")
            done = stack.pop()
            stack[-1].append(done)
        elif re.fullmatch(r"-?\d+", word):
            stack[-1].append(int(word))
        else:
            stack[-1].append(None if word == "NULL" else Word(word))
    if len(stack) > 1:
        raise TraceError("[ without ]")
    return stack[0]


def _nothing(body: bytes) -> list[Arg]:
    if body:
        raise codec.CodecError("a body where none belongs")
    return []


def _none(args: Sequence[Arg]) -> bytes:
    if args:
        raise TraceError("fields where none belong")
    return b""


def _raw(body: bytes) -> list[Arg]:
    return [body]


def _ints(arg: Arg) -> tuple[int, ...]:
    return tuple(cast(list[int], arg))


def _values(arg: Arg) -> tuple[bytes | None, ...]:
    return tuple(cast("list[bytes | None]", arg))


def _pad(args: Sequence[Arg], size: int) -> list[Arg]:
    return [*args, *([] for _ in range(size - len(args)))]


def _show_parse(body: bytes) -> list[Arg]:
    p = codec.decode_parse(body)
    return [p.name, p.text, list(p.types)]


def _show_bind(body: bytes) -> list[Arg]:
    b = codec.decode_bind(body)
    return [b.portal, b.statement, list(b.formats), list(b.values), list(b.results)]


def _show_execute(body: bytes) -> list[Arg]:
    e = codec.decode_execute(body)
    return [e.portal, e.limit]


def _show_target(body: bytes) -> list[Arg]:
    t = codec.decode_target(body)
    return [Word(chr(t.kind)), t.name]


def _show_call(body: bytes) -> list[Arg]:
    c = codec.decode_function_call(body)
    return [c.function, list(c.formats), list(c.values), c.result]


def _show_rows(body: bytes) -> list[Arg]:
    return [[f.name, f.table, f.attnum, f.type_oid, f.size, f.typmod, f.format] for f in codec.decode_row_description(body)]


def _show_fields(body: bytes) -> list[Arg]:
    out: list[Arg] = []
    for code, text in codec.decode_fields(body):
        out += [Word(code), text]
    return out


def _read_fields(args: Sequence[Arg]) -> codec.Fields:
    pairs = zip(cast(list[Word], args[::2]), cast(list[bytes], args[1::2]), strict=True)
    return tuple((word.text, value) for word, value in pairs)


def _show_notification(body: bytes) -> list[Arg]:
    n = codec.decode_notification(body)
    return [n.pid, n.channel, n.payload]


def _show_copy(body: bytes) -> list[Arg]:
    c = codec.decode_copy(body)
    return [c.format, list(c.columns)]


def _show_negotiation(body: bytes) -> list[Arg]:
    n = codec.decode_negotiation(body)
    return [n.version, list(n.options)]


def _word(arg: Arg) -> int:
    return ord(cast(Word, arg).text)


_DECODE: dict[str, Callable[[bytes], Sequence[Arg]]] = {
    "Query": lambda b: [codec.decode_query(b)],
    "Parse": _show_parse,
    "Bind": _show_bind,
    "Execute": _show_execute,
    "Describe": _show_target,
    "Close": _show_target,
    "FunctionCall": _show_call,
    "PasswordMessage": _raw,
    "CopyData": _raw,
    "CopyFail": lambda b: [codec.decode_copy_fail(b)],
    "Authentication": lambda b: list(codec.decode_authentication(b)),
    "RowDescription": _show_rows,
    "DataRow": codec.decode_data_row,
    "CommandComplete": lambda b: [codec.decode_command_complete(b)],
    "ErrorResponse": _show_fields,
    "NoticeResponse": _show_fields,
    "ReadyForQuery": lambda b: [Word(chr(codec.decode_ready(b)))],
    "ParameterStatus": lambda b: list(codec.decode_parameter_status(b)),
    "BackendKeyData": lambda b: list(codec.decode_backend_key(b)),
    "NotificationResponse": _show_notification,
    "ParameterDescription": lambda b: [list(codec.decode_parameter_description(b))],
    "CopyInResponse": _show_copy,
    "CopyOutResponse": _show_copy,
    "CopyBothResponse": _show_copy,
    "FunctionCallResponse": lambda b: [codec.decode_function_result(b)],
    "NegotiateProtocolVersion": _show_negotiation,
}


def _read_parse(a: Sequence[Arg]) -> bytes:
    name, text, types = _pad(a, 3)
    return codec.encode_parse(codec.Parse(cast(bytes, name), cast(bytes, text), _ints(types)))


def _read_bind(a: Sequence[Arg]) -> bytes:
    portal, statement, formats, values, results = _pad(a, 5)
    bind = codec.Bind(
        cast(bytes, portal), cast(bytes, statement), _ints(formats), _values(values), _ints(results)
    )  # fmt: skip
    return codec.encode_bind(bind)


def _read_call(a: Sequence[Arg]) -> bytes:
    function, formats, values, result = a
    call = codec.FunctionCall(cast(int, function), _ints(formats), _values(values), cast(int, result))
    return codec.encode_function_call(call)


def _read_rows(a: Sequence[Arg]) -> bytes:
    return codec.encode_row_description(
        codec.Field(
            cast(bytes, f[0]), *cast("tuple[int, int, int, int, int, int]", tuple(f[1:]))
        ) for f in cast("list[list[Arg]]", a)
    )  # fmt: skip


def _bytes(a: Sequence[Arg], size: int = 1) -> tuple[bytes, ...]:
    if len(a) != size or not all(isinstance(x, bytes) for x in a):
        raise TraceError(f"expected {size} strings")
    return tuple(cast(list[bytes], a))


def _read_copy(tag: int) -> Callable[[Sequence[Arg]], bytes]:
    def encode(a: Sequence[Arg]) -> bytes:
        kind, columns = _pad(a, 2)
        return codec.encode_copy(tag, codec.Copy(cast(int, kind), _ints(columns)))

    return encode


def _target(a: Sequence[Arg]) -> codec.Target:
    return codec.Target(_word(a[0]), cast(bytes, a[1]))


_ENCODE: dict[str, Callable[[Sequence[Arg]], bytes]] = {
    "Query": lambda a: codec.encode_query(*_bytes(a)),
    "Parse": _read_parse,
    "Bind": _read_bind,
    "Execute": lambda a: codec.encode_execute(codec.Execute(cast(bytes, a[0]), cast(int, a[1]) if a[1:] else 0)),
    "Describe": lambda a: codec.encode_describe(_target(a)),
    "Close": lambda a: codec.encode_close(_target(a)),
    "FunctionCall": _read_call,
    "PasswordMessage": lambda a: codec.encode_password(*_bytes(a)),
    "CopyData": lambda a: codec.encode_copy_data(*_bytes(a)),
    "CopyFail": lambda a: codec.encode_copy_fail(*_bytes(a)),
    "Authentication": lambda a: codec.encode_authentication(cast(int, a[0]), cast(bytes, a[1]) if a[1:] else b""),
    "RowDescription": _read_rows,
    "DataRow": lambda a: codec.encode_data_row(cast("list[bytes | None]", a)),
    "CommandComplete": lambda a: codec.encode_command_complete(*_bytes(a)),
    "ErrorResponse": lambda a: codec.encode_error(_read_fields(a)),
    "NoticeResponse": lambda a: codec.encode_notice(_read_fields(a)),
    "ReadyForQuery": lambda a: codec.encode_ready(_word(a[0])),
    "ParameterStatus": lambda a: codec.encode_parameter_status(*_bytes(a, 2)),
    "BackendKeyData": lambda a: codec.encode_backend_key(cast(int, a[0]), cast(bytes, a[1])),
    "NotificationResponse": lambda a: codec.encode_notification(
        codec.Notification(cast(int, a[0]), cast(bytes, a[1]), cast(bytes, a[2]))
    ),
    "ParameterDescription": lambda a: codec.encode_parameter_description(_ints(_pad(a, 1)[0])),
    "CopyInResponse": _read_copy(tags.COPY_IN_RESPONSE),
    "CopyOutResponse": _read_copy(tags.COPY_OUT_RESPONSE),
    "CopyBothResponse": _read_copy(tags.COPY_BOTH_RESPONSE),
    "FunctionCallResponse": lambda a: codec.encode_function_result(cast("bytes | None", a[0])),
    "NegotiateProtocolVersion": lambda a: codec.encode_negotiation(
        codec.Negotiation(cast(int, a[0]), tuple(cast(list[bytes], _pad(a, 2)[1])))
    ),
}
