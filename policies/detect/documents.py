"""JSON documents: every path is looked at like a column of its own, called after its last key.

Keys may be data themselves (phone numbers that lead to records). A key is shown only when it looks like one that a programmer
chose and stands in a fair share of the documents; all others are taken together as the step `*`, and looked at as values.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from policies.detect.combine import PROPOSE, Finding, Subject, detect
from policies.detect.forms import marks
from policies.detect.kinds import DOCUMENTS, KINDS
from policies.detect.summary import summarise

Path = tuple[str, ...]
ELEMENTS = "[]"
"""The step of a path into the elements of an array."""
ANY_KEY = "*"
"""The step of a path through keys that are data."""
_KEY = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w\u4e00-\u9fff .-]{0,63}")
_MOST_PATHS = 400
_MOST_VALUES = 2000
_MOST_ELEMENTS = 50
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
    listed = list(documents)
    keys: dict[Path, Counter[str]] = {}
    objects: Counter[Path] = Counter()
    for document in listed:
        _count(document, (), keys, objects)
    chosen = {path: _chosen(counted, objects[path]) for path, counted in keys.items()}
    paths: dict[Path, list[str | None]] = {}
    for document in listed:
        _collect(document, (), chosen, paths)
    found: dict[Path, Finding] = {}
    for path, texts in paths.items():
        named = [k for k in path if k not in (ELEMENTS, ANY_KEY)]
        key = named[-1] if named and path[-1] != ANY_KEY else subject.column
        table = f"{subject.table}_{named[-2]}" if len(named) > 1 else subject.table
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


def _count(value: Any, path: Path, keys: dict[Path, Counter[str]], objects: Counter[Path]) -> None:
    if len(path) > _DEEPEST or len(keys) > _MOST_PATHS:
        return
    if isinstance(value, Mapping):
        objects[path] += 1
        counted = keys.setdefault(path, Counter())
        for key, inner in value.items():
            if key in counted or len(counted) < _MOST_VALUES:
                counted[key] += 1
            _count(inner, (*path, key), keys, objects)
    elif isinstance(value, list):
        for inner in value[:_MOST_ELEMENTS]:
            _count(inner, (*path, ELEMENTS), keys, objects)


def _chosen(counted: Counter[str], objects: int) -> frozenset[str]:
    """The keys that a programmer chose."""
    return frozenset(k for k, n in counted.items() if n * 20 >= objects and _looks_chosen(k) and (n > 1 or objects < 4))


def _looks_chosen(key: str) -> bool:
    if not _KEY.fullmatch(key) or sum(c.isdigit() for c in key) > 4:
        return False
    own = marks(key)
    return not (own & {"email", "plate", "passport"}) and not {"name_zh", "given_zh", "common_zh"} <= own


def _collect(value: Any, path: Path, chosen: Mapping[Path, frozenset[str]], paths: dict[Path, list[str | None]]) -> None:
    """The scalars under each path, as text. Keys that are data count as values of their own step."""
    if len(path) > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in chosen.get(path, frozenset()):
                _collect(inner, (*path, key), chosen, paths)
            else:
                _note(key, (*path, ANY_KEY), paths)
                _collect(inner, (*path, ANY_KEY), chosen, paths)
    elif isinstance(value, list):
        for inner in value[:_MOST_ELEMENTS]:
            _collect(inner, (*path, ELEMENTS), chosen, paths)
    elif value is not None and not isinstance(value, bool):
        _note(str(value), path, paths)


def _note(text: str, path: Path, paths: dict[Path, list[str | None]]) -> None:
    texts = paths.get(path)
    if texts is None:
        if len(paths) >= _MOST_PATHS:
            return
        texts = paths[path] = []
    if len(texts) < _MOST_VALUES:
        texts.append(text)


def is_document(base_type: str) -> bool:
    return base_type in DOCUMENTS
