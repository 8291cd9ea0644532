"""`pgveil audit sink sql`: what an administrator runs to make the table of a sink."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.config import load_config
from proxy.people import for_people
from proxy.sinks.settings import TableSink
from proxy.sinks.table import install_sql


@click.group()
def sink() -> None:
    """Copies of the trail elsewhere (audit.sinks)."""


@sink.command("sql")
@click.option(
    "-c", "--config", "path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Configuration file."
)
@click.argument("name")
@click.pass_obj
def print_sql(debug: bool, path: Path, name: str) -> None:
    """Print the SQL that makes the table of the sink NAME, and lets its login write there.

    An administrator of that database runs it: pgveil audit sink sql -c pgveil.yaml NAME | psql …
    """
    config = for_people(bool(debug), lambda: load_config(path))
    found = next((s for s in config.audit.sinks if s.name == name), None)
    if not isinstance(found, TableSink):
        raise click.UsageError(f"audit.sinks has no table of the name {name}")
    click.echo(install_sql(found.schema, found.user), nl=False)
