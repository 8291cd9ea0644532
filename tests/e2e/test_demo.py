"""The demo as a newcomer meets it: started by its command, asked with ordinary clients, compared with the README."""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import asyncpg
import psycopg
import pytest

from proxy.demo.embedded import find_binaries

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "proxy.cli", "demo"]
DEADLINE = 60.0


@dataclass(frozen=True)
class Demo:
    directory: Path
    text: str
    """What the demo printed."""
    port: int
    server_port: int

    def uri(self, user: str) -> str:
        return f"postgresql://{user}:{user}@127.0.0.1:{self.port}/bank"

    def direct(self, sql: str) -> list[tuple[object, ...]]:
        """Around the proxy, as superuser: the truth."""
        with psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.server_port}/bank") as connection:
            return connection.execute(sql).fetchall()

    def tool(self, name: str, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of PostgreSQL's programs, through the proxy."""
        program = str(find_binaries(wheel_first=True) / name)
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", user]
        environment = {**os.environ, "PGPASSWORD": user, "PGCLIENTENCODING": "UTF8"}
        return subprocess.run(
            [program, *address, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = _reachable(tmp_path_factory.mktemp("demo"))
    port = 1024 + os.getpid() % 20000 + 20000
    process = subprocess.Popen(
        [*COMMAND, "--directory", str(directory), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        text = _read_until(process, "Ctrl-C stops the demo.")
        config = (directory / "pgveil.yaml").read_text(encoding="utf-8")
        server = re.search(r"upstream:\s+host: \S+\s+port: (\d+)", config)
        assert server is not None
        yield Demo(directory, text, port, int(server[1]))
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def _reachable(directory: Path) -> Path:
    """Run by root, the server runs as another user, which has to get through pytest's private directories."""
    if os.geteuid() == 0:
        for path in (directory, *directory.parents):
            if path.stat().st_mode & 0o005 != 0o005:
                path.chmod(0o755)
    return directory


def _read_until(process: subprocess.Popen[bytes], mark: str) -> str:
    assert process.stdout is not None
    text = b""
    deadline = time.monotonic() + DEADLINE
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while mark.encode() not in text:
            assert selector.select(deadline - time.monotonic()), f"the demo said no more than:\n{text.decode()}"
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, f"the demo ended:\n{text.decode()}"
            text += chunk
    return text.decode()


def test_every_role_gets_the_answer_that_the_readme_shows() -> None:
    done = subprocess.run([*COMMAND, "--check"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- answers -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    assert shown is not None, "the README shows no answers"
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    missing = [line for line in shown[1].splitlines() if line.rstrip() not in lines]
    assert missing == [], f"not what the demo says:\n{done.stdout}"


def test_temporary_directory_is_gone_after_the_check() -> None:
    done = subprocess.run([*COMMAND, "--check"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)
    place = re.search(r"in (\S+) \.\.\.", done.stdout)
    assert place is not None, done.stdout + done.stderr
    assert not Path(place[1]).exists()


def test_the_printed_lines_can_be_pasted_into_a_shell(demo: Demo) -> None:
    lines = [line.strip() for line in demo.text.splitlines() if re.match(r"\s+(PGPASSWORD=|\S*python\S* -c|'\S*python)", line)]
    assert len(lines) >= 6
    answers = {}
    for line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=60)
        answers[line] = (done.returncode, done.stdout + done.stderr)
    raw_phone = str(demo.direct("SELECT phone FROM bank.customers WHERE id = 1")[0][0])
    for line, (status, output) in answers.items():
        if "-U admin" in line:
            assert status != 0
            assert "bank.cards.cvv" in output or "cvv" in output
        else:
            assert status == 0, output
            assert (raw_phone in output) == ("auditor" in line or "branch_manager" in line), output


PSQL_COMMANDS = (
    r"\d", r"\d bank.customers", r"\d+ bank.customers", r"\d+ bank.transactions", r"\d bank.contact_list",
    r"\dt bank.*", r"\dt+ bank.*", r"\dv bank.*", r"\di bank.*", r"\df bank.*", r"\dn+", r"\du", r"\l", r"\dp bank.*",
    r"\dT", r"\dx", r"\conninfo", r"\sv bank.contact_list", r"\des", r"\dPt bank.*", r"\dd",
)  # fmt: skip


@pytest.mark.parametrize("command", PSQL_COMMANDS)
def test_psql_describes_the_bank_to_the_analyst(demo: Demo, command: str) -> None:
    done = demo.tool("psql", "analyst", "-X", "-v", "ON_ERROR_STOP=1", "-d", "bank", "-c", command)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_psycopg_plain_prepared_and_binary(demo: Demo) -> None:
    with psycopg.connect(demo.uri("analyst")) as connection:
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            for _ in range(7):  # past the threshold at which psycopg prepares
                cursor.execute("SELECT full_name, balance, birth_date FROM bank.customers WHERE id = %s", (1,))
                name, balance, born = cursor.fetchone() or (None, None, None)
                assert name == "张**"
                assert isinstance(balance, Decimal)
                assert balance % 10000 == 0
                assert (born.month, born.day) == (1, 1)


def test_psycopg_pipeline_survives_a_refusal(demo: Demo) -> None:
    with psycopg.connect(demo.uri("admin"), autocommit=True) as connection:
        refused = _ask_in_a_pipeline(connection, "SELECT 1", "SELECT cvv FROM bank.cards", "SELECT 2")
        assert isinstance(refused, psycopg.errors.InsufficientPrivilege)
        with connection.pipeline():
            first = connection.execute("SELECT count(*) FROM bank.customers")
            second = connection.execute("SELECT full_name FROM bank.customers WHERE id = 1")
            assert first.fetchone() == (3000,)
            assert second.fetchone() == ("张**",)


def _ask_in_a_pipeline(connection: psycopg.Connection[tuple[object, ...]], *queries: str) -> psycopg.Error | None:
    try:
        with connection.pipeline():
            for query in queries:
                connection.execute(query)
    except psycopg.Error as error:
        return error
    return None


def test_psycopg_server_side_cursor_and_copy(demo: Demo) -> None:
    with psycopg.connect(demo.uri("analyst")) as connection:
        with connection.cursor(name="people") as people:
            people.itersize = 500
            people.execute("SELECT full_name FROM bank.customers")
            assert all(name[1:] == "*" * (len(name) - 1) for (name,) in people)
        with connection.cursor() as cursor, cursor.copy("COPY bank.customers (phone) TO STDOUT") as copy:
            phones = [row[0] for row in copy.rows()]
    assert len(phones) == 3000
    assert all(str(phone).endswith("********") for phone in phones)


def test_psycopg_async(demo: Demo) -> None:
    async def ask() -> object:
        async with await psycopg.AsyncConnection.connect(demo.uri("teller")) as connection:
            cursor = await connection.execute("SELECT full_name, phone FROM bank.customers WHERE id = 1")
            return await cursor.fetchone()

    raw = demo.direct("SELECT full_name, phone FROM bank.customers WHERE id = 1")[0]
    assert asyncio.run(ask()) == (raw[0], "*" * 7 + str(raw[1])[-4:])


def test_asyncpg_fetch_cursor_and_copy(demo: Demo) -> None:
    async def ask() -> tuple[list[str], list[str]]:
        connection = await asyncpg.connect(demo.uri("analyst"))
        try:
            rows = await connection.fetch("SELECT email FROM bank.customers WHERE id = ANY($1::int[])", [1, 2])
            names = []
            async with connection.transaction():
                async for row in connection.cursor("SELECT full_name FROM bank.customers WHERE id <= $1", 100):
                    names.append(row[0])
            return [r[0] for r in rows], names
        finally:
            await connection.close()

    emails, names = asyncio.run(ask())
    raw = {email for (email,) in demo.direct("SELECT email FROM bank.customers WHERE id IN (1, 2)")}
    assert not raw & set(emails)
    assert len(names) == 100
    assert names[0] == "张**"


def test_pg_dump_as_the_analyst_is_a_masked_dump(demo: Demo) -> None:
    done = demo.tool("pg_dump", "analyst", "-n", "bank", "-d", "bank")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 30000
    raw = demo.direct("""
        SELECT phone FROM bank.customers UNION ALL SELECT id_card FROM bank.customers
        UNION ALL SELECT email FROM bank.customers WHERE email IS NOT NULL
        UNION ALL SELECT card_no FROM bank.cards UNION ALL SELECT account_no FROM bank.accounts""")
    words = set(re.split(r"[^0-9A-Za-z@.]+", done.stdout))
    assert not words & {str(value).strip() for (value,) in raw}


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_runs_in_every_mode(demo: Demo, mode: str) -> None:
    if not demo.direct("SELECT to_regclass('public.pgbench_accounts') IS NOT NULL")[0][0]:
        server = ["-h", "127.0.0.1", "-p", str(demo.server_port), "-U", "postgres", "bank"]
        subprocess.run([str(find_binaries(wheel_first=True) / "pgbench"), "-i", "-q", *server], capture_output=True, check=True)
        tables = ", ".join(f"pgbench_{t}" for t in ("accounts", "branches", "tellers", "history"))
        with psycopg.connect(f"postgresql://postgres@127.0.0.1:{demo.server_port}/bank") as connection:
            connection.execute(f"GRANT SELECT, INSERT, UPDATE ON {tables} TO analyst")
    done = demo.tool("pgbench", "analyst", "-n", "-M", mode, "-c", "2", "-t", "20", "bank")
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 40/40" in done.stdout


def test_a_saved_policy_takes_effect_at_once(demo: Demo) -> None:
    policy = demo.directory / "policy.yaml"
    before = policy.read_text(encoding="utf-8")
    with psycopg.connect(demo.uri("analyst"), autocommit=True) as connection:

        def name() -> object:
            query = "SELECT full_name FROM bank.customers WHERE id = 1"
            row = connection.execute(query, prepare=False).fetchone()
            return row[0] if row else None

        assert name() == "张**"
        changed = before.replace("name:      { level: C2, mask: { keep: { first: 1 } } }", "name: { level: C2, mask: redact }")
        assert changed != before
        try:
            policy.write_text(changed, encoding="utf-8")
            _until(lambda: name() != "张**")
            policy.write_text("version: 1\nclasses: [nonsense]\n", encoding="utf-8")
            assert name() != "张晓明"
        finally:
            policy.write_text(before, encoding="utf-8")
        _until(lambda: name() == "张**")


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "nothing changed within 20 s"


def test_the_audit_of_the_demo_verifies(demo: Demo) -> None:
    with psycopg.connect(demo.uri("analyst")) as connection:
        connection.execute("SELECT phone FROM bank.customers WHERE id = 1")
    config = str(demo.directory / "pgveil.yaml")
    audit = [sys.executable, "-m", "proxy.cli", "audit"]
    done = subprocess.run([*audit, "verify", "-c", config], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
