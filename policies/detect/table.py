"""A whole table: every column by itself, then what columns say about each other.

Tables of names and values (`attribute`, `value`; the log of changes with `column_name`, `old_value`) hold many things in one
column: their values are looked at name by name. And a column of money beside balances of the same customer is one of them.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from policies.detect.column import Examined, examine
from policies.detect.combine import Finding, Subject, detect
from policies.detect.kinds import KINDS, TEXTS
from policies.detect.lexicon import any_of, word_set
from policies.detect.named import title_of
from policies.detect.persons import beside_persons
from policies.detect.summary import Summary, summarise
from policies.detect.surroundings import Around, around, words

_KEY_WORDS = word_set("lexicon", "key_columns")
_VALUE_WORDS = word_set("lexicon", "value_columns")
_KEY_HAN = any_of("key_columns_han")
_VALUE_HAN = any_of("value_columns_han")
_NO_MONEY = word_set("lexicon", "no_money")
_NO_MONEY_HAN = any_of("no_money_han")
_KEY = re.compile(r"[A-Za-z_][A-Za-z_0-9.:-]{1,59}|[\u4e00-\u9fff]{2,10}")
"""Of keys that a programmer chose."""
_MOST_KEYS = 200
_FEW_KEYS = 40
_SECRETS = frozenset({"secret", "pin", "cvv"})
_MONEY = frozenset({"balance", "amount", "salary"})
_UNSURE = _MONEY | {"ip", "location", "health", "free_text"}
"""Kinds for which the name of an attribute alone is not enough."""
_FRACTIONS = frozenset({"numeric", "money", "float4", "float8"})

Given = tuple[Subject, Sequence[str | None]]
"""A column and its sampled values; those of one row stand at the same place in all columns."""


def examine_table(
    columns: Sequence[Given], today: datetime.date, *, names: bool = True, use_values: bool = True
) -> list[Examined]:
    """What `examine` says of every column, and what their neighbours add."""
    out = [examine(subject, values, today, names=names, use_values=use_values) for subject, values in columns]
    if not columns or not use_values or not names:
        return out
    first = columns[0][0]
    near = around(first.schema, first.table, first.table_comment)
    for place, (subject, _) in enumerate(columns):
        known = out[place].finding
        if (
            subject.base_type in TEXTS
            and not subject.array
            and (known is None or not known.proposed or known.kind == "free_text")
            and _holds_values(subject)
        ):
            found = _by_keys(place, columns, out, near, today)
            if found is not None and (known is None or found.confidence > known.confidence):
                out[place] = replace(out[place], finding=found)
    if any(e.finding is not None and e.finding.kind == "card_no" and e.finding.proposed for e in out):
        for place, (_, examined) in enumerate(zip(columns, out, strict=True)):
            expiry = examined.finding
            if expiry is not None and expiry.kind == "card_expiry" and not expiry.proposed:
                out[place] = replace(
                    examined, finding=replace(expiry, confidence=0.75, reason=f"{expiry.reason}, beside card numbers")
                )
    for place, money in _money(columns, out, near).items():
        out[place] = replace(out[place], finding=money)
    return beside_persons([subject for subject, _ in columns], out)


def _holds_values(subject: Subject) -> bool:
    own = [w for w in words(subject.column) if not w.isdigit()]
    if not own or own[-1] in ("by", "at", "time", "on", "type"):
        return False
    return own[-1] in _VALUE_WORDS or own[0] in _VALUE_WORDS or bool(_VALUE_HAN.search(title_of(subject.comment)))


def _by_keys(
    place: int, columns: Sequence[Given], seen: Sequence[Examined], near: Around, today: datetime.date
) -> Finding | None:
    subject, values = columns[place]
    best: dict[str, Finding] = {}
    for other, (key_subject, keys) in enumerate(columns):
        known = seen[other].finding
        if known is not None and known.proposed:
            continue
        if other == place or len(keys) != len(values) or not _holds_keys(key_subject, keys, seen[other].summary):
            continue
        listed = _is_key(key_subject)
        for key, group in _groups(keys, values).items():
            named = listed and bool(_KEY.fullmatch(key)) and any(len(w) > 1 for w in words(key))
            inside = replace(subject, column=key if named else subject.column, comment=None)
            found = detect(inside, summarise(group, today), names=named)
            if found is None or not found.proposed or (near.catalogue and found.kind not in _SECRETS):
                continue
            if not found.from_values and (found.kind in _UNSURE or found.confidence < 0.6):
                continue
            if found.kind not in best or found.confidence > best[found.kind].confidence:
                best[found.kind] = found
    if not best:
        return None
    top = max(best.values(), key=lambda f: f.confidence)
    kind = top.kind if len(best) == 1 else "free_text"
    titles = ", ".join(KINDS[k].title for k in best)  # keys are data: none of them, nor a reason made from one, may be shown
    says = f"sorted by the keys beside them, the values are {titles}"
    return Finding(kind, min(top.confidence, 0.9), says, top.from_names, top.from_values)


def _holds_keys(subject: Subject, keys: Sequence[str | None], summary: Summary) -> bool:
    if subject.base_type not in TEXTS | {"int2", "int4"} or subject.array or summary.distinct < 2:
        return False
    if summary.distinct <= _FEW_KEYS and summary.filled >= 3 * summary.distinct:
        return True
    return _is_key(subject) and summary.distinct <= _MOST_KEYS and subject.base_type in TEXTS


def _is_key(subject: Subject) -> bool:
    own = [w for w in words(subject.column) if not w.isdigit()]
    return (bool(own) and own[-1] in _KEY_WORDS) or bool(_KEY_HAN.search(title_of(subject.comment)))


def _groups(keys: Sequence[str | None], values: Sequence[str | None]) -> Mapping[str, list[str | None]]:
    out: dict[str, list[str | None]] = {}
    for key, value in zip(keys, values, strict=True):
        if key and value and (key in out or len(out) < _MOST_KEYS):
            out.setdefault(key, []).append(value)
    return out


def _money(columns: Sequence[Given], seen: Sequence[Examined], near: Around) -> dict[int, Finding]:
    """Columns of money that nothing names, beside such that are proposed, in tables about customers; all of a payroll."""
    if near.catalogue or near.institution:
        return {}
    kinds = Counter(e.finding.kind for e in seen if e.finding is not None and e.finding.proposed)
    payroll = "payroll" in near.groups
    sibling = next((k for k in ("balance", "salary") if kinds[k]), None)
    somebodys = near.of_persons or any(kinds[k] for k in ("account", "card_no", "name", "id_card", "phone"))
    if not payroll and (sibling is None or not somebodys):
        return {}
    out: dict[int, Finding] = {}
    for place, (subject, _) in enumerate(columns):
        found, s = seen[place].finding, seen[place].summary
        if subject.base_type not in _FRACTIONS or (found is not None and (found.proposed or found.kind not in _MONEY)):
            continue
        own = set(words(subject.column))
        if own & _NO_MONEY or _NO_MONEY_HAN.search(title_of(subject.comment) + subject.column):
            continue
        if s.distinct < 8 or s.serial or s.degrees or not s.large or s.share("number") < 0.95:
            continue
        if not payroll and s.share("cents") < 0.2:
            continue
        kind = "salary" if payroll else str(sibling)
        out[place] = Finding(kind, 0.55, f"amounts of money beside {KINDS[kind].title}", False, True)
    return out
