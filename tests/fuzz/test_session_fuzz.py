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
    st.just(codec.TERMINATE),
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
    st.sampled_from([0, 16400, 99999]).map(lambda oid: codec.encode_row_description([codec.Field(b"c", oid, 2, 25, -1, -1, 0)])),
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
    session.server_eof()
    assert session.close
    assert not audit.open


class Backend:
    """Answers as PostgreSQL does, without executing anything: errors, skip until Sync, copy-in, transaction status."""

    def __init__(self, fail: set[int]) -> None:
        self.fail = fail
        self.count = 0
        self.skipping = False
        self.status = tags.IDLE
        self.statements: dict[bytes, bytes] = {}
        self.portals: dict[bytes, bytes] = {}
        self.profile = "masked"
        """Under which what is being read was sent."""
        self.executed: list[tuple[str, bytes]] = []
        """Profile and text of what clients have executed, in the extended protocol."""
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
            self.portals.clear()
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
            self.statements[parse.name] = parse.text
            return codec.message(tags.PARSE_COMPLETE)
        if tag == tags.BIND:
            bind = codec.decode_bind(body)
            if bind.statement not in self.statements:
                return self.error(b"26000", True)
            self.portals[bind.portal] = self.statements[bind.statement]
            return codec.message(tags.BIND_COMPLETE)
        if tag == tags.DESCRIBE:
            target = codec.decode_target(body)
            if target.name not in (self.statements if target.kind == ord("S") else self.portals):
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
            if portal not in self.portals:
                return self.error(b"34000", True)
            self.executed.append((self.profile, self.portals[portal]))
            return codec.encode_data_row([b"x"]) + codec.encode_command_complete(b"SELECT 1")
        if tag == tags.CLOSE:
            target = codec.decode_target(body)
            (self.statements if target.kind == ord("S") else self.portals).pop(target.name, None)
            return codec.message(tags.CLOSE_COMPLETE)
        return b""

    def rows(self, body: bytes) -> bytes:
        masked = b"phone" not in body or b"mask(phone)" in body
        table = 0 if masked else scripted.CUSTOMERS
        row = b"x" if masked else self.raw
        return codec.encode_row_description([codec.Field(b"c", table, 2, 25, -1, -1, 0)]) + codec.encode_data_row([row])


own = st.sampled_from([b"", b"a", b"p"])
"""Names that are the client's in clear sessions too: one of ours made there would end the session once it is masked."""
own_target = st.builds(codec.Target, st.sampled_from(b"SP"), own)
good = st.one_of(
    st.sampled_from([t for t in TEXTS if t[0] != 0xFF and b"copy" not in t]).map(codec.encode_query),
    st.builds(codec.Parse, own, st.sampled_from([b"select 1", b"select phone", b"select secret", b"select local_t"])).map(
        codec.encode_parse
    ),
    st.builds(codec.Bind, st.just(b""), own).map(codec.encode_bind),
    st.builds(codec.Execute, st.just(b"")).map(codec.encode_execute),
    own_target.map(codec.encode_describe),
    own_target.map(codec.encode_close),
    st.just(codec.SYNC),
    st.just(codec.FLUSH),
    st.just(codec.encode_function_call(codec.FunctionCall(1))),
)


failures = st.sets(st.integers(1, 40), max_size=4)
profiles = st.sampled_from(["masked", "clear"])


class Conversation:
    """A session and a server that follows the rules; what is on its way to the server is kept until `exchange`."""

    def __init__(self, profile: str, fail: set[int]) -> None:
        self.session, self.authority, self.audit = scripted.make_session(profile)
        self.server = Backend(fail)
        self.profile = profile
        self.received = b""
        self.under_way: list[tuple[str, bytes]] = []
        self.session.server_data(playbook.LOGIN)
        self.session.to_client.clear()

    def policy(self, profile: str) -> None:
        self.authority.change(profile=profile)
        self.profile = profile

    def send(self, message: bytes) -> None:
        self.session.client_data(message)
        self.collect()

    def collect(self) -> None:
        self.under_way += [(self.profile, data) for data in self.session.to_server]
        self.session.to_server.clear()

    def exchange(self) -> None:
        session = self.session
        while self.under_way or session.wants_catalog or session.ddl or session.to_client:
            session.ddl = False
            under_way, self.under_way = self.under_way, []
            for self.server.profile, data in under_way:
                session.server_data(self.server.answer(data))
                self.collect()
            if session.wants_catalog or session.held:
                session.catalog_refreshed()
                self.collect()
            self.received += b"".join(session.to_client)
            session.to_client.clear()

    def finish(self) -> list[bytes]:
        """Everything is in step and settled; the replies."""
        self.exchange()
        assert not self.session.close, trace_of(self.received)
        assert not self.session.queue
        assert not self.session.held
        assert not self.audit.open
        for profile, text in self.server.executed:
            assert profile != "masked" or b"phone" not in text or b"mask(phone)" in text
        return playbook.trace.split(self.received)


@given(st.lists(st.one_of(good, good, profiles), max_size=30), failures, st.integers(0, 5), profiles)
@settings(max_examples=400, deadline=None)
def test_stays_in_step_with_a_server(steps: list[bytes | str], fail: set[int], burst: int, profile: str) -> None:
    """Any client, any change of policy: no violation is seen, nothing is left over, nothing runs that may not."""
    c = Conversation(profile, fail)
    for i, step in enumerate([*steps, codec.SYNC]):
        if isinstance(step, str):
            c.policy(step)
        else:
            c.send(step)
        if burst == 0 or i % (burst + 1) == burst:
            c.exchange()
    replies = c.finish()
    assert replies[-1][0] == tags.READY_FOR_QUERY
    if profile == "masked" and "clear" not in steps:
        assert c.server.raw not in c.received


use = st.tuples(st.sampled_from([b"", b"one", b"phone"]), st.sampled_from(["", "S", "P"]))
"""A statement by name, and what is described when it is used."""


@given(st.lists(st.one_of(use, use, profiles, st.just(codec.SYNC)), max_size=30), st.integers(0, 5), profiles)
@settings(max_examples=400, deadline=None)
def test_no_use_of_a_prepared_statement_is_lost(steps: list[object], burst: int, profile: str) -> None:
    """However the policy changes between uses, and however late the server answers, every use succeeds."""
    c = Conversation(profile, set())
    for name, text in ((b"", b"select phone, 1"), (b"one", b"select 1"), (b"phone", b"select phone")):
        c.send(codec.encode_parse(codec.Parse(name, text)) + codec.encode_describe(codec.Target(ord("S"), name)) + codec.SYNC)
    expected = []
    for i, step in enumerate([*steps, codec.SYNC]):
        if isinstance(step, str):
            c.policy(step)
        elif isinstance(step, tuple):
            name, describe = step
            before = codec.encode_describe(codec.Target(ord("S"), name)) if describe == "S" else b""
            after = codec.encode_describe(codec.Target(ord("P"), b"")) if describe == "P" else b""
            c.send(before + codec.encode_bind(codec.Bind(b"", name)) + after + codec.encode_execute(codec.Execute(b"")))
            expected.append(name)
        elif isinstance(step, bytes):
            c.send(step)
        if burst == 0 or i % (burst + 1) == burst:
            c.exchange()
    replies = c.finish()
    assert not any(r[0] == tags.ERROR_RESPONSE for r in replies), trace_of(c.received)
    assert [b"phone" in text for _, text in c.server.executed] == [name != b"one" for name in expected]


def trace_of(stream: bytes) -> str:
    return "\n".join(playbook.trace.show(m, False) for m in playbook.trace.split(stream))
