"""The trail of a running proxy: without its key, anchored elsewhere, witnessed by the other worker."""

from __future__ import annotations

import http.server
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE trail_user LOGIN;
CREATE ROLE trail_anchor LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, phone text);
INSERT INTO shop.people VALUES (1, '13812345678');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
CREATE TABLE pgveil_anchors (received timestamptz NOT NULL DEFAULT now(), worker text NOT NULL, segment bigint NOT NULL,
  seq bigint NOT NULL, line text NOT NULL);
GRANT INSERT, SELECT ON pgveil_anchors TO trail_anchor;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba="host all all 127.0.0.1/32 trust\n") as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


class Taker(http.server.BaseHTTPRequestHandler):
    """Takes anchors by POST, and objects by PUT as an S3 bucket does."""

    posted: ClassVar[list[bytes]] = []
    put: ClassVar[dict[str, bytes]] = {}
    headers_seen: ClassVar[list[str]] = []
    refuse = False
    port = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(503 if type(self).refuse else 204)
        if not type(self).refuse:
            type(self).posted += body.splitlines()
            type(self).headers_seen.append(self.headers["Authorization"])

    def do_PUT(self) -> None:
        length = self.headers["Content-Length"]
        type(self).put[self.path] = self.rfile.read(int(length))
        type(self).headers_seen.append(self.headers["Authorization"])
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"1"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def taker() -> Iterator[type[Taker]]:
    class Own(Taker):
        posted: ClassVar[list[bytes]] = []
        put: ClassVar[dict[str, bytes]] = {}
        headers_seen: ClassVar[list[str]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as serving:
        Own.port = serving.server_port
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield Own
        serving.shutdown()
        thread.join()


def pgveil(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def ask(proxy: ProxyProcess, times: int = 3) -> None:
    for _ in range(times):
        with psycopg.connect(host="127.0.0.1", port=proxy.port, user="trail_user", dbname="postgres", autocommit=True) as c:
            assert c.execute("SELECT phone FROM shop.people").fetchall() == [("138****5678",)]


def test_without_its_key_witnessed_and_anchored(server: TestServer, tmp_path: Path, taker: type[Taker]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name, text in (("token", "secret-token\n"), ("s3", "secret-key\n")):
        (home / name).write_text(text)
    where = f"http://127.0.0.1:{taker.port}"
    audit = f"""
  directory: audit
  witness: 300ms
  segment_time: 1s
  anchors:
    - file: anchors.jsonl
    - postgres: {{ host: 127.0.0.1, port: {server.port}, user: trail_anchor }}
    - http: {{ url: "{where}/anchors?key=hidden", token_file: token }}
    - s3: {{ bucket: evidence, endpoint: "{where}", access_key_id: id, secret_key_file: s3 }}"""
    taker.refuse = True
    proxy = ProxyProcess(home, server, extra="workers: 2", audit=audit)
    key = home / "audit.key"
    key.touch(0o600)
    key.write_text("ab" * 32)
    sealed = pgveil("audit", "seal", "-c", proxy.config)
    assert sealed.exit_code == 0, sealed.stderr
    assert sealed.stdout.startswith("worker-1: its state is made\nworker-2: its state is made\n")
    kept = tmp_path / "kept.key"
    key.rename(kept)
    trail = home / "audit"
    with proxy:
        proxy.wait_for("event=workers_listening")
        ask(proxy)
        proxy.wait_for('event=anchor_failed target="http 127.0.0.1" reason="answered 503"')
        taker.refuse = False
        until(lambda: (home / "anchors.jsonl").exists() and taker.put and taker.posted, "anchors")
        until(lambda: any("000002" in p.name for p in trail.glob("*.jsonl")), "a segment that was old enough")
    with proxy:
        ask(proxy, 1)
    assert not key.exists()
    assert "hidden" not in proxy.text()
    records = [json.loads(line) for line in proxy.trail().splitlines()]
    events = {record["event"] for record in records if record["kind"] == "event"}
    assert {"witness", "anchor_failed"} <= events
    assert "Bearer secret-token" in taker.headers_seen
    assert any(seen.startswith("AWS4-HMAC-SHA256 Credential=id/") for seen in taker.headers_seen)
    verify = ("audit", "verify", trail, "--key", kept, "--worker", "worker-1", "--worker", "worker-2")
    fetched = tmp_path / "fetched"
    got = pgveil("audit", "anchors", "-c", proxy.config, "-o", fetched)
    assert "postgres 127.0.0.1: " in got.stderr
    posted, put = tmp_path / "posted", tmp_path / "put"
    posted.write_bytes(b"".join(line + b"\n" for line in taker.posted))
    put.write_bytes(b"".join(taker.put.values()))
    assert all(path.startswith("/evidence/pgveil/worker-") for path in taker.put)
    for file in (home / "anchors.jsonl", fetched, posted, put):
        lines = file.read_bytes().splitlines()
        assert {json.loads(line)["worker"] for line in lines} == {"worker-1", "worker-2"}
        done = pgveil(*verify, "--anchors", file)
        assert done.exit_code == 0, done.stdout + done.stderr
        assert "statements of workers and anchors" in done.stdout
    for path in [*trail.glob("audit-worker-2-*"), trail / "worker-2.head"]:
        path.unlink()
    gone = pgveil("audit", "verify", trail, "--key", kept)
    assert gone.exit_code == 1
    assert "of worker worker-2" in gone.stdout


def test_a_proxy_without_key_and_state_does_not_start_beside_a_trail(server: TestServer, tmp_path: Path) -> None:
    proxy = ProxyProcess(tmp_path / "home", server)
    with proxy:
        ask(proxy, 1)
    (proxy.home / "audit.key").unlink()
    with proxy:
        ask(proxy, 1)
    (proxy.home / "audit" / "main.state").unlink()
    done = pgveil("serve", "-c", proxy.config)
    assert done.exit_code == 1
    assert "pgveil audit seal" in done.stderr
    assert not (proxy.home / "audit.key").exists()


def test_data_flows_when_told_so_and_nothing_is_lost_when_there_is_room_again(server: TestServer, tmp_path: Path) -> None:
    proxy = ProxyProcess(tmp_path / "home", server, file_limit=96 * 1024, audit="{ directory: audit, on_failure: flow }")
    with (
        proxy,
        psycopg.connect(host="127.0.0.1", port=proxy.port, user="trail_user", dbname="postgres", autocommit=True) as connection,
    ):
        asked = 0

        def failing() -> bool:
            nonlocal asked
            for _ in range(20):
                asked += 1
                assert connection.execute(f"SELECT phone AS flow_{asked}_ FROM shop.people").fetchall() == [("138****5678",)]
            return "event=audit_failed" in proxy.text()

        until(failing, "the audit trail is full")
        assert failing()
        assert proxy.get("/readyz")[0] == 503
        proxy.limit_files(-1)
        proxy.wait_for("event=audit_restored")
    trail = proxy.trail()
    assert all(f"flow_{n}_" in trail for n in range(1, asked + 1))
    done = pgveil("audit", "verify", "-c", proxy.config)
    assert done.exit_code == 0, done.stdout


@pytest.mark.parametrize("mode", ["before-result", "strict"])
def test_kill_9_under_load_leaves_a_decision_for_every_row_that_was_seen(server: TestServer, tmp_path: Path, mode: str) -> None:
    proxy = ProxyProcess(tmp_path / "home", server, audit=f"{{ directory: audit, mode: {mode} }}")
    seen: list[str] = []
    enough = threading.Event()

    def client(number: int) -> None:
        try:
            with psycopg.connect(
                host="127.0.0.1", port=proxy.port, user="trail_user", dbname="postgres", autocommit=True
            ) as connection:
                for n in range(100_000):
                    mark = f"seen_{number}_{n}_"
                    if connection.execute(f"SELECT phone AS {mark} FROM shop.people").fetchall():
                        seen.append(mark)
                    if len(seen) > 200:
                        enough.set()
        except psycopg.Error:
            return

    proxy.start()
    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    assert enough.wait(60)
    proxy.signal(signal.SIGKILL)
    for thread in clients:
        thread.join(30)
    proxy.wait()
    trail = proxy.trail()
    assert [mark for mark in seen if mark not in trail] == []
    with proxy:
        ask(proxy, 1)
    done = pgveil("audit", "verify", "-c", proxy.config)
    assert done.exit_code == 0, done.stdout
