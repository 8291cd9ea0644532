"""The table of audit records: each once, though the auditor, its connections and the server die; its writer can only add."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from proxy.audit.key import load_key, load_or_create_key
from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Io
from tests.support.postgres import TestServer
from tests.support.proxy import ProxyProcess, until

SETUP = """\
CREATE ROLE pgveil_test_control LOGIN PASSWORD 'control';
CREATE ROLE ann LOGIN PASSWORD 'pw';
CREATE ROLE sinker LOGIN PASSWORD 'sink';
CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO PUBLIC;
CREATE TABLE shop.people (id int, phone text); INSERT INTO shop.people VALUES (1, '13800001111');
GRANT SELECT ON shop.people TO ann;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer() as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


class Place:
    """A trail, a configuration with a sink of its own schema, and an auditor."""

    def __init__(self, home: Path, server: TestServer, schema: str, source: str = "here") -> None:
        self.home, self.server, self.schema = home, server, schema
        home.mkdir(exist_ok=True)
        load_or_create_key(home / "audit.key")
        (home / "policy.yaml").write_text("version: 1\nclasses: { x: { level: C1, mask: null } }\ncolumns: { a.b.c: x }\n")
        self.audit = (
            f"{{ directory: audit, sinks: {{ copy: {{ postgres: {{ host: localhost, port: {server.port}, user: sinker, "
            f"password: sink, schema: {schema}, source: {source}, tls: {{ mode: disable }} }} }} }} }}"
        )
        self.config = home / "sink.yaml"
        self.config.write_text(
            f"upstream: {{ host: localhost, port: {server.port} }}\ncontrol: {{ user: pgveil_test_control, password: control }}\n"
            f"policy: policy.yaml\naudit: {self.audit}\nsupervision: {{}}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-P", "-m", "proxy.cli", *command], capture_output=True, text=True)

    def install(self) -> None:
        made = self.run("audit", "sink", "sql", "-c", str(self.config), "copy")
        assert made.returncode == 0, made.stderr
        for _ in range(2):  # it may be run again
            self.server.execute_sql("postgres", made.stdout)

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "proxy.cli", "audit", "watch", "-c", str(self.config)]
        with (self.home / "auditor.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)

    def log(self) -> str:
        return (self.home / "auditor.log").read_text()

    def ask(self, sql: str) -> str:
        return self.server.execute_sql("postgres", sql.replace("@", self.schema))

    def count(self) -> int:
        return int(self.ask("SELECT count(*) FROM @.record WHERE worker LIKE 'w%'"))


def append(writer: AuditWriter, count: int, text: str = "x" * 300) -> None:
    for n in range(count):
        writer.append(Kind.EVENT, {"event": f"e{n}", "detail": {"text": text}})
    writer.flush()


def trail(home: Path, worker: str = "w1", **options: int) -> AuditWriter:
    return AuditWriter(home / "audit", worker, load_key(home / "audit.key"), io=Io(sync=lambda fd: None), **options)  # type: ignore[arg-type]


def test_every_record_once_whatever_dies(server: TestServer, tmp_path: Path) -> None:
    place = Place(tmp_path / "home", server, "once")
    place.install()
    writers = [trail(place.home, name, segment_bytes=100_000) for name in ("w1", "w2")]
    for turn, dies in enumerate(("auditor", "connection", "server", "nothing")):
        for writer in writers:
            append(writer, 1500)
        before = place.count()
        place.start()
        until(lambda before=before: place.count() > before, f"the first of them\n{place.log()}")  # type: ignore[misc]
        if dies == "connection":
            place.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sinker'")
        elif dies == "server":
            assert server._process is not None
            os.kill(server._process.pid, signal.SIGQUIT)  # as after a crash
            server._process.wait()
            server.start()
        if dies == "auditor":
            place.end(signal.SIGKILL)
        else:
            total = sum(writer.seq for writer in writers)
            until(lambda total=total: place.count() >= total, f"turn {turn}: all\n{place.log()}")  # type: ignore[misc]
            place.end()
    for writer in writers:
        found = place.ask(
            f"SELECT count(*), count(DISTINCT seq), min(seq), max(seq) FROM @.record WHERE worker = '{writer.worker}'"
        )
        assert found == f"{writer.seq}|{writer.seq}|1|{writer.seq}"
        assert place.ask(f"SELECT seq FROM @.place WHERE worker = '{writer.worker}'") == str(writer.seq)
        writer.close()


def test_what_json_can_say_and_jsonb_cannot(server: TestServer, tmp_path: Path) -> None:
    place = Place(tmp_path / "home", server, "odd")
    place.install()
    writer = trail(place.home)
    for text in ("a\0b", "\udcff", "\\u0000 as text", "字 \U0001f600", 'quote " \\'):
        append(writer, 1, text)
    place.start()
    until(lambda: place.count() == writer.seq, "all\n" + place.log())
    place.end()
    mine = "FROM @.record WHERE kind = 'event' AND worker = 'w1' ORDER BY seq"
    found = place.ask(f"SELECT record->'detail'->>'text' {mine}").splitlines()
    assert found == ["a\ufffdb", "?", "\\u0000 as text", "字 \U0001f600", 'quote " \\']
    writer.close()


def test_another_trail_under_the_same_name_is_refused(server: TestServer, tmp_path: Path) -> None:
    first, second = (Place(tmp_path / name, server, "same") for name in ("first", "second"))
    first.install()
    for place in (first, second):
        writer = trail(place.home)
        append(writer, 50)
        writer.close()
    first.start()
    until(lambda: first.count() == 52, "all\n" + first.log())
    first.end()
    second.start()
    until(lambda: "records of another trail under the name here" in second.log(), "it is said")
    second.end()
    assert first.count() == 52


def test_the_writer_can_only_add(server: TestServer, tmp_path: Path) -> None:
    Place(tmp_path / "home", server, "rights").install()
    with psycopg.connect(server.dsn("sinker", password="sink"), autocommit=True) as sinker:
        for text in (
            "SELECT * FROM rights.record", "UPDATE rights.record SET login = 'x'", "DELETE FROM rights.record",
            "TRUNCATE rights.record", "DELETE FROM rights.place", "DROP TABLE rights.record", "CREATE TABLE rights.x ()",
            "SELECT rights.make_partition('3000-01-01')",
        ):  # fmt: skip
            with pytest.raises(psycopg.Error):
                sinker.execute(text)
        sinker.execute("SELECT rights.make_partition('2020-02-29T23:59:59+00')")
    assert server.execute_sql("postgres", "SELECT to_regclass('rights.record_2020_02')") == "rights.record_2020_02"


def test_beside_the_proxy(server: TestServer, tmp_path: Path) -> None:
    place = Place(tmp_path / "home", server, "beside")
    place.install()
    with ProxyProcess(tmp_path / "proxy", server, audit=place.audit, extra="supervision: {}") as proxy:
        with psycopg.connect(f"host=127.0.0.1 port={proxy.port} user=ann password=pw dbname=postgres") as c:
            c.execute("SELECT phone FROM shop.people").fetchall()
        until(lambda: int(place.ask("SELECT count(*) FROM @.record WHERE kind = 'logout'")) == 1, "the log-out")
        sql = "SELECT login, verdict, columns, levels FROM @.record WHERE statement = 'SELECT'"
        assert place.ask(sql) == "ann|rewrite|{shop.people.phone}|{C2}"
        assert place.ask("SELECT rows FROM @.record WHERE rows > 0") == "1"
