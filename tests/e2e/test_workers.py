"""`workers: 2`: one port, two processes, and what becomes of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, DEADLINE, ProxyProcess, until

SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE workers_user LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, phone text);
INSERT INTO shop.people VALUES (1, '13812345678');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
"""
PHONE = "SELECT phone FROM shop.people"
MASKED = ("138****5678",)
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture
def proxy(server: TestServer, tmp_path: Path) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path / "home", server, extra="workers: 2\nlimits: { drain_timeout: 20s }") as proxy:
        proxy.wait_for("event=workers_listening")
        yield proxy


def connect(proxy: ProxyProcess) -> Connection:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user="workers_user", dbname="postgres", connect_timeout=20, autocommit=True
    )


def workers(proxy: ProxyProcess) -> dict[int, list[int]]:
    """Process ids by worker, in the order in which they came."""
    out: dict[int, list[int]] = {}
    for number, pid in re.findall(r"worker=worker-(\d) event=starting pid=(\d+)", proxy.text()):
        out.setdefault(int(number), []).append(int(pid))
    return out


def worker_of(connection: Connection, proxy: ProxyProcess) -> int:
    """The process at the other end of a connection."""
    ours = os.readlink(f"/proc/self/fd/{connection.pgconn.socket}").strip("socket:[]")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = next(row[1:3] for row in rows if row[9] == ours)
    theirs = next(row[9] for row in rows if row[1:3] == ends[::-1])
    for pids in workers(proxy).values():
        if is_alive(pids[-1]) and f"socket:[{theirs}]" in sockets(pids[-1]):
            return pids[-1]
    raise AssertionError("no worker has the connection")


def sockets(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def on_each(proxy: ProxyProcess) -> dict[int, Connection]:
    """A connection to each of the two workers. The kernel spreads them, so it takes some attempts."""
    found: dict[int, Connection] = {}
    for _ in range(200):
        connection = connect(proxy)
        pid = worker_of(connection, proxy)
        if pid in found:
            connection.close()
        else:
            found[pid] = connection
        if len(found) == 2:
            return found
    raise AssertionError("200 connections came to the same worker")


def verify(proxy: ProxyProcess) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "audit", "verify", "-c", str(proxy.config),
         "--worker", "worker-1", "--worker", "worker-2"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_serve_and_drain(proxy: ProxyProcess) -> None:
    found = on_each(proxy)
    assert set(found) == {pids[-1] for pids in workers(proxy).values()}
    for connection in found.values():
        assert connection.execute(PHONE).fetchall() == [MASKED]
        connection.execute("BEGIN")
    proxy.signal(signal.SIGTERM)
    for number in (1, 2):
        proxy.wait_for(rf"worker=worker-{number} event=draining")
    for connection in found.values():
        assert connection.execute(PHONE).fetchall() == [MASKED]
        connection.execute("COMMIT")
        connection.close()
    assert proxy.wait() == 0
    assert verify(proxy).count("stopped cleanly") == 2


def test_a_killed_worker_is_replaced(proxy: ProxyProcess) -> None:
    found = on_each(proxy)
    (victim, lost), (survivor, kept) = found.items()
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError):
        lost.execute(PHONE)
    assert kept.execute(PHONE).fetchall() == [MASKED]
    proxy.wait_for(r"event=worker_died .*cause=SIGKILL")
    until(lambda: sum(map(len, workers(proxy).values())) == 3, "a third process")
    fresh = ({pids[-1] for pids in workers(proxy).values()} - {survivor}).pop()
    kept.execute(PHONE)

    def again() -> bool:
        with connect(proxy) as connection:
            return connection.execute(PHONE).fetchall() == [MASKED] and worker_of(connection, proxy) == fresh

    until(again, "the new worker serves")
    assert worker_of(kept, proxy) == survivor
    kept.close()
    lost.close()
    proxy.stop()
    assert proxy.wait() == 0
    assert verify(proxy).count("stopped cleanly") == 2


def test_a_worker_that_hangs_is_replaced(server: TestServer, tmp_path: Path) -> None:
    """Stopped, it neither dies nor serves, and the kernel goes on giving it a share of the new connections."""
    with ProxyProcess(tmp_path / "home", server, extra="workers: 2\nlimits: { hang_timeout: 2s }") as proxy:
        proxy.wait_for("event=workers_listening")
        found = on_each(proxy)
        (victim, lost), (_, kept) = found.items()
        os.kill(victim, signal.SIGSTOP)
        proxy.wait_for(rf"event=worker_hangs .*pid={victim}\b")
        proxy.wait_for(r"event=worker_died .*cause=SIGKILL")
        with pytest.raises(psycopg.OperationalError):
            lost.execute(PHONE)
        assert kept.execute(PHONE).fetchall() == [MASKED]
        until(lambda: sum(map(len, workers(proxy).values())) == 3, "a third process")
        for connection in (*on_each(proxy).values(), *found.values()):
            connection.close()


def test_reload_reaches_both(proxy: ProxyProcess) -> None:
    found = on_each(proxy)
    text = proxy.policy.read_text(encoding="utf-8")
    proxy.policy.write_text(text.replace("first: 3, last: 4", "first: 1"), encoding="utf-8")
    proxy.signal(signal.SIGHUP)
    for number in (1, 2):
        proxy.wait_for(rf"worker=worker-{number} event=reloading")
    for connection in found.values():
        until(lambda c=connection: c.execute(PHONE).fetchall() == [("1**********",)], "the new policy")  # type: ignore[misc]
        connection.close()


def test_workers_do_not_outlive_their_parent(proxy: ProxyProcess, server: TestServer) -> None:
    pids = [p[-1] for p in workers(proxy).values()]
    with connect(proxy) as connection:
        connection.execute("BEGIN")
        proxy.signal(signal.SIGKILL)
        proxy.wait()
        until(lambda: not any(map(is_alive, pids)), "workers gone")
        with pytest.raises(psycopg.OperationalError):
            connection.execute(PHONE)
    with ProxyProcess(proxy.home, server, extra="workers: 2") as second:
        second.wait_for("event=workers_listening")
        with connect(second) as connection:
            assert connection.execute(PHONE).fetchall() == [MASKED]


@pytest.mark.parametrize("count", [1, 2])
def test_the_next_proxy_takes_over_while_the_old_one_drains(server: TestServer, tmp_path: Path, count: int) -> None:
    """A new version is started on the same port; running transactions end where they began."""
    extra = f"workers: {count}\nlimits: {{ drain_timeout: 30s }}"
    with ProxyProcess(tmp_path / "old", server, extra=extra) as old, connect(old) as connection:
        connection.execute("BEGIN")
        if count > 1:
            old.wait_for("event=workers_listening")
        old.signal(signal.SIGTERM)
        for number in range(count):
            old.wait_for(rf"worker=worker-{number + 1} event=draining" if count > 1 else "event=draining")
        new = ProxyProcess(tmp_path / "new", server, extra=extra)
        new.config.write_text(new.config.read_text().replace("host: 127.0.0.1, port: 0", f"host: 127.0.0.1, port: {old.port}"))
        with new:
            assert new.port == old.port
            with connect(new) as fresh:
                assert fresh.execute(PHONE).fetchall() == [MASKED]
            assert connection.execute(PHONE).fetchall() == [MASKED]
            connection.execute("COMMIT")
            assert old.wait() == 0


def test_a_bad_policy_is_told_once(server: TestServer, tmp_path: Path) -> None:
    proxy = ProxyProcess(tmp_path / "home", server, extra="workers: 2", policy="version: 1\nclasses: nonsense\n")
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "serve", "-c", str(proxy.config)], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 1
    assert done.stderr.count("Error: ") == 1
    assert "policy.yaml:2:10" in done.stderr
    assert "worker_died" not in done.stderr


def test_a_taken_port_is_told_once(proxy: ProxyProcess, server: TestServer, tmp_path: Path) -> None:
    """Two proxies of the same user must not share a port by mistake."""
    other = ProxyProcess(tmp_path / "other", server, extra="workers: 2")
    config = other.config.read_text().replace("host: 127.0.0.1, port: 0", f"host: 127.0.0.1, port: {proxy.port}")
    other.config.write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "serve", "-c", str(other.config)], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 1
    assert done.stderr.count("Error: ") == 1
    assert "Address already in use" in done.stderr
