"""Masks in words, for people: `keep first 3, last 4`."""

from __future__ import annotations

import dataclasses

from policies.model import Mask

_UNSAID = frozenset({"unit", "step", "size", "to", "value", "replacement", "mask", "expression", "source", "text", "inner"})
"""Arguments that need no name."""


def describe(mask: Mask | None) -> str:
    """keep first 3, last 4."""
    if mask is None:
        return "mask"
    parts: list[str] = []
    if dataclasses.is_dataclass(mask):
        for field in dataclasses.fields(mask):
            value = getattr(mask, field.name)
            default = field.default if field.default is not dataclasses.MISSING else None
            if value == default or isinstance(value, tuple):
                continue
            word = "" if field.name in _UNSAID else f"{field.name} "
            parts.append(f"{word}{describe(value) if hasattr(value, 'accepts') else value}")
    return " ".join([mask.name, ", ".join(parts)]).strip()
