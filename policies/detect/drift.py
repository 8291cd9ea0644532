"""What has changed since the last look, and what the policy has not decided: for cron."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policies.detect.combine import Finding
from policies.detect.dictionary import class_for, safe
from policies.detect.kinds import KINDS

_NEAR = (
    frozenset({"account", "card_no", "iban"}),
    frozenset({"id_card", "national_id", "passport", "permit"}),
    frozenset({"profile", "free_text"}),
    frozenset({"amount", "balance", "salary"}),
)
"""Kinds that people class either way."""


@dataclass(frozen=True, slots=True)
class Known:
    """One column of an earlier scan, as the file of `--save` keeps it."""

    type: str
    kind: str | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Current:
    """One column of this scan."""

    key: str
    """`schema.table.column`, as a dictionary names it."""
    type: str
    finding: Finding | None
    decided: str | None
    """The class of the policy, or public; None when the policy says nothing."""
    caught: bool = False
    """`unclassified` of the policy masks it meanwhile."""


@dataclass(frozen=True, slots=True)
class Drift:
    what: str
    """unclassified, new, type changed, content changed, disputed, gone."""
    column: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what:16} {safe(self.column)}: {safe(self.detail)}"


def drift(
    columns: Iterable[Current], before: Mapping[str, Known] | None, dead: Iterable[tuple[str, str]], classes: Iterable[str]
) -> list[Drift]:
    """All findings. `before`: the last scan, if one was kept; `dead`: (name, place) of lines that match no column."""
    classes = tuple(classes)
    out: list[Drift] = []
    seen: set[str] = set()
    for column in columns:
        seen.add(column.key)
        known = before.get(column.key) if before is not None else None
        meanwhile = "masked meanwhile as unclassified" if column.caught else "shown in clear meanwhile"
        found = column.finding
        if column.decided is None and found is not None and found.proposed:
            out.append(Drift("unclassified", column.key, f"{found.kind} ({found.confidence:.2f} {found.reason}); {meanwhile}"))
        elif before is not None and known is None and column.decided is None:
            out.append(Drift("new", column.key, f"{column.type}, not in the policy; {meanwhile}"))
        if known is not None and known.type != column.type:
            out.append(Drift("type changed", column.key, f"was {known.type}, is {column.type}"))
        if known is not None and column.decided is not None:
            out += _changed(column, known)
        out += _disputed(column, classes)
    for key in sorted(before.keys() - seen) if before is not None else ():
        out.append(Drift("gone", key, "was there at the last scan"))
    out += [Drift("gone", name, f"{place} matches no column") for name, place in dead]
    return out


def _changed(column: Current, known: Known) -> list[Drift]:
    now = column.finding.kind if column.finding is not None and column.finding.proposed else None
    if now == known.kind or (now is None and known.confidence < 0.7):
        return []
    if now is not None and (column.finding is None or not column.finding.from_values):
        return []
    return [
        Drift(
            "content changed",
            column.key,
            f"looked like {known.kind or 'nothing sensitive'}, now like {now or 'nothing sensitive'}",
        )
    ]


def _disputed(column: Current, classes: tuple[str, ...]) -> list[Drift]:
    """Values that plainly say something else than the dictionary."""
    found = column.finding
    if column.decided is None or found is None or not found.from_values or found.confidence < 0.85:
        return []
    if column.decided == "public":
        return [Drift("disputed", column.key, f"public in the policy, but {found.reason}")]
    meant = class_for(found.kind, classes)
    decided = next((k for k in KINDS if class_for(k, classes) == column.decided), None)
    if meant is None or decided is None or meant == column.decided or any({decided, found.kind} <= near for near in _NEAR):
        return []
    return [Drift("disputed", column.key, f"{column.decided} in the policy, but {found.reason}")]
