"""Mutated conversations played into the session core, without sockets: what must hold whatever the two sides say.

* No exception leaves the session, and none is turned into "internal error".
* Bytes held stay within the limits. After both sides are gone the session is closed.
* Every decision record has exactly one outcome; nothing that a statement brings reaches the client before its record has been
  handed over and `evidence` is set.
* Behind a result description with a masked column no row of that result reaches the client.
* Nothing of our own (probe, poison) reaches the client.
* The same bytes in other chunks give the same bytes out and the same evidence.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "session"))

import scripted

from proxy.session.effects import MIB
from proxy.session.machine import Session
from proxy.wire import codec, tags
from tests.fuzz import mutate
from tests.fuzz.mutate import CHANGE, CLIENT, CLOSE_CLIENT, CLOSE_SERVER, REFRESH, REFUSE, SERVER, Event
from tests.fuzz.recording import Recording, all_recordings

BACKLOG = 1 << 12
BUFFERED = 2 * MIB + BACKLOG
_RESULTS = frozenset(
    {tags.DATA_ROW, tags.COMMAND_COMPLETE, tags.EMPTY_QUERY_RESPONSE, tags.PORTAL_SUSPENDED, tags.COPY_OUT_RESPONSE}
)
_OURS = (b"pgveil.probe", b"internal error")
MASKED_FIELD = codec.Field(b"phone", scripted.CUSTOMERS, 2, 25, -1, -1, 0)


class Broken(AssertionError):
    """A property does not hold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    to_server: bytes
    to_client: bytes
    evidence: tuple[str, ...]
    broken: str | None = None


class Stage:
    """A session in a scripted world, watched."""

    def __init__(self, profile: str) -> None:
        self.session, self.authority, self.audit = scripted.make_session(profile, max_backlog=BACKLOG)
        self.to_server = b""
        self.to_client = b""
        self._watched = 0
        self._tripped = False

    def call(self, act: Callable[[Session], None]) -> None:
        """One call of a transport, and what a transport does after it."""
        session = self.session
        decided = self.audit.seq
        act(session)
        if self.audit.seq != decided and not session.evidence:
            raise Broken("a decision was made and no evidence asked for")
        session.evidence = False
        self._drain()
        for _ in range(20):
            if not (session.wants_catalog or session.ddl):
                break
            session.ddl = False
            session.catalog_refreshed()
            self._drain()
        if session.buffered > BUFFERED:
            raise Broken(f"{session.buffered} bytes are held")

    def _drain(self) -> None:
        session = self.session
        if session.phase == 1:
            for chunk in session.to_client:
                if not self.audit.seq and chunk[:1] and chunk[0] in _RESULTS:
                    raise Broken("a result before any record")
        self.to_server += b"".join(session.to_server)
        self.to_client += b"".join(session.to_client)
        session.to_server.clear()
        session.to_client.clear()

    def finish(self) -> Outcome:
        self.call(lambda s: s.client_eof())
        self.call(lambda s: s.server_eof())
        if not self.session.close:
            raise Broken("the session is not closed when both sides are gone")
        if self.audit.open:
            raise Broken(f"records without an outcome: {sorted(self.audit.open)}")
        for text in _OURS:
            if text in self.to_client:
                raise Broken(f"the client has been told of {text.decode()}")
        return Outcome(self.to_server, self.to_client, tuple(self.audit.lines))


def play(events: Sequence[Event], profile: str, cut: int = 0) -> Outcome:
    """The conversation, in chunks of its own or cut otherwise by that seed. Never raises but for what the harness does wrong."""
    stage = Stage(profile)
    rng = random.Random(cut)
    try:
        for event in _joined(events, rng) if cut else events:
            if event.kind in (CLIENT, SERVER):
                for piece in _pieces(event.data, rng if cut else None):
                    if event.kind == CLIENT:
                        stage.call(lambda s: s.client_data(piece))  # noqa: B023
                    else:
                        stage.call(lambda s: s.server_data(piece))  # noqa: B023
            elif event.kind == CLOSE_CLIENT:
                stage.call(lambda s: s.client_eof())
            elif event.kind == CLOSE_SERVER:
                stage.call(lambda s: s.server_eof())
            elif event.kind == CHANGE:
                stage.authority.change(profile=event.data.decode(), catalog="fresh_t")
            elif event.kind == REFRESH:
                stage.call(lambda s: s.catalog_refreshed())
            elif event.kind == REFUSE:
                stage.call(lambda s: s.refuse("57P01", "terminating connection due to administrator command"))
        return stage.finish()
    except Exception as error:
        return Outcome(stage.to_server, stage.to_client, tuple(stage.audit.lines), f"{type(error).__name__}: {error}")


def _joined(events: Sequence[Event], rng: random.Random) -> list[Event]:
    """Neighbours of the client as one piece, now and then.

    Not the server's: held input goes on at the end of a chunk, and a server that answers what it has not been asked is found to
    break the protocol earlier in a longer chunk.
    """
    out: list[Event] = []
    for event in events:
        if out and event.kind == CLIENT == out[-1].kind and rng.random() < 0.7:
            out[-1] = Event(event.kind, out[-1].data + event.data)
        else:
            out.append(event)
    return out


def _pieces(data: bytes, rng: random.Random | None) -> list[bytes]:
    if rng is None or rng.random() < 0.3:
        return [data]
    out = []
    at = 0
    while at < len(data):
        end = at + rng.choice((1, 2, 4, 5, 6, 11, 60, 300, 5000))
        out.append(data[at:end])
        at = end
    return out


def check(events: Sequence[Event], profile: str, cut: int) -> str | None:
    """What is broken, or None."""
    whole = play(events, profile)
    if whole.broken:
        return whole.broken
    other = play(events, profile, cut)
    if other.broken:
        return f"in other chunks: {other.broken}"
    if (problem := shown_raw(whole.to_client)) is not None and profile == "masked" and not any(e.kind == CHANGE for e in events):
        return problem
    if any(b"C53200\0" in outcome.to_client for outcome in (whole, other)):
        return None  # how much waits depends on how it comes
    for name in ("to_server", "to_client", "evidence"):
        one, two = getattr(whole, name), getattr(other, name)
        if one != two:
            return f"in other chunks {name} differs:\n  {_diff(one, two)}"
    return None


def shown_raw(stream: bytes) -> str | None:
    """A masked column's description that was relayed."""
    marker = codec.encode_row_description([MASKED_FIELD])[7:]
    return "a description of a masked column was relayed" if marker in stream else None


def _diff(one: bytes | tuple[str, ...], two: bytes | tuple[str, ...]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return f"at {at} of {len(one)}/{len(two)}: {one[max(0, at - 60) : at + 60]!r} / {two[max(0, at - 60) : at + 60]!r}"


def events_of(recording: Recording, rng: random.Random) -> list[Event]:
    """The recording as events; some of its result columns become a masked one."""
    out = []
    for side, data in recording.messages:
        if side == SERVER and data[0] == tags.ROW_DESCRIPTION and rng.random() < 0.1:
            data = codec.encode_row_description([MASKED_FIELD])
        out.append(Event(side, data))
    return out


@dataclass(frozen=True, slots=True)
class Case:
    profile: str
    cut: int
    events: tuple[Event, ...]

    def dump(self, why: str) -> str:
        head = [f"# profile: {self.profile}", f"# cut: {self.cut}", f"# why: {why.splitlines()[0][:200]}"]
        return "\n".join([*head, *(e.show() for e in self.events)]) + "\n"


def load(text: str) -> Case:
    heads = dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("# "))
    events = tuple(mutate.parse_event(line) for line in text.splitlines() if line and not line.startswith("#"))
    return Case(heads["profile"], int(heads["cut"]), events)


def generate(seed: str) -> Case:
    rng = random.Random(seed)
    recordings = [r for r in all_recordings() if r.messages]
    events = events_of(rng.choice(recordings), rng)
    donors = events_of(rng.choice(recordings), rng)
    start = next((i for i, e in enumerate(events) if e.kind == SERVER and e.data[0] == tags.READY_FOR_QUERY), 0) + 1
    login, rest = events[:start], events[start:]
    if len(rest) > 60:
        at = rng.randrange(len(rest) - 40)
        rest = rest[at : at + rng.choice((10, 40))]
    times = rng.choice((0, 1, 1, 2, 3, 8))
    if rng.random() < 0.15:
        mutated = mutate.mutate(login + rest, rng, donors, times)
    else:
        mutated = login + mutate.mutate(rest, rng, donors, times)
    return Case(rng.choice(("masked", "masked", "clear")), rng.randrange(1, 1 << 30), tuple(mutated))


def run(seed: str) -> tuple[Case, str] | None:
    """One generated case; the shrunk case and what is broken, or None."""
    case = generate(seed)
    found = check(case.events, case.profile, case.cut)
    if found is None:
        return None

    def fails(events: list[Event]) -> bool:
        return check(events, case.profile, case.cut) is not None

    small = Case(case.profile, case.cut, tuple(mutate.shrink(case.events, fails)))
    return small, check(small.events, small.profile, small.cut) or found
