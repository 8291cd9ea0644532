"""The client's half for the extended protocol: Parse, Bind, Describe, Execute and Close.

Handlers as in `frontend`. Manual: protocol-flow "Extended Query".
"""

from __future__ import annotations

from typing import Final

from policies.attributes import of_comment
from proxy.session import (
    behind,
    changes,
    commands,
    cursors,
    expect,
    failing,
    gates,
    metering,
    parameters,
    plans,
    poison,
    pooling,
    probe,
    probing,
    renewal,
    unread,
)
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.refusing import UNENCODABLE, UNPLANNED, lenient, malformed, poison_for, read, refuse
from proxy.session.state import State
from proxy.session.statements import NO_TYPES, Record
from proxy.wire import codec, encodings, tags
from rewrite.plan import Plan, Refusal, StatementPlan, Verdict

_RESERVED: Final = Refusal("42939", "names that begin with pgveil. are reserved", "Choose another name.")
_UNREADABLE_NAME: Final = Refusal(
    "22021", "the name of a prepared statement or portal cannot be read with certainty in the session's client_encoding",
    "Use ASCII names.",
)  # fmt: skip
_UNKNOWN_PORTAL: Final = Plan(Verdict.PASS, "", (StatementPlan("PORTAL"),))
_STATEMENT: Final = ord("S")
_PORTAL: Final = ord("P")


def on_parse(s: State) -> bool:
    scan = s.client
    if scan.large:
        return unread.on_parse(s)
    if s.gate and (done := gates.before_text(s)) is not None:
        return done
    s.refresh_view()
    if s.wary and (done := gates.confirm(s)) is not None:
        return done
    buf, body, end = scan.buf, scan.body, scan.end
    middle = buf.find(0, body, end)
    text_end = buf.find(0, middle + 1, end) if middle >= 0 else -1
    if text_end < 0 or end - text_end < 3 or end - text_end - 3 != 4 * int.from_bytes(buf[text_end + 1 : text_end + 3]):
        return malformed(s, expect.PARSE)
    name = buf[body:middle]
    data = buf[middle + 1 : text_end]
    text: str | Refusal = encodings.decode(data, s.codec, s.within) or read(s, data)
    unreadable = None
    comment: tuple[tuple[str, str], ...] = ()
    if s.commented:
        comment = of_comment(text, s.commented) if isinstance(text, str) else ()
        if (done := gates.act_for(s, comment)) is not None:
            return done
    if s.masked:
        passing = None
        if not isinstance(text, str):
            passing = failing.unreadable(s, lenient(s, data), text)
            if passing is None:
                return refuse(s, expect.PARSE, text, None, lenient(s, data), name)
            unreadable, text = text, passing.text
        if name.startswith(poison.RESERVED) and not probe.is_question(name, text):
            return refuse(s, expect.PARSE, _RESERVED, None, text, name)
        if not name.isascii() and s.name(name)[:1] == b"\0":
            return refuse(s, expect.PARSE, _UNREADABLE_NAME, None, text, name)
        plan = passing or s.plan(text, True, buf[text_end + 1 : end] if end - text_end > 3 else NO_TYPES)
        verdict = plan.verdict
        if verdict is Verdict.NEED:
            refusal = gates.need(s, plan)
            return True if refusal is None else refuse(s, expect.PARSE, refusal, plan, text, name)
        if verdict is Verdict.REFUSE:
            return refuse(s, expect.PARSE, plan.refusal or UNPLANNED, plan, text, name)
        if s.pooled and (met := pooling.before(s, plan, text)) is not False:
            return met if isinstance(met, bool) else refuse(s, expect.PARSE, met, plan, text, name)
    else:
        if not isinstance(text, str):
            unreadable, text = text, lenient(s, data)
        plan = s.plan(text, True)
        verdict = Verdict.PASS
        if plan.own:
            verdict = plan.verdict
            if verdict is Verdict.REFUSE:
                return refuse(s, expect.PARSE, plan.refusal or UNPLANNED, plan, text, name)
    if renewal.must_wait(s, plan):
        return True
    out = None
    if verdict is Verdict.REWRITE and plan.text != text:
        out = encodings.encode(plan.text, s.codec)
        if out is None:
            return refuse(s, expect.PARSE, UNENCODABLE, plan, text, name)
    if s.transient and name:
        if pooling.is_taken(s, name):
            return refuse(s, expect.PARSE, _duplicate(s, name), None, text, poisoned=poison_for(s, expect.BIND))
        pooling.take_name(s, name)
    if out is not None:
        s.drop()
        s.to_server.append(codec.message(tags.PARSE, b"%b\0%b%b" % (name, out, buf[text_end:end])))
    entry = Expected(expect.PARSE)
    entry.plan = plan
    record = Record(text, plan.text if s.masked or plan.own else text, plan, s.stamp, True)
    if end - text_end > 3:
        record.types = buf[text_end + 1 : end]
    if comment:
        record.comment = comment
    if unreadable is not None:
        record.unreadable = unreadable
    if not s.standard_strings:
        record.standard_strings = False
    slot = s.statements.slot(s.name(name))
    record.link = s.link
    slot.add(record)
    slot.batch = s.batch
    entry.slot = slot
    entry.record = record
    s.queue.append(entry)
    s.batch_open = True
    if s.tried_catalog or s.probe_error is not None:
        gates.decided(s)
    return False


def on_bind(s: State) -> bool:
    scan = s.client
    if not scan.count:  # more of a message that began in an earlier chunk
        if s.drop_rest:
            s.drop()
        return False
    s.drop_rest = False
    if s.gate:
        if (done := gates.before_extended(s)) is not None:
            return done
        if s.masked and s.gate & st.DDL:
            return gates.wait_ddl(s)
    s.refresh_view()
    if s.wary and (done := gates.confirm(s)) is not None:
        return done
    buf, body, end = scan.buf, scan.body, scan.end
    middle = buf.find(0, body, end)
    last = buf.find(0, middle + 1, end) if middle >= 0 else -1
    if last < 0:
        return malformed(s, expect.BIND)
    portal, name = buf[body:middle], buf[middle + 1 : last]
    if s.masked and not (portal.isascii() and name.isascii()):
        if s.gate & st.UNSETTLED and (done := gates.before_text(s)) is not None:
            return done
        if s.name(portal)[:1] == b"\0" or s.name(name)[:1] == b"\0":
            return refuse(s, expect.BIND, _UNREADABLE_NAME, None, "")
    slot = s.statements.find(s.name(name))
    record = slot.latest if slot is not None else None
    if s.commented and (done := gates.act_for(s, record.comment if record is not None else ())) is not None:
        return done
    if s.masked:
        if record is None:
            return refuse(s, expect.BIND, _missing(s, name), None, "")
        if portal.startswith(poison.RESERVED) and not portal == name == probe.NAME:
            return refuse(s, expect.BIND, _RESERVED, None, record.text)
        if s.pooled and (met := pooling.before(s, record.plan, record.text)) is not False:
            return met if isinstance(met, bool) else refuse(s, expect.BIND, met, None, record.text)
    if slot is not None and slot.stamp != s.stamp:
        answer = renewal.renew(s, slot, expect.BIND, name)
        if answer is True:
            return True
        if answer is not False:
            return refuse(s, expect.BIND, answer, None, record.text if record else "")
        record = slot.latest
    if record is not None and renewal.must_wait(s, record.plan):
        return True
    if record is not None and record.plan.own:
        asked = commands.bind(s, record, portal, last)
        if asked is not None:
            return asked if isinstance(asked, bool) else refuse(s, expect.BIND, asked, None, record.text)
    binds = s.audit.bound(parameters.said(s, record)) if record is not None and (s.audit.values or s.metered) else None
    if s.probing and slot is not None and (spent := probing.of_bind(s, slot)) is not None:
        return refuse(s, expect.BIND, spent, None, record.text if record is not None else "", binds=binds)
    entry = Expected(expect.BIND)
    if record is not None:
        entry.plan = record.plan
    entry.portal = s.statements.bind(s.name(portal), record, s.stamp, s.view_stamp, s.batch)
    entry.portal.binds = binds
    s.queue.append(entry)
    s.batch_open = True
    if s.tried_catalog or s.probe_error is not None:
        gates.decided(s)
    return False


def _duplicate(s: State, name: bytes) -> Refusal:
    """On this server connection it may not be there; for the client it is."""
    return Refusal("42P05", f'prepared statement "{name.decode(s.codec or "ascii", "replace")}" already exists')


def _missing(s: State, name: bytes) -> Refusal:
    shown = name.decode(s.codec or "ascii", "replace")
    what = f'prepared statement "{shown}"' if name else "unnamed prepared statement"
    return Refusal("26000", f"{what} does not exist")


def on_describe(s: State) -> bool:
    if s.gate and (done := gates.before_extended(s)) is not None:
        return done
    try:
        target = codec.decode_target(s.client.buf[s.client.body : s.client.end])
    except codec.CodecError:
        return malformed(s, expect.DESCRIBE_STATEMENT)
    if target.kind == _STATEMENT:
        return _describe_statement(s, target.name)
    portal = s.statements.portals.get(s.name(target.name))
    entry = Expected(expect.DESCRIBE_PORTAL)
    if portal is not None and (record := portal.record) is not None:
        record.described_in = s.batch
        entry.record = record
        entry.plan = record.plan
    s.queue.append(entry)
    s.batch_open = True
    return False


def _describe_statement(s: State, name: bytes) -> bool:
    if s.masked and s.gate & st.DDL:
        return gates.wait_ddl(s)
    s.refresh_view()
    if s.masked and not name.isascii():
        if s.gate & st.UNSETTLED and (done := gates.before_text(s)) is not None:
            return done
        if s.name(name)[:1] == b"\0":
            return refuse(s, expect.DESCRIBE_STATEMENT, _UNREADABLE_NAME, None, "")
    slot = s.statements.find(s.name(name))
    record = slot.latest if slot is not None else None
    if s.commented and (done := gates.act_for(s, record.comment if record is not None else ())) is not None:
        return done
    if slot is None or record is None:
        if s.masked:
            return refuse(s, expect.DESCRIBE_STATEMENT, _missing(s, name), None, "")
    elif slot.stamp != s.stamp:
        if s.pooled and s.masked and (met := pooling.before(s, record.plan, record.text)) is not False:
            return met if isinstance(met, bool) else refuse(s, expect.DESCRIBE_STATEMENT, met, None, record.text)
        answer = renewal.renew(s, slot, expect.DESCRIBE_STATEMENT, name)
        if answer is True:
            return True
        if answer is not False:
            return refuse(s, expect.DESCRIBE_STATEMENT, answer, None, record.text)
        record = slot.latest
    entry = Expected(expect.DESCRIBE_STATEMENT)
    if record is not None:
        record.described_in = s.batch
        entry.record = record
        entry.plan = record.plan
    s.queue.append(entry)
    s.batch_open = True
    if s.tried_catalog or s.probe_error is not None:
        gates.decided(s)
    return False


def on_execute(s: State) -> bool:
    if s.gate and (done := gates.before_extended(s)) is not None:
        return done
    s.refresh_view()
    scan = s.client
    end = scan.buf.find(0, scan.body, scan.end)
    if end < 0 or scan.end - end != 5:
        return malformed(s, expect.EXECUTE)
    name = scan.buf[scan.body : end]
    if s.masked and s.gate & st.UNSETTLED and not name.isascii() and (done := gates.before_text(s)) is not None:
        return done
    portal = s.statements.portals.get(s.name(name))
    record = portal.record if portal is not None else None
    if s.commented and (done := gates.act_for(s, record.comment if record is not None else ())) is not None:
        return done
    if record is None or (portal is not None and portal.cursor):
        plan, text = _UNKNOWN_PORTAL, ""
    else:
        plan, text = record.plan, record.text
    binds = portal.binds if portal is not None else None
    entry = Expected(expect.EXECUTE)
    if portal is None:
        if s.masked and (unknown := cursors.unknown(s, name)) is not False:
            return unknown if isinstance(unknown, bool) else refuse(s, expect.EXECUTE, unknown, None, text)
    elif portal.stamp != s.stamp or portal.before is not None or portal.cursor:
        answer = cursors.check(s, portal)
        if answer is True:
            return True
        if answer is not False:
            return refuse(s, expect.EXECUTE, answer, None, text)
        if record is not None and not portal.cursor:
            plan = record.plan
    bits = s.bits(plan)
    if bits & plans.EXECUTES and (answer := renewal.check_sql_execute(s, plan)):
        return answer if isinstance(answer, bool) else refuse(s, expect.EXECUTE, answer, plan, text, binds=binds)
    if s.masked and record is not None and not record.judged and record.described_in != s.batch:
        describe = Expected(expect.DESCRIBE_PORTAL)
        describe.swallow = True
        describe.record = record
        record.described_in = s.batch
        s.inject(codec.encode_describe(codec.Target(_PORTAL, name)))
        s.queue.append(describe)
    if bits & plans.FETCHES and (answer := cursors.check_fetches(s, plan)):
        return answer if isinstance(answer, bool) else refuse(s, expect.EXECUTE, answer, plan, text, binds=binds)
    if s.probing and bits & plans.EXECUTES and (spent := probing.of_executes(s, plan)) is not None:
        return refuse(s, expect.EXECUTE, spent, plan, text, binds=binds)
    if s.metered and (answer := metering.before_execute(s, entry, plan, portal, text)) is not False:
        return answer if isinstance(answer, bool) else refuse(s, expect.EXECUTE, answer, plan, text, binds=binds)
    if plan.failure is not None:
        if (told := failing.before(s, plan)) is not None:
            return refuse(s, expect.EXECUTE, told, None, text, binds=binds)
        failing.doubt(s, record, portal)
    if bits:
        changes.apply(s, entry, plan, bits, text, record.unreadable if record is not None else None)
    named = bits & behind.NAMES or (portal is not None and portal.cursor)
    s.decide(entry, "statement", plan, text, "extended", binds, behind.told(s, plan, portal) if named else None)
    s.queue.append(entry)
    s.batch_open = True
    return False


def on_close(s: State) -> bool:
    if s.gate and (done := gates.before_extended(s)) is not None:
        return done
    try:
        target = codec.decode_target(s.client.buf[s.client.body : s.client.end])
    except codec.CodecError:
        return malformed(s, expect.CLOSE)
    entry = Expected(expect.CLOSE)
    if target.kind == _STATEMENT:
        entry.slot = s.statements.find(s.name(target.name))
    else:
        entry.portal = s.statements.portals.get(s.name(target.name))
    s.queue.append(entry)
    s.batch_open = True
    return False
