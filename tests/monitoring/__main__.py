"""`python -m tests.monitoring`: does every panel of the dashboard show something, and are rules and configuration right?

Starts the demo, gives it all sorts of statements to do, lets a real Prometheus (2.42 or later, `prometheus` and `promtool` on the
path) find and scrape it by `/targets`, and asks it each expression of the dashboard. Grafana itself is not needed. Exit status 1
when an expression is wrong, or has no data though it should have some. About a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxy.demo.embedded import free_port
from proxy.demo.stack import running
from proxy.demo.tour import ask_everybody

COMPOSE = Path(__file__).parents[2] / "compose"
SECONDS = 25
EMPTY_WITHOUT = {
    "pgveil_turned_away_total": "nobody was turned away",
    "pgveil_alerts_total": "no alert was raised",
    "pgveil_events_total": "no event",
    "pgveil_auditor_": "the demo's auditor has no HTTP side",
}


def main() -> int:
    failed = 0
    for check in (
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "pgveil.rules.yml"],
        ["test", "rules", "pgveil.test.yml"],
    ):
        done = subprocess.run(["promtool", *check], cwd=COMPOSE / "prometheus", capture_output=True, text=True)
        print(f"promtool {' '.join(check)}: {'ok' if done.returncode == 0 else done.stdout + done.stderr}")
        failed += done.returncode != 0
    with tempfile.TemporaryDirectory(prefix="pgveil-monitoring-") as home:
        place = Path(home)
        place.chmod(0o755)
        with running(place, free_port()) as stack, prometheus(place, stack.http_port) as port:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                ask_everybody(stack.port)
            failed += ask(port)
    return 1 if failed else 0


@contextmanager
def prometheus(home: Path, targets: int) -> Iterator[int]:
    """A Prometheus that reads what the proxy with this HTTP port says where its workers are; yields its own port."""
    config = home / "prometheus.yml"
    config.write_text(
        f"""\
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{COMPOSE / "prometheus" / "pgveil.rules.yml"}]
scrape_configs:
  - {{ job_name: pgveil, http_sd_configs: [{{ url: "http://127.0.0.1:{targets}/targets", refresh_interval: 5s }}] }}
""",
        encoding="utf-8",
    )
    port = free_port()
    options = [f"--config.file={config}", f"--storage.tsdb.path={home / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def ask(port: int) -> int:
    """Evaluate every expression; answers how many are wrong or empty without an excuse."""
    bad = 0
    for file in sorted((COMPOSE / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "10s")
                answer = query(port, expression)
                found = len(answer["data"]["result"]) if answer["status"] == "success" else 0
                excuse = next((why for name, why in EMPTY_WITHOUT.items() if name in expression), None)
                good = answer["status"] == "success" and (found > 0 or excuse is not None)
                bad += not good
                note = answer.get("error") or (f"{found} series" if found else excuse or "NO DATA")
                print(f"{'ok ' if good else 'BAD'} {panel['title']}: {note}" + ("" if good else f"\n    {expression}"))
    firing = query(port, 'ALERTS{alertstate="firing"}')["data"]["result"]
    print("rules that fire:", ", ".join(sorted({a["metric"]["alertname"] for a in firing})) or "none")
    return bad


def query(port: int, expression: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    for _ in range(50):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())
        except OSError:
            threading.Event().wait(0.2)
    raise RuntimeError("Prometheus does not answer")


if __name__ == "__main__":
    sys.exit(main())
