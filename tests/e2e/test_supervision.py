"""The auditor beside a running proxy: alerts are raised from the trail and delivered, once, though it is killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
USERS = ("ann", "ben", "cyd")
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
{"".join(f"CREATE ROLE sup_{user} LOGIN;" for user in USERS)}
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int, phone text);
INSERT INTO shop.people SELECT i, '1381' || lpad(i::text, 7, '0') FROM generate_series(1, 1000) i;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT ALL ON shop.people TO PUBLIC;
"""
POLICY = """\
version: 1
classes: { phone: { level: C2, mask: { keep: { first: 3, last: 4 } } } }
columns: { shop.people.phone: phone }
rules: [{ name: all, columns: "*", show: clear }]
alerts:
  - { name: bulk, on: rows, level: C2, more_than: 50, within: 1h, severity: critical }
  - { name: shown, on: clear, level: C2, within: 1h, severity: info }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


def ask(proxy: ProxyProcess, user: str, rows: int) -> None:
    with psycopg.connect(host="127.0.0.1", port=proxy.port, user=f"sup_{user}", dbname="postgres", autocommit=True) as session:
        assert len(session.execute(f"SELECT phone FROM shop.people WHERE id <= {rows}").fetchall()) == rows


def delivered(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def waiting(proxy: ProxyProcess) -> int:
    """Deliveries that are not noted as done; until then a killed auditor delivers again, with the same id."""
    with closing(sqlite3.connect(proxy.home / "audit" / "supervision.sqlite", timeout=10)) as db:
        return int(db.execute("SELECT count(*) FROM deliveries").fetchone()[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_from_a_statement_to_a_command(server: TestServer, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "delivered"
    command = json.dumps(["/bin/sh", "-c", 'cat >> "$0"', str(out)])
    extra = f"workers: {workers}\nsupervision: {{ http: {{ port: 0 }}, targets: {{ file: {{ command: {command} }} }} }}"
    proxy = ProxyProcess(tmp_path / "home", server, policy=POLICY, extra=extra)
    with proxy:
        first = int(proxy.wait_for(r"event=auditor_started .*\bpid=(\d+)")[1])
        ask(proxy, "ann", 40)
        ask(proxy, "ben", 60)
        until(lambda: len(delivered(out)) >= 3 and not waiting(proxy), "the alerts")
        os.kill(first, signal.SIGKILL)
        proxy.wait_for(r"event=auditor_died .*\bSIGKILL")
        ask(proxy, "cyd", 70)
        until(lambda: len(delivered(out)) >= 5, "the alerts after the kill")
    found = sorted((a["alert"], a["user"], a["count"], a["raised_by"]) for a in delivered(out))
    assert found == [
        ("bulk", "sup_ben", 60, "auditor"), ("bulk", "sup_cyd", 70, "auditor"),
        ("shown", "sup_ann", 1, "proxy"), ("shown", "sup_ben", 1, "proxy"), ("shown", "sup_cyd", 1, "proxy"),
    ]  # fmt: skip
    records = {f"{r['worker']}#{r['seq']}": r for r in map(json.loads, proxy.trail().splitlines())}
    for alert in delivered(out):
        assert records[alert["last"]]["kind"] in ("decision", "event")
    own = [r["detail"]["user"] for r in records.values() if r["worker"] == "auditor" and r.get("event") == "alert"]
    assert own == ["sup_ben", "sup_cyd"]
    log = proxy.text()
    assert len(re.findall(r"event=alert alert=shown|event=alert .*alert=shown", log)) == 3
    assert "1381" not in "".join(json.dumps(a) for a in delivered(out)) + log
    check = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "audit", "verify", "-c", str(proxy.config), "--worker", "auditor"],
        capture_output=True,
    )
    assert check.returncode == 0, check.stdout


def test_no_auditor_outlives_its_proxy(server: TestServer, tmp_path: Path) -> None:
    proxy = ProxyProcess(tmp_path / "home", server, policy=POLICY, extra="supervision: {}")
    with proxy:
        pid = int(proxy.wait_for(r"event=auditor_started .*\bpid=(\d+)")[1])
        proxy.signal(signal.SIGKILL)
        proxy.wait()
        until(lambda: "event=auditor_stopped" in proxy.text(), "the auditor's end")
        until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2], "it is gone")


def test_replay_where_there_is_no_auditor(server: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", server, policy=POLICY) as proxy:
        ask(proxy, "ann", 60)
    assert "auditor" not in proxy.text()
    ran = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "audit", "replay", str(proxy.home / "audit"), "--policy", str(proxy.policy)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "critical  bulk: User 'sup_ann': 60 rows with sensitive data in clear within 1 hour; the rule allows 50." in ran.stdout
