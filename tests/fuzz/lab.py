"""The servers of a differential run: PostgreSQL with the raw bank and two copies of it, and pgveil before the raw one.

`plain` is the raw bank again, for clear logins; `masked` is the raw bank with the masks applied to the stored values, for masked
ones. All are copies of one template, so OIDs and the order of rows agree.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

USERS = {"clear": "pgveil_fuzz_clear", "masked": "pgveil_fuzz_masked"}
RAW = "fuzz_raw"
TWIN = {"clear": "fuzz_plain", "masked": "fuzz_masked"}
SETTINGS = {"jit": "off", "autovacuum": "off", "fsync": "off"}
HBA = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\n"
PHONES = tuple(f"138{n:04d}77{n:02d}" for n in range(1, 11))
"""The raw values of the masked column; none of them is to be seen by a masked login."""
MASKED_COLUMNS = {"people": ("phone", "score")}

SCHEMA = f"""
CREATE SCHEMA bank;
CREATE TABLE bank.people (id int PRIMARY KEY, name text NOT NULL, phone varchar(20), score numeric(8,2), born date);
INSERT INTO bank.people SELECT g, 'person ' || g, ('{{{",".join(PHONES)}}}'::text[])[g], g * 100 + 7, date '1980-01-01' + g
  FROM generate_series(1, 10) g;
CREATE TABLE bank.work (id int PRIMARY KEY, note text, n int CHECK (n < 1000),
  parent int REFERENCES bank.work DEFERRABLE INITIALLY DEFERRED);
CREATE VIEW bank.grown AS SELECT id, name, phone FROM bank.people WHERE id > 3;
GRANT USAGE, CREATE ON SCHEMA bank TO {", ".join(USERS.values())};
GRANT ALL ON ALL TABLES IN SCHEMA bank TO {", ".join(USERS.values())};
"""
FILL = "INSERT INTO bank.work SELECT g, 'note ' || g, g * 10, nullif(g - 1, 0) FROM generate_series(1, 5) g;"
MASKS = "UPDATE bank.people SET phone = overlay(phone placing '****' from 4 for 4), score = round(score, -2);"
POLICY = """\
version: 1
notice: false
classes:
  phone: { level: C2, mask: { sql: "overlay($1 placing '****' from 4 for 4)" } }
  score: { level: C2, mask: { sql: "round($1, -2)" } }
columns:
  bank.people.phone: phone
  bank.people.score: score
rules:
  - { name: clear, role: pgveil_fuzz_clear, columns: [level=C2], show: clear }
"""
_STATE = """
SELECT (SELECT coalesce(json_agg(w ORDER BY id), '[]')::text FROM bank.work w) || ' ' ||
  (SELECT string_agg(relname || ' ' || relkind::text || ' ' || relnatts, ',' ORDER BY relname) FROM pg_class
   WHERE relnamespace = 'bank'::regnamespace) || ' ' || (SELECT count(*) FROM bank.people)
"""
_CLEAN = f"""
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'bank'::regnamespace AND relkind = 'r'
    AND relname NOT IN ('people', 'work') LOOP EXECUTE format('DROP TABLE bank.%I CASCADE', name); END LOOP;
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'bank'::regnamespace AND relkind = 'v'
    AND relname <> 'grown' LOOP EXECUTE format('DROP VIEW bank.%I CASCADE', name); END LOOP;
END $$;
TRUNCATE bank.work CASCADE;
{FILL}
"""


class Bank:
    """One database, looked at and put in order on a connection of our own."""

    def __init__(self, server: TestServer, name: str) -> None:
        self.name = name
        self._connection = psycopg.connect(server.dsn(dbname=name), autocommit=True)
        self._initial = self.state()

    def close(self) -> None:
        self._connection.close()

    def state(self) -> str:
        row = self._connection.execute(_STATE).fetchone()
        assert row is not None
        return str(row[0])

    def settle(self) -> str:
        """What the sessions of the test users have left, once they are gone."""
        end = time.monotonic() + 20
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = ANY(%s) AND application_name <> 'calm'"
        while True:
            row = self._connection.execute(query, (self.name, list(USERS.values()))).fetchone()
            if row == (0,):
                return self.state()
            if time.monotonic() > end:
                raise TimeoutError(f"a session of {self.name} does not end")

    def reset(self, state: str) -> None:
        """As it was in the beginning."""
        if state != self._initial:
            self._connection.execute(_CLEAN)


class Lab:
    def __init__(self, server: TestServer, proxy: ProxyProcess) -> None:
        self.server = server
        self.proxy = proxy
        self.banks = {name: Bank(server, name) for name in (RAW, *TWIN.values())}
        with psycopg.connect(server.dsn(dbname=RAW)) as connection:
            rows = connection.execute(
                "SELECT oid::int, relname FROM pg_class WHERE relnamespace = 'bank'::regnamespace"
            ).fetchall()
        self.relations: dict[int, str] = {int(oid): str(name) for oid, name in rows}
        """The relations that every bank has from the beginning."""
        self.masked: set[tuple[int, int]] = set()
        self.rows: set[int] = set()
        """Row types of the relations that have masked columns."""
        with psycopg.connect(server.dsn(dbname=RAW)) as connection:
            for table, columns in MASKED_COLUMNS.items():
                query = "SELECT attrelid::int, attnum FROM pg_attribute WHERE attrelid = %s::regclass AND attname = ANY(%s)"
                found = connection.execute(query, (f"bank.{table}", list(columns))).fetchall()
                self.masked |= {(int(oid), int(attnum)) for oid, attnum in found}
            names = ("people", "grown")
            found = connection.execute("SELECT reltype::int, 0 FROM pg_class WHERE relname = ANY(%s)", (list(names),)).fetchall()
            self.rows |= {int(oid) for oid, _ in found}

    def close(self) -> None:
        for bank in self.banks.values():
            bank.close()


def prepare(server: TestServer) -> None:
    """The three banks on a started server."""
    roles = "".join(f"CREATE ROLE {user} LOGIN;" for user in USERS.values())
    server.execute_sql("postgres", f"{roles} CREATE ROLE {CONTROL} LOGIN; CREATE DATABASE {RAW};")
    server.execute_sql(RAW, SCHEMA + FILL)
    for name in TWIN.values():
        server.execute_sql("postgres", f"CREATE DATABASE {name} TEMPLATE {RAW};")
    server.execute_sql(TWIN["masked"], MASKS)
    for name in (RAW, *TWIN.values()):
        server.execute_sql(name, "VACUUM FULL ANALYZE;")


@contextmanager
def running(home: Path, extra: str = "") -> Iterator[Lab]:
    with ExitStack() as stack:
        server = stack.enter_context(TestServer(settings=SETTINGS, hba=HBA))
        assert isinstance(server, TestServer)
        prepare(server)
        proxy = stack.enter_context(ProxyProcess(home, server, database=RAW, policy=POLICY, extra=extra))
        lab = Lab(server, proxy)
        stack.callback(lab.close)
        yield lab
