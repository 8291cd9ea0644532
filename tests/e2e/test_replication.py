"""Replication sessions: passed for logins that see everything in every database, refused for all others.

A walsender reads the files of the whole server, whichever database its client names.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import pq

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql(
            "postgres",
            f"""CREATE ROLE {CONTROL} LOGIN; CREATE ROLE pgveil_test_staff;
                CREATE ROLE repl_clear LOGIN REPLICATION IN ROLE pgveil_test_staff; CREATE ROLE repl_masked LOGIN REPLICATION;
                CREATE SCHEMA shop; CREATE TABLE shop.people (id int, phone text);
                CREATE DATABASE harmless""",
        )
        with ProxyProcess(tmp_path_factory.mktemp("replication"), server) as proxy:
            yield proxy


def ask(proxy: ProxyProcess, user: str, database: str, replication: str, statement: bytes) -> tuple[str, bytes]:
    """What becomes of the connection and of the statement: libpq's status and the first value or the error."""
    given = f"host=127.0.0.1 port={proxy.port} user={user} dbname={database} replication={replication}"
    connection = pq.PGconn.connect(given.encode())
    if connection.status != pq.ConnStatus.OK:
        return "refused", connection.error_message
    result = connection.exec_(statement)
    answer = result.get_value(0, 0) if result.status == pq.ExecStatus.TUPLES_OK else result.error_message
    connection.finish()
    return pq.ExecStatus(result.status).name, answer or b""


@pytest.mark.parametrize(("database", "replication"), [("replication", "true"), ("postgres", "on"), ("harmless", "database")])
def test_who_sees_everything_may_replicate(proxy: ProxyProcess, database: str, replication: str) -> None:
    status, system = ask(proxy, "repl_clear", database, replication, b"IDENTIFY_SYSTEM")
    assert status == "TUPLES_OK"
    assert system.isdigit()


@pytest.mark.parametrize("database", ["replication", "harmless", "postgres"])
@pytest.mark.parametrize("replication", ["true", "database"])
def test_who_sees_something_masked_anywhere_may_not(proxy: ProxyProcess, database: str, replication: str) -> None:
    status, error = ask(proxy, "repl_masked", database, replication, b"IDENTIFY_SYSTEM")
    assert status == "refused"
    expected = (
        b'database "replication" does not exist' if (database, replication) == ("replication", "database") else b"not allowed"
    )
    assert expected in error


def test_an_ordinary_session_in_a_harmless_database_passes(proxy: ProxyProcess) -> None:
    assert ask(proxy, "repl_masked", "harmless", "false", b"SELECT 1") == ("TUPLES_OK", b"1")
