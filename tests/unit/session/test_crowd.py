"""Pipelines of any length: what is remembered of them is bounded, and costs the same for each message."""

from __future__ import annotations

import playbook
import scripted

from proxy.session.machine import Session
from proxy.wire import codec, tags

PARSE = codec.encode_parse(codec.Parse(b"", b"select 1"))


def ready() -> Session:
    session, _, _ = scripted.make_session()
    session.server_data(playbook.LOGIN)
    return session


def test_reading_pauses_until_the_server_has_answered() -> None:
    session = ready()
    session.client_data(PARSE * 9_000)
    assert not session.paused
    session.client_data(PARSE * 9_000)
    assert session.paused
    session.server_data(codec.message(tags.PARSE_COMPLETE) * 12_000)
    assert session.paused
    session.server_data(codec.message(tags.PARSE_COMPLETE) * 4_000)
    assert not session.paused


def test_copy_in_swallows_syncs_and_is_no_crowd() -> None:
    session = ready()
    session.client_data(codec.encode_query(b"copy t from stdin"))
    session.server_data(codec.encode_copy(tags.COPY_IN_RESPONSE, codec.Copy(0, (0,))))
    session.client_data(codec.SYNC * 20_000)
    assert not session.paused


def test_many_statements_under_way_under_two_stamps() -> None:
    """No answer looks at all that are still to come: this would take minutes."""
    session = ready()
    many = 40_000
    session.client_data(PARSE * (many // 2))
    session.authority.change(profile="lax")  # type: ignore[attr-defined]
    session.client_data(PARSE * (many // 2))
    session.server_data(codec.message(tags.PARSE_COMPLETE) * (many - 1))
    slot = session.statements.find(b"")
    assert slot is not None
    assert len(slot.candidates()) == 2
    assert slot.stamp == session.stamp
