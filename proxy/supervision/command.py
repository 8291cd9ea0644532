"""`pgveil audit watch`: the auditor in the foreground."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import click

from policies.document import DocumentError
from policies.load import load_policy
from proxy.audit.tail import safe
from proxy.config import load_config
from proxy.logs import name_process
from proxy.people import for_people
from proxy.supervision.auditor import NAME, run_auditor
from proxy.supervision.replay import Replay

NICE = 10
"""Beside a proxy: who serves goes first, and the auditor catches up when there is time."""
_CONFIG = click.option(
    "-c", "--config", "path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Configuration file."
)


@click.command()
@_CONFIG
@click.pass_obj
def watch(debug: bool, path: Path) -> None:
    """Follow the trail, raise the policy's alerts and deliver them, until SIGTERM.

    `pgveil serve` runs this beside itself when the configuration has a section `supervision`.
    """
    for_people(bool(debug), lambda: run_auditor(load_config(path)))


@click.command(hidden=True)
@_CONFIG
@click.option("--parent", type=int, required=True, help="File descriptor that leads to the process that keeps us.")
@click.pass_obj
def beside(debug: bool, path: Path, parent: int) -> None:
    """The auditor of `serve`, which starts it."""
    name_process(NAME)
    os.nice(NICE)
    for_people(bool(debug), lambda: run_auditor(load_config(path), socket.socket(fileno=parent)))


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--policy", "policies", multiple=True, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file with the alerts to try (repeatable).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def replay(directory: Path, policies: tuple[Path, ...], as_json: bool) -> None:
    """Say which alerts the policy's rules would have raised over the trail in DIRECTORY, by the trail's own clock.

    Nothing is delivered or written. Alerts that the proxy raises at once are in the trail already, and shown as they are.
    Exit status: 0 when the whole trail could be read, 1 when not.
    """
    try:
        alerts = load_policy(policies).alerts
    except DocumentError as error:
        raise click.UsageError(str(error)) from None
    run = Replay(directory, alerts)
    count = 0
    for alarm in run:
        count += 1
        if as_json:
            click.echo(json.dumps(alarm.detail()))
        else:
            held = " (held back)" if alarm.held else ""
            click.echo(
                safe(f"{alarm.time}  {alarm.severity:8}  {alarm.name}{held}: {alarm.text}  [{alarm.first} .. {alarm.last}]")
            )
    click.echo(f"{count} alert{'' if count == 1 else 's'} in {run.records} records", err=True)
    for broken in run.broken:
        click.echo(safe(f"cannot be read on: {broken.worker}: {broken}"), err=True)
    if run.unread:
        click.echo(f"{run.unread} lines are no records; run `pgveil audit verify`", err=True)
    if run.broken or run.unread:
        sys.exit(1)
