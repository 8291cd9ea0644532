"""`pgveil audit report`: what became of sensitive data in a period, for people, machines and regulators."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path

import click

from proxy.audit.key import load_key
from proxy.audit.verify import verify_directory
from proxy.errors import PgveilError
from proxy.inquiry.commands import Source, for_auditors, source, source_options
from proxy.inquiry.report.figures import Hours, Period

_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


class BadHours(PgveilError):
    """Working hours that nobody can read."""

    sqlstate = "22007"


def read_hours(times: str, days: str) -> Hours:
    """`08:30-18:00` and `mon-fri`, `mon,wed`. Raises BadHours."""
    clock = _CLOCK.fullmatch(times.strip())
    if clock is None:
        raise BadHours(f"not working hours: {times}", hint="for example 08:30-18:00")
    start, end = int(clock[1]) * 60 + int(clock[2]), int(clock[3]) * 60 + int(clock[4])
    if not 0 <= start < end <= 1440 or int(clock[2]) > 59 or int(clock[4]) > 59:
        raise BadHours(f"not working hours: {times}", hint="for example 08:30-18:00")
    found: set[int] = set()
    for part in days.lower().split(","):
        first, _, last = part.strip().partition("-")
        if first not in _NAMES or (last or first) not in _NAMES or _NAMES.index(first) > _NAMES.index(last or first):
            raise BadHours(f"not days of the week: {days}", hint="for example mon-fri or mon,wed,sat")
        found.update(range(_NAMES.index(first), _NAMES.index(last or first) + 1))
    return Hours(start, end, frozenset(found))


@click.command()
@source_options
@click.option("--from", "since", help="First day, or another time: 2026-10-01, 'last month'.")
@click.option("--to", "until", help="Last day, with it.")
@click.option("--month", "--during", "during", help="Both in one: 2026-10, 'last week' … Otherwise the last month.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="New directory for the report.")
@click.option("--hours", default="08:30-18:00", show_default=True, help="Working hours.")
@click.option("--days", default="mon-fri", show_default=True, help="Working days.")
@click.option("--organisation", default="", help="Whose data it is, for the snapshot's head.")
@click.option("--no-verify", is_flag=True, help="Do not verify the trail; the report says so.")
@click.option("--check", "checked", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Make nothing: is the report in this directory as it was made and signed with --key?")  # fmt: skip
@click.pass_obj
def report(
    debug: bool, /, directory: Path | None, config: Path | None, keys: tuple[Path, ...], index: Path | None, timezone: str | None,
    since: str | None, until: str | None, during: str | None, out: Path | None, hours: str, days: str, organisation: str,
    no_verify: bool, checked: Path | None,
) -> None:  # fmt: skip
    """Who saw which sensitive data in clear and under what authority, exemptions, approvals, refusals,
      trends: as HTML with charts, as CSV,
    and as a snapshot for a regulator.

    Exit status: 0 made, 1 it cannot be made or the trail is not intact (the report says so), 2 wrong usage.
    """

    def work() -> None:
        if checked is not None:
            from proxy.inquiry.report.write import check

            click.echo(f"as it was made: {check(checked, list(map(load_key, keys)))}")
            return
        if out is None:
            raise click.UsageError("name a directory for the report: --out DIR")
        where = source(directory, config, keys, index, timezone)
        period = _period(where, since, until, during)
        try:
            _make(where, period, read_hours(hours, days), out, organisation, not no_verify)
        except ModuleNotFoundError as missing:
            raise click.ClickException(f"reports need {missing.name}: pip install 'pgveil[reports]'") from None

    for_auditors(debug, work)


def _make(where: Source, period: tuple[datetime, datetime], hours: Hours, out: Path, organisation: str, verified: bool) -> None:
    from proxy.inquiry.report.figures import collect  # jinja2 and the charts come with pgveil[reports]
    from proxy.inquiry.report.write import Made, check_of, trail_of, with_charts, write

    with where.opened() as connection:
        trail, heads = trail_of(connection)
        figures = collect(connection, Period(*period, where.zone, hours))
    found = verify_directory(where.directory, where.keys) if verified and where.keys else None
    check = check_of(found)
    made = with_charts(Made(figures, check, where.now, where.keys, trail, heads, organisation))
    for path in write(out, made):
        if path.parent == out:
            click.echo(path)
    if found is None or not found.ok:
        click.echo(check.title, err=True)
    if found is not None and not found.ok:
        sys.exit(1)


def _period(where: Source, since: str | None, until: str | None, during: str | None) -> tuple[datetime, datetime]:
    if since is None and until is None:
        return where.span(during or "last month")
    if during is not None:
        raise click.UsageError("--month, or --from and --to")
    if since is None:
        raise click.UsageError("say from when: --from")
    start, end = where.span(since)[0], where.now if until is None else where.span(until)[1]
    if end <= start:
        raise click.UsageError("--to is before --from")
    return start, end
