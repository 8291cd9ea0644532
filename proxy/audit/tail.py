"""Shows records to a person: the last ones of all workers together, and new ones as they come.

Contract: reads only, does not verify (that is `verify`'s job and needs the key), and never lets a record's content
steer the terminal: control characters are shown escaped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from proxy.audit.chain import parse_segment_name, segment_path
from proxy.audit.record import MAX_LINE, Kind
from proxy.audit.recover import segments_of

_BLOCK = 1 << 16


def workers_of(directory: Path) -> list[str]:
    """Workers with at least one segment, sorted."""
    names = (parse_segment_name(name) for name in os.listdir(directory))
    return sorted({name[0] for name in names if name is not None})


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` complete lines, oldest first, read from the end."""
    if count <= 0:
        return []
    with open(path, "rb") as file:
        at = file.seek(0, os.SEEK_END)
        data = b""
        while at > 0 and data.count(b"\n") <= count:
            step = min(_BLOCK, at)
            at -= step
            file.seek(at)
            data = file.read(step) + data
    lines = data.split(b"\n")[:-1]  # what is behind the last newline is not complete yet
    return lines[-count:] if at == 0 or len(lines) > count else lines[1:]


@dataclass(slots=True)
class _Place:
    segment: int
    offset: int
    rest: bytes = field(default=b"")


class Tail:
    """Reads a directory's trails from their present end; `last` first answers what came before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._places: dict[str, _Place] = {}

    def last(self, count: int) -> list[bytes]:
        """The last `count` records of all workers in the order of their times. `new` goes on behind them."""
        found: list[tuple[str, int, int, bytes]] = []
        for rank, worker in enumerate(workers_of(self.directory)):
            numbers = segments_of(self.directory, worker)
            lines: list[bytes] = []
            for number in reversed(numbers):
                path = segment_path(self.directory, worker, number)
                if number == numbers[-1]:
                    self._places[worker] = _Place(number, _complete(path))
                if len(lines) < count:
                    lines = last_lines(path, count - len(lines)) + lines
            latest = ""  # a clock that was set back must not mix up a worker's own order
            for n, line in enumerate(lines):
                latest = max(latest, _time(line))
                found.append((latest, rank, n, line))
        return [line for *_, line in sorted(found)][-count:] if count > 0 else []

    def new(self) -> list[bytes]:
        """Complete records written since the last call, worker by worker."""
        out: list[bytes] = []
        for worker in workers_of(self.directory):
            place = self._places.setdefault(worker, _Place(segments_of(self.directory, worker)[0], 0))
            while True:
                out += self._read(worker, place)
                later = [n for n in segments_of(self.directory, worker) if n > place.segment]
                if not later:
                    break
                out += self._read(worker, place)  # what came between the read and the listing
                place.segment, place.offset, place.rest = later[0], 0, b""
        return out

    def follow(self, wait: Callable[[], bool]) -> Iterator[bytes]:
        """New records for ever; `wait` is called between looks and ends it by answering False."""
        while True:
            yield from self.new()
            if not wait():
                return

    def _read(self, worker: str, place: _Place) -> list[bytes]:
        with open(segment_path(self.directory, worker, place.segment), "rb") as file:
            file.seek(place.offset)
            data = place.rest + file.read()
            place.offset = file.tell()
        lines = data.split(b"\n")
        place.rest = lines.pop()[-MAX_LINE:]
        return lines


def _complete(path: Path) -> int:
    """Offset behind the last newline."""
    with open(path, "rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at > 0:
            step = min(_BLOCK, at)
            file.seek(at - step)
            newline = file.read(step).rfind(b"\n")
            if newline >= 0:
                return at - step + newline + 1
            at -= step
    return 0


def _time(line: bytes) -> str:
    record = parse(line)
    return str(record.get("time", "")) if record is not None else ""


def parse(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None when there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def pretty(line: bytes) -> str:
    """One line of plain text for a person; two for a decision with its outcome, as for the two records that others have."""
    record = parse(line)
    if record is None:
        return "?? not a record: " + safe(line[:200].decode("utf-8", "replace"))
    begin = [str(record.get("time", "?")), f"{record.get('worker', '?')}#{record.get('seq', '?')}"]
    kind = str(record.get("kind", "?"))
    try:
        lines = [_words(kind, record)]
        if kind == Kind.DECISION.value and record.get("seconds") is not None:
            lines.append(_words(Kind.OUTCOME.value, {**record, "decision": record["seq"]}))
    except (AttributeError, KeyError, TypeError, ValueError):
        lines = [[kind, "?? fields are missing"]]
    return "\n".join(safe("  ".join(word for word in (*begin, *words) if word)) for words in lines)


def _words(kind: str, r: dict[str, Any]) -> list[str]:
    who = f"{r.get('login')}@{r.get('database')}"
    where = f"{r.get('client')} {r.get('application') or ''}".strip()
    if kind in (Kind.DECISION.value, Kind.REFUSED.value):
        touches = "; ".join(_by_rule(rule, group) for rule, group in groupby(r["touches"], lambda t: t.get("rule")))
        asserted = ", ".join(f"{name}={value}" for name, value in (r.get("asserted") or {}).items())
        refusal = "" if r["refusal"] is None else f"{r['refusal']['sqlstate']} {r['refusal']['message']}"
        done = f"{r['verdict']} {r['statement'] or 'statement'}"
        return [who, where, asserted and f"({asserted})", done, refusal, f"[{touches}]", r["text"] or ""]
    if kind == Kind.OUTCOME.value:
        result = r["tag"] or f"error {r['sqlstate']}"
        return [f"outcome of #{r['decision']}", result, f"{r['rows']} rows, {r['bytes']} bytes", f"{r['seconds']:.6f} s"]
    if kind in (Kind.LOGIN.value, Kind.LOGOUT.value, Kind.LOGIN_FAILED.value):
        return [kind, who, where, str(r.get("sqlstate") or ""), str(r.get("reason") or "")]
    rest = [f"{k}={v}" for k, v in r.items() if k not in ("v", "seq", "kind", "time", "worker", "mac") and v is not None]
    return [kind, *rest]


def _by_rule(rule: str | None, touches: Iterable[dict[str, Any]]) -> str:
    listed = ", ".join(f"{t['relation']}.{t['column']} {t['use']} {t['show']}" for t in touches)
    return f"{listed} by '{rule}'" if rule else listed


def safe(text: str) -> str:
    """Printable text as it is; everything that could move a cursor or reorder a line escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
