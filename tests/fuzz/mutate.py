"""Changes to a recorded conversation: to its bytes, to its order, to what happens in between.

A conversation is a list of events: bytes of the client or the server, a side that closes, or something outside that changes. The
mutations know where messages begin and that a length stands behind the tag, nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

CLIENT: Final = "C"
SERVER: Final = "S"
CLOSE_CLIENT: Final = "close client"
CLOSE_SERVER: Final = "close server"
CHANGE: Final = "change"
"""Another policy and catalog; the detail is the policy's name."""
REFRESH: Final = "refresh"
"""The catalog has been read, though nobody asked."""
REFUSE: Final = "refuse"
"""The session is ended from outside."""
PROFILES: Final = ("masked", "lax", "strict", "clear")


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    data: bytes = b""

    def show(self) -> str:
        return f"{self.kind} {self.data.hex()}".rstrip()


def parse_event(line: str) -> Event:
    kind, _, data = line.rpartition(" ")
    if kind in (CLIENT, SERVER, CHANGE):
        return Event(kind, bytes.fromhex(data))
    return Event(line.strip())


def flip(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """A byte of a message is another one."""
    i = _pick(events, rng)
    if i is not None:
        data = bytearray(events[i].data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        events[i] = Event(events[i].kind, bytes(data))


def relength(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """The length word lies."""
    i = _pick(events, rng)
    if i is not None and len(events[i].data) >= 5:
        data = events[i].data
        true = len(data) - 1
        length = rng.choice(
            (0, 3, 4, true - 1, true + 1, true + 100, 70_000, 0x3FFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32))
        )
        events[i] = Event(events[i].kind, data[:1] + (length & 0xFFFFFFFF).to_bytes(4, "big") + data[5:])


def retag(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    i = _pick(events, rng)
    if i is not None:
        events[i] = Event(events[i].kind, bytes([rng.choice(b"QPBDECSHXFpdcfR12TZKNAGWnst3IV")]) + events[i].data[1:])


def drop(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    if events:
        del events[rng.randrange(len(events))]


def double(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    if events:
        i = rng.randrange(len(events))
        events.insert(rng.randrange(len(events) + 1) if rng.random() < 0.5 else i, events[i])


def swap(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    if len(events) > 1:
        i = rng.randrange(len(events) - 1)
        events[i], events[i + 1] = events[i + 1], events[i]


def truncate(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """A message stops in the middle, and the next one begins."""
    i = _pick(events, rng)
    if i is not None:
        events[i] = Event(events[i].kind, events[i].data[: rng.randrange(len(events[i].data))])


def splice(events: list[Event], rng: random.Random, donors: Sequence[Event]) -> None:
    """A run of another conversation."""
    if donors:
        start = rng.randrange(len(donors))
        at = rng.randrange(len(events) + 1)
        events[at:at] = donors[start : start + rng.choice((1, 2, 5, 12))]


def lag(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """One side is late: what it says comes only after much of what the other side says."""
    if events:
        at = rng.randrange(len(events))
        side = rng.choice((CLIENT, SERVER))
        span = events[at : at + rng.choice((4, 10, 30))]
        late = [e for e in span if e.kind == side]
        events[at : at + len(span)] = [e for e in span if e.kind != side] + late


def blow_up(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """A message grows, with its length."""
    i = _pick(events, rng)
    if i is not None and len(events[i].data) >= 5:
        body = events[i].data[5:]
        body += rng.choice((b"\0", b"x" * 5000, b"\xff" * 300, bytes(70_000)))
        events[i] = Event(events[i].kind, events[i].data[:1] + (len(body) + 4).to_bytes(4, "big") + body)


def outside(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    """The policy, the catalog, the end of a side, the end of the session."""
    kind = rng.choices((CHANGE, REFRESH, CLOSE_CLIENT, CLOSE_SERVER, REFUSE), (8, 2, 1, 1, 0.5))[0]
    data = rng.choice(PROFILES).encode() if kind == CHANGE else b""
    events.insert(rng.randrange(len(events) + 1), Event(kind, data))


def junk(events: list[Event], rng: random.Random, _: Sequence[Event]) -> None:
    kind = rng.choice((CLIENT, SERVER))
    events.insert(rng.randrange(len(events) + 1), Event(kind, rng.randbytes(rng.choice((1, 4, 5, 20)))))


Mutation = Callable[[list[Event], random.Random, Sequence[Event]], None]
MUTATIONS: Final[tuple[tuple[Mutation, float], ...]] = (
    (flip, 4), (relength, 1), (retag, 1), (drop, 3), (double, 3), (swap, 3), (truncate, 1), (splice, 3), (lag, 3), (blow_up, 1),
    (outside, 3), (junk, 0.5),
)  # fmt: skip


def mutate(events: Sequence[Event], rng: random.Random, donors: Sequence[Event], times: int) -> list[Event]:
    out = list(events)
    for mutation in rng.choices([m for m, _ in MUTATIONS], [w for _, w in MUTATIONS], k=times):
        mutation(out, rng, donors)
    return out


def _pick(events: list[Event], rng: random.Random) -> int | None:
    """A message of either side."""
    places = [i for i, e in enumerate(events) if e.data and e.kind in (CLIENT, SERVER)]
    return rng.choice(places) if places else None


def shrink(events: Sequence[Event], fails: Callable[[list[Event]], bool], budget: int = 2000) -> list[Event]:
    """A shorter list that still fails: halves, quarters, single events."""
    best = list(events)
    size = max(1, len(best) // 2)
    while size and budget > 0:
        at = 0
        while at < len(best) and budget > 0:
            budget -= 1
            tried = best[:at] + best[at + size :]
            if fails(tried):
                best = tried
            else:
                at += size
        size //= 2
    return best
