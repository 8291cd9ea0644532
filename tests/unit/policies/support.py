"""Small relations and policies for the tests of `policies`."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

from policies import Context, Policy
from policies.document import parse_document
from policies.load import build_policy
from rewrite.catalog import Column, Relation

CATEGORY = {"text": "S", "bpchar": "S", "varchar": "S", "numeric": "N", "int4": "N", "bool": "B", "date": "D", "jsonb": "U"}


def policy(*texts: str) -> Policy:
    return build_policy([parse_document(dedent(t), f"p{i}.yaml") for i, t in enumerate(texts, 1)], "v1")


def relation(oid: int, name: str, columns: str, *, kind: str = "r", parents: tuple[int, ...] = ()) -> Relation:
    """`relation(1, "bank.customers", "id:int4 phone:text")`."""
    schema, _, table = name.partition(".")
    made = []
    for attnum, column in enumerate(columns.split(), 1):
        label, _, kind_name = column.partition(":")
        base = kind_name or "text"
        category = "A" if base.startswith("_") else CATEGORY[base]
        sql = f"pg_catalog.{base.removeprefix('_')}" + ("[]" if category == "A" else "")
        made.append(Column(attnum, label, 25, -1, sql, sql, base, category))
    return Relation(oid, schema, table, kind, "owner", tuple(made), parents)


@dataclass(frozen=True)
class Who:
    """Builds contexts that differ in what a test is about."""

    user: str = "li"
    roles: tuple[str, ...] = ()
    database: str = "bank"
    application_name: str = "psql"
    client_address: str | None = "10.1.2.3"
    now: float = 1_700_000_000.0

    def context(self, **attributes: str) -> Context:
        return Context(
            self.user,
            frozenset({self.user, *self.roles}),
            self.database,
            self.application_name,
            self.client_address,
            self.now,
            attributes,
        )
