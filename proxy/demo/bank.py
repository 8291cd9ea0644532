"""Put the sample bank into an empty PostgreSQL server: roles, database, tables, rows.

The rows are made in Python (data.py) and sent with COPY; the whole takes about two seconds. The bank is the database
`bank` with the schema `bank`; the superuser is used here only, the demo itself never connects as it.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg

from proxy.companion.install import install_approvals
from proxy.demo.data import Bank, make_bank

DATABASE = "bank"
LOGINS = ("analyst", "teller", "branch_manager", "auditor", "admin")
"""The people of the tour. There are more (roles.sql), for docs/scenarios.md; everybody's password is the name."""
CONTROL = "pgveil_control"


def resource(name: str) -> str:
    """The text of a file that lies beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def load_bank(dsn: str) -> None:
    """Load the bank through the superuser's connection URI `dsn` (its database: postgres)."""
    asyncio.run(_load(dsn))


def is_loaded(data_dir: Path) -> bool:
    """Whether a kept data directory already holds the bank."""
    return (data_dir / "BANK_LOADED").exists()


def mark_loaded(data_dir: Path) -> None:
    (data_dir / "BANK_LOADED").touch()


async def _load(dsn: str) -> None:
    server = await asyncpg.connect(dsn)
    try:
        await server.execute(resource("roles.sql"))
        await server.execute(f"CREATE DATABASE {DATABASE}")
        await server.execute(f"GRANT CREATE, TEMPORARY ON DATABASE {DATABASE} TO admin")
    finally:
        await server.close()
    bank = await asyncpg.connect(dsn, database=DATABASE)
    try:
        await bank.execute(resource("schema.sql"))
        await _copy(bank, make_bank())
        await bank.execute("ANALYZE")
        await install_approvals(bank, CONTROL)
    finally:
        await bank.close()


async def _copy(connection: Any, bank: Bank) -> None:
    for table, rows in bank.tables():
        await connection.copy_records_to_table(table, schema_name="bank", records=rows)
