"""`pgveil audit`: look at the trail (`tail`) and prove it (`verify`)."""

from __future__ import annotations

import sys
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from policies.document import DocumentError, parse_document
from proxy.audit.anchor import read_anchors
from proxy.audit.keeping import anchors as anchors_command
from proxy.audit.keeping import seal
from proxy.audit.key import load_key
from proxy.audit.record import AuditError
from proxy.audit.tail import Tail, parse, pretty
from proxy.audit.verify import Report, WorkerReport, verify_directory
from proxy.lazy import LazyGroup

if TYPE_CHECKING:
    from proxy.config import AuditSettings

_POLL = 0.25


@click.group(cls=LazyGroup)
def audit() -> None:
    """The audit trail: who asked for what, what was shown, and proof that nothing was changed."""


assert isinstance(audit, LazyGroup)
audit.add_lazily(
    {
        "beside": "proxy.supervision.command:beside",
        "complete": "proxy.completeness.command:complete",
        "replay": "proxy.supervision.command:replay",
        "report": "proxy.inquiry.report.command:report",
        "sink": "proxy.sinks.command:sink",
        "search": "proxy.inquiry.commands:search",
        "watch": "proxy.supervision.command:watch",
        "who": "proxy.inquiry.commands:who",
    }
)


@audit.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the directory from this configuration file.",
)  # fmt: skip
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(min=0), help="Records to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new records until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one JSON object a line.")
def tail(directory: Path | None, config: Path | None, lines: int, follow: bool, as_json: bool) -> None:
    """Show the last records in DIRECTORY, all workers together."""
    trail = Tail(_directory(directory, config))

    def show(line: bytes) -> None:
        if not as_json:
            click.echo(pretty(line))
        elif parse(line) is not None:
            sys.stdout.buffer.write(line + b"\n")
        else:
            click.echo("a line that is not a record was left out; run `pgveil audit verify`", err=True)

    def wait() -> bool:
        sys.stdout.flush()
        time.sleep(_POLL)
        return True

    try:
        for line in trail.last(lines):
            show(line)
        if follow:
            for line in trail.follow(wait):
                show(line)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.ClickException(f"cannot read the trail: {error}") from None


@audit.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take directory and key file from this configuration file.",
)  # fmt: skip
@click.option(
    "--key", "key_files", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
    help="File with the audit key; repeatable, for trails that were written with several.",
)  # fmt: skip
@click.option("--worker", "workers", multiple=True, help="A worker that must have a trail here (repeatable).")
@click.option(
    "--anchors", "anchor_files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of anchors: every head in it must be in the trail (repeatable).",
)  # fmt: skip
@click.option("--keep", help="For how long segments should have been kept, such as 180d; audit.keep with --config.")
def verify(
    directory: Path | None,
    config: Path | None,
    key_files: tuple[Path, ...],
    workers: tuple[str, ...],
    anchor_files: tuple[Path, ...],
    keep: str | None,
) -> None:
    """Check every record in DIRECTORY against the key; name the first bad one of each trail.

    Exit status: 0 when all is intact, 1 when something is wrong, 2 when it cannot be checked.
    """
    if not key_files:
        if config is None:
            raise click.UsageError("name the audit key: --key FILE")
        key_files = (_configured(config)[1],)
    kept = _settings(config).keep if config is not None else None
    if keep is not None:
        try:
            kept = parse_document(keep).duration()
        except DocumentError:
            raise click.UsageError("--keep: a duration such as 180d") from None
    where = _directory(directory, config)
    try:
        keys = [load_key(file) for file in key_files]
        anchors = chain.from_iterable(read_anchors(file, keys) for file in anchor_files)
        report = verify_directory(where, keys, workers, anchors=anchors, keep=kept)
    except AuditError as error:
        raise click.UsageError(error.message) from None
    except OSError as error:
        raise click.UsageError(f"cannot read the trail: {error}") from None
    _print(report, where)
    if not report.ok:
        sys.exit(1)


audit.add_command(seal)
audit.add_command(anchors_command)


def _print(report: Report, directory: Path) -> None:
    for worker in report.workers:
        if worker.problem is None:
            click.echo(f"ok   {worker.worker}: {_summary(worker)}")
        else:
            click.echo(f"BAD  {worker.worker}: {worker.problem}")
            click.echo(f"     records before it that are intact: {worker.records}")
    for stray in report.strays:
        click.echo(f"BAD  {stray}")
    if report.statements:
        click.echo(f"{report.statements} statements of workers and anchors about heads were looked up")
    if not report.workers and not report.strays:
        click.echo(f"BAD  no trail in {directory}")


def _summary(worker: WorkerReport) -> str:
    words = [f"{worker.records} records in {worker.segments} segment{'' if worker.segments == 1 else 's'}"]
    if worker.expired:
        words.append(f"segments up to {worker.expired} have expired, and a record says so")
    words.append("stopped cleanly" if worker.stopped else "no stop record at the end: running, or killed")
    if worker.beyond_head:
        words.append(f"{worker.beyond_head} intact records that the head does not know yet")
    if worker.torn_bytes:
        words.append(f"{worker.torn_bytes} bytes of a record that was never finished")
    return "; ".join(words)


def _directory(directory: Path | None, config: Path | None) -> Path:
    if (directory is None) == (config is None):
        raise click.UsageError("name the trail's DIRECTORY or a configuration file (--config), not both")
    return directory if directory is not None else _configured(config)[0]


def _configured(config: Path | None) -> tuple[Path, Path]:
    assert config is not None
    settings = _settings(config)
    return settings.directory, settings.key_file


def _settings(config: Path) -> AuditSettings:
    from proxy.config import load_config  # the whole configuration is checked only when one is given
    from proxy.errors import ConfigError

    try:
        return load_config(config).audit
    except ConfigError as error:
        raise click.UsageError(error.message) from None
