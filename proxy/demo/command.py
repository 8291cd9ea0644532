"""`pgveil demo`: a sample bank behind a running proxy, in one command, gone again after Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from proxy.demo.embedded import ServerError
from proxy.demo.launch import LaunchError
from proxy.demo.stack import PortTaken, Stack, pick_port, running
from proxy.demo.tour import Surroundings, ask_everybody, instructions, report

DEFAULT_PORT = 6432


@click.command()
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to put everything; kept.")
@click.option("--keep", is_flag=True, help="Do not delete the temporary directory at the end.")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port of the proxy. [default: {DEFAULT_PORT}, if free]")
@click.option("--check", is_flag=True, help="Ask every role the same questions, print the answers, and stop.")
def demo(directory: Path | None, keep: bool, port: int | None, check: bool) -> None:
    """Start PostgreSQL with a sample bank and pgveil in front of it, and print what to type.

    Nothing is installed or changed outside a temporary directory. Ctrl-C stops it and cleans up.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        with _place(directory, keep) as place:
            click.echo(f"Starting PostgreSQL, the sample bank and pgveil in {place} ...")
            with running(place, pick_port(port or DEFAULT_PORT, fixed=port is not None)) as stack:
                click.echo(f"Ready after {time.monotonic() - started:.1f} s.\n")
                _run(stack, check)
    except (LaunchError, PortTaken, ServerError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("\nStopped.")


def _run(stack: Stack, check: bool) -> None:
    if check:
        click.echo(report(ask_everybody(stack.port)))
        return
    click.echo(instructions(_surroundings(stack)))
    click.echo("Ctrl-C stops the demo.")
    stack.proxy.wait()
    raise LaunchError(f"the proxy ended by itself; its log is {stack.directory / 'proxy.log'}")


def _surroundings(stack: Stack) -> Surroundings:
    script = Path(sys.executable).with_name("pgveil")
    return Surroundings(
        port=stack.port,
        psql=stack.psql,
        python=sys.executable,
        pgveil=str(script) if script.exists() else "pgveil",
        config=stack.config,
        policy=stack.policy,
        http_port=stack.http_port,
    )


@contextmanager
def _place(directory: Path | None, keep: bool) -> Iterator[Path]:
    """The demo's directory; a temporary one goes away at the end unless it is to be kept."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.absolute()
        return
    place = Path(tempfile.mkdtemp(prefix="pgveil-demo-"))
    place.chmod(0o755)  # root: the server's own user has to get through
    try:
        yield place
    finally:
        if keep:
            click.echo(f"Kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
