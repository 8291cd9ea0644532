"""A session: one client connection and one server connection, from the end of start-up negotiation on. No IO here.

Theory of operation
-------------------
Bytes of either side go in (`client_data`, `server_data`); what is to be
written comes out in two lists. Both streams are cut into events by a scanner (`wire._scan`): rows and copy data are
runs that are relayed by slices, everything else is inspected. As long as nothing has to be changed the bytes of a
whole chunk are forwarded as one object, whatever the number of messages in it.

The client's half (`frontend`) decides each message: forward, replace, or refuse. Each message that the server will
answer adds an entry to ONE QUEUE of expected replies (`expect`). The server's half (`backend`) is a table: the kind of
the entry at the head of the queue and the tag of the server's message select the handler. A pair that is not in the
table ends the session.

* Refusals never overtake: a *poison* that must fail takes the refused message's place, and its error is replaced by
  ours (`poison`). So the transaction is in the state in which PostgreSQL leaves it after an error, and a pipeline
  stays in step.
* An error in the extended protocol cancels all entries up to the next Sync. If the Sync has not been sent yet, the
  client's messages are dropped until it comes (SKIPPING), as the server drops them. An error in a Query, a
  FunctionCall or at Sync itself is followed by ReadyForQuery and cancels nothing.
* COPY FROM STDIN: after CopyInResponse the server swallows Syncs until CopyDone or CopyFail (gate COPY_IN). CopyDone
  sent early leaves a mark in the queue. Whether a copy that fails has swallowed a Sync cannot be known: `spare` covers
  both.
* Some things must be known before a text can be judged: how names resolve (a *probe* on the server connection,
  `probe`), what the catalog holds (`wants_catalog`), in which encoding the next text will be read (UNSETTLED, after
  SET and its like). Then the message is *held*, with all input behind it, and looked at again from the start when the
  answer is there. In an open batch a Flush makes the server answer; nothing is ever guessed.
* When the server owes very many replies, the client's next message is held until it has given half of them. In an open batch
  a Flush makes it give what it has, so this always ends.
* A long text that is in no cache is planned elsewhere (`wants_plan`), so that it does not keep every other session waiting;
  the message is held the same way.
* A statement that is addressed to pgveil itself (SHOW veil.access, CALL veil.request) is answered elsewhere (`wants_answer`,
  `commands`); the message is held the same way, and a query that yields the answer goes upstream in its place.
* Evidence comes first: the decision is recorded when a statement goes upstream, so before any byte of its result can
  exist. The transport flushes the audit writer when `evidence` is set, before it writes `to_client`.
* The policy view is asked for again when the authority's epoch changes, the application name changes or the profile
  expires. A prepared statement planned under another view is prepared again in front of the client's message if today's
  plan sends another text (`renewal`); a portal then gives no more rows.
* Terminate goes to the server in its place, behind whatever was sent before; the server ends the session (`leaving`).

Sessions that see everything in clear take the same way; plans are recorded, their verdicts do not block, bytes are not
changed.

Manual: protocol-flow. The server's side of the story: src/backend/tcop/postgres.c (SocketBackend, PostgresMain).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from proxy.session import backend, frontend, gates, login, metering, poison, pooling, refusing
from proxy.session import state as st
from proxy.session.asides import ServerViolation
from proxy.session.effects import Asked, AuditSink, Authority, Identity, PlanRequest, SessionOptions, Unrecorded
from proxy.session.state import State
from proxy.wire import codec, tags
from proxy.wire._scan import ScanError
from rewrite.plan import Plan, Refusal

_INTERNAL = Refusal("XX000", "internal error, the session cannot go on")
_TRAIL = "Try again when the trail can be written; assert or say less in one statement where its record is too long."
_SERVER_GONE = Refusal("08006", "server closed the connection unexpectedly")
_DISCARD_MAX = 1024 * 1024
"""Bytes that are taken from the server for a client that has gone."""
_OURS: Final = (st.CATALOG, st.DDL_DONE, st.PLAN, st.ANSWER)
"""Waits during which the server knows nothing of the statement."""
_OWED_MAX = 8192
"""Replies that the server may owe. A client that sends and sends without reading would otherwise have us remember every message
that the system's buffers take."""
_NEW_LINK: Final = frozenset(
    {tags.QUERY, tags.PARSE, tags.BIND, tags.DESCRIBE, tags.EXECUTE, tags.CLOSE, tags.FUNCTION_CALL, tags.SYNC, tags.FLUSH}
)
"""Behind a Sync or Query these may meet another server connection, unless its answer says that a transaction is open."""
_OTHERWISE: Final = st.COPY_IN | st.SKIPPING
_BACKLOG = Refusal("53200", "too much input is waiting")


class Session(State):
    """Bytes in, bytes out. No method raises: what cannot go on becomes a FATAL error and `close`.

    After each call the transport flushes the audit writer if `evidence` is set (and clears it), writes and clears
    `to_server` and `to_client`, pauses reading from the client while `held`, starts a catalog refresh if
    `wants_catalog` or `ddl` is set (clearing `ddl`) and calls `catalog_refreshed` when it is done, has `wants_plan`
    planned where that keeps nobody waiting and calls `plan_made`, has `wants_answer` answered and calls `answer_given`, sends
    the server a cancel request if `wants_cancel` is set (clearing it) and calls `cancel_sent` when the server has got it, or
    cannot, and closes both sides when `close` is set and everything is written.
    """

    def __init__(self, identity: Identity, authority: Authority, audit: AuditSink, options: SessionOptions) -> None:
        super().__init__(identity, authority, audit, options)

    @property
    def idle(self) -> bool:
        """No statement is running and no transaction is open: the session may be ended without loss."""
        return (
            self.phase == st.READY
            and self.tx == tags.IDLE
            and not self.queue
            and not self.batch_open
            and not self.held
            and not self.client.held
            and not self.client.inside
        )

    @property
    def whole(self) -> bool:
        """What the client has got or will get by `to_client` ends with a whole message."""
        return not self.server.inside or bool(self.unfinished)

    @property
    def is_replication(self) -> bool:
        """Bytes are passed on unread."""
        return self.phase == st.RAW

    @property
    def buffered(self) -> int:
        """Bytes kept in memory: incomplete messages and held input."""
        return self.client.held + self.server.held + self.backlog_size + len(self.probe_answer) + sum(map(len, self.unfinished))

    def client_data(self, data: bytes) -> None:
        if self.close or self.leaving or not data:
            return
        if self.phase == st.RAW:
            self.to_server.append(data)
            return
        if self.held:
            self.backlog.append(data)
            self.backlog_size += len(data)
            if self.backlog_size > self.options.max_backlog:
                self.end(_BACKLOG)
            return
        self.client.feed(data)
        self.client_mark = 0
        self._pump()

    def server_data(self, data: bytes) -> None:
        if self.close or not data:
            return
        if self.phase == st.RAW:
            self.to_client.append(data)
            return
        self.heard = self.timer()
        scan = self.server
        dispatch = backend.dispatch
        try:
            if self.unfinished and scan.rest <= len(data):
                self.to_client.extend(self.unfinished)
                self.unfinished.clear()
            scan.feed(data)
            self.server_mark = 0
            if self.phase == st.AUTHENTICATING:
                self._login()
                if self.phase == st.RAW:
                    return
            while tag := scan.next():
                dispatch(self, tag)
            self.flush_server()
            scan.release()
            if self.cut is not None:
                metering.have_cancelled(self, self.cut)
            if self.held:
                self._resume()
        except Exception as error:
            self._fail(error, from_client=False)
        if self.client_gone:
            self._discard(len(data))

    def client_eof(self) -> None:
        """The client is gone, without Terminate unless it is `leaving`.

        The session does not end as long as input that the client sent before is held, or the server has a Terminate to
        come to: what has been sent is executed, as it would be without us. When there is nothing to wait for (any more),
        `close` is set; the transport must not close the server's side before.
        """
        if self.close:
            return
        self.client_gone = True
        self.to_client.clear()
        if not self.leaving and not (self.held and self.phase == st.READY):
            self.end(None)

    def server_eof(self) -> None:
        """The server is gone; when it has not said why and was not asked to go, the client is told."""
        why = self.violation if self.leaving else _SERVER_GONE
        self.end(None if self.fatal or self.phase == st.RAW else why, server_gone=True)

    def certificates(self, ours: bytes | None, servers: bytes | None) -> None:
        """The certificates (DER) shown to the client by us and to us by the server, None without TLS; before any data.

        SCRAM's channel binding is a hash of the certificate: it holds across us only when both are the same.
        """
        self.same_certificate = ours is not None and ours == servers

    def catalog_refreshed(self) -> None:
        """The catalog has been read since `wants_catalog` or `ddl` was set."""
        if self.close:
            return
        self.wants_catalog = False
        self.ddl_unread = False
        if not self.ddl_pending:
            self.gate &= ~st.DDL
        try:
            if self.view is not None:
                pooling.check_origin(self, self.renew_view())
            if self.held:
                self._resume()
        except Exception as error:
            self._fail(error, from_client=False)

    def plan_made(self, asked: PlanRequest, plan: Plan) -> None:
        """The answer to `wants_plan`."""
        if self.close or self.wants_plan is not asked:
            return
        self.wants_plan = None
        self.planned = asked, plan
        try:
            if self.held:
                self._resume()
        except Exception as error:
            self._fail(error, from_client=False)

    def cancel_sent(self) -> None:
        """The answer to `wants_cancel`."""
        self.cancelling = False
        if self.close:
            return
        try:
            if self.held:
                self._resume()
        except Exception as error:
            self._fail(error, from_client=False)

    def answer_given(self, asked: Asked, answer: str | Refusal) -> None:
        """The answer to `wants_answer`."""
        if self.close or self.wants_answer is not asked:
            return
        self.wants_answer = None
        self.answered = answer
        try:
            if self.held:
                self._resume()
        except Exception as error:
            self._fail(error, from_client=False)

    def cancel(self) -> None:
        """The client wants its statement to end. The server has been told; here it ends one that the server has not seen yet."""
        if self.close or not self.held or self.wait not in _OURS:
            return
        self.held = False
        self.wait = st.NOTHING
        self.wants_catalog = False
        self.wants_plan = None
        self.wants_answer = None
        self.answered = None
        try:
            refusing.cancel(self, self.client.next())
            self._pump()
        except Exception as error:
            self._fail(error, from_client=True)

    def refuse(self, sqlstate: str, message: str) -> None:
        """End the session from outside: drain, time limits."""
        self.end(Refusal(sqlstate, message))

    def server_violation(self, what: str) -> None:
        """The server does what no server does, as somebody else has found."""
        if not self.close:
            self._fail(ServerViolation(what), from_client=False)

    def _login(self) -> None:
        """Server messages until the session is ready."""
        scan = self.server
        while self.phase == st.AUTHENTICATING and (tag := scan.next()):
            if self.withheld is not None and tag != tags.NEGOTIATE_PROTOCOL_VERSION:
                login.negotiate(self)
            handler = login.SERVER.get(tag)
            if handler is None:
                raise ServerViolation(f"unexpected {tags.SERVER_NAMES[tag]} before the session is ready")
            handler(self)
        if self.phase == st.RAW:
            self.flush_server()
            self.to_client.extend(filter(None, (scan.take(),)))
            waiting = self.client.take() + b"".join(self.backlog)
            self.to_server.extend(filter(None, (waiting,)))
            self.backlog.clear()
            self.backlog_size = 0
            self.held = False

    def _pump(self) -> None:
        """Decide the client's messages until one has to be held or there are no more."""
        scan = self.client
        handlers = frontend.HANDLERS
        try:
            while True:
                tag = scan.next()
                if not tag:
                    self.flush_client()
                    if self.backlog:
                        data = b"".join(self.backlog)
                        self.backlog.clear()
                        self.backlog_size = 0
                        scan.feed(data)
                        self.client_mark = 0
                        continue
                    scan.release()
                    if self.client_gone:
                        self.end(None)
                    return
                if len(self.queue) > _OWED_MAX and scan.count and tag != tags.COPY_DATA and self.phase == st.READY:
                    if self.gate & st.COPY_IN:
                        self.end(_BACKLOG)  # nothing but Syncs that the server will not answer
                        return
                    gates.wait(self, st.CROWDED)
                    scan.rewind()
                    self.flush_client()
                    self.held = True
                    return
                if (
                    self.transient
                    and self.queue
                    and tag in _NEW_LINK
                    and scan.count
                    and not self.gate & _OTHERWISE
                    and pooling.must_wait(self)
                ):
                    scan.rewind()
                    self.flush_client()
                    self.wait = st.DRAIN
                    self.held = True
                    return
                if self.metered and self.phase == st.READY and scan.count and metering.must_wait(self, tag):
                    scan.rewind()
                    self.flush_client()
                    self.held = True
                    return
                try:
                    hold = login.on_client_message(self, tag) if self.phase == st.AUTHENTICATING else handlers[tag](self)
                except st.Elsewhere:
                    hold = gates.wait(self, st.PLAN)
                except gates.Unanswered as unknown:  # a name of its own: mypyc gives a name one type in a function
                    hold = refusing.in_place(self, tag, unknown.refusal)
                if hold:
                    scan.rewind()
                    self.flush_client()
                    self.held = True
                    return
                if self.planned is not None:
                    self.planned = None
                if self.answered is not None:
                    self.answered = None
                if self.leaving:
                    self._left()
                    return
                if self.close:
                    return
        except Exception as error:
            self._fail(error, from_client=True)

    def _discard(self, size: int) -> None:
        """Nobody is there to read the answer. A server that talked to the client itself would soon fail to write it."""
        self.to_client.clear()
        self.discarded += size
        if self.discarded > _DISCARD_MAX:
            self.end(None)

    def _left(self) -> None:
        """The client's Terminate has been decided: forward everything up to it, forget what may follow."""
        self.flush_client()
        self.client.take()
        self.drop_rest = False
        self.backlog.clear()
        self.backlog_size = 0

    def _resume(self) -> None:
        """Go on with held input if what it waits for has come."""
        wait = self.wait
        if wait == st.DRAIN:
            if self.queue and not self.gate & st.COPY_IN:
                return
        elif wait == st.DDL_DONE:
            if self.gate & st.DDL and not self.gate & st.SKIPPING:
                self.wants_catalog = self.ddl_unread
                return
        elif wait == st.CATALOG:
            if self.wants_catalog:
                return
        elif wait == st.PLAN:
            if self.wants_plan is not None:
                return
        elif wait == st.CANCELLING:
            if self.cancelling:
                return
        elif wait == st.ANSWER:
            if self.wants_answer is not None:
                return
        elif wait == st.CROWDED:
            if len(self.queue) > _OWED_MAX // 2:
                return
        elif wait != st.NOTHING:
            return
        self.held = False
        self.wait = st.NOTHING
        self._pump()

    def _fail(self, error: Exception, from_client: bool) -> None:
        """Whatever went wrong: the stream cannot go on."""
        if from_client:
            self.drop()
        else:
            self.mute()
            self.server.forget()
        if isinstance(error, ScanError) and from_client:
            if error.too_long:
                refusal = Refusal("54000", f"a message of {error.length} bytes is too long")
            elif error.length >= 0:
                refusal = Refusal("08P01", "invalid message length")
            else:
                refusal = Refusal("08P01", f"invalid frontend message type {error.tag}")
        elif isinstance(error, gates.Violation):
            refusal = Refusal("08P01", str(error))
        elif isinstance(error, ScanError | ServerViolation | codec.CodecError):
            refusal = Refusal("08P01", f"protocol error of the server: {error}")
        elif isinstance(error, st.Unavailable):
            refusal = error.refusal
        elif isinstance(error, Unrecorded):
            refusal = Refusal("58030", str(error), _TRAIL)
        else:
            refusal = _INTERNAL
        kind = "unavailable" if isinstance(error, st.Unavailable) else "protocol_error"
        what = type(error).__name__
        with suppress(Unrecorded):  # then nothing else of this session's gets into the trail, and it ends here
            self.audit.event(kind, {"sid": self.sid, "client": from_client, "error": what, "message": refusal.message})
        self.evidence = True
        if from_client and self.phase == st.READY and isinstance(error, ScanError | gates.Violation):
            self._turn_out(refusal)
        else:
            self.end(refusal)

    def _turn_out(self, refusal: Refusal) -> None:
        """The client has broken the protocol. The server is made to notice: it answers what came before, and hangs up."""
        self.violation = refusal
        self.leaving = True
        self.to_server.append(poison.NONSENSE)
        self._left()
