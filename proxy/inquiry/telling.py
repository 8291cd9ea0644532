"""The answer to `pgveil audit who` as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from proxy.inquiry.output import table, told
from proxy.inquiry.who import Answer, Question, Record, Rule, rules_behind


def short(moment: object) -> str:
    """To the second; the zone stands at the top."""
    return moment.strftime("%Y-%m-%d %H:%M:%S") if isinstance(moment, datetime) else told(moment)


def how(row: Record) -> str:
    out = {"conditional": "clear for some rows", "mask": "masked"}.get(str(row["show"]), told(row["show"]))
    return out + " (named before)" if row.get("by_name") else out


def period(since: datetime | None, until: datetime | None, zone: str) -> str:
    if since is None and until is None:
        return "at any time"
    start = "the beginning" if since is None else since.strftime("%Y-%m-%d %H:%M")
    end = "now" if until is None else until.strftime("%Y-%m-%d %H:%M")
    return f"from {start} to {end} ({zone})"


def text_of(answer: Answer, q: Question, zone: str, most: int) -> Iterator[str]:
    """Paragraphs. `most`: rows of a list; 0: all."""
    what = "in clear or masked" if q.masked else "in clear"
    yield f"Who saw {', '.join(answer.columns) or ', '.join(q.columns)} {what}, {period(q.since, q.until, zone)}"
    if not answer.columns:
        yield "No statement in this trail has touched such a column. Is the name right (schema.table.column)?"
        return
    label = _Labels(answer)
    if q.digests:
        yield from _named(answer, most, label)
    yield from _others(answer, q, most, label)
    if answer.refused:
        yield "Named the customer and were refused:\n" + table(
            ("person", "statements", "first", "last", "why"),
            [(r["person"], r["statements"], short(r["first"]), short(r["last"]), r["reasons"]) for r in answer.refused],
            indent="  ",
        )  # fmt: skip
    yield from _authorities(answer)
    if answer.gaps:
        yield "Not covered:\n" + "\n".join(f"  {gap.count} {gap.what}" for gap in answer.gaps)


def _cut(count: int, most: int) -> str:
    return f"\n  … {count - most} more (--limit 0 shows all)" if most and count > most else ""


def _people(rows: Sequence[Record]) -> str:
    count = len({row["person"] for row in rows})
    return f"{count} {'person' if count == 1 else 'people'}"


class _Labels:
    """Rules have long names: lists say [1], and what that is stands below. Grants have short ones."""

    def __init__(self, answer: Answer) -> None:
        self._of = {rule.name: f"[{n}]" for n, rule in enumerate(answer.rules, 1)}

    def __call__(self, row: Record) -> str:
        return ", ".join(self._of.get(name, told(name)) for name in rules_behind(row))


def _named(answer: Answer, most: int, label: _Labels) -> Iterator[str]:
    statements = len({(row["worker"], row["seq"]) for row in answer.named})
    head = f"1. Named the customer, and gave rows: {statements} statement{'s' * (statements != 1)} of {_people(answer.named)}"
    if answer.empty:
        head += f" ({answer.empty} more found no row)"
    rows = [
        (short(r["time"]), r["person"], r["client"], r["application"], r["rows"], how(r), label(r), f"{r['worker']}#{r['seq']}")
        for r in (answer.named[:most] if most else answer.named)
    ]
    if rows:
        head += "\n" + table(("time", "person", "client", "application", "rows", "shown", "under", "record"), rows, indent="  ")
    yield head + _cut(len(answer.named), most)


def _others(answer: Answer, q: Question, most: int, label: _Labels) -> Iterator[str]:
    head = "2. Gave rows without naming the customer, who may be among them: " if q.digests else "Gave rows: "
    head += _people(answer.others)
    rows = [
        (r["person"], r["statements"], r["rows"], short(r["first"]), short(r["last"]), r["clients"], r["applications"], how(r),
         label(r), *([r["in_naming_sessions"]] if q.digests else []))
        for r in (answer.others[:most] if most else answer.others)
    ]  # fmt: skip
    if rows:
        names = ["person", "statements", "rows", "first", "last", "clients", "applications", "shown", "under"]
        head += "\n" + table([*names, *(["in sessions that named"] if q.digests else [])], rows, indent="  ", widest=40)
    yield head + _cut(len(answer.others), most)


def _authorities(answer: Answer) -> Iterator[str]:
    parts = [*(_rule(n, rule) for n, rule in enumerate(answer.rules, 1)), *map(grant_text, answer.grants)]
    parts += [
        f"  grant {number}: its approval is in no record here (given before this trail, or by another proxy)"
        for number in answer.missing_grants
    ]
    if parts:
        yield "Under what authority:\n" + "\n".join(parts)


def _rule(number: int, rule: Rule) -> str:
    name = "the class's own mask" if rule.name is None else f"rule '{told(rule.name)}'"
    out = [f"  [{number}] {name}, by"]
    for p in rule.policies:
        if p["since"] is None:
            force = "when it came into force is in no record here"
        else:
            force = f"in force from {short(p['since'])} to {short(p['until']) or 'now'}, from {told(p['files'])}"
        out.append(f"    policy {told(p['policy'])}: {p['statements']} statements; {force}")
    return "\n".join(out)


def grant_text(g: Record) -> str:
    """A grant and its story."""
    kind = "break-glass" if g["kind"] == "break-glass" else "grant"
    asked = (
        f"asked for by {told(g['asked_by'])} at {short(g['asked'])}"
        if g["asked"] is not None
        else "asked for before this trail begins"
    )
    out = [
        f"  {kind} {g['request']} for {told(g['person'])}: {asked}, reason: {told(g['reason']) or 'not known'}",
        f"    columns: {told(g['columns'])}",
    ]
    if g["some_rows"]:
        out[-1] += " (some rows)"
    if g["max_rows"] is not None:
        out[-1] += f" (at most {g['max_rows']} rows)"
    if kind == "break-glass":
        out.append(f"    taken at once, until {short(g['until'])}")
        looked = (
            f"reviewed by {told(g['reviewed_by'])} at {short(g['reviewed'])}"
            if g["reviewed"] is not None
            else "not reviewed in this trail"
        )
        out.append(f"    {looked}")
    else:
        names = told(g["approved_by"]) or "nobody in this trail"
        out.append(f"    approved by {names} at {short(g['granted'])}, until {short(g['until'])}")
    if g["revoked"] is not None:
        out.append(f"    revoked by {told(g['revoked_by'])} at {short(g['revoked'])}")
    if g["notes"]:
        out.append(f"    notes: {told(g['notes'])}")
    return "\n".join(out)
