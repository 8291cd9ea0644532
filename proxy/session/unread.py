"""Texts longer than we are willing to hold (`SessionOptions.max_statement`): refused where anything is masked, relayed where not.

A session that sees everything in clear may send what the server takes, up to 1 GB: the pieces are forwarded as they come,
and the record says UNREAD, how long the text was, and its digest, which is computed on the way. Nobody has read such a
text, so it may have done anything: the catalog is put in doubt. Should the session's policy mask something before the
end has come, the session ends, and the server never gets to see a whole statement. The same for logins that `on_failure` names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.session import changes, expect, failing, gates
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.pieces import Unread
from proxy.session.refusing import refuse
from proxy.session.state import State
from proxy.session.statements import Record
from rewrite.plan import Refusal

TOO_LONG: Final = Refusal(
    "54000",
    "the statement is too long to be read",
    "Send data as parameters, by COPY, or in several statements.",
    failure=True,
)
_CHANGED: Final = Refusal("57P01", "what the session may see has changed while it sent a statement", "Connect again.")


def on_query(s: State) -> bool:
    return _on_piece(s, expect.QUERY)


def on_parse(s: State) -> bool:
    return _on_piece(s, expect.PARSE)


def _on_piece(s: State, kind: int) -> bool:
    """The beginning of such a message, or more of it."""
    scan = s.client
    at = scan.body
    if scan.count:
        s.drop_rest = False
        s.unread = None
        if s.gate and (done := gates.before_text(s)) is not None:
            return done
        s.refresh_view()
        if s.wary and (done := gates.confirm(s)) is not None:
            return done
        if s.commented and (done := gates.act_for(s, ())) is not None:
            return done
        name = b""
        if kind == expect.PARSE:
            end = scan.buf.find(0, at, scan.end)
            if end < 0:  # a name of some thousand bytes
                return refuse(s, kind, TOO_LONG, None, "")
            name = scan.buf[at:end]
            at = end + 1
        if s.masked:
            passing = failing.unreadable(s, "", TOO_LONG)
            if passing is None:
                return refuse(s, kind, TOO_LONG, None, "", name)
            if kind == expect.QUERY and (told := failing.before(s, passing)) is not None:
                return refuse(s, kind, told, None, "")
        s.unread = Unread(name, s.audit.digest(s.codec))
    elif s.drop_rest:
        s.drop()
        return False
    text = s.unread
    if text is None:
        return False
    text.feed(scan.buf[at : scan.end])
    if not scan.inside:
        s.unread = None
        _pass(s, kind, text)
    return False


def _pass(s: State, kind: int, text: Unread) -> None:
    """Its last piece is here and may follow the others, if that is still right."""
    s.refresh_view()
    if s.masked and not failing.is_exempt(s, TOO_LONG):
        s.torn = True
        raise st.Unavailable(_CHANGED)
    if s.gate & st.SKIPPING:
        return  # the server will not look at it
    plan = replace(text.plan(), refusal=TOO_LONG, failure=TOO_LONG) if s.masked else text.plan()
    entry = Expected(kind)
    entry.plan = plan
    if kind == expect.QUERY:
        if plan.failure is not None:
            failing.doubt(s)
        changes.apply(s, entry, plan, s.bits(plan), text.note)
        s.decide(entry, "statement", plan, text.note, "simple")
        s.batch_open = False
    else:
        record = Record(text.note, text.note, plan, s.stamp, True)
        record.unreadable = TOO_LONG
        record.unread = True
        record.link = s.link
        slot = s.statements.slot(s.name(text.name))
        slot.add(record)
        slot.batch = s.batch
        entry.slot = slot
        entry.record = record
        s.batch_open = True
    s.queue.append(entry)
