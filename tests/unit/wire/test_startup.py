"""Start-up packets: what the server would take, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import startup
from proxy.wire.startup import CancelRequest, GSSENCRequest, SSLRequest, StartupError, StartupMessage

MESSAGE = StartupMessage(3, 0, ((b"user", b"ana"), (b"database", b"bank"), (b"user", b"bob")))


@pytest.mark.parametrize(
    "packet", [SSLRequest(), GSSENCRequest(), CancelRequest(7, b"1234"), CancelRequest(7, bytes(256)), MESSAGE]
)
def test_round_trip(packet: startup.Packet) -> None:
    assert startup.decode(startup.encode(packet)) == packet


def test_the_last_of_two_values_wins_and_both_are_kept() -> None:
    assert MESSAGE.parameters == {"user": "bob", "database": "bank"}
    assert [k for k, _ in MESSAGE.pairs] == ["user", "database", "user"]


def test_names_that_are_not_utf8_survive() -> None:
    packet = startup.decode(startup.encode(StartupMessage(3, 2, ((b"user", b"\xd5\xc5"),))))
    assert isinstance(packet, StartupMessage)
    assert packet.parameters["user"].encode("utf-8", "surrogateescape") == b"\xd5\xc5"


def test_take_in_pieces_and_with_something_behind() -> None:
    whole = startup.encode(MESSAGE)
    for cut in range(len(whole)):
        assert startup.take(whole[:cut]) is None
    assert startup.take(whole + b"Q") == (MESSAGE, b"Q")


@pytest.mark.parametrize("request_", [SSLRequest(), GSSENCRequest()])
def test_bytes_glued_behind_an_encryption_request_are_refused(request_: startup.Packet) -> None:
    with pytest.raises(StartupError, match="unencrypted"):
        startup.take(startup.encode(request_) + b"\0")


@pytest.mark.parametrize(
    "packet",
    [
        b"\0\0\0\x07\0\3\0",
        b"\0\0\0\x09\0\3\0\0",
        b"\x7f\xff\xff\xff\0\3\0\0",
        b"\0\0\0\x08\0\3\0\0",
        b"\0\0\0\x09\0\3\0\0x",
        b"\0\0\0\x0d\0\3\0\0user\0",
        b"\0\0\0\x12\0\3\0\0user\0ana\0x",
        b"\0\0\0\x14\0\3\0\0\0user\0ana\0\0\0",
        b"\0\0\0\x09\x04\xd2\x16\x2f\0",
        b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\1",
        b"\0\0\0\x0f\x04\xd2\x16\x2e\0\0\0\1abc",
    ],
)
def test_refused(packet: bytes) -> None:
    with pytest.raises(StartupError):
        startup.decode(packet)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(StartupError):
        startup.take(data)


@pytest.mark.parametrize("value", ["true", "on", "1", "database", "yes", "T", "", "perhaps"])
def test_replication(value: str) -> None:
    assert startup.wants_replication((("replication", value),))
    assert startup.wants_replication((("replication", value), ("replication", "false")))


def test_a_walsender_without_a_database() -> None:
    assert startup.is_physical((("database", "replication"), ("replication", "true")))
    assert not startup.is_physical((("database", "bank"), ("replication", "database")))
    assert not startup.is_physical((("database", "bank"),))


@pytest.mark.parametrize("value", ["false", "off", "no", "0", "F", "n"])
def test_no_replication(value: str) -> None:
    assert not startup.wants_replication((("user", "ana"), ("replication", value)))
    assert not startup.wants_replication(())
