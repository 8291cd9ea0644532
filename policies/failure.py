"""What becomes of a statement that pgveil itself cannot read or carry through: refused, but for logins that are named here.

Nothing that the policy forbids is meant, only what goes wrong in reading and rewriting (docs/policy.md lists it). There is no
way to exempt everybody, or a role: who can make a statement unreadable sees everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.document import Section
from policies.keywords import DURATION, Key, either, mapping, named, whole, words

DEFAULT = "default"
SHOW = ("refuse", "clear")
KEYS = {
    "show": Key("clear: goes upstream as it came; refuse: as for everybody.", words(SHOW), needed=True),
    "at_most": Key("With clear: so many statements in the window; what is beyond is refused.", whole(0, 10**9)),
    "within": Key("The window of at_most; one hour without it.", DURATION),
}
"""`policies.keywords` says how a key is added."""
_NOBODY_ELSE = {"description": "What holds for everybody else; there is no other choice.", "enum": ["refuse"]}
ON_FAILURE = {**named(either(words(SHOW), mapping(KEYS))), "allOf": [{"properties": {DEFAULT: _NOBODY_ELSE}}]}


@dataclass(frozen=True, slots=True)
class Exemption:
    """A login whose statements go upstream as they came, unmasked, when pgveil cannot read them."""

    login: str
    at_most: int | None
    """How many of them; None: any number."""
    within: float
    """Seconds in which so many are let through; the window slides."""
    place: str


def parse_failure(section: Section, before: Mapping[str, Exemption] = {}) -> dict[str, Exemption]:
    """The `on_failure` of one file, by login; `before`: those of the files before it. Raises DocumentError."""
    out: dict[str, Exemption] = {}
    for login, entry in section:
        if login == DEFAULT:
            if entry.choice(SHOW) != "refuse":
                wanted = "refuse: a statement made unreadable on purpose would show everything to anybody"
                raise entry.error("found 'clear' for everybody", wanted)
            continue
        if not login or any(c in login for c in "*?"):
            raise section.key_error(login, f"found {login!r}", "the name of one login, without wildcards")
        if login in before:
            raise section.key_error(login, f"is also at {before[login].place}", "each login once")
        inner = entry.mapping(KEYS) if entry.is_mapping else None
        show = (inner.require("show") if inner is not None else entry).choice(SHOW)
        if inner is not None and "within" in inner and "at_most" not in inner:
            raise inner.key_error("within", "found without at_most", "at_most beside it")
        if inner is not None and show == "refuse" and len(inner) > 1:
            raise entry.error("found refuse with a number", "clear, or refuse alone")
        if show == "clear":
            most = inner.get("at_most") if inner is not None else None
            within = inner.duration("within", 3600.0) if inner is not None else 3600.0
            if within <= 0:
                raise entry.error("found an empty window", "a duration such as 10m or 1h")
            out[login] = Exemption(login, most.int(0, 10**9) if most is not None else None, within, entry.place)
    return out
