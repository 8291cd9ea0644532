"""`pgveil diff`: the command line. Exit status as of diff: 0 the same, 1 different, 2 trouble."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from policies.standards import called
from proxy.asking import config_option, situation_of
from proxy.config import load_config
from proxy.diff.report import Difference, as_json, as_text
from proxy.diff.run import diff_files, diff_live
from proxy.errors import ConfigError, PgveilError
from proxy.reading import policy_paths


@click.command()
@config_option(required=False)
@click.option("--as", "users", multiple=True, metavar="USER", help="Look at this login only. Repeatable. [default: all]")
@click.option("--role", "roles", multiple=True, help="A role that they count as, beside their own. Repeatable.")
@click.option("--json", "as_programs", is_flag=True, help="For programs.")
@click.argument("policies", nargs=-1, required=True, metavar="[OLD] NEW")
@click.pass_obj
def diff(
    debug: bool, /, path: Path | None, users: tuple[str, ...], roles: tuple[str, ...], as_programs: bool, **rest: Any
) -> None:
    """What changes between two policies, for which logins, columns, conditions and hours.

    OLD and NEW are policy files; several that make one policy are joined by commas (standard:jrt-0171,bank.yaml). With -c, every
    login and column of the server is looked at, and OLD may be left out: the policy of the configuration. Exit status:
    0 the same, 1 different, 2 trouble.
    """
    names: tuple[str, ...] = rest["policies"]
    if len(names) != 2 and not (len(names) == 1 and path is not None):
        raise click.UsageError("give OLD and NEW, or NEW and -c CONFIG")
    try:
        difference = _difference(path, names, users, roles)
    except (PgveilError, OSError) as error:
        if debug:
            raise
        click.echo(f"Error: {error.message if isinstance(error, PgveilError) else error}", err=True)
        sys.exit(2)
    if as_programs:
        click.echo(json.dumps(as_json(difference), ensure_ascii=False, indent=1))
    else:
        for line in as_text(difference):
            click.echo(line)
    sys.exit(0 if difference.same else 1)


def _difference(path: Path | None, names: tuple[str, ...], users: tuple[str, ...], roles: tuple[str, ...]) -> Difference:
    files = [policy_paths(name.split(",")) for name in names]
    who = [situation_of(user, roles, None, "", "", False, None, (), ()) for user in users]
    if path is None:
        return diff_files(files[0], files[1], who, time.time())
    config = load_config(path)
    old = files[0] if len(files) == 2 else config.policy
    try:
        return diff_live(config, old, files[-1], who, time.time())
    except ConfigError as error:
        if len(files) == 2 or len(config.policy) == len(files[-1]):
            raise
        names_now = ",".join(called(p) for p in config.policy)
        raise ConfigError(f"{error.message}\nHint: NEW is the whole policy, as {names_now} is now") from None
