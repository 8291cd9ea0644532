"""`pgveil grants`: the in-band commands, at a shell. Each logs in through the proxy as the person, and says it in SQL."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import asyncpg
import click

from proxy.control.connection import FAILURES
from proxy.errors import PgveilError
from proxy.people import for_people


class RefusedByProxy(PgveilError):
    """What the proxy has answered, in its words."""


@click.group()
@click.option(
    "--url",
    envvar="PGVEIL_URL",
    help="The proxy, as postgresql://you@host:port/database; otherwise PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def grants(context: click.Context, url: str | None, as_json: bool) -> None:
    """Ask to see more, and decide about what others ask for (docs/approvals.md)."""
    context.meta["pgveil.url"] = url
    context.meta["pgveil.json"] = as_json


def _run(context: click.Context, text: str, *values: object) -> None:
    url, debug = context.meta["pgveil.url"], bool(context.obj)
    rows = for_people(debug, lambda: asyncio.run(_ask(url, text, values)))
    found = [{k: v.isoformat(" ", "seconds") if isinstance(v, datetime) else v for k, v in row.items()} for row in rows]
    if context.meta["pgveil.json"]:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("nothing")
    for row in found:
        click.echo("\n".join(f"{name:>10}  {value}" for name, value in row.items() if value is not None))
        if len(row) > 4:
            click.echo()


async def _ask(url: str | None, text: str, values: tuple[object, ...]) -> list[asyncpg.Record]:
    try:
        connection = await asyncpg.connect(url, statement_cache_size=0, server_settings={"application_name": "pgveil grants"})
        try:
            rows: list[asyncpg.Record] = await connection.fetch(text, *values)
            return rows
        finally:
            await connection.close()
    except asyncpg.PostgresError as problem:
        raise RefusedByProxy(problem.message or type(problem).__name__, hint=problem.hint) from None
    except (*FAILURES, ValueError) as problem:
        raise RefusedByProxy(f"the proxy cannot be reached: {problem or type(problem).__name__}") from None


@grants.command()
@click.pass_context
def access(context: click.Context) -> None:
    """What you see of each sensitive column, and by which rule."""
    _run(context, "SHOW veil.access")


@grants.command(name="list")
@click.pass_context
def requests(context: click.Context) -> None:
    """Your requests, and those that you may decide about."""
    _run(context, "SHOW veil.requests")


_COLUMNS = click.argument("columns")
_REASON = click.argument("reason")
_DURATION = click.argument("duration")
_ROWS = click.option("--rows", help="Only rows for which this holds, such as 'id = 42'.")
_NUMBER = click.argument("number", type=int)
_NOTE = click.option("--note", help="For the record.")


@grants.command()
@_COLUMNS
@_REASON
@_DURATION
@_ROWS
@click.option("--max-rows", type=int, help="So many rows, and no more.")
@click.pass_context
def request(context: click.Context, columns: str, reason: str, duration: str, rows: str | None, max_rows: int | None) -> None:
    """Ask to see COLUMNS (names, class=…, level<=…) in clear, for REASON and DURATION ('2 hours')."""
    _run(context, "CALL veil.request($1, $2, $3, $4, $5)", columns, reason, duration, rows, max_rows)


@grants.command()
@_COLUMNS
@_REASON
@_DURATION
@_ROWS
@click.pass_context
def break_glass(context: click.Context, columns: str, reason: str, duration: str, rows: str | None) -> None:
    """See COLUMNS at once, and answer for it later."""
    _run(context, "CALL veil.break_glass($1, $2, $3, $4)", columns, reason, duration, rows)


@grants.command()
@_NUMBER
@_NOTE
@click.pass_context
def approve(context: click.Context, number: int, note: str | None) -> None:
    """Say yes to request NUMBER."""
    _run(context, "CALL veil.approve($1, $2)", number, note)


@grants.command()
@_NUMBER
@_NOTE
@click.pass_context
def reject(context: click.Context, number: int, note: str | None) -> None:
    """Say no to request NUMBER."""
    _run(context, "CALL veil.reject($1, $2)", number, note)


@grants.command()
@_NUMBER
@_NOTE
@click.pass_context
def revoke(context: click.Context, number: int, note: str | None) -> None:
    """End what request NUMBER has been granted."""
    _run(context, "CALL veil.revoke($1, $2)", number, note)


@grants.command()
@_NUMBER
@click.pass_context
def proposal(context: click.Context, number: int) -> None:
    """The text of the policy that request NUMBER would put in force."""
    _run(context, "CALL veil.proposal($1)", number)


@grants.command()
@_NUMBER
@click.argument("finding", type=click.Choice(["justified", "unjustified"]))
@_NOTE
@click.pass_context
def review(context: click.Context, number: int, finding: str, note: str | None) -> None:
    """Say what you think of a break-glass."""
    _run(context, "CALL veil.review($1, $2, $3)", number, finding, note)
