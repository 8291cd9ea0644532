"""One conversation, played directly and through pgveil: the transcripts and what is in the tables afterwards must be equal.

The direct server tells how much it has said at the end of each burst; through pgveil the client waits for as much before it goes
on. So a reply that is held back is found too, not only a wrong one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.wire import codec, tags
from tests.fuzz import compare
from tests.fuzz.conversation import Conversation, stand_in
from tests.fuzz.lab import PHONES, RAW, TWIN, USERS, Lab
from tests.fuzz.peer import Peer

_ANSWERED = frozenset({tags.QUERY, tags.SYNC, tags.FUNCTION_CALL})
QUIET = 0.005
"""Seconds without a word after which the direct server is taken to wait for the client, where no ReadyForQuery is due."""
UNSURE = 0.03
"""The same where a ReadyForQuery may be due; a copy may have swallowed the Sync."""
PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A conversation and what was found: None when all was equal."""

    conversation: Conversation
    found: str | None
    messages: int = 0
    """Messages of the server, played directly."""
    own_words: tuple[str, ...] = ()
    """Errors that pgveil gave in the place of errors that the server would have given."""


class Arena:
    """Plays conversations in a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.world = compare.World(frozenset(lab.relations), frozenset(lab.masked), frozenset(lab.rows))

    def play(self, conversation: Conversation) -> Trial:
        lab, login = self.lab, conversation.login
        masked = login == "masked"
        direct = Peer(lab.server.port, USERS[login], TWIN[login])
        hints = _play_directly(direct, conversation)
        twin = lab.banks[TWIN[login]]
        state = twin.settle()
        twin.reset(state)
        proxied = Peer(lab.proxy.port, USERS[login], RAW)
        stalled = _play_proxied(proxied, conversation, hints)
        bank = lab.banks[RAW]
        try:
            left = bank.settle()
        except TimeoutError as error:
            return Trial(conversation, str(error))
        bank.reset(left)
        one = compare.shown(direct.greeting + direct.messages, direct.pid, self.world, masked)
        other = compare.shown(proxied.greeting + proxied.messages, proxied.pid, self.world, masked)
        verdict = compare.judge(one, other)
        found = verdict.difference
        if verdict.parted:
            found = None
        elif stalled is not None:
            found = f"{stalled}\n{found or ''}"
        elif found is None and proxied.broken and not direct.broken:
            found = f"the connection broke: {proxied.broken}\n  {other[-3:]}"
        elif found is None and state != left:
            found = f"the tables differ\n  direct   {state}\n  pgveil   {left}"
        if masked and any(phone.encode() in m for m in proxied.messages for phone in PHONES):
            found = f"a raw value was shown\n{found or ''}"
        if lab.proxy.process is not None and lab.proxy.process.poll() is not None:
            found = f"pgveil has ended\n{found or ''}"
        return Trial(conversation, found, len(one), verdict.own_words)

    def check(self, conversation: Conversation) -> Trial:
        """The same; a difference counts when it is there a second time, because timing is part of what is tried."""
        trial = self.play(conversation)
        if trial.found is not None:
            for _ in range(2):
                again = self.play(conversation)
                if again.found is not None:
                    return again
        return replace(trial, found=None)


def _play_directly(peer: Peer, conversation: Conversation) -> list[int]:
    """How many messages the server has sent at the end of each burst, at least."""
    hints = []
    owed = 0
    for burst in conversation.bursts:
        sent = [stand_in(m) for m in burst] if conversation.login == "masked" else list(burst)
        sent = [_flushed(m) for m in sent]
        peer.send(b"".join(sent))
        owed += sum(m[0] in _ANSWERED for m in burst)
        if not conversation.rush:
            if peer.ready() < owed:
                peer.receive(lambda: peer.ready() >= owed, UNSURE)  # noqa: B023
            peer.receive(lambda: False, QUIET)
        hints.append(_said(peer, conversation.login))
    _leave(peer)
    return hints


_PRELUDE = (tags.PARSE_COMPLETE, tags.BIND_COMPLETE, tags.NO_DATA, tags.PARAMETER_DESCRIPTION)


def _said(peer: Peer, login: str) -> int:
    """How much the client has been told; a masked one is told of some errors before it gets that far."""
    if login == "clear":
        return len(peer.messages)
    return sum(m[0] not in _PRELUDE for m in peer.messages)


def _play_proxied(peer: Peer, conversation: Conversation, hints: list[int]) -> str | None:
    """None, or what the client waited for in vain."""
    rng = random.Random(conversation.pace)
    for number, (burst, hint) in enumerate(zip(conversation.bursts, hints, strict=True), 1):
        for chunk in conversation.chunks(b"".join(map(_flushed, burst)), rng):
            peer.send(chunk)
        if not conversation.rush and not peer.receive(lambda: _said(peer, conversation.login) >= hint, PATIENCE):  # noqa: B023
            got = _said(peer, conversation.login)
            peer.close()
            return f"stalled: after burst {number} the server has said {hint} messages, the client has got {got}"
    if not _leave(peer):
        return "stalled: the session does not end after Terminate"
    return None


def _flushed(message: bytes) -> bytes:
    """Nobody says when a server writes what it has to say about messages that no Sync or Flush follows."""
    return codec.FLUSH + message if message[0] == tags.TERMINATE else message


def _leave(peer: Peer) -> bool:
    peer.send(_flushed(codec.TERMINATE))
    ended = peer.receive(lambda: False, PATIENCE)
    peer.close()
    return ended


def shrink(trial: Trial, check: Callable[[Conversation], Trial], budget: int = 150) -> Trial:
    """A shorter conversation that still fails: without some of its bursts and messages, with simpler texts."""
    best = trial
    while budget > 0:
        for candidate in _smaller(best.conversation):
            budget -= 1
            tried = check(candidate)
            if tried.found is not None:
                best = tried
                break
            if budget <= 0:
                return best
        else:
            return best
    return best


def _smaller(c: Conversation) -> list[Conversation]:
    out = []
    bursts = c.bursts
    for size in (len(bursts) // 2, len(bursts) // 4, 1):
        if size:
            out += [c.with_bursts(bursts[:i] + bursts[i + size :]) for i in range(0, len(bursts), size)]
    for i, burst in enumerate(bursts):
        for size in (len(burst) // 2, 1):
            if size and len(burst) > 1:
                out += [
                    c.with_bursts((*bursts[:i], burst[:j] + burst[j + size :], *bursts[i + 1 :]))
                    for j in range(0, len(burst), size)
                ]
    if c.pace:
        out.append(replace(c, pace=0))
    simple = codec.encode_query(b"select 1")
    for i, burst in enumerate(bursts):
        for j, message in enumerate(burst):
            if message[0] == tags.QUERY and message != simple:
                out.append(c.with_bursts((*bursts[:i], (*burst[:j], simple, *burst[j + 1 :]), *bursts[i + 1 :])))
    seen: set[tuple[object, ...]] = set()
    unique = []
    for x in out:
        key = (x.bursts, x.pace)
        if key not in seen and x.bursts:
            seen.add(key)
            unique.append(x)
    return unique
