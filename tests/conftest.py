"""Fixtures shared by all tests: one PostgreSQL server per run, and databases of one's own on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.postgres import TestServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """A started server. Roles are shared by all its users: give them names of your own."""
    with TestServer() as server:
        assert isinstance(server, TestServer)
        yield server


@contextmanager
def _fresh(server: TestServer) -> Iterator[str]:
    name = f"t{next(_numbers)}"
    server.execute_sql("postgres", f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield name
    finally:
        server.execute_sql("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def database(postgres: TestServer) -> Iterator[str]:
    """The name of an empty database, dropped after the test."""
    with _fresh(postgres) as name:
        yield name


@pytest.fixture(scope="module")
def module_database(postgres: TestServer) -> Iterator[str]:
    """The name of a database shared by the tests of one module."""
    with _fresh(postgres) as name:
        yield name
