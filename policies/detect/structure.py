"""What a column is by the form of its values and what stands beside it, whatever it is called, in whatever language.

Three digits beside card numbers, random strings beside passwords, amounts of money in a table with one row per customer. Names
count only against: they say what such values are otherwise (`against_structure` in the lexicon). Works on counts only.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.detect.column import Examined
from policies.detect.combine import Finding, Subject
from policies.detect.joined import taken_apart
from policies.detect.kinds import NUMBERS, TEXTS
from policies.detect.lexicon import any_of, vocabulary, word_set
from policies.detect.named import title_of
from policies.detect.shapes import PLATES
from policies.detect.summary import Summary
from policies.detect.surroundings import Around, words

_FRACTIONS = frozenset({"numeric", "money", "float4", "float8"})
_NO_MONEY = word_set("lexicon", "no_money") | word_set("lexicon", "no_sums")
_NO_MONEY_HAN = any_of("no_money_han")
_NO_SUMS_HAN = any_of("no_sums_han")
_VEHICLES = word_set("lexicon", "vehicles")
_SECRET_WORDS = word_set("lexicon", "secret_words")
_CODES = word_set("lexicon", "code_words")
_OPENED = word_set("lexicon", "opened_words")
_LOGINS = word_set("lexicon", "logins")
_FACE_WORDS = word_set("lexicon", "face_words")
_LIKE_CODES = ("plate_us", "plate_br", "plate_at")
"""Plates that many other codes look like."""
_AXES = frozenset({"lat", "lng", "lon", "latitude", "longitude"})
_ENOUGH = 8
"""Distinct values from which the form of a column says something."""


def _against() -> Mapping[str, frozenset[str]]:
    return {kind: frozenset(str(listed).split()) for kind, listed in vocabulary("lexicon")["against_structure"].items()}


_AGAINST = _against()


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of the table that a column stands in."""

    kinds: frozenset[str]
    """Of the columns that are proposed."""
    tied: bool
    """It belongs to persons in some way."""
    person: bool
    """It is about them."""
    one_each: bool
    """A row stands for one person, account or the like: what it holds is theirs, not of an event."""
    near: Around


def by_structure(subjects: Sequence[Subject], seen: Sequence[Examined], table: Table) -> dict[int, Finding]:
    """Findings by place, for columns of which nothing is proposed yet."""
    out: dict[int, Finding] = {}
    for at, (subject, examined) in enumerate(zip(subjects, seen, strict=True)):
        known = examined.finding
        if known is not None and known.proposed:
            continue
        own = _own(subject)
        for rule in _RULES:
            found = rule(subject, examined.summary, own, table)
            if found is None or own & _AGAINST.get(found.kind, frozenset()):
                continue
            if not (known is not None and known.doubted and known.kind == found.kind):
                out[at] = found
            break
    out.update(_answers(subjects, seen, table, out))
    out.update(_salts(subjects, seen, table, out))
    out.update(_positions(subjects, seen, table, out))
    return out


def one_row_each(subjects: Sequence[Subject], seen: Sequence[Examined], numbers: Callable[[str], bool]) -> bool:
    """A column numbers persons or accounts, every row another; or rows hold what only one person has. `numbers`: by its name."""
    for subject, examined in zip(subjects, seen, strict=True):
        s, found = examined.summary, examined.finding
        if s.filled >= _ENOUGH and s.distinct == s.filled == s.sampled and numbers(subject.column):
            return True
        if found is not None and found.proposed and found.kind in ("national_id", "id_card") and 2 * s.distinct > s.filled > 0:
            return True
    return False


def _said(kind: str, confidence: float, what: str) -> Finding:
    return Finding(kind, confidence, what, False, True)


def _codes_of_cards(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if "card_no" not in table.kinds or subject.base_type not in TEXTS | NUMBERS or s.dense:
        return None
    three = s.lengths[1] == 3 and s.lengths[2] <= 4 and (s.lengths[0] == 3 or subject.base_type in NUMBERS)
    varied = (s.distinct >= _ENOUGH and 2 * s.distinct > s.filled) or (4 <= s.distinct == s.filled)
    if not three or not varied or s.share("digits") < 0.95 or own & _NO_MONEY:
        return None
    return _said("cvv", 0.7, "three digits, nearly every row others, beside card numbers")


def _secrets(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if subject.base_type not in TEXTS or s.distinct < 4 or s.serial:
        return None
    unique = 20 * s.distinct >= 19 * s.filled
    if s.share("random", "key", "stored_password") < 0.8 or not unique:
        return None
    return _said("secret", 0.75, "random strings, and the name speaks of a secret") if own & _SECRET_WORDS else None


def _codes(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    """Short ones, that open a box or confirm a payment; the name has to say what the code is for."""
    if subject.base_type not in TEXTS or s.dense or not own & _CODES or not own & _OPENED:
        return None
    varied = s.distinct >= 4 and 2 * s.distinct > s.filled
    if (
        not varied
        or s.share("token_shape") < 0.9
        or not 4 <= s.lengths[1] <= 12
        or s.lengths[2] > 16
        or s.share("numbered") > 0.2
    ):
        return None
    return _said("secret", 0.6, "short codes, nearly every row another, that open or confirm something by the name")


def _plates(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if subject.base_type not in TEXTS or s.distinct < 5 or s.serial or s.share("plate", "plate_abroad") < 0.7:
        return None
    lands = [land for land in PLATES if land not in _LIKE_CODES and 20 * s.marks.get(land, 0) >= s.distinct]
    of_vehicles = bool((table.near.words | frozenset(words(subject.schema))) & _VEHICLES) or bool(table.kinds & {"vin", "plate"})
    if of_vehicles and (lands or 2 * s.distinct > s.filled):
        return _said("plate", 0.75, "built like vehicle plates, in a table about vehicles")
    if len(lands) + (20 * s.marks.get("plate", 0) >= s.distinct) >= 3 and s.share("random") < 0.2:
        return _said("plate", 0.6, "built like vehicle plates of several countries")
    return None


def _papers(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if not table.person or not table.kinds & {"birthday", "name"} or subject.base_type not in TEXTS:
        return None
    unique = s.distinct >= _ENOUGH and 20 * s.distinct >= 19 * s.filled
    if not unique or s.serial or s.narrow or s.share("travel_number") < 0.8 or s.share("travel_letters") < 0.15:
        return None
    if s.share("date") > 0.5 or s.share("plate_abroad") > 0.6:
        return None
    return _said("passport", 0.6, "numbers as passports of several countries have, beside data of persons")


def _names(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if not table.person or subject.base_type not in TEXTS or s.distinct < _ENOUGH:
        return None
    single = s.share("name_latin") >= 0.9 and s.share("latin_words") < 0.3
    if single and s.share("last_name") >= 0.5 and s.share("known_latin") >= 0.5:
        return _said("name", 0.6, "family names, beside data of persons")
    return None


def _money(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if not table.tied or not table.one_each or subject.base_type not in _FRACTIONS:
        return None
    title = title_of(subject.comment) + subject.column
    if own & _NO_MONEY or _NO_MONEY_HAN.search(title) or _NO_SUMS_HAN.search(title) or "medical" in table.near.groups:
        return None
    varied = s.distinct >= _ENOUGH and (3 * s.distinct >= s.filled or s.distinct >= 20)
    if not varied or s.serial or s.degrees or not s.large or s.share("number") < 0.95:
        return None
    if s.share("date") > 0.5 or (s.share("cents") < 0.1 and s.lengths[0] == s.lengths[2]):
        return None  # days as numbers, codes
    return _said("balance", 0.6, "amounts, nearly every row another, in a table with a row per person or account")


def _vectors(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if s.share("vector") < 0.8 or s.distinct < 2:
        return None
    if table.person or own & _FACE_WORDS:
        return _said("biometric", 0.65, "rows of fractions as made from faces or voices, beside data of persons")
    return None


def _health(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    if subject.base_type not in TEXTS or table.near.catalogue:
        return None
    groups = s.marks.get("blood", 0) >= 2 or s.marks.get("blood_ab", 0)
    if table.tied and groups and s.share("blood", "blood_letter") >= 0.8 and 3 <= s.distinct <= 20:
        return _said("health", 0.7, "blood groups")
    if table.person and s.marks.get("disease", 0) >= 2 and s.share("disease") >= 0.15 and s.lengths[1] <= 20:
        return _said("health", 0.6, "illnesses among other tags of persons")
    return None


def _mixed_addresses(subject: Subject, s: Summary, own: frozenset[str], table: Table) -> Finding | None:
    """Where things are, among what they are: the collateral of a loan."""
    addresses = s.marks.get("address_zh", 0)
    if not table.tied or subject.base_type not in TEXTS or table.near.institution or addresses < 5 or 5 * addresses < s.distinct:
        return None
    return _said("address", 0.55, "postal addresses among other text, in a table tied to persons")


_RULES: tuple[Callable[[Subject, Summary, frozenset[str], Table], Finding | None], ...] = (
    _codes_of_cards,
    _secrets,
    _codes,
    _plates,
    _papers,
    _names,
    _money,
    _vectors,
    _health,
    _mixed_addresses,
)


def _answers(
    subjects: Sequence[Subject], seen: Sequence[Examined], table: Table, found: Container[int]
) -> Iterable[tuple[int, Finding]]:
    """What stands after a column of questions, in a table of people who log in."""
    for at in range(len(subjects) - 1):
        asked, s, known = seen[at].summary, seen[at + 1].summary, seen[at + 1].finding
        if "secret" not in table.kinds or asked.share("question") < 0.6 or asked.distinct < 2:
            continue
        if at + 1 in found or subjects[at + 1].base_type not in TEXTS or s.distinct < 3 or (known is not None and known.proposed):
            continue
        yield at + 1, _said("secret", 0.65, "beside questions, in a table of people who log in")


def _salts(
    subjects: Sequence[Subject], seen: Sequence[Examined], table: Table, found: Container[int]
) -> Iterable[tuple[int, Finding]]:
    """Random strings of their own length right beside passwords: salts, seeds, tokens of those who log in."""
    logs_in = table.tied and (table.near.of_persons or bool(table.near.words & _LOGINS))
    secrets = [at for at, e in enumerate(seen) if e.finding is not None and e.finding.proposed and e.finding.kind == "secret"]
    for at, (subject, examined) in enumerate(zip(subjects, seen, strict=True)):
        s, known = examined.summary, examined.finding
        if not logs_in or at in found or (known is not None and known.proposed) or subject.base_type not in TEXTS:
            continue
        if not any(abs(at - other) <= 2 for other in secrets) or _own(subject) & _AGAINST["secret"] or s.serial:
            continue
        if s.distinct >= _ENOUGH and 20 * s.distinct >= 19 * s.filled and s.share("random") >= 0.8 and s.share("hex") < 0.5:
            yield at, _said("secret", 0.6, "random strings, every row another, right beside passwords or keys")


def _positions(
    subjects: Sequence[Subject], seen: Sequence[Examined], table: Table, found: Container[int]
) -> Iterable[tuple[int, Finding]]:
    """Two columns side by side of numbers that can be degrees, exact to some metres: where somebody was."""
    if not table.tied or table.near.institution or table.near.catalogue:
        return

    def may_be(at: int) -> bool:
        s = seen[at].summary
        exact = s.distinct >= _ENOUGH and 3 * s.distinct > s.filled and s.degrees and not s.small and s.share("degrees") > 0.6
        return exact and subjects[at].base_type in TEXTS | NUMBERS and not _own(subjects[at]) & _NO_MONEY - _AXES

    for at in range(len(subjects) - 1):
        if may_be(at) and may_be(at + 1):
            for place in (at, at + 1):
                known = seen[place].finding
                if place not in found and (known is None or not (known.proposed or known.doubted)):
                    yield place, _said("location", 0.6, "pairs of degrees, exact to some metres")


def _own(subject: Subject) -> frozenset[str]:
    """The column's own words."""
    own = words(subject.column)
    return frozenset(own) | frozenset(taken_apart(own))
