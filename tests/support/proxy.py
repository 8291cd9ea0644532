"""pgveil as a subprocess, for end-to-end tests: started with a configuration, watched, stopped, its log at hand."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.postgres import TestServer

CONTROL = "pgveil_test_control"
DEADLINE = 30.0

POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
rules:
  - { name: staff see it, role: pgveil_test_staff, columns: [class=phone], show: clear }
"""


def until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Poll until the condition holds; fail with `what` when it does not in time."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        threading.Event().wait(0.01)


class ProxyProcess:
    """A running `pgveil serve`. Use as a context manager; `stop` checks that it ended well."""

    def __init__(
        self,
        home: Path,
        upstream: TestServer,
        *,
        database: str = "postgres",
        policy: str = POLICY,
        extra: str = "",
        server_port: int | None = None,
        server_tls: str = "{ mode: disable }",
        audit: str = "{ directory: audit }",
        file_limit: int | None = None,
        pooling: str = "auto",
    ) -> None:
        """`file_limit`: once it runs, no file may outgrow it (bytes). `pooling`: `server_port` is a pooler's."""
        self.home = home
        self._file_limit = file_limit
        home.mkdir(exist_ok=True)
        self.policy = home / "policy.yaml"
        self.policy.write_text(policy, encoding="utf-8")
        self.config = home / "pgveil.yaml"
        direct = f", host: localhost, port: {upstream.port}" if pooling != "auto" else ""
        self.config.write_text(
            f"""\
listen: {{ host: 127.0.0.1, port: 0 }}
upstream: {{ host: localhost, port: {server_port or upstream.port}, tls: {server_tls}, connect_timeout: 5s, pooling: {pooling} }}
control: {{ user: {CONTROL}, password: control, database: {database}, interval: 1s, max_stale: 30s{direct} }}
policy: policy.yaml
audit: {audit}
http: {{ port: 0 }}
{extra}
""",
            encoding="utf-8",
        )
        self.log = home / "proxy.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = self.http_port = 0

    def start(self, *, ready: bool = True) -> ProxyProcess:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "proxy.cli", "serve", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.port = int(self.wait_for(r"event=listening .*\bport=(\d+)")[1])
        self.http_port = int(self.wait_for(r"event=http_listening .*\bport=(\d+)")[1])
        if ready:
            until(lambda: self.get("/readyz")[0] == 200, f"ready\n{self.text()}")
        if self._file_limit is not None:
            self.limit_files(self._file_limit)
        return self

    def limit_files(self, size: int) -> None:
        """No file may outgrow so many bytes; -1: any may."""
        assert self.process is not None
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first place in the log that matches."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            assert self.process is not None
            hit = re.search(pattern, self.text())
            if hit is not None:
                found.append(hit)
            elif self.process.poll() is not None:
                raise AssertionError(f"pgveil ended with {self.process.returncode}:\n{self.text()}")
            return hit is not None

        until(look, f"{pattern} in the log")
        return found[0]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP request."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum of the samples with this name and at least these labels: `pgveil_statements_total{verdict="pass"}`."""
        wanted, _, labels = name.rstrip("}").partition("{")
        families = text_string_to_metric_families(self.get("/metrics")[1])
        asked = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == wanted and all(sample.labels.get(k) == v.strip('"') for k, v in asked.items())
        )

    def trail(self) -> str:
        """The audit records that are in the files now."""
        return "".join(p.read_text(encoding="utf-8") for p in sorted((self.home / "audit").glob("*.jsonl")))

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"pgveil did not stop:\n{self.text()}") from None

    def __enter__(self) -> ProxyProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
