"""A policy that names who has to agree before another one takes effect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from proxy.companion.install import install_approvals
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: FIRST } } }
columns:
  public.people.phone: phone
policy_changes: { approvers: [dpo], need: 2 }
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE dpo; CREATE ROLE ann LOGIN; CREATE ROLE dan LOGIN IN ROLE dpo; CREATE ROLE dora LOGIN IN ROLE dpo;
CREATE TABLE people (phone text);
INSERT INTO people VALUES ('13812345678');
GRANT SELECT ON people TO PUBLIC;
"""


def policy(first: int, governed: bool = True) -> str:
    text = POLICY.replace("FIRST", str(first))
    return text if governed else text.partition("policy_changes")[0]


@pytest.fixture
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


def install(server: TestServer) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
        await install_approvals(connection, CONTROL)
        await connection.close()

    asyncio.run(run())


def connect(proxy: ProxyProcess, user: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True)


def seen(proxy: ProxyProcess) -> object:
    with connect(proxy, "ann") as ann:
        ((phone,),) = ann.execute("SELECT phone FROM people").fetchall()
    return phone


def waiting(proxy: ProxyProcess) -> list[object]:
    with connect(proxy, "dan") as dan:
        rows = dan.execute("SHOW veil.requests").fetchall()
        return [r[0] for r in rows if r[1] == "pending" and r[3] == "policy"]


def approve(proxy: ProxyProcess, number: object) -> None:
    for user, state in (("dan", "pending"), ("dora", "granted")):
        with connect(proxy, user) as session:
            ((_, found, _, _),) = session.execute("CALL veil.approve(%s)", (number,)).fetchall()
            assert found == state


def test_a_change_waits_for_two_approvers(server: TestServer, tmp_path: Path) -> None:
    install(server)
    with ProxyProcess(tmp_path / "home", server, policy=policy(3)) as proxy:
        assert seen(proxy) == "138********"
        proxy.policy.write_text(policy(5))
        until(lambda: waiting(proxy), "the change is a request", 10)
        assert seen(proxy) == "138********"
        (number,) = waiting(proxy)
        with connect(proxy, "ann") as ann:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="a member of dpo"):
                ann.execute("CALL veil.approve(%s)", (number,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no policy"):
                ann.execute("CALL veil.proposal(%s)", (number,))
        with connect(proxy, "dan") as dan:
            ((_, name, text),) = dan.execute("CALL veil.proposal(%s)", (number,)).fetchall()
            assert (Path(str(name)).name, text) == ("policy.yaml", policy(5))
        approve(proxy, number)
        until(lambda: seen(proxy) == "13812******", "the change is in force", 10)
        assert not waiting(proxy)
        assert '"accepted":false' in proxy.trail()

        # What was approved once has to be approved again.
        proxy.policy.write_text(policy(3))
        until(lambda: waiting(proxy), "the way back is a request too", 10)
        assert seen(proxy) == "13812******"
        proxy.stop()

    # Neither a restart nor another file gets round it; what was approved last is in force, not what the files say.
    for text in (policy(3), policy(9, governed=False)):
        with ProxyProcess(tmp_path / "home", server, policy=text) as proxy:
            assert seen(proxy) == "13812******"
            proxy.wait_for("event=policy_waiting")
            assert waiting(proxy)
            if "policy_changes" not in text:
                approve(proxy, max(map(int, waiting(proxy))))  # type: ignore[call-overload]
                until(lambda: seen(proxy) == "138123456**", "the policy without approval is in force", 10)
                proxy.policy.write_text(policy(1, governed=False))
                until(lambda: seen(proxy) == "1**********", "now nobody has to agree", 10)


def test_one_proxy_proposes_all_follow(server: TestServer, tmp_path: Path) -> None:
    install(server)
    with (
        ProxyProcess(tmp_path / "one", server, policy=policy(3)) as one,
        ProxyProcess(tmp_path / "two", server, policy=policy(3)) as two,
    ):
        one.policy.write_text(policy(4))
        until(lambda: waiting(two), "both know of it", 10)
        (number,) = waiting(two)
        approve(two, number)
        until(lambda: seen(one) == seen(two) == "1381*******", "both follow", 10)


def test_without_tables_nobody_is_served(server: TestServer, tmp_path: Path) -> None:
    proxy = ProxyProcess(tmp_path / "home", server, policy=policy(3)).start(ready=False)
    try:
        proxy.wait_for("event=policy_unavailable .*pgveil install")
        with pytest.raises(psycopg.OperationalError, match="has not been confirmed"):
            connect(proxy, "ann")
        install(server)
        until(lambda: proxy.get("/readyz")[0] == 200, "it is confirmed", 10)
        assert seen(proxy) == "138********"
    finally:
        proxy.stop()


def test_an_earlier_text_begins_anew(server: TestServer, tmp_path: Path) -> None:
    """After a policy without approval, one that was in force before takes effect and stays, over a restart too; and what has
    waited for too long can be proposed again."""
    install(server)
    home = tmp_path / "home"
    with ProxyProcess(home, server, policy=policy(3)) as proxy:
        proxy.policy.write_text(policy(5, governed=False))
        until(lambda: waiting(proxy), "the end of approvals is a request", 10)
        approve(proxy, waiting(proxy)[0])
        until(lambda: seen(proxy) == "13812******", "nobody has to agree now", 10)
        proxy.policy.write_text(policy(3))
        until(lambda: seen(proxy) == "138********", "the earlier policy is in force", 10)
    with ProxyProcess(home, server, policy=policy(3)) as proxy:
        proxy.policy.write_text(policy(9))
        until(lambda: waiting(proxy), "a change is a request", 10)
        assert seen(proxy) == "138********"
        server.execute_sql("postgres", "UPDATE pgveil.request SET made = made - interval '8 days' WHERE state = 'pending'")
        until(lambda: not waiting(proxy), "it has lapsed", 10)
        proxy.policy.write_text(policy(9) + "\n")
        until(lambda: waiting(proxy), "another one waits", 10)
        proxy.policy.write_text(policy(9))
        until(lambda: len(waiting(proxy)) == 2, "and the lapsed one again", 10)
