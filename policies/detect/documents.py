"""JSON documents: every path is looked at like a column of its own, called after its last key."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from policies.detect.combine import PROPOSE, Finding, Subject, detect
from policies.detect.kinds import DOCUMENTS, KINDS
from policies.detect.summary import summarise

Path = tuple[str, ...]
ELEMENTS = "[]"
"""The step of a path into the elements of an array."""
_MOST_PATHS = 400
_MOST_VALUES = 2000
_DEEPEST = 12


def parse_documents(values: Iterable[str | None]) -> list[Any]:
    """The values that are JSON objects or arrays."""
    out: list[Any] = []
    for text in values:
        if text and text.lstrip()[:1] in ("{", "["):
            try:
                made = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(made, dict | list):
                out.append(made)
    return out


def detect_documents(
    subject: Subject, documents: Iterable[Any], today: datetime.date, *, names: bool = True, values: bool = True
) -> Finding | None:
    """What is inside a column's documents."""
    paths: dict[Path, list[str | None]] = {}
    count = 0
    for document in documents:
        count += 1
        _collect(document, (), paths)
    found: dict[Path, Finding] = {}
    for path, texts in paths.items():
        keys = [k for k in path if k != ELEMENTS]
        key = keys[-1] if keys else subject.column
        table = f"{subject.table}_{keys[-2]}" if len(keys) > 1 else subject.table
        inner = detect(Subject(subject.schema, table, key, "text"), summarise(texts, today), names=names, values=values)
        if inner is not None and inner.confidence >= PROPOSE:
            found[path] = inner
    if not found:
        return None
    best = max(f.confidence for f in found.values())
    kinds = dict.fromkeys(f.kind for f in found.values())
    return Finding(
        "profile",
        best,
        f"documents with {', '.join(KINDS[k].title for k in kinds)}",
        any(f.from_names for f in found.values()),
        any(f.from_values for f in found.values()),
        found,
    )


def _collect(value: Any, path: Path, paths: dict[Path, list[str | None]]) -> None:
    if len(path) > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _collect(inner, (*path, str(key)), paths)
    elif isinstance(value, list):
        for inner in value[:50]:
            _collect(inner, (*path, ELEMENTS), paths)
    elif value is not None and not isinstance(value, bool):
        texts = paths.get(path)
        if texts is None:
            if len(paths) >= _MOST_PATHS:
                return
            texts = paths[path] = []
        if len(texts) < _MOST_VALUES:
            texts.append(str(value))


def is_document(base_type: str) -> bool:
    return base_type in DOCUMENTS
