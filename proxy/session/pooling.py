"""Sessions behind a pooler: the server connection was somebody else's before, and in transaction mode it is again after every
transaction.

What is on such a connection nobody has looked at: search_path, settings on which reading depends, a role, temporary relations
and types, prepared statements, cursors. So the server is asked (`probe`): in both modes when the session begins, before
anything of the client's goes on; in transaction mode again in every transaction of a masked session, in front of its first
statement and in one batch with it, so that both meet the same server connection. What is found there then is somebody else's:
temporary relations are refused by name; for other things, which cannot be told apart from the session's own, every statement of
the transaction is refused. What the session remembers of the connection ends with the transaction (`State.leave_link`);
statements are prepared again when they are used (`renewal`).

The answer also names the database. A pooler may lead to another one than the control connection reads; then the session ends.

Without a pooler nothing here runs, but for one comparison per question: the server's process number is the one of its
BackendKeyData. A pooler's is not, and a pooler that nobody has named ends the session.

PgBouncer: doc/config.md (pool_mode, server_reset_query, max_prepared_statements), src/prepare.c, src/varcache.c.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.session import gates, plans, probe
from proxy.session import state as st
from proxy.session.effects import Pooling, View
from proxy.session.expect import CLOSE, COPY_END, FUNCTION, QUERY, REFUSED_QUERY, SYNC, Expected
from proxy.session.state import State
from proxy.wire import codec, tags
from rewrite.plan import Plan, Refusal

UNNAMED: Final = Refusal(
    "57P03",
    "there is a connection pooler between pgveil and the server, and the configuration does not say so",
    "upstream.pooling: session or transaction, as the pooler has it.",
)
ANOTHER: Final = Refusal(
    "57P03",
    "the pooler leads to another database than the one whose catalog pgveil reads",
    "control.host, control.port and databases have to name the server and the database behind the pooler.",
)
MUTE: Final = Refusal("57P03", "the server behind the pooler cannot be asked who it is")
_HINT: Final = "server_reset_query of the pooler should be DISCARD ALL; in transaction mode use SET LOCAL."
_ROLE: Final = Refusal("0A000", "another client has left SET ROLE in force on the pooled server connection", _HINT)
_SESSION_USER: Final = Refusal(
    "0A000", "another client has left SET SESSION AUTHORIZATION in force on the pooled server connection", _HINT
)
_TYPES: Final = Refusal(
    "0A000", "another client has left types or functions in the temporary schema of the pooled server connection", _HINT
)
_READING: Final = Refusal(
    "0A000", "another client has left transform_null_equals in force on the pooled server connection", _HINT
)
_CREATES: Final = Refusal(
    "0A000",
    "search_path begins with pg_temp on the pooled server connection: what is made there would outlive the transaction",
    "SET LOCAL search_path, without pg_temp or with pg_temp last.",
)

_STATEMENT: Final = ord("S")
_ENDS: Final = (QUERY, SYNC, FUNCTION, REFUSED_QUERY)
_CONTROL: Final = frozenset({"TRANSACTION", "DISCARD", "DEALLOCATE", "CLOSE", "UNLISTEN", "VACUUM"})
"""They name nothing whose meaning depends on what others have left, or cannot have a question in front of them: VACUUM and
DISCARD ALL do not run in a batch, and BEGIN says how the transaction is isolated before anything is read."""
_ISOLATES: Final = re.compile(r"\s*set\s+(?:(?:local|session)\s+)?(?:transaction|characteristics\s+as\s+transaction)\b", re.I)


def begin(s: State, view: View) -> None:
    """The server is ready. Find out whether its connection is the session's own, before the client can say anything.

    The pooler may have told the application name of whoever opened the connection.
    """
    pooling = s.options.pooling
    if pooling is Pooling.NONE and view.pooler:
        raise st.Unavailable(UNNAMED)
    if pooling is Pooling.AUTO:
        pooling = Pooling.TRANSACTION if view.pooler else Pooling.NONE
    if pooling is Pooling.NONE:
        return
    s.pooled = s.been_clear = True
    s.transient = pooling is Pooling.TRANSACTION
    s.era += 1
    s.contexts = [None, None]
    s.contexts_anywhere = [None, None]
    s.assertable = ()  # what is set there others may have set
    s.gate &= ~st.ASSERTED
    s.rename(s.claimed)
    s.to_server.append(probe.question(False, True))
    s.queue.extend(probe.expected(False, True))
    s.probe_epoch = s.authority.epoch
    s.wait = st.PROBE
    s.held = s.arriving = True


def must_wait(s: State) -> bool:
    """The client's message would go behind one that ends a transaction: it may be for another server connection."""
    for entry in reversed(s.queue):
        if entry.kind in _ENDS:
            return True
        if entry.kind != COPY_END:
            return False
    return False


def before(s: State, plan: Plan, text: str) -> bool | Refusal:
    """Before a statement of a masked session. False: it may go on. True: the message is held. Otherwise why it is refused."""
    here = s.met == s.link
    if here and s.odd is None:
        return False
    if _is_control(plan, text):
        return False
    if here:
        return s.odd if s.odd is not None and not _resets(plan) else False
    if s.probe_error is not None:
        return s.probe_error
    if s.tx == tags.FAILED and not s.queue and not s.batch_open:
        return gates.ABORTED
    return gates.ask_server(s)


def _resets(plan: Plan) -> bool:
    """It may bring the connection back to what it should be, and shows nothing."""
    return all(x.kind.partition(" ")[0] in ("SET", "RESET", "SHOW") for x in plan.statements)


def _is_control(plan: Plan, text: str) -> bool:
    if "\\" in text or not text.isascii():
        return False  # how it is read depends on settings
    kinds = {x.kind.partition(" ")[0] for x in plan.statements}
    return kinds <= _CONTROL or (kinds == {"SET"} and len(plan.statements) == 1 and _ISOLATES.match(text) is not None)


def answered(s: State, answer: probe.Answer) -> frozenset[int]:
    """What the answer says about the connection. The temporary relations on it that are not the session's own."""
    if not s.pooled:
        if answer.process and s.backend and answer.process != s.backend:
            raise st.Unavailable(UNNAMED)
        return frozenset()
    s.origin = answer.origin
    if not s.transient:
        s.backend = answer.process
    if answer.origin != (s.view or s.refresh_view()).origin:  # a database made anew, perhaps: the next look at it will tell
        s.wants_catalog = True
    if s.strange is None:
        s.strange = frozenset(answer.temporary.values())
    if s.met != s.link:
        s.met = s.link
        s.odd = _odd(s, answer)
    return s.strange


def _odd(s: State, answer: probe.Answer) -> Refusal | None:
    user, role = answer.user
    if not s.server_user:
        s.server_user = user
    if user != s.server_user:
        return _SESSION_USER
    if role != user:
        return _ROLE
    if answer.nulls:
        return _READING
    if answer.types:
        return _TYPES
    return _CREATES if answer.creates and s.transient else None


def check_origin(s: State, view: View) -> None:
    """After a look at the catalog."""
    if s.origin is not None and view.origin != s.origin:
        raise st.Unavailable(ANOTHER)


def is_taken(s: State, name: bytes) -> bool:
    """Whether the client has a prepared statement of that name; on this server connection it may not be there."""
    slot = s.statements.find(s.name(name))
    if slot is None:
        return False
    for entry in reversed(s.queue):
        if entry.slot is slot and not entry.renews:
            return entry.kind != CLOSE
        if entry.changes & plans.DEALLOCATES:
            return False
    return True


def take_name(s: State, name: bytes) -> None:
    """Before a Parse of the client's on a server connection that others have used: the name may be taken there."""
    close = Expected(CLOSE)
    close.swallow = True
    s.queue.append(close)
    s.inject(codec.encode_close(codec.Target(_STATEMENT, name)))
