"""Conversations played directly and through pgveil; pgveil among clients and servers that break the protocol: fixed rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import lab, live
from tests.fuzz.compare import judge
from tests.fuzz.conversation import load, parse
from tests.fuzz.differential import Arena
from tests.fuzz.grammar import Generator
from tests.support.proxy import ProxyProcess, until

CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    with lab.running(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.fixture(scope="module")
def arena(place: lab.Lab) -> Arena:
    return Arena(place)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.conv")), ids=lambda p: p.stem)
def test_found_before(arena: Arena, path: Path) -> None:
    trial = arena.check(load(path))
    assert trial.found is None, trial.found


@pytest.mark.parametrize("part", range(6))
def test_random_conversations(arena: Arena, part: int) -> None:
    for i in range(10):
        conversation = Generator(f"fixed/{part}/{i}").conversation()
        trial = arena.check(conversation)
        assert trial.found is None, f"{trial.found}\n{conversation.dump()}"


def test_conversations_read_back() -> None:
    for i in range(200):
        conversation = Generator(f"form/{i}").conversation()
        assert parse(conversation.dump()) == conversation


def test_differences_are_seen() -> None:
    ready, one, two = "ReadyForQuery I", 'DataRow "1"', 'DataRow "2"'
    error = 'ErrorResponse S "ERROR" V "ERROR" C "22012" M "division by zero"'
    assert judge([one, ready], [one, ready]).difference is None
    for direct, proxied in (
        ([one, ready], [two, ready]),
        ([one, ready], [one]),
        ([one], [one, ready]),
        ([one], [error]),
        ([error], [one]),
    ):
        assert judge(direct, proxied).difference is not None
    assert judge([one], ["ErrorResponse refused 42501 pgveil: no"]).difference is not None
    assert judge([error], ["ErrorResponse refused 42501 pgveil: no"]).own_words


def test_a_wrong_answer_is_seen(arena: Arena) -> None:
    """The lab itself: the masked copy is compared, and tables that differ afterwards are told apart."""
    conversation = parse('# login: masked\nC> Query "select id, phone from bank.people order by id"\n')
    bank = arena.lab.banks[lab.TWIN["masked"]]
    assert arena.play(conversation).found is None
    arena.lab.server.execute_sql(bank.name, "update bank.people set phone = 'other' where id = 10")
    try:
        assert arena.play(conversation).found is not None
    finally:
        arena.lab.server.execute_sql(
            bank.name, "update bank.people set phone = '138****7710' where id = 10; vacuum full bank.people"
        )


def test_clients_that_break_the_protocol(place: lab.Lab) -> None:
    assert place.proxy.process is not None
    watch = live.Watch(place, place.proxy.port, place.proxy.process.pid)
    try:
        for i in range(60):
            for found in (live.vandal(place.proxy.port, f"fixed/{i}"), live.odd_startup(place.proxy.port, f"fixed/{i}")):
                assert found is None, found
            live.startups(place.proxy.port, f"fixed/{i}")
            if i % 15 == 0:
                assert watch.look() is None
                assert watch.memory() is None
        assert watch.look() is None
        until(lambda: place.proxy.metric("pgveil_connections") == 2, "the sessions of the clients that have gone are gone")
    finally:
        watch.close()


def test_servers_that_break_the_protocol(place: lab.Lab, tmp_path: Path) -> None:
    meddler = live.Meddler(place.server.port, tuple(lab.USERS.values()))
    with ProxyProcess(tmp_path, place.server, database=lab.RAW, policy=lab.POLICY, server_port=meddler.port) as second:
        assert second.process is not None
        watch = live.Watch(place, second.port, second.process.pid)
        try:
            for i in range(16):
                found = live.victim(second.port, f"fixed/{i}")
                assert found is None, found
                if i % 15 == 0:
                    assert watch.look() is None
                    assert watch.memory() is None
            meddler.cut()
            until(lambda: second.metric("pgveil_connections") == 2, "the sessions whose server is gone are gone")
            assert watch.look() is None
        finally:
            watch.close()
            meddler.close()
