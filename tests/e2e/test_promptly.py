"""A change of policy, grant, role or attribute shows in the next statement of open sessions, on all proxies; no query is lost.

The promise is two seconds. What is asserted is that the change comes at all (within DEADLINE) and that no answer is a mixture
or an error: machines that run tests stand still for longer than two seconds at times. The delays are measured and printed
(`pytest -s`, or `python -m pytest -rP`).
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.companion.install import install_approvals
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

DEADLINE = 10.0
ROUNDS = 1
ROWS = 40
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: MASK }
columns:
  bank.people.phone: phone
attributes:
  user: { from: bank.staff, names: [grade] }
rules:
  - { name: seniors, when: { grade: A }, columns: "*", show: clear }
  - { name: role, role: prompt_role, columns: "*", show: clear }
approvals:
  - { columns: class=phone, approvers: [prompt_chief], max: 1h }
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE prompt_role; CREATE ROLE prompt_chief;
CREATE ROLE prompt_ann LOGIN; CREATE ROLE prompt_boss LOGIN IN ROLE prompt_chief;
CREATE SCHEMA bank;
CREATE TABLE bank.people (id int PRIMARY KEY, name varchar(20), phone varchar(11));
INSERT INTO bank.people SELECT n, '张' || n, '138' || lpad(n::text, 8, '0') FROM generate_series(1, {ROWS}) n;
CREATE TABLE bank.staff (login text PRIMARY KEY, grade text);
INSERT INTO bank.staff VALUES ('prompt_ann', 'C');
GRANT USAGE ON SCHEMA bank TO PUBLIC;
GRANT SELECT ON bank.people TO PUBLIC;
GRANT SELECT ON bank.staff TO {CONTROL};
"""
HBA = f"host all {CONTROL} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
QUERY = "SELECT phone FROM bank.people WHERE id <= {} ORDER BY id"
CLEAR = "clear"
MASKS = {"{ keep: { first: 3 } }": "138********", "redact": "***"}
USUAL = "138********"


def face(phones: Sequence[object]) -> str:
    """What all the rows show; a mixture of two faces is an error."""
    assert len(phones) == ROWS
    faces = {CLEAR if str(p) == f"138{n:08d}" else str(p) for n, p in enumerate(phones, 1)}
    assert len(faces) == 1, f"an answer mixes {faces}"
    return faces.pop()


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)

        async def install() -> None:
            connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
            await install_approvals(connection, CONTROL)
            await connection.close()

        asyncio.run(install())
        yield server


@pytest.fixture(scope="module")
def proxies(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProxyProcess]]:
    """Two of them on the same server; the second one is two processes."""
    place: Path = tmp_path_factory.mktemp("promptly")
    policy = POLICY.replace("MASK", next(iter(MASKS)))
    with (
        ProxyProcess(place / "one", server, policy=policy) as one,
        ProxyProcess(place / "two", server, policy=policy, extra="workers: 2") as two,
    ):
        two.wait_for("event=workers_listening")
        yield [one, two]


Ask = Callable[[], str]
"""One query in an open session: what it shows."""


class Sessions:
    """Sessions of all kinds on all proxies, opened once and left open."""

    def __init__(self, proxies: Sequence[ProxyProcess]) -> None:
        self._loop = asyncio.new_event_loop()
        self._threads = threading.Thread(target=self._loop.run_forever)
        self._threads.start()
        self._closing: list[Callable[[], object]] = []
        self.asks: dict[str, Ask] = {}
        for number, proxy in enumerate(proxies, 1):
            for copy in range(number):
                for kind in ("simple", "prepared", "binary", "cursor"):
                    self.asks[f"proxy {number} {kind} {copy}"] = self._psycopg(proxy, kind)
                self.asks[f"proxy {number} asyncpg {copy}"] = self._asyncpg(proxy)

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        for close in self._closing:
            close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads.join()
        self._loop.close()

    def _psycopg(self, proxy: ProxyProcess, kind: str) -> Ask:
        connection = psycopg.connect(host="127.0.0.1", port=proxy.port, user="prompt_ann", dbname="postgres", autocommit=True)
        self._closing.append(connection.close)

        def ask() -> str:
            if kind == "simple":
                rows = psycopg.ClientCursor(connection).execute(QUERY.format(ROWS)).fetchall()
            elif kind == "cursor":
                rows = _by_cursor(connection)
            else:
                rows = connection.execute(QUERY.format("%s"), (ROWS,), prepare=True, binary=kind == "binary").fetchall()
            return face([row[0] for row in rows])

        return ask

    def _asyncpg(self, proxy: ProxyProcess) -> Ask:
        async def prepare() -> tuple[Any, Any]:
            connection = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="prompt_ann", database="postgres")
            return connection, await connection.prepare(QUERY.format("$1"))

        connection, statement = self._run(prepare())
        self._closing.append(lambda: self._run(connection.close()))
        return lambda: face([row[0] for row in self._run(statement.fetch(ROWS))])

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


def _by_cursor(connection: psycopg.Connection[Any]) -> list[Any]:
    """With a cursor of the server. One that was opened just before the change is refused afterwards, and opened again."""
    while True:
        try:
            with connection.transaction(), connection.cursor(name="people") as cursor:
                return cursor.execute(QUERY.format("%s"), (ROWS,)).fetchall()
        except psycopg.errors.FeatureNotSupported as refusal:
            if "since the cursor was opened" not in str(refusal):
                raise


@dataclass
class Load:
    """Queries without a pause through one proxy, in simple and prepared form, until told to stop."""

    proxy: ProxyProcess
    done: int = 0
    problem: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            address: dict[str, Any] = {"host": "127.0.0.1", "port": self.proxy.port, "user": "prompt_ann", "dbname": "postgres"}
            with psycopg.connect(**address, autocommit=True) as connection:
                while not self.stop.is_set():
                    rows = connection.execute(QUERY.format("%s"), (ROWS,), prepare=bool(self.done % 2)).fetchall()
                    face([row[0] for row in rows])
                    self.done += 1
                    self.stop.wait(0.005)
        except BaseException as problem:
            self.problem = problem


def test_every_kind_of_change(server: TestServer, proxies: list[ProxyProcess]) -> None:
    boss = psycopg.connect(host="127.0.0.1", port=proxies[0].port, user="prompt_boss", dbname="postgres", autocommit=True)
    ann = psycopg.connect(host="127.0.0.1", port=proxies[1].port, user="prompt_ann", dbname="postgres", autocommit=True)
    request = 0

    def policy(mask: str) -> None:
        for proxy in proxies:
            proxy.policy.write_text(POLICY.replace("MASK", mask), encoding="utf-8")

    def approve() -> None:
        nonlocal request
        row = ann.execute("CALL veil.request('bank.people.phone', 'case', '10 min')").fetchone()
        assert row is not None
        request = int(row[0])
        boss.execute(f"CALL veil.approve({request})")

    def sql(text: str) -> Callable[[], None]:
        return lambda: server.execute_sql("postgres", text)

    first, second = MASKS
    changes: list[tuple[str, Callable[[], object], str]] = [
        ("policy saved", lambda: policy(second), MASKS[second]),
        ("policy saved", lambda: policy(first), USUAL),
        ("approval", approve, CLEAR),
        ("revocation", lambda: boss.execute(f"CALL veil.revoke({request})"), USUAL),
        ("GRANT of a role", sql("GRANT prompt_role TO prompt_ann"), CLEAR),
        ("REVOKE of a role", sql("REVOKE prompt_role FROM prompt_ann"), USUAL),
        ("attribute", sql("UPDATE bank.staff SET grade = 'A' WHERE login = 'prompt_ann'"), CLEAR),
        ("attribute", sql("UPDATE bank.staff SET grade = 'C' WHERE login = 'prompt_ann'"), USUAL),
    ]
    loads = [Load(proxy) for proxy in proxies for _ in range(2)]
    threads = [threading.Thread(target=load.run) for load in loads]
    delays: dict[str, list[float]] = {}
    with boss, ann, Sessions(proxies) as sessions:
        assert {ask() for ask in sessions.asks.values()} == {USUAL}
        for thread in threads:
            thread.start()
        try:
            for what, change, wanted in changes * ROUNDS:
                before = {ask() for ask in sessions.asks.values()}
                assert len(before) == 1
                began = time.monotonic()
                change()
                delays.setdefault(what, []).extend(_delays(sessions.asks, before.pop(), wanted, began, what))
        finally:
            for load in loads:
                load.stop.set()
            for thread in threads:
                thread.join()
    for what, seen in delays.items():
        print(f"{what:18} median {statistics.median(seen):.2f} s, worst {max(seen):.2f} s, {len(seen)} sessions")
    print(f"{sum(load.done for load in loads)} queries meanwhile")
    assert [load.problem for load in loads] == [None] * len(loads)
    assert all(load.done > 50 for load in loads)


def _delays(asks: dict[str, Ask], old: str, new: str, began: float, what: str) -> list[float]:
    """Seconds until each session showed the new face; until then it must show the old one, and never anything else."""
    waiting, out = dict(asks), []
    while waiting:
        for name, ask in list(waiting.items()):
            seen = ask()
            assert seen in (old, new), f"{what}: {name} shows {seen}"
            if seen == new:
                out.append(time.monotonic() - began)
                del waiting[name]
        assert time.monotonic() - began < DEADLINE, f"{what}: not yet known to {sorted(waiting)}"
    return out
