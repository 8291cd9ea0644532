"""The control plane of one upstream: catalog, roles and policy of every served database, as the sessions see them.

Sessions ask synchronously (`current`) and compare `epoch` before every statement; everything else happens in tasks
here. What a session gets is one consistent picture: catalog, roles, policy and classification are swapped together,
under a lock that orders policy changes and catalog changes. `epoch` grows whenever a picture changes, goes out of
date or comes back.

Fail closed: without a picture, or with one that has not been confirmed for `max_stale` seconds, `current` raises
ControlUnavailable. A policy that does not load, or does not fit the catalog of some database, never replaces a good
one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from policies.attributes import UserTable
from policies.language import Alert
from policies.model import Profile
from proxy.approvals import store
from proxy.approvals.asking import Situation
from proxy.approvals.desk import Desk
from proxy.approvals.governor import Governor
from proxy.approvals.watch import GrantWatch
from proxy.control import queries
from proxy.control.catalog import CatalogRead
from proxy.control.connection import FAILURES, Target, connect
from proxy.control.database import DatabaseWatch
from proxy.control.errors import ControlUnavailable
from proxy.control.people import People, PeopleWatch
from proxy.control.picture import DEFAULTS, DatabaseStatus, Engine, Options, Picture, Served, View
from proxy.control.roles import Roles
from proxy.control.ruling import Ruling
from proxy.session.effects import Identity, Planner
from rewrite.catalog import Catalog

Event = Callable[[str, Mapping[str, str | int | bool]], None]

FRESH = 0.25
"""A session that starts is content with a picture confirmed this many seconds ago."""
POOLER_HINT = "set upstream.pooling to session or transaction; until then every connection counts as shared (transaction)"
PROFILES_KEPT = 4096
"""Profiles kept per database; application_name is the client's choice, so there must be a bound."""

LOOK = 0.4
"""Seconds between two looks at the policy files, which cost a `stat` each: a saved policy counts after one or two of them."""


class ControlPlane:
    """Create and use inside one running event loop. `databases` are the server's names of those to keep open always."""

    def __init__(
        self,
        target: Target,
        policy: Sequence[Path],
        engine: Engine,
        planner: Callable[[], Planner],
        databases: Sequence[str] = (),
        options: Options = DEFAULTS,
        on_event: Event = lambda kind, fields: None,
        clock: Callable[[], float] = time.monotonic,
        home: str = "postgres",
    ) -> None:
        """`home`: the database that has the table of users."""
        self._target = target
        self._engine = engine
        self._planner = planner
        self._pinned = tuple(databases)
        self._options = options
        self._on_event = on_event
        self._clock = clock
        self._ruling = Ruling(policy, engine, Governor(lambda: self._target, home), on_event)
        self._served: dict[str, Served] = {}
        self._lock = asyncio.Lock()
        self._epoch = 1
        self._people = PeopleWatch(target, home, options.interval, self._on_people, self._on_people_failed, clock)
        self.grants = GrantWatch(
            target, home, options.interval, options.max_stale, self._on_grants, self._on_grants_failed, clock
        )
        self.desk = Desk(self, self.grants, self._on_event)
        self._ticker: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._confirmed = False
        """The policy in force is the one that has been approved, or none has to be."""
        self._unconfirmed = ""
        """Why not, as it has been told."""
        self._confirming: asyncio.Task[None] | None = None

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Of the policy in force."""
        return getattr(self._ruling.policy, "alerts", ())

    @property
    def policy_version(self) -> str:
        return str(self._ruling.policy.version)

    async def start(self) -> None:
        """Load the policy (a bad one is fatal: what the engine raises comes out) and begin to watch."""
        self._ruling.policy = await self._ruling.load()
        self._on_event("policy_loaded", {"version": self.policy_version})
        self._people.aim(self._engine.people_table(self._ruling.policy), None)
        self._aim_grants()
        self._confirming = asyncio.create_task(self._confirm(), name="confirmation of the policy")
        self._ticker = asyncio.create_task(self._tick(), name="control plane")
        for database in self._pinned:
            self._serve(database)

    async def close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        if self._confirming is not None:
            self._confirming.cancel()
        await self._people.close()
        await self.desk.settle(everything=True)
        await self.grants.close()
        served, self._served = list(self._served.values()), {}
        await asyncio.gather(*(s.watch.close() for s in served))

    def retarget(self, target: Target) -> None:
        """Control connections that are opened from now on go there: certificates have changed."""
        self._target = target
        self._people.retarget(target)
        self.grants.retarget(target)
        for served in self._served.values():
            served.watch.retarget(target)

    async def attach(self, database: str) -> None:
        """A session begins: return when `current` can answer for it. Raises ControlUnavailable. Pair with `detach`.

        Call it once the server has accepted the login, or strangers make us connect to whatever they name.
        """
        served = self._serve(database)
        served.sessions += 1
        try:
            if self._confirming is not None and not self._confirmed:
                await asyncio.wait({self._confirming}, timeout=self._options.max_stale)
            if not (served.usable and served.watch.connected and served.watch.is_confirmed(FRESH)):
                await served.watch.refresh()
        except BaseException:
            self.detach(database)
            await self._forget_unknown(database)
            raise

    def detach(self, database: str) -> None:
        """The session is over."""
        served = self._served.get(database)
        if served is not None:
            served.sessions = max(0, served.sessions - 1)
            served.used = self._clock()

    async def is_masked_anywhere(self, identity: Identity, now: float) -> bool:
        """Whether the login sees anything masked in any database of the server. Raises ControlUnavailable where it is not known.

        The identity's own database must be attached.
        """
        try:
            connection = await connect(self._target, identity.database)
            try:
                async with connection.transaction(readonly=True):
                    names = await connection.fetch(queries.DATABASES)
            finally:
                await connection.close(timeout=1.0)
        except FAILURES as problem:
            raise ControlUnavailable(identity.database, type(problem).__name__) from problem
        for (database,) in names:
            await self.attach(database)
            try:
                if self.current(replace(identity, database=database), now).profile.masked:
                    return True
            finally:
                self.detach(database)
        return False

    def doubt(self, database: str) -> None:
        """DDL has passed: no view of the database is confirmed before the next look."""
        served = self._served.get(database)
        if served is not None:
            served.watch.doubt()

    async def refresh(self, database: str) -> None:
        """Return when pictures of the database include all that was committed before this call."""
        await self._serve(database).watch.refresh()

    def current(self, identity: Identity, now: float) -> View:
        """What the session may see at `now` (Unix time). Raises ControlUnavailable."""
        served = self._served.get(identity.database)
        if served is None or served.picture is None:
            raise ControlUnavailable(identity.database, served.watch.reason if served else "not attached")
        if not self._confirmed:
            raise ControlUnavailable(identity.database, "policy not confirmed", "the policy of pgveil has not been confirmed yet")
        if self._age(served) > self._options.max_stale:
            raise ControlUnavailable(identity.database, "out of date")
        if self._people.age > self._options.max_stale:
            raise ControlUnavailable(identity.database, "the attributes of users cannot be read")
        picture = served.picture
        profile, roles = self._profile(served, picture, identity, now)
        return View(picture.catalog, profile, served.planner, self._epoch, served.watch, roles)

    def situation(self, identity: Identity) -> Situation:
        """What commands for pgveil itself are measured against. Raises ControlUnavailable."""
        now = time.time()
        view = self.current(identity, now)
        picture = self._served[identity.database].picture
        assert picture is not None
        context = self._engine.context(picture.policy, identity, picture.roles.of, self._people.people, self.grants.of)
        return Situation(picture.policy, picture.classification, picture.catalog, context, view.profile)

    async def reload(self) -> bool:
        """Read the policy files now (SIGHUP). False when they were refused or wait for approval; the policy in force stays."""
        async with self._lock:
            try:
                policy = await self._ruling.load()
                if policy.version == self._ruling.policy.version:
                    return True
                if not await self._ruling.may_rule(policy):
                    return False
                tried = await self._try(policy)
                await self._ruling.begin(policy)
            except Exception as problem:
                self._refused(problem)
                return False
            self._put_in_force(policy, *tried)
        return True

    async def _follow_approved(self) -> None:
        """Take up the policy that was approved last, where changes need approval."""
        async with self._lock:
            try:
                policy = await self._ruling.approved(self.grants.picture)
                if policy is None:
                    return
                tried = await self._try(policy)
            except Exception as problem:
                self._refused(problem)
                return
            self._put_in_force(policy, *tried)

    async def _confirm(self) -> None:
        """Once after the start: the policy of the files may be in force, or another one has to be."""
        async with self._lock:
            try:
                policy = await self._ruling.confirm()
                if policy is not None:
                    self._put_in_force(policy, *await self._try(policy))
            except (*FAILURES, ValueError) as problem:
                text = f"{type(problem).__name__}: {problem}"
                if text != self._unconfirmed:
                    self._on_event("policy_unavailable", {"problem": f"it cannot be confirmed: {text}"})
                self._unconfirmed = text
                return
            self._confirmed = True
            self._epoch += 1

    async def _try(self, policy: Any) -> tuple[UserTable | None, People | None, dict[str, Picture]]:
        """What the policy needs, looked at and found right."""
        table = self._engine.people_table(policy)
        people = await self._people.try_out(table)
        drawn = {}
        for name, served in list(self._served.items()):
            if served.picture is not None:
                drawn[name] = await self._draw(served.picture.catalog, served.picture.roles, policy)
        return table, people, drawn

    def _refused(self, problem: Exception) -> None:
        told = isinstance(problem, (ValueError, OSError, asyncpg.PostgresError))
        self._on_event("policy_refused", {"problem": str(problem) if told else type(problem).__name__})

    def _put_in_force(self, policy: Any, table: UserTable | None, people: People | None, drawn: dict[str, Picture]) -> None:
        self._ruling.policy = policy
        self._people.aim(table, people)
        self._aim_grants()
        for name, picture in drawn.items():
            if name in self._served:
                self._swap(self._served[name], picture)
        self._epoch += 1
        self._on_event("policy_loaded", {"version": self.policy_version})

    def _aim_grants(self) -> None:
        policy = self._ruling.policy
        self.grants.wanted(bool(policy.approvals) or policy.changes is not None)

    def status(self) -> tuple[DatabaseStatus, ...]:
        """The databases that are being watched; those that no session uses are left alone."""
        return tuple(
            DatabaseStatus(
                database=name,
                usable=self._is_usable(served),
                age=self._age(served),
                sessions=served.sessions,
                relations=len(served.picture.catalog.relations) if served.picture else 0,
                reason=served.watch.reason,
            )
            for name, served in self._served.items()
            if not served.watch.resting
        )

    @property
    def is_ready(self) -> bool:
        """The policy is loaded, and all databases of the configuration can be served."""
        if self._ruling.policy is None or not self._confirmed:
            return False
        return all(name in self._served and self._is_usable(self._served[name]) for name in self._pinned)

    def _serve(self, database: str) -> Served:
        served = self._served.get(database)
        if served is None:

            async def publish(read: CatalogRead) -> None:
                await self._publish(database, read)

            def failed(reason: str) -> None:
                self._on_failure(database, reason)

            watch = DatabaseWatch(database, self._target, self._options.interval, publish, failed, self._clock)
            served = Served(self._planner(), watch, database in self._pinned, used=self._clock())
            self._served[database] = served
        return served

    async def _publish(self, database: str, read: CatalogRead) -> None:
        async with self._lock:
            served = self._served.get(database)
            if served is None:
                return
            if served.watch.pooler and not self._target.identify and not served.pooler:
                served.pooler = True
                self._on_event("pooler_not_named", {"database": database, "hint": POOLER_HINT})
            old = served.picture
            catalog_same = old is not None and old.catalog.version == read.catalog.version
            if old is not None and catalog_same and old.roles.version == read.roles.version:
                return
            if old is not None and catalog_same:
                picture = Picture(old.catalog, read.roles, old.policy, old.classification)
            else:
                picture = await self._draw(read.catalog, read.roles, self._ruling.policy, old)
                self._tell_kept(database, picture, old)
            self._swap(served, picture)
            served.usable = True
            self._epoch += 1
        fields: dict[str, str | int | bool] = {
            "database": database,
            "version": picture.catalog.version,
            "relations": len(picture.catalog.relations),
            "roles": len(picture.roles.roles),
            "incomplete": read.incomplete,
        }
        self._on_event("catalog_loaded", fields)

    async def _draw(self, catalog: Catalog, roles: Roles, policy: Any, old: Picture | None = None) -> Picture:
        before = old.classification if old is not None and old.policy.version == policy.version else None
        classification = await asyncio.to_thread(self._engine.classify, policy, catalog.relations, before)
        return Picture(catalog, roles, policy, classification)

    def _tell_kept(self, database: str, picture: Picture, old: Picture | None) -> None:
        """Columns that have been renamed away from their entry stay protected; somebody has to bring the policy up to date."""
        kept = getattr(picture.classification, "kept", ())
        if kept and (old is None or kept != getattr(old.classification, "kept", ())):
            self._on_event(
                "renamed_columns_stay_protected", {"database": database, "columns": ", ".join(kept[:20]), "count": len(kept)}
            )

    def _swap(self, served: Served, picture: Picture) -> None:
        served.picture = picture
        served.profiles.clear()

    def _on_people(self) -> None:
        """The attributes of some login have changed."""
        for served in self._served.values():
            served.profiles.clear()
        self._epoch += 1

    def _on_grants(self, picture: store.Picture) -> None:
        """Some grant has come, changed or gone."""
        self._on_people()
        numbers = ", ".join(str(g.id) for g in picture.grants)
        self._on_event("grants_in_force", {"count": len(picture.grants), "grants": numbers})

    def _on_grants_failed(self, reason: str) -> None:
        self._on_event("grants_unavailable", {"database": self.grants.database, "reason": reason})

    def _on_people_failed(self, reason: str) -> None:
        self._on_event("attributes_unavailable", {"reason": reason})

    def _profile(self, served: Served, picture: Picture, identity: Identity, now: float) -> tuple[Profile, frozenset[str]]:
        key = (identity.user, identity.application_name, identity.client_address, identity.tls, identity.asserted, identity.spent)
        found = served.profiles.get(key)
        if found is not None and (found[0].valid_until is None or now < found[0].valid_until):
            served.profiles.move_to_end(key)
            return found
        relations = picture.catalog.relations
        of, people, grants = picture.roles.of, self._people.people, self.grants.of
        try:
            profile = self._engine.profile(picture.policy, picture.classification, relations, identity, of, now, people, grants)
        except Exception as problem:
            self._on_event("profile_failed", {"database": identity.database, "problem": type(problem).__name__})
            broken = self._engine.broken_profile(picture.policy, identity, now)
            if broken is None:
                raise ControlUnavailable(identity.database, "the policy could not be applied") from problem
            profile = broken, frozenset()
        served.profiles[key] = profile
        served.profiles.move_to_end(key)
        while len(served.profiles) > PROFILES_KEPT:
            served.profiles.popitem(last=False)
        return profile

    def _age(self, served: Served) -> float:
        return self._clock() - served.watch.checked

    def _is_usable(self, served: Served) -> bool:
        return served.picture is not None and self._age(served) <= self._options.max_stale

    def _on_failure(self, database: str, reason: str) -> None:
        served = self._served.get(database)
        if served is not None and served.watch.reason != served.reported:
            served.reported = served.watch.reason
            self._on_event("catalog_unavailable", {"database": database, "reason": reason})

    async def _forget_unknown(self, database: str) -> None:
        served = self._served.get(database)
        if served is not None and served.picture is None and not served.sessions and not served.pinned:
            del self._served[database]
            await served.watch.close()

    async def _tick(self) -> None:
        """Policy files, pictures that went out of date or came back, databases nobody uses."""
        while True:
            await asyncio.sleep(min(self._options.interval, LOOK))
            if not self._confirmed:
                if self._confirming is None or self._confirming.done():
                    self._confirming = asyncio.create_task(self._confirm(), name="confirmation of the policy")
                continue
            if self._ruling.is_due():
                await self.reload()
            await self._follow_approved()
            if self._settling is None or self._settling.done():
                self._settling = asyncio.create_task(self.desk.settle(), name="rows shown by grants")
            for name, served in list(self._served.items()):
                self._note_usability(name, served)
                if served.pinned or served.sessions:
                    continue
                unused = self._clock() - served.used
                if unused > self._options.linger:
                    served.watch.rest()
                if unused > self._options.idle:
                    del self._served[name]
                    await served.watch.close()

    def _note_usability(self, database: str, served: Served) -> None:
        """Sessions look only when the epoch has moved, so going out of date has to move it."""
        if served.watch.resting:
            return
        usable = self._is_usable(served)
        if usable and not served.watch.reason:
            served.reported = ""
        if usable != served.usable:
            served.usable = usable
            self._epoch += 1
            self._on_event("catalog_back" if usable else "catalog_stale", {"database": database})
