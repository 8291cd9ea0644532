"""Prepared statements and portals: what the client meant by each name, and under which policy it was planned.

The server has one name space for Parse and for SQL's PREPARE, cut to 63 bytes. What a name stands for at the server is
known for certain only when the reply has come; until then a slot keeps every candidate (a Parse may fail, a Close may
be skipped), and a Bind must be right for all of them. Manual: protocol-flow "Extended Query", sql-prepare.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rewrite.plan import Plan

NAME_LENGTH = 63
MIXED = -1


class Record:
    """A client text and its plan, valid for one stamp (profile and catalog) of the session."""

    __slots__ = ("described_in", "effects", "extended", "judged", "plan", "sent", "stamp", "text")

    def __init__(self, text: str, sent: str, plan: Plan, stamp: int, extended: bool, effects: int = 0) -> None:
        self.text = text
        self.sent = sent
        """What the server was given."""
        self.plan = plan
        self.stamp = stamp
        self.extended = extended
        self.effects = effects
        """Effect bits of running it."""
        self.judged = False
        """Its RowDescription has passed the guard under this stamp."""
        self.described_in = 0
        """Number of the batch in which a Describe for it has been sent."""


class Slot:
    """One name: the statement that the server has confirmed, and those that are on their way."""

    __slots__ = ("confirmed", "latest", "name", "pending", "stamp")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.confirmed: Record | None = None
        self.pending: deque[Record] = deque()
        self.latest: Record | None = None
        self.stamp = MIXED
        """The stamp that all candidates share."""

    def add(self, record: Record) -> None:
        self.stamp = record.stamp if self.latest is None or self.stamp == record.stamp else MIXED
        self.pending.append(record)
        self.latest = record

    def confirm(self, record: Record) -> None:
        self._forget(record)
        self.confirmed = record
        if self.pending:
            self.refresh()
        else:
            self.latest = record
            self.stamp = record.stamp

    def fail(self, record: Record) -> None:
        self._forget(record)
        self.refresh()

    def close(self) -> None:
        """The server has dropped the confirmed statement."""
        self.confirmed = None
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

    def _forget(self, record: Record) -> None:
        pending = self.pending
        if pending and pending[0] is record:
            pending.popleft()
        elif record in pending:
            pending.remove(record)


@dataclass(slots=True)
class Portal:
    record: Record | None
    stamp: int
    """MIXED: the name has been bound under two policies and we cannot know which one the server kept."""


@dataclass(slots=True)
class Statements:
    slots: dict[bytes, Slot] = field(default_factory=dict)
    portals: dict[bytes, Portal] = field(default_factory=dict)

    def find(self, name: bytes) -> Slot | None:
        """The slot of a name that some statement may have; None when the server cannot know the name."""
        slot = self.slots.get(name[:NAME_LENGTH])
        return slot if slot is not None and slot.latest is not None else None

    def slot(self, name: bytes) -> Slot:
        name = name[:NAME_LENGTH]
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

    def bind(self, name: bytes, record: Record | None, stamp: int) -> None:
        name = name[:NAME_LENGTH]
        old = self.portals.get(name) if name else None
        if old is not None and old.stamp != stamp:
            stamp = MIXED  # a named portal is not replaced; the Bind may fail and leave the old one
        self.portals[name] = Portal(record, stamp)
