"""Who belongs to what: an immutable picture of the server's roles, as one database sees them.

A role counts as a member of another when there is any chain of memberships between them, whatever the options of the
grants (INHERIT, SET, ADMIN; PostgreSQL 16 and later keep them per grant): policy asks who somebody *is*, not which
privileges are in force at the moment. That is `pg_has_role(user, role, 'MEMBER')`, except that a superuser is a
member only of the roles granted to it. The owner of the database, and who belongs to it, is a member of
`pg_database_owner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    memberships: frozenset[str]
    """All roles it is a member of, directly or not, itself included."""
    login: bool
    superuser: bool
    replication: bool
    bypass_rls: bool


@dataclass(frozen=True, slots=True)
class Roles:
    """All roles by name. `version` is a digest of the content."""

    version: str
    roles: Mapping[str, Role]
    search_paths: tuple[tuple[str | None, str | None, str], ...] = ()
    """search_path of ALTER ROLE/DATABASE … SET: (role or None for all, database or None for all, value as stored)."""

    def of(self, user: str) -> frozenset[str]:
        """The roles that `user` counts as; a login that the server does not know counts as itself only."""
        role = self.roles.get(user)
        return role.memberships if role is not None else frozenset((user,))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.roles)


def build_roles(
    roles: Iterable[Sequence[Any]], memberships: Iterable[Sequence[Any]], search_paths: Iterable[Sequence[Any]] = ()
) -> Roles:
    """From the rows of `queries.ROLES`, `MEMBERSHIPS` and `SEARCH_PATHS`."""
    rows = [tuple(r) for r in roles]
    names = {r[0]: r[1] for r in rows}
    direct: dict[int, list[int]] = {}
    edges = [tuple(m) for m in memberships]
    for member, role in edges:
        direct.setdefault(member, []).append(role)

    def closure(oid: int) -> frozenset[str]:
        seen, todo = {oid}, [oid]
        while todo:
            for role in direct.get(todo.pop(), ()):
                if role not in seen:
                    seen.add(role)
                    todo.append(role)
        return frozenset(names[o] for o in seen if o in names)

    built = {name: Role(name, closure(oid), login, su, repl, bypass) for oid, name, su, repl, login, bypass in rows}
    paths = tuple((None if for_all else role, database, value) for role, for_all, database, value in search_paths)
    version = blake2b(repr((rows, edges, paths)).encode(), digest_size=16).hexdigest()
    return Roles(version, built, paths)
