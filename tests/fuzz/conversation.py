"""A conversation: what a client sends, in bursts, and the text form in which found ones are kept.

    # login: masked               clear or masked
    # pace: 17                    seed of the chunk boundaries; 0: each burst in one piece
    # rush: yes                   nothing is waited for
    # why: …                      what it found
    C> Query "select 1"           a message, as `proxy.wire.trace` writes it
    WAIT                          the burst is over: the client reads what the server has to say before it goes on

A text that holds `/*refused*/` is one that the policy refuses; a server without pgveil gets one that fails in its place.
In a Query, what stands before `/*behind*/` is carried out first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.wire import codec, tags, trace

REFUSED = b"/*refused*/"
BEHIND = b"/*behind*/"
STAND_IN = b"select refused_by_policy"
STAND_IN_STATES = frozenset({b"42703", b"42883"})
"""SQLSTATEs of what stands in for refused messages."""


@dataclass(frozen=True, slots=True)
class Conversation:
    login: str
    bursts: tuple[tuple[bytes, ...], ...]
    pace: int = 0
    rush: bool = False
    why: str = ""

    @property
    def messages(self) -> int:
        return sum(map(len, self.bursts))

    def chunks(self, burst: bytes, rng: random.Random) -> Iterator[bytes]:
        """The burst as it is written to the socket."""
        if not self.pace:
            yield burst
            return
        at = 0
        while at < len(burst):
            end = at + rng.choice((1, 3, 5, 6, 17, 100, 1000, 100_000))
            yield burst[at:end]
            at = end

    def with_bursts(self, bursts: tuple[tuple[bytes, ...], ...]) -> Conversation:
        return replace(self, bursts=tuple(b for b in bursts if b))

    def dump(self) -> str:
        lines = [f"# login: {self.login}", f"# pace: {self.pace}"]
        if self.rush:
            lines.append("# rush: yes")
        if self.why:
            lines.append(f"# why: {self.why}")
        for burst in self.bursts:
            lines += [f"C> {trace.show(message, True)}" for message in burst]
            lines.append("WAIT")
        return "\n".join(lines) + "\n"


def load(path: Path) -> Conversation:
    return parse(path.read_text("utf-8"))


def parse(text: str) -> Conversation:
    heads: dict[str, str] = {}
    bursts: list[tuple[bytes, ...]] = []
    burst: list[bytes] = []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            heads[key.strip()] = value.strip()
        elif line.startswith("C> "):
            burst.append(trace.read(line[3:], True))
        elif line == "WAIT":
            bursts.append(tuple(burst))
            burst = []
        elif line:
            raise ValueError(f"not a line of a conversation: {line}")
    if burst:
        bursts.append(tuple(burst))
    return Conversation(
        heads["login"], tuple(bursts), int(heads.get("pace", "0")), heads.get("rush") == "yes", heads.get("why", "")
    )


def stand_in(message: bytes) -> bytes:
    """What a server without pgveil gets in the place of a message that pgveil refuses."""
    if message[0] == tags.FUNCTION_CALL:
        return codec.encode_function_call(codec.FunctionCall(0))
    if REFUSED not in message:
        return message
    if message[0] == tags.QUERY and message.find(0, 5) == len(message) - 1:
        return codec.encode_query(message[5:-1].rpartition(BEHIND)[0] + STAND_IN)
    if message[0] == tags.PARSE:
        try:
            return codec.encode_parse(codec.Parse(codec.decode_parse(message[5:]).name, STAND_IN))
        except codec.CodecError:
            return message  # refused by anybody
    return message
