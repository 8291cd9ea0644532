"""What one session remembers, and the few primitives that its client half and its server half share.

The theory of operation is at the top of `machine.py`. Nothing here decides anything about a message; this module knows
how bytes are forwarded without copying them message by message, when the policy view has to be asked for again, and
how evidence is kept. It is long because the compiled half of the session works on one native class: its fields and the
primitives that change several of them together stay in one place.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from proxy.session import expect, plans, poison
from proxy.session.effects import Asked, AuditSink, Authority, Binds, Identity, PlanRequest, SessionOptions, View
from proxy.session.expect import Expected, Queue
from proxy.session.pieces import Unread
from proxy.session.statements import NO_TYPES, Statements
from proxy.session.taint import Taint
from proxy.wire import codec, encodings, tags
from proxy.wire._scan import Scanner, table
from rewrite.plan import UNPARSED, Plan, PlanContext, Refusal, Resolution, Verdict

MIB: Final = 1024 * 1024

# Phases.
AUTHENTICATING: Final = 0
READY: Final = 1
RAW: Final = 2
"""Replication in a clear session: bytes both ways, unread."""

# Why a message of the client may not simply be looked at: bits of `State.gate`.
SKIPPING: Final = 1
"""The server has reported an error in an extended batch and ignores everything up to Sync; so do we."""
COPY_IN: Final = 2
"""The server reads CopyData until CopyDone or CopyFail."""
UNSETTLED: Final = 4
"""A statement under way may change client_encoding or standard_conforming_strings: the next text cannot be read yet."""
DDL: Final = 8
"""DDL is under way, or its catalog has not been read yet."""
ASSERTED: Final = 16
"""What the session asserts of its person may have changed: the server has to be asked before anything is decided."""

# What held input waits for.
NOTHING: Final = 0
AUTHENTICATION: Final = 1
PROBE: Final = 2
CATALOG: Final = 3
DRAIN: Final = 4
DDL_DONE: Final = 5
PLAN: Final = 6
CROWDED: Final = 7
CANCELLING: Final = 8
ANSWER: Final = 9

CLIENT_CLASSES: Final = table(relay="d", inspect="DECSHXcfp", head="BF", text="QP")
PROBING_CLASSES: Final = table(relay="d", inspect="DECSHXcfp", head="F", text="QPB")
"""Where the values in a Bind may have to be counted, it is wanted as a whole."""
LOGIN_CLASSES: Final = table(relay="DdV", inspect="RKSZTtn123CIsAGHWcvEN")
"""Of the server until the login is over: nothing has been asked that an error could quote at any length."""
SERVER_CLASSES: Final = table(relay="DdV", inspect="RKSZTtn123CIsAGHWcv", text="EN")


_STAMPS_MAX: Final = 64
_LONG: Final = 8192
"""Characters: longer texts that no cache knows are planned elsewhere, so that no other session has to wait for it."""
_FIRST_USER_OID: Final = 16384


def _user_types(types: bytes) -> tuple[int, ...]:
    """OIDs of types that are not builtin, from the types of a Parse message."""
    oids = (int.from_bytes(types[i : i + 4], "big") for i in range(2, len(types), 4))
    return tuple(oid for oid in oids if oid >= _FIRST_USER_OID)


class Elsewhere(Exception):
    """A plan is being made elsewhere (`State.wants_plan`): the current message is held."""


class Unavailable(Exception):
    """The authority has no view at the moment: nothing can be judged, the session has to end."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _refusal_of(error: Exception) -> Refusal | None:
    """What an exception of the authority says to the client; None when it is not made for clients."""
    sqlstate, message, hint = (getattr(error, name, None) for name in ("sqlstate", "message", "hint"))
    if isinstance(sqlstate, str) and isinstance(message, str):
        return Refusal(sqlstate, message, hint if isinstance(hint, str) else None)
    return None


def _or_through(plan: Plan, text: str, view: View) -> Plan:
    """A refused plan, or how the statement goes upstream all the same: `failing`."""
    why = plan.refusal
    if why is None or not why.failure or view.profile.exemption is None or plan.verdict is not Verdict.REFUSE:
        return plan
    return Plan(Verdict.PASS, text, UNPARSED, refusal=why, failure=why)


class State:
    """The mutable state of a session; what the transport may read of it is told at `machine.Session`."""

    def __init__(self, identity: Identity, authority: Authority, audit: AuditSink, options: SessionOptions) -> None:
        self.identity = identity
        self.authority = authority
        self.audit = audit
        self.options = options
        self.sid = options.sid
        self.timer = options.timer

        self.pooled = False
        """The server connection was somebody else's before: what is on it nobody has looked at."""
        self.transient = False
        """It is somebody else's again after every transaction."""
        self.arriving = False
        """The server has been asked who it is; nothing of the client's goes on before the answer."""
        self.origin: tuple[str, int] | None = None
        """Which database the server has said it is; None without a pooler."""
        self.strange: frozenset[int] | None = None
        """Temporary relations that were there before this session (or transaction) had made any; None: not asked yet."""
        self.odd: Refusal | None = None
        """What else others had left there, and why nothing runs there before it has gone."""
        self.own_batch = False
        """The open batch holds nothing but a question of ours."""
        self.link = 0
        """Counts transactions where each may be on another server connection; 0 otherwise."""
        self.met = -1
        """The `link` that the server has last been asked about."""
        self.server_user = ""
        """SESSION_USER when the session began: a pooler may log in as another than its client."""
        self.claimed = identity.application_name
        """The application name that the client itself has given; behind a pooler the server may tell another's."""
        self.renames = False
        """A statement of this transaction may have given another."""

        # What the transport reads.
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.close = False
        self.wants_catalog = False
        self.wants_plan: PlanRequest | None = None
        self.wants_answer: Asked | None = None
        self.evidence = False
        self.held = False
        self.ddl = False
        self.wants_cancel = False

        # The two streams. A mark is where the bytes begin that have not been forwarded yet.
        limit = options.max_statement
        self.client = Scanner(CLIENT_CLASSES, {tags.QUERY: limit, tags.PARSE: limit, tags.PASSWORD: 65536}, MIB)
        self.server = Scanner(LOGIN_CLASSES, {tags.ERROR_RESPONSE: 16 * MIB, tags.NOTICE_RESPONSE: 16 * MIB}, MIB)
        self.client_mark = 0
        self.server_mark = 0
        self.unfinished: list[bytes] = []
        """A row or piece of copy data that the server has not finished, and that the client has got nothing of."""
        self.mute_rest = False
        """The beginning of the server's current message has not been relayed: the rest must not be either."""
        self.backlog: list[bytes] = []
        self.backlog_size = 0
        self.unread: Unread | None = None
        """A text that is too long to be held is passing."""
        self.torn = False
        """The server has got the beginning of a message whose end it must not get."""
        self.drop_rest = False
        """The message whose rest the client is still sending is not forwarded."""

        # The protocol.
        self.phase = AUTHENTICATING
        self.queue: Queue = deque()
        self.gate = 0
        self.wait = NOTHING
        self.batch_open = False
        """Extended messages have gone upstream since the last Sync; a Query ends the batch too, once it has been answered."""
        self.quiet = False
        """A statement of the open batch of which little may be said has gone upstream: what it deferred is checked at the end."""
        self.batch = 1
        self.tx = tags.IDLE
        self.spare = 0
        """ReadyForQuery messages that may come on top, for Syncs that a failed copy-in may have left."""
        self.fatal = False
        """The server has said why it goes."""
        self.leaving = False
        """The client has said Terminate; nothing more is read from it, the server ends the session."""
        self.violation: Refusal | None = None
        """How the client has broken the protocol; the server is being made to hang up."""
        self.client_gone = False
        """The client has gone; the session ends behind what it has sent."""
        self.discarded = 0
        """Bytes from the server since then."""
        self.cut: Expected | None = None
        """Its result has just been ended before its end."""
        self.cancelling = False
        """The server is being told to end a statement whose result has been cut; it must not meet another one."""
        self.poison_due = False
        """A result has been cut in the open batch, of which the server knows nothing yet."""
        self.tripped_batch = False
        """The guard has stopped a result in a batch whose Sync has not been sent."""

        # The login.
        self.asked = False
        """The server waits for an answer to its authentication request."""
        self.version = 0
        """The protocol version that the server was asked for."""
        self.withheld: tuple[bytes, ...] | None = None
        """Protocol options that the server was not told of, once it was told of another version or other options than the
        client's; the client must learn which."""
        self.accepted = False
        """AuthenticationOk has come."""
        self.same_certificate = False
        """Both TLS connections show one certificate, so channel binding holds across us."""
        self.stripped = False
        """SCRAM-SHA-256-PLUS has been taken out of the server's offer."""
        self.unbound = False
        """The client has just said that it could have bound its channel."""

        # Reading the client's texts.
        self.client_encoding = self.server_encoding = "UTF8"
        self.codec: str | None = "utf-8"
        self.within: str | None = None
        """The codec of the database's own encoding where that limits what a text may hold."""
        self.standard_strings = True

        # What the client may see.
        self.view: View | None = None
        self.view_until: float | None = None
        self.masked = True
        self.wary = True
        """A relation that has come since the catalog was read may be masked."""
        self.probing = False
        """What the policy says of `filters` may make comparisons count."""
        self.metered = False
        """Rows are counted, or have been: one of these may still be under way."""
        self.assertable: tuple[str, ...] = ()
        """What the session may assert of its person; the server is asked for these."""
        self.commented: frozenset[str] = frozenset()
        """What of that it may assert in a comment, for one statement."""
        self.said: tuple[tuple[str, str], ...] = ()
        """What the session asserts for all of its statements."""
        self.asserting = False
        """A statement of this transaction may have changed it: its end may change it back."""
        self.been_clear = False
        """The session has seen everything in clear at some time: there may be things at the server that nobody has looked at."""
        self.planned: tuple[PlanRequest, Plan] | None = None
        """What has been planned elsewhere, until the message it is for has been decided."""
        self.answered: str | Refusal | None = None
        """What `wants_answer` has brought, until the message it is for has been decided."""
        self.last_plan: Plan | None = None
        """Of the statement that was decided last, commands aside: for SHOW veil.why."""
        self.untold = True
        """The client has not been told that something is masked for it."""
        self.cancel_key = b""
        """Process and secret, as a cancel request names them."""
        self.backend = 0
        """The server process, as notifications name it."""
        self.fires = False
        """Something ran that may have fired a trigger: what this session notifies is no longer its own words alone."""
        self.view_stamp = 0
        """Names one profile and catalog."""
        self.era = 0
        """How often what the policy says has changed since the session began; who had the connection before counts."""
        self.era_in_tx = False
        """It has changed in the open transaction."""
        self.held_cursors: frozenset[str] | None = None
        """Names of the cursors that are older than the open transaction, when the server has been asked for them."""
        self.stamp = 0
        """Names what plans depend on: profile, catalog and name resolution. The same combination has the same stamp again."""
        self.last_stamp = 0
        self.stamps: dict[Resolution | None, int] = {}
        """The stamp of each name resolution that this view has seen."""
        self.judged: dict[bytes, bytes] = {}
        """RowDescriptions that the guard has passed under this view, and the shape of each."""
        self.resolution: Resolution | None = None
        self.numbered = False
        """A text has named a temporary schema by its number: plans have to know the session's own."""
        self.temp_oids: set[int] = set()
        self.taint = Taint()
        self.contexts: list[PlanContext | None] = [None, None]
        self.contexts_anywhere: list[PlanContext | None] = [None, None]
        self.dirty = False
        """A statement of this transaction may have changed name resolution: its end may change it back."""
        self.batch_dirty = False
        self.altered: frozenset[int] = frozenset()
        """OIDs of relations that the open transaction has given columns which nobody else knows."""
        self.tx_ddl = False
        self.ddl_pending = 0
        self.ddl_unread = False
        """DDL has completed and the catalog has not been read since."""
        self.tried_catalog = False
        """The catalog has been read again for the current message."""
        self.heard = self.began = options.timer()
        """When the server last said something, and when the session began."""
        self.probe_answer = bytearray()
        self.probe_error: Refusal | None = None
        self.probe_broke = ""
        """SQLSTATE of a probe that has failed in an open batch in front of a Query, which no Sync will follow."""
        self.probe_epoch = 0
        """The authority's epoch when the probe was sent."""
        self.bits = plans.EffectBits()
        self.statements = Statements()

    # Client to server. The default for a message is to be forwarded; nothing has to be called for that.

    def inject(self, data: bytes) -> None:
        """Put bytes of our own before the client's current message."""
        scan = self.client
        if scan.start > self.client_mark:
            self.to_server.append(scan.buf[self.client_mark : scan.start])
        self.client_mark = scan.start
        self.to_server.append(data)

    def drop(self) -> None:
        """Do not forward the client's current message."""
        scan = self.client
        if scan.start > self.client_mark:
            self.to_server.append(scan.buf[self.client_mark : scan.start])
        self.client_mark = scan.end
        self.drop_rest = scan.inside

    def flush_client(self) -> None:
        """Forward what has been looked at and not been dropped."""
        scan = self.client
        mark, end = self.client_mark, scan.end
        if end > mark:
            buf = scan.buf
            self.to_server.append(buf if mark == 0 and end == len(buf) else buf[mark:end])
        self.client_mark = end

    # Server to client, the same way.

    def mute(self) -> None:
        """Do not relay the server's current message."""
        scan = self.server
        if scan.start > self.server_mark:
            self.to_client.append(scan.buf[self.server_mark : scan.start])
        self.server_mark = scan.end
        self.mute_rest = scan.inside

    def instead(self, data: bytes) -> None:
        """Relay something else in the place of the server's current message."""
        self.mute()
        self.to_client.append(data)

    def precede(self, data: bytes) -> None:
        """Relay something of our own before the server's current message."""
        scan = self.server
        if scan.start > self.server_mark:
            self.to_client.append(scan.buf[self.server_mark : scan.start])
        self.server_mark = scan.start
        self.to_client.append(data)

    def flush_server(self) -> None:
        """Relay what has not been muted. A short message that is not whole yet is kept back: if the server dies over it, the
        client can still be told, where it could not within a message."""
        scan = self.server
        mark, end = self.server_mark, scan.end
        if end > mark:
            buf = scan.buf
            self.server_mark = end
            if scan.inside:
                if self.unfinished:
                    self.unfinished.append(buf[mark:end])
                    return
                if scan.began >= mark:
                    self.unfinished.append(buf[scan.began : end])
                    end = scan.began
                    if end == mark:
                        return
            self.to_client.append(buf if mark == 0 and end == len(buf) else buf[mark:end])

    @property
    def between(self) -> bool:
        """Something of our own may be sent to the server now: what it has got from the client ends with a whole message."""
        return not self.client.inside or self.drop_rest

    # The queue.

    def pop(self) -> None:
        """The head has been answered."""
        queue = self.queue
        queue.popleft()
        if queue and queue[0].kind == expect.COPY_END:
            self.trim()

    def trim(self) -> None:
        """CopyDone and CopyFail that no copy has taken are ignored by the server."""
        queue = self.queue
        while queue and queue[0].kind == expect.COPY_END:
            queue.popleft()

    # The policy view.

    def refresh_view(self) -> View:
        """The view that holds now; asks the authority only when it may have changed."""
        view = self.view
        if view is None or view.epoch != self.authority.epoch or (
            self.view_until is not None and self.options.clock() >= self.view_until
        ):  # fmt: skip
            view = self.renew_view()
        return view

    def renew_view(self) -> View:
        old = self.view
        if not self.masked:
            self.fires = True
        try:
            view = self.authority.current(self.identity, self.options.clock())
        except Exception as error:
            refusal = _refusal_of(error)
            if refusal is None:
                raise
            raise Unavailable(refusal) from error
        self.view = view
        profile = view.profile
        if old is None or old.profile is not profile or old.roles != view.roles:
            self.audit.context(profile, view.roles)
        self.view_until = profile.valid_until
        self.masked = profile.masked
        self.wary = profile.masked or profile.may_mask
        if profile.has_filters != self.probing:
            self.probing = profile.has_filters
            self.client.reclass(PROBING_CLASSES if self.probing else CLIENT_CLASSES)
        if profile.metered and self.options.meter is not None:
            self.metered = True
        if not profile.masked:
            self.been_clear = True
        self.commented = profile.commented
        if profile.assertable or self.assertable:
            self._may_assert(() if self.pooled else tuple(sorted(profile.assertable)))
        self.contexts = [None, None]
        self.contexts_anywhere = [None, None]
        if old is None or old.epoch != view.epoch:
            self.resolution = None  # which schemas are there and may be used is for the server to say again
        if old is not None and old.profile.key != profile.key:
            self.era += 1
            self.era_in_tx = True
        if old is None or old.profile.key != profile.key or old.catalog.version != view.catalog.version:
            self.view_stamp += 1
            self.stamps.clear()
            self.judged.clear()
        self._restamp()
        return view

    def _may_assert(self, names: tuple[str, ...]) -> None:
        if names != self.assertable:
            self.assertable = names
            self.gate = self.gate | ASSERTED if names else self.gate & ~ASSERTED

    def on_asserted(self, asserted: tuple[tuple[str, str], ...]) -> None:
        """What the server has said about `assertable`."""
        self.gate &= ~ASSERTED
        self.said = asserted
        self._become(asserted)

    def act_for(self, comment: tuple[tuple[str, str], ...]) -> bool:
        """The current message is for whom the session speaks, or for whom the comment of its statement names. True: not yet,
        because what went before is still to be answered."""
        asserted = self.said
        if comment:
            merged = {**dict(asserted), **dict(comment)}
            asserted = tuple((name, merged[name]) for name in sorted(merged))
        if asserted == self.identity.asserted:
            return False
        if self.queue:
            return True
        self._become(asserted)
        return False

    def _become(self, asserted: tuple[tuple[str, str], ...]) -> None:
        if asserted != self.identity.asserted:
            self.identity = replace(self.identity, asserted=asserted)
            self.audit.identity(self.identity)
            self.renew_view()

    def _restamp(self) -> None:
        stamp = self.stamps.get(self.resolution)
        if stamp is None:
            if len(self.stamps) >= _STAMPS_MAX:
                self.stamps.clear()
            stamp = self.last_stamp = self.stamps[self.resolution] = self.last_stamp + 1
        self.stamp = stamp

    def plan(self, text: str, extended: bool, types: bytes = NO_TYPES) -> Plan:
        """Under the view of `refresh_view`, which every handler calls first. `types`: of the parameters, as Parse gives them.

        Raises Elsewhere for a long text: handlers must not have changed anything before.
        """
        view = self.view or self.renew_view()
        if types is not NO_TYPES and (given := _user_types(types)):
            context = PlanContext(
                view.catalog, view.profile, self.resolution, self.standard_strings, extended, given, self.transient
            )
        else:
            kept = self.contexts[extended]
            if kept is None:
                kept = PlanContext(
                    view.catalog, view.profile, self.resolution, self.standard_strings, extended, (), self.transient
                )
                self.contexts[extended] = kept
            context = kept
        plan = view.planner.plan(text, context) if len(text) <= _LONG else self._plan_long(view, text, context)
        return plan if plan.refusal is None else _or_through(plan, text, view)

    def plan_anywhere(self, text: str, extended: bool, types: bytes = NO_TYPES) -> Plan:
        """A plan that holds however names resolve; NEED when there is none. Raises Elsewhere."""
        view = self.view or self.renew_view()
        if types is not NO_TYPES and (given := _user_types(types)):
            context = self._context(view, None, extended, given)
        else:
            kept = self.contexts_anywhere[extended]
            if kept is None:
                kept = self._context(view, None, extended)
                self.contexts_anywhere[extended] = kept
            context = kept
        plan = view.planner.plan(text, context) if len(text) <= _LONG else self._plan_long(view, text, context)
        return plan if plan.refusal is None else _or_through(plan, text, view)

    def _context(self, view: View, resolution: Resolution | None, extended: bool, given: tuple[int, ...] = ()) -> PlanContext:
        return PlanContext(view.catalog, view.profile, resolution, self.standard_strings, extended, given, self.transient)

    def _plan_long(self, view: View, text: str, context: PlanContext) -> Plan:
        asked = PlanRequest(view.planner, text, context)
        ready = self.planned
        if ready is not None and ready[0].is_same(asked):
            return ready[1]
        known = view.planner.recall(text, context)
        if known is not None:
            return known
        self.wants_plan = asked
        raise Elsewhere

    def set_resolution(self, resolution: Resolution | None) -> None:
        """What the server has said, or None: it has to be asked before the next plan that depends on it."""
        if resolution != self.resolution:
            self.resolution = resolution
            self.contexts = [None, None]
            self._restamp()

    def leave_link(self) -> None:
        """A transaction is over and its server connection is somebody else's: nothing that was on it is known any more."""
        self.link += 1
        self.strange = None
        self.statements.portals.clear()
        self.temp_oids.clear()
        self.taint = Taint()
        self.stamps.clear()
        self.resolution = None
        self.contexts = [None, None]
        self._restamp()

    def on_parameter(self, name: bytes, value: bytes) -> None:
        """A ParameterStatus of the server, in any phase."""
        if name == b"client_encoding":
            self.client_encoding = value.decode("ascii", "replace")
            self.codec = encodings.codec(self.client_encoding, self.server_encoding)
        elif name == b"server_encoding":
            self.server_encoding = value.decode("ascii", "replace")
            self.codec = encodings.codec(self.client_encoding, self.server_encoding)
            self.within = encodings.narrow(self.server_encoding)
        elif name == b"standard_conforming_strings":
            self.standard_strings = value == b"on"
            self.contexts = [None, None]
            self.contexts_anywhere = [None, None]
        elif name == b"search_path":  # reported from PostgreSQL 18 on
            self.set_resolution(None)
        elif name == b"application_name":
            application = value.decode(self.codec or "ascii", "replace")
            if not self.pooled or self.renames:
                self.rename(application)
                self.claimed = application if self.pooled else self.claimed

    def rename(self, application: str) -> None:
        """The application name has changed."""
        if application != self.identity.application_name:
            self.identity = replace(self.identity, application_name=application)
            self.audit.identity(self.identity)
            self.view = None if self.view is None else self.renew_view()

    # Names of prepared statements and portals.

    def name(self, raw: bytes) -> bytes:
        """From a message, as the server keeps it. Begins with a zero byte when we cannot be sure which one that is."""
        if raw.isascii():
            return raw[: encodings.NAME_LENGTH]
        return encodings.server_name(raw, self.client_encoding, self.server_encoding) or b"\0" + raw

    def sql_name(self, identifier: str) -> bytes:
        """From a statement, likewise."""
        codec = encodings.CODECS.get(self.server_encoding.upper(), "utf-8")
        return identifier.encode(codec, "replace")[: encodings.NAME_LENGTH]

    # Evidence.

    def decide(
        self, entry: Expected, kind: str, plan: Plan, text: str, protocol: str, binds: Binds = None, told: Plan | None = None
    ) -> None:
        """One decision record per statement, kept with the entry that will bring its outcome.

        `binds`: of an Execute (`AuditSink.bound`). `told`: the plan as the auditor is to have it, where that is another one.
        """
        entry.plan = plan
        if told is not None:
            plan = told
        if not plan.own:
            self.last_plan = plan
        count = len(plan.statements)
        decision = self.audit.decision
        if count <= 1:
            entry.decided = (decision(self.sid, kind, plan, 0, text, protocol, binds),)
        else:
            entry.decided = tuple(decision(self.sid, kind, plan, i, text, protocol) for i in range(count))
        if self.quiet:
            entry.quiet = True
        entry.started = self.timer()
        self.evidence = True

    def conclude(self, entry: Expected, tag: str) -> None:
        """The running statement of the entry has ended well."""
        index = entry.index
        if index >= len(entry.decided):
            return
        now = self.timer()
        rows = entry.rows
        if not rows:
            count = tag.rpartition(" ")[2]
            if count.isdigit():
                rows = int(count)
        self.audit.outcome(entry.decided[index], tag, rows, entry.bytes, now - entry.started, None)
        entry.index = index + 1
        entry.rows = entry.bytes = 0
        if entry.charged:
            entry.charged = 0
        entry.started = now
        self.evidence = True

    def abandon(self, entry: Expected, sqlstate: str) -> None:
        """Whatever of the entry has not ended never will: the running statement failed, later ones were not reached."""
        decided = entry.decided
        reached = entry.index
        if reached < len(decided):
            seconds = self.timer() - entry.started
            for i in range(reached, len(decided)):
                self.audit.outcome(decided[i], None, entry.rows, entry.bytes, seconds, sqlstate)
                entry.rows = entry.bytes = 0
                seconds = 0.0
            entry.index = len(decided)
            self.evidence = True
        if entry.kind == expect.PARSE and entry.slot is not None and entry.record is not None:
            entry.slot.fail(entry.record)
            self.statements.tidy(entry.slot)
        if entry.kind == expect.BIND and entry.portal is not None:
            self.statements.unbind(entry.portal)
        for _, slot, record in entry.prepares:
            slot.fail(record)
            self.statements.tidy(slot)
        entry.prepares = ()
        for _, portal in entry.opens:
            self.statements.unbind(portal)
        entry.opens = ()
        if entry.changes & plans.DDL:
            self.ddl_over(entry, done=entry.kind == expect.QUERY and reached > 0)

    def ddl_over(self, entry: Expected, done: bool) -> None:
        """A statement with DDL is no longer under way; `done`: it has succeeded and the catalog is to be read again."""
        entry.changes &= ~plans.DDL
        self.ddl_pending -= 1
        if done:
            self.ddl = True
            self.ddl_unread = self.masked
            self.gate |= DDL
        if not self.ddl_pending and not self.ddl_unread:
            self.gate &= ~DDL

    # The end.

    def end(self, refusal: Refusal | None, server_gone: bool = False) -> None:
        """Close both sides; `refusal` goes to the client as a FATAL error where the stream allows it."""
        if self.close:
            return
        self.close = True
        if refusal is not None and self.phase != RAW and (self.unfinished or not self.server.inside):
            self.to_client.append(poison.error(refusal, self.codec, b"FATAL"))
        if not (server_gone or self.leaving or self.torn or self.client.inside or self.phase != READY):
            self.to_server.append(codec.TERMINATE)
        state = refusal.sqlstate if refusal is not None else "08006"
        for entry in self.queue:
            self.abandon(entry, state)
        self.queue.clear()
        self.held = self.wants_catalog = self.wants_cancel = False
        self.unfinished.clear()
        self.backlog.clear()
        self.backlog_size = 0
        self.client.release()
        self.server.release()
