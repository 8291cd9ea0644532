"""A throw-away PostgreSQL server for the tests.

Binaries: the directory named by PGVEIL_TEST_PG_BIN, else what `proxy.demo.embedded.find_binaries` finds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from proxy.demo.embedded import PostgresServer, find_binaries


class TestServer(PostgresServer):
    """A started-and-forgotten server in its own temporary directory; `stop` removes everything."""

    __test__ = False  # pytest: not a test class

    def __init__(self, settings: dict[str, str] | None = None, hba: str | None = None, bin_dir: Path | None = None) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="pgveil-test-"))
        self._home.chmod(0o755)
        super().__init__(self._home / "data", bin_dir or binaries(), settings=settings or {}, hba=hba)

    @property
    def version(self) -> int:
        """The major version: 15."""
        return int((self.data_dir / "PG_VERSION").read_text())

    @property
    def psql_path(self) -> Path:
        """psql of the server's own version, or any where the binaries come without."""
        own = self.bin_dir / "psql"
        return own if own.exists() else Path(shutil.which("psql") or own)

    def execute_sql(self, dbname: str, sql: str, user: str = "postgres") -> str:
        """Run a script with psql, stopping at the first error; return its output, unaligned and without headers."""
        done = subprocess.run(
            [str(self.psql_path), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(user, dbname)],
            input=sql,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PGCLIENTENCODING": "UTF8"},
        )
        if done.returncode != 0:
            raise AssertionError(f"psql failed:\n{done.stderr}")
        return done.stdout.strip()

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._home, ignore_errors=True)


def binaries() -> Path:
    given = os.environ.get("PGVEIL_TEST_PG_BIN")
    return Path(given) if given else find_binaries()
