"""What is wrong with a policy once it meets a database: the findings of `pgveil check`.

An error means that people see something other than the policy says (always less, never more); a warning means that a line
of the policy does nothing, or less than it seems to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from policies.decide import can_filter, column_type, sensitive
from policies.dictionary import Classification, Classified, ColumnLike, RelationLike, Relations, listed
from policies.document import suggest
from policies.filters import FilterKind
from policies.language import UNCLASSIFIED, Policy, Rule, Selector, SelectorKind
from policies.masks.base import BaseMask
from policies.matching import missing_columns
from policies.model import Show
from policies.names import Pattern

_LISTED = 5
Sensitive = tuple[RelationLike, ColumnLike, Classified]


@dataclass(frozen=True, slots=True)
class Problem:
    severity: str
    """error or warning."""
    place: str
    """file:line."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message}"


def problems(
    policy: Policy,
    classification: Classification,
    relations: Relations,
    roles: Collection[str] | None = None,
) -> list[Problem]:
    """All findings. `roles` are the role names of the server; None: not known, so not checked."""
    columns = list(sensitive(classification, relations))
    out = [Problem("warning", o.place, f"{o.what} replaces {o.replaced}") for o in policy.overrides]
    near = Near(relations)
    for entry in classification.unmatched:
        source = entry.pattern.source
        out.append(Problem("warning", entry.place, f"{source} matches no column of a table{near.column(entry.pattern)}"))
    out += _unused_classes(policy)
    out += _unsuitable_defaults(columns)
    out += _unsuitable_filters(columns)
    out += _approvals(policy, columns, near, roles)
    for number, rule in enumerate(policy.rules):
        mine = [c for c in columns if any(_selects(s, c) for s in rule.columns)]
        out += _selectors(policy, rule, columns, near)
        out += _unsuitable_mask(rule, mine)
        out += _rows(rule, mine)
        out += _conditions(rule, roles)
        out += _attributes(policy, rule)
        shadow = _shadow(policy.rules[:number], rule, mine)
        if shadow is not None:
            out.append(Problem("warning", rule.place, f"rule '{rule.name}' is never reached: '{shadow.name}' comes before it"))
    return out


def _selects(selector: Selector, item: Sensitive) -> bool:
    relation, column, classified = item
    if selector.kind is SelectorKind.NAME:
        return selector.pattern is not None and selector.pattern.matches(relation.schema, relation.name, column.name)
    return selector.selects_class(classified.data_class)


def _unused_classes(policy: Policy) -> Iterator[Problem]:
    used = {e.data_class for e in policy.entries}
    named = {s.value for r in policy.rules for s in r.columns if s.kind is SelectorKind.CLASS}
    for data_class in policy.classes.values():
        if data_class.name not in used and data_class.name in named:
            yield Problem("warning", data_class.place, f"class '{data_class.name}' has rules but no columns")


def _unsuitable_defaults(columns: list[Sensitive]) -> Iterator[Problem]:
    found: dict[tuple[str, str], list[str]] = {}
    for relation, column, classified in columns:
        why = classified.mask.accepts(column_type(column))
        if why is None:
            continue
        entry = classified.entry
        place = entry.place if entry is not None and entry.mask is not None else classified.data_class.place
        found.setdefault((place, why), []).append(_name(relation, column))
    for (place, why), names in found.items():
        yield Problem("error", place, f"{why}; shown as NULL: {_list(names)}")


def _unsuitable_filters(columns: list[Sensitive]) -> Iterator[Problem]:
    found: dict[str, list[str]] = {}
    for relation, column, classified in columns:
        entry = classified.entry
        if entry is not None and entry.filters.kind is FilterKind.EQUALITY and not can_filter(column):
            found.setdefault(entry.place, []).append(_name(relation, column))
    for place, names in found.items():
        what = f"filters: equality is not possible on the type or collation of {_list(names)}: masked values are compared"
        yield Problem("error", place, what)


def _unsuitable_mask(rule: Rule, mine: list[Sensitive]) -> Iterator[Problem]:
    mask: BaseMask | None = rule.mask
    if mask is None:
        return
    found: dict[str, list[str]] = {}
    for relation, column, _ in mine:
        why = mask.accepts(column_type(column))
        if why is not None:
            found.setdefault(why, []).append(_name(relation, column))
    for why, names in found.items():
        yield Problem("error", rule.place, f"rule '{rule.name}': {why}; shown as NULL: {_list(names)}")


def _selectors(policy: Policy, rule: Rule, columns: list[Sensitive], near: Near) -> Iterator[Problem]:
    for selector in rule.columns:
        if selector.kind is SelectorKind.ALL or any(_selects(selector, c) for c in columns):
            continue
        if selector.kind is SelectorKind.CLASS and selector.value == UNCLASSIFIED and policy.unclassified is not None:
            continue  # there is none now, and it is there for the day when there is
        known = {c.level for c in policy.classes.values()} | {UNCLASSIFIED}
        what = "names no sensitive column"
        if selector.pattern is not None:
            what += near.column(selector.pattern)
        if selector.kind is SelectorKind.LEVEL and selector.value not in known:
            levels = ", ".join(sorted(known - {UNCLASSIFIED}))
            what = f"names a level that no class has (there are {levels}){suggest(selector.value, known)}"
        yield Problem("warning", rule.place, f"rule '{rule.name}': {selector.source} {what}")


def _approvals(policy: Policy, columns: list[Sensitive], near: Near, roles: Collection[str] | None) -> Iterator[Problem]:
    """Columns that nobody can ask for, and roles that nobody can have."""
    for approval in policy.approvals:
        for selector in approval.columns:
            if selector.kind is SelectorKind.ALL or any(_selects(selector, c) for c in columns):
                continue
            what = near.column(selector.pattern) if selector.pattern is not None else ""
            yield Problem("warning", approval.place, f"approvals: {selector.source} names no sensitive column{what}")
        asked = approval.approvers | approval.requesters | (approval.glass.roles if approval.glass is not None else frozenset())
        yield from _unknown_roles("approvals", approval.place, asked, roles)
    if policy.changes is not None:
        yield from _unknown_roles("policy_changes", policy.changes.place, policy.changes.approvers, roles)


def _unknown_roles(what: str, place: str, asked: Collection[str], roles: Collection[str] | None) -> Iterator[Problem]:
    for name in sorted(set(asked) - set(roles)) if roles is not None else ():
        yield Problem("warning", place, f"{what}: the server has no role '{name}'{_near(name, roles or ())}")


def _rows(rule: Rule, mine: list[Sensitive]) -> Iterator[Problem]:
    seen: set[int] = set()
    for relation, _, _ in mine:
        missing = missing_columns(rule, relation) if relation.oid not in seen else []
        seen.add(relation.oid)
        if missing:
            name, names = f"{relation.schema}.{relation.name}", _names_missing(missing, relation)
            effect = {Show.CLEAR: "grants nothing there", Show.DENY: "denies every row there"}.get(
                rule.show, "has no effect there" if rule.mask is not None else "masks every row there"
            )
            yield Problem(
                "warning",
                rule.place,
                f"rule '{rule.name}' {effect}: {name} has no column {names}",
            )


def _conditions(rule: Rule, roles: Collection[str] | None) -> Iterator[Problem]:
    if roles is not None:
        for name in sorted((rule.roles | rule.users) - set(roles)):
            yield Problem("warning", rule.place, f"rule '{rule.name}': the server has no role '{name}'{_near(name, roles)}")
    alone = rule.applications and not (rule.roles or rule.users or rule.networks)
    if alone and rule.show is Show.CLEAR:
        yield Problem(
            "warning",
            rule.place,
            f"rule '{rule.name}' shows data to whoever calls itself {' or '.join(rule.applications)}: "
            "any client can set application_name; add a role or network",
        )


def _attributes(policy: Policy, rule: Rule) -> Iterator[Problem]:
    """Attributes in `rows` that nobody can have; those in `when` are refused when the policy is read."""
    declared = policy.attributes.declared
    if rule.rows is None or declared is None:
        return
    for name in sorted(rule.rows.attributes - declared):
        yield Problem("warning", rule.place, f"rule '{rule.name}': nobody has an attribute '{name}'{suggest(name, declared)}")


def people_problems(policy: Policy, relations: Relations) -> list[Problem]:
    """Of the table of users, in the database where it should be."""
    table = policy.attributes.table
    if table is None:
        return []
    found = next((r for r in listed(relations) if (r.schema, r.name) == (table.schema, table.relation)), None)
    name = f"{table.schema}.{table.relation}"
    if found is None:
        near = _near(name, [f"{r.schema}.{r.name}" for r in listed(relations)])
        return [Problem("error", table.place, f"the table of users: there is no table {name}{near}; no session goes on")]
    columns = [c.name for c in found.columns]
    out = []
    if table.login not in columns:
        what = f"{name} has no column {table.login}{_near(table.login, columns)}"
        out.append(Problem("error", table.place, f"the table of users: {what}; no session goes on"))
    for attribute in sorted((table.names or frozenset()) - set(columns)):
        what = f"{name} has no column {attribute}{_near(attribute, columns)}: nobody has it"
        out.append(Problem("warning", table.place, f"the table of users: {what}"))
    return out


def database_problems(policy: Policy, names: Collection[str]) -> list[Problem]:
    """Databases that rules name, of those that there are."""
    return [
        Problem("warning", rule.place, f"rule '{rule.name}': there is no database '{name}'{_near(name, names)}")
        for rule in policy.rules
        for name in sorted(rule.databases - set(names))
    ]


def _names_missing(missing: list[str], relation: RelationLike) -> str:
    names = [c.name for c in relation.columns]
    return ", ".join(f"{name}{_near(name, names)}" for name in missing)


def _near(name: str, names: Iterable[str]) -> str:
    """In a catalog there are many names: nearer than in a list of words."""
    return suggest(name, names, 0.7)


class Near:
    """Names of the live catalog that are near to one that is not there."""

    def __init__(self, relations: Relations) -> None:
        self._columns: dict[str, dict[str, list[str]]] = {}
        for relation in listed(relations):
            names = [c.name for c in relation.columns]
            self._columns.setdefault(relation.schema, {})[relation.name] = names

    def column(self, pattern: Pattern) -> str:
        """Looks at the first part that is not there; nothing for patterns."""
        if pattern.wildcards:
            return ""
        schema, table, column = (p.text for p in pattern.parts)
        tables = self._columns.get(schema)
        if tables is None:
            return f": there is no schema {schema}{_near(schema, self._columns)}"
        if table not in tables:
            return f": there is no table {schema}.{table}{_near(table, tables)}"
        if column not in tables[table]:
            return f": there is no column {column}{_near(column, tables[table])}"
        return ""


def _shadow(earlier: tuple[Rule, ...], rule: Rule, mine: list[Sensitive]) -> Rule | None:
    """The first earlier rule with which every column of this rule is taken already."""
    if not mine:
        return None
    left = list(mine)
    for other in earlier:
        if not _covers(other, rule):
            continue
        left = [c for c in left if not any(_selects(s, c) for s in other.columns)]
        if not left:
            return other
    return None


def _covers(other: Rule, rule: Rule) -> bool:
    """Whenever `rule` speaks of a session, `other` does too, for every row."""

    def wider(mine: Collection[object], theirs: Collection[object]) -> bool:
        return not mine or (bool(theirs) and set(theirs) <= set(mine))

    return (
        other.rows is None
        and wider(other.roles, rule.roles)
        and wider(other.users, rule.users)
        and wider(other.databases, rule.databases)
        and wider(other.applications, rule.applications)
        and wider(other.networks, rule.networks)
        and other.tls in (None, rule.tls)
        and other.schedule in (None, rule.schedule)
        and set(other.claims) <= set(rule.claims)
    )


def _name(relation: RelationLike, column: ColumnLike) -> str:
    return f"{relation.schema}.{relation.name}.{column.name}"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
