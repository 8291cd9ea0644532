"""`pgveil audit complete`: did anybody go round the proxy?"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy.completeness.judge import Finding, Verdict, judge
from proxy.completeness.snapshot import Snapshot, decode
from proxy.completeness.trail import Account, snapshots_in
from proxy.completeness.watch import EVENT, take_with
from proxy.completeness.ways import read_members, read_ways
from proxy.config import Config, load_config
from proxy.control.connection import FAILURES, connect
from proxy.people import for_people
from proxy.session.effects import Pooling
from proxy.supervise import control_target

_SETTLE = 0.5
"""Seconds after which what the server has counted by now is in the trail."""


@dataclass(slots=True)
class _Live:
    """What the server says now."""

    snapshot: Snapshot | None = None
    members: dict[str, set[str]] = field(default_factory=dict)
    ways: list[str] | None = None
    failure: str = ""


def _moment(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("a time such as 2026-11-20 or 2026-11-20T09:00+08:00") from None
    moment = moment if moment.tzinfo is not None else moment.astimezone()
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@click.command()
@click.option(
    "-c", "--config", "path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Configuration file."
)
@click.option("--since", callback=_moment, help="Look at snapshots from this time on only.")
@click.option("--until", callback=_moment, help="And up to this one; the server is not asked then.")
@click.option(
    "--trail", "trails", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The trail of another proxy in front of the same server (repeatable).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def complete(debug: bool, path: Path, since: str | None, until: str | None, trails: tuple[Path, ...], as_json: bool) -> None:
    """Compare the trail with what the server itself has counted, to show that nobody went round the proxy.

    Exit status: 0 nobody, as far as can be told; 1 somebody; 2 it cannot be told.
    """
    sys.exit(for_people(bool(debug), lambda: _run(load_config(path), since, until, trails, as_json)))


def _run(config: Config, since: str | None, until: str | None, trails: Sequence[Path], as_json: bool) -> int:
    directories = [config.audit.directory, *trails]
    live = _Live(failure="not asked") if until is not None else asyncio.run(_ask(config))
    if live.snapshot is not None:
        time.sleep(_SETTLE)
    try:
        snapshots = _recorded(directories, since, until)
        if live.snapshot is not None:
            snapshots.append(live.snapshot)
        snapshots.sort(key=lambda s: s.began)
        if not snapshots:
            raise click.ClickException(
                "there is no snapshot of the server's counters in the trail, and the server cannot be asked"
            )
        account = Account(snapshots, config.server_database)
        for directory in directories:
            account.read(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"cannot read the trail: {error}") from None
    pooled = config.upstream.pooling in (Pooling.SESSION, Pooling.TRANSACTION)
    direct = config.completeness.direct_roles
    findings = judge(snapshots, account, _exempt(config), direct, live.members, _served(config), pooled)
    verdict = _verdict(findings)
    if as_json:
        told = [
            {"verdict": f.verdict.name.lower(), "witness": f.witness, "database": f.database, "text": f.text} for f in findings
        ]
        click.echo(
            json.dumps({"verdict": verdict.name.lower(), "findings": told, "ways": live.ways}, ensure_ascii=False, indent=1)
        )
    else:
        _print(snapshots, account, findings, live, verdict)
    return {Verdict.NONE: 0, Verdict.FOUND: 1, Verdict.UNKNOWN: 2}[verdict]


def _print(snapshots: Sequence[Snapshot], account: Account, findings: Sequence[Finding], live: _Live, verdict: Verdict) -> None:
    click.echo(f"{len(snapshots)} snapshots from {snapshots[0].began} to {snapshots[-1].ended}; {account.records} records")
    for finding in findings:
        click.echo(f"{finding.verdict.value:5} {finding.witness:11} {finding.database}: {finding.text}")
    for way in live.ways or ():
        click.echo(f"way   pg_hba.conf {way}")
    if live.failure:
        click.echo(f"note  the server was not asked now: {live.failure}")
    elif live.ways is None:
        click.echo("note  pg_hba.conf cannot be looked at: the control login may not read pg_hba_file_rules")
    last = {
        Verdict.NONE: "Nobody went round the proxy, as far as the server's counters tell.",
        Verdict.FOUND: "Somebody went round the proxy.",
        Verdict.UNKNOWN: "It cannot be told whether somebody went round the proxy.",
    }
    click.echo(last[verdict])


def _verdict(findings: Sequence[Finding]) -> Verdict:
    verdicts = {f.verdict for f in findings}
    for worst in (Verdict.FOUND, Verdict.UNKNOWN):
        if worst in verdicts:
            return worst
    return Verdict.NONE if findings else Verdict.UNKNOWN


def _recorded(directories: Sequence[Path], since: str | None, until: str | None) -> list[Snapshot]:
    found = [decode(detail) for directory in directories for detail in snapshots_in(directory, EVENT)]
    return [s for s in found if (since is None or s.began >= since) and (until is None or s.ended <= until)]


async def _ask(config: Config) -> _Live:
    live = _Live()
    try:
        connection = await connect(control_target(config), config.control.database)
        try:
            live.snapshot = await take_with(connection, config.audit.directory)
            live.members = await read_members(connection)
            live.ways = await read_ways(connection, {*_exempt(config), *config.completeness.direct_roles})
        finally:
            await connection.close(timeout=1.0)
    except FAILURES as problem:
        live.failure = type(problem).__name__
    return live


def _exempt(config: Config) -> set[str]:
    return {config.control.user, *([config.discovery.user] if config.discovery is not None else ())}


def _served(config: Config) -> Callable[[str], bool]:
    if config.databases is None:
        return lambda name: name not in ("template0", "template1")
    return frozenset(config.databases.values()).__contains__
