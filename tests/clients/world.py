"""Two clusters, raw and masked, and pgveil in front of the raw one; where a client has to go for either side of a comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from pprint import pformat
from typing import NoReturn, TypeVar

import pytest

from tests.support.certificates import Authority
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

T = TypeVar("T")
KINDS = ("clear", "masked")
DATABASE = "shop"
PASSWORDS = {"shop_clear": "clear", "shop_masked": "masked", "shop_scram": "pass 词", "postgres": "-"}
PHONE = "overlay(phone placing '****' from 4 for 4)"
POLICY = """\
version: 1
notice: false
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
  money: { level: C2, mask: { sql: "round($1, -2)" } }
columns:
  shop.people.phone: phone
  shop.people.balance: money
rules:
  - { name: staff see it, role: shop_staff, columns: [class=phone, class=money], show: clear }
functions: { allow: [shop.twice, shop.touch, shop.total, shop.nothing] }
"""
HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
_SQL = (Path(__file__).parent / "world.sql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client goes, and as whom."""

    port: int
    user: str

    @property
    def password(self) -> str:
        return PASSWORDS[self.user]

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.user} password='{self.password}' dbname={DATABASE}"

    def env(self) -> dict[str, str]:
        """For programs that take libpq's variables; nothing of the surroundings but what programs need to run."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        names = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": self.user, "PGPASSWORD": self.password}
        return {
            **kept,
            **names,
            "PGDATABASE": DATABASE,
            "PGCLIENTENCODING": "UTF8",
            "PGSSLMODE": "disable",
            "PGTZ": "Asia/Shanghai",
            "LC_ALL": "C.UTF-8",
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places where a client must see the same: PostgreSQL itself (for `masked`: with the masked copy), and pgveil."""

    kind: str
    direct: Place
    proxied: Place

    @property
    def is_masked(self) -> bool:
        return self.kind == "masked"

    def compare(self, run: Callable[[Place], T]) -> T:
        """Run a client at both places; the answer, when it is the same."""
        expected, got = run(self.direct), run(self.proxied)
        if got != expected:
            pytest.fail("direct and through pgveil:\n" + "\n".join(_difference(expected, got)), pytrace=False)
        return got


def _difference(expected: object, got: object) -> list[str]:
    """The first lines in which two transcripts differ."""
    before, after = (x.splitlines() if isinstance(x, str) else pformat(x, width=160).splitlines() for x in (expected, got))
    return [line[:300] for line in unified_diff(before, after, "direct", "pgveil", lineterm="", n=2)][:40]


@dataclass(frozen=True, slots=True)
class World:
    raw: TestServer
    copy: TestServer
    """The same cluster with the masked columns masked."""
    proxy: ProxyProcess
    authority: Path
    """The certificate that has signed the proxy's."""

    @classmethod
    @contextmanager
    def started(cls, home: Path) -> Iterator[World]:
        certificates = Authority(home)
        cert, key = certificates.issue("127.0.0.1")
        tls = f"tls: {{ cert: {cert}, key: {key}, mode: allow }}"
        settings = {
            "max_prepared_transactions": "10",
            "max_connections": "100",
            "lc_messages": "C",
            "timezone": "UTC",
            "lock_timeout": "20s",
        }
        with TestServer(settings, hba=HBA) as raw, TestServer(settings, hba=HBA) as copy:
            assert isinstance(raw, TestServer)
            assert isinstance(copy, TestServer)
            for server in (raw, copy):
                server.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control'; CREATE DATABASE {DATABASE}")
                server.execute_sql(DATABASE, _SQL)
            # Both tables are written anew, so that their rows lie in the same order.
            raw.execute_sql(DATABASE, "UPDATE shop.people SET phone = phone, balance = balance; ANALYZE")
            copy.execute_sql(DATABASE, f"UPDATE shop.people SET phone = {PHONE}, balance = round(balance, -2); ANALYZE")
            with ProxyProcess(home / "proxy", raw, database=DATABASE, policy=POLICY, extra=tls) as proxy:
                yield cls(raw, copy, proxy, certificates.certificate)

    def pair(self, kind: str) -> Pair:
        if kind == "clear":
            return Pair(kind, Place(self.raw.port, "shop_clear"), Place(self.proxy.port, "shop_clear"))
        return Pair(kind, Place(self.copy.port, "shop_masked"), Place(self.proxy.port, "shop_masked"))


def run(command: Sequence[str | Path], place: Place, stdin: str = "", timeout: float = 120, **more: str) -> str:
    """What a program prints, standard output first and then errors. It has no terminal, so it asks on standard input."""
    done = subprocess.run(
        [str(c) for c in command], input=stdin.encode(), env={**place.env(), **more}, capture_output=True,
        timeout=timeout, start_new_session=True,
    )  # fmt: skip
    parts = [done.stdout.decode("utf-8", "backslashreplace"), done.stderr.decode("utf-8", "backslashreplace")]
    if done.returncode:
        parts.append(f"exit status {done.returncode}\n")
    return "".join(parts)


def missing(what: str) -> NoReturn:
    """A client is not installed: its tests are skipped, except in CI, which has to install it (.ci/run)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing: .ci/run has to install it")
    pytest.skip(f"{what} is not installed")


def program(name: str, server: TestServer | None = None) -> Path:
    """A program of PostgreSQL, of the server's own version where that has it, or any on the path."""
    own = server.bin_dir / name if server else Path("/nowhere")
    found = own if own.exists() else shutil.which(name)
    if not found:
        missing(name)
    return Path(found)
