"""The client's half of the session: what happens to each message the client sends.

Every handler looks at the current message of `state.client` and returns True when the message cannot be decided yet:
it is then kept, with everything behind it, and looked at again from the start when what it waits for has come.
Otherwise the message is forwarded as it is unless the handler drops or replaces it, and entries for its replies are
queued.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session import expect, plans, poison, probe
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.session.statements import MIXED, Record, Slot
from proxy.wire import codec, encodings, tags
from rewrite.plan import Need, Plan, Refusal, StatementPlan, Verdict

_STALE: Final = Refusal(
    "0A000", "cached plan must not change result type", "What you may see has changed; prepare the statement again."
)
_STALE_SQL: Final = Refusal(
    "0A000",
    "cached plan must not change result type",
    "What you may see has changed; DEALLOCATE the statement and PREPARE it again.",
)
_ENCODING: Final = Refusal("22021", "the text is not valid in the session's client_encoding")
_NO_CODEC: Final = Refusal(
    "0A000", "cannot read text in the session's client_encoding", "SET client_encoding TO 'UTF8'."
)
_UNENCODABLE: Final = Refusal("22P05", "the rewritten statement has no equivalent in the session's client_encoding")
_MALFORMED: Final = Refusal("08P01", "invalid message format")
_FUNCTION: Final = Refusal(
    "42501", "the FunctionCall message is not allowed in a session with masked data", "Use SELECT function(...)."
)
_UNKNOWN_NAME: Final = Refusal("42501", "a name in the statement is not known", "Check its spelling and schema.")
_UNRESOLVED: Final = Refusal("0A000", "cannot find out how names resolve in this session")
_RESERVED: Final = Refusal("42939", "names that begin with pgveil. are reserved")
_ABORTED: Final = Refusal("25P02", "current transaction is aborted, commands ignored until end of transaction block")

_UNKNOWN_PORTAL: Final = Plan(Verdict.PASS, "", (StatementPlan("PORTAL"),))
_CALL: Final = Plan(Verdict.PASS, "", (StatementPlan("CALL"),))


def _refusal_plan(refusal: Refusal) -> Plan:
    return Plan(Verdict.REFUSE, "", refusal=refusal)


class Violation(Exception):
    """The client does not speak the protocol; the session ends as PostgreSQL would end it."""


# Waiting.


def _wait(s: State, reason: int) -> bool:
    """Hold the current message; what is under way must be able to be answered meanwhile."""
    s.wait = reason
    if s.batch_open:
        s.inject(codec.FLUSH)
    return True


def _ask_server(s: State) -> bool:
    """Hold the current message and put the probe before it."""
    s.inject(probe.IN_BATCH if s.batch_open else probe.ALONE)
    s.queue.extend(probe.expected(s.batch_open))
    s.wait = st.PROBE
    return True


def _gate_text(s: State) -> bool | None:
    """Before a text is read. None: go on; otherwise what the handler returns."""
    gate = s.gate
    if gate & st.SKIPPING:
        s.drop()
        return False
    if gate & st.COPY_IN:
        raise Violation("unexpected message during COPY from stdin")
    if s.masked:
        if gate & st.DDL:
            return _wait_ddl(s)
        if gate & st.UNSETTLED:
            if s.batch_open:
                return _ask_server(s)
            if s.queue:
                return _wait(s, st.DRAIN)
            s.gate &= ~st.UNSETTLED
    return None


def _gate(s: State) -> bool | None:
    """Before an extended message without a text."""
    if s.gate & st.SKIPPING:
        s.drop()
        return False
    if s.gate & st.COPY_IN:
        raise Violation("unexpected message during COPY from stdin")
    return None


def _wait_ddl(s: State) -> bool:
    if s.ddl_unread:
        s.wants_catalog = True
    return _wait(s, st.DDL_DONE)


def _need(s: State, plan: Plan) -> Refusal | None:
    """Get what the plan asks for. None: the message is held; otherwise why it cannot be had."""
    if Need.RESOLUTION in plan.need and s.resolution is None:
        if s.probe_error is not None:
            return s.probe_error
        if s.tx == tags.FAILED and not s.queue and not s.batch_open:
            return _ABORTED
        _ask_server(s)
        return None
    if Need.CATALOG in plan.need:
        if s.tried_catalog:
            return plan.refusal or _UNKNOWN_NAME
        s.tried_catalog = True
        s.wants_catalog = True
        _wait(s, st.CATALOG)
        return None
    return _UNRESOLVED


def _decided(s: State) -> None:
    """The message that was held has been decided: the next one may ask again."""
    s.tried_catalog = False
    s.probe_error = None


# Refusing.


def _refuse(s: State, kind: int, refusal: Refusal, plan: Plan | None, text: str, name: bytes = b"") -> bool:
    """Put a poison in the place of the current message, our error in the place of its reply."""
    whole = kind in (expect.QUERY, expect.FUNCTION)
    data, provokes = poison.poison(kind, name)
    entry = Expected(expect.REFUSED_QUERY if whole else expect.REFUSED)
    entry.replace = poison.error(refusal, s.codec)
    entry.replace_state = refusal.sqlstate
    entry.provokes = provokes
    protocol = "simple" if kind == expect.QUERY else "function" if kind == expect.FUNCTION else "extended"
    if plan is None or plan.refusal is not refusal:
        plan = _refusal_plan(refusal)
    entry.seqs = (s.audit.decision(s.sid, "refusal", plan, 0, text, protocol),)
    entry.started = s.timer()
    s.evidence = True
    s.drop()
    s.to_server.append(data)
    s.queue.append(entry)
    s.batch_open = not whole
    _decided(s)
    return False


# Reading.


def _read(s: State, data: bytes) -> str | Refusal:
    """The client's text, or why it cannot be read."""
    text = encodings.decode(data, s.codec)
    if text is None:
        return _NO_CODEC if s.codec is None else _ENCODING
    return text


def _lenient(s: State, data: bytes) -> str:
    """For the record of a session that sees everything in clear."""
    return data.decode(s.codec or "utf-8", "backslashreplace")


def _revalidate(s: State, record: Record, stale: Refusal) -> Refusal | bool:
    """A statement planned under another policy or catalog may run when today's plan sends the same text.

    False: it may. True: the current message is held. Otherwise why it may not.
    """
    if record.stamp == s.stamp:
        return False
    if s.gate & st.UNSETTLED and _gate_text(s):
        return True
    plan = s.plan(record.text, record.extended)
    sent = record.text
    if s.masked:
        if plan.verdict is Verdict.NEED:
            refusal = _need(s, plan)
            return True if refusal is None else refusal
        if plan.verdict is Verdict.REFUSE:
            return plan.refusal or stale
        sent = plan.text
    if sent != record.sent:
        return stale
    record.plan = plan
    record.stamp = s.stamp
    record.judged = False
    record.described_in = 0
    return False


def _revalidate_all(s: State, slot: Slot, stale: Refusal) -> Refusal | bool:
    """The same for everything that the name may stand for at the server."""
    for record in slot.candidates():
        if bad := _revalidate(s, record, stale):
            return bad
    slot.refresh()
    return False


def _stale_execute(s: State, plan: Plan) -> Refusal | bool:
    """A statement that runs a SQL-level prepared statement must find it planned under today's policy."""
    made: set[str] = set()
    for statement in plan.statements:
        name = statement.prepared
        if name is None:
            continue
        bits = statement.effects.value
        if bits & plans.PREPARES:
            made.add(name)
        elif bits & plans.EXECUTES:
            slot = s.statements.find(name.encode(s.codec or "utf-8", "replace"))
            if name not in made and slot is not None and slot.stamp != s.stamp:
                bad = _revalidate_all(s, slot, _STALE_SQL)
                if bad:
                    return bad
    return False


def _apply_effects(s: State, entry: Expected, plan: Plan, bits: int, text: str) -> None:
    """Note what the statement may change, at the moment it is sent."""
    if bits & (plans.PREPARES | plans.EXECUTES):
        prepares = []
        for index, statement in enumerate(plan.statements):
            if statement.prepared is None:
                continue
            slot = s.statements.slot(statement.prepared.encode(s.codec or "utf-8", "replace"))
            if statement.effects.value & plans.PREPARES:
                sent = plan.text if s.masked else text
                record = Record(text, sent, plan, s.stamp, entry.kind == expect.EXECUTE, bits & ~plans.PREPARES)
                slot.add(record)
                prepares.append((index, slot, record))
            elif statement.effects.value & plans.EXECUTES and slot.latest is not None:
                bits |= slot.latest.effects
            s.statements.tidy(slot)
        entry.prepares = tuple(prepares)
    if bits & plans.TRANSACTION_END:
        if s.dirty:
            s.set_resolution(None)
            s.gate |= st.UNSETTLED
        if s.tx_ddl:
            bits |= plans.DDL
    if bits & plans.RESOLUTION:
        s.set_resolution(None)
        s.dirty = True
        s.batch_dirty = entry.kind == expect.EXECUTE
    if bits & plans.SETTINGS:
        s.gate |= st.UNSETTLED
        s.dirty = True
        s.batch_dirty = entry.kind == expect.EXECUTE
    if bits & plans.DDL:
        s.tx_ddl = True
        s.ddl_pending += 1
        s.gate |= st.DDL
    entry.changes = bits


# Messages.


def on_query(s: State) -> bool:
    if s.gate and (done := _gate_text(s)) is not None:
        return done
    scan = s.client
    s.refresh_view()
    end = scan.end - 1
    data = scan.buf[scan.body : end]
    text: str | Refusal
    if scan.buf[end] or end < scan.body:
        text = _MALFORMED
    elif 0 in data:
        text = _ENCODING
    else:
        text = encodings.decode(data, s.codec) or _read(s, data)
    if s.masked:
        if not isinstance(text, str):
            return _refuse(s, expect.QUERY, text, None, _lenient(s, data))
        plan = s.plan(text, False)
        verdict = plan.verdict
        if verdict is Verdict.NEED:
            refusal = _need(s, plan)
            return True if refusal is None else _refuse(s, expect.QUERY, refusal, plan, text)
        if verdict is Verdict.REFUSE:
            return _refuse(s, expect.QUERY, plan.refusal or _UNRESOLVED, plan, text)
    else:
        if not isinstance(text, str):
            text = _lenient(s, data)
        plan = s.plan(text, False)
        verdict = Verdict.PASS
    entry = Expected(expect.QUERY)
    bits = s.bits(plan)
    if bits:
        if bits & plans.EXECUTES and (stale := _stale_execute(s, plan)):
            return stale if isinstance(stale, bool) else _refuse(s, expect.QUERY, stale, plan, text)
        _apply_effects(s, entry, plan, bits, text)
    if verdict is Verdict.REWRITE and plan.text != text:
        out = encodings.encode(plan.text, s.codec)
        if out is None:
            return _refuse(s, expect.QUERY, _UNENCODABLE, plan, text)
        s.drop()
        s.to_server.append(codec.encode_query(out))
    s.decide(entry, "statement", plan, text, "simple")
    s.queue.append(entry)
    s.batch_open = False
    if s.tried_catalog or s.probe_error is not None:
        _decided(s)
    return False


def on_parse(s: State) -> bool:
    if s.gate and (done := _gate_text(s)) is not None:
        return done
    scan = s.client
    s.refresh_view()
    buf, body, end = scan.buf, scan.body, scan.end
    middle = buf.find(0, body, end)
    text_end = buf.find(0, middle + 1, end) if middle >= 0 else -1
    if text_end < 0 or end - text_end < 3 or end - text_end - 3 != 4 * int.from_bytes(buf[text_end + 1 : text_end + 3]):
        return _malformed(s, expect.PARSE)
    name = buf[body:middle]
    data = buf[middle + 1 : text_end]
    text: str | Refusal = encodings.decode(data, s.codec) or _read(s, data)
    if s.masked:
        if not isinstance(text, str):
            return _refuse(s, expect.PARSE, text, None, _lenient(s, data), name)
        if name.startswith(poison.RESERVED):
            return _refuse(s, expect.PARSE, _RESERVED, None, text, name)
        plan = s.plan(text, True)
        verdict = plan.verdict
        if verdict is Verdict.NEED:
            refusal = _need(s, plan)
            return True if refusal is None else _refuse(s, expect.PARSE, refusal, plan, text, name)
        if verdict is Verdict.REFUSE:
            return _refuse(s, expect.PARSE, plan.refusal or _UNRESOLVED, plan, text, name)
    else:
        if not isinstance(text, str):
            text = _lenient(s, data)
        plan = s.plan(text, True)
        verdict = Verdict.PASS
    if verdict is Verdict.REWRITE and plan.text != text:
        out = encodings.encode(plan.text, s.codec)
        if out is None:
            return _refuse(s, expect.PARSE, _UNENCODABLE, plan, text, name)
        s.drop()
        s.to_server.append(codec.message(tags.PARSE, b"%b\0%b%b" % (name, out, buf[text_end:end])))
    entry = Expected(expect.PARSE)
    entry.plan = plan
    record = Record(text, plan.text if s.masked else text, plan, s.stamp, True)
    slot = s.statements.slot(name)
    slot.add(record)
    entry.slot = slot
    entry.record = record
    s.queue.append(entry)
    s.batch_open = True
    if s.tried_catalog or s.probe_error is not None:
        _decided(s)
    return False


def _malformed(s: State, kind: int) -> bool:
    """The server will say what is wrong with it, unless it must not see it."""
    if s.masked:
        return _refuse(s, kind, _MALFORMED, None, "")
    s.queue.append(Expected(kind))
    s.batch_open = True
    return False


def on_bind(s: State) -> bool:
    scan = s.client
    if not scan.count:  # more of a message that began in an earlier chunk
        if s.drop_rest:
            s.drop()
        return False
    s.drop_rest = False
    if s.gate:
        if (done := _gate(s)) is not None:
            return done
        if s.masked and s.gate & st.DDL:
            return _wait_ddl(s)
    s.refresh_view()
    buf, body, end = scan.buf, scan.body, scan.end
    middle = buf.find(0, body, end)
    last = buf.find(0, middle + 1, end) if middle >= 0 else -1
    if last < 0:
        return _malformed(s, expect.BIND)
    portal, name = buf[body:middle], buf[middle + 1 : last]
    slot = s.statements.find(name)
    record = slot.latest if slot is not None else None
    entry = Expected(expect.BIND)
    if s.masked:
        if record is None:
            return _refuse(s, expect.BIND, _missing(s, name), None, "")
        if portal.startswith(poison.RESERVED):
            return _refuse(s, expect.BIND, _RESERVED, None, record.text)
    if slot is not None and slot.stamp != s.stamp:
        bad = _revalidate_all(s, slot, _STALE)
        if bad:
            return bad if isinstance(bad, bool) else _refuse(s, expect.BIND, bad, None, record.text if record else "")
    if record is not None:
        entry.plan = record.plan
    s.statements.bind(portal, record, s.stamp)
    s.queue.append(entry)
    s.batch_open = True
    if s.tried_catalog or s.probe_error is not None:
        _decided(s)
    return False


def _missing(s: State, name: bytes) -> Refusal:
    shown = name.decode(s.codec or "ascii", "replace")
    what = f'prepared statement "{shown}"' if name else "unnamed prepared statement"
    return Refusal("26000", f"{what} does not exist")


def on_describe(s: State) -> bool:
    if s.gate and (done := _gate(s)) is not None:
        return done
    try:
        target = codec.decode_target(s.client.buf[s.client.body : s.client.end])
    except codec.CodecError:
        return _malformed(s, expect.DESCRIBE_STATEMENT)
    if target.kind == _STATEMENT:
        slot = s.statements.find(target.name)
        record = slot.latest if slot is not None else None
        if record is None and s.masked:
            return _refuse(s, expect.DESCRIBE_STATEMENT, _missing(s, target.name), None, "")
        entry = Expected(expect.DESCRIBE_STATEMENT)
    else:
        portal = s.statements.portals.get(target.name[:63])
        record = portal.record if portal is not None else None
        entry = Expected(expect.DESCRIBE_PORTAL)
    if record is not None:
        record.described_in = s.batch
        entry.record = record
        entry.plan = record.plan
    s.queue.append(entry)
    s.batch_open = True
    return False


def on_execute(s: State) -> bool:
    if s.gate and (done := _gate(s)) is not None:
        return done
    s.refresh_view()
    scan = s.client
    end = scan.buf.find(0, scan.body, scan.end)
    if end < 0 or scan.end - end != 5:
        return _malformed(s, expect.EXECUTE)
    name = scan.buf[scan.body : end]
    portal = s.statements.portals.get(name[:63])
    record = portal.record if portal is not None else None
    if record is None:
        plan, text = _UNKNOWN_PORTAL, ""
    else:
        plan, text = record.plan, record.text
    entry = Expected(expect.EXECUTE)
    if s.masked:
        if portal is not None and portal.stamp != s.stamp:
            bad = _STALE if record is None or portal.stamp == MIXED else _revalidate(s, record, _STALE)
            if bad:
                return bad if isinstance(bad, bool) else _refuse(s, expect.EXECUTE, bad, None, text)
            portal.stamp = s.stamp
        if record is not None and not record.judged and record.described_in != s.batch:
            describe = Expected(expect.DESCRIBE_PORTAL)
            describe.swallow = True
            describe.record = record
            record.described_in = s.batch
            s.inject(codec.encode_describe(codec.Target(_PORTAL, name)))
            s.queue.append(describe)
    bits = s.bits(plan)
    if bits:
        if bits & plans.EXECUTES and (stale := _stale_execute(s, plan)):
            return stale if isinstance(stale, bool) else _refuse(s, expect.EXECUTE, stale, plan, text)
        _apply_effects(s, entry, plan, bits, text)
    s.decide(entry, "statement", plan, text, "extended")
    s.queue.append(entry)
    s.batch_open = True
    return False


def on_close(s: State) -> bool:
    if s.gate and (done := _gate(s)) is not None:
        return done
    try:
        target = codec.decode_target(s.client.buf[s.client.body : s.client.end])
    except codec.CodecError:
        return _malformed(s, expect.CLOSE) if not s.masked else _malformed(s, expect.BIND)
    entry = Expected(expect.CLOSE)
    if target.kind == _STATEMENT:
        entry.slot = s.statements.find(target.name)
    else:
        s.statements.portals.pop(target.name[:63], None)
    s.queue.append(entry)
    s.batch_open = True
    return False


def on_sync(s: State) -> bool:
    entry = Expected(expect.SYNC)
    gate = s.gate
    if gate & st.COPY_IN:
        entry.maybe = True
    elif gate & st.SKIPPING:
        s.gate = gate & ~st.SKIPPING
    if s.tripped_batch:
        s.tripped_batch = False
        entry.tripped = True
    s.queue.append(entry)
    s.batch_open = False
    s.batch += 1
    if s.batch_dirty:  # the batch may have been a transaction of its own and may fail as a whole
        s.batch_dirty = False
        s.set_resolution(None)
        s.gate |= st.UNSETTLED
    return False


def on_flush(s: State) -> bool:
    if s.gate & st.SKIPPING:
        s.drop()
    return False


def on_copy_data(s: State) -> bool:
    return False


def on_copy_end(s: State) -> bool:
    if s.gate & st.COPY_IN:
        s.gate &= ~st.COPY_IN
    elif s.queue and not s.gate & st.SKIPPING:
        s.queue.append(Expected(expect.COPY_END))
    return False


def on_function(s: State) -> bool:
    scan = s.client
    if not scan.count:
        if s.drop_rest:
            s.drop()
        return False
    s.drop_rest = False
    if s.gate and (done := _gate_text(s)) is not None:
        return done
    s.refresh_view()
    if s.masked:
        return _refuse(s, expect.FUNCTION, _FUNCTION, None, "")
    entry = Expected(expect.FUNCTION)
    s.decide(entry, "statement", _CALL, "", "function")
    s.queue.append(entry)
    s.batch_open = False
    return False


def on_terminate(s: State) -> bool:
    s.drop()
    s.end(None)  # sends a Terminate of its own
    return False


def on_password(s: State) -> bool:
    raise Violation(f"invalid frontend message type {tags.PASSWORD}")


_STATEMENT: Final = ord("S")
_PORTAL: Final = ord("P")

Handler = Callable[[State], bool]


def on_login_message(s: State, tag: int) -> bool:
    """Before the session is ready only the answers to authentication requests pass; the rest waits."""
    if tag == tags.PASSWORD:
        return False
    if tag == tags.TERMINATE:
        return on_terminate(s)
    s.wait = st.AUTHENTICATION
    return True


HANDLERS: Final[dict[int, Handler]] = {
    tags.QUERY: on_query,
    tags.PARSE: on_parse,
    tags.BIND: on_bind,
    tags.DESCRIBE: on_describe,
    tags.EXECUTE: on_execute,
    tags.CLOSE: on_close,
    tags.SYNC: on_sync,
    tags.FLUSH: on_flush,
    tags.COPY_DATA: on_copy_data,
    tags.COPY_DONE: on_copy_end,
    tags.COPY_FAIL: on_copy_end,
    tags.FUNCTION_CALL: on_function,
    tags.TERMINATE: on_terminate,
    tags.PASSWORD: on_password,
}
