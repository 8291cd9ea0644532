"""Long texts are planned elsewhere: the message waits, under whatever policy holds when it goes on."""

from __future__ import annotations

import playbook
import pytest
import scripted

from proxy.session.machine import Session
from proxy.wire import codec

LONG = "select phone -- " + "x" * 20_000
MASKED = LONG.replace("phone", "mask(phone)")


def ready(profile: str = "masked") -> tuple[Session, scripted.ScriptedAuthority]:
    session, authority, _ = scripted.make_session(profile)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    return session, authority


def upstream(session: Session) -> bytes:
    data = b"".join(session.to_server)
    session.to_server.clear()
    return data


def planned(session: Session) -> None:
    """As the transport does it."""
    asked = session.wants_plan
    assert asked is not None
    session.plan_made(asked, asked.planner.plan(asked.text, asked.context))


@pytest.mark.parametrize(("profile", "sent"), [("masked", MASKED), ("clear", LONG)])
def test_a_query_waits_with_all_that_follows(profile: str, sent: str) -> None:
    session, _ = ready(profile)
    query = codec.encode_query(LONG.encode())
    session.client_data(codec.encode_query(b"select 1") + query)
    session.client_data(codec.encode_query(b"select 2"))
    assert session.held
    assert upstream(session) == codec.encode_query(b"select 1")
    planned(session)
    assert not session.held
    assert upstream(session) == codec.encode_query(sent.encode()) + codec.encode_query(b"select 2")


def test_in_a_batch_the_server_answers_meanwhile() -> None:
    session, _ = ready()
    first = codec.encode_parse(codec.Parse(b"a", b"select 1"))
    session.client_data(first + codec.encode_parse(codec.Parse(b"b", LONG.encode())) + codec.SYNC)
    assert upstream(session) == first + codec.FLUSH
    planned(session)
    assert upstream(session) == codec.encode_parse(codec.Parse(b"b", MASKED.encode())) + codec.SYNC


def test_a_change_of_the_policy_meanwhile_is_followed() -> None:
    session, authority = ready()
    session.client_data(codec.encode_query(LONG.encode()))
    authority.change(profile="lax")
    planned(session)
    assert upstream(session) == b""
    planned(session)
    assert upstream(session) == codec.encode_query(LONG.encode())


def test_a_plan_that_is_not_wanted_any_more() -> None:
    session, authority = ready()
    session.client_data(codec.encode_query(LONG.encode()))
    old = session.wants_plan
    assert old is not None
    authority.change(profile="strict")
    planned(session)
    session.plan_made(old, old.planner.plan(old.text, old.context))
    assert session.held
    planned(session)
    assert MASKED.encode() not in upstream(session)
    assert not session.held


def test_it_ends_with_the_session() -> None:
    session, _ = ready()
    session.client_data(codec.encode_query(LONG.encode()))
    asked = session.wants_plan
    assert asked is not None
    session.server_eof()
    session.plan_made(asked, asked.planner.plan(asked.text, asked.context))
    assert session.close
    assert upstream(session) == b""


def test_a_refusal_takes_its_place() -> None:
    session, authority = ready()
    authority.change(profile="strict")
    session.client_data(codec.encode_query(LONG.encode()) + codec.encode_query(b"select 2"))
    planned(session)
    assert upstream(session).endswith(codec.encode_query(b"select 2"))
    assert MASKED.encode() not in upstream(session)
