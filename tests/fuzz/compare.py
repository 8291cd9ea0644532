"""Two transcripts of one conversation: equal message by message, but for what is documented to differ.

Everywhere: process numbers and secret keys; relations that the conversation itself has made have another OID on each server.
For masked logins (docs/protocol.md): DETAIL, CONTEXT and internal queries are not there; a masked column is no longer a table's
column; what the policy refuses has another text, at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.wire import codec, tags, trace
from tests.fuzz.conversation import STAND_IN_STATES

FIRST_USER_OID = 16384
RECORD = 2249
_WITHHELD = "DWqpFLR"
"""What masked logins do not get of errors and notices, or may get otherwise: pgveil says some of them in the server's stead."""
REFUSED = "ErrorResponse refused"
_UNKNOWN = 'ErrorResponse S "ERROR" V "ERROR" C "42P01"'
"""pgveil looks for the relations of a text at Parse; the server looks for those of utility statements when it runs them."""
_MULTIPLE = "cannot insert multiple commands into a prepared statement"
_ABORTED = "current transaction is aborted"
"""Both are true of such a Parse in a failed transaction; pgveil may have to ask how names resolve, and that is answered first."""
_PIPELINE = "cannot be executed within a pipeline"
"""A question of pgveil's own was a statement before this one (docs/protocol.md, known limits)."""
_BEFORE_ROWS = ("ParseComplete", "BindComplete", "NoData", "ParameterDescription")


@dataclass(frozen=True, slots=True)
class World:
    """What has to be known to compare."""

    relations: frozenset[int]
    """OIDs that all databases share."""
    masked: frozenset[tuple[int, int]]
    """Table and attribute of the masked columns."""
    rows: frozenset[int]
    """Row types of the relations with masked columns."""


def shown(messages: Sequence[bytes], pid: int, world: World, is_masked: bool) -> list[str]:
    """The transcript in text form, without what may differ."""
    return [_show(message, pid, world, is_masked) for message in messages]


def _show(message: bytes, pid: int, world: World, is_masked: bool) -> str:
    tag, body = message[0], message[5:]
    if tag == tags.BACKEND_KEY_DATA:
        return "BackendKeyData"
    if tag == tags.NOTIFICATION_RESPONSE:
        n = codec.decode_notification(body)
        return f"NotificationResponse {'own' if n.pid == pid else 'other'} {n.channel!r} {n.payload!r}"
    if tag == tags.ROW_DESCRIPTION:
        return trace.show(
            codec.encode_row_description([_field(f, world, is_masked) for f in codec.decode_row_description(body)]), False
        )
    if tag in (tags.ERROR_RESPONSE, tags.NOTICE_RESPONSE):
        return _fields(tag, codec.decode_fields(body), is_masked)
    return trace.show(message, False)


def _field(field: codec.Field, world: World, is_masked: bool) -> codec.Field:
    table, attnum = field.table, field.attnum
    if is_masked and (table, attnum) in world.masked:
        table = attnum = 0
    elif table >= FIRST_USER_OID and table not in world.relations:
        table = FIRST_USER_OID
    if is_masked and field.type_oid in world.rows:  # a row of masked values is a record (docs/statements.md)
        return codec.Field(field.name, 0, 0, RECORD, field.size, field.typmod, field.format)
    return codec.Field(field.name, table, attnum, field.type_oid, field.size, field.typmod, field.format)


def _fields(tag: int, fields: codec.Fields, is_masked: bool) -> str:
    values = dict(fields)
    if is_masked and tag == tags.ERROR_RESPONSE and _is_refusal(values):
        return f"{REFUSED} {values['C'].decode()} {values['M'].decode('utf-8', 'replace')}"
    dropped = _WITHHELD if is_masked else ""
    kept = tuple((k, v) for k, v in fields if k not in dropped and not (is_masked and k == "M" and values["C"] == b"08P01"))
    return trace.show(codec.message(tag, codec.encode_error(kept)[5:]), False)


def _is_refusal(values: dict[str, bytes]) -> bool:
    """pgveil's, or that of what stands in for it at the direct server."""
    text = values["M"]
    if text.startswith(b"pgveil: "):
        return True
    return values["C"] in STAND_IN_STATES and any(x in text for x in (b"refused_by_policy", b"function 0", b"OID 0"))


_FATAL_VIOLATION = '"08P01"'


@dataclass(frozen=True, slots=True)
class Verdict:
    difference: str | None
    """The first place where they differ, with what stands around it."""
    own_words: tuple[str, ...] = ()
    """Errors, equal otherwise, that pgveil has put in its own words, though it is not the policy that refuses."""
    parted: bool = False
    """A known limit (docs/protocol.md): from there on the two are not in the same state."""


def judge(direct: Sequence[str], proxied: Sequence[str]) -> Verdict:
    direct, proxied = _without_violation(direct), _without_violation(proxied)
    own: list[str] = []
    i = j = 0
    while i < len(direct) and j < len(proxied):
        one, other = direct[i], proxied[j]
        if one != other:
            at = i
            if other.startswith((REFUSED, _UNKNOWN)):
                while at < len(direct) and direct[at].startswith(_BEFORE_ROWS):
                    at += 1
            if at > i or _PIPELINE in other:
                return Verdict(None, (*own, f"{other}  <-  (later)"), True)
            is_known = other.startswith((REFUSED, _UNKNOWN)) or (_MULTIPLE in one and _ABORTED in other)
            if not one.startswith("ErrorResponse") or not is_known:
                return Verdict(_around(direct, proxied, i, j), tuple(own))
            if not one.startswith(REFUSED):
                own.append(f"{other}  <-  {one}")
        i += 1
        j += 1
    return Verdict(None if i == len(direct) and j == len(proxied) else _around(direct, proxied, i, j), tuple(own))


def _without_violation(transcript: Sequence[str]) -> list[str]:
    """A session that ends because the client has broken the protocol: both say so, in their own words."""
    out = list(transcript)
    ended = False
    while out and out[-1].startswith("ErrorResponse") and _FATAL_VIOLATION in out[-1] and (ended or '"FATAL"' in out[-1]):
        out.pop()
        ended = True
    return [*out, "ended by a violation"] if ended else out


def _around(direct: Sequence[str], proxied: Sequence[str], i: int, j: int) -> str:
    lines = [f"  both     {_cut(x)}" for x in direct[max(0, i - 4) : i]]
    lines += [f"  direct   {_cut(x)}" for x in direct[i : i + 3]] or ["  direct   (end)"]
    lines += [f"  pgveil   {_cut(x)}" for x in proxied[j : j + 3]] or ["  pgveil   (end)"]
    return "\n".join(lines)


def _cut(text: str) -> str:
    return text if len(text) < 240 else text[:240] + "…"
