"""The command line: `pgveil serve | check | explain | diff | audit | discover | standards | schema | install | keygen | grants |
demo`.

Errors are one line for a person; `--debug` shows where they come from.
Exit status: 0 fine, 1 a finding or a failure, 2 wrong usage.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from proxy.config import Config, load_config
from proxy.lazy import LazyGroup
from proxy.ledger import Ledger
from proxy.logs import name_process, set_up_logging
from proxy.people import for_people
from proxy.supervise import Place
from proxy.supervise import serve as run_server
from proxy.supervision.keeper import auditor_beside
from proxy.workers import run_workers, worker_config, worker_name

_CONFIG = click.option(
    "-c",
    "--config",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (docs/configuration.md).",
)


@click.group(cls=LazyGroup)
@click.version_option(package_name="pgveil", prog_name="pgveil")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug events.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def cli(context: click.Context, debug: bool, log_format: str) -> None:
    """A data-masking proxy for PostgreSQL."""
    context.obj = debug
    set_up_logging(log_format, debug=debug)


@cli.command()
@_CONFIG
@click.pass_context
def serve(context: click.Context, path: Path) -> None:
    """Run the proxy in the foreground until SIGTERM."""
    debug: bool = context.obj
    config = for_people(debug, lambda: _read(path))
    given = context.parent.params if context.parent is not None else {}
    options = ["--log-format", str(given.get("log_format", "text")), *(["--debug"] if debug else [])]
    with auditor_beside(config, options):
        if config.workers == 1:
            for_people(debug, lambda: run_server(config))
        else:
            sys.exit(for_people(debug, lambda: run_workers(config, options)))


@cli.command(hidden=True)
@_CONFIG
@click.option("--number", type=int, required=True)
@click.option("--port", type=int, required=True)
@click.option("--parent", type=int, required=True, help="File descriptor that leads to the parent process.")
@click.option("--ledger", type=int, required=True, help="File descriptor of the memory that the workers share.")
@click.pass_obj
def serve_worker(debug: bool, path: Path, number: int, port: int, parent: int, ledger: int) -> None:
    """One of the workers of `serve`, which starts it."""
    name = worker_name(number)
    name_process(name)
    place = Place(name, socket.socket(fileno=parent), Ledger(ledger))
    for_people(debug, lambda: run_server(worker_config(_read(path), number, port), place))


assert isinstance(cli, LazyGroup)
cli.add_lazily(
    {
        "audit": "proxy.audit.commands:audit",
        "check": "proxy.asking:check",
        "demo": "proxy.demo.command:demo",
        "diff": "proxy.diff.command:diff",
        "discover": "proxy.discovery.command:discover",
        "explain": "proxy.asking:explain",
        "grants": "proxy.approvals.command:grants",
        "install": "proxy.companion.command:install",
        "keygen": "proxy.companion.command:keygen",
        "schema": "proxy.schema:schema",
        "standards": "proxy.discovery.command:standards",
    }
)


def _read(path: Path) -> Config:
    return load_config(path)


def main() -> None:
    """Entry point of the command `pgveil`."""
    cli(prog_name="pgveil")


if __name__ == "__main__":
    main()
