"""Writes a report: pages for people, CSV files for machines, the snapshot for a regulator, and a manifest that binds them
together.

The manifest's signature is an HMAC under a key derived from the audit key: whoever has that key can tell whether the files
are those that were made. It is dated by this host's clock.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import duckdb
import jinja2
from markupsafe import Markup

from proxy.audit.chain import key_id
from proxy.audit.verify import Report
from proxy.errors import PgveilError
from proxy.inquiry.output import csv_lines, plain, told
from proxy.inquiry.report.charts import draw
from proxy.inquiry.report.figures import Figures, Period, Table

FORMAT = "pgveil usage snapshot 1"
MANIFEST = "manifest.json"
_SECTIONS = {
    "clear": "Sensitive data in clear, and under what authority", "top": "Who saw most", "off_hours": "Outside working hours",
    "exemptions": "Exemptions and approvals", "refusals": "Refusals and failed log-ins", "new": "New in this period",
     "alerts": "Alerts",
    "policies": "Policies in force", "limits": "What this report does not cover",
}  # fmt: skip
_LIMITS = (
    "What went round the proxy is in no trail of it.",
    "The rows of a statement are all its rows: of a column shown in clear for some rows only, nobody knows for how many.",
    "Persons behind an application's login are those whom the application has named.",
    "Times are those of the proxy's host.",
)
_NUMERIC = frozenset({
    "statements", "rows", "people", "times", "refused", "in_clear", "rows_in_clear", "people_who_saw_clear", "most_at_once",
     "values_named",
    "days", "on_weekends", "percent_of_own", "reasons", "number", "records", "bytes", "segments",
})  # fmt: skip


class BadReport(PgveilError):
    """Files that are not those that were made."""

    sqlstate = "XX001"


@dataclass(frozen=True, slots=True)
class Check:
    """What `verify` found."""

    mood: str
    """Of the box it stands in: empty, warn or bad."""
    title: str
    lines: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        return {"": "intact", "warn": "not verified", "bad": "not intact"}[self.mood]


@dataclass(frozen=True, slots=True)
class Tile:
    value: str
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What all pages need to know."""

    figures: Figures
    check: Check
    made: datetime
    keys: Sequence[bytes]
    trail: Mapping[str, object]
    heads: Table
    organisation: str = ""
    charts: Mapping[str, str] = field(default_factory=dict)


def check_of(report: Report | None) -> Check:
    if report is None:
        return Check(
            "warn",
            "The trail was not verified",
            ("Without the audit key nobody can tell whether it is whole. Run pgveil audit verify.",),
        )
    lines = [
        f"{w.worker}: {w.records:,} records" + (f" intact before {w.problem}" if w.problem else " intact") for w in report.workers
    ]
    lines += [str(stray) for stray in report.strays]
    if report.ok:
        return Check("", "The trail is intact: no record was changed, removed, inserted or reordered", tuple(lines))
    return Check("bad", "The trail is NOT intact: what follows may be incomplete or false", tuple(lines or ["there is no trail"]))


def trail_of(connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, object], Table]:
    """What the figures are taken from, and how far each worker's trail reached then."""
    found = connection.execute(
        "SELECT count(*), COALESCE(sum(records), 0)::BIGINT, COALESCE(sum(bad), 0)::BIGINT, min(first), max(last), "
        "list(DISTINCT worker ORDER BY worker) FROM segments"
    ).fetchall()[0]
    keys = [k for (k,) in connection.execute("SELECT DISTINCT key_id FROM other WHERE key_id IS NOT NULL ORDER BY 1").fetchall()]
    names = ("segments", "records", "lines_that_are_no_records", "first", "last", "workers")
    trail = {**dict(zip(names, found, strict=True)), "key_ids": keys}
    rows = connection.execute(
        """SELECT worker, count(*) AS segments, sum(records)::BIGINT AS records, min(first) AS first, max(last) AS last,
          arg_max(number, number) AS last_segment, arg_max(mac, number) AS mac_of_its_last_record FROM segments
            GROUP BY worker ORDER BY worker"""
    )
    columns = tuple(column[0] for column in rows.description or ())
    return trail, Table("trail", "State of the trail", columns, rows.fetchall())


def tiles(figures: Figures, alerts: bool = True) -> list[Tile]:
    t = figures.totals
    out = [
        Tile(f"{t['statements']:,}", f"statements of {t['people']:,} people"),
        Tile(f"{t['in_clear']:,}", f"showed sensitive data in clear, to {t['people_who_saw_clear']:,} people"),
        Tile(f"{t['rows_in_clear']:,}", "rows in these"),
        Tile(f"{t['off_hours']:,}", "of them outside working hours"),
        Tile(f"{t['refused']:,}", "statements refused"),
        Tile(f"{t['grants_used']:,}", f"grants used, for {t['by_grants']:,} of them; {t['never_used']:,} never used"),
        Tile(f"{t['unmasked']:,}", "went on unmasked, unread", t["unmasked"] > 0),
        Tile(f"{t['alerts']:,}", "alerts raised", t["alerts"] > 0),
    ]
    return out


def _grants(table: Table) -> Table:
    """The approvals as a page has room for them."""
    rows = []
    for r in table.records():
        names = [name.strip() for name in str(r["columns"] or "").split(",")]
        shown = ", ".join(name if n == 0 else name.rpartition(".")[2] for n, name in enumerate(names))
        ends = [f"revoked by {told(r['revoked_by'])}"] if r["revoked_by"] else []
        ends += [f"rejected by {told(r['rejected_by'])}"] if r["rejected_by"] else []
        if r["kind"] == "break-glass":
            ends.append(f"reviewed by {told(r['reviewed_by'])}" if r["reviewed_by"] else "not reviewed")
        number = f"{r['request']} (break-glass)" if r["kind"] == "break-glass" else str(r["request"])
        rows.append((number, r["person"], r["reason"], shown, r["approved_by"], r["granted"], r["until"], r["statements"],
            r["rows"],
                     r["outcome"], "; ".join(ends)))  # fmt: skip
    names_of = ("request", "for", "reason", "columns", "approved_by", "from", "until", "statements", "rows", "outcome", "ended")
    return Table(table.name, table.title, names_of, rows, table.note)


def span_of(period: Period) -> str:
    last = period.end - timedelta(microseconds=1)
    return f"{period.start:%Y-%m-%d}" if period.start.date() == last.date() else f"{period.start:%Y-%m-%d} to {last:%Y-%m-%d}"


def _environment() -> jinja2.Environment:
    out = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    out.filters["cell"] = _cell
    out.filters["kind"] = _kind
    out.filters["heading"] = lambda name: str(name).replace("_", " ")
    out.tests["numeric"] = lambda name, table: name in _NUMERIC
    return out


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return told(value) if value not in (None, "", []) else "–"


def _kind(value: object) -> Markup:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Markup(' class="num"')
    if isinstance(value, datetime):
        return Markup(' class="t"')
    return Markup(' class="flag"') if value in ("never used", "used; approval not in this trail") else Markup("")


def _version() -> str:
    try:
        return version("pgveil")
    except PackageNotFoundError:
        return "(not installed)"


def _pages(m: Made) -> dict[str, str]:
    environment = _environment()
    figures, trail = m.figures, m.trail
    period = figures.period
    workers = trail["workers"]
    shared: dict[str, object] = {
        "span": span_of(period), "zone": period.zone, "made": m.made.strftime("%Y-%m-%d %H:%M:%S %z"), "version": _version(),
        "workers": workers or ["no worker"], "check": m.check, "tiles": tiles(figures), "tables": figures.tables,
         "gaps": figures.gaps,
        "grants": _grants(figures.tables["approvals"]),
    }  # fmt: skip
    numbers = {name: n for n, name in enumerate(_SECTIONS, 1)}
    began = figures.began
    report = environment.get_template("report.html.j2").render(
        **shared, charts={name: Markup(m.charts.get(name, "")) for name in ("days", "people", "classes", "hours", "refusals",
            "top_reasons")},
        sections=list(_SECTIONS.items()), titles=_SECTIONS, numbers=numbers, hours=period.hours.text,
        first_record=None if began is None else began.strftime("%Y-%m-%d %H:%M"),
            all_new=began is not None and began >= period.start,
    )  # fmt: skip
    snapshot = environment.get_template("snapshot.html.j2").render(
        **shared, organisation=m.organisation, trail={**trail, "records": f"{trail['records']:,}", "first": told(trail["first"]),
        "last": told(trail["last"])}, heads=m.heads, limits=_LIMITS, signed=bool(m.keys),
        period={"from": f"{period.start:%Y-%m-%d %H:%M}", "until": f"{period.end:%Y-%m-%d %H:%M}"},
    )  # fmt: skip
    return {"report.html": report, "snapshot.html": snapshot}


def snapshot(m: Made) -> dict[str, object]:
    """The regulator's summary, for machines."""
    figures = m.figures
    period = figures.period
    listed = ("usage", "approvals", "unmasked", "refusals", "alerts", "policies")
    return {
        "format": FORMAT, "organisation": m.organisation, "made": m.made, "pgveil": _version(),
        "period": {"from": period.start, "until": period.end, "zone": period.zone, "working_hours": period.hours.text},
        "trail": {**m.trail, "workers": m.heads.records()},
        "verify": {"result": m.check.result, "details": m.check.lines},
        "totals": figures.totals,
        **{name: figures.tables[name].records() for name in listed},
        "not_covered": [{"count": gap.count, "what": gap.what} for gap in figures.gaps] + [{"count": None,
         "what": text} for text in _LIMITS],
    }  # fmt: skip


def write(where: Path, m: Made) -> list[Path]:
    """All files, the manifest last. Raises OSError; nothing that is there is overwritten."""
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(where.iterdir()):
        raise BadReport(f"{where} is not empty", hint="name a new directory")
    (where / "tables").mkdir(mode=0o700)
    texts = _pages(m)
    texts["snapshot.json"] = json.dumps(plain(snapshot(m)), ensure_ascii=False, indent=1) + "\n"
    usage = m.figures.tables["usage"]
    texts["snapshot.csv"] = _csv(usage)
    for table in (*m.figures.tables.values(), m.heads):
        texts[f"tables/{table.name}.csv"] = _csv(table)
    hashes = {}
    for name, text in texts.items():
        data = text.encode("utf-8", "backslashreplace")
        _put(where / name, data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    _put(where / MANIFEST, _manifest(hashes, m))
    return [where / name for name in (*texts, MANIFEST)]


def _csv(table: Table) -> str:
    return "".join(line + "\r\n" for line in csv_lines(table.columns, table.rows))


def _put(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)


def _signature(key: bytes, signed: Mapping[str, object]) -> str:
    text = json.dumps(signed, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    return hmac.digest(hmac.digest(key, b"pgveil audit 1 report", "sha256"), text, "sha256").hex()


def _manifest(hashes: Mapping[str, str], m: Made) -> bytes:
    signed: dict[str, object] = {"format": FORMAT, "made": m.made.isoformat(), "sha256": dict(sorted(hashes.items()))}
    whole = {**signed, "signatures": {key_id(key): _signature(key, signed) for key in m.keys}}
    return json.dumps(whole, indent=1, ensure_ascii=False).encode() + b"\n"


def check(where: Path, keys: Sequence[bytes]) -> str:
    """Whether the files in `where` are those that were made; when. Raises BadReport, OSError."""
    try:
        manifest = json.loads((where / MANIFEST).read_bytes())
        signed = {name: manifest[name] for name in ("format", "made", "sha256")}
        hashes: dict[str, str] = dict(signed["sha256"])
        signatures: dict[str, str] = dict(manifest["signatures"])
    except (ValueError, KeyError, TypeError):
        raise BadReport(f"{MANIFEST} is no manifest of a report") from None
    ours = {key_id(key): key for key in keys}
    common = sorted(set(ours) & set(signatures))
    if not common:
        raise BadReport("the report was not signed with this key")
    if not all(hmac.compare_digest(str(signatures[k]), _signature(ours[k], signed)) for k in common):
        raise BadReport(f"{MANIFEST} was changed: its signature is wrong")
    there = {str(path.relative_to(where)) for path in where.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(set(hashes) | there):
        if name not in hashes:
            raise BadReport(f"{name} is not part of the report")
        if name not in there or hashlib.sha256((where / name).read_bytes()).hexdigest() != hashes[name]:
            raise BadReport(f"{name} was changed or removed")
    return str(signed["made"])


def with_charts(m: Made) -> Made:
    return Made(m.figures, m.check, m.made, m.keys, m.trail, m.heads, m.organisation, draw(m.figures))
