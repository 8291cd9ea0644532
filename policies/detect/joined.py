"""Names written together without a sign between the words, as old systems have them: CUSNAM, ACTNBR, custmobileno."""

from __future__ import annotations

from functools import lru_cache

from policies.detect.lexicon import vocabulary

_SHORT: dict[str, str] = dict(pair.split("=") for pair in str(vocabulary("lexicon")["short_forms"]).split())
_WORDS = frozenset("act add off led out per mat exp int due end con lst list pan sin col net".split())
_LEAST = 5
"""Letters from which a word is taken apart."""


@lru_cache(maxsize=8192)
def taken_apart(own: tuple[str, ...]) -> tuple[str, ...]:
    """The words with those written together taken apart, and short forms in full; the same words when nothing is to be done."""
    out: list[str] = []
    for word in own:
        parts = _split(word) if len(word) >= _LEAST and word.isascii() and word.isalpha() and word not in _SHORT else None
        out += parts if parts is not None else [_alone(word)]
    return tuple(out)


def _alone(word: str) -> str:
    """A short form that stands by itself; those of two letters, and those that are words, may be anything."""
    return _SHORT.get(word, word) if len(word) > 2 and word not in _WORDS else word


def _split(word: str) -> list[str] | None:
    """The fewest known pieces that make up the whole word; None when there are none."""
    best: list[list[str] | None] = [[], *([None] * len(word))]
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - 9), end):
            before, piece = best[start], word[start:end]
            if before is None or piece not in _SHORT:
                continue
            known = best[end]
            if known is None or len(before) + 1 < len(known):
                best[end] = [*before, _SHORT[piece]]
    found = best[len(word)]
    return found if found is not None and 2 <= len(found) <= 4 else None
