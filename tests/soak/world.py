"""What all clients of the soak share: where to connect, what is right, what has been found, and when it is over.

A *finding* is something that must not happen: a wrong answer, a session that is stuck, a connection that is dropped
without a word although nobody has cut it. Everything else (an error because a server process was terminated, a connection
that the relay has cut) is only counted.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.soak.bank import InForce

EXPECTED = frozenset(
    {
        "57P01",  # terminated by us
        "08006",  # the server connection was cut
        "08001",  # … before there was a session
        "57P03",  # the control connection was cut or held up for too long
        "57014",  # cancelled by us, or by a cancel that came late
        "0A000",  # a portal from before a change of policy
    }
)
"""SQLSTATEs with which a session of the soak may end, or a statement may fail."""


class Wrong(Exception):
    """An answer that is not right. The text says which."""


@dataclass
class World:
    port: int
    """pgveil's own."""
    cut_port: int
    """The same with cuts."""
    seconds: float
    chance: random.Random
    deadline: float = 45.0
    """Seconds within which everything has an answer: more than `control.max_stale`."""
    tolerant: bool = False
    """Processes of pgveil are killed: connections may be lost without a word."""
    in_force: InForce = field(default_factory=InForce)
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    over_thread: threading.Event = field(default_factory=threading.Event)
    """The same for clients in threads."""
    took: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Seconds of every step, of clear and of masked sessions."""
    busy: dict[str, str] = field(default_factory=dict)
    """What every client is at."""

    def find(self, text: str) -> None:
        self.findings.append(text)
        if len(self.findings) <= 20:
            print("FINDING", text, flush=True)

    def address(self, cuttable: bool) -> tuple[str, int]:
        return "127.0.0.1", self.cut_port if cuttable else self.port

    def failed(self, who: str, doing: str, told: str | None, detail: str) -> None:
        """A statement or connection has failed. `told`: the SQLSTATE that the client was given, None when it was given none."""
        if told is not None:
            self.errors[told] += 1
            if told not in EXPECTED:
                self.find(f"{who}: {doing}: {told} {detail}")
        elif self.tolerant:
            self.errors["cut"] += 1
        else:
            self.errors["dropped"] += 1
            self.find(f"{who}: {doing}: dropped without a word: {detail}")
