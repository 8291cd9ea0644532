"""What is about persons because of where it stands: a city beside a street, a marital status beside a name.

Such columns prove nothing by themselves; their words mean something only in a table about persons (`attributes.yaml`). What was
found there but not surely is believed too, unless something speaks against it. Works on counts only: no value comes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache

from policies.detect.column import Examined
from policies.detect.combine import Finding, Subject
from policies.detect.joined import taken_apart
from policies.detect.kinds import DATES, FLAGS, KINDS, NUMBERS, TEXTS
from policies.detect.lexicon import any_of, vocabulary, word_set
from policies.detect.named import title_of
from policies.detect.structure import Table, by_structure, one_row_each
from policies.detect.summary import Summary
from policies.detect.surroundings import PERSON, Around, around, words

_IDENTITY = frozenset({"name", "id_card", "national_id", "passport", "permit", "birthday", "phone", "email", "salary", "health"})
"""Found in a table, they make it one about persons."""
_OF_ACCOUNTS = frozenset({"account", "iban", "card_no", "balance", "credit", "plate", "vin", "social", "address"})
"""Found in a table, they tie it to persons."""
_NUMBERS_OF = frozenset("id no num number nr nbr nummer numero code ref key uuid uid h bh dm gh".split())
_PERSON_KEY = re.compile(any_of("person_keys").pattern + r"\Z")
_THINGS = word_set("lexicon", "thing_tables")
_CURRENCIES = word_set("lexicon", "currencies")
_PERSON_FIRST = PERSON | frozenset("home private main primary first second other bo ubo co emerg emergency".split())
_OTHER_AFTER = word_set("lexicon", "other_after") - frozenset(("policy", "pp", "number"))
_OTHER_HAN = re.compile(any_of("other_han").pattern + r"|(?:类型|类别|标志|状态|时间|日期|代码|等级)$")
_PROVED = frozenset({"phone", "account"})
"""Kinds whose words stand in the names of many other things: phone_type."""
_NUMBERED = frozenset({"phone", "account", "id_card", "passport", "permit", "national_id", "card_no"})
"""Kinds of which no table holds one after the other."""
_BELIEVED = 0.55
_TOO_SHORT = 4
"""Letters of a name that may be anything, in one of so many languages, when there are no values to look at."""
_LEAST_DISTINCT = 3
_NOT_SURE_OF = frozenset({"free_text", "profile", "ip", "amount", "balance", "card_expiry", "location"})
"""Kinds that are not believed only because they stand beside persons."""


PLACES = frozenset({"person", "tied", "address", "medical", "papers", "company", "absence"})
"""What `near` of an attribute may be."""


class Tie(IntEnum):
    """How a table belongs to persons."""

    NONE = 0
    TIED = 1
    """It has the number of a person, an account or the like in it."""
    PERSON = 2
    """It is about them."""


@dataclass(frozen=True, slots=True)
class _Attribute:
    what: str
    kind: str
    near: str
    values: str
    match: re.Pattern[str]
    han: re.Pattern[str] | None


@cache
def _attributes() -> tuple[_Attribute, ...]:
    out = []
    for entry in vocabulary("attributes")["attributes"]:
        han = "|".join(str(entry.get("han") or "").split())
        match = re.compile("(?:" + "|".join(str(entry["match"]).split()) + r")(?:_?\d)?")
        out.append(
            _Attribute(entry["what"], entry["kind"], entry["near"], entry["values"], match, re.compile(han) if han else None)
        )
    return tuple(out)


def tie_of(subjects: Sequence[Subject], seen: Sequence[Examined]) -> Tie:
    """How the table belongs to persons, by itself."""
    if not subjects:
        return Tie.NONE
    near = around(subjects[0].schema, subjects[0].table, subjects[0].table_comment)
    if _of_things(near):
        return Tie.NONE
    kinds = {e.finding.kind for e in seen if e.finding is not None and e.finding.proposed}
    if near.of_persons or len(kinds & _IDENTITY) >= 2 or kinds & {"id_card", "birthday", "passport"}:
        return Tie.PERSON
    if kinds & (_IDENTITY | _OF_ACCOUNTS) or any(_numbers_persons(s.column) for s in subjects):
        return Tie.TIED
    return Tie.NONE


def _of_things(near: Around) -> bool:
    return near.institution or near.catalogue or bool(near.words & _THINGS and not near.of_persons)


def _numbers_persons(column: str) -> bool:
    own = words(column)
    apart = taken_apart(own)
    named = len(apart) > 1 and apart[-1] in _NUMBERS_OF and bool(frozenset(apart[:-1]) & PERSON)
    return named or _PERSON_KEY.match("_".join(own)) is not None


def keys_in(subjects: Sequence[Subject], seen: Sequence[Examined]) -> frozenset[str]:
    """Names of the columns that number the rows, by which other tables may refer to them."""
    out = set()
    for subject, examined in zip(subjects, seen, strict=True):
        s, name = examined.summary, subject.column.lower()
        unique = s.filled >= 5 and s.distinct == s.filled == s.sampled
        if unique and subject.base_type not in DATES and len(name) > 2 and words(subject.column)[-1] in _NUMBERS_OF:
            out.add(name)
    return frozenset(out) - {"code", "uuid", "uid", "key", "ref", "num", "number"}


def beside_persons(subjects: Sequence[Subject], seen: Sequence[Examined], refers: Collection[str] = ()) -> list[Examined]:
    """The verdicts, with what the table adds to them. `refers`: columns by which other tables about persons are numbered."""
    out = list(seen)
    tie = tie_of(subjects, seen)
    if not subjects:
        return out
    near = around(subjects[0].schema, subjects[0].table, subjects[0].table_comment)
    if tie is Tie.NONE and (not _of_things(near) or near.catalogue) and any(s.column.lower() in refers for s in subjects):
        tie = Tie.TIED  # a table of positions is one of jobs, or one of what a customer holds
    kinds = frozenset(e.finding.kind for e in seen if e.finding is not None and e.finding.proposed)
    last = words(subjects[0].table)[-1:]
    listed = bool(last and {last[0], last[0].removesuffix("s")} & PERSON)
    each = tie >= Tie.TIED and one_row_each(subjects, seen, lambda c: _numbers_persons(c) or (listed and c.lower() == "id"))
    for at, structural in by_structure(subjects, seen, Table(kinds, tie >= Tie.TIED, tie is Tie.PERSON, each, near)).items():
        out[at] = replace(seen[at], finding=structural)
    places = _places(tie, near, subjects, seen)
    for at, (subject, examined) in enumerate(zip(subjects, seen, strict=True)):
        known = examined.finding
        if (known is not None and known.proposed) or out[at] is not examined:
            continue
        found = _by_nature(subject, examined.summary, places)
        if found is None and known is not None and tie is Tie.PERSON and _may_be_believed(known, examined.summary):
            found = replace(known, confidence=_BELIEVED, reason=f"{known.reason}, beside data of persons")
        if found is not None and not (known is not None and known.doubted and known.kind == found.kind):
            out[at] = replace(examined, finding=found)
    return out


def _may_be_believed(found: Finding, s: Summary) -> bool:
    if found.kind == "phone" and s.lengths[2] > 16 and s.share("digits") > 0.9:
        return False
    if s.serial and found.kind in _NUMBERED:
        return False
    return not found.doubted and found.kind not in _NOT_SURE_OF


def _places(tie: Tie, near: Around, subjects: Sequence[Subject], seen: Sequence[Examined]) -> frozenset[str]:
    """The values of `near` that hold for the table."""
    out = set()
    if tie >= Tie.TIED:
        out.add("tied")
    if tie is Tie.PERSON:
        out.add("person")
    streets = any(e.finding is not None and e.finding.proposed and e.finding.kind == "address" for e in seen)
    if tie >= Tie.TIED and (streets or "address" in near.groups):
        out.add("address")
    if "medical" in near.groups and (tie >= Tie.TIED or any(_numbers_persons(s.column) for s in subjects)):
        out.add("medical")
    if tie >= Tie.TIED and "papers" in near.groups:
        out.add("papers")
    if "absence" in near.groups and tie >= Tie.TIED:
        out.add("absence")
    if "company" in near.groups and not near.catalogue:
        out.add("company")
    return frozenset(out)


def _by_nature(subject: Subject, s: Summary, places: Collection[str]) -> Finding | None:
    own = words(subject.column)
    if not places or not own:
        return None
    apart = taken_apart(own)
    lines = {"_".join(own), "_".join(apart), "_".join(w for w in own if w not in _CURRENCIES) or "_".join(own)}
    lines |= {_without_person(line) for line in tuple(lines)}
    title = title_of(subject.comment)
    for attribute in _attributes():
        if attribute.near not in places or subject.base_type not in KINDS[attribute.kind].types | FLAGS:
            continue
        named = next((line for line in lines if attribute.match.fullmatch(line)), None)
        said = None if attribute.han is None else attribute.han.search(title) or attribute.han.search(subject.column)
        if said is not None and (_OTHER_HAN.search(title) or _OTHER_HAN.search(subject.column)):
            said = None
        if named is None and said is None:
            continue
        if named is not None and attribute.kind in _PROVED and own[-1] in _OTHER_AFTER:
            continue
        if named is not None and said is None and _otherwise(title, own):
            continue
        if said is None and s.distinct == 0 and len(subject.column) <= _TOO_SHORT:
            continue
        if not _fits(attribute.values, s, subject.base_type):
            continue
        says = f"name {subject.column}" if named is not None else "comment" if title else f"column name {subject.column}"
        return Finding(attribute.kind, 0.6, f"{says}: {attribute.what}, in a table about persons", True)
    return None


def _without_person(line: str) -> str:
    first, _, rest = line.partition("_")
    return rest if rest and first in _PERSON_FIRST else line


def _otherwise(title: str, own: tuple[str, ...]) -> bool:
    """A Chinese comment that says what short letters mean, and means something else."""
    return bool(re.search(r"[\u4e00-\u9fff]", title)) and len("".join(own)) <= 5


def _money(s: Summary, base_type: str) -> bool:
    if s.distinct == 0:
        return base_type in NUMBERS
    return s.share("number", "money_text") > 0.9 and not s.serial and (s.large or s.share("cents") > 0.3)


def _identifier(s: Summary) -> bool:
    if s.distinct == 0:
        return True
    if s.serial or s.share("date") > 0.8 or s.share("dated") > 0.8 or s.share("uuid") > 0.5:
        return False
    shape = s.share("id_like", "digits", "token_shape", "several_words")
    return s.lengths[1] >= 5 and s.lengths[2] <= 130 and shape > 0.6 and 3 * s.distinct > s.filled


def _text(s: Summary) -> bool:
    return s.distinct == 0 or (s.share("number", "date", "uuid", "hex") < 0.5 and not s.serial and s.lengths[1] >= 2)


def _varied(s: Summary) -> bool:
    """No counter: measurements lie close together too, but come again."""
    return not s.serial or s.lengths[2] <= 4 or 10 * s.distinct < 9 * s.filled


FITS: Mapping[str, Callable[[Summary, str], bool]] = {
    "any": lambda s, t: _varied(s) and s.share("date") < 0.9,
    "text": lambda s, t: t in TEXTS and _text(s),
    "place": lambda s, t: (
        t in TEXTS
        and (_text(s) or s.lengths[2] <= 8)
        and s.share("date") < 0.9
        and not s.serial
        and not (s.share("lower_word") > 0.8 and s.distinct <= 12)  # states of a process
    ),
    "postcode": lambda s, t: t in TEXTS | NUMBERS and s.lengths[2] <= 16 and s.share("date") < 0.9,
    "degrees": lambda s, t: s.distinct == 0 or (s.degrees and s.share("number") > 0.9 and not s.round_numbers),
    "coded": lambda s, t: s.lengths[2] <= 40 and not s.serial and s.share("date") < 0.5,
    "flag": lambda s, t: t in FLAGS or s.lengths[2] <= 60,
    "money": _money,
    "id": lambda s, t: t in TEXTS | NUMBERS and _identifier(s),
    "year": lambda s, t: s.distinct == 0 or (s.lengths[0] == s.lengths[2] == 4 and s.share("digits") > 0.95),
    "date": lambda s, t: s.distinct == 0 or (s.share("date") > 0.5 and (s.ages is None or s.ages.may_be_births)),
    "names": lambda s, t: (
        t in TEXTS and (s.distinct == 0 or s.share("name_zh", "name_latin") > 0.35 or s.inside.get("name", 0) * 4 > s.distinct)
    ),
    "login": lambda s, t: (
        t in TEXTS
        and not s.serial
        and (s.distinct == 0 or (s.share("token_shape", "name_zh") > 0.6 and 2 * s.distinct > s.filled))
        and s.share("number", "uuid", "hex", "date") < 0.3
    ),
    "dialled": lambda s, t: (
        t in TEXTS
        and not s.serial
        and s.share("dated") < 0.5
        and (s.distinct == 0 or s.share("dialled", "mobile", "landline", "phone_intl", "email") > 0.4)
    ),
    "files": lambda s, t: t in TEXTS and s.share("name_file") >= 0.2,
    "prose": lambda s, t: t in TEXTS and s.distinct >= _LEAST_DISTINCT and s.share("several_words", "long") > 0.4,
}


def _fits(values: str, s: Summary, base_type: str) -> bool:
    return FITS[values](s, base_type)


def keys_of_persons(tables: Iterable[tuple[Sequence[Subject], Sequence[Examined]]]) -> frozenset[str]:
    """The names by which tables about persons, and tables tied to them, are referred to from others."""
    out: set[str] = set()
    for subjects, seen in tables:
        if tie_of(subjects, seen) is not Tie.NONE:
            out |= keys_in(subjects, seen)
    return frozenset(out)
