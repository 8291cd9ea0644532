"""Records real clients against a real server, through a relay that writes down what passes.

    python -m tests.fuzz.record           writes tests/fuzz/recordings/*.rec anew

Clients: psql, pgbench, pg_dump, psycopg (with pipelines, cursors and COPY), psycopg2, asyncpg, a cancel request, replication.
"""

from __future__ import annotations

import asyncio
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import psycopg
import psycopg2

from proxy.wire.startup import CANCEL_CODE
from tests.fuzz import lab
from tests.fuzz.recording import CLIENT, DIRECTORY, SERVER, Recording
from tests.support.postgres import TestServer

USER = lab.USERS["clear"]
SECRET_USER = "pgveil_fuzz_secret"


class Relay:
    """Listens on a port of its own; each connection becomes a recording."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.heard: list[list[tuple[str, bytes]]] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            chunks: list[tuple[str, bytes]] = []
            self.heard.append(chunks)
            thread = threading.Thread(target=self._pump, args=(client, chunks), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pump(self, client: socket.socket, chunks: list[tuple[str, bytes]]) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        peers = {client: (CLIENT, server), server: (SERVER, client)}
        with client, server:
            while True:
                for sock in select.select(list(peers), [], [])[0]:
                    side, peer = peers[sock]
                    data = sock.recv(1 << 16)
                    if not data:
                        return
                    chunks.append((side, data))
                    try:
                        peer.sendall(data)
                    except OSError:
                        return


def assemble(title: str, chunks: list[tuple[str, bytes]]) -> Recording:
    """Messages from chunks: a message belongs where its last byte was seen."""
    opening: list[tuple[str, bytes]] = []
    messages: list[tuple[str, bytes]] = []
    streams = {CLIENT: b"", SERVER: b""}
    started = False
    asked = False
    for side, data in chunks:
        streams[side] += data
        while stream := streams[side]:
            if side == CLIENT and not started:
                length = int.from_bytes(stream[:4], "big")
                if len(stream) < max(length, 8):
                    break
                code = int.from_bytes(stream[4:8], "big")
                asked = code >> 16 == CANCEL_CODE >> 16
                started = not asked
                opening.append((side, stream[:length]))
                streams[side] = stream[length:]
            elif side == SERVER and asked:
                opening.append((side, stream[:1]))
                streams[side] = stream[1:]
                asked = False
            else:
                end = 1 + int.from_bytes(stream[1:5], "big")
                if len(stream) < max(end, 5):
                    break
                messages.append((side, stream[:end]))
                streams[side] = stream[end:]
    return Recording(title, tuple(opening), tuple(messages)).shortened()


def _run(*command: str, script: str | None = None) -> None:
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60)
    if done.returncode not in (0, 3):
        print(done.stderr, file=sys.stderr)


def _dsn(port: int, **more: str) -> str:
    options = {"host": "127.0.0.1", "port": str(port), "user": USER, "dbname": lab.RAW, "gssencmode": "disable", **more}
    return " ".join(f"{k}='{v}'" for k, v in options.items())


def psql(port: int) -> None:
    script = r"""
select id, name, phone from bank.people order by id limit 2;
begin; select 1/0; rollback;
select 1\; select 2;
\d bank.work
\copy bank.work (id, note) to stdout
\copy bank.work (id, note) from stdin
900	nine
\.
copy bank.work from stdin;
bad
\.
delete from bank.work where id = 900;
\set FETCH_COUNT 2
select id, phone from bank.people order by id;
listen n; notify n, 'x';
set client_encoding to 'LATIN1';
"""
    _run("psql", "-X", "-d", _dsn(port, sslmode="prefer"), script=script)


def psql_scram(port: int) -> None:
    _run("psql", "-X", "-d", _dsn(port, user=SECRET_USER, password="secret", sslmode="disable"), "-c", "select 1")


def psql_wrong_password(port: int) -> None:
    _run("psql", "-X", "-d", _dsn(port, user=SECRET_USER, password="wrong", sslmode="disable"), "-c", "select 1")


def replication(port: int) -> None:
    _run("psql", "-X", "-d", _dsn(port, user="postgres", replication="database"), "-c", "IDENTIFY_SYSTEM", "-c", "SHOW wal_level")


def pgbench(port: int) -> None:
    script = DIRECTORY / "pgbench.tmp"
    script.write_text(
        "\\set i random(1, 5)\nbegin;\nselect name, phone from bank.people where id = :i;\n"
        "update bank.work set n = n + 0 where id = :i;\ncommit;\n"
    )
    try:
        for mode in ("extended", "prepared"):
            _run("pgbench", "-n", "-t", "2", "-M", mode, "-f", str(script), _dsn(port))
    finally:
        script.unlink()


def pg_dump(port: int) -> None:
    _run("pg_dump", "-d", _dsn(port, user="postgres"), "-t", "bank.people", "-t", "bank.work")


def psycopg_pipeline(port: int) -> None:
    with psycopg.connect(_dsn(port), autocommit=True) as c:
        with c.pipeline(), c.cursor() as cur:
            cur.execute("select id, phone from bank.people where id < %s", (3,))
            cur.execute("insert into bank.work (id, note) values (%s, %s)", (901, "piped"))
            cur.execute("delete from bank.work where id = %s", (901,))
        try:
            with c.pipeline():
                c.execute("select 1")
                c.execute("select 1/0")
                c.execute("select 2")
        except psycopg.Error:
            pass
        for _ in range(7):
            c.execute("select name from bank.people where id = %s", (1,))


def psycopg_copy(port: int) -> None:
    with psycopg.connect(_dsn(port)) as c:
        with c.cursor() as cur:
            with cur.copy("copy bank.work (id, note) from stdin") as copy:
                copy.write_row((902, "copied"))
            with cur.copy("copy (select id, phone from bank.people) to stdout (format binary)") as copy:
                for _ in copy:
                    pass
            try:
                with cur.copy("copy bank.work (id, note) from stdin") as copy:
                    copy.write_row(("bad", "copied"))
            except psycopg.Error:
                pass
        c.rollback()
        with c.cursor(name="scroll") as named:
            named.itersize = 2
            named.execute("select id, phone from bank.people order by id")
            list(named)


def psycopg_two(port: int) -> None:
    c = psycopg2.connect(_dsn(port))
    with c, c.cursor() as cur:
        cur.execute("select phone from bank.people where id = %s", (1,))
        cur.executemany("update bank.work set n = %s where id = %s", [(1, 1), (2, 2)])
    c.rollback()
    c.close()


def asyncpg_all(port: int) -> None:
    async def go() -> None:
        c = await asyncpg.connect(host="127.0.0.1", port=port, user=USER, database=lab.RAW, ssl=False)
        await c.fetch("select id, phone from bank.people where id < $1", 4)
        async with c.transaction():
            async for _ in c.cursor("select id, phone from bank.people order by id", prefetch=2):
                pass
        statement = await c.prepare("select $1::int + 1")
        await statement.fetchval(1)
        await c.executemany("update bank.work set n = $1 where id = $2", [(1, 1), (2, 2)])
        await c.copy_records_to_table("work", schema_name="bank", records=[(903, "copied")], columns=["id", "note"])
        await c.execute("delete from bank.work where id = 903; reset all")
        with suppress(asyncpg.PostgresError):
            await c.fetch("select 1/0")
        with suppress(TimeoutError):
            await c.fetch("select pg_sleep(2)", timeout=0.2)
        await c.close()

    asyncio.run(go())


CLIENTS: dict[str, Callable[[int], None]] = {
    "psql": psql, "psql_scram": psql_scram, "psql_wrong_password": psql_wrong_password, "replication": replication,
    "pgbench": pgbench, "pg_dump": pg_dump, "psycopg_pipeline": psycopg_pipeline, "psycopg_copy": psycopg_copy,
    "psycopg2": psycopg_two, "asyncpg": asyncpg_all,
}  # fmt: skip


def main() -> int:
    DIRECTORY.mkdir(exist_ok=True)
    hba = f"host all {SECRET_USER} all scram-sha-256\nhost replication all 127.0.0.1/32 trust\n{lab.HBA}"
    with TestServer(settings=lab.SETTINGS, hba=hba) as server:
        assert isinstance(server, TestServer)
        lab.prepare(server)
        server.execute_sql("postgres", f"CREATE ROLE {SECRET_USER} LOGIN PASSWORD 'secret'")
        for name, client in CLIENTS.items():
            if name in ("psql", "pgbench", "pg_dump") and shutil.which(name) is None:
                print(f"{name}: not there", file=sys.stderr)
                continue
            relay = Relay(server.port)
            client(relay.port)
            relay.close()
            for number, chunks in enumerate(relay.heard, 1):
                recording = assemble(name, chunks)
                if recording.opening or recording.messages:
                    path = DIRECTORY / f"{name}{'' if number == 1 else f'_{number}'}.rec"
                    path.write_text(recording.dump(), "utf-8")
                    print(f"{path.name}: {len(recording.messages)} messages, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
