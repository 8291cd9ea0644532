"""One call for any column: scalars, arrays, documents, and text that holds documents."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from policies.detect.combine import Finding, Subject, detect
from policies.detect.documents import detect_documents, is_document, parse_documents
from policies.detect.kinds import KINDS, TEXTS
from policies.detect.packed import fields
from policies.detect.shapes import is_vector
from policies.detect.summary import Summary, summarise

_WHOLE = (
    "date",
    "number",
    "ip",
    "uuid",
    "email",
    "mobile",
    "hex",
    "address_zh",
    "address_latin",
    "digits",
    "stored_password",
    "key",
)
"""Marks of values that are not taken apart."""
_IN_PARTS = frozenset(KINDS) - {"amount", "balance", "birthday", "free_text", "profile", "card_expiry", "account", "uscc"}


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, and the counts it was found by. No value survives in it."""

    finding: Finding | None
    summary: Summary


def examine(
    subject: Subject, values: Sequence[str | None], today: datetime.date, *, names: bool = True, use_values: bool = True
) -> Examined:
    """Look at a column. `values` are sampled values as text; of arrays, as JSON arrays."""
    given = values if use_values else ()
    if subject.base_type == "xml":
        subject = replace(subject, base_type="text")
    if is_document(subject.base_type) or subject.array or _mostly_documents(subject, given):
        documents = parse_documents(given)
        if subject.array and not is_document(subject.base_type):
            vectors = sum(map(is_vector, documents))
            elements = [None if e is None else str(e) for d in documents if isinstance(d, list) for e in _flat(d)]
            summary = summarise(elements, today)
            found = detect(subject, summary, names=names, values=use_values)
            if documents and 2 * vectors > len(documents):
                summary = Summary(len(values), len(documents), len(documents), {"vector": vectors})
            return Examined(found, replace(summary, sampled=len(values)))
        filled = len(documents)
        summary = Summary(len(values), filled, filled, {"vector": sum(map(is_vector, documents))})
        if documents:
            return Examined(detect_documents(subject, documents, today, names=names, values=use_values), summary)
        return Examined(detect(subject, summary, names=names, values=use_values), summary)
    summary = summarise(given, today)
    found = detect(subject, summary, names=names, values=use_values)
    if subject.base_type in TEXTS and (found is None or not found.proposed) and not summary.share(*_WHOLE) > 0.5:
        found = _packed(subject, given, today, names) or found
    return Examined(found, summary)


def _packed(subject: Subject, values: Sequence[str | None], today: datetime.date, names: bool) -> Finding | None:
    """What is in the parts of values that are built alike."""
    parts = fields([v.strip() for v in values if v and v.strip()])
    kinds: dict[str, float] = {}
    for key, texts in (parts or {}).items():
        keyed = names and not key.isdigit()
        inner = detect(
            Subject(subject.schema, subject.table, key if keyed else subject.column, "text"), summarise(texts, today), names=keyed
        )
        if inner is not None and inner.proposed and inner.kind in _IN_PARTS and (inner.from_values or inner.confidence >= 0.6):
            kinds[inner.kind] = max(kinds.get(inner.kind, 0.0), inner.confidence)
    if not kinds:
        return None
    titles = ", ".join(KINDS[k].title for k in kinds)
    return Finding("free_text", min(max(kinds.values()), 0.9), f"texts made of parts, some of which are {titles}", False, True)


def _mostly_documents(subject: Subject, values: Sequence[str | None]) -> bool:
    filled = [v for v in values if v]
    return subject.base_type in ("text", "varchar") and bool(filled) and 2 * len(parse_documents(filled)) > len(filled)


def _flat(items: list[object]) -> list[object]:
    return [e for i in items for e in (_flat(i) if isinstance(i, list) else [i])]
