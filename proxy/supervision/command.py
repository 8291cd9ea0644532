"""`pgveil audit watch`: the auditor in the foreground."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from proxy.config import load_config
from proxy.logs import name_process
from proxy.people import for_people
from proxy.supervision.auditor import NAME, run_auditor

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
    for_people(bool(debug), lambda: run_auditor(load_config(path), socket.socket(fileno=parent)))
