"""Protocol versions and options that the server is not told of: the client learns of them, in one message."""

from __future__ import annotations

import pytest
import scripted

from proxy.wire import codec, startup, tags, trace

AUTH_OK = codec.encode_authentication(0)
CASES = [
    ((0, ()), None, None),
    ((2, ()), None, None),
    ((9999, ()), None, "NegotiateProtocolVersion 196610"),
    ((9999, ()), "NegotiateProtocolVersion 196608", "NegotiateProtocolVersion 196608"),
    ((0, ("_pq_.a", "_pq_.b")), None, 'NegotiateProtocolVersion 196608 ["_pq_.a" "_pq_.b"]'),
    ((7, ("_pq_.a",)), "NegotiateProtocolVersion 196608", 'NegotiateProtocolVersion 196608 ["_pq_.a"]'),
    ((2, ()), "NegotiateProtocolVersion 196608", "NegotiateProtocolVersion 196608"),
]


@pytest.mark.parametrize(("asked", "servers", "expected"), CASES)
def test_exactly_one(asked: tuple[int, tuple[str, ...]], servers: str | None, expected: str | None) -> None:
    minor, options = asked
    raw = ((b"user", b"ana"), *((name.encode(), b"1") for name in options), (b"application_name", b"x"))
    message = startup.StartupMessage(3, minor, raw)
    told, withheld = startup.understood(message)
    assert told.minor == min(minor, 2)
    assert dict(told.raw) == {b"user": b"ana", b"application_name": b"x"}
    assert (withheld is None) == (told is message)
    session, _, _ = scripted.make_session()
    session.version, session.withheld = told.major << 16 | told.minor, withheld
    session.server_data((trace.read(servers, from_client=False) if servers else b"") + AUTH_OK)
    heard = trace.split(b"".join(session.to_client))
    found = [trace.show(m, from_client=False) for m in heard if m[0] == tags.NEGOTIATE_PROTOCOL_VERSION]
    assert found == ([expected] if expected else [])
    assert heard[-1] == AUTH_OK


def test_before_an_error_too() -> None:
    session, _, _ = scripted.make_session()
    session.version, session.withheld = 3 << 16, (b"_pq_.a",)
    session.server_data(codec.encode_error((("S", b"FATAL"), ("C", b"53300"), ("M", b"too many"))))
    assert [m[0] for m in trace.split(b"".join(session.to_client))] == [ord("v"), ord("E")]
