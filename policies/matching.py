"""Does a rule speak of this session and this column? The part of a decision that does not depend on the order of rules."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from policies.approvals import Grant
from policies.dictionary import Classified, ColumnLike, RelationLike
from policies.language import ANY, Rule

NameTests = tuple[Callable[[str], object], ...]


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, from where and when."""

    user: str
    """The login (session_user)."""
    roles: frozenset[str]
    """Every role the login is a direct or indirect member of, itself included."""
    database: str
    application_name: str
    client_address: str | None
    """None for a Unix socket."""
    now: float
    """Unix time."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What is known of the person: for `when`, and for :user.<name> in row predicates."""
    assertable: frozenset[str] = frozenset()
    """What the login may assert of it."""
    commented: frozenset[str] = frozenset()
    """What of that it may also assert in comments."""
    person: str = ""
    """Who it is: the login, or the one that a trusted application acts for."""
    spent: bool = False
    """Whatever would be clear is masked: enough has been seen."""
    subject: str = ""
    """Who counts for grants: see `policies.attributes.subject`."""
    own_roles: frozenset[str] = frozenset()
    """Those of `roles` that the server has given the login; others a trusted application asserts."""
    tls: bool = False
    """The client's connection is encrypted."""
    grants: tuple[Grant, ...] = ()
    """What has been approved for the person in this database."""


def who_differs(rule: Rule, context: Context) -> str | None:
    """None when the rule speaks of this session (times aside), else the first reason why it does not."""
    return next(differences(rule, context), None)


def differences(rule: Rule, context: Context) -> Iterator[str]:
    """Every reason why the rule does not speak of this session (times aside)."""
    if rule.users and context.user not in rule.users:
        yield f"for user {_any(rule.users)}"
    if rule.roles and not rule.roles & context.roles:
        yield f"for members of {_any(rule.roles)}"
    if rule.databases and context.database not in rule.databases:
        yield f"for database {_any(rule.databases)}{_not(context.database)}"
    if rule.applications and not any(fnmatch.fnmatchcase(context.application_name, a) for a in rule.applications):
        yield f"for application_name {_any(rule.applications)}{_not(context.application_name)}"
    if rule.networks and not _inside(rule, context.client_address):
        yield f"for clients in {_any(str(n) for n in rule.networks)}{_not(context.client_address or '')}"
    if rule.tls is not None and rule.tls is not context.tls:
        yield "for encrypted connections" if rule.tls else "for connections that are not encrypted"
    for name, values in rule.claims:
        value = context.attributes.get(name, "")
        if not value or not (value in values or ANY in values):
            yield f"for {name} {'given' if ANY in values else _any(values)}{_not(value)}"


def _not(value: str) -> str:
    return f", not {value}" if value else ""


def _any(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


def _inside(rule: Rule, address: str | None) -> bool:
    if address is None:
        return False
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return any(client in network for network in rule.networks)


class Active:
    """A rule made ready for one session."""

    def __init__(self, rule: Rule, context: Context, differs: str | None = None) -> None:
        self.rule = rule
        self.differs = differs
        """Why the rule does not speak of the session, for `explain`; such rules decide nothing."""
        self.rows = rule.rows.bind(context.attributes) if rule.rows is not None else None
        self.unbound = sorted(rule.rows.attributes - context.attributes.keys()) if rule.rows is not None else []
        self._unknown: dict[int, str | None] = {}

    def rows_unknown(self, relation: RelationLike) -> str | None:
        """Why it cannot be said for which rows of this relation the rule holds; None when it can."""
        if relation.oid not in self._unknown:
            self._unknown[relation.oid] = self._why_rows_unknown(relation)
        return self._unknown[relation.oid]

    def _why_rows_unknown(self, relation: RelationLike) -> str | None:
        if self.unbound:
            return f"the user has no attribute {', '.join(self.unbound)}"
        missing = missing_columns(self.rule, relation)
        return f"{relation.schema}.{relation.name} has no column {', '.join(missing)}" if missing else None


class ActiveRules:
    """The rules of one session in order, and which of them select a column. What repeats is worked out once."""

    def __init__(self, rules: Sequence[Active]) -> None:
        self.rules = rules
        self._by_class: dict[str, frozenset[int]] = {}
        self._by_relation: dict[int, tuple[tuple[int, NameTests], ...]] = {}
        self._by_schema: dict[str, list[tuple[int, Callable[[str], object], Callable[[str], object]]]] = {}
        self._patterns = [(i, s.pattern) for i, a in enumerate(rules) for s in a.rule.columns if s.pattern is not None]

    def selecting(self, relation: RelationLike, column: ColumnLike, classified: Classified) -> list[Active]:
        """The rules that select the column, in order."""
        name = classified.data_class.name
        if name not in self._by_class:
            self._by_class[name] = frozenset(
                i
                for i, active in enumerate(self.rules)
                if any(s.selects_class(classified.data_class) for s in active.rule.columns if s.pattern is None)
            )
        if relation.oid not in self._by_relation:
            self._by_relation[relation.oid] = tuple(self._naming(relation))
        chosen = self._by_class[name]
        named = [
            i for i, tests in self._by_relation[relation.oid] if i not in chosen and any(test(column.name) for test in tests)
        ]
        return [self.rules[i] for i in sorted((*chosen, *named))]

    def _naming(self, relation: RelationLike) -> Iterable[tuple[int, NameTests]]:
        """Rules with name selectors that reach the relation, and their tests of the column's name."""
        if relation.schema not in self._by_schema:
            self._by_schema[relation.schema] = [
                (i, p.parts[1].matcher(), p.parts[2].matcher()) for i, p in self._patterns if p.reaches(relation.schema)
            ]
        tests: dict[int, list[Callable[[str], object]]] = {}
        for i, of_relation, of_column in self._by_schema[relation.schema]:
            if of_relation(relation.name):
                tests.setdefault(i, []).append(of_column)
        return ((i, tuple(t)) for i, t in tests.items())


def missing_columns(rule: Rule, relation: RelationLike) -> list[str]:
    """Names in the rule's row predicate that the relation does not have."""
    if rule.rows is None:
        return []
    left = set(rule.rows.names)
    for column in relation.columns:
        left.discard(column.name)
        if not left:
            return []
    return sorted(left)
