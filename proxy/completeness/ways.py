"""Ways round the proxy that pg_hba.conf leaves open: rules by which somebody may log in from another address than the proxy's.

An open way is no proof that anybody took it, so it is told beside the verdict and does not change it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import asyncpg

RULES: Final = """
SELECT r.line_number, r.type, r.database, r.user_name, r.address, r.netmask, r.auth_method
FROM pg_catalog.pg_hba_file_rules r WHERE r.error IS NULL ORDER BY r.line_number
"""
MEMBERS: Final = """
WITH RECURSIVE m(who, role) AS (
  SELECT a.member, a.roleid FROM pg_catalog.pg_auth_members a
  UNION SELECT m.who, a.roleid FROM m JOIN pg_catalog.pg_auth_members a ON a.member = m.role)
SELECT w.rolname::text, r.rolname::text FROM m JOIN pg_catalog.pg_roles w ON w.oid = m.who
JOIN pg_catalog.pg_roles r ON r.oid = m.role
UNION SELECT w.rolname::text, r.rolname::text FROM pg_catalog.pg_roles w CROSS JOIN pg_catalog.pg_roles r
WHERE w.rolsuper AND w.rolcanlogin AND w.oid <> r.oid
"""
"""Whom SET ROLE may make of whom."""
OUR_ADDRESS: Final = "SELECT pg_catalog.host(pg_catalog.inet_client_addr())"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


async def read_members(connection: asyncpg.Connection) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for who, role in await connection.fetch(MEMBERS):
        out.setdefault(who, set()).add(role)
    return out


async def read_ways(connection: asyncpg.Connection, allowed: Collection[str]) -> list[str] | None:
    """One line for each open way; None when the login may not read the rules."""
    try:
        rules = await connection.fetch(RULES)
    except asyncpg.InsufficientPrivilegeError:
        return None
    ours = await connection.fetchval(OUR_ADDRESS)
    return list(open_ways(rules, ours, allowed))


def open_ways(rules: Sequence[Mapping[str, Any]], ours: str | None, allowed: Collection[str]) -> Iterator[str]:
    """`ours`: the proxy's address as the server sees it; None on a Unix socket. `allowed`: roles that may connect themselves."""
    closed: list[Network] = []
    for rule in rules:
        databases, users = rule["database"], rule["user_name"]
        local = rule["type"] == "local"
        network = None if local else _network(rule["address"], rule["netmask"])
        if rule["auth_method"] == "reject":
            if network is not None and databases == ["all"] and users == ["all"] and rule["type"] == "host":
                closed.append(network)
            continue
        if databases == ["replication"] or set(users) <= set(allowed):
            continue
        if network is not None:
            if any(network.version == c.version and network.subnet_of(c) for c in closed):  # type: ignore[arg-type]
                continue
            if network.num_addresses == 1 and str(network.network_address) == ours:
                continue
        if local and ours is None:
            where = "over the socket that the proxy uses, too"
        elif local:
            where = "on the server's own host"
        else:
            where = f"from {rule['address']}" + (f" {rule['netmask']}" if rule["netmask"] else "")
        yield f"line {rule['line_number']}: {', '.join(users)} to {', '.join(databases)} {where} ({rule['auth_method']})"


def _network(address: str | None, netmask: str | None) -> Network | None:
    """None for names and words, of which nobody knows here what they stand for."""
    try:
        return ipaddress.ip_network(f"{address}/{netmask}" if netmask else f"{address}", strict=False)
    except ValueError:
        return None
