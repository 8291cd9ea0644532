"""Makes the companion schema in a database and stores the keys there, or brings both up to date. Safe to repeat.

Everything happens in one transaction. The objects belong to the role `pgveil_owner`, as whom nobody can log in. Keys travel as
COPY data, which no setting writes into the server's log; what is stored is derived from the secrets (policies.keys).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

import asyncpg

from policies.keys import Key, Keyring
from policies.masks import ff1
from policies.masks.base import literal
from policies.masks.keyed import SEPARATORS
from policies.model import COMPANION
from proxy.companion.aes import round_keys, tables
from proxy.errors import PgveilError

OWNER = "pgveil_owner"
_COLUMNS = ("name", "version", "inner_pad", "outer_pad", "cipher", "schedule", "fingerprint")


class CompanionError(PgveilError):
    """The companion schema cannot be made like this."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation has done."""

    added: tuple[str, ...]
    """Keys as name@version."""
    present: int
    """Keys that were there before."""
    native: bool
    """AES comes from pgcrypto; otherwise from PL/pgSQL, which is much slower."""


async def install(connection: asyncpg.Connection, ring: Keyring) -> Installed:
    """Raises CompanionError, and what asyncpg raises when the login may not do it.

    It has to be a superuser, or the owner of the database with CREATEROLE.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = pg_catalog; SET LOCAL client_min_messages = warning")
        await _make_owner(connection)
        crypto = await connection.fetchval(
            "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'pgcrypto'"
        )
        await connection.execute(f"SET LOCAL ROLE {OWNER}")
        for text in definitions(crypto):
            await connection.execute(text)
        added, present = await _store(connection, ring)
    return Installed(added, present, crypto is not None)


async def install_approvals(connection: asyncpg.Connection, control: str) -> None:
    """The tables of requests and grants, for the login of control connections. Safe to repeat; raises as `install`."""
    text = resources.files("proxy.companion").joinpath("approvals.sql").read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = pg_catalog; SET LOCAL client_min_messages = warning")
        await _make_owner(connection)
        await connection.execute(f"SET LOCAL ROLE {OWNER}")
        await connection.execute(text.replace("{control}", '"' + control.replace('"', '""') + '"'))


async def _make_owner(connection: asyncpg.Connection) -> None:
    """The role, and the schema in its hands. A schema of that name that belongs to somebody else is not ours to fill."""
    found = await connection.fetchrow("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = $1", OWNER)
    if found is None:
        await connection.execute(f"CREATE ROLE {OWNER} NOLOGIN")
    elif found["rolcanlogin"] or found["rolsuper"]:
        raise CompanionError(f"the role {OWNER} can log in or is a superuser: keys would not be safe with it")
    members = await connection.fetch(
        "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        " WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = $1) AND r.rolname <> current_user",
        OWNER,
    )
    if members:
        names = ", ".join(sorted(r[0] for r in members))
        raise CompanionError(f"the role {OWNER} has members ({names}), who could read the keys")
    if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
    owner = await connection.fetchval(
        "SELECT r.rolname::text FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = $1", COMPANION
    )
    if owner is None:
        await connection.execute(f"CREATE SCHEMA {COMPANION} AUTHORIZATION {OWNER}")
        await connection.execute(f"GRANT USAGE ON SCHEMA {COMPANION} TO PUBLIC")
    elif owner != OWNER:
        raise CompanionError(f"there is a schema {COMPANION} already, and it belongs to {owner}")


def definitions(crypto: str | None) -> list[str]:
    """The SQL that makes it all; `crypto` is the schema of pgcrypto, where it is there."""
    folder = resources.files("proxy.companion")
    main = folder.joinpath("companion.sql").read_text(encoding="utf-8")
    for word, value in (
        ("separators", literal(SEPARATORS)), ("max_length", str(ff1.MAX_LENGTH)), ("min_domain", str(ff1.MIN_DOMAIN))
    ):  # fmt: skip
        main = main.replace("{" + word + "}", value)
    if crypto is not None:
        cipher = (
            folder.joinpath("pgcrypto.sql").read_text(encoding="utf-8").replace("{schema}", '"' + crypto.replace('"', '""') + '"')
        )
    else:
        cipher = folder.joinpath("aes.sql").read_text(encoding="utf-8")
        sbox, rounds = tables()
        for word, numbers in (("sbox", sbox), *((f"t{i}", t) for i, t in enumerate(rounds))):
            cipher = cipher.replace("{{" + word + "}}", "{" + ",".join(map(str, numbers)) + "}")
    return [main, cipher]


async def _store(connection: asyncpg.Connection, ring: Keyring) -> tuple[tuple[str, ...], int]:
    """Add what is missing. A key that differs from the one of its name and version is refused: masked values would change."""
    there = {(r["name"], r["version"]): r["fingerprint"] for r in await connection.fetch(f"SELECT * FROM {COMPANION}.keys()")}
    new: list[tuple[str, int, Key]] = []
    for name, versions in ring.versions().items():
        for version, key in versions.items():
            known = there.get((name, version))
            if known is None:
                new.append((name, version, key))
            elif known != key.fingerprint:
                raise CompanionError(
                    f"key {name}@{version} is another one in the database: give the new secret a new version, "
                    "or masked values would silently change"
                )
    if new:
        rows = [(name, version, *_stored(key)) for name, version, key in new]
        await connection.copy_records_to_table("key", schema_name=COMPANION, columns=_COLUMNS, records=rows)
    return tuple(f"{name}@{version}" for name, version, _ in new), len(there)


def _stored(key: Key) -> Iterable[object]:
    inner, outer = (bytes(b ^ pad for b in key.token.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return inner, outer, key.cipher, round_keys(key.cipher), key.fingerprint
