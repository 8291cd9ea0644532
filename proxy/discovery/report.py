"""The findings, for people and programs. Only names, classes, counts and reasons: no value has come this far."""

from __future__ import annotations

import csv
import html
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.detect import PROPOSE
from policies.detect.dictionary import column_key, safe
from policies.detect.drift import Known
from proxy.discovery.scan import Scan, Scanned

FIELDS = ("schema", "table", "column", "type", "class", "level", "confidence", "status", "policy", "rows", "reason")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report."""

    schema: str
    table: str
    column: str
    type: str
    data_class: str
    level: str
    confidence: float | None
    status: str
    """decided, proposed, review, or empty."""
    policy: str
    rows: int
    reason: str

    def cells(self) -> tuple[str, ...]:
        confidence = "" if self.confidence is None else f"{self.confidence:.2f}"
        texts = (
            self.schema,
            self.table,
            self.column,
            self.type,
            self.data_class,
            self.level,
            confidence,
            self.status,
            self.policy,
            str(self.rows),
            self.reason,
        )
        return tuple(safe(t) for t in texts)


def make_row(scanned: Scanned, decided: str | None, data_class: str, level: str) -> Row:
    found, finding = scanned.found, scanned.finding
    status = "decided" if decided is not None else "" if finding is None else "proposed" if finding.proposed else "review"
    reason = finding.reason if finding is not None else ""
    if scanned.note:
        reason = f"{reason} ({scanned.note})" if reason else scanned.note
    return Row(
        found.schema,
        found.table,
        found.column,
        scanned.column.type_sql.removeprefix("pg_catalog."),
        data_class,
        level,
        None if finding is None else finding.confidence,
        status,
        decided or "",
        found.rows,
        reason,
    )


def as_table(rows: Iterable[Row], scan: Scan) -> str:
    """What a person reads first: the columns that need a decision, then the sums."""
    rows = list(rows)
    shown = [r for r in rows if r.status in ("proposed", "review")]
    lines = []
    if shown:
        heads = ("column", "type", "class", "level", "conf", "status", "reason")
        cells = [
            (f"{c[0]}.{c[1]}.{c[2]}", c[3], c[4], c[5], c[6], c[7], c[10])
            for c in (r.cells() for r in sorted(shown, key=lambda r: (r.status != "proposed", r.schema, r.table)))
        ]
        widths = [max(_width(row[i]) for row in [heads, *cells]) for i in range(len(heads) - 1)]
        for row in [heads, *cells]:
            lines.append("  ".join([*(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip())
        lines.append("")
    lines += summary(rows, scan)
    return "\n".join(lines) + "\n"


def _width(text: str) -> int:
    """Places on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def summary(rows: Sequence[Row], scan: Scan) -> list[str]:
    count = {s: sum(r.status == s for r in rows) for s in ("decided", "proposed", "review", "")}
    lines = [
        f"database {safe(scan.database)}: {scan.tables} tables, {len(rows)} columns, {scan.rows} rows looked at",
        f"{count['proposed']} columns proposed as sensitive, {count['review']} to be reviewed (confidence below {PROPOSE:.2f}), "
        f"{count['decided']} decided by the policy, {count['']} without a finding",
    ]
    return lines + [f"note: {safe(u)}" for u in scan.unread]


def as_json(rows: Iterable[Row], scan: Scan) -> str:
    columns = [
        {
            "schema": r.schema,
            "table": r.table,
            "column": r.column,
            "type": r.type,
            "class": r.data_class or None,
            "level": r.level or None,
            "confidence": r.confidence,
            "status": r.status or None,
            "policy": r.policy or None,
            "rows": r.rows,
            "reason": r.reason or None,
        }
        for r in rows
    ]
    whole = {"database": scan.database, "tables": scan.tables, "rows": scan.rows, "notes": list(scan.unread), "columns": columns}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def as_csv(rows: Iterable[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(FIELDS)
    for row in rows:
        writer.writerow([_harmless_cell(c) for c in row.cells()])
    return out.getvalue()


def _harmless_cell(text: str) -> str:
    """Spreadsheets take cells that begin like this for formulas, and names of columns are not ours."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:4px 10px;border-bottom:1px solid #ddd;vertical-align:top}th{background:#f4f4f4}"
    ".proposed td:nth-child(8){color:#b00020;font-weight:600}.review td:nth-child(8){color:#8a5a00}"
)


def as_html(rows: Iterable[Row], scan: Scan) -> str:
    """One page, nothing loaded from elsewhere."""
    rows = list(rows)
    body = "".join(
        f'<tr class="{r.status}">' + "".join(f"<td>{html.escape(c)}</td>" for c in r.cells()) + "</tr>\n" for r in rows
    )
    head = "".join(f"<th>{f}</th>" for f in FIELDS)
    said = "".join(f"<p>{html.escape(line)}</p>\n" for line in summary(rows, scan))
    title = html.escape(f"Sensitive columns of {safe(scan.database)}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>"
        f"<h1>{title}</h1>\n{said}<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></body></html>\n"
    )


def as_baseline(scan: Scan, taken: str) -> str:
    """What `--drift` compares with next time: names, types and verdicts."""
    columns = {
        column_key(s.found.schema, s.found.table, s.found.column): {
            "type": s.column.type_sql,
            "kind": s.finding.kind if s.finding is not None and s.finding.proposed else None,
            "confidence": s.finding.confidence if s.finding is not None else 0.0,
        }
        for s in scan.columns
    }
    return (
        json.dumps({"version": 1, "database": scan.database, "taken": taken, "columns": columns}, ensure_ascii=False, indent=1)
        + "\n"
    )


def read_baseline(text: str) -> dict[str, Known]:
    """The columns of a kept scan. Raises ValueError when the text is none."""
    try:
        whole = json.loads(text)
        if whole["version"] != 1:
            raise ValueError("a file of another version")
        return {k: Known(str(c["type"]), c["kind"], float(c["confidence"])) for k, c in whole["columns"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a file that --save wrote") from error
