"""The clients of the soak: each lives through one session after another, does what its driver is used for, and checks
every answer: the right rows under a policy that was in force, its own mark on them, its own rows in the table it fills.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import psycopg

from tests.soak.bank import CLEAR, MASKED, PASSWORD, PEOPLE, phone
from tests.soak.raw import SYNC, TERMINATE, Dropped, RawClient, Told, batch, query
from tests.soak.world import EXPECTED, World, Wrong

_numbers = itertools.count(1)
PAUSE = 0.6
"""Longest time to think, in seconds."""

Row = tuple[object, ...]


class Client:
    """One place at the counter. `session` is one connection from log-in to its end; `steps` are what may be done there."""

    kind = ""
    hears_all = False
    """Whether an error that comes with the end of the connection is always passed on. Drivers lose some, also without us:
    those that come between two statements, in a pipeline, or without ReadyForQuery behind them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = f"{self.kind}{next(_numbers)}"
        self.chance = random.Random(world.chance.random())
        self.masked = self.chance.random() < 0.6
        self.user = MASKED if self.masked else CLEAR
        self.tls = self.chance.random() < 0.3
        self.cuttable = self.chance.random() < 0.5
        self.told: str | None = None
        self.saved = 0
        """Rows of ours in the ledger, as far as we know."""
        self.maybe = 0
        """Rows more that a commit without an answer may have left there."""

    async def live(self) -> None:
        world = self.world
        while not world.over.is_set():
            self.told = None
            self.doing("connect")
            try:
                await self.session()
            except Wrong as error:
                world.find(f"WRONG {self.name} ({self.user}): {error}")
            except TimeoutError:
                world.find(f"STUCK {self.name} ({self.user}): {world.busy[self.name]}")
            except ValueError as error:  # psycopg's COPY, when an error comes between CommandComplete and ReadyForQuery
                self.told = self.told or "08006"
                self.failed(error)
            except (
                psycopg.Error,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
                Dropped,
                Told,
            ) as error:
                self.failed(error)
            finally:
                self.leave()
            self.doing("nothing")
            await self.think()

    def doing(self, what: str) -> None:
        self.world.busy[self.name] = what

    def failed(self, error: Exception) -> None:
        told = self.told or _state(error)
        text = " ".join(str(error).split())[:300]
        if told is None and "FATAL: " in text:
            told = next((s for words, s in _FATALS if words in text), "?")
        if text.startswith("received 2 results"):
            told = "08006"  # psycopg: an error after CommandComplete, before ReadyForQuery
        doing = f"{self.world.busy[self.name]} ({'TLS' if self.tls else 'plain'})"
        if told is None and self.cuttable:
            self.world.errors["cut"] += 1
        elif told is None and not self.hears_all:
            self.world.errors[f"lost ({self.kind})"] += 1
        else:
            self.world.failed(self.name, doing, told, f"{type(error).__name__} {text}")

    async def session(self) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """Let go of the connection, whatever its state."""

    async def think(self) -> None:
        await asyncio.sleep(self.chance.random() * PAUSE)

    async def some(self, steps: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """A random number of steps, each within the deadline."""
        for _ in range(self.chance.randint(1, 40)):
            if self.world.over.is_set():
                return
            step = self.chance.choice(steps)
            await self.one(step)
            await self.think()

    async def one(self, step: Callable[[], Awaitable[None]]) -> None:
        self.doing(step.__name__)
        began = time.monotonic()
        async with asyncio.timeout(self.world.deadline):
            await step()
        self.world.took[self.masked].append(time.monotonic() - began)
        self.world.counts[f"{self.kind} {step.__name__.removeprefix('on_')}"] += 1

    def people(self, most: int = 40) -> range:
        first = self.chance.randint(1, PEOPLE - most)
        return range(first, first + self.chance.randint(1, most))

    def check(self, rows: Sequence[Row], people: range, since: int, mark: str | None = None) -> None:
        """Rows of (id, phone), or (mark, id, phone)."""
        if mark is not None:
            strange = {row[0] for row in rows} - {mark}
            if strange:
                raise Wrong(f"rows of {strange} instead of {mark}")
            rows = [row[1:] for row in rows]
        got = [(int(str(row[0])), row[1]) for row in rows]
        if got not in self.world.in_force.rows(people, self.masked, since):
            policies = [sorted(some) for some in self.world.in_force.history[since:]]
            raise Wrong(f"{len(people)} rows from {people.start} expected, got {len(got)}: {got[:2]}; policies {policies}")

    def check_saved(self, count: int) -> None:
        if not self.saved <= count <= self.saved + self.maybe:
            raise Wrong(f"{count} rows in the ledger instead of {self.saved} to {self.saved + self.maybe}")
        self.saved, self.maybe = count, 0


def _state(error: BaseException | None) -> str | None:
    """The SQLSTATE of an error, or the reason for the end of the connection that it hides."""
    first = True
    while error is not None:
        found = getattr(error, "sqlstate", None)
        if found and found != "08003" and (first or found in EXPECTED):  # 08003 is asyncpg's own
            return str(found)
        first = False
        error = error.__context__
    return None


_FATALS = (
    ("terminating connection due to administrator command", "57P01"),
    ("server closed the connection", "08006"),
    ("could not connect to the server behind", "08001"),
)

BY_RANGE = "SELECT '{mark}'::text, id, phone FROM soak.people WHERE id >= {first} AND id < {stop} ORDER BY id"


class Psycopg(Client):
    """psycopg, asynchronous: simple and extended protocol, pipelines, cursors, COPY, cancels, notifications."""

    kind = "psycopg"
    connection: psycopg.AsyncConnection[Row] | None = None

    async def session(self) -> None:
        host, port = self.world.address(self.cuttable)
        async with asyncio.timeout(self.world.deadline):
            self.connection = await psycopg.AsyncConnection.connect(
                host=host, port=port, user=self.user, password=PASSWORD, dbname="postgres", autocommit=True,
                sslmode="require" if self.tls else "disable", application_name=self.name, connect_timeout=20,
            )  # fmt: skip
        self.connection.add_notice_handler(self.on_notice)
        await self.some(
            (self.select, self.select, self.prepared, self.transaction, self.pipeline, self.cursor, self.copy_out, self.copy_in,
             self.cancel, self.notify, self.large, self.error)
        )  # fmt: skip
        self.doing("close")
        async with asyncio.timeout(self.world.deadline):
            await self.connection.close()

    def on_notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "FATAL":
            self.told = diagnostic.sqlstate

    def leave(self) -> None:
        if self.connection is not None:
            self.connection.pgconn.finish()
            self.connection = None

    async def rows(self, text: str, values: Sequence[object] | None = None, prepare: bool | None = None) -> list[Row]:
        assert self.connection is not None
        cursor = await self.connection.execute(text, values, prepare=prepare)
        return await cursor.fetchall()

    async def select(self) -> None:
        people, since = self.people(), self.world.in_force.now()
        rows = await self.rows(BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop))
        self.check(rows, people, since, self.name)

    async def prepared(self) -> None:
        people, since = self.people(), self.world.in_force.now()
        text = "SELECT %s::text, id, phone FROM soak.people WHERE id >= %s AND id < %s ORDER BY id"
        self.check(await self.rows(text, (self.name, people.start, people.stop), True), people, since, self.name)

    async def transaction(self) -> None:
        """Rows that stay, rows that do not, and an error on the way."""
        assert self.connection is not None
        insert = "INSERT INTO soak.ledger VALUES (%s, %s, 'psycopg')"
        before = self.saved
        self.maybe += 2
        async with self.connection.transaction():
            await self.connection.execute(insert, (self.name, 1))
            try:
                async with self.connection.transaction():
                    await self.connection.execute(insert, (self.name, 2))
                    await self.connection.execute("SELECT 1/0")
            except psycopg.errors.DivisionByZero:
                pass
            await self.connection.execute(insert, (self.name, 3))
        if self.maybe == 2:
            self.saved, self.maybe = before + 2, 0
        [(count,)] = await self.rows("SELECT count(*)::int FROM soak.ledger WHERE owner = %s", (self.name,))
        self.check_saved(int(str(count)))
        if self.saved > 50:
            self.maybe, self.saved = self.saved, 0
            await self.connection.execute("DELETE FROM soak.ledger WHERE owner = %s", (self.name,))
            self.maybe = 0

    async def pipeline(self) -> None:
        assert self.connection is not None
        since = self.world.in_force.now()
        asked = [self.people(10) for _ in range(8)]
        async with self.connection.pipeline():
            cursors = [
                await self.connection.execute(
                    "SELECT %s::text, id, phone FROM soak.people WHERE id >= %s AND id < %s ORDER BY id",
                    (self.name, people.start, people.stop),
                )
                for people in asked
            ]
        for people, cursor in zip(asked, cursors, strict=True):
            self.check(await cursor.fetchall(), people, since, self.name)

    async def cursor(self) -> None:
        assert self.connection is not None
        people, since = self.people(200), self.world.in_force.now()
        rows: list[Row] = []
        async with self.connection.transaction(), self.connection.cursor(name="c") as cursor:
            await cursor.execute(BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop))
            while more := await cursor.fetchmany(30):
                rows += more
        self.check(rows, people, since, self.name)

    async def copy_out(self) -> None:
        assert self.connection is not None
        people, since = self.people(400), self.world.in_force.now()
        text = f"COPY ({BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop)}) TO STDOUT"
        async with self.connection.cursor() as cursor, cursor.copy(text) as copy:
            self.check([row async for row in copy.rows()], people, since, self.name)

    async def copy_in(self) -> None:
        assert self.connection is not None
        count = self.chance.randint(1, 300)
        async with self.connection.transaction(force_rollback=True), self.connection.cursor() as cursor:
            async with cursor.copy("COPY soak.ledger FROM STDIN") as copy:
                for n in range(count):
                    await copy.write_row((self.name + "'", n, "x" * 100))
            [(got,)] = await self.rows("SELECT count(*)::int FROM soak.ledger WHERE owner = %s", (self.name + "'",))
            if got != count:
                raise Wrong(f"{got} rows copied instead of {count}")

    async def cancel(self) -> None:
        """A statement that is cancelled; the cancel may get lost on its way."""
        assert self.connection is not None
        task = asyncio.ensure_future(self.connection.execute("SELECT pg_sleep(3)"))
        await asyncio.sleep(self.chance.random() * 0.3)
        try:
            await self.connection.cancel_safe(timeout=10)
        except psycopg.Error:
            self.world.counts["cancel not delivered"] += 1
        try:
            await task
            self.world.counts["cancel lost"] += 1
        except psycopg.errors.QueryCanceled:
            pass

    async def notify(self) -> None:
        assert self.connection is not None
        await self.connection.execute(f'LISTEN "{self.name}"')
        await self.connection.execute(f"NOTIFY \"{self.name}\", '{self.name}'")
        heard = [n async for n in self.connection.notifies(timeout=5, stop_after=1)]
        if not heard:
            raise Wrong("no notification")
        if heard[0].channel != self.name or heard[0].payload not in (self.name, "" if self.masked else self.name):
            raise Wrong(f"notification {heard[0].channel} {heard[0].payload!r}")
        await self.connection.execute("UNLISTEN *")

    async def large(self) -> None:
        since = self.world.in_force.now()
        rows = await self.rows("SELECT id, phone, pad FROM soak.people ORDER BY id")
        self.check([row[:2] for row in rows], range(1, PEOPLE + 1), since)
        if any(row[2] != "p" * 200 for row in rows):
            raise Wrong("a pad that is not as stored")

    async def error(self) -> None:
        try:
            await self.rows("SELECT no_such_column FROM soak.people")
        except psycopg.errors.UndefinedColumn:
            return
        raise Wrong("a column that is not there was selected")


class Asyncpg(Client):
    """asyncpg: prepared statements that it keeps, COPY in binary, cursors over portals."""

    kind = "asyncpg"
    connection: asyncpg.Connection | None = None

    async def session(self) -> None:
        host, port = self.world.address(self.cuttable)
        self.connection = await asyncpg.connect(
            host=host, port=port, user=self.user, password=PASSWORD, database="postgres", ssl="require" if self.tls else False,
            timeout=self.world.deadline, server_settings={"application_name": self.name},
        )  # fmt: skip
        await self.some((self.fetch, self.fetch, self.reused, self.portal, self.copy_out, self.copy_in, self.transaction))
        self.doing("close")
        await self.connection.close(timeout=self.world.deadline)

    def leave(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None

    async def fetch(self) -> None:
        assert self.connection is not None
        people, since = self.people(), self.world.in_force.now()
        text = f"SELECT $1::text, id, phone, {self.chance.randint(1, 5)} FROM soak.people WHERE id >= $2 AND id < $3 ORDER BY id"
        rows = await self.connection.fetch(text, self.name, people.start, people.stop)
        self.check([tuple(row)[:3] for row in rows], people, since, self.name)

    async def reused(self) -> None:
        assert self.connection is not None
        statement = await self.connection.prepare("SELECT id, phone FROM soak.people WHERE id = $1")
        for _ in range(5):
            person, since = self.chance.randint(1, PEOPLE), self.world.in_force.now()
            rows = await statement.fetch(person)
            self.check([tuple(row) for row in rows], range(person, person + 1), since)

    async def portal(self) -> None:
        assert self.connection is not None
        people, since = self.people(300), self.world.in_force.now()
        text = BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop)
        async with self.connection.transaction():
            rows = [tuple(row) async for row in self.connection.cursor(text, prefetch=40)]
        self.check(rows, people, since, self.name)

    async def copy_out(self) -> None:
        assert self.connection is not None
        people, since = self.people(400), self.world.in_force.now()
        out: list[bytes] = []

        async def take(data: bytes) -> None:
            out.append(data)

        text = BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop)
        await self.connection.copy_from_query(text, output=take)
        lines = b"".join(out).decode().splitlines()
        self.check([tuple(line.split("\t")) for line in lines], people, since, self.name)

    async def copy_in(self) -> None:
        assert self.connection is not None
        count = self.chance.randint(1, 300)
        owner = self.name + "'"
        transaction = self.connection.transaction()
        await transaction.start()
        records = ((owner, n, "y" * 100) for n in range(count))
        await self.connection.copy_records_to_table("ledger", schema_name="soak", records=records)
        got = await self.connection.fetchval("SELECT count(*) FROM soak.ledger WHERE owner = $1", owner)
        await transaction.rollback()
        if got != count:
            raise Wrong(f"{got} rows copied instead of {count}")

    async def transaction(self) -> None:
        assert self.connection is not None
        try:
            async with self.connection.transaction():
                await self.connection.execute("INSERT INTO soak.ledger VALUES ($1, 1, 'never')", self.name)
                await self.connection.execute("SELECT 1/0")
        except asyncpg.DivisionByZeroError:
            pass
        if await self.connection.fetchval("SELECT count(*) FROM soak.ledger WHERE owner = $1", self.name):
            raise Wrong("a transaction that was rolled back has left a row")


class Raw(Client):
    """No driver: quick simple queries, batches, and hanging up in the middle of a message or of an answer."""

    kind = "raw"
    hears_all = True
    client: RawClient | None = None

    async def session(self) -> None:
        self.client = client = RawClient()
        async with asyncio.timeout(self.world.deadline):
            await client.open(self.world.address(self.cuttable), self.user + "_trust", tls=self.tls)
        await self.some((self.burst, self.burst, self.several, self.batches, self.failing))
        await self.one(self.chance.choice((self.goodbye, self.cut_message, self.cut_answer, self.silent)))

    def leave(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    async def burst(self) -> None:
        assert self.client is not None
        for _ in range(4):
            person, since = self.chance.randint(1, PEOPLE), self.world.in_force.now()
            answer = await self.client.ask(f"SELECT id, phone FROM soak.people WHERE id = {person};")
            self.fine(answer.errors)
            self.check(answer.rows, range(person, person + 1), since)

    async def several(self) -> None:
        """Queries sent without waiting, two of them in one string."""
        assert self.client is not None
        people, since = self.people(), self.world.in_force.now()
        text = BY_RANGE.format(mark=self.name, first=people.start, stop=people.stop)
        self.client.send(query(text) + query(f"SELECT 1/0; {text}") + query(f"{text}; {text}"))
        first, second, third = [await self.client.answer() for _ in range(3)]
        self.check(first.rows, people, since, self.name)
        if [state for state, _ in second.errors] != ["22012"] or second.rows:
            raise Wrong(f"division by zero gave {second.errors} and {len(second.rows)} rows")
        half = len(third.rows) // 2
        self.check(third.rows[:half], people, since, self.name)
        self.check(third.rows[half:], people, since, self.name)

    async def batches(self) -> None:
        """A pipeline with an error in the middle: what is behind it up to Sync is not executed."""
        assert self.client is not None
        people, since = self.people(), self.world.in_force.now()
        text = "SELECT $1::text, id, phone FROM soak.people WHERE id >= $2::int AND id < $3::int ORDER BY id"
        good = batch(text, self.name, str(people.start), str(people.stop))
        self.client.send(good + SYNC + good + batch("SELECT 1/$1::int", "0") + good + SYNC + good + SYNC)
        first, second, third = [await self.client.answer() for _ in range(3)]
        for answer in (first, second, third):
            self.check(answer.rows, people, since, self.name)
        if [state for state, _ in second.errors] != ["22012"]:
            raise Wrong(f"division by zero gave {second.errors}")

    async def failing(self) -> None:
        """An error within a transaction, and the state behind it."""
        assert self.client is not None
        self.fine((await self.client.ask("BEGIN")).errors)
        answer = await self.client.ask("SELECT nothing FROM soak.people")
        if answer.status != "E" or [state for state, _ in answer.errors] != ["42703"]:
            raise Wrong(f"status {answer.status} with {answer.errors}")
        if (await self.client.ask("SELECT 1")).errors[0][0] != "25P02":
            raise Wrong("a statement was executed in a failed transaction")
        if (await self.client.ask("ROLLBACK")).status != "I":
            raise Wrong("not idle after ROLLBACK")

    async def goodbye(self) -> None:
        assert self.client is not None
        self.client.send(TERMINATE)
        self.client.close()

    async def cut_message(self) -> None:
        assert self.client is not None
        text = query("SELECT phone FROM soak.people /*" + "x" * 3000 + "*/")
        self.client.send(text[: self.chance.randint(1, len(text) - 1)])
        await asyncio.sleep(0)
        self.client.reset()

    async def cut_answer(self) -> None:
        assert self.client is not None
        self.client.send(query("SELECT pad FROM soak.people, generate_series(1, 5)"))
        await asyncio.sleep(self.chance.random() * 0.2)
        self.client.reset()

    async def silent(self) -> None:
        """Hang up without a word, with work under way."""
        assert self.client is not None
        self.client.send(query("SELECT pg_sleep(0.5)"))
        self.client.close()

    def fine(self, errors: list[tuple[str, str]]) -> None:
        if errors:
            raise Told(*errors[0])


class Threaded(Client):
    """psycopg, synchronous, in a thread of its own."""

    kind = "thread"

    async def session(self) -> None:
        self.doing("a session in a thread")
        count = self.chance.randint(1, 40)
        await asyncio.to_thread(self.work, count)

    def work(self, count: int) -> None:
        host, port = self.world.address(self.cuttable)
        with psycopg.connect(
            host=host, port=port, user=self.user, password=PASSWORD, dbname="postgres", autocommit=True,
            sslmode="require" if self.tls else "disable", connect_timeout=20,
        ) as connection:  # fmt: skip
            connection.add_notice_handler(self.on_notice)
            for _ in range(count):
                if self.world.over.is_set():
                    return
                people, since = self.people(), self.world.in_force.now()
                text = "SELECT %s::text, id, phone FROM soak.people WHERE id >= %s AND id < %s ORDER BY id"
                rows = connection.execute(text, (self.name, people.start, people.stop)).fetchall()
                self.check(rows, people, since, self.name)
                with connection.transaction(force_rollback=True):
                    connection.execute("INSERT INTO soak.ledger VALUES (%s, 1, 'thread')", (self.name,))
                row = connection.execute("SELECT phone FROM soak.people WHERE id = 1").fetchone()
                if not self.masked and row != (phone(1, None),):
                    raise Wrong(f"{row} in a clear session")
                self.world.counts["thread round"] += 1
                self.world.over_thread.wait(self.chance.random() * PAUSE)

    def on_notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "FATAL":
            self.told = diagnostic.sqlstate


KINDS: tuple[tuple[type[Client], int], ...] = ((Psycopg, 6), (Asyncpg, 6), (Raw, 6), (Threaded, 2))
"""With their shares."""


def crowd(world: World, count: int) -> list[Client]:
    kinds = [kind for kind, share in KINDS for _ in range(share)]
    return [kinds[i % len(kinds)](world) for i in range(count)]
