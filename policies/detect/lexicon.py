"""The vocabulary of names, from `lexicon.yaml` and `people.yaml` beside this file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent


@cache
def vocabulary(file: str) -> dict[str, Any]:
    """One of the files, read once."""
    loaded: dict[str, Any] = yaml.safe_load((_HERE / f"{file}.yaml").read_text(encoding="utf-8"))
    return loaded


def word_set(file: str, key: str) -> frozenset[str]:
    """A list of words."""
    return frozenset(str(vocabulary(file)[key]).split())


def characters(file: str, key: str) -> frozenset[str]:
    """A run of single characters."""
    return frozenset("".join(str(vocabulary(file)[key]).split()))


def any_of(key: str) -> re.Pattern[str]:
    """A list of words of the lexicon, as one pattern that finds any of them."""
    return re.compile("|".join(str(vocabulary("lexicon")[key]).split()))


Line = tuple[str, float, re.Pattern[str]]
"""Kind, strength, and what finds its words."""


@cache
def lines(key: str, *, whole_words: bool) -> tuple[Line, ...]:
    """The notions under `key`: words, parts or han."""
    out = []
    for entry in vocabulary("lexicon")[key]:
        alternatives = "|".join(str(entry["match"]).split())
        pattern = rf"(?<![^_])(?:{alternatives})(?![^_])" if whole_words else alternatives
        out.append((str(entry["kind"]), float(entry["strength"]), re.compile(pattern, re.IGNORECASE)))
    return tuple(out)
