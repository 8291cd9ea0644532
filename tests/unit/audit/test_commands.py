"""`pgveil audit tail` and `pgveil audit verify` as a person runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.audit.commands import audit
from proxy.audit.record import Kind
from proxy.audit.sink import DecisionEncoder, SessionAudit
from proxy.audit.tail import Tail, last_lines, pretty, safe
from proxy.audit.values import DigestKeys
from proxy.session.effects import Identity
from rewrite.plan import Plan, StatementPlan, Touch, Verdict


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(a) for a in arguments])


@pytest.fixture
def key_file(tmp_path: Path, key: bytes) -> Path:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(key.hex())
    return path


def test_verify_answers_in_words_and_status(trail: Path, key_file: Path) -> None:
    result = run("verify", trail, "--key", key_file)
    assert result.exit_code == 0, result.output
    assert result.output == "ok   w1: 15 records in 4 segments; stopped cleanly\n"
    path = sorted(trail.glob("*.jsonl"))[2]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2', 1))
    result = run("verify", trail, "--key", key_file)
    assert result.exit_code == 1
    assert result.output.startswith("BAD  w1: audit-w1-000003.jsonl:2: record ")
    assert "does not match its mac" in result.output


def test_verify_reports_a_killed_writer(trail: Path, key_file: Path, make: Callable, say: Callable) -> None:
    writer = make(trail)
    head = (trail / "w1.head").read_bytes()
    say(writer, "a")
    writer.flush()
    (trail / "w1.head").write_bytes(head)
    result = run("verify", trail, "--key", key_file)
    assert result.exit_code == 0
    assert "no stop record at the end: running, or killed; 1 intact records that the head does not know yet" in result.output


def test_verify_fails_on_nothing_and_on_missing_workers(tmp_path: Path, trail: Path, key_file: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("verify", tmp_path / "empty", "--key", key_file).exit_code == 1
    result = run("verify", trail, "--key", key_file, "--worker", "w9")
    assert result.exit_code == 1
    assert "BAD  w9: no trail of this worker" in result.output


def test_verify_without_a_usable_key_is_status_2(trail: Path, tmp_path: Path, key_file: Path) -> None:
    assert run("verify", trail).exit_code == 2
    assert run("verify", trail, "--key", tmp_path / "none").exit_code == 2
    key_file.chmod(0o644)
    assert run("verify", trail, "--key", key_file).exit_code == 2
    assert run("verify", tmp_path / "none", "--key", key_file).exit_code == 2


def test_tail_shows_the_last_records(trail: Path) -> None:
    result = run("tail", trail, "-n", "2")
    assert result.exit_code == 0
    first, second = result.output.splitlines()
    assert "w1#14  event  event=third 2" in first
    assert "w1#15  stop  reason=shutdown" in second
    records = [json.loads(line) for line in run("tail", trail, "-n", "1000", "--json").output.splitlines()]
    assert [r["seq"] for r in records] == list(range(1, 16))
    assert run("tail", trail, "-n", "0").output == ""


def test_tail_needs_one_place(trail: Path) -> None:
    assert run("tail").exit_code == 2
    assert run("tail", trail, "--config", trail / "x").exit_code == 2


def test_tail_merges_workers_and_follows_rotation(tmp_path: Path, make: Callable, say: Callable) -> None:
    directory = tmp_path / "t"
    one = make(directory, "a", segment_bytes=1500)
    two = make(directory, "b")
    tail = Tail(directory)
    assert len(tail.last(10)) == 2
    expected: list[str] = []
    seen: list[str] = []
    rounds = 0

    def wait() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 5:
            late = make(directory, "c")
            say(late, "late")
            late.flush()
            expected.append("late")
        for writer in (one, two):
            say(writer, f"{writer.worker} {rounds}")
            writer.flush()
            expected.append(f"{writer.worker} {rounds}")
        return rounds < 12

    for line in tail.follow(wait):
        record = json.loads(line)
        if record["kind"] == "event":
            seen.append(record["event"])
    seen += [json.loads(line)["event"] for line in tail.new() if json.loads(line)["kind"] == "event"]
    assert sorted(seen) == sorted(expected)
    assert len(list(directory.glob("audit-a-*"))) > 1


def test_tail_does_not_show_half_a_line(tmp_path: Path, make: Callable, say: Callable) -> None:
    writer = make(tmp_path / "t")
    tail = Tail(tmp_path / "t")
    path = next((tmp_path / "t").glob("*.jsonl"))
    with open(path, "ab") as file:
        file.write(b'{"v":1,')
    assert len(tail.last(5)) == 1
    assert tail.new() == []
    with open(path, "ab") as file:
        file.write(b'"seq":2}\n')
    assert tail.new() == [b'{"v":1,"seq":2}']
    writer.close()


@pytest.mark.parametrize("size", [1, 100, 65535, 65536, 65537, 200_000])
def test_last_lines_over_block_borders(tmp_path: Path, size: int) -> None:
    lines = [b"%d" % n + b"x" * size for n in range(4)]
    (tmp_path / "f").write_bytes(b"\n".join(lines) + b"\n")
    for count in range(6):
        assert last_lines(tmp_path / "f", count) == (lines[-count:] if count else [])


def test_decisions_and_outcomes_read_well(tmp_path: Path, make: Callable, key: bytes) -> None:
    writer = make(tmp_path / "t")
    anna = Identity("anna", "bank", "psql", "10.0.0.1", 1, False, (("menu", "0412"),))
    session = SessionAudit(writer, DecisionEncoder(DigestKeys.of(key)), "s", anna)
    touch = Touch("bank.customers", "phone", "phone", "C2", "output", "mask", None)
    others = tuple(Touch("bank.customers", name, name, "C2", "output", "clear", "tellers") for name in ("name", "email"))
    plan = Plan(Verdict.REWRITE, "", (StatementPlan("SELECT", (touch, *others)),))
    text = "select phone from bank.customers where id = 7"
    session.outcome(session.decision("s", "statement", plan, 0, text, "simple"), "SELECT 1", 1, 20, 0.5, None)
    decided = session.decision("s", "statement", Plan(Verdict.PASS, "", (StatementPlan("SET"),)), 0, "set a = b", "simple")
    session.release()
    session.outcome(decided, "SET", 0, 0, 0.5, None)
    session.outcome(decided, None, 0, 0, 0.5, "57014")
    session.login()
    writer.append(Kind.POLICY, {"policy": "v1", "accepted": True})
    writer.flush()
    shown = [line.split("  ", 2)[2] for text in Tail(tmp_path / "t").last(6) for line in pretty(text).split("\n")]
    assert shown == [
        "anna@bank  10.0.0.1 psql  (menu=0412)  rewrite SELECT  [bank.customers.phone output mask; "
        "bank.customers.name output clear, bank.customers.email output clear by 'tellers']  "
        "select phone from bank.customers where id = ?",
        "outcome of #2  SELECT 1  1 rows, 20 bytes  0.500000 s",
        "anna@bank  10.0.0.1 psql  (menu=0412)  pass SET  []  set a = b",
        "outcome of #3  SET  0 rows, 0 bytes  0.500000 s",
        "outcome of #3  error 57014  0 rows, 0 bytes  0.500000 s",
        "login  anna@bank  10.0.0.1 psql",
        "policy  policy=v1  accepted=True",
    ]


def test_records_cannot_steer_the_terminal() -> None:
    assert safe("a\x1b[2Jb\u202e\u009b张三") == "a\\x1b[2Jb\\u202e\\x9b张三"
    assert "\x1b" not in pretty(b'{"kind":"\\u001b[2J"}')
    assert "\x1b" not in pretty(b"\x1b[2J")
    assert pretty(b'{"kind":"decision","touches":7}').endswith("decision  ?? fields are missing")


def test_commands_take_their_places_from_a_configuration(trail: Path, key_file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    config = tmp_path / "pgveil.yaml"
    config.write_text(
        "upstream: {host: 127.0.0.1}\ncontrol: {user: pgveil}\npolicy: policy.yaml\n"
        f"audit: {{directory: {trail.name}, key_file: key}}\n"
    )
    result = run("verify", "--config", config)
    assert result.exit_code == 0, result.output
    assert run("tail", "--config", config, "-n", "3").output.count("\n") == 3
    config.write_text("upstream: 7\n")
    assert run("verify", "--config", config).exit_code == 2
