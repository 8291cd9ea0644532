"""Who saw customer X's phone in clear: what the command says is what plain Python finds in the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.audit.record import Kind
from proxy.audit.values import DigestKeys, ValueDigest
from proxy.audit.writer import AuditWriter, Mode
from proxy.cli import cli
from tests.trail.people import id_card_of, phone_of
from tests.unit.inquiry.conftest import KEY, Made

PHONE = "bank.customers.phone"
digest = ValueDigest(DigestKeys.of(KEY).value)
MONTH = (datetime.fromisoformat("2026-10-01T00:00+08:00"), datetime.fromisoformat("2026-11-01T00:00+08:00"))


def run(made: Made, *arguments: str, input: str | None = None) -> Result:
    given = ["audit", *arguments, str(made.directory), "--index", str(made.index.home), "--timezone", "Asia/Shanghai"]
    return CliRunner().invoke(cli, given, input=input)


def answered(made: Made, *arguments: str) -> dict[str, Any]:
    found = run(made, "who", "--key", str(made.key_file), "--format", "json", *arguments)
    assert found.exit_code == 0, found.output
    out: dict[str, Any] = json.loads(found.stdout)
    return out


def showing(d: dict[str, Any], shows: Sequence[str] = ("clear", "conditional")) -> list[dict[str, Any]]:
    moment = datetime.fromisoformat(d["time"])
    if d["verdict"] == "refuse" or d["rows"] == 0 or not MONTH[0] <= moment < MONTH[1]:
        return []
    return [
        t for t in d["touches"]
        if f"{t['relation']}.{t['column']}" == PHONE and t["use"] in ("output", "unknown") and t["show"] in shows
    ]  # fmt: skip


@pytest.mark.parametrize("shown", ["clear", "any"])
def test_both_lists(made: Made, shown: str) -> None:
    shows = ("clear", "conditional") if shown == "clear" else ("clear", "conditional", "mask")
    customer = 4711
    values = [phone_of(customer), id_card_of(customer), str(customer)]
    wanted = set(map(digest, values))
    given = [part for value in values for part in ("--value", value)]
    answer = answered(made, "--column", PHONE, "--month", "2026-10", "--shown", shown, *given)
    named, others = set(), Counter[tuple[str, str | None, int | None]]()
    rows = Counter[tuple[str, str | None, int | None]]()
    for d in made.decisions:
        for t in showing(d, shows):
            if wanted & {*d["values"], *(d["binds"] or ())}:
                named.add((d["worker"], d["seq"], t["rule"]))
            else:
                others[d["person"], t["rule"], t["grant"]] += 1
                rows[d["person"], t["rule"], t["grant"]] += d["rows"] or 0
    assert named, "the insider looks this customer up again and again"
    assert {(r["worker"], r["seq"], r["rule"]) for r in answer["named"]} == named
    assert {(r["person"], r["rule"], r["grant"]): r["statements"] for r in answer["not_named"]} == dict(others)
    assert {(r["person"], r["rule"], r["grant"]): r["rows"] or 0 for r in answer["not_named"]} == dict(rows)
    numbers = {n for _, _, n in others if n is not None}
    assert {g["request"] for g in answer["grants"]} == numbers != set()
    for grant in answer["grants"]:
        assert grant["asked_by"] == grant["person"] == "analyst03"
        assert grant["reason"]
        assert grant["until"] > grant["granted"] >= grant["asked"]
        assert grant["kind"] == "break-glass" or grant["approved_by"] == ["manager1"]
    for rule in answer["rules"]:
        assert all(p["since"] and p["files"] == ["/etc/pgveil/policy.yaml"] for p in rule["policies"])
    assert {rule["rule"] for rule in answer["rules"]} == {
        t["rule"] for d in made.decisions for t in showing(d, shows) if t["grant"] is None
    }


def test_values_are_found_however_they_are_written_and_printed_nowhere(made: Made) -> None:
    phone = phone_of(4711)
    spaced = f"{phone[:3]}-{phone[3:7]} {phone[7:]}"
    plain = answered(made, "--column", "phone", "--value", phone)
    assert plain["named"]
    assert answered(made, "--column", "phone", "--value", spaced)["named"] == plain["named"]
    told = run(made, "who", "--key", str(made.key_file), "--column", "phone", "--value", "-", input=phone + "\n")
    assert told.exit_code == 0
    assert "Named the customer, and gave rows" in told.output
    assert phone not in told.output


def test_the_text_names_people_rules_and_grants(made: Made) -> None:
    told = run(made, "who", "--key", str(made.key_file), "--column", "customers.phone", "--value", "4711", "--month", "2026-10")
    assert told.exit_code == 0, told.output
    for part in ("core_banking/", "analyst03", "approved by manager1", "campaign", "in force from", "[1] rule '", "menu 0412"):
        assert part in told.output


def test_a_wrong_key_is_told(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    other.chmod(0o600)
    told = run(made, "who", "--key", str(other), "--column", "phone", "--value", "1")
    assert told.exit_code == 1
    assert "not that of this trail" in told.output
    told = run(made, "who", "--column", "phone", "--value", "1")
    assert "name the audit key" in told.output


def test_a_column_that_nobody_touched(made: Made) -> None:
    told = run(made, "who", "--column", "bank.customers.fone")
    assert told.exit_code == 0
    assert "Is the name right" in told.output


def decision(**own: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "session": "s1", "login": "core", "person": "core/李芳", "database": "bank", "client": "10.0.0.1", "client_port": 1,
        "application": "app", "tls": True, "asserted": {"teller": "李芳"}, "roles": [], "profile": "p", "policy": "v1",
        "protocol": "simple", "statement": "SELECT", "part": 1, "parts": 1, "verdict": "pass", "touches": [], "touches_more": 0,
        "clear": None, "text": "SELECT ?", "text_digest": "0" * 16, "values": [], "values_whole": True,
    }  # fmt: skip
    return fields | own


def touch(**own: object) -> dict[str, object]:
    fields = {"relation": "bank.customers", "column": "phone", "class": "phone", "level": "C2", "use": "output", "show": "clear",
              "rule": "r", "grant": None, "others": []}  # fmt: skip
    return fields | own


def test_what_is_not_covered_is_said(tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "trail", "w1", KEY, Mode.ASYNC)
    x = digest("13800000000")
    plain = [
        decision(touches=[touch(rule="grant 9", grant=9, others=["r2", "grant 10"], show="conditional")], values=[x]),
        decision(on_failure="clear", text=None, statement=None),
        decision(touches_more=3),
        decision(values=None, values_whole=None),
        decision(values_whole=False),
        decision(protocol="extended", text="SELECT $1"),
        decision(statement="SELECT", touches=[touch()]),
        decision(statement="FETCH", touches=[touch()], session="s2"),
    ]
    for fields in plain:
        seq = writer.append(Kind.DECISION, fields)
        done = {"session": fields["session"], "decision": seq, "tag": "SELECT 2", "rows": 2, "bytes": 20, "seconds": 0.1}
        writer.append(Kind.OUTCOME, done)
    writer.append(Kind.DECISION, decision(touches=[touch()], values=[x]))
    refusal = {"sqlstate": "42501", "message": "no"}
    writer.append(Kind.REFUSED, decision(verdict="refuse", refusal=refusal, values=[x]))
    writer.append(Kind.EVENT, {"event": "gap", "detail": {"lost": 1}})
    writer.close()
    key_file = tmp_path / "audit.key"
    key_file.write_text(KEY.hex())
    key_file.chmod(0o600)
    given = ["audit", "who", str(tmp_path / "trail"), "--index", str(tmp_path / "index"), "--key", str(key_file),
             "--column", PHONE, "--value", "138 0000 0000", "--format", "json"]  # fmt: skip
    found = CliRunner().invoke(cli, given)
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert [(r["rows"], r["rule"], r["others"]) for r in answer["named"]] == [
        (2, "grant 9", ["r2", "grant 10"]), (None, "r", None),
    ]  # fmt: skip
    assert answer["grants_not_in_this_trail"] == [9, 10]
    assert {r["rule"] for r in answer["rules"]} == {"r", "r2"}
    assert [(r["statements"], r["rows"], r["in_naming_sessions"]) for r in answer["not_named"]] == [(2, 4, 1)]
    assert [(r["person"], r["statements"], r["reasons"]) for r in answer["refused"]] == [("core/李芳", 1, ["no"])]
    assert len(answer["not_covered"]) == 7
    assert all(gap["count"] == 1 for gap in answer["not_covered"])


@pytest.mark.parametrize(("first", "then"), [("DECLARE CURSOR", "FETCH"), ("PREPARE", "EXECUTE")])
def test_what_was_named_before_is_named(tmp_path: Path, first: str, then: str) -> None:
    writer = AuditWriter(tmp_path / "trail", "w1", KEY, Mode.ASYNC)
    for fields, rows in (
        (decision(statement=then, touches=[touch()]), 1),  # before it was named: of something else
        (decision(statement=first, touches=[touch()], values=[digest("42")]), 0),
        (decision(statement=then, touches=[touch()]), 7),
        (decision(statement=then, touches=[touch()], session="s2"), 2),
        (decision(statement=then), 3),
    ):
        seq = writer.append(Kind.DECISION, fields)
        writer.append(Kind.OUTCOME, {"session": fields["session"], "decision": seq, "rows": rows, "bytes": 0, "seconds": 0.1})
    writer.close()
    key_file = tmp_path / "audit.key"
    key_file.write_text(KEY.hex())
    key_file.chmod(0o600)
    given = ["audit", "who", str(tmp_path / "trail"), "--index", str(tmp_path / "index"), "--key", str(key_file),
             "--column", PHONE, "--value", "42", "--format", "json"]  # fmt: skip
    answer = json.loads(CliRunner().invoke(cli, given).stdout)
    assert [(r["rows"], r["by_name"]) for r in answer["named"]] == [(7, True)]
    assert [(r["statements"], r["rows"]) for r in answer["not_named"]] == [(2, 3)]
