"""`pgveil discover` and `pgveil standards`: the command-line faces of discovery.

Exit status of discover: 0 done, 1 `--drift` found something, 2 wrong usage; 1 also when the server cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from policies.names import Pattern, split_name
from policies.standards import STANDARDS
from proxy.config import load_config
from proxy.discovery.run import Options, run
from proxy.discovery.sample import Bounds
from proxy.discovery.settings import Login
from proxy.people import for_people

FORMATS = ("table", "json", "yaml", "csv", "html")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("-c", "--config", "path", type=_FILE, help="Configuration file: where the server is, and the policy to complete.")
@click.option("--host", help="The server. [default: upstream.host]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: upstream.port, or 5432]")
@click.option("--database", help="The database to look at.")
@click.option("--user", help="A login that may read the tables. [default: discovery.user]")
@click.option(
    "--password-env", metavar="NAME", help="Environment variable with its password. [default: discovery.password, or PGPASSWORD]"
)
@click.option(
    "--tls", type=click.Choice(["disable", "prefer", "require", "verify-ca", "verify-full"]), help="As libpq's sslmode."
)
@click.option("--ca", type=_FILE, help="Certificates to verify the server with.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Tables to look at: schema.table, with * and ?. Repeatable.")
@click.option("--rows", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Rows to look at per table.")
@click.option("--time", "seconds", type=click.FloatRange(1), default=600, show_default=True, help="Seconds for the whole scan.")
@click.option("--statement-time", type=click.FloatRange(0.1), default=10, show_default=True, help="Seconds for one query.")
@click.option("--foreign", is_flag=True, help="Read foreign tables too.")
@click.option("--standard", type=click.Choice(sorted(STANDARDS)), help="Where new classes come from. [default: jrt-0171]")
@click.option("-o", "--output", type=_FILE, help="Dictionary file to write, or to add to.")
@click.option("--public", is_flag=True, help="Propose `public` for columns that are surely harmless.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="What is printed.")
@click.option("--save", type=_FILE, help="Keep the verdicts, for a later --drift --baseline.")
@click.option(
    "--drift", "drifting", is_flag=True, help="Only say what the policy does not decide and what changed; exit with 1 if any."
)
@click.option("--baseline", type=_FILE, help="What --save kept: with --drift, the scan to compare with.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")
@click.pass_obj
def discover(debug: bool, /, path: Path | None, **given: Any) -> None:
    """Find sensitive columns in a live database and propose a dictionary.

    Reads a bounded sample in read-only transactions. No value is printed, logged or written anywhere.
    """
    sys.exit(for_people(debug, lambda: run(_options(path, given))))


def _options(path: Path | None, given: dict[str, Any]) -> Options:
    """The command line, checked against itself and with the configuration read."""
    if given["baseline"] is not None and not given["drifting"]:
        raise click.UsageError("--baseline goes with --drift")
    if given["drifting"] and given["output"] is not None:
        raise click.UsageError("--drift writes no dictionary: run it without -o")
    if given["drifting"] and given["form"] not in ("table", "json"):
        raise click.UsageError("--drift prints table or json")
    config = load_config(path, for_discovery=True) if path is not None else None
    login = Login(*(given[k] for k in ("host", "port", "user", "database", "password_env", "tls", "ca")))
    bounds = Bounds(given["rows"], given["seconds"], given["statement_time"], foreign=given["foreign"])
    rest = {k: given[k] for k in ("standard", "output", "public", "form", "save", "drifting", "baseline", "quiet")}
    return Options(config, login, bounds, _chooser(given["only"]), **rest)


def _chooser(patterns: tuple[str, ...]) -> Callable[[str, str], bool]:
    made = []
    for text in patterns:
        parts = split_name(text if "." in text else text + ".*")
        if parts is None or len(parts) != 2:
            raise click.UsageError(f"--only {text}: expected schema.table")
        made.append(Pattern(text, parts))
    return lambda schema, table: not made or any(p.matches(schema, table) for p in made)


@click.command()
@click.argument("name", required=False, type=click.Choice(sorted(STANDARDS)))
def standards(name: str | None) -> None:
    """Print the ready classes of a standard, or list the standards.

    A configuration takes them as they are: `policy: [standard:jrt-0171, policy.yaml]`.
    """
    if name is not None:
        click.echo(STANDARDS[name].read_text(encoding="utf-8"), nl=False)
        return
    for known, path in STANDARDS.items():
        first = path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
        click.echo(f"{known:10} {first}")
