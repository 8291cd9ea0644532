"""Statements planned under another policy, catalog or name resolution, when the client uses them again.

The server reads a statement again when search_path has changed since it was prepared: relations, functions and
operators may then be others. So a statement whose plan depends on name resolution is planned again here too, and when
resolution is not known at that moment, the server is asked first.

If today's plan sends the same text, nothing happens. If it sends another one, the statement is prepared again in front
of the client's message: Close and Parse of ours under the client's name, replies swallowed. The client notices
nothing, unless the Parse fails: then its error is the answer to the client's message, as PostgreSQL itself answers when
a plan cannot be made again. A refusal of the new plan is a refusal in place.

A client that has been told the types of the result or the parameters relies on them (binary formats). So if it has,
the new statement is described before the client's Bind goes on, and other types give PostgreSQL's own `cached plan
must not change result type`. A statement of SQL's PREPARE is prepared again the same way, by running the PREPARE itself, if that
stood alone in its text. Portals and cursors: `cursors`.

In the server: src/backend/utils/cache/plancache.c, RevalidateCachedQuery.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from proxy.session import expect, failing, gates, plans, poison
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.refusing import UNENCODABLE
from proxy.session.state import State
from proxy.session.statements import MIXED, Record, Slot
from proxy.wire import codec, encodings, tags
from proxy.wire.codec import Field
from rewrite.plan import Explain, Plan, Refusal, Resolution, Verdict

STALE: Final = Refusal("0A000", poison.CACHED_PLAN, "What you may see has changed; prepare the statement again.")
STALE_SQL: Final = Refusal(
    "0A000",
    poison.CACHED_PLAN,
    "What you may see has changed; DEALLOCATE the statement and PREPARE it again.",
)
_MOVED: Final = Refusal(
    "0A000", "an earlier statement of the same query string changes what names mean", "Send the statements one by one."
)
_NOT_HERE: Final = Refusal(
    "0A000",
    "behind a pooler that shares server connections, EXECUTE finds only what the same transaction has prepared",
    "PREPARE and EXECUTE in one transaction, or let the driver prepare the statement (Parse, Bind).",
)
_UNEXPLAINED: Final = Refusal(
    "0A000", "EXPLAIN EXECUTE is possible of statements made by SQL's PREPARE only", "Explain the query itself."
)
NO_ROWS: Final = b""
"""The shape of a statement that returns no rows."""
_STATEMENT: Final = ord("S")
_PORTAL: Final = ord("P")
_CHORE: Final = poison.RESERVED + b"chore"


def shape(fields: tuple[Field, ...]) -> bytes:
    """What a client may rely on when it reads rows: number and types of the columns."""
    types = b"".join(f.type_oid.to_bytes(4, "big") for f in fields)
    return blake2b(b"%d " % len(fields) + types, digest_size=16).digest()


def outdated(s: State, record: Record) -> bool | Refusal | Plan:
    """A statement of an earlier stamp under today's policy and catalog.

    False: it may run as the server has it. True: the current message is held. A refusal: it may not run. A plan: it
    may, but the server has to be given another text.
    """
    if record.stamp == s.stamp:
        return False
    why = record.plan.failure
    if why is not None and record.unreadable is not None and record.link == s.link and failing.is_exempt(s, why):
        record.stamp = s.stamp
        return False
    if record.unread:
        if s.masked or record.link != s.link:
            return record.unreadable or STALE
        record.stamp = s.stamp
        return False
    if s.masked and not s.tx_ddl and record.stamp in s.stamps.values() and not record.misfit:  # only name resolution has changed
        plan = s.plan_anywhere(record.text, record.extended, record.types)
        if plan.text == record.sent and plan.verdict in _GOES_UPSTREAM:
            record.stamp = s.stamp
            return False
    if s.gate & st.UNSETTLED and gates.before_text(s):
        return True
    if record.unreadable is not None and (s.masked or record.link != s.link):
        return record.unreadable
    if s.masked and record.tangled:
        return STALE
    if record.standard_strings != s.standard_strings and "\\" in record.text:
        return STALE  # the server would read the text differently today
    plan = s.plan(record.text, record.extended, record.types)
    sent = plan.text if plan.own else record.text
    if s.masked:
        if plan.verdict is Verdict.NEED:
            refusal = gates.need(s, plan)
            return True if refusal is None else refusal
        if plan.verdict is Verdict.REFUSE:
            return plan.refusal or STALE
        sent = plan.text
    if sent != record.sent or record.link != s.link:
        return plan
    if record.misfit:
        return STALE
    record.plan = plan
    record.stamp = s.stamp
    record.judged = False
    record.described_in = 0
    return False


def renew(s: State, slot: Slot, message: int, name: bytes) -> bool | Refusal:
    """Make the statement right before a message that uses it by `name`: a Bind or, of the statement, a Describe.

    False: the message may go on. True: it is held. Otherwise why it is refused.
    """
    latest = slot.latest
    if latest is not None and latest.stamp == s.stamp and slot.batch == s.batch:
        return False
    candidates = slot.candidates()
    if len(candidates) > 1 or _is_changing(s, slot, candidates[0]):
        return gates.wait(s, st.DRAIN) if s.queue else STALE
    record = candidates[0]
    answer = outdated(s, record)
    if not isinstance(answer, Plan):
        slot.refresh()
        return answer
    if record.from_sql:
        return STALE_SQL
    return _prepare_again(s, slot, record, answer, message, name)


def _is_changing(s: State, slot: Slot, record: Record) -> bool:
    """Replies are under way that decide what the name stands for, or what the client knows of it."""
    return any(
        (e.kind == expect.CLOSE and e.slot is slot)
        or (e.kind in _DESCRIBES and e.record is record and not e.swallow)
        or e.changes & plans.DEALLOCATES
        for e in s.queue
    )


def _prepare_again(s: State, slot: Slot, old: Record, plan: Plan, message: int, name: bytes) -> bool | Refusal:
    sent = plan.text if s.masked or plan.own else old.text
    text = encodings.encode(sent, s.codec)
    if text is None:
        return UNENCODABLE
    record = old.successor(sent, plan, s.stamp)
    record.link = s.link
    target = codec.Target(_STATEMENT, name)
    close = Expected(expect.CLOSE)
    parse = Expected(expect.PARSE)
    close.swallow = parse.swallow = True
    close.renews = True
    close.slot = parse.slot = slot
    parse.record = record
    parse.plan = plan
    data = codec.encode_close(target) + codec.message(tags.PARSE, b"%b\0%b\0%b" % (name, text, old.types))
    s.queue.append(close)
    s.queue.append(parse)
    slot.add(record)
    slot.batch = s.batch
    s.batch_open = True
    known = old.shape is not None or old.inputs is not None
    if message == expect.DESCRIBE_STATEMENT or not known or (sent == old.sent and known_under(s) == old.known_under):
        s.inject(data)
        return False
    describe = Expected(expect.DESCRIBE_STATEMENT)
    describe.swallow = describe.last = True
    describe.slot = slot
    describe.record = record
    record.described_in = s.batch
    s.queue.append(describe)
    s.inject(data + codec.encode_describe(target) + codec.FLUSH)
    s.wait = st.PROBE
    return True


def known_under(s: State) -> tuple[str, Resolution | None]:
    """What the types of a text depend on. The policy is in the text itself."""
    return (s.view or s.refresh_view()).catalog.version, s.resolution


def compare_inputs(head: Expected, body: bytes) -> None:
    """The parameters of a statement that has been prepared again."""
    record = head.record
    if record is not None and record.inputs is not None and record.inputs != body:
        record.misfit = True


def compare(s: State, head: Expected, found: bytes) -> None:
    """Its result, the last of the replies for which the client's message waits."""
    s.wait = st.NOTHING
    record, slot = head.record, head.slot
    if record is None or slot is None:
        return
    if record.shape is not None and record.shape != found:
        record.misfit = True
    if record.misfit:
        record.stamp = MIXED
        slot.refresh()


def check_sql_execute(s: State, plan: Plan) -> bool | Refusal:
    """A statement that runs a SQL-level prepared statement must find it planned under today's policy. The same answers.

    What stands in front of it in the same query string may change name resolution; then the prepared statement must be one
    that does not depend on it.
    """
    made: dict[str, int] = {}
    """Prepared in this query string, after so many changes of name resolution: the planner has followed these."""
    moved = 0
    for statement in plan.statements:
        bits = statement.effects.value
        name = statement.prepared
        if name is not None and bits & plans.PREPARES:
            made[name] = moved
        elif name is not None and bits & plans.EXECUTES:
            if name in made:
                if moved > made[name]:
                    return _MOVED
            else:
                slot = s.statements.find(s.sql_name(name))
                if s.transient and s.masked and (slot is None or slot.latest is None or slot.latest.link != s.link):
                    return _NOT_HERE
                if slot is not None:
                    answer = _runs_anywhere(s, slot) if moved else _runs_now(s, slot)
                    if answer is not False:
                        return answer
                elif s.masked and s.been_clear:
                    return STALE_SQL  # made by a function, or by a text that could not be read
                if s.masked and statement.explains:
                    refusal = _hidden(s, slot, name, statement.explains)
                    if refusal is not None:
                        return refusal
                if slot is not None:
                    bits |= slot.latest.effects if slot.latest is not None else 0
        moved += bool(bits & plans.RESOLUTION) or bool(bits & plans.TRANSACTION_END and s.dirty)
    return False


def must_wait(s: State, plan: Plan) -> bool:
    """Whether the current Parse or Bind, of a statement that runs a SQL-level prepared statement, is held until that has been
    prepared again: its result may be described before it runs."""
    if not plan.statements or plan.statements[0].prepared is None or not s.bits(plan) & plans.EXECUTES:
        return False
    return check_sql_execute(s, plan) is True


def _hidden(s: State, slot: Slot | None, name: str, asked: Explain) -> Refusal | None:
    """Why the statement of that name may not be explained like this."""
    for record in slot.candidates() if slot is not None else ():
        made = [p for p in record.plan.statements if p.prepared == name and p.effects.value & plans.PREPARES]
        if not record.from_sql or record.stamp != s.stamp or len(made) != 1:
            return _UNEXPLAINED
        for shown, refusal in made[0].hides:
            if shown & asked:
                return refusal
    return None  # where the session knows nothing of that name, neither does the server


def _runs_now(s: State, slot: Slot) -> bool | Refusal:
    if slot.stamp == s.stamp:
        return False
    candidates = slot.candidates()
    for record in candidates:
        answer = outdated(s, record)
        if isinstance(answer, Plan):
            return _prepare_sql_again(s, slot, record, answer) if len(candidates) == 1 else STALE_SQL
        if answer is STALE:
            return STALE_SQL
        if answer is not False:
            return answer
    slot.refresh()
    return False


def _prepare_sql_again(s: State, slot: Slot, old: Record, plan: Plan) -> bool | Refusal:
    """SQL's PREPARE once more, in front of the client's message, which is held until that has worked. Its text has to hold
    nothing else; a statement of which the client knows the types, or about which there is doubt, stays refused."""
    if s.probe_error is not None:
        return s.probe_error
    known = old.shape is not None or old.inputs is not None or old.link != s.link
    if not old.from_sql or known or len(plan.statements) != 1 or not slot.name.isascii() or s.tx == tags.FAILED:
        return STALE_SQL
    if s.queue:
        return gates.wait(s, st.DRAIN)
    sent = plan.text if s.masked else old.text
    text = encodings.encode(sent, s.codec)
    if text is None:
        return UNENCODABLE
    record = old.successor(sent, plan, s.stamp)
    record.link = s.link
    alone = not s.batch_open
    kinds = [expect.CLOSE, expect.PARSE, expect.BIND, expect.EXECUTE, expect.CLOSE, expect.CLOSE]
    entries = [Expected(kind) for kind in (kinds if s.batch_open else [*kinds, expect.SYNC])]
    for entry in entries:
        entry.swallow = entry.renews = True
        entry.alone = alone
    entries[0].slot = slot
    entries[3].prepares = ((0, slot, record),)
    entries[3].changes = plans.PREPARES
    entries[-1].last = True
    slot.add(record)
    s.queue.extend(entries)
    s.inject(
        codec.encode_close(codec.Target(_STATEMENT, slot.name))
        + codec.encode_parse(codec.Parse(_CHORE, text))
        + codec.encode_bind(codec.Bind(_CHORE, _CHORE))
        + codec.encode_execute(codec.Execute(_CHORE))
        + codec.encode_close(codec.Target(_PORTAL, _CHORE))
        + codec.encode_close(codec.Target(_STATEMENT, _CHORE))
        + (codec.SYNC if alone else codec.FLUSH)
    )
    s.wait = st.PROBE
    return True


def _runs_anywhere(s: State, slot: Slot) -> bool | Refusal:
    """Whether the statement may run however names resolve."""
    if s.masked and s.tx_ddl:
        return _MOVED  # the transaction has made relations that the catalog does not show yet
    for record in slot.candidates() if s.masked else ():
        if record.link != s.link:
            return STALE_SQL
        if record.unreadable is not None or record.tangled or record.misfit or record.standard_strings != s.standard_strings:
            return STALE_SQL
        plan = s.plan_anywhere(record.text, record.extended, record.types)
        if plan.verdict is Verdict.NEED:
            return _MOVED
        if plan.verdict is Verdict.REFUSE:
            return plan.refusal or STALE_SQL
        if plan.text != record.sent:
            return STALE_SQL
    return False


_GOES_UPSTREAM: Final = (Verdict.PASS, Verdict.REWRITE)
_DESCRIBES: Final = (expect.DESCRIBE_STATEMENT, expect.DESCRIBE_PORTAL)
