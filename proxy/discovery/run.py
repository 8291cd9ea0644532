"""One run of `pgveil discover`: scan, compare with the policy's decisions, propose or report drift."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from policies.detect.dictionary import Dictionary, column_key, column_lines, extend_file, new_file, safe
from policies.detect.drift import Current, Drift, Known, drift
from policies.dictionary import Classification, classify
from policies.document import DocumentError, read_text
from policies.language import PUBLIC, UNCLASSIFIED, Policy
from proxy.config import Config
from proxy.discovery import report
from proxy.discovery.sample import Bounds
from proxy.discovery.scan import Progress, Scan, Scanned, scan
from proxy.discovery.settings import Login, check_whole, connected, read_policy, target_of
from proxy.errors import ConfigError
from rewrite.catalog import Relation


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    config: Config | None
    login: Login
    bounds: Bounds
    chosen: Callable[[str, str], bool]
    standard: str | None = None
    output: Path | None = None
    public: bool = False
    form: str = "table"
    save: Path | None = None
    drifting: bool = False
    baseline: Path | None = None
    quiet: bool = False


class Decisions:
    """What the policy says of each column already."""

    def __init__(self, policy: Policy | None, relations: Sequence[Relation]) -> None:
        self.policy = policy
        self.classification = classify(policy, relations) if policy is not None else Classification({})
        self._public = [e.pattern for e in policy.entries if e.data_class == PUBLIC] if policy is not None else []

    def of(self, scanned: Scanned) -> str | None:
        """The class, or public; None when nobody has decided."""
        classified = self.classification.get((scanned.relation.oid, scanned.column.attnum))
        if classified is not None and classified.data_class.name != UNCLASSIFIED:
            return classified.data_class.name
        names = (scanned.found.schema, scanned.found.table, scanned.found.column)
        return PUBLIC if any(p.matches(*names) for p in self._public) else None

    def caught(self, scanned: Scanned) -> bool:
        """`unclassified` of the policy covers the column."""
        return (scanned.relation.oid, scanned.column.attnum) in self.classification

    def dead(self) -> Iterator[tuple[str, str]]:
        """Lines without wildcards that match no column any more."""
        for entry in self.classification.unmatched:
            if entry.pattern.wildcards == 0:
                yield entry.pattern.source, entry.place


def run(options: Options) -> int:
    """Carry the options out; the exit status. Raises PgveilError and OSError."""
    target, database = target_of(options.config, options.login)
    policy, dictionary = read_policy(options.config, options.output, options.standard)
    before = _baseline(options.baseline)

    async def look() -> Scan:
        async with connected(target, database) as connection:
            return await scan(connection, options.bounds, _progress(options.quiet), options.chosen)

    found = asyncio.run(look())
    decisions = Decisions(policy, found.relations)
    if options.save is not None:
        _write(options.save, report.as_baseline(found, _now()))
    if options.drifting:
        columns = [_current(s, decisions) for s in found.columns]
        dead = list(decisions.dead()) if policy is not None else []
        findings = drift(columns, before, dead, policy.classes if policy is not None else ())
        click.echo(_drift_text(findings, found, options.form), nl=False)
        return 1 if findings else 0
    rows = [_row(s, decisions, dictionary) for s in found.columns]
    proposal = _proposal(found, decisions, dictionary, options)
    if options.output is not None:
        check_whole(options.config, options.output, proposal)
        _write(options.output, proposal)
    match options.form:
        case "json":
            text = report.as_json(rows, found)
        case "csv":
            text = report.as_csv(rows)
        case "html":
            text = report.as_html(rows, found)
        case "yaml":
            text = proposal
        case _:
            text = report.as_table(rows, found)
    click.echo(text, nl=False)
    return 0


def _progress(quiet: bool) -> Progress:
    def say(done: int, tables: int, name: str, rows: int) -> None:
        if not quiet:
            print(f"[{done}/{tables}] {safe(name)}: {rows} rows", file=sys.stderr, flush=True)

    return say


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _row(scanned: Scanned, decisions: Decisions, dictionary: Dictionary) -> report.Row:
    decided = decisions.of(scanned)
    finding = scanned.finding
    name = "" if finding is None else dictionary.class_of(finding.kind) or finding.kind
    return report.make_row(scanned, decided, name, "" if finding is None else dictionary.level_of(finding.kind))


def _proposal(found: Scan, decisions: Decisions, dictionary: Dictionary, options: Options) -> str:
    """The text of the dictionary file; of an existing one, with what is new."""
    text, path = "", ""
    if options.output is not None and options.output.exists():
        text, path = read_text(options.output), str(options.output)
    open_columns = [s.found for s in found.columns if decisions.of(s) is None]
    sure, unsure = column_lines(open_columns, dictionary, public=options.public, known=text)
    day = _now()[:10]
    try:
        if text.strip():
            changed = bool(sure or unsure)
            return extend_file(text, path, day, dictionary, sure, unsure) if changed else text
    except DocumentError as error:
        raise ConfigError(str(error)) from None
    columns = sum(not line.lstrip().startswith("#") for line in sure)
    heading = [
        f"Proposed by pgveil discover on {day} for database {safe(found.database)}: {columns} columns.",
        "Confidence and reason stand behind each line. Review them, and put this file into `policy` of the configuration;",
        "what you change here stays: discover only adds columns that nothing in the policy decides.",
        "",
    ]
    return new_file(heading, dictionary, sure, unsure)


def _current(scanned: Scanned, decisions: Decisions) -> Current:
    key = column_key(scanned.found.schema, scanned.found.table, scanned.found.column)
    return Current(key, scanned.column.type_sql, scanned.finding, decisions.of(scanned), decisions.caught(scanned))


def _drift_text(findings: Sequence[Drift], found: Scan, form: str) -> str:
    if form == "json":
        whole = [{"what": f.what, "column": f.column, "detail": f.detail} for f in findings]
        return (
            json.dumps({"database": found.database, "drift": whole, "notes": list(found.unread)}, ensure_ascii=False, indent=1)
            + "\n"
        )
    lines = [str(f) for f in findings]
    lines.append(f"database {safe(found.database)}: {len(found.columns)} columns, {len(findings)} findings")
    return "\n".join([*lines, *(f"note: {safe(u)}" for u in found.unread)]) + "\n"


def _baseline(path: Path | None) -> dict[str, Known] | None:
    if path is None:
        return None
    try:
        return report.read_baseline(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _write(path: Path, text: str) -> None:
    """All or nothing: a reader never sees half a file."""
    directory = path.resolve().parent
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=directory, prefix=path.name, delete=False) as file:
        file.write(text)
    os.chmod(file.name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
    os.replace(file.name, path)
