"""A cancel request while pgveil itself holds the statement: the server has nothing to cancel."""

from __future__ import annotations

import playbook
import pytest
import scripted

from proxy.session.machine import Session
from proxy.wire import codec, tags

WAITS_FOR_CATALOG = b"select fresh_t"
WAITS_FOR_PLAN = b"select 1 -- " + b"x" * 20_000
CANCELED = b"Mcanceling statement due to user request\0"


def held(data: bytes) -> Session:
    session, _, _ = scripted.make_session()
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    session.client_data(data)
    assert session.held
    session.to_server.clear()
    return session


@pytest.mark.parametrize("text", [WAITS_FOR_CATALOG, WAITS_FOR_PLAN])
def test_a_query(text: bytes) -> None:
    session = held(codec.encode_query(text) + codec.encode_query(b"select 2"))
    session.cancel()
    assert b"".join(session.to_server) == codec.encode_query(b"refused by pgveil") + codec.encode_query(b"select 2")
    session.server_data(codec.encode_error((("S", b"ERROR"), ("C", b"42601"), ("M", b"x"))) + codec.encode_ready(tags.IDLE))
    assert CANCELED in b"".join(session.to_client)
    assert not session.held
    session.catalog_refreshed()
    assert b"".join(session.to_server).count(b"select 2") == 1


@pytest.mark.parametrize("text", [WAITS_FOR_CATALOG, WAITS_FOR_PLAN])
def test_a_parse(text: bytes) -> None:
    session = held(codec.encode_parse(codec.Parse(b"s", text)) + codec.encode_bind(codec.Bind(b"", b"s")) + codec.SYNC)
    session.cancel()
    sent = b"".join(session.to_server)
    assert sent.startswith(codec.encode_parse(codec.Parse(b"s", b"refused by pgveil")))
    assert sent.endswith(codec.SYNC)
    session.server_data(codec.encode_error((("S", b"ERROR"), ("C", b"42601"), ("M", b"x"))) + codec.encode_ready(tags.IDLE))
    assert CANCELED in b"".join(session.to_client)
    assert session.idle


def test_nothing_to_cancel() -> None:
    session, _, _ = scripted.make_session()
    session.cancel()
    session.server_data(playbook.LOGIN)
    session.cancel()
    session.client_data(codec.encode_query(b"select 1"))
    session.to_server.clear()
    session.cancel()
    assert session.to_server == []
    assert not session.close
