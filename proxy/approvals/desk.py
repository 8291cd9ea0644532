"""Where people ask pgveil itself: what they see and why, to see more, and to decide about what others have asked for.

Each command arrives with the identity that the server has let in, and is measured against the policy in force. What changes
something is one transaction in the database that keeps the state; it acts at once, whatever becomes of the client's own
transaction, as a sequence does. Every change is told to `on_event`, for the audit trail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import asyncpg

from policies.approvals import may_vote, missing_votes, same_person
from proxy.approvals import show, store
from proxy.approvals.asking import DAILY_MAX, Denied, Situation, new_request, text
from proxy.approvals.deciding import ballot, decide, offers_now
from proxy.approvals.ration import Rations
from proxy.approvals.watch import GrantWatch
from proxy.control.connection import FAILURES, connect
from proxy.control.errors import ControlUnavailable
from proxy.session.effects import LEASE, Asked, Identity
from rewrite.commands import SHOWN, answer, columns_of
from rewrite.plan import Refusal

_log: Final = logging.getLogger("pgveil.approvals")
AT_ONCE: Final = 4
"""Connections to the store at a time: however many ask, the server has some left for others."""

Event = Callable[[str, Mapping[str, str | int | bool]], None]
Row = tuple[str | int | None, ...]

_EVENTS = {"approve": "grant_approved", "reject": "grant_rejected", "revoke": "grant_revoked", "review": "break_glass_reviewed"}


class Authority(Protocol):
    def situation(self, identity: Identity) -> Situation:
        """Raises ControlUnavailable."""


class Desk:
    def __init__(self, authority: Authority, watch: GrantWatch, on_event: Event) -> None:
        self._authority = authority
        self._watch = watch
        self._on_event = on_event
        self.rations = Rations(self._in_store)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def answer(self, asked: Asked) -> str | Refusal:
        """The SQL text that yields the answer, or why there is none."""
        try:
            return await self._answer(asked)
        except Exception as problem:  # the session waits for it
            _log.exception("a command could not be answered")
            self._tell("grant_failed", asked, {"command": asked.command.name, "reason": type(problem).__name__})
            return Refusal("XX000", "the command could not be carried out", "Say it more simply, or ask who runs pgveil.")

    async def _answer(self, asked: Asked) -> str | Refusal:
        name = asked.command.name
        if asked.command is LEASE:
            return await self._lease(asked)
        try:
            here = self._authority.situation(asked.identity)
            if name in SHOWN:
                rows = await self._shown(here, asked)
            else:
                rows = await self._proposal(here, asked) if name == "proposal" else [await self._called(here, asked)]
        except ControlUnavailable as problem:
            return Refusal(problem.sqlstate, problem.message, problem.hint)
        except Denied as denied:
            if name not in SHOWN:
                self._tell("grant_refused", asked, {"command": name, "reason": denied.refusal.message})
            return denied.refusal
        except FAILURES as failure:
            self._tell("grant_failed", asked, {"command": name, "reason": type(failure).__name__})
            return Refusal("57P03", "the state of requests cannot be read or changed at the moment", "try again later")
        return answer(columns_of(asked.command), rows)

    async def _lease(self, asked: Asked) -> str | Refusal:
        try:
            await self.rations.lease(n for n in asked.values if isinstance(n, int))
        except FAILURES:
            return Refusal("57P03", "it cannot be found out how many rows a grant still allows", "try again later")
        return ""

    async def settle(self, everything: bool = False) -> None:
        """Write down which rows have been shown. Called on the clock, and with `everything` at the end."""
        await self.rations.settle(everything)

    async def _in_store(self, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        async with self._changing() as connection:
            await work(connection)

    async def _shown(self, here: Situation, asked: Asked) -> list[Row]:
        name = asked.command.name
        if name == "access":
            return show.access(here.profile, here.catalog, {g.name: g for g in here.context.grants})
        if name == "why":
            return show.why(asked.last)
        self._must_be_open(here)
        await self._watch.refresh()
        return show.requests(
            self._watch.picture.requests.values(), here.policy, here.context.subject, ballot(here), here.context.database
        )

    def _must_be_open(self, here: Situation) -> None:
        if not here.policy.approvals and here.policy.changes is None:
            raise Denied("0A000", "the policy offers no approvals", "the policy's owner can add `approvals`")
        if self._watch.reason:
            raise Denied(
                "55000",
                f"requests cannot be made: their tables in database {self._watch.database}: {self._watch.reason}",
                "an administrator runs pgveil install",
            )

    async def _called(self, here: Situation, asked: Asked) -> Row:
        self._must_be_open(here)
        name = asked.command.name
        if name in ("request", "break_glass"):
            request, message = await self._request(here, asked)
        else:
            number, finding = asked.values[0], text(asked.values[1]).lower() if name == "review" else ""
            assert isinstance(number, int)
            note = text(asked.values[-1])
            async with self._changing() as connection:
                request, message = await decide(connection, name, number, here, asked.identity.user, note, finding)
            about = _about(request)
            self._tell(
                _EVENTS[name],
                asked,
                {"request": number, "for": request.subject, "state": request.status, "note": note, **about},
                here,
            )
        await self._watch.refresh()
        return request.id, request.status, request.until.isoformat() if request.until else None, message

    async def _proposal(self, here: Situation, asked: Asked) -> list[Row]:
        """The text of a policy that waits for approval, or has had it, for those who decide about it."""
        self._must_be_open(here)
        number = asked.values[0]
        request = self._watch.picture.requests.get(number) if isinstance(number, int) else None
        by = ballot(here)
        offers = offers_now(here.policy, request) if request is not None and request.kind == "policy" else []
        if request is None or not any(may_vote(o, by, request.person, request.attributes) is None for o in offers):
            raise Denied("42501", f"there is no policy {number} for you to decide about", "SHOW veil.requests lists them")
        async with self._changing() as connection:
            texts = await store.texts(connection, request.version or "")
        return [(request.id, name, content) for name, content in texts]

    async def _request(self, here: Situation, asked: Asked) -> tuple[store.Request, str]:
        person = here.context.person
        known = self._watch.picture.requests.values()
        new, offers = new_request(here, asked, [r for r in known if same_person(r.person, person)])
        async with self._changing() as connection:
            if new.kind == "columns" and await store.made_today(connection, new.login) >= DAILY_MAX:
                raise Denied("53400", f"{new.login} has made {DAILY_MAX} requests within a day", "try again tomorrow")
            made = await store.make(connection, new)
        glass = new.kind == "glass"
        fields = {"request": made.id, "reason": new.reason, **_about(made)}
        self._tell("break_glass" if glass else "grant_requested", asked, fields, here)
        if not glass:
            return made, "waits for " + "; ".join(missing_votes(offers, (), person, new.attributes))
        assert made.review_by is not None
        return made, f"granted; somebody has to review it by {made.review_by:%Y-%m-%d %H:%M %Z}"

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction of the store."""
        async with self._room:
            connection = await connect(self._watch.target, self._watch.database)
            try:
                async with connection.transaction():
                    await connection.execute(store.CAREFULLY)
                    yield connection
            finally:
                connection.terminate()

    def _tell(self, kind: str, asked: Asked, fields: Mapping[str, str | int | bool], here: Situation | None = None) -> None:
        who = asked.identity
        by = {"sid": asked.sid, "login": who.user, "database": who.database, "client": who.client_address}
        if here is not None:
            by["person"] = here.context.subject
        said = {f"says_{name}": value for name, value in who.asserted}
        self._on_event(kind, {**by, **said, **fields})


def _about(request: store.Request) -> dict[str, str | int | bool]:
    out: dict[str, str | int | bool] = {
        "columns": ", ".join(map(str, request.targets)),
        "classes": ", ".join(sorted({t.data_class for t in request.targets})),
        "levels": ", ".join(sorted({t.level for t in request.targets})),
        "seconds": int(request.seconds),
    }
    if request.rows is not None:
        out["rows"] = request.rows
    if request.most is not None:
        out["max_rows"] = request.most
    return out
