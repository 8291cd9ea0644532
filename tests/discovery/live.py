"""`pgveil discover` on whole schemas: SQL scripts with tables and rows, labelled in a file beside them.

Labels: one line per sensitive column, `schema.table.column<TAB>kind`, names unquoted; the kind is for people. A second file of
the same form lists the columns that count neither way. Every other column is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from click.testing import CliRunner

from proxy.cli import cli
from tests.support.postgres import TestServer

_DATABASE = "labelled"


@dataclass(frozen=True)
class LiveScore:
    """How one schema came out, by column name."""

    found: dict[str, str]
    """Sensitive and proposed: the class."""
    review: dict[str, str]
    """Sensitive and only listed for review: the reason."""
    missed: list[str]
    wrong: dict[str, str]
    """Harmless and proposed: class and reason."""

    @property
    def precision(self) -> float:
        proposed = len(self.found) + len(self.wrong)
        return len(self.found) / proposed if proposed else 1.0

    @property
    def recall(self) -> float:
        sensitive = len(self.found) + len(self.review) + len(self.missed)
        return len(self.found) / sensitive if sensitive else 1.0

    def __str__(self) -> str:
        sensitive = len(self.found) + len(self.review) + len(self.missed)
        return (
            f"precision {self.precision:.3f} recall {self.recall:.3f}   ({sensitive} sensitive: {len(self.found)} proposed, "
            f"{len(self.review)} only for review, {len(self.missed)} missed; {len(self.wrong)} harmless ones proposed)"
        )


def read_labels(path: Path) -> dict[str, str]:
    """Kind by column."""
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {words[0]: words[1] if len(words) > 1 else "" for words in lines}


@contextmanager
def server() -> Iterator[TestServer]:
    """A throw-away PostgreSQL."""
    made = TestServer()
    made.start()
    try:
        yield made
    finally:
        made.stop()


def measure(at: TestServer, script: Path, labels: Path, doubt: Path | None) -> tuple[LiveScore, list[dict[str, Any]]]:
    """Load the script into an empty database, run `pgveil discover` over it; the score, and what discover said of each column."""
    at.execute_sql("postgres", f"DROP DATABASE IF EXISTS {_DATABASE}")
    at.execute_sql("postgres", f"CREATE DATABASE {_DATABASE} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    at.execute_sql(_DATABASE, script.read_text(encoding="utf-8"))
    where = urlsplit(at.dsn("postgres", _DATABASE))
    options = ["--host", str(where.hostname), "--port", str(where.port), "--database", _DATABASE, "--user", "postgres", "-q"]
    got = CliRunner().invoke(cli, ["discover", *options, "--format", "json"], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    columns = json.loads(got.output)["columns"]
    uncounted = read_labels(doubt) if doubt is not None else {}
    return compare(columns, read_labels(labels), uncounted), columns


def compare(columns: list[dict[str, Any]], labels: dict[str, str], uncounted: dict[str, str]) -> LiveScore:
    """What discover said against what people say."""
    said = {f"{c['schema']}.{c['table']}.{c['column']}": c for c in columns}
    unknown = (labels.keys() | uncounted.keys()) - said.keys()
    assert not unknown, f"labels of columns that do not exist: {sorted(unknown)}"
    found, review, wrong, missed = {}, {}, {}, []
    for name, column in said.items():
        status, says = column["status"], f"{column['class']} {column['confidence']} ({column['reason']})"
        if name in uncounted:
            continue
        if name not in labels:
            if status == "proposed":
                wrong[name] = says
        elif status == "proposed":
            found[name] = column["class"]
        elif status == "review":
            review[name] = f"{labels[name]}: {says}"
        else:
            missed.append(f"{name}: {labels[name]}")
    return LiveScore(found, review, missed, wrong)
