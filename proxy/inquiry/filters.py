"""What somebody looks for, as a condition over `decisions`. Everything given has to hold; of one option given twice, either.

What is said of columns (`table` … `grant`) has to hold of one and the same touch of the statement.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import duckdb

from policies.approvals import GRANT
from policies.language import level_key
from proxy.errors import PgveilError

Text = tuple[str, ...]


class BadFilter(PgveilError):
    """A filter that nobody can read."""

    sqlstate = "22023"


@dataclass(frozen=True, slots=True)
class Filters:
    user: Text = ()
    """Login, person, or whom an application acts for."""
    person: Text = ()
    login: Text = ()
    table: Text = ()
    column: Text = ()
    data_class: Text = ()
    level: str | None = None
    """At least."""
    use: Text = ()
    show: Text = ()
    rule: Text = ()
    grant: tuple[int, ...] = ()
    verdict: Text = ()
    statement: Text = ()
    sqlstate: Text = ()
    client: Text = ()
    application: Text = ()
    database: Text = ()
    since: datetime | None = None
    until: datetime | None = None
    """Not with it."""
    digests: Text = ()
    """Of values that the statement named, in literals or parameters."""
    text: str | None = None
    """A regular expression."""

    @property
    def is_about_columns(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self) if f.name in _OF_TOUCHES)


_OF_TOUCHES = frozenset({"table", "column", "data_class", "level", "use", "show", "rule", "grant"})

Condition = tuple[str, list[object]]
"""SQL with `?`, and what stands there."""


def is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _glob(text: str) -> str:
    """A pattern in which only `*` and `?` mean more than themselves."""
    return text.replace("[", "[[]")


def matches(expression: str, wanted: Iterable[str], tails: str = "") -> Condition:
    """One of `wanted` is the expression's text; with `tails`, or what follows this sign in it."""
    parts: list[str] = []
    values: list[object] = []
    for text in wanted:
        if is_pattern(text):
            parts.append(f"{expression} GLOB ?")
            values.append(_glob(text))
        else:
            parts.append(f"{expression} = ?")
            values.append(text)
        if tails:
            parts.append(f"{expression} GLOB ?" if is_pattern(text) else f"ends_with({expression}, ?)")
            values.append("*" + tails + _glob(text) if is_pattern(text) else tails + text)
    return "(" + " OR ".join(parts) + ")", values


def _all(conditions: Iterable[Condition]) -> Condition:
    texts, values = [], []
    for text, given in conditions:
        texts.append(text)
        values += given
    return " AND ".join(texts) or "true", values


def _in(expression: str, wanted: Sequence[object]) -> Condition:
    return f"{expression} IN ({', '.join('?' * len(wanted))})" if wanted else "false", list(wanted)


def of_touches(connection: duckdb.DuckDBPyConnection, f: Filters) -> Condition:
    """Of a row of `touched`, or of the view `touches`."""
    out: list[Condition] = []
    if f.table:
        out.append(matches("relation", f.table, "."))
    if f.column:
        out.append(matches("target", f.column, "."))
    if f.data_class:
        out.append(matches("class", f.data_class))
    if f.level is not None:
        there = [x for (x,) in connection.execute("SELECT DISTINCT level FROM touched WHERE level IS NOT NULL").fetchall()]
        out.append(_in("level", [x for x in there if level_key(x) >= level_key(f.level)]))
    if f.use:
        out.append(_in('"use"', f.use))
    if f.show:
        out.append(_in('"show"', f.show))
    if f.rule:
        one = matches("rule", f.rule)
        some = matches("x", f.rule)
        out.append((f"({one[0]} OR len(list_filter(others, lambda x: {some[0]})) > 0)", one[1] + some[1]))
    if f.grant:
        one = _in('"grant"', f.grant)
        out.append((f"({one[0]} OR list_has_any(others, ?))", [*one[1], [f"{GRANT}{number}" for number in f.grant]]))
    return _all(out)


def of_decisions(connection: duckdb.DuckDBPyConnection, f: Filters) -> Condition:
    """Of a row of the view `decisions`."""
    out: list[Condition] = []
    if f.is_about_columns:
        text, values = of_touches(connection, f)
        out.append((f"touched IN (SELECT touched FROM touched WHERE {text})", values))
    if f.user:
        one, some = matches("person", f.user, "/"), matches("login", f.user)
        out.append((f"({one[0]} OR {some[0]})", one[1] + some[1]))
    for expression, wanted in (
        ("person", f.person), ("login", f.login), ("verdict", f.verdict), ("application", f.application),
        ("database", f.database),
    ):  # fmt: skip
        if wanted:
            out.append(matches(expression, wanted))
    if f.statement:
        out.append(matches("statement", [s.upper() for s in f.statement]))
    if f.sqlstate:
        one, some = matches("sqlstate", f.sqlstate), matches("refusal_sqlstate", f.sqlstate)
        out.append((f"({one[0]} OR {some[0]})", one[1] + some[1]))
    if f.client:
        out.append(_clients(connection, f.client))
    out += of_period(f.since, f.until)
    if f.digests:
        out.append(('(list_has_any("values", ?) OR list_has_any(binds, ?))', [list(f.digests), list(f.digests)]))
    if f.text is not None:
        try:
            connection.execute("SELECT regexp_matches('', ?)", [f.text]).fetchall()
        except duckdb.Error as error:
            raise BadFilter(f"not a regular expression: {f.text}: {str(error).splitlines()[0]}") from None
        out.append(("regexp_matches(text, ?)", [f.text]))
    return _all(out)


def of_period(since: datetime | None, until: datetime | None, expression: str = "time") -> list[Condition]:
    out: list[Condition] = []
    if since is not None:
        out.append((f"{expression} >= ?::TIMESTAMPTZ", [since.isoformat()]))
    if until is not None:
        out.append((f"{expression} < ?::TIMESTAMPTZ", [until.isoformat()]))
    return out


def _clients(connection: duckdb.DuckDBPyConnection, wanted: Text) -> Condition:
    """Addresses, patterns of addresses, or networks."""
    networks = []
    for text in wanted:
        if "/" in text:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise BadFilter(f"not a network: {text}", hint="for example 10.8.0.0/16") from None
    plain = [text for text in wanted if "/" not in text]
    found: list[object] = []
    if networks:
        for (client,) in connection.execute("SELECT DISTINCT client FROM decision WHERE client IS NOT NULL").fetchall():
            try:
                address = ipaddress.ip_address(client)
            except ValueError:
                continue
            if any(address in network for network in networks):
                found.append(client)
    text, values = matches("client", plain) if plain else ("false", [])
    inside, more = _in("client", found)
    return f"({text} OR {inside})", values + more
