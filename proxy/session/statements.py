"""Prepared statements and portals: what the client meant by each name, and under what it was planned.

The server has one name space for Parse and for SQL's PREPARE, another for Bind and DECLARE. What a name stands for at the
server is known for certain only when the reply has come; until then a slot keeps every candidate (a Parse may fail, a Close may
be skipped), and a Bind must be right for all of them. Within one batch the latest Parse is the only candidate: had it
failed, the server would skip the Bind too. Manual: protocol-flow "Extended Query", sql-prepare.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from proxy.session.effects import Allowance, Binds
from rewrite.plan import Plan, Refusal

NO_TYPES = b"\0\0"
"""Parameter types of a Parse that gives none, in the message's own form."""
MIXED = -1
"""A stamp that is never today's."""


class Record:
    """A client text and its plan, valid for one stamp (profile, catalog and name resolution) of the session.

    Defaults live on the class: one is made for every Parse, and most need only what `__init__` sets.
    """

    types: bytes = NO_TYPES
    """Parameter types as the client's Parse gave them, in the message's own form."""
    from_sql: bool = False
    """Made by SQL's PREPARE, not by Parse."""
    unreadable: Refusal | None = None
    """Why `text` is only an approximation; such a statement runs in clear sessions only."""
    unread: bool = False
    """Nobody has seen the whole text, which was too long; `text` only says so."""
    comment: tuple[tuple[str, str], ...] = ()
    """What the comment at its end asserts."""
    standard_strings: bool = True
    """standard_conforming_strings when the server read the text."""
    tangled: bool = False
    """Made by a PREPARE behind a change of name resolution in one query string: it cannot be planned again by itself."""
    judged: bool = False
    """Its RowDescription has passed the guard under this stamp."""
    described_in: int = 0
    """Number of the batch in which a Describe for it has been sent."""
    shape: bytes | None = None
    """Digest of the column types that the client has been told; None: it has not asked."""
    inputs: bytes | None = None
    """The ParameterDescription that the client has been given."""
    link: int = 0
    """The transaction in which the server has got it, where each may be on another server connection (`State.link`)."""
    known_under: object = None
    """Catalog and name resolution under which shape and inputs were told."""
    misfit: bool = False
    """Prepared again under another policy, and its result no longer has the shape that the client knows."""

    def __init__(self, text: str, sent: str | None, plan: Plan, stamp: int, extended: bool, effects: int = 0) -> None:
        self.text = text
        self.sent = sent
        """What the server was given; None: it does not have the statement any more."""
        self.plan = plan
        self.stamp = stamp
        self.extended = extended
        """The text came in a Parse message."""
        self.effects = effects
        """Effect bits of running it."""

    def successor(self, sent: str | None, plan: Plan, stamp: int) -> Record:
        """The client's statement under another plan."""
        record = Record(self.text, sent, plan, stamp, self.extended, self.effects)
        record.types = self.types
        record.from_sql = self.from_sql
        record.unread = self.unread
        record.tangled = self.tangled
        record.comment = self.comment
        record.standard_strings = self.standard_strings
        record.shape = self.shape
        record.inputs = self.inputs
        record.link = self.link
        record.known_under = self.known_under
        return record


class Slot:
    """One name: the statement that the server has confirmed, and those that are on their way."""

    __slots__ = ("batch", "confirmed", "latest", "name", "pending", "stamp")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.confirmed: Record | None = None
        self.pending: deque[Record] = deque()
        self.latest: Record | None = None
        self.stamp = MIXED
        """The stamp that all candidates share."""
        self.batch = 0
        """Number of the batch in which `latest` was sent as a Parse."""

    def add(self, record: Record) -> None:
        self.stamp = record.stamp if self.latest is None or self.stamp == record.stamp else MIXED
        self.pending.append(record)
        self.latest = record

    def confirm(self, record: Record) -> None:
        self._forget(record)
        old, self.confirmed = self.confirmed, record
        if not self.pending:
            self.latest = record
            self.stamp = record.stamp
        elif old is not None and old.stamp != record.stamp:
            self._gone(old.stamp)

    def fail(self, record: Record) -> None:
        self._forget(record)
        self._gone(record.stamp)

    def close(self) -> None:
        """The server has dropped the confirmed statement."""
        old, self.confirmed = self.confirmed, None
        if old is not None:
            self._gone(old.stamp)

    def lose(self) -> None:
        """The server has dropped it because it is being prepared again; until that has worked only the client has it."""
        old = self.confirmed
        if old is not None:
            self.confirmed = old.successor(None, old.plan, MIXED)
            self.refresh()

    def candidates(self) -> list[Record]:
        return ([self.confirmed] if self.confirmed else []) + list(self.pending)

    def refresh(self) -> None:
        """Recompute what is derived from the candidates."""
        if self.pending:
            self.latest = self.pending[-1]
        else:
            self.latest = self.confirmed
        stamps = {r.stamp for r in self.candidates()}
        self.stamp = stamps.pop() if len(stamps) == 1 else MIXED

    def _gone(self, stamp: int) -> None:
        """A candidate with that stamp is no more. All are looked at only if it may have been the last with this stamp: a
        pipeline may have a hundred thousand of them under way."""
        if not self.pending or (self.stamp == MIXED and self.pending[0].stamp != stamp):
            self.refresh()
        else:
            self.latest = self.pending[-1]

    def _forget(self, record: Record) -> None:
        pending = self.pending
        if pending and pending[0] is record:
            pending.popleft()
        elif record in pending:
            pending.remove(record)


@dataclass(slots=True)
class Portal:
    """A portal as its Bind made it, or a cursor as DECLARE has opened it: both share one name space.

    While that has not been answered, the server may still have the one before it.
    """

    name: bytes
    record: Record | None
    stamp: int
    """MIXED: nobody knows under which stamp the server has bound it."""
    view_stamp: int
    batch: int = 0
    """Number of the batch of its Bind."""
    before: Portal | None = None
    """The one that had the name, until the Bind has been answered. The Bind may fail, or be skipped, and leave it."""
    cursor: bool = False
    """Opened by DECLARE."""
    holds: bool = False
    """A cursor that outlives its transaction."""
    era: int = 0
    """Of a cursor: the policy under which it was opened, as `State.era` counts them."""
    allowances: tuple[Allowance, ...] | None = None
    """On what its rows draw, once some have been asked for: however it is read, it is one statement."""
    binds: Binds = None
    """What it was bound to."""
    counted_in: int = 0
    """The policy under which that was found out, as `State.era` counts them."""


@dataclass(slots=True)
class Statements:
    """By name. Names are what the server makes of them: `State.name`."""

    slots: dict[bytes, Slot] = field(default_factory=dict)
    portals: dict[bytes, Portal] = field(default_factory=dict)

    def find(self, name: bytes) -> Slot | None:
        """The slot of a name that some statement may have; None when the server cannot know the name."""
        slot = self.slots.get(name)
        return slot if slot is not None and slot.latest is not None else None

    def slot(self, name: bytes) -> Slot:
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = Slot(name)
        return slot

    def tidy(self, slot: Slot) -> None:
        """Drop an empty slot."""
        if slot.latest is None:
            self.slots.pop(slot.name, None)

    def close_all(self) -> None:
        """DEALLOCATE ALL or DISCARD ALL has succeeded; statements sent after it are still pending."""
        for slot in list(self.slots.values()):
            if slot.name:
                slot.close()
                self.tidy(slot)

    def doubt(self) -> None:
        """A pooler that keeps account of them has taken a Close at its word that the server has skipped: prepare them again."""
        for slot in self.slots.values():
            record = slot.confirmed
            if record is not None and not record.from_sql:
                record.link = -1
                record.stamp = MIXED
                slot.refresh()

    def bind(self, name: bytes, record: Record | None, stamp: int, view_stamp: int, batch: int) -> Portal:
        """A Bind has been sent. In its own batch it is the only candidate: had it failed, the server would skip what follows."""
        self.portals[name] = portal = Portal(name, record, stamp, view_stamp, batch, self.portals.get(name))
        return portal

    def unbind(self, portal: Portal) -> None:
        """The Bind has failed or has been skipped."""
        name = portal.name
        latest = self.portals.get(name)
        if latest is portal:
            if portal.before is None:
                del self.portals[name]
            else:
                self.portals[name] = portal.before
            return
        while latest is not None and latest.before is not portal:
            latest = latest.before
        if latest is not None:
            latest.before = portal.before

    def close_portal(self, portal: Portal) -> None:
        """The server has closed what was the latest of that name when the Close was sent."""
        latest = self.portals.get(portal.name)
        if latest is portal:
            del self.portals[portal.name]
        while latest is not None:
            if latest.before is portal:
                latest.before = None
            latest = latest.before

    def every_portal(self) -> list[Portal]:
        """Those that the server may have."""
        out = []
        for latest in self.portals.values():
            portal: Portal | None = latest
            while portal is not None:
                out.append(portal)
                portal = portal.before
        return out

    def transaction_over(self) -> None:
        """Portals end with their transaction, cursors WITH HOLD do not."""
        held = {name: portal for name, portal in self.portals.items() if portal.holds}
        self.portals.clear()
        self.portals.update(held)
