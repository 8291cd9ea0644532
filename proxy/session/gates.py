"""Before a message of the client is looked at: may it be, and is everything known that its decision needs?

The functions that answer True hold the current message: it is kept, with all input behind it, and looked at again from
the start when what it waits for has come (`machine.Session._resume`). Whatever is under way must be able to be answered
meanwhile: in an open batch a Flush goes upstream.
"""

from __future__ import annotations

from typing import Final

from proxy.session import expect, probe
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec, tags
from rewrite.plan import Need, Plan, Refusal, Verdict

_UNKNOWN_NAME: Final = Refusal("42501", "a name in the statement is not known", "Check its spelling and schema.")
_UNRESOLVED: Final = Refusal("0A000", "cannot find out how names resolve in this session", "Write names with their schema.")
ABORTED: Final = Refusal("25P02", "current transaction is aborted, commands ignored until end of transaction block")


class Violation(Exception):
    """The client does not speak the protocol; the session ends as PostgreSQL would end it."""


class Unanswered(Exception):
    """What the decision about the current message needs cannot be known: it is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def in_copy(s: State) -> Violation:
    """The current message may not come while the server reads CopyData."""
    return Violation(f"unexpected message type 0x{s.client.buf[s.client.start]:02X} during COPY from stdin")


def wait(s: State, reason: int) -> bool:
    """Hold the current message."""
    s.wait = reason
    if s.batch_open:
        s.inject(codec.FLUSH)
    return True


def ask_server(s: State) -> bool:
    """Hold the current message and put the probe before it."""
    alone = not s.batch_open
    s.own_batch = alone and s.transient and s.tx == tags.IDLE  # question and statement have to meet the same server connection
    in_batch = s.batch_open = s.own_batch or s.batch_open
    first = s.transient and s.met != s.link and not s.era_in_tx
    s.inject(probe.question(in_batch, s.pooled, s.assertable, first))
    s.queue.extend(probe.expected(in_batch, alone))
    s.probe_epoch = s.authority.epoch
    s.wait = st.PROBE
    return True


def before_text(s: State) -> bool | None:
    """Before a text is read. None: go on; otherwise what the handler returns."""
    gate = s.gate
    if gate & st.SKIPPING:
        if s.probe_broke:
            _answered_by_probe(s)
        s.drop()
        decided(s)
        return False
    if gate & st.COPY_IN:
        raise in_copy(s)
    if gate & st.ASSERTED and (done := _ask_who(s)) is not None:
        return done
    if s.masked:
        if gate & st.DDL:
            return wait_ddl(s)
        if gate & st.UNSETTLED:
            if s.batch_open:
                return ask_server(s)
            if s.queue:
                return wait(s, st.DRAIN)
            s.gate &= ~st.UNSETTLED
    return None


def _answered_by_probe(s: State) -> None:
    """The probe before a Query has failed, in a failed transaction for example, and its error has been given to the client.

    The Query would have had the same, and ReadyForQuery after it; nothing would be skipped. So a Sync takes its place.
    """
    refusal = Refusal(s.probe_broke, "the question how names resolve has failed")
    plan = Plan(Verdict.REFUSE, "", refusal=refusal)
    seq = s.audit.decision(s.sid, "refusal", plan, 0, "", "simple")
    s.audit.outcome(seq, None, 0, 0, 0.0, s.probe_broke)
    s.evidence = True
    s.probe_broke = ""
    s.gate &= ~st.SKIPPING
    s.inject(codec.SYNC)
    s.queue.append(Expected(expect.SYNC))
    s.batch_open = False
    s.batch += 1


def before_extended(s: State) -> bool | None:
    """The same before an extended message without a text."""
    if s.gate & st.SKIPPING:
        s.drop()
        decided(s)
        return False
    if s.gate & st.COPY_IN:
        raise in_copy(s)
    if s.gate & st.ASSERTED:
        return _ask_who(s)
    return None


def _ask_who(s: State) -> bool | None:
    """The session may act for somebody else by now. In a failed transaction nobody can be asked, and nothing is shown."""
    if s.tx == tags.FAILED and not s.queue and not s.batch_open:
        return None
    if s.probe_error is not None:
        raise Unanswered(s.probe_error)
    return ask_server(s)


def act_for(s: State, comment: tuple[tuple[str, str], ...]) -> bool | None:
    """Before a message of a statement with this comment is decided: None: go on; True: held until it can be."""
    if s.act_for(comment):
        return wait(s, st.DRAIN)
    return confirm(s) if s.wary else None


def confirm(s: State) -> bool | None:
    """Before a statement of a session for which something is masked, or may be once it is there: is the picture of the catalog
    still right? None: go on; True: held until it is."""
    if s.masked and s.tx_ddl and s.resolution is None and s.tx == tags.IN_TRANSACTION and not s.queue and s.probe_error is None:
        return ask_server(s)  # a name may mean what this transaction has made, and no longer what the catalog has
    view = s.view
    if view is None or s.tried_catalog:
        return None
    options = s.options
    now = s.timer()
    age = now - s.heard
    # What others did before the session began, somebody may know of who waits for it: as after a time of quiet.
    if view.is_confirmed(min(options.confirmed, age if age > options.quiet else now - s.began)):
        return None
    s.tried_catalog = True
    s.wants_catalog = True
    return wait(s, st.CATALOG)


def wait_ddl(s: State) -> bool:
    if s.ddl_unread:
        s.wants_catalog = True
    return wait(s, st.DDL_DONE)


def need(s: State, plan: Plan) -> Refusal | None:
    """Get what the plan asks for. None: the message is held; otherwise why it cannot be had."""
    if Need.RESOLUTION in plan.need and s.resolution is not None and not s.numbered:
        s.numbered = True
        s.set_resolution(None)
    if Need.RESOLUTION in plan.need and s.resolution is None:
        if s.probe_error is not None:
            return s.probe_error
        if s.tx == tags.FAILED and not s.queue and not s.batch_open:
            return ABORTED
        ask_server(s)
        return None
    if Need.CATALOG in plan.need:
        if s.tried_catalog:  # looked at since the message came
            return plan.refusal or _UNKNOWN_NAME
        s.tried_catalog = True
        s.wants_catalog = True
        wait(s, st.CATALOG)
        return None
    return _UNRESOLVED


def decided(s: State) -> None:
    """The message that was held has been decided: the next one may ask again."""
    s.tried_catalog = False
    s.probe_error = None
