"""Statements that are addressed to pgveil itself (`rewrite.commands`): asked once, answered in their place by a query.

A Query waits until everything before it has been answered, so that nothing is done in a failed transaction. Then the answer
is asked for (`State.wants_answer`), and what yields it goes upstream in the place of the client's text.

In the extended protocol the Parse carries a query of the same shape that yields nothing; it is described and prepared like any
other. What is asked is asked at each Bind, whose parameters are the arguments: the portal is then made from a statement of our
own that yields the answer.
"""

from __future__ import annotations

from typing import Final

from proxy.session import expect, gates, poison
from proxy.session import state as st
from proxy.session.effects import Asked
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.session.statements import Record
from proxy.wire import codec, tags
from rewrite.plan import Command, Parameter, Plan, Refusal

_NAME: Final = poison.RESERVED + b"answer"
_STATEMENT: Final = ord("S")
_LONG: Final = Refusal("54000", "the arguments of a command for pgveil are too long", "Say it in fewer words.")
_MALFORMED: Final = Refusal("08P01", "invalid message format")
_TYPES: Final = frozenset({0, 18, 19, 25, 705, 1042, 1043})
"""OIDs of types whose binary form is the text itself; 0: not given, and pgveil makes it text."""
_DIGITS: Final = 18
"""Of a number that int8 can hold, whatever it is."""
_INTS: Final = frozenset({0, 20, 21, 23})


def ask(s: State, plan: Plan, values: tuple[str | int | None, ...]) -> bool | str | Refusal:
    """Before the current message, which is a command: True: held; a text: what goes upstream; otherwise why nothing does."""
    found = s.answered
    if found is not None:
        return found
    if s.queue:
        return gates.wait(s, st.DRAIN)
    command = _command(plan)
    if command is None or s.tx == tags.FAILED:
        return plan.text
    s.wants_answer = Asked(s.identity, command, values, s.last_plan, s.sid)
    return gates.wait(s, st.ANSWER)


def _command(plan: Plan) -> Command | None:
    return plan.statements[0].command if plan.statements else None


def constants(plan: Plan) -> tuple[str | int | None, ...] | Refusal:
    """The arguments of a Query, which has no parameters."""
    command = _command(plan)
    out: list[str | int | None] = []
    for value in command.arguments if command is not None else ():
        if isinstance(value, Parameter):
            return Refusal("42P02", f"there is no parameter ${value.number}", "Write the value out, or prepare the statement.")
        out.append(value)
    return tuple(out)


def bind(s: State, record: Record, portal: bytes, last: int) -> bool | Refusal | None:
    """The current Bind, whose names end at `last`. True: held; None: it may go on, as it is now or as it has been replaced."""
    scan = s.client
    if s.answered is None:
        if scan.inside:
            return _LONG
        values = _bound(s, record, last)
        if isinstance(values, Refusal):
            return values
    else:
        values = ()
    answer = ask(s, record.plan, values)
    if answer is True or isinstance(answer, Refusal):
        return answer
    assert isinstance(answer, str)
    if s.answered is None:
        return None
    found = _parts(scan.buf[last + 1 : scan.end])
    if found is None:
        return _MALFORMED
    close, parse = Expected(expect.CLOSE), Expected(expect.PARSE)
    close.swallow = parse.swallow = True
    s.queue.append(close)
    s.queue.append(parse)
    s.batch_open = True
    data = codec.encode_close(codec.Target(_STATEMENT, _NAME))
    data += codec.message(tags.PARSE, b"%b\0%b\0\0\0" % (_NAME, answer.encode("ascii")))
    data += codec.message(tags.BIND, b"%b\0%b\0\0\0\0\0%b" % (portal, _NAME, found[2]))
    s.drop()
    s.to_server.append(data)
    return None


def _bound(s: State, record: Record, last: int) -> tuple[str | int | None, ...] | Refusal:
    """The arguments, with the values of a Bind in the place of parameters."""
    command = _command(record.plan)
    found = _parts(s.client.buf[last + 1 : s.client.end])
    if found is None or command is None:
        return _MALFORMED
    formats, values, _ = found
    out: list[str | int | None] = []
    for argument, number in zip(command.arguments, command.numbers, strict=True):
        if not isinstance(argument, Parameter):
            out.append(argument)
            continue
        at = argument.number - 1
        if not 0 <= at < len(values):
            return Refusal("08P01", f"bind message has no parameter ${argument.number}")
        data = values[at]
        if data is None:
            out.append(None)
            continue
        binary = bool(formats) and formats[at if len(formats) > 1 else 0] == 1
        type_ = int.from_bytes(record.types[2 + 4 * at : 6 + 4 * at], "big")
        value = _value(s, data, type_, binary, number)
        if value is None:
            wanted = "a whole number" if number else "a text"
            return Refusal("22023", f"parameter ${argument.number} has to be {wanted}", "Give it that type.")
        out.append(value)
    return tuple(out)


def _value(s: State, data: bytes, type_: int, binary: bool, number: bool) -> str | int | None:
    if number and binary:
        return int.from_bytes(data, "big", signed=True) if type_ in _INTS and len(data) in (2, 4, 8) else None
    if binary and type_ not in _TYPES:
        return None
    try:
        text = data.decode(s.codec or "ascii")
    except UnicodeDecodeError:
        return None
    if not number:
        return text
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None


def _parts(rest: bytes) -> tuple[list[int], list[bytes | None], bytes] | None:
    """Of a Bind behind its names: parameter formats, values, and what says the formats of the result. None: malformed."""
    count = int.from_bytes(rest[0:2], "big")
    at = 2 + 2 * count
    formats = [int.from_bytes(rest[i : i + 2], "big") for i in range(2, at, 2)]
    if at + 2 > len(rest):
        return None
    given = int.from_bytes(rest[at : at + 2], "big")
    at += 2
    values: list[bytes | None] = []
    for _ in range(given):
        if at + 4 > len(rest):
            return None
        length = int.from_bytes(rest[at : at + 4], "big", signed=True)
        at += 4
        if length < 0:
            values.append(None)
            continue
        if at + length > len(rest):
            return None
        values.append(rest[at : at + length])
        at += length
    if len(formats) > 1 and len(formats) != given:
        return None
    if at + 2 > len(rest) or len(rest) - at - 2 != 2 * int.from_bytes(rest[at : at + 2], "big"):
        return None
    return formats, values, rest[at:]
