"""Results of which the client may get so many rows and no more: the allowance of an entry.

Where the session's profile is `metered`, the meter (`effects.Meter`) says for each statement on which allowances its rows draw.
They are charged run by run, before a run is relayed; when a run would take more than is left, the rows that fit go out, and
behind them our error takes the place of the rest. The rest is swallowed, and the server is told to cancel the statement
(`State.wants_cancel`) unless it has given everything already. Client and server are then in the state in which PostgreSQL leaves
them after an error in the middle of a result:

* In a transaction, or in a batch, something is sent that makes it fail (as after a result that the guard has stopped).
* So nothing may go on before the rows have been seen: whatever comes behind a counted Execute or Query is held until that
  has been answered, Syncs above all. A Query that writes beside showing rows is refused where the server would commit it by
  itself.
* The client's next message is held until the server has the cancel request: it must not meet another statement.

Rows are counted as messages of results or of COPY, and a result counts at least one row for each ROW_BYTES of it: what collects
many rows in one (string_agg) is no way round the count. A portal or cursor draws on the same allowances however it is read.

For a new kind of allowance: implement `effects.Allowance` and `effects.Meter`, and set `Profile.metered` for those whose rows
are to be counted. Nothing is done here for anybody else but a test of `State.metered`, and of `Expected.allowances` for each run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.session import behind, expect, gates, plans, poison, refusing
from proxy.session import state as st
from proxy.session.effects import LEASE, Allowance, Asked, Binds
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.session.statements import Portal
from proxy.wire import tags
from rewrite.plan import Effect, Plan, Refusal, StatementPlan

ROW_BYTES: Final = 1024
"""A result counts a row for each so many bytes, if that is more than it has rows."""
_READS: Final = frozenset({"SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN", "FETCH", "MOVE", "DECLARE CURSOR", "CLOSE"})
_COPIES: Final = Refusal(
    "0A000",
    "rows in clear are counted here, and what is copied into a table could be read without being counted",
    "Leave the sensitive columns out, or read them without storing them.",
)
_ONE_BY_ONE: Final = Refusal(
    "0A000",
    "rows are counted here, and statements that change something stand beside the one whose rows are",
    "Send the statements one by one.",
)
_COMMITS: Final = Refusal(
    "0A000",
    "rows are counted here, and the statement would be committed before they are",
    "BEGIN a transaction first, or leave RETURNING out.",
)
_DECIDED: Final = (tags.QUERY, tags.PARSE, tags.BIND, tags.DESCRIBE, tags.EXECUTE)
_ANY: Final = (tags.QUERY, tags.PARSE, tags.BIND, tags.DESCRIBE, tags.EXECUTE, tags.CLOSE, tags.FUNCTION_CALL, tags.SYNC)


# Before the statement.


def before_query(s: State, entry: Expected, plan: Plan, text: str) -> bool | Refusal:
    """False: it may go on, and its rows are counted if they have to be. True: held. Otherwise why it is refused."""
    if any(map(_copies, plan.statements)):
        return _COPIES
    counted = tuple(_allowances(s, statement) for statement in plan.statements)
    if not any(counted):
        return _named(s, plan, text, None) or False
    if s.queue:
        return gates.wait(s, st.DRAIN)
    if plan.failure is None and not all(x.kind in _READS and not x.effects & Effect.WRITES for x in plan.statements):
        if len(plan.statements) > 1 or s.batch_open:
            return _ONE_BY_ONE
        if s.tx != tags.IN_TRANSACTION and plan.statements[0].kind != "COPY":
            return _COMMITS
    if (held := _lease(s, tuple(a for allowances in counted for a in allowances))) is not False:
        return held
    for allowances in counted:
        if allowances and (refusal := _exhausted(allowances)) is not None:
            return refusal
    entry.allowances = counted
    return _named(s, plan, text, None) or False


def before_execute(s: State, entry: Expected, plan: Plan, portal: Portal | None, text: str) -> bool | Refusal:
    """The same of an Execute."""
    binds = portal.binds if portal is not None and portal.binds is not None else [""]
    if any(map(_copies, plan.statements)):
        return _COPIES
    if portal is not None and portal.cursor:
        allowances = _of_portal(s, portal)
    elif portal is None or portal.record is None:
        allowances = _ask(s, None)
    elif (kept := _kept(s, portal)) is not None:
        allowances = kept
    else:
        allowances = _keep(s, portal, _allowances(s, plan.statements[0]) if plan.statements else ())
    if not allowances:
        return _named(s, plan, text, binds) or False
    if (held := _lease(s, allowances)) is not False:
        return held
    if (refusal := _exhausted(allowances)) is not None:
        return refusal
    entry.allowances = (allowances,)
    return _named(s, plan, text, binds) or False


def _named(s: State, plan: Plan, text: str, binds: Binds) -> Refusal | None:
    """The values by which the statements of a text look up what they show in clear."""
    meter, view = s.options.meter, s.view
    if meter is None or view is None or not view.profile.caps.values:
        return None
    for index, statement in enumerate(plan.statements):
        if statement.effects.value & plans.FETCHES:
            continue  # what it goes on with was counted when its cursor was opened
        made = behind.of(s, statement) or ()
        if any(t.is_out for one in made for t in one.touches):
            refused = meter.named(view.profile, s.audit.named(plan, index, text, binds))
            if refused is not None:
                s.audit.event("values_withheld", {"sid": s.sid, **refused[1]})
                return refused[0]
    return None


def _copies(statement: StatementPlan) -> bool:
    """It would put sensitive values in clear where nobody counts who reads them."""
    return statement.copies and any(t.show in ("clear", "conditional") and t.use not in _ASIDE for t in statement.touches)


_ASIDE: Final = ("filter", "join", "group", "sort")


def _allowances(s: State, statement: StatementPlan) -> tuple[Allowance, ...]:
    bits = statement.effects.value
    if bits & plans.FETCHES and statement.cursor is not None:
        portal = s.statements.portals.get(s.sql_name(statement.cursor))
        return _of_portal(s, portal) if portal is not None else _ask(s, None)
    out: tuple[Allowance, ...] = ()
    for made in behind.of(s, statement) or ():
        out += _ask(s, made)
    return out


def _of_portal(s: State, portal: Portal) -> tuple[Allowance, ...]:
    found = _kept(s, portal)
    if found is None:
        opened = behind.of_portal(s, portal)
        found = _ask(s, None) if opened is None else ()
        for made in opened or ():
            found += _ask(s, made)
        _keep(s, portal, found)
    return found


def _kept(s: State, portal: Portal) -> tuple[Allowance, ...] | None:
    return portal.allowances if portal.counted_in == s.era else None


def _keep(s: State, portal: Portal, found: tuple[Allowance, ...]) -> tuple[Allowance, ...]:
    portal.allowances = found
    portal.counted_in = s.era
    return found


def _ask(s: State, statement: StatementPlan | None) -> tuple[Allowance, ...]:
    meter, view = s.options.meter, s.view
    if meter is None or view is None:
        return ()
    unknown = statement is None or statement.kind in ("UNPARSED", "UNREAD")
    return meter.allowances(s.identity, view.profile, None if statement is None or unknown else statement.touches)


def _lease(s: State, allowances: tuple[Allowance, ...]) -> bool | Refusal:
    """True: the message is held until rows have been set aside for it."""
    numbers = tuple(a.lease for a in allowances if a.lease)
    answer = s.answered
    if isinstance(answer, Refusal):
        return answer
    if not numbers or answer is not None:
        return False
    s.wants_answer = Asked(s.identity, LEASE, numbers, None, s.sid)
    return gates.wait(s, st.ANSWER)


def _exhausted(allowances: tuple[Allowance, ...]) -> Refusal | None:
    for allowance in allowances:
        if allowance.left() <= 0:
            return allowance.refusal
    return None


def must_wait(s: State, tag: int) -> bool:
    """The client's message is held, because what goes before is being counted or cancelled."""
    if s.cancelling:
        if tag not in _ANY:
            return False
        s.wait = st.CANCELLING
        return True
    if tag not in _ANY or s.gate & st.COPY_IN:
        return False
    if s.queue and any(entry.allowances for entry in s.queue):
        return gates.wait(s, st.DRAIN)
    return tag in _DECIDED and _now_masked(s)


def _now_masked(s: State) -> bool:
    """Before a statement is decided: has enough been seen by now, or may some be seen again? The message is held until nothing is
    under way that was decided before."""
    view, meter = s.refresh_view(), s.options.meter
    if meter is None or meter.is_spent(s.identity, view.profile) == s.identity.spent:
        return False
    if s.queue:
        return gates.wait(s, st.DRAIN)
    s.identity = replace(s.identity, spent=not s.identity.spent)
    s.renew_view()
    return False


# While its rows come.


def _charge(rows: int, size: int) -> int:
    return max(rows, size // ROW_BYTES)


def may_pass(s: State, head: Expected) -> bool:
    """The server's current run of rows may go to the client whole, and has been charged. Otherwise the result has ended here."""
    scan = s.server
    allowances = head.allowances[head.index] if head.index < len(head.allowances) else ()
    if not allowances or not scan.count:
        return True
    wanted = _charge(head.rows + scan.count, head.bytes + scan.end - scan.start + scan.rest) - head.charged
    scarce = allowances[0]
    granted = wanted
    for allowance in allowances:
        given = allowance.take(granted)
        if given < granted:
            for earlier in allowances:
                if earlier is allowance:
                    break
                earlier.give_back(granted - given)
            scarce, granted = allowance, given
    if granted < wanted:
        _cut(s, head, allowances, scarce, granted)
        return False
    head.charged += wanted
    return True


def _cut(s: State, head: Expected, allowances: tuple[Allowance, ...], scarce: Allowance, granted: int) -> None:
    """The rows that fit go out, and the error behind them."""
    scan = s.server
    at = scan.first
    rows, charged = head.rows, head.charged
    for _ in range(scan.count):
        end = scan.following(at)
        cost = _charge(rows + 1, head.bytes + end - scan.start)
        if cost - head.charged > granted or end > scan.end:
            break
        rows, charged, at = rows + 1, cost, end
    if at > s.server_mark:
        s.to_client.append(scan.buf[s.server_mark : at])
        s.server_mark = at
    unused = granted - (charged - head.charged)
    for allowance in allowances:
        if unused:
            allowance.give_back(unused)
    head.bytes += at - scan.start
    head.rows, head.charged = rows, charged
    details: dict[str, str | int | bool] = {"sid": s.sid, "rows": rows}
    details.update(scarce.details)
    s.audit.event("rows_withheld", details)
    refusal = scarce.refusal
    s.server_mark = scan.end
    s.mute_rest = scan.inside
    s.to_client.append(poison.error(refusal, s.codec))
    s.cut = head
    if head.kind == expect.QUERY:
        s.abandon(head, refusal.sqlstate)
        head.tripped = head.failed = True
        return
    s.abandon(head, refusal.sqlstate)
    head.swallow = head.tripped = True
    head.decided = ()
    s.gate |= st.SKIPPING
    s.tripped_batch = s.poison_due = True


def have_cancelled(s: State, head: Expected) -> None:
    """After the chunk in which a result has been cut: is the server still busy with it?"""
    s.cut = None
    if s.queue and s.queue[0] is head and not s.close:
        s.wants_cancel = s.cancelling = True


def poison_batch(s: State) -> None:
    """In front of the Sync of a batch in which a result has been cut: all of it has been answered, and nothing has failed."""
    s.poison_due = False
    data, provokes = refusing.poison_for(s, expect.BIND)
    s.inject(data)
    entry = Expected(expect.REFUSED)
    entry.swallow = True
    entry.replace = b""
    entry.align = True
    entry.provokes = provokes
    s.queue.append(entry)
