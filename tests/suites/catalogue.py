"""The suites: where each comes from, what it needs, how it is run. What is left out of them is in `deselected.yaml`.

`{host}`, `{port}`, `{user}`, `{database}` and `{version}` stand for the server of the way and the version of the tests. Every
suite logs in as a superuser over TCP, without a password and without TLS, whichever way it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.suites.sources import Debian, PyPI

USER = "postgres"
DATABASE = "suite"

_PG = {"PGHOST": "{host}", "PGPORT": "{port}", "PGUSER": "{user}", "PGDATABASE": "{database}"}
_PYTEST = ("-m", "pytest", "-p", "recorder", "-q", "--no-header", "--tb=short")

_DJANGO = ("backends", "postgres_tests", "introspection", "inspectdb", "transactions", "schema", "bulk_create")


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    source: PyPI | Debian
    packages: tuple[str, ...]
    """Of the driver the wheel: the tests run beside it, not beside the sources."""
    keep: tuple[str, ...]
    """What of the source is copied into the directory of the run."""
    command: tuple[str, ...]
    """Arguments of the virtual environment's Python."""
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "."
    """Where in the directory of the run the command is started."""
    setup: str = ""
    """SQL that its instructions ask the administrator to run in the database; run around the proxies."""
    version_file: str | None = None
    """Where the version stands, if not in the name of the directory."""


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "psycopg",
            Debian("psycopg3", "sid"),
            ("psycopg[binary]=={version}", "psycopg_pool", "anyio", "pproxy", "pytest", "pytest-timeout", "dnspython"),
            ("tests", "pyproject.toml"),
            (*_PYTEST, "--timeout=60", "--test-dsn=host={host} port={port} user={user} dbname={database}", "tests"),
            version_file="psycopg/pyproject.toml",
        ),
        Suite(
            "asyncpg",
            PyPI("asyncpg"),
            ("asyncpg=={version}", "pytest", "pytest-timeout", "uvloop", "distro"),
            ("tests",),
            (*_PYTEST, "--timeout=60", "tests"),
            _PG,
        ),
        Suite(
            "psycopg2",
            PyPI("psycopg2"),
            ("psycopg2-binary=={version}", "pytest", "pytest-timeout"),
            ("tests",),
            (*_PYTEST, "--timeout=60", "tests"),
            {"PSYCOPG2_TESTDB_" + k: f"{{{v}}}" for k, v in (("HOST", "host"), ("PORT", "port"), ("USER", "user"))}
            | {"PSYCOPG2_TESTDB": "{database}", "PSYCOPG2_TEST_REPL_DSN": ""},
        ),
        Suite(
            "pg8000",
            PyPI("pg8000"),
            ("pg8000=={version}", "pytest", "pytest-timeout", "pytest-benchmark", "pytest-mock", "pytz"),
            ("test",),
            (*_PYTEST, "--timeout=60", "--benchmark-disable", "test"),
            {"PGHOST": "{host}", "PGPORT": "{port}", "PGPASSWORD": "pw"},
        ),
        Suite(
            "sqlalchemy",
            PyPI("sqlalchemy"),
            ("sqlalchemy=={version}", "psycopg2-binary", "pytest", "pytest-timeout"),
            ("test", "lib", "setup.cfg", "pyproject.toml", "tools"),
            (
                *_PYTEST,
                "--timeout=120",
                "--maxfail=0",
                "--dburi=postgresql+psycopg2://{user}@{host}:{port}/{database}",
                "test/dialect/postgresql",
                "test/dialect/test_suite.py",
                "test/engine/test_reflection.py",
            ),
            setup="""CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2; CREATE EXTENSION hstore; CREATE EXTENSION citext;
                ALTER DATABASE suite SET default_text_search_config = 'pg_catalog.english'""",
        ),
        Suite(
            "django",
            PyPI("django"),
            ("django=={version}", "psycopg[binary]", "jinja2", "sqlparse", "pytest"),
            ("tests",),
            ("runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", "--keepdb", *_DJANGO),
            {"PGHOST": "{host}", "PGPORT": "{port}", "PGUSER": "{user}"},
            directory="tests",
        ),
    )
}


def deselected(suite: str) -> dict[str, list[str]]:
    """Reason → patterns of tests that are not run, whichever way. `*` stands for any text."""
    lists = yaml.safe_load((Path(__file__).parent / "deselected.yaml").read_text())
    return {reason: list(patterns) for reason, patterns in (lists.get(suite) or {}).items()}
