"""What a transaction makes is there for its own next statements, and gone with it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, 'Ann', '13812345678');
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with TestServer() as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with ProxyProcess(tmp_path_factory.mktemp("own") / "home", server) as running:
            yield running


@pytest.fixture
def session(proxy: ProxyProcess) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres", connect_timeout=20) as open_session:
        yield open_session
        open_session.rollback()


@pytest.mark.parametrize("savepoint", [False, True])
def test_a_new_table_is_filled_and_read(session: psycopg.Connection[tuple[object, ...]], savepoint: bool) -> None:
    if savepoint:
        session.execute("SAVEPOINT s")
    session.execute("CREATE TABLE shop.notes (person int, note text)")
    session.execute("CREATE INDEX ON shop.notes (person)")
    session.execute("INSERT INTO shop.notes VALUES (1, 'called')")
    found = session.execute("SELECT n.*, phone FROM shop.notes n JOIN shop.people p ON p.id = n.person").fetchall()
    assert found == [(1, "called", "138****5678")]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
        session.execute("INSERT INTO shop.notes SELECT id, phone FROM shop.people")
    session.rollback()
    with pytest.raises(psycopg.errors.UndefinedTable):
        session.execute("SELECT * FROM shop.notes")


def test_a_table_dropped_and_made_again_is_the_new_one(session: psycopg.Connection[tuple[object, ...]]) -> None:
    session.execute("CREATE TABLE shop.list (a int)")
    session.commit()
    session.execute("DROP TABLE shop.list")
    session.execute("CREATE TABLE shop.list (b text)")
    session.execute("INSERT INTO shop.list VALUES ('new')")
    assert session.execute("SELECT * FROM shop.list").fetchall() == [("new",)]
    session.commit()
    assert session.execute("SELECT * FROM shop.list").fetchall() == [("new",)]


def test_renaming_a_known_relation_does_not_make_it_new(session: psycopg.Connection[tuple[object, ...]]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("ALTER TABLE shop.people RENAME TO folk")
    session.rollback()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("GRANT SELECT ON shop.people TO PUBLIC")
    session.rollback()
    assert session.execute("SELECT phone FROM shop.people").fetchall() == [("138****5678",)]


def test_a_new_view_waits_for_the_commit(session: psycopg.Connection[tuple[object, ...]]) -> None:
    session.execute("CREATE VIEW shop.v_two AS SELECT 2 AS two")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="before it is committed"), session.transaction():
        session.execute("SELECT * FROM shop.v_two")
    session.commit()
    assert session.execute("SELECT * FROM shop.v_two").fetchall() == [(2,)]
