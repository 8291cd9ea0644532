"""What a session's decisions, outcomes and events look like in the trail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from policies.model import Profile
from proxy.audit import sink
from proxy.audit.record import COMMON, FIELDS, MAX_TOUCHES, NESTED, RESULT, AuditError, Kind
from proxy.audit.redact import Redacted
from proxy.audit.shape import audit_schema
from proxy.audit.sink import DecisionEncoder, SessionAudit
from proxy.audit.values import DigestKeys
from proxy.audit.verify import verify_directory
from proxy.session.effects import AuditSink, Identity
from rewrite.plan import Plan, Refusal, StatementPlan, Touch, Verdict

SCHEMA = Draft7Validator(audit_schema())
SQL = "SELECT phone FROM bank.customers WHERE name = '张三' AND id = 7"
TOUCH = Touch("bank.customers", "phone", "phone", "C2", "output", "mask", None)
PLAN = Plan(Verdict.REWRITE, "...", (StatementPlan("SELECT", (TOUCH,)), StatementPlan("SET")), placed_by="sqlglot")
REFUSAL = Plan(Verdict.REFUSE, "", refusal=Refusal("42501", 'no "13812345678"', "hint"))


@pytest.fixture
def session(tmp_path: Path, make: Callable, key: bytes) -> SessionAudit:
    writer = make(tmp_path / "t")
    audit = SessionAudit(
        writer, DecisionEncoder(DigestKeys.of(key)), "s1", Identity('李"四', "bank", "psql", "10.0.0.1", 5000, True)
    )
    audit.context(Profile("profilekey", "v7", {}), {"teller", "analyst"})
    return audit


def written(session: SessionAudit) -> list[dict]:
    session.release()
    session._writer.flush()
    path = next(session._writer.directory.glob("*.jsonl"))
    records = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    for record in records:
        kind = Kind(record["kind"])
        assert tuple(record) == (*COMMON[:-1], *FIELDS[kind], "mac")
        SCHEMA.validate(record)
        for name, fields in NESTED.items():
            nested = record.get(name) or []
            for entry in nested if isinstance(nested, list) else [nested]:
                assert tuple(entry) == fields
    return records[1:]


def test_it_is_the_sessions_sink(session: SessionAudit) -> None:
    sink: AuditSink = session
    assert sink is session


def test_a_decision_and_its_outcome(session: SessionAudit) -> None:
    decided = session.decision("s1", "statement", PLAN, 0, SQL, "extended")
    session.release()
    session.outcome(decided, "SELECT 1", 1, 42, 0.00125, None)
    session.outcome(decided, None, 0, 0, 1.5, "57014")
    decision, outcome, failed = written(session)
    digest = decision.pop("text_digest")
    assert len(digest) == 16
    values = decision.pop("values")
    assert len(set(values)) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", v) for v in values)
    assert {k: v for k, v in decision.items() if k not in COMMON} == {
        "session": "s1", "login": '李"四', "person": '李"四', "database": "bank", "client": "10.0.0.1", "client_port": 5000,
        "application": "psql", "tls": True, "asserted": {}, "roles": ["analyst", "teller"], "profile": "profilekey",
        "policy": "v7", "protocol": "extended", "statement": "SELECT", "part": 1, "parts": 2, "verdict": "rewrite",
        "touches": [{"relation": "bank.customers", "column": "phone", "class": "phone", "level": "C2", "use": "output",
                     "show": "mask", "rule": None, "grant": None, "others": []}],
        "touches_more": 0, "clear": None, "refusal": None, "on_failure": None, "placed_by": "sqlglot",
        "text": "SELECT phone FROM bank.customers WHERE name = ? AND id = ?", "values_whole": True, "binds": None,
        "tag": None, "rows": None, "bytes": None, "seconds": None, "sqlstate": None,
    }  # fmt: skip
    seq = decision["seq"]
    assert seq == decided.seq == outcome["decision"]
    assert {k: v for k, v in outcome.items() if k not in COMMON} == {
        "session": "s1", "decision": seq, "tag": "SELECT 1", "rows": 1, "bytes": 42, "seconds": 0.00125, "sqlstate": None,
    }  # fmt: skip
    assert (failed["tag"], failed["sqlstate"], failed["seconds"]) == (None, "57014", 1.5)


def test_one_record_for_a_statement_that_ended_before_its_data_flows(session: SessionAudit) -> None:
    session.outcome(session.decision("s1", "statement", PLAN, 0, SQL, "simple"), "SELECT 1", 1, 42, 0.00125, None)
    session.outcome(session.decision("s1", "statement", PLAN, 1, SQL, "simple"), None, 0, 0, 0.5, "57014")
    one, other = written(session)
    assert [r["kind"] for r in (one, other)] == ["decision"] * 2
    assert [one[name] for name in RESULT] == ["SELECT 1", 1, 42, 0.00125, None]
    assert [other[name] for name in RESULT] == [None, 0, 0, 0.5, "57014"]


def test_decisions_keep_their_order(session: SessionAudit) -> None:
    texts = ["select 'a'", "select 'b'", "select 'c'", "select 'd'"]
    a, b, c, d = (session.decision("s1", "statement", PLAN, 0, text, "simple") for text in texts)
    session.outcome(a, "SELECT 1", 1, 1, 0.1, None)
    session.outcome(c, "SELECT 3", 3, 3, 0.1, None)  # before b: then all are released
    session.outcome(b, "SELECT 2", 2, 2, 0.1, None)
    session.outcome(d, "SELECT 4", 4, 4, 0.1, None)
    records = written(session)
    assert [(r["kind"], r["tag"], r.get("decision")) for r in records] == [
        ("decision", "SELECT 1", None), ("decision", None, None), ("decision", None, None), ("decision", None, None),
        ("outcome", "SELECT 3", c.seq), ("outcome", "SELECT 2", b.seq), ("outcome", "SELECT 4", d.seq),
    ]  # fmt: skip
    assert [r["seq"] for r in records[:4]] == [x.seq for x in (a, b, c, d)]


def test_a_portal_that_may_go_on_has_outcomes_of_their_own(session: SessionAudit) -> None:
    decided = session.decision("s1", "statement", PLAN, 0, SQL, "extended")
    session.outcome(decided, "SUSPENDED", 5, 50, 0.1, None)
    session.outcome(decided, "SELECT 2", 2, 20, 0.1, None)
    assert [(r["kind"], r["tag"], r["rows"]) for r in written(session)] == [
        ("decision", None, None), ("outcome", "SUSPENDED", 5), ("outcome", "SELECT 2", 2),
    ]  # fmt: skip


def test_what_comes_after_a_decision_stands_after_it(session: SessionAudit) -> None:
    session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    session.decision("s1", "refusal", REFUSAL, 0, "x", "simple")
    session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    session.event("guard", {"sid": "s1", "sqlstate": "42501"})
    session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    session.logout(1.0, "client left")
    assert [r["kind"] for r in written(session)] == ["decision", "refused", "decision", "event", "decision", "logout"]


def test_no_room_keeps_a_decision_and_loses_its_outcome(session: SessionAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    with monkeypatch.context() as patch:
        patch.setattr("proxy.audit.writer.MAX_PENDING", 0)
        for _ in range(2):
            with pytest.raises(AuditError, match="wait for a disk"):
                session.release()
        session.outcome(decided, "SELECT 1", 1, 42, 0.1, None)
    written(session)
    decision, gap = written(session)
    assert (decision["kind"], decision["tag"]) == ("decision", None)
    assert (gap["event"], gap["detail"]["lost"]) == ("gap", 1)


def test_a_refusal_has_its_reason_without_data(session: SessionAudit) -> None:
    session.decision("s1", "refusal", REFUSAL, 0, "select 'x", "simple")
    session.decision("s1", "refusal", Plan(Verdict.NEED, ""), 0, "x", "simple")
    session.decision("s1", "refusal", PLAN, 1, SQL, "simple")
    first, need, part = written(session)
    assert [r["kind"] for r in (first, need, part)] == ["refused"] * 3
    assert [r["verdict"] for r in (first, need, part)] == ["refuse"] * 3
    assert first["refusal"] == {"sqlstate": "42501", "message": 'no "?"'}
    assert (first["statement"], first["part"], first["parts"], first["text"]) == (None, 1, 1, "select ?…")
    assert (part["statement"], part["part"]) == ("SET", 2)
    with pytest.raises(ValueError, match="no decision"):
        session.decision("s1", "statement", Plan(Verdict.NEED, ""), 0, "y", "simple")


def test_kept_encodings_belong_to_their_plan_and_text(session: SessionAudit) -> None:
    for n in range(50):  # plans that die at once: their ids come back
        plan = Plan(Verdict.PASS, "", (StatementPlan(f"K{n}"),))
        session.decision("s1", "statement", plan, 0, "x", "simple")
        del plan
    session.decision("s1", "statement", PLAN, 0, "a", "simple")
    session.decision("s1", "statement", PLAN, 0, "b", "simple")
    session.decision("s1", "statement", PLAN, 1, "b", "simple")
    session.decision("s1", "statement", PLAN, 1, "b", "extended")
    records = written(session)
    assert [r["statement"] for r in records[:50]] == [f"K{n}" for n in range(50)]
    assert [(r["text"], r["part"], r["protocol"]) for r in records[50:]] == [
        ("a", 1, "simple"), ("b", 1, "simple"), ("b", 2, "simple"), ("b", 2, "extended"),
    ]  # fmt: skip


def test_the_cache_does_not_grow_for_ever(session: SessionAudit) -> None:
    for n in range(5000):
        session.decision("s1", "statement", PLAN, 0, f"select {n}", "simple")
    assert len(session._encoder._kept) <= 2048


def test_context_and_identity_change_from_there_on(session: SessionAudit) -> None:
    session.login()
    session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    session.context(Profile("other", "v8", {}), [])
    session.identity(Identity('李"四', "bank", "张\n", "10.0.0.1", 5000, True))
    session.decision("s1", "statement", PLAN, 0, SQL, "simple")
    session.event("guard", {"sid": "s1", "oid": 5})
    session.logout(2.5, "client")
    login, before, after, event, logout = written(session)
    assert (login["kind"], login["policy"], login["roles"]) == ("login", "v7", ["analyst", "teller"])
    assert (before["policy"], before["roles"], before["application"]) == ("v7", ["analyst", "teller"], "psql")
    assert (after["policy"], after["roles"], after["application"]) == ("v8", [], "张\n")
    assert (event["event"], event["session"], event["detail"]) == ("guard", "s1", {"oid": 5})
    assert (logout["statements"], logout["seconds"], logout["reason"]) == (2, 2.5, "client")


def test_a_failed_login(session: SessionAudit) -> None:
    session.login_failed("28P01", "password authentication failed for user '李'")
    (failed,) = written(session)
    assert (failed["kind"], failed["sqlstate"], failed["login"]) == ("login_failed", "28P01", '李"四')
    assert "李" not in failed["reason"]


def test_text_none_keeps_only_the_digest(tmp_path: Path, make: Callable, key: bytes) -> None:
    writer = make(tmp_path / "t")
    session = SessionAudit(writer, DecisionEncoder(DigestKeys.of(key), "none"), "s", Identity("a", "b"))
    session.decision("s", "statement", PLAN, 0, SQL, "simple")
    (record,) = written(session)
    assert record["text"] is None
    assert (
        record["text_digest"]
        == DecisionEncoder(DigestKeys.of(key)).text_digest(SQL)
        != DecisionEncoder(DigestKeys.of(bytes(32))).text_digest(SQL)
    )
    with pytest.raises(ValueError, match="audit text"):
        DecisionEncoder(DigestKeys.of(key), "short")


def test_very_many_touches_are_counted(session: SessionAudit, key: bytes) -> None:
    plan = Plan(Verdict.PASS, "", (StatementPlan("SELECT", (TOUCH,) * (MAX_TOUCHES + 3)),))
    session.decision("s1", "statement", plan, 0, SQL, "simple")
    (record,) = written(session)
    assert (len(record["touches"]), record["touches_more"]) == (MAX_TOUCHES, 3)
    assert verify_directory(session._writer.directory, key).ok


def test_a_script_of_many_statements_is_read_once(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def redact(text: str) -> Redacted:
        looked.append(text)
        return plain(text)

    plain = sink.redact
    monkeypatch.setattr(sink, "redact", redact)
    text = "select 1 from s.t; " * 2000
    plan = Plan(Verdict.PASS, text, tuple(StatementPlan("SELECT", ()) for _ in range(2000)))
    encoder = DecisionEncoder(DigestKeys.of(key))
    for index in range(2000):
        encoder.encoded("statement", plan, index, text, "simple")
    assert len(looked) == 1
