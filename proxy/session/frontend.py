"""The client's half of the session: what happens to each message the client sends.

Every handler looks at the current message of `state.client` and returns True when the message cannot be decided yet:
it is then kept, with everything behind it, and looked at again from the start when what it waits for has come.
Otherwise the message is forwarded as it is unless the handler drops or replaces it, and entries for its replies are
queued.

Here are the table, the simple protocol, COPY, and what ends a batch or the session; prepared statements and portals are
in `extended`, what comes before the session is ready in `login`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policies.attributes import of_comment
from proxy.session import (
    behind,
    changes,
    commands,
    cursors,
    expect,
    extended,
    failing,
    gates,
    metering,
    plans,
    pooling,
    probing,
    renewal,
    unread,
)
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.refusing import UNENCODABLE, UNPLANNED, complaint, lenient, malformed, read, refuse, refuse_behind
from proxy.session.state import State
from proxy.wire import codec, encodings, tags
from rewrite.plan import ASSERTED_BEFORE, Plan, Refusal, StatementPlan, Verdict

_FUNCTION: Final = Refusal(
    "42501", "the FunctionCall message is not allowed in a session with masked data", "Use SELECT function(...)."
)
_CALL: Final = Plan(Verdict.PASS, "", (StatementPlan("CALL"),))


def on_query(s: State) -> bool:
    scan = s.client
    if scan.large:
        return unread.on_query(s)
    if s.gate and (done := gates.before_text(s)) is not None:
        return done
    s.refresh_view()
    if s.wary and (done := gates.confirm(s)) is not None:
        return done
    end = scan.end - 1
    data = scan.buf[scan.body : end] if end >= scan.body else b""  # compiled by mypyc, a slice that ends before it begins raises
    text: str | Refusal
    if end < scan.body or scan.buf[end] or 0 in data:
        if s.masked:
            return malformed(s, expect.QUERY)
        text = complaint(s)
    else:
        text = encodings.decode(data, s.codec, s.within) or read(s, data)
    unreadable = refused = None
    if s.commented:
        comment = of_comment(text, s.commented) if isinstance(text, str) else ()
        if (done := gates.act_for(s, comment)) is not None:
            return done
    if s.masked:
        if isinstance(text, str):
            plan = s.plan(text, False)
        else:
            passing = failing.unreadable(s, lenient(s, data), text)
            if passing is None:
                return refuse(s, expect.QUERY, text, None, lenient(s, data))
            plan, unreadable, text = passing, text, passing.text
        verdict = plan.verdict
        if verdict is Verdict.NEED or verdict is Verdict.REFUSE:
            refusal = gates.need(s, plan) if verdict is Verdict.NEED else plan.refusal or UNPLANNED
            if refusal is None:
                return True
            if plan.before is None or refusal is not plan.refusal:
                return refuse(s, expect.QUERY, refusal, plan, text)
            refused = plan
            plan = plan.before
            verdict = plan.verdict
        if s.pooled and (met := pooling.before(s, plan, text)) is not False:
            return met if isinstance(met, bool) else refuse(s, expect.QUERY, met, plan, text)
    else:
        if not isinstance(text, str):
            unreadable, text = text, lenient(s, data)
        plan = s.plan(text, False)
        verdict = Verdict.PASS
        if plan.own:
            verdict = plan.verdict
            if verdict is Verdict.REFUSE:
                return refuse(s, expect.QUERY, plan.refusal or UNPLANNED, plan, text)
    entry = Expected(expect.QUERY)
    bits = s.bits(plan)
    sent = plan.text
    if bits:
        if bits & plans.COMMAND:
            values = commands.constants(plan)
            answer = values if isinstance(values, Refusal) else commands.ask(s, plan, values)
            if not isinstance(answer, str):
                return refuse(s, expect.QUERY, answer, None, text) if isinstance(answer, Refusal) else answer
            sent = answer
        if s.assertable and len(plan.statements) > 1 and changes.unsettles_person(s, plan):
            return refuse(s, expect.QUERY, ASSERTED_BEFORE, None, text)
        if bits & plans.EXECUTES and (stale := renewal.check_sql_execute(s, plan)):
            return stale if isinstance(stale, bool) else refuse(s, expect.QUERY, stale, plan, text)
        if bits & plans.FETCHES and (stale := cursors.check_fetches(s, plan)):
            return stale if isinstance(stale, bool) else refuse(s, expect.QUERY, stale, plan, text)
    if s.probing and (spent := probing.of_query(s, plan)) is not None:
        return refuse(s, expect.QUERY, spent, plan, text)
    if s.metered and (told := metering.before_query(s, entry, plan, text)) is not False:
        return told if isinstance(told, bool) else refuse(s, expect.QUERY, told, plan, text)
    if plan.failure is not None:
        if (too_many := failing.before(s, plan)) is not None:
            return refuse(s, expect.QUERY, too_many, None, text)
        failing.doubt(s)
    if bits:
        changes.apply(s, entry, plan, bits, text, unreadable)
    if verdict is Verdict.REWRITE and sent != text:
        out = encodings.encode(sent, s.codec)
        if out is None:
            return refuse(s, expect.QUERY, UNENCODABLE, plan, text)
        s.drop()
        s.to_server.append(codec.encode_query(out))
    s.decide(entry, "statement", plan, text, "simple", told=behind.told(s, plan) if bits & behind.NAMES else None)
    if not s.batch_open:
        s.quiet = False
    if refused is not None:
        refuse_behind(s, entry, refused, text)
    if s.batch_open and not s.queue:  # otherwise the server may yet skip the Query, up to a Sync
        s.batch_open = False
    s.queue.append(entry)
    if s.tried_catalog or s.probe_error is not None:
        gates.decided(s)
    return False


def on_sync(s: State) -> bool:
    entry = Expected(expect.SYNC)
    gate = s.gate
    if gate & st.COPY_IN:
        entry.maybe = True
    elif gate & st.SKIPPING:
        s.gate = gate & ~st.SKIPPING
    if s.poison_due:
        metering.poison_batch(s)
    if s.tripped_batch:
        s.tripped_batch = False
        entry.tripped = True
    s.queue.append(entry)
    s.batch_open = False
    s.quiet = False
    s.batch += 1
    if s.batch_dirty:  # the batch may have been a transaction of its own and may fail as a whole
        s.batch_dirty = False
        s.set_resolution(None)
        s.gate |= st.UNSETTLED
        if s.asserting:
            s.gate |= st.ASSERTED
    return False


def on_flush(s: State) -> bool:
    if s.gate & st.SKIPPING:
        s.drop()
    elif s.client.end > s.client.body and not s.gate & st.COPY_IN:  # nothing belongs there: the server will say so
        s.queue.append(Expected(expect.FLUSH))
        s.batch_open = True
    return False


def on_copy_data(s: State) -> bool:
    s.drop_rest = False
    return False


def on_copy_end(s: State) -> bool:
    if s.gate & st.COPY_IN:
        s.gate &= ~st.COPY_IN
    elif s.queue and not s.gate & st.SKIPPING:
        last = s.queue[-1]
        if last.kind == expect.COPY_END:
            last.more += 1
        else:
            s.queue.append(Expected(expect.COPY_END))
    return False


def on_function(s: State) -> bool:
    scan = s.client
    if not scan.count:
        if s.drop_rest:
            s.drop()
        return False
    s.drop_rest = False
    if s.gate and (done := gates.before_text(s)) is not None:
        return done
    s.refresh_view()
    if s.wary and (done := gates.confirm(s)) is not None:
        return done
    if s.commented and (done := gates.act_for(s, ())) is not None:
        return done
    if s.masked:
        return refuse(s, expect.FUNCTION, _FUNCTION, None, "")
    entry = Expected(expect.FUNCTION)
    s.decide(entry, "statement", _CALL, "", "function")
    if s.batch_open and not s.queue:
        s.batch_open = False
    s.queue.append(entry)
    return False


def on_terminate(s: State) -> bool:
    """The server reads it behind everything that was sent before; it ends the connection, and with it the session."""
    s.leaving = True
    return False


def on_password(s: State) -> bool:
    raise gates.Violation(f"invalid frontend message type {tags.PASSWORD}")


Handler = Callable[[State], bool]

HANDLERS: Final[dict[int, Handler]] = {
    tags.QUERY: on_query,
    tags.PARSE: extended.on_parse,
    tags.BIND: extended.on_bind,
    tags.DESCRIBE: extended.on_describe,
    tags.EXECUTE: extended.on_execute,
    tags.CLOSE: extended.on_close,
    tags.SYNC: on_sync,
    tags.FLUSH: on_flush,
    tags.COPY_DATA: on_copy_data,
    tags.COPY_DONE: on_copy_end,
    tags.COPY_FAIL: on_copy_end,
    tags.FUNCTION_CALL: on_function,
    tags.TERMINATE: on_terminate,
    tags.PASSWORD: on_password,
}
