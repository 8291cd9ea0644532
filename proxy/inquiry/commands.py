"""`pgveil audit search | who`: questions to the trail, answered from an index of it (docs/audit-search.md)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb

from proxy.audit.chain import key_id
from proxy.audit.commands import _configured
from proxy.audit.key import load_key
from proxy.audit.values import DigestKeys, ValueDigest
from proxy.errors import PgveilError
from proxy.inquiry.filters import BadFilter, Filters, of_decisions
from proxy.inquiry.index import Index
from proxy.inquiry.output import FORMATS, Row, json_text, lines, told
from proxy.inquiry.telling import text_of
from proxy.inquiry.times import Span, local_zone, read_span
from proxy.inquiry.who import Answer, Question, Record, ask, grants_behind, rules_behind

_FIELDS = (
    "worker", "seq", "time", "person", "login", "client", "application", "database", "asserted", "session", "policy", "statement",
    "verdict", "clear", "columns", "rows", "bytes", "seconds", "tag", "sqlstate", "refusal_sqlstate", "refusal_message",
    "on_failure", "text", "text_digest",
)  # fmt: skip
_SHORT = ("time", "person", "client", "application", "statement", "verdict", "columns", "rows", "error", "text")
_ORDERS = {"newest": "time DESC, worker, seq DESC", "oldest": "time, worker, seq", "rows": "rows DESC NULLS LAST, time DESC",
           "slowest": "seconds DESC NULLS LAST, time DESC"}  # fmt: skip
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Source:
    """Which trail, in whose zone."""

    directory: Path
    index: Path | None
    keys: tuple[bytes, ...]
    now: datetime

    @property
    def zone(self) -> str:
        return str(self.now.tzinfo)

    def span(self, text: str) -> Span:
        return read_span(text, self.now)

    @contextlib.contextmanager
    def opened(self, macros: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        """The index, brought up to date."""
        index = Index(self.directory, self.index)
        state = index.update(_progress(), lambda: click.echo("waiting for another process that updates the index", err=True))
        if state.behind:
            click.echo(state.behind, err=True)
        if state.bad:
            click.echo(f"{state.bad} lines of the trail are no records and in no answer: run `pgveil audit verify`", err=True)
        with index.reading(self.zone, macros) as connection:
            yield connection

    def digests(self, connection: duckdb.DuckDBPyConnection, values: tuple[str, ...]) -> tuple[str, ...]:
        """Of the values, with every key. Raises BadFilter when a key is not that of this trail."""
        if not values:
            return ()
        if not self.keys:
            raise BadFilter("values are in the trail as keyed digests", hint="name the audit key: --key FILE")
        there = {k for (k,) in connection.execute("SELECT DISTINCT key_id FROM other WHERE key_id IS NOT NULL").fetchall()}
        given = {key_id(key) for key in self.keys}
        if there and not there & given:
            raise BadFilter("the key is not that of this trail, so no value could be found with it")
        if there - given:
            missing = ", ".join(sorted(there - given))
            click.echo(
                f"segments written with other keys ({missing}) are not searched for the values: give --key for each", err=True
            )
        return tuple(ValueDigest(DigestKeys.of(key).value)(value) for key in self.keys for value in values)


def _progress() -> Callable[[int, int], None]:
    """To standard error, when there is much to read."""
    begun, last = time.monotonic(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if total > 64 << 20 and (now - last > 2 or done == total or last == 0.0):
            last = now
            end = "\n" if done == total or not sys.stderr.isatty() else "\r"
            click.echo(f"indexing: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {now - begun:.0f} s{end}", err=True, nl=False)

    return show


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Those of every command here; `source` collects them."""
    for option in reversed((
        click.argument("directory", required=False, type=_DIRECTORY),
        click.option("-c", "--config", type=_FILE, help="Take directory and key file from this configuration file."),
        click.option("--key", "keys", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
                     help="File with an audit key, to look for values (repeatable: after a change of keys)."),
        click.option("--index", type=click.Path(file_okay=False, path_type=Path),
                     help="Directory for the index; otherwise one below the user's cache directory."),
        click.option("--timezone", metavar="ZONE", help="Zone of times, such as Asia/Shanghai; otherwise this machine's."),
    )):  # fmt: skip
        command = option(command)
    return command


def source(
    directory: Path | None, config: Path | None, keys: tuple[Path, ...], index: Path | None, timezone: str | None
) -> Source:
    if (directory is None) == (config is None):
        raise click.UsageError("name the trail's DIRECTORY or a configuration file (--config), not both")
    if config is not None:
        directory, key_file = _configured(config)
        if not keys and key_file is not None and key_file.exists():
            keys = (key_file,)
    assert directory is not None
    return Source(directory, index, tuple(map(load_key, keys)), datetime.now(local_zone(timezone)))


def values_given(values: tuple[str, ...]) -> tuple[str, ...]:
    """`-` means: one value a line of standard input, so that it stands in no history of commands."""
    out: list[str] = []
    for value in values:
        out += [line.strip() for line in sys.stdin if line.strip()] if value == "-" else [value]
    return tuple(out)


def for_auditors(debug: bool, work: Callable[[], None]) -> None:
    """Run a command; what goes wrong is one line. Exit status 2: wrong usage, 1: it cannot be answered."""
    try:
        work()
    except PgveilError as error:
        if debug:
            raise
        raise click.ClickException(error.message + (f"\nHint: {error.hint}" if error.hint else "")) from None
    except duckdb.Error as error:
        if debug:
            raise
        raise click.ClickException(str(error).strip()) from None
    except OSError as error:
        if debug:
            raise
        raise click.ClickException((f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))) from None


def _several(name: str, text: str, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--{name}", *names, multiple=True, help=text)


@click.command()
@source_options
@_several("user", "Login, person, or whom an application acts for.")
@_several("person", "Whom the session acts for: the login, or login/person.")
@_several("login", "The user who logged in.")
@_several("table", "Table or view touched: schema.table, or table.")
@_several("column", "Sensitive column touched: schema.table.column, or the end of it.")
@_several("class", "Class of sensitive data touched.", "data_class")
@click.option("--level", help="Level of sensitive data touched, at least.")
@_several("use", "How it was used: output, filter, join, group, sort, write, unknown.")
@_several("show", "How it was shown: clear, mask, conditional, deny, raw.")
@_several("rule", "The rule that decided.")
@click.option("--grant", multiple=True, type=int, help="Number of the grant that showed it.")
@_several("verdict", "pass, rewrite or refuse.")
@_several("statement", "Statement class: SELECT, COPY …")
@_several("sqlstate", "SQLSTATE of the error or of the refusal.")
@_several("client", "Network address, or a network such as 10.8.0.0/16.")
@_several("application", "application_name.")
@_several("database", "The database.")
@click.option("--since", help="From then on: 2026-10-31, '2026-10-31 08:15', yesterday, 'last month', 7d …")
@click.option("--until", help="Up to then and with it; the same forms.")
@click.option("--during", help="--since and --until in one: 2026-10, 'last week' …")
@_several("value", "What a literal or parameter said, by its digest (needs the key); - reads it from standard input.", "values")
@click.option("--text", help="Regular expression (RE2) that the statement's text contains.")
@click.option("--order", type=click.Choice(list(_ORDERS)), default="newest", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Statements shown; 0: all.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--sql", help="A SELECT over the views of docs/audit-search.md, in place of the filters.")
@click.pass_obj
def search(
    debug: bool, /, directory: Path | None, config: Path | None, keys: tuple[Path, ...], index: Path | None, timezone: str | None,
    since: str | None, until: str | None, during: str | None, values: tuple[str, ...], order: str, limit: int, form: str,
    sql: str | None, **options: Any,
) -> None:  # fmt: skip
    """Statements in the trail in DIRECTORY that fit all the filters; or the answer to a SELECT of your own.

    Names may hold * and ?. An option given twice means either. The trail is not verified by this: pgveil audit verify.
    """

    def work() -> None:
        where = source(directory, config, keys, index, timezone)
        start, end = _period(where, since, until, during)
        named = values_given(values)
        if sql is not None and (start or end or any(options.values())):
            raise click.UsageError("--sql says everything itself: leave the filters out (--value becomes wanted())")
        with where.opened() as connection:
            digests = where.digests(connection, named)
            if sql is not None:
                _free(connection, sql, digests, form)
                return
            filters = Filters(**options, since=start, until=end, digests=digests)
            _listed(connection, filters, order, limit, form)

    for_auditors(debug, work)


def _period(where: Source, since: str | None, until: str | None, during: str | None) -> tuple[datetime | None, datetime | None]:
    if during is not None:
        if since is not None or until is not None:
            raise click.UsageError("--during, or --since and --until")
        return where.span(during)
    return (None if since is None else where.span(since)[0]), (None if until is None else where.span(until)[1])


def _listed(connection: duckdb.DuckDBPyConnection, filters: Filters, order: str, limit: int, form: str) -> None:
    condition, values = of_decisions(connection, filters)
    by = _ORDERS[order]
    first = f"SELECT * FROM decisions WHERE {condition} ORDER BY {by}" + (f" LIMIT {limit}" if limit else "")
    error = "COALESCE(refusal_sqlstate || ' ' || refusal_message, sqlstate) AS error"
    names = ", ".join(_SHORT if form == "table" else _FIELDS)
    found = connection.execute(
        f"SELECT {names} FROM (SELECT *, {error} FROM ({first})) LEFT JOIN touched_list USING (touched) ORDER BY {by}", values
    )
    shown = _print(found, form)
    if limit and shown == limit:
        total = connection.execute(f"SELECT count(*) FROM decisions WHERE {condition}", values).fetchall()[0][0]
        if total > shown:
            click.echo(f"{shown} of {total} statements shown; --limit 0 shows all", err=True)
    elif form == "table":
        click.echo(f"{shown} statement{'s' * (shown != 1)}", err=True)


def _free(connection: duckdb.DuckDBPyConnection, sql: str, digests: tuple[str, ...], form: str) -> None:
    """One SELECT of somebody's own. The connection is read-only, sees no file and loads nothing."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise BadFilter("--sql takes one SELECT")
    connection.execute(f"CREATE TEMP MACRO wanted() AS {list(digests)}::VARCHAR[]")
    _print(connection.execute(statements[0].query), form)


def _print(found: duckdb.DuckDBPyConnection, form: str) -> int:
    names = [column[0] for column in found.description or ()]
    count = 0

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal count
        while some := found.fetchmany(1000):
            for row in some:
                count += 1
                yield row

    for line in lines(form, names, rows()):
        click.echo(line)
    return count


@click.command()
@source_options
@click.option("--column", "columns", multiple=True, required=True, help="schema.table.column, or the end of it (repeatable).")
@click.option(
    "--value",
    "values",
    multiple=True,
    help="What identifies the customer: phone, ID number, customer number (repeatable); - reads from standard input.",
)
@click.option("--month", "--during", "during", help="When: 2026-10, 'last month', yesterday …")
@click.option("--since", help="From then on.")
@click.option("--until", help="Up to then and with it.")
@click.option("--database", "databases", multiple=True)
@click.option(
    "--shown", type=click.Choice(["clear", "any"]), default="clear", show_default=True, help="any: also what was masked."
)
@click.option("--limit", type=click.IntRange(min=0), default=200, show_default=True, help="Rows of a list; 0: all.")
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
@click.pass_obj
def who(
    debug: bool, /, directory: Path | None, config: Path | None, keys: tuple[Path, ...], index: Path | None, timezone: str | None,
    columns: tuple[str, ...], values: tuple[str, ...], during: str | None, since: str | None, until: str | None,
    databases: tuple[str, ...], shown: str, limit: int, form: str,
) -> None:  # fmt: skip
    """Who saw a column (of one customer) in clear, when, from where, and under what authority?

    Two lists: statements that named the customer, and statements that showed the column without naming anybody. The trail is not
    verified by this: pgveil audit verify.
    """

    def work() -> None:
        where = source(directory, config, keys, index, timezone)
        start, end = _period(where, since, until, during)
        named = values_given(values)
        with where.opened() as connection:
            question = Question(columns, where.digests(connection, named), start, end, shown == "any", databases)
            answer = ask(connection, question)
        if form == "text":
            click.echo("\n\n".join(text_of(answer, question, where.zone, limit)))
        elif form == "json":
            click.echo(json_text(_as_json(answer, question), indent=1))
        else:
            for line in _as_csv(answer):
                click.echo(line)

    for_auditors(debug, work)


def _as_json(answer: Answer, q: Question) -> dict[str, object]:
    return {
        "columns": answer.columns, "since": q.since, "until": q.until, "shown": "any" if q.masked else "clear",
        "named": answer.named, "named_without_rows": answer.empty, "not_named": answer.others, "refused": answer.refused,
        "rules": [{"rule": rule.name, "policies": list(rule.policies)} for rule in answer.rules],
        "grants": answer.grants, "grants_not_in_this_trail": answer.missing_grants,
        "not_covered": [{"count": gap.count, "what": gap.what} for gap in answer.gaps],
    }  # fmt: skip


def _as_csv(answer: Answer) -> Iterator[str]:
    names = (
        "list", "person", "login", "first", "last", "clients", "applications", "target", "show", "rules", "grants",
        "statements", "rows",
    )  # fmt: skip

    def row(kind: str, r: Record, first: object, last: object, clients: object, applications: object, count: object) -> Row:
        behind = rules_behind(r)
        return (
            kind, r["person"], r["login"], first, last, told(clients), told(applications), r["target"], r["show"],
            "; ".join(name or "" for name in behind), " ".join(map(str, grants_behind(r))), count, r["rows"],
        )  # fmt: skip

    named = [row("named", r, r["time"], r["time"], r["client"], r["application"], 1) for r in answer.named]
    others = [row("not named", r, r["first"], r["last"], r["clients"], r["applications"], r["statements"]) for r in answer.others]
    return lines("csv", names, [*named, *others])
