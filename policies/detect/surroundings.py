"""What a table's name and comment say about all of its columns, and what a column's own words rule out."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from policies.detect.joined import taken_apart
from policies.detect.lexicon import Line, any_of, vocabulary, word_set

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
PERSON = word_set("lexicon", "person")
PERSON_HAN = any_of("person_han")
"""Whose names, numbers and addresses are about persons."""
THING_HAN = any_of("thing_han")
"""Whose names are harmless."""
_INSTITUTION = word_set("lexicon", "institution")
_INSTITUTION_HAN = any_of("institution_han")
_MONEY_HAN = any_of("money_table_han")
_CATALOGUE = word_set("lexicon", "catalogue")
_CATALOGUE_HAN = any_of("catalogue_han")
_EMPTY = word_set("lexicon", "empty_words")
_MACHINES = word_set("lexicon", "machines")
_MACHINES_HAN = any_of("machines_han")
_USERS_IP = word_set("lexicon", "users_ip")
_HOTLINE = word_set("lexicon", "hotline")
_HOTLINE_HAN = any_of("hotline_han")
_NUMBERING = word_set("lexicon", "numbering")
_NUMBERING_HAN = any_of("numbering_han")
_OF_SCHEMAS = ("payroll", "medical", "identity")
"""Groups that a schema may name for all of its tables."""
_COMPANIES = frozenset(("entity", "company", "firm", "corporation", "organisation", "organization"))
_OWN = frozenset(("legal", "own", "group", "our", "internal"))
_LAYERS = frozenset("t tb tbl tab sys dim fact ods dwd dws ads stg v f d".split())


@lru_cache(maxsize=8192)
def words(name: str) -> tuple[str, ...]:
    """`custNm2` → cust, nm, 2. Chinese characters stay together."""
    plain = unicodedata.normalize("NFKC", name)
    if not plain.isascii():
        plain = _without_accents(plain)
    humps = _HUMP.sub("_", plain)
    return tuple(
        w.lower()
        for w in re.split(
            r"[^0-9A-Za-z\u00c0-\u024f\u4e00-\u9fff]+|(?<=[\u4e00-\u9fff])(?![\u4e00-\u9fff])|(?<![\u4e00-\u9fff])(?=[\u4e00-\u9fff])",
            humps,
        )
        if w
    )


_UMLAUTS = str.maketrans(dict(zip("äöüÄÖÜßøæåł", "ae oe ue Ae Oe Ue ss oe ae aa l".split(), strict=True)))


def _without_accents(text: str) -> str:
    """Rückkaufswert → Rueckkaufswert, prénom → prenom: the lexicon has no accents. Chinese stays."""
    return "".join(unicodedata.normalize("NFKD", c)[0] if "\u00c0" <= c <= "\u024f" else c for c in text.translate(_UMLAUTS))


@dataclass(frozen=True, slots=True)
class Around:
    """What the table says."""

    words: frozenset[str]
    """The table's own words, in the singular too."""
    person_han: bool
    thing_han: bool
    money_han: bool
    institution: bool
    """It is about the house's own places, whose phones and addresses are public."""
    catalogue: bool
    """It is about what is sold or set up; amounts in it are nobody's."""
    groups: frozenset[str]
    """Groups of the lexicon's contexts."""

    @property
    def of_persons(self) -> bool:
        return bool(self.words & PERSON) or self.person_han


@lru_cache(maxsize=4096)
def around(schema: str, table: str, comment: str | None) -> Around:
    own = [w for w in taken_apart(words(table)) if not w.isdigit() and w not in _LAYERS]
    singular = {_singular(w) for w in own}
    every = frozenset((*own, *singular, *words(table)))
    text = table + " " + (comment or "")
    said = every | frozenset(words(comment)) if comment and comment.isascii() and len(comment) < 40 else every
    person_han = bool(PERSON_HAN.search(text))
    carrying = [w for w in own if w not in _EMPTY] or own
    head = frozenset((carrying[-1], _singular(carrying[-1]))) if carrying else frozenset[str]()
    person = bool(every & PERSON)
    own_company = bool(head & _COMPANIES and every & _OWN)
    groups = {name for name, (listed, han) in _groups().items() if said & listed or han.search(text)}
    if "party" in said and "member" in said:
        groups.add("party")
    groups |= {name for name in _OF_SCHEMAS if _groups()[name][0] & frozenset(words(schema))}
    if person or person_han:
        groups.add("person")
    return Around(
        every,
        person_han,
        bool(THING_HAN.search(text)),
        bool(_MONEY_HAN.search(text)),
        not person and not person_han and (own_company or bool(head & _INSTITUTION) or bool(_INSTITUTION_HAN.search(text))),
        not person and not person_han and (bool(head & _CATALOGUE) or bool(_CATALOGUE_HAN.search(text))),
        frozenset(groups),
    )


def _singular(w: str) -> str:
    if w.endswith("ies"):
        return w[:-3] + "y"
    if w.endswith("sses"):
        return w[:-2]
    return w[:-1] if len(w) > 3 and w.endswith("s") else w


@cache
def _groups() -> dict[str, tuple[frozenset[str], re.Pattern[str]]]:
    return {
        name: (frozenset(str(group["words"]).split()), re.compile("|".join(str(group["han"]).split())))
        for name, group in vocabulary("lexicon")["groups"].items()
    }


@cache
def context_lines() -> tuple[tuple[str, Line], ...]:
    """Group, and a notion of the lexicon that holds in tables of that group. The whole name of the column has to match."""
    out = []
    for entry in vocabulary("lexicon")["context"]:
        pattern = "(?:" + "|".join(str(entry["match"]).split()) + ")(?:_?\\d)?"
        out.append((str(entry["in"]), (str(entry["kind"]), float(entry["strength"]), re.compile(pattern))))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Against:
    """What a column's own words rule out."""

    machine: bool
    """A network address of the house's own machines."""
    user: bool
    """Of a network address: of somebody's."""
    hotline: bool
    """A number that anybody may call."""
    numbering: bool
    """A number that a machine gives to orders, messages, vouchers."""


def against(own: tuple[str, ...], column: str, title: str) -> Against:
    mine = frozenset(own) | frozenset(taken_apart(own))
    text = column + " " + title
    asked = mine | frozenset(words(title)) if title.isascii() else mine
    return Against(
        bool(asked & _MACHINES or _MACHINES_HAN.search(text) or any(w.startswith(("fwq", "jhj")) for w in own)),
        bool(mine & _USERS_IP),
        bool(mine & _HOTLINE or _HOTLINE_HAN.search(text)),
        bool(mine & _NUMBERING or _NUMBERING_HAN.search(text)),
    )
