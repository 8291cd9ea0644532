"""Whatever the two sides send: no exception, bounded memory, every decision has at most one outcome, and none is lost."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "session"))

import playbook
import scripted

from proxy.session.effects import MIB
from proxy.wire import codec, tags

TEXTS = [
    b"select 1", b"select phone", b"select secret", b"select local_t", b"set x = 1", b"commit", b"create table x()",
    b"select fresh_t", b"prepare p as select phone", b"execute p", b"select 1; select phone", b"copy t from stdin", b"\xff",
]  # fmt: skip
text = st.sampled_from(TEXTS)
name = st.sampled_from([b"", b"a", b"p", b"pgveil.refused"])
target = st.builds(codec.Target, st.sampled_from(b"SP"), name)
client_message = st.one_of(
    text.map(codec.encode_query),
    st.builds(codec.Parse, name, text).map(codec.encode_parse),
    st.builds(codec.Bind, name, name).map(codec.encode_bind),
    st.builds(codec.Execute, name, st.integers(0, 3)).map(codec.encode_execute),
    target.map(codec.encode_describe),
    target.map(codec.encode_close),
    st.just(codec.SYNC),
    st.just(codec.FLUSH),
    st.just(codec.encode_copy_data(b"row")),
    st.just(codec.encode_copy_done()),
    st.just(codec.encode_function_call(codec.FunctionCall(1))),
    st.builds(codec.message, st.sampled_from(sorted(tags.CLIENT_NAMES)), st.binary(max_size=12)),
    st.binary(max_size=8),
)
error = st.sampled_from([b"42601", b"26000", b"34000", b"25P02", b"57P01"]).map(
    lambda c: codec.encode_error((("S", b"ERROR"), ("V", b"ERROR"), ("C", c), ("M", b"m"), ("D", b"d")))
)
server_message = st.one_of(
    st.sampled_from([tags.PARSE_COMPLETE, tags.BIND_COMPLETE, tags.CLOSE_COMPLETE, tags.NO_DATA]).map(codec.message),
    st.sampled_from([tags.PORTAL_SUSPENDED, tags.EMPTY_QUERY_RESPONSE, tags.COPY_DONE]).map(codec.message),
    st.sampled_from(b"ITE").map(codec.encode_ready),
    st.just(codec.encode_data_row([b"x"])),
    st.sampled_from([b"SELECT 1", b"SET", b"PREPARE", b"COPY 1"]).map(codec.encode_command_complete),
    st.sampled_from([0, 16400, 99999]).map(
        lambda oid: codec.encode_row_description([codec.Field(b"c", oid, 2, 25, -1, -1, 0)])
    ),
    st.just(codec.encode_copy(tags.COPY_IN_RESPONSE, codec.Copy(0, ()))),
    error,
    st.builds(codec.message, st.sampled_from(sorted(tags.SERVER_NAMES)), st.binary(max_size=12)),
    st.binary(max_size=8),
)
step = st.one_of(
    st.tuples(st.just("C"), client_message), st.tuples(st.just("S"), server_message), st.tuples(st.just("R"), st.just(b""))
)  # fmt: skip


@given(st.lists(step, max_size=40), st.sampled_from(["masked", "clear"]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_conversation(steps: list[tuple[str, bytes]], profile: str, login: bool) -> None:
    session, authority, audit = scripted.make_session(profile, max_backlog=1 << 12)
    if login:
        session.server_data(playbook.LOGIN)
    for i, (side, data) in enumerate(steps):
        if side == "C":
            session.client_data(data)
        elif side == "S":
            session.server_data(data)
        else:
            authority.change(profile=["masked", "lax", "clear"][i % 3], catalog="fresh_t")
            session.catalog_refreshed()
        assert session.buffered <= 2 * MIB
        assert "internal error" not in str(session.to_client)
    session.client_eof()
    assert session.close
    assert not audit.open


class Backend:
    """Answers as PostgreSQL does, without executing anything: errors, skip until Sync, copy-in, transaction status."""

    def __init__(self, fail: set[int]) -> None:
        self.fail = fail
        self.count = 0
        self.skipping = False
        self.status = tags.IDLE
        self.statements: set[bytes] = set()
        self.raw = b"13812345678"
        self.stream = b""

    def answer(self, data: bytes) -> bytes:
        self.stream += data
        out = b""
        while len(self.stream) >= 5:
            end = 1 + int.from_bytes(self.stream[1:5], "big")
            if len(self.stream) < end:
                break
            whole, self.stream = self.stream[:end], self.stream[end:]
            out += self.one(whole[0], whole[5:])
        return out

    def error(self, code: bytes, extended: bool) -> bytes:
        self.skipping = extended
        out = codec.encode_error((("S", b"ERROR"), ("V", b"ERROR"), ("C", code), ("M", b"m")))
        return out if extended else out + codec.encode_ready(self.status)

    def one(self, tag: int, body: bytes) -> bytes:
        if tag == tags.SYNC:
            self.skipping = False
            return codec.encode_ready(self.status)
        if self.skipping:
            return b""
        self.count += 1
        if tag == tags.QUERY:
            if b"refused" in body or self.count in self.fail:
                return self.error(b"42601", False)
            return self.rows(body) + codec.encode_command_complete(b"SELECT 1") + codec.encode_ready(self.status)
        if tag == tags.FUNCTION_CALL:
            return self.error(b"42883", False)
        if self.count in self.fail and tag not in (tags.FLUSH, tags.COPY_DATA, tags.COPY_DONE):
            return self.error(b"XX001", True)
        if tag == tags.PARSE:
            parse = codec.decode_parse(body)
            if b"refused" in parse.text:
                return self.error(b"42601", True)
            if parse.name and parse.name in self.statements:
                return self.error(b"42P05", True)
            self.statements.add(parse.name)
            self.probing = parse.name == b"pgveil.probe"
            return codec.message(tags.PARSE_COMPLETE)
        if tag == tags.BIND:
            bind = codec.decode_bind(body)
            if bind.statement not in self.statements:
                return self.error(b"26000", True)
            self.probing = bind.statement == b"pgveil.probe"
            return codec.message(tags.BIND_COMPLETE)
        if tag == tags.DESCRIBE:
            if codec.decode_target(body).name == b"pgveil.refused":
                return self.error(b"26000", True)
            extra = codec.encode_parameter_description(()) if body[:1] == b"S" else b""
            return extra + codec.encode_row_description([codec.Field(b"c", 0, 0, 25, -1, -1, 0)])
        if tag == tags.EXECUTE:
            portal = codec.decode_execute(body).portal
            if portal == b"pgveil.refused":
                return self.error(b"34000", True)
            if portal == b"pgveil.probe":
                answer = playbook.encode('ProbeAnswer ["app"]', False)
                return b"".join(m for m in playbook.trace.split(answer) if m[0] in b"DC")
            return codec.encode_data_row([b"x"]) + codec.encode_command_complete(b"SELECT 1")
        if tag == tags.CLOSE:
            target = codec.decode_target(body)
            if target.kind == ord("S"):
                self.statements.discard(target.name)
            return codec.message(tags.CLOSE_COMPLETE)
        return b""

    def rows(self, body: bytes) -> bytes:
        masked = b"phone" not in body or b"mask(phone)" in body
        table = 0 if masked else scripted.CUSTOMERS
        row = b"x" if masked else self.raw
        return codec.encode_row_description([codec.Field(b"c", table, 2, 25, -1, -1, 0)]) + codec.encode_data_row([row])


good = st.one_of(
    st.sampled_from([t for t in TEXTS if t[0] != 0xFF and b"copy" not in t]).map(codec.encode_query),
    st.builds(codec.Parse, name, st.sampled_from([b"select 1", b"select phone", b"select secret", b"select local_t"])).map(
        codec.encode_parse
    ),
    st.builds(codec.Bind, st.just(b""), name).map(codec.encode_bind),
    st.builds(codec.Execute, st.just(b"")).map(codec.encode_execute),
    target.map(codec.encode_describe),
    target.map(codec.encode_close),
    st.just(codec.SYNC),
    st.just(codec.FLUSH),
    st.just(codec.encode_function_call(codec.FunctionCall(1))),
)


failures = st.sets(st.integers(1, 40), max_size=4)
profiles = st.sampled_from(["masked", "clear"])


@given(st.lists(good, max_size=25), failures, st.integers(0, 5), profiles)
@settings(max_examples=400, deadline=None)
def test_stays_in_step_with_a_server(messages: list[bytes], fail: set[int], burst: int, profile: str) -> None:
    """Any client against a server that follows the rules: no violation is seen, nothing is left over, no raw value passes."""
    session, _, audit = scripted.make_session(profile)
    server = Backend(fail)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    received = b""

    def exchange() -> bytes:
        out = b""
        while session.to_server or session.wants_catalog or session.ddl or session.to_client:
            session.ddl = False
            data = b"".join(session.to_server)
            session.to_server.clear()
            session.server_data(server.answer(data))
            if session.wants_catalog or session.held:
                session.catalog_refreshed()
            out += b"".join(session.to_client)
            session.to_client.clear()
        return out

    messages = [*messages, codec.SYNC]
    for i, message in enumerate(messages):
        session.client_data(message)
        if burst == 0 or i % (burst + 1) == burst:
            received += exchange()
    received += exchange()
    assert not session.close, trace_of(received)
    assert not session.queue
    assert not session.held
    if profile == "masked":
        assert server.raw not in received
    replies = playbook.trace.split(received)
    assert replies[-1][0] == tags.READY_FOR_QUERY
    assert not audit.open


def trace_of(stream: bytes) -> str:
    return "\n".join(playbook.trace.show(m, False) for m in playbook.trace.split(stream))
