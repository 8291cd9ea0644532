"""`pgveil check` and `pgveil explain` on the command line: what a policy would do, asked without a running proxy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from policies.trials import Situation, parse_moment
from proxy.check import check_files, check_live
from proxy.config import load_config
from proxy.explain import explain_live
from proxy.people import for_people
from proxy.reading import policy_paths

_FILE = click.Path(dir_okay=False, path_type=Path)


def config_option(*, required: bool) -> Callable[[Any], Any]:
    return click.option(
        "-c", "--config", "path", required=required, type=_FILE, help="Configuration file (docs/configuration.md)."
    )


def situation_options(command: Any) -> Any:
    """Who asks, from where and when."""
    for option in (
        click.option("--role", "roles", multiple=True, help="A role that it counts as, beside its own. Repeatable."),
        click.option("--database", help="Where it connects. [default: the only one of `databases`, or control.database]"),
        click.option("--application-name", "--app", default="", help="What the client calls itself."),
        click.option("--from", "address", default="", metavar="ADDRESS", help="The client's network address."),
        click.option("--tls", is_flag=True, help="The client's connection is encrypted."),
        click.option("--at", "moment", metavar="TIME", help='When: "2026-11-20T09:00 Asia/Shanghai". [default: now]'),
        click.option(
            "--attribute", "asserted", multiple=True, metavar="NAME=VALUE", help="What the session asserts (SET veil.NAME)."
        ),
        click.option("--known", multiple=True, metavar="NAME=VALUE", help="An attribute as if the table of users had it."),
    ):
        command = option(command)
    return command


def situation_of(
    user: str,
    roles: Sequence[str],
    database: str | None,
    application_name: str,
    address: str,
    tls: bool,
    moment: str | None,
    asserted: Sequence[str],
    known: Sequence[str],
) -> Situation:
    now = parse_moment(moment) if moment is not None else None
    if isinstance(now, str):
        raise click.UsageError(f"--at {moment}: expected {now}")
    return Situation(
        user,
        frozenset(roles),
        database,
        application_name,
        address,
        now,
        _pairs("--known", known),
        _pairs("--attribute", asserted),
        tls,
    )


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    if odd := next((text for text in given if "=" not in text), None):
        raise click.UsageError(f"{option} {odd}: expected NAME=VALUE")
    return dict(text.split("=", 1) for text in given)


@click.command()
@config_option(required=False)
@click.option("--tests", multiple=True, type=_FILE, help="Tests beside those of NAME.test.yaml next to NAME.yaml. Repeatable.")
@click.argument("policy", nargs=-1)
@click.pass_obj
def check(debug: bool, path: Path | None, tests: tuple[Path, ...], policy: tuple[str, ...]) -> None:
    """Check a policy and run its tests. Changes nothing; exits with 1 on errors and failed tests.

    With -c: configuration and policy against the live catalog. With policy files (in their order, standard:NAME among them):
    without a server, as far as that goes.
    """
    if (path is None) == (not policy):
        raise click.UsageError("give either -c CONFIG or policy files")
    if path is not None:
        config = path
        report = for_people(debug, lambda: check_live(load_config(config), tests))
    else:
        report = for_people(debug, lambda: check_files(policy_paths(policy), tests))
    for line in report.lines:
        click.echo(line)
    sys.exit(0 if report.ok else 1)


@click.command()
@config_option(required=True)
@click.option("--as", "user", required=True, metavar="USER", help="The login to explain for.")
@situation_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("what", metavar="SQL|TABLE|COLUMN")
@click.pass_obj
def explain(debug: bool, /, path: Path, as_json: bool, what: str, **given: Any) -> None:
    """Show what a login sees, by which rules, and why the others did not match.

    Of the columns that an SQL statement touches, with what goes to the server; or of schema.table or schema.table.column, with
    wildcards. Nothing is executed.
    """
    situation = situation_of(**given)
    report = for_people(debug, lambda: explain_live(load_config(path), situation, what, as_json=as_json))
    for line in report.lines:
        click.echo(line)
    sys.exit(0 if report.ok else 1)
