"""What playbooks cannot say: sizes, pieces, limits, and the parts of the session on their own."""

from __future__ import annotations

import json
from dataclasses import replace

import playbook
import pytest
import scripted

from policies.model import Branch, Decision, Show
from proxy.audit.record import AuditError
from proxy.session import auth, guard, probe, scrub
from proxy.session import state as st
from proxy.session.effects import Identity
from proxy.session.machine import Session
from proxy.session.statements import MIXED, Record, Statements
from proxy.wire import codec, tags
from rewrite.plan import Plan, Verdict

PLAN = Plan(Verdict.PASS, "")
FIELD = codec.Field(b"c", 0, 0, 25, -1, -1, 0)


def ready(profile: str = "masked", **options: int) -> Session:
    session, _, _ = scripted.make_session(profile, **options)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    return session


def test_a_chunk_that_needs_no_change_is_forwarded_as_the_same_object() -> None:
    session = ready()
    query = codec.encode_query(b"select 1")
    session.client_data(query)
    assert session.to_server[0] is query
    answer = (
        codec.encode_row_description([FIELD])
        + codec.encode_data_row([b"x"]) * 500
        + codec.encode_command_complete(b"SELECT 500")
        + codec.encode_ready(tags.IDLE)
    )
    session.server_data(answer)
    assert len(session.to_client) == 1
    assert session.to_client[0] is answer


def test_a_row_of_many_chunks_is_not_held() -> None:
    session = ready()
    session.client_data(codec.encode_query(b"select 1"))
    row = codec.encode_data_row([bytes(5_000_000)])
    stream = codec.encode_row_description([FIELD]) + row + codec.encode_command_complete(b"SELECT 1")
    received = 0
    for at in range(0, len(stream), 65_536):
        session.server_data(stream[at : at + 65_536])
        received += sum(map(len, session.to_client))
        session.to_client.clear()
        assert session.buffered < 64
    assert received == len(stream)


def test_a_large_bind_is_forwarded_in_pieces_and_dropped_in_pieces_when_refused() -> None:
    bind = codec.encode_bind(codec.Bind(b"", b"s", (), (bytes(1_000_000),)))
    session = ready()
    session.client_data(codec.encode_parse(codec.Parse(b"s", b"select 1")) + bind[:50_000])
    assert sum(map(len, session.to_server)) > 50_000
    session.client_data(bind[50_000:] + codec.SYNC)
    assert b"".join(session.to_server).endswith(bind + codec.SYNC)
    assert not session.close

    session = ready()
    for at in range(0, len(bind), 50_000):
        session.client_data(bind[at : at + 50_000])
    session.client_data(codec.SYNC)
    assert b"".join(session.to_server) == codec.encode_bind(codec.Bind(b"", b"pgveil.refused")) + codec.SYNC


def test_no_error_is_put_into_the_middle_of_a_long_message() -> None:
    session = ready()
    session.client_data(codec.encode_query(b"select 1"))
    session.server_data(codec.encode_row_description([FIELD]) + codec.encode_data_row([bytes(100_000)])[:50])
    session.to_client.clear()
    session.refuse("57P01", "terminating connection due to administrator command")
    assert session.close
    assert session.to_client == []


@pytest.mark.parametrize("size", [1, 3, 200])
def test_a_row_the_server_dies_over_is_not_begun_so_that_the_client_can_be_told(size: int) -> None:
    row = codec.encode_data_row([bytes(100)])
    whole = codec.encode_row_description([FIELD]) + row + row
    session = ready()
    session.client_data(codec.encode_query(b"select 1"))
    cut = (whole + row)[:-1]
    for at in range(0, len(cut), size):
        session.server_data(cut[at : at + size])
    assert session.whole
    session.server_eof()
    out = b"".join(session.to_client)
    assert out.startswith(whole + b"E")
    assert b"08006" in out
    assert session.buffered == 0


@pytest.mark.parametrize("size", [1, 50, 1 << 16, 1 << 20])
def test_rows_that_come_in_pieces_are_relayed_as_they_are(size: int) -> None:
    rows = b"".join(codec.encode_data_row([bytes([n % 256]) * (n * 997 % 5000)]) for n in range(60))
    rows += codec.encode_data_row([bytes(300_000)]) + codec.encode_data_row([b"end"])
    stream = codec.encode_row_description([FIELD]) + rows
    session = ready()
    session.client_data(codec.encode_query(b"select 1"))
    for at in range(0, len(stream), size):
        session.server_data(stream[at : at + size])
        assert session.buffered <= 1 << 16
    assert b"".join(session.to_client) == stream


@pytest.mark.parametrize("extended", [False, True])
def test_replies_that_are_owed_are_capped(extended: bool) -> None:
    """A client that sends without reading is held until the server has answered half; nothing is lost, nothing overtakes."""
    session = ready()
    one = codec.encode_close(codec.Target(ord("P"), b"x")) if extended else codec.encode_query(b"select 1")
    answer = b"3\0\0\0\4" if extended else codec.encode_command_complete(b"SELECT 0") + codec.encode_ready(tags.IDLE)
    sent = one * 10_000
    for at in range(0, len(sent), 50_000):
        session.client_data(sent[at : at + 50_000])
    assert session.held
    forwarded = b"".join(session.to_server)
    assert len(session.queue) < 8300
    assert forwarded.endswith(codec.FLUSH) == extended
    for _ in range(10_000):
        session.server_data(answer)
    assert not session.held
    assert not session.queue
    assert b"".join(session.to_server).replace(codec.FLUSH, b"") == sent
    assert b"".join(session.to_client) == answer * 10_000


def test_held_input_is_capped() -> None:
    session = ready(max_backlog=1000)
    session.client_data(codec.encode_query(b"select local_t"))
    assert session.held
    session.client_data(bytes(900))
    assert not session.close
    session.client_data(bytes(200))
    assert session.close
    assert session.buffered == 0


def test_a_name_is_what_the_server_makes_of_it() -> None:
    """Names are cut to 63 bytes: two long names may be one statement."""
    session = ready()
    long = b"n" * 63
    session.client_data(codec.encode_parse(codec.Parse(long + b"1", b"select 1")) + codec.SYNC)
    session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_ready(tags.IDLE))
    session.to_server.clear()
    bind = codec.encode_bind(codec.Bind(b"", long + b"2"))
    session.client_data(bind)
    assert session.to_server == [bind]


def test_application_name_is_asked_about_again() -> None:
    session, authority, _ = scripted.make_session()
    session.server_data(playbook.LOGIN)
    session.server_data(codec.encode_parameter_status(b"application_name", b"menu 0412"))
    assert authority.asked[-1].application_name == "menu 0412"


def test_a_profile_that_expires_is_asked_for_again() -> None:
    authority, audit = scripted.ScriptedAuthority(), scripted.ListedAudit()
    now = [1000.0]
    authority.profile = replace(authority.profile, valid_until=1001.0)
    session = Session(scripted.IDENTITY, authority, audit, replace(scripted.OPTIONS, clock=lambda: now[0]))
    session.server_data(playbook.LOGIN)
    asked = len(authority.asked)
    session.client_data(codec.encode_query(b"select 1"))
    assert len(authority.asked) == asked
    now[0] = 1001.0
    session.client_data(codec.encode_query(b"select 1"))
    assert len(authority.asked) == asked + 1


def test_a_statement_waits_for_a_catalog_that_has_been_looked_at() -> None:
    """Somebody else may have renamed a table while the session was quiet."""
    session, authority, _ = scripted.make_session()
    session.server_data(playbook.LOGIN)
    authority.confirmed = False
    query = codec.encode_query(b"select 1")
    session.client_data(query)
    assert session.held
    assert session.wants_catalog
    assert session.to_server == []
    session.catalog_refreshed()  # goes on even when the look took long: it began after the statement came
    assert not session.held
    assert session.to_server == [query]


def test_how_old_the_last_look_at_the_catalog_may_be() -> None:
    """What was changed before a session began, it sees from its first statement on; so it does after a time of quiet."""
    authority, now = scripted.ScriptedAuthority(), [10.0]
    options = replace(scripted.OPTIONS, timer=lambda: now[0])
    session = Session(scripted.IDENTITY, authority, scripted.ListedAudit(), options)
    for moment, server in [
        (10.03, playbook.LOGIN),
        (10.031, b""),
        (11.0, codec.encode_ready(tags.IDLE)),
        (11.001, b""),
        (11.1, b""),
        (11.5, b""),
    ]:
        now[0] = moment
        if server:
            session.server_data(server)
        else:
            session.client_data(codec.encode_query(b"select 1"))
    assert authority.ages == [
        pytest.approx(age) for age in (0.031, options.confirmed, 0.1, options.confirmed)
    ]  # never older than the time of quiet, nor than a quarter of a second


def test_a_bind_waits_too_and_clear_sessions_do_not() -> None:
    session = ready()
    session.client_data(codec.encode_parse(codec.Parse(b"a", b"select 1")) + codec.SYNC)
    session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_ready(tags.IDLE))
    session.to_server.clear()
    assert isinstance(session.view, scripted.FixedView)
    assert session.view.authority is not None
    session.view.authority.confirmed = False
    session.client_data(codec.encode_bind(codec.Bind(b"", b"a")))
    assert session.held
    clear, authority, _ = scripted.make_session("clear")
    clear.server_data(playbook.LOGIN)
    authority.confirmed = False
    clear.client_data(codec.encode_query(b"select 1"))
    assert not clear.held


def test_replication() -> None:
    walsender = replace(scripted.IDENTITY, startup=(("user", "ana"), ("replication", "database")))
    clear = scripted.ScriptedAuthority("clear")
    refusal = auth.startup_refusal(walsender, masked=True)
    assert refusal is not None
    assert refusal.sqlstate == "42501"
    assert auth.startup_refusal(scripted.IDENTITY, masked=True) is None
    assert auth.startup_refusal(walsender, masked=False) is None
    session = Session(walsender, clear, scripted.ListedAudit(), scripted.OPTIONS)
    early = codec.encode_query(b"IDENTIFY_SYSTEM") + b"Q\0"
    session.client_data(early)
    session.server_data(playbook.LOGIN + b"\0raw")
    session.client_data(b"\xff anything")
    session.server_data(b"\0 anything")
    assert b"".join(session.to_server) == early + b"\xff anything"
    assert b"".join(session.to_client) == playbook.LOGIN + b"\0raw\0 anything"


def test_replication_that_got_past_the_door_is_stopped() -> None:
    walsender: Identity = replace(scripted.IDENTITY, startup=(("replication", "true"),))
    session = Session(walsender, scripted.ScriptedAuthority("masked"), scripted.ListedAudit(), scripted.OPTIONS)
    session.server_data(playbook.LOGIN)
    assert session.close


class Broken(scripted.ScriptedAuthority):
    def current(self, identity: Identity, now: float) -> scripted.FixedView:
        if self.asked:
            raise RuntimeError("lost 13812345678")
        return super().current(identity, now)


def test_a_bug_elsewhere_ends_the_session_and_says_nothing() -> None:
    authority = Broken()
    session = Session(scripted.IDENTITY, authority, scripted.ListedAudit(), scripted.OPTIONS)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    authority.epoch += 1
    session.client_data(codec.encode_query(b"select 1"))
    assert session.close
    out = b"".join(session.to_client)
    assert b"XX000" in out
    assert b"138" not in out
    assert session.to_server == [codec.TERMINATE]


class Unavailable(Exception):
    sqlstate = "57P03"
    message = "cannot read the catalog at the moment"
    hint = "Try again."


@pytest.mark.parametrize("told", [True, False])
def test_a_decision_that_finds_no_room_in_the_trail(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    def full(*_: object) -> int:
        raise AuditError("an audit record of more than 4194304 bytes")

    monkeypatch.setattr(scripted.ListedAudit, "decision", full)
    if not told:
        monkeypatch.setattr(scripted.ListedAudit, "event", full)
    session = ready()
    session.to_server.clear()
    session.client_data(codec.encode_query(b"select 1"))
    assert codec.encode_query(b"select 1") not in session.to_server
    answer = b"".join(session.to_client)
    assert b"C58030" in answer
    assert b"an audit record of more than 4194304 bytes" in answer
    assert session.close


@pytest.mark.parametrize("renew", ["statement", "catalog"])
def test_what_the_authority_says_is_what_the_client_reads(renew: str) -> None:
    class Gone(scripted.ScriptedAuthority):
        def current(self, identity: Identity, now: float) -> scripted.FixedView:
            if self.epoch > 1:
                raise Unavailable
            return super().current(identity, now)

    authority, audit = Gone(), scripted.ListedAudit()
    session = Session(scripted.IDENTITY, authority, audit, scripted.OPTIONS)
    session.server_data(playbook.LOGIN)
    session.to_client.clear()
    authority.epoch += 1
    if renew == "statement":
        session.client_data(codec.encode_query(b"select 1"))
    else:
        session.catalog_refreshed()
    assert session.close
    assert audit.lines == ["event unavailable"]
    (error,) = session.to_client
    fields = dict(codec.decode_fields(error[5:]))
    assert fields == {
        "S": b"FATAL", "V": b"FATAL", "C": b"57P03", "M": b"cannot read the catalog at the moment", "H": b"Try again.",
    }  # fmt: skip


def test_a_result_for_nobody_is_not_read_to_its_end() -> None:
    session = ready()
    session.client_data(codec.encode_query(b"select 1") + codec.TERMINATE)
    session.client_eof()
    assert not session.close
    session.server_data(codec.encode_row_description([FIELD]))
    for _ in range(2000):
        session.server_data(codec.encode_data_row([bytes(1000)]))
        assert session.to_client == []
        if session.close:
            break
    else:
        pytest.fail("still reading")


@pytest.mark.parametrize(
    ("ours", "servers", "relayed"), [(b"a", b"a", True), (b"a", b"b", False), (None, b"a", False), (None, None, False)]
)
def test_channel_binding_is_offered_when_both_sides_show_one_certificate(
    ours: bytes | None, servers: bytes | None, relayed: bool
) -> None:
    session, _, _ = scripted.make_session()
    session.certificates(ours, servers)
    offer = codec.encode_sasl([b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"])
    session.server_data(offer)
    assert (b"".join(session.to_client) == offer) is relayed


def test_backslashes_are_not_read_anew() -> None:
    """The server read the text under another standard_conforming_strings: to give it again would change its meaning."""
    for text, renewed in ((b"select phone, 'a\\b'", False), (b"select phone", True)):
        session, authority, _ = scripted.make_session()
        session.server_data(playbook.LOGIN)
        session.client_data(codec.encode_parse(codec.Parse(b"s", text)) + codec.SYNC)
        session.server_data(codec.message(tags.PARSE_COMPLETE) + codec.encode_ready(tags.IDLE))
        session.server_data(codec.encode_parameter_status(b"standard_conforming_strings", b"off"))
        session.to_server.clear()
        authority.change(profile="lax")
        session.client_data(codec.encode_bind(codec.Bind(b"", b"s")))
        assert (codec.encode_close(codec.Target(ord("S"), b"s")) in b"".join(session.to_server)) is renewed
        assert (b"pgveil.refused" in b"".join(session.to_server)) is not renewed


def test_guard() -> None:
    catalog, profile = scripted.make_catalog(), scripted.make_profile("masked")

    def judge(table: int, attnum: int) -> guard.Trip | None:
        return guard.judge((FIELD, replace(FIELD, table=table, attnum=attnum)), catalog, profile, {20000})

    assert judge(0, 0) is None
    assert judge(scripted.CUSTOMERS, 1) is None
    assert judge(scripted.CUSTOMERS, -1) is None
    assert judge(20000, 1) is None
    assert judge(1259, 1) is None
    for table, attnum, unknown in (
        (scripted.CUSTOMERS, 2, False), (scripted.CUSTOMERS, 0, False), (scripted.CUSTOMERS, 3, True), (30000, 1, True),
    ):  # fmt: skip
        trip = judge(table, attnum)
        assert trip is not None
        assert trip.unknown is unknown
    system = replace(profile, decisions={1259: {3: Decision("x", "C3", (Branch(None, Show.DENY, None, None),))}})
    assert guard.judge((replace(FIELD, table=1259, attnum=3),), catalog, system, set()) is not None


def test_a_failed_parse_leaves_the_old_statement_as_the_only_candidate() -> None:
    statements = Statements()
    old, new = Record("a", "a", PLAN, 1, True), Record("b", "b", PLAN, 2, True)
    slot = statements.slot(b"s")
    slot.add(old)
    slot.confirm(old)
    slot.add(new)
    assert slot.stamp == MIXED
    assert slot.candidates() == [old, new]
    slot.fail(new)
    assert slot.stamp == 1
    assert slot.latest is old
    slot.close()
    statements.tidy(slot)
    assert statements.find(b"s") is None
    assert not statements.slots


def test_close_all_keeps_what_is_on_its_way() -> None:
    statements = Statements()
    for name in (b"", b"a", b"b"):
        record = Record("t", "t", PLAN, 1, True)
        statements.slot(name).add(record)
        if name != b"b":
            statements.slot(name).confirm(record)
    statements.close_all()
    assert set(statements.slots) == {b"", b"b"}


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b'{"path": 1}', b"\xff", b'{"path": ["a"], "temp": {"t": "x"}}'])
def test_probe_answers_that_are_none(value: bytes | None) -> None:
    assert probe.read(codec.encode_data_row([value])) is None
    assert probe.read(codec.encode_data_row([None if value is None else value.hex().encode()])) is None
    assert probe.read(b"") is None


@pytest.mark.parametrize(
    ("schemas", "setting", "path"),
    [
        (["pg_catalog", "bank"], "bank, pg_temp", ("pg_catalog", "bank", "pg_temp")),
        (
            ["pg_catalog", "bank", "public"],
            'nowhere, PG_TEMP, "$user", bank, public',
            ("pg_catalog", "pg_temp", "bank", "public"),
        ),
        (["pg_catalog", "bank"], '"PG_TEMP", bank', ("pg_catalog", "bank")),
        (["bank", "pg_temp_3"], "bank, pg_temp", ("bank", "pg_temp")),
        (["pg_catalog", "bank"], "bank", ("pg_catalog", "bank")),
    ],
)
def test_the_place_of_temporary_relations_is_known_before_there_are_any(
    schemas: list[str], setting: str, path: tuple[str, ...]
) -> None:
    values = {"path": schemas, "setting": setting, "temp": None, "temp_schema": "pg_temp_3", "encoding": "UTF8", "strings": "on"}
    answer = probe.read(codec.encode_data_row([json.dumps(values).encode().hex().encode()]))
    assert answer is not None
    assert answer.resolution.path == path


def test_probe_answer() -> None:
    row = next(m for m in playbook.trace.split(playbook.encode('ProbeAnswer ["pg_temp_3" "a"] ["t" 17000]', False)) if m[0] == 68)
    answer = probe.read(row)
    assert answer is not None
    assert answer.resolution.path == ("pg_temp", "a")
    assert answer.resolution.temp == {"t"}
    assert set(answer.temporary.values()) == {17000}
    assert probe.read(row[:-1]) is None


def test_scrubbing_keeps_what_clients_need() -> None:
    fields = (
        ("S", b"ERROR"), ("V", b"ERROR"), ("C", b"23505"), ("M", b"m"), ("D", b"138"), ("H", b"h"), ("W", b"138"),
        ("q", b"x"), ("p", b"1"), ("t", b"t"), ("P", b"3"), ("R", b"_bt_check_unique"),
    )  # fmt: skip
    assert [k for k, _ in scrub.clean_error(fields, None)] == list("SVCMHtPR")


@pytest.mark.parametrize(
    ("severity", "state", "context", "routine"),
    [
        (b"ERROR", b"P0001", b"", b"exec_stmt_raise"),
        (b"ERROR", b"22P02", b"PL/pgSQL function f() line 1 at assignment", b"pg_strtoint32"),
        (b"ERROR", b"42P01", b'SQL statement "DROP TABLE x"\nPL/pgSQL function inline_code_block line 1', b"x"),
        (b"ERROR", b"22P02", 'SQL函数"f"的语句 1'.encode(), b"pg_strtoint32"),
        (b"ERROR", b"22012", "fonction SQL « f », instruction 1".encode(), b"int4div"),
        (b"ERROR", b"22P02", b"remote SQL command: SELECT phone FROM t", b"pgfdw_report_error"),
        (b"NOTICE", b"42P07", b'PL/Python function "f"', b"x"),
        (b"LOG", b"00000", b"", b"elog_node_display"),
        (b"DEBUG5", b"00000", b"", b"ShowTransactionStateRec"),
    ],
)
def test_texts_from_within_functions_are_withheld(severity: bytes, state: bytes, context: bytes, routine: bytes) -> None:
    fields = (("S", severity), ("V", severity), ("C", state), ("M", b"it is 138"), ("H", b"138"), ("W", context), ("R", routine))
    for clean in (scrub.clean_error, scrub.clean_notice):
        assert b"138" not in b"".join(v for _, v in clean(fields, None))


@pytest.mark.parametrize(
    ("severity", "state", "context", "routine"),
    [
        (b"ERROR", b"22P02", b"", b"pg_strtoint32"),
        (b"ERROR", b"22P02", b'COPY t, line 1, column id: "a function"', b"pg_strtoint32"),
        (b"ERROR", b"22P02", b'JSON data, line 1: {"a"', b"json_errsave_error"),
        (b"ERROR", b"23505", b'SQL statement "INSERT INTO t"\nPL/pgSQL function f() line 1', b"_bt_check_unique"),
        (b"ERROR", b"57014", b"PL/pgSQL function f() line 1 at PERFORM", b"ProcessInterrupts"),
        (b"NOTICE", b"42P07", b"", b"x"),
        (b"INFO", b"00000", b"", b"x"),
    ],
)
def test_other_texts_stay(severity: bytes, state: bytes, context: bytes, routine: bytes) -> None:
    fields = (("S", severity), ("V", severity), ("C", state), ("M", b"a text"), ("W", context), ("R", routine))
    for clean in (scrub.clean_error, scrub.clean_notice):
        assert ("M", b"a text") in clean(fields, None)


@pytest.mark.parametrize("mechanisms", [[b"SCRAM-SHA-256"], [b"SCRAM-SHA-256-PLUS"]])
def test_only_a_choice_is_narrowed(mechanisms: list[bytes]) -> None:
    assert auth.strip_channel_binding(codec.encode_sasl(mechanisms)[5:]) is None


@pytest.mark.parametrize("kind", ["clear", "masked"])
def test_query_messages_that_do_not_decode(kind: str) -> None:
    """No text, no end, more than one: the server gets something to refuse, and the session goes on."""
    session = ready(kind)
    for raw in (b"Q\0\0\0\4", b"Q\0\0\0\5a", b"Q\0\0\0\7a\0\0"):
        session.client_data(raw)
        assert session.phase == st.READY
        assert b"".join(session.to_server)[:1] == b"Q"
        session.to_server.clear()
        session.server_data(codec.encode_error((("S", b"ERROR"), ("C", b"08P01"), ("M", b"x"))) + codec.encode_ready(tags.IDLE))
