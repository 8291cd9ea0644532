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


def test_a_renamed_table_is_known_by_its_new_name_until_the_rollback(session: psycopg.Connection[tuple[object, ...]]) -> None:
    session.execute("CREATE TABLE shop.before (a int)")
    session.execute("INSERT INTO shop.before VALUES (1)")
    session.commit()
    session.execute("ALTER TABLE shop.before RENAME TO after")
    session.execute("INSERT INTO shop.after VALUES (2)")
    assert session.execute("SELECT a, phone FROM shop.after JOIN shop.people ON id = a").fetchall() == [(1, "138****5678")]
    with pytest.raises(psycopg.errors.UndefinedTable), session.transaction():
        session.execute("SELECT * FROM shop.before")
    session.execute("CREATE TABLE shop.before (b int)")
    assert session.execute("SELECT * FROM shop.before").fetchall() == []
    assert session.execute("SELECT * FROM shop.after").fetchall() == [(1,), (2,)]
    session.rollback()
    assert session.execute("SELECT * FROM shop.before").fetchall() == [(1,)]
    session.execute("DROP TABLE shop.before")
    session.commit()


@pytest.mark.parametrize("savepoint", [False, True])
def test_a_star_shows_the_columns_of_the_open_transaction(
    session: psycopg.Connection[tuple[object, ...]], savepoint: bool
) -> None:
    session.execute("CREATE TABLE shop.shape (a int, b text)")
    session.execute("INSERT INTO shop.shape VALUES (1, 'x')")
    session.commit()
    if savepoint:
        session.execute("SAVEPOINT s")
    session.execute("ALTER TABLE shop.shape ADD COLUMN c int DEFAULT 5")
    assert session.execute("SELECT * FROM shop.shape").fetchall() == [(1, "x", 5)]
    session.execute("ALTER TABLE shop.shape RENAME COLUMN b TO d")
    assert [c.name for c in session.execute("SELECT s.* FROM shop.shape s").description or ()] == ["a", "d", "c"]
    session.execute("ALTER TABLE shop.shape DROP COLUMN d")
    assert session.execute("SELECT row_to_json(s), phone FROM shop.shape s JOIN shop.people ON id = a").fetchall() == [
        ({"a": 1, "c": 5}, "138****5678")
    ]
    if savepoint:
        session.execute("ROLLBACK TO s")
        assert session.execute("SELECT * FROM shop.shape").fetchall() == [(1, "x")]
    session.rollback()
    assert session.execute("SELECT * FROM shop.shape").fetchall() == [(1, "x")]
    session.execute("DROP TABLE shop.shape")
    session.commit()
