"""Messages that pass in pieces: texts too long to be held, and what must not get into the middle of a message."""

from __future__ import annotations

import hashlib

import playbook
import pytest
import scripted

from proxy.session.machine import Session
from proxy.wire import codec, tags

LIMIT = 10_000
LONG = b"select '" + b"x" * (5 * LIMIT) + b"'"
QUERY = codec.encode_query(LONG)
PARSE = codec.encode_parse(codec.Parse(b"s", LONG, (23,)))
SIZES = [1, 7, 4096, 5000, 1 << 20]


def ready(profile: str) -> tuple[Session, scripted.ScriptedAuthority, scripted.ListedAudit]:
    session, authority, audit = scripted.make_session(profile, max_statement=LIMIT)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    return session, authority, audit


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def sent(session: Session, data: bytes, size: int) -> bytes:
    """What the server gets; the session keeps little of it."""
    out = b""
    for piece in pieces(data, size):
        session.client_data(piece)
        out += b"".join(session.to_server)
        session.to_server.clear()
        assert session.buffered <= LIMIT
    return out


@pytest.mark.parametrize("size", SIZES)
def test_a_long_text_of_a_clear_session_passes_and_leaves_its_digest(size: int) -> None:
    session, _, audit = ready("clear")
    whole = QUERY + PARSE + codec.encode_bind(codec.Bind(b"", b"s")) + codec.encode_execute(codec.Execute(b"")) + codec.SYNC
    assert sent(session, whole, size) == whole
    session.server_data(
        codec.encode_command_complete(b"SELECT 1")
        + codec.encode_ready(tags.IDLE)
        + codec.message(tags.PARSE_COMPLETE)
        + codec.message(tags.BIND_COMPLETE)
        + codec.encode_command_complete(b"SELECT 1")
        + codec.encode_ready(tags.IDLE)
    )
    assert audit.lines == [
        "decision 1 statement simple UNREAD",
        "decision 2 statement extended UNREAD",
        "outcome 1 'SELECT 1' 1",
        "outcome 2 'SELECT 1' 1",
    ]
    assert audit.digests == [hashlib.sha256(LONG).hexdigest()] * 2
    assert session.ddl
    assert session.idle


@pytest.mark.parametrize("size", SIZES)
def test_a_long_text_of_a_masked_session_is_refused_and_the_session_goes_on(size: int) -> None:
    session, _, audit = ready("masked")
    after = codec.encode_query(b"select 1")
    out = sent(session, QUERY + PARSE + codec.SYNC + after, size)
    assert out == b"".join(
        (
            codec.encode_query(b"refused by pgveil"),
            codec.encode_parse(codec.Parse(b"s", b"refused by pgveil")),
            codec.SYNC,
            after,
        )
    )
    assert audit.lines[:2] == ["decision 1 refusal simple 54000", "decision 2 refusal extended 54000"]
    assert not session.close


def test_a_policy_that_begins_to_mask_ends_a_session_in_the_middle_of_a_text() -> None:
    session, authority, audit = ready("clear")
    begun = sent(session, QUERY[:-10], 1000)
    authority.change("masked")
    session.client_data(QUERY[-10:] + codec.encode_query(b"select 1"))
    assert session.close
    assert QUERY.startswith(begun + b"".join(session.to_server))
    assert len(begun + b"".join(session.to_server)) < len(QUERY)
    assert b"57P01" in b"".join(session.to_client)
    assert not [line for line in audit.lines if line.startswith("decision")]


def test_a_long_prepared_text_does_not_run_once_something_is_masked() -> None:
    session, authority, _ = ready("clear")
    sent(session, PARSE + codec.SYNC, 5000)
    session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_ready(tags.IDLE))
    authority.change("masked")
    bind = codec.encode_bind(codec.Bind(b"", b"s"))
    assert sent(session, bind + codec.SYNC, 5000) == codec.encode_bind(codec.Bind(b"", b"pgveil.refused")) + codec.SYNC


def test_an_error_meanwhile_makes_the_server_skip_a_long_text() -> None:
    session, _, audit = ready("clear")
    sent(session, codec.encode_parse(codec.Parse(b"", b"select 1")) + PARSE[:9000], 3000)
    session.server_data(codec.encode_error((("S", b"ERROR"), ("C", b"42601"), ("M", b"no"))))
    sent(session, PARSE[9000:] + codec.SYNC, 3000)
    session.server_data(codec.encode_ready(tags.IDLE))
    assert session.idle
    assert audit.lines == []


STRANGE = codec.encode_row_description([codec.Field(b"a", 99999, 1, 25, -1, -1, 0)])
"""A result from a relation that nobody knows: the guard stops it."""


@pytest.mark.parametrize(
    "begun", [codec.encode_bind(codec.Bind(b"", b"s", (), (bytes(60_000),))), codec.encode_copy_data(bytes(60_000))]
)
def test_nothing_of_ours_gets_into_the_middle_of_a_message(begun: bytes) -> None:
    """The rest of the message would otherwise be read as messages that nobody has looked at."""
    session, _, _ = ready("masked")
    sent(session, codec.encode_parse(codec.Parse(b"s", b"select 1")) + codec.encode_describe(codec.Target(83, b"s")), 5000)
    assert sent(session, begun[:20_000], 5000) == begun[:20_000]
    session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_parameter_description(()) + STRANGE)
    assert session.close
    assert session.to_server == []


def test_nor_after_a_simple_query() -> None:
    session, _, _ = ready("masked")
    data = codec.encode_copy_data(bytes(60_000))
    sent(session, codec.encode_query(b"begin; select 1"), 5000)
    session.server_data(codec.encode_command_complete(b"BEGIN") + STRANGE)
    assert sent(session, data[:20_000], 5000) == data[:20_000]
    session.server_data(
        codec.encode_data_row([b"x"]) + codec.encode_command_complete(b"SELECT 1") + codec.encode_ready(tags.IN_TRANSACTION)
    )
    assert session.close
    assert session.to_server == []


def test_a_message_that_is_dropped_is_no_obstacle() -> None:
    session, _, _ = ready("masked")
    bind = codec.encode_bind(codec.Bind(b"", b"nowhere", (), (bytes(60_000),)))
    sent(session, codec.encode_parse(codec.Parse(b"s", b"select 1")) + codec.encode_describe(codec.Target(83, b"s")), 5000)
    sent(session, bind[:20_000], 5000)
    session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_parameter_description(()) + STRANGE)
    assert not session.close
    assert b"".join(session.to_server) == codec.encode_bind(codec.Bind(b"", b"pgveil.refused"))
