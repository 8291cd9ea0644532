"""Refusing a message of the client, and reading its text, which is the first thing that may have to be refused."""

from __future__ import annotations

import re
from typing import Final

from proxy.session import expect, gates, poison
from proxy.session.effects import Binds
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec, encodings, tags
from rewrite.plan import POISON_STATE, Plan, Refusal, Verdict

_MALFORMED: Final = Refusal("08P01", "invalid message format")
UNENCODABLE: Final = Refusal(
    "22P05", "the rewritten statement has no equivalent in the session's client_encoding", "SET client_encoding TO 'UTF8'."
)
UNPLANNED: Final = Refusal("0A000", "the statement cannot be judged", "Write it in another way.")
ENCODING: Final = Refusal(
    "22021",
    "the text is not valid in the session's client_encoding",
    "Set client_encoding to what the client really sends.",
    failure=True,
)
_ENDS: Final = re.compile(r"\b(?:rollback|commit|abort|end|prepare)\b", re.I)
"""What may end a failed transaction. Of other statements PostgreSQL looks at nothing but the syntax there."""
_LOOKED_AT_FIRST: Final = frozenset({"42601", "26000", "08P01", "57014"})
"""What PostgreSQL finds wrong before it looks at the transaction."""
_NO_CODEC: Final = Refusal(
    "0A000",
    "text beyond ASCII cannot be read with certainty in the session's client_encoding",
    "Use ASCII only, or SET client_encoding TO 'UTF8'.",
    failure=True,
)
_UNSURE: Final = Refusal(
    "22021",
    "the text has bytes that are not valid, or mean different characters to different programs, in the session's client_encoding",
    "Leave these characters out, or SET client_encoding TO 'UTF8'.",
    failure=True,
)
_NOT_IN_DATABASE: Final = Refusal(
    "22P05",
    "the text has a character without a certain equivalent in the database's encoding",
    "Leave the character out.",
    failure=True,
)


def refuse(
    s: State,
    kind: int,
    refusal: Refusal,
    plan: Plan | None,
    text: str,
    name: bytes = b"",
    poisoned: poison.Poison | None = None,
    binds: Binds = None,
) -> bool:
    """Put a poison in the place of the current message, our error in the place of its reply. The handler's answer."""
    looked_at_last = (
        poisoned is None and not s.batch_open and refusal.sqlstate not in _LOOKED_AT_FIRST and _ENDS.search(text) is None
    )
    if looked_at_last and s.tx == tags.FAILED and not s.queue:
        refusal = gates.ABORTED
    whole = kind in (expect.QUERY, expect.FUNCTION)
    data, provokes = poisoned or poison_for(s, kind, name)
    entry = Expected(expect.REFUSED_QUERY if whole else expect.REFUSED)
    entry.replace = poison.error(refusal, s.codec)
    entry.replace_state = refusal.sqlstate
    entry.provokes = provokes
    if looked_at_last:
        entry.looked_at_last = True
    protocol = "simple" if kind == expect.QUERY else "function" if kind == expect.FUNCTION else "extended"
    if plan is None or plan.refusal is not refusal:
        plan = Plan(Verdict.REFUSE, "", refusal=refusal)
    s.last_plan = plan
    entry.decided = (s.audit.decision(s.sid, "refusal", plan, 0, text, protocol, binds),)
    entry.started = s.timer()
    s.evidence = True
    s.drop()
    s.to_server.append(data)
    if not whole:
        s.batch_open = True
    elif not s.queue:
        s.batch_open = False
    s.queue.append(entry)
    gates.decided(s)
    return False


def refuse_behind(s: State, entry: Expected, plan: Plan, text: str) -> None:
    """A statement of a Query is refused behind others that run; the poison is in the text."""
    entry.behind = len(entry.decided)
    refusal = plan.refusal or UNPLANNED
    entry.replace = poison.error(refusal, s.codec)
    entry.replace_state = refusal.sqlstate
    entry.provokes = _POISON_STATE
    if plan.verdict is not Verdict.REFUSE:
        plan = Plan(Verdict.REFUSE, "", refusal=refusal)
    entry.decided = (*entry.decided, s.audit.decision(s.sid, "refusal", plan, entry.behind, text, "simple"))


_POISON_STATE: Final = POISON_STATE.encode()
_CANCELED: Final = Refusal("57014", "canceling statement due to user request")
_KINDS: Final = {
    tags.QUERY: expect.QUERY, tags.PARSE: expect.PARSE, tags.BIND: expect.BIND, tags.DESCRIBE: expect.DESCRIBE_STATEMENT,
    tags.EXECUTE: expect.EXECUTE, tags.FUNCTION_CALL: expect.FUNCTION,
}  # fmt: skip


def cancel(s: State, tag: int) -> None:
    """Refuse the client's current message, which has been held, because the client wants it so."""
    in_place(s, tag, _CANCELED)


def in_place(s: State, tag: int, refusal: Refusal) -> bool:
    """Refuse the client's current message, whatever it is."""
    scan = s.client
    kind = _KINDS.get(tag, expect.BIND)
    name = scan.buf[scan.body : scan.end].split(b"\0", 1)[0] if kind == expect.PARSE else b""
    return refuse(s, kind, refusal, None, "", name)


def poison_for(s: State, kind: int, name: bytes = b"") -> poison.Poison:
    """What must fail in the message's place.

    A pooler that keeps account of prepared statements ends the connection over a name it does not know, or knows already. There
    an unnamed text that cannot be parsed takes the place; it costs the unnamed statement, prepared again when it is used.
    """
    names = kind in (expect.BIND, expect.DESCRIBE_STATEMENT) or (kind == expect.PARSE and name)
    if not s.transient or not names:
        return poison.poison(kind, name)
    slot = s.statements.find(b"")
    if slot is not None:
        slot.lose()
    return poison.poison(expect.PARSE)


def malformed(s: State, kind: int) -> bool:
    """The server will say what is wrong with it, unless it must not see it: then it gets one of the same kind with nothing in it,
    and we say it in its words."""
    if s.masked:
        return refuse(s, kind, complaint(s), None, "", poisoned=poison.empty(s.client.buf[s.client.start]))
    s.queue.append(Expected(expect.REFUSED))
    s.batch_open = True
    return False


def complaint(s: State) -> Refusal:
    """What PostgreSQL finds wrong with the client's current message, which does not decode."""
    scan = s.client
    tag = scan.buf[scan.start]
    body = scan.buf[scan.body : scan.end]
    try:
        if tag == tags.QUERY:
            codec.decode_query(body)
        elif tag == tags.PARSE:
            codec.decode_parse(body)
        elif tag == tags.BIND:
            codec.decode_bind_names(body)
        elif tag == tags.EXECUTE:
            codec.decode_execute(body)
        else:
            codec.decode_target(body, "CLOSE" if tag == tags.CLOSE else "DESCRIBE")
    except codec.CodecError as error:
        return Refusal("08P01", str(error))
    return _MALFORMED


def read(s: State, data: bytes) -> str | Refusal:
    """The client's text, or why it cannot be read."""
    text = encodings.decode(data, s.codec, s.within)
    if text is not None:
        return text
    if s.codec is None:
        return _NO_CODEC
    if s.within is not None and encodings.decode(data, s.codec) is not None:
        return _NOT_IN_DATABASE
    return ENCODING if s.codec == "utf-8" else _UNSURE


def lenient(s: State, data: bytes) -> str:
    """For the record of a session that sees everything in clear."""
    return data.decode(s.codec or "utf-8", "backslashreplace")
