"""Do the SQL expressions of a policy work? Row predicates and `sql` masks, for `pgveil check`.

Two questions. May a policy contain the expression (`rewrite.expression.pin`)? If not, what depends on it shows as NULL. And
does PostgreSQL accept it over columns of these types? If not, every statement that touches the column fails. The second is
asked by preparing a query over NULLs of the same types: nothing runs, and no table is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import asyncpg

from policies.check import Problem
from policies.decide import sensitive
from policies.dictionary import Classification, Classified
from policies.language import Policy, Rule
from policies.masks.base import BaseMask
from policies.matching import Active, ActiveRules, Context, missing_columns
from policies.model import Branch, Decision, Show
from rewrite.catalog import Catalog, Column, Relation
from rewrite.expression import ExpressionError, pin
from rewrite.masks import column_type, decision_sql
from rewrite.pgtree import quote_ident

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Use:
    """One expression where it will stand."""

    place: str
    """file:line."""
    what: str
    """Of which part of the policy, for the message."""
    relation: Relation
    column: str | None
    """None: the predicate of a rule, for all columns of the relation."""
    error: str | None
    """Why no policy may contain it; None: it may."""
    query: str
    """Asks PostgreSQL what it thinks of it; empty with `error`."""

    @property
    def name(self) -> str:
        table = f"{self.relation.schema}.{self.relation.name}"
        return table if self.column is None else f"{table}.{self.column}"


async def expression_problems(
    policy: Policy, classification: Classification, catalog: Catalog, connection: asyncpg.Connection
) -> list[Problem]:
    """The findings, one for each reason and place. Raises what the connection raises when it breaks."""
    found: dict[tuple[str, str], list[str]] = {}
    answers: dict[str, str | None] = {}
    for use in uses(policy, classification, catalog.relations):
        if use.error is not None:
            why = f"{use.what}: {use.error}; shown as NULL"
        else:
            if use.query not in answers:
                answers[use.query] = await _complaint(connection, use.query)
            complaint = answers[use.query]
            if complaint is None:
                continue
            why = f"{use.what}: PostgreSQL does not accept the expression ({complaint}), so statements fail"
        found.setdefault((use.place, why), []).append(use.name)
    return [Problem("error", place, f"{why}: {_list(names)}") for (place, why), names in found.items()]


def uses(policy: Policy, classification: Classification, relations: Mapping[int, Relation]) -> Iterator[Use]:
    """Every expression of the policy with every relation or column that it meets. Nobody's attributes are known here: any
    value has the same type."""
    attributes = {name: "" for rule in policy.rules if rule.rows is not None for name in rule.rows.attributes}
    context = Context("", frozenset(), "", "", None, 0.0, attributes)
    rules = ActiveRules([Active(rule, context) for rule in policy.rules])
    seen: set[tuple[str, int]] = set()
    flat: dict[int, Relation] = {}
    for like, column_like, classified in sensitive(classification, relations):
        relation = flat.setdefault(like.oid, _without_domains(relations[like.oid]))
        column = next(c for c in relation.columns if c.attnum == column_like.attnum)
        if classified.mask.is_expression:
            yield _mask_use(
                _mask_place(classified), f"mask of class '{classified.data_class.name}'", relation, column, classified.mask
            )
        for active in rules.selecting(relation, column, classified):
            rule = active.rule
            if rule.mask is not None and rule.mask.is_expression:
                yield _mask_use(rule.place, f"mask of rule '{rule.name}'", relation, column, rule.mask)
            if active.rows is not None and (rule.name, relation.oid) not in seen:
                seen.add((rule.name, relation.oid))
                if not missing_columns(rule, relation):  # that is a finding of its own
                    yield _rows_use(rule, active.rows, relation)


def _without_domains(relation: Relation) -> Relation:
    """Domains behave as the types under them, and our login may not be allowed to look them up."""
    columns = tuple(replace(c, type_sql=c.base_sql, domain_checked=False) for c in relation.columns)
    return replace(relation, columns=columns)


def _mask_place(classified: Classified) -> str:
    entry = classified.entry
    return entry.place if entry is not None and entry.mask is not None else classified.data_class.place


def _mask_use(place: str, what: str, relation: Relation, column: Column, mask: BaseMask) -> Use:
    names = _names(relation)
    quoted = quote_ident(column.name)
    try:
        pin(mask.sql(quoted, column_type(column)), names, quoted)
    except ExpressionError as error:
        return Use(place, what, relation, column.name, str(error), "")
    decision = Decision("", "", (Branch(None, Show.MASK, mask, None),))
    return Use(place, what, relation, column.name, None, _query(relation, decision_sql(column, decision, names) or "NULL"))


def _rows_use(rule: Rule, rows: str, relation: Relation) -> Use:
    what = f"rows of rule '{rule.name}'"
    try:
        predicate = pin(rows, _names(relation))
    except ExpressionError as error:
        return Use(rule.place, what, relation, None, str(error), "")
    return Use(rule.place, what, relation, None, None, _query(relation, f"CASE WHEN {predicate} THEN 1 END"))


def _names(relation: Relation) -> dict[str, str]:
    return {c.name: quote_ident(c.name) for c in relation.columns}


def _query(relation: Relation, expression: str) -> str:
    columns = ", ".join(
        f"NULL::{c.type_sql} AS {quote_ident(c.name)}" for c in relation.columns if quote_ident(c.name) in expression
    )
    return f"SELECT {expression} FROM (SELECT {columns or 'NULL'}) AS r"


async def _complaint(connection: asyncpg.Connection, query: str) -> str | None:
    """What PostgreSQL has against it. What our login may not look up (a type, a function) cannot be judged here."""
    try:
        async with connection.transaction(readonly=True):  # behind a pooler only this stays on one server connection
            await connection.prepare(query, name="")
    except asyncpg.InsufficientPrivilegeError:
        return None
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.FeatureNotSupportedError) as error:
        return str(error.args[0])
    return None


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
