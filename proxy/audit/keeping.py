"""`pgveil audit seal`: the proxy goes on without the initial key. `pgveil audit anchors`: what the targets have kept."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from proxy.audit.chain import WORKER
from proxy.audit.custody import seal as seal_worker
from proxy.audit.key import create_whole, load_key
from proxy.errors import ConfigError, PgveilError

_CONFIG = click.option(
    "-c", "--config", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration file.",
)  # fmt: skip


@click.command()
@_CONFIG
@click.option("--worker", "others", multiple=True, help="Another process that writes a trail there (repeatable).")
@click.option("--workers", type=click.IntRange(1, 256), help="For so many workers, instead of the configuration's number.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The key, instead of audit.key_file.")
def seal(path: Path, others: tuple[str, ...], workers: int | None, key: Path | None) -> None:
    """Give every worker a key of its own, so that the audit key can be taken off this host.

    Run it as the user that the proxy runs as. With a new key it prepares the change to it at the next start.
    """
    from proxy.config import load_config
    from proxy.workers import worker_name

    try:
        config = load_config(path)
        key_file = key if key is not None else config.audit.key_file
        initial = load_key(key_file)
        number = workers or config.workers
        names = ["main"] if number == 1 else [worker_name(n + 1) for n in range(number)]
        if config.supervision is not None:
            names.append("auditor")
        for name in dict.fromkeys([*names, *others]):
            if not WORKER.fullmatch(name):
                raise click.UsageError(f"not a worker name: {name!r}")
            apart = config.supervision.directory if config.supervision is not None and name == "auditor" else None
            done = seal_worker(apart or config.audit.directory, name, initial)
            click.echo(f"{name}: {_DONE[done]}")
    except ConfigError as error:
        raise click.UsageError(error.message) from None
    except PgveilError as error:
        raise click.ClickException(f"{error.message}{f' ({error.hint})' if error.hint else ''}") from None
    except OSError as error:
        raise click.ClickException(f"cannot write the state: {error.strerror}") from None
    click.echo(
        f"Now move {key_file} to where trails are verified and searched, keep a copy there, and remove it here:\n"
        f"    shred -u {key_file}\n"
        "The proxy starts and goes on without it. Keep *.state out of backups."
    )


_DONE = {
    "made": "its state is made",
    "kept": "its state is there already",
    "heir": "this key takes over at the next start",
}


@click.command()
@_CONFIG
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A new file for them; standard output without it.")
def anchors(path: Path, out: Path | None) -> None:
    """Fetch the anchors that the targets of the configuration have kept, for `pgveil audit verify --anchors`."""
    from proxy.anchors.targets import AnchorError, place_of
    from proxy.config import load_config

    try:
        targets = load_config(path).audit.anchors
    except ConfigError as error:
        raise click.UsageError(error.message) from None
    if not targets:
        raise click.UsageError("the configuration has no audit.anchors")
    found: dict[bytes, None] = {}
    failed = 0
    for target in targets:
        try:
            lines = asyncio.run(place_of(target).fetch())
        except AnchorError as error:
            failed += 1
            click.echo(f"{target.name}: {error}", err=True)
            continue
        click.echo(f"{target.name}: {len(lines)} anchors", err=True)
        found.update(dict.fromkeys(lines))
    data = b"".join(line + b"\n" for line in found)
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        try:
            create_whole(out, data)
        except OSError as error:
            raise click.ClickException(f"cannot write {out}: {error.strerror or 'it is there already'}") from None
    sys.exit(1 if failed == len(targets) else 0)
