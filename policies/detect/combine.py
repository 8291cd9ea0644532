"""Names, type and values weighed against each other: what a column is, how sure that is, and why, in one line.

Where a table holds enough values they outweigh the names: a column `phone` full of model numbers is none, `note1` full of ID
numbers is one. In an empty table the names decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from policies.detect.kinds import DATES, KINDS, NUMBERS, TEXTS
from policies.detect.named import IN_THIS_TABLE, Named, read_names
from policies.detect.seen import FEW, Seen, by_values, fit, loose_fit
from policies.detect.summary import Summary

PROPOSE = 0.5
"""Confidence from which a column is proposed as sensitive."""
_OF_HOUSES = frozenset({"phone", "address", "email", "location"})
REVIEW = 0.3
"""Confidence from which a person is asked to look."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A column as the catalog has it."""

    schema: str
    table: str
    column: str
    base_type: str
    """pg_type.typname of the base type; of the elements, for arrays."""
    comment: str | None = None
    table_comment: str | None = None
    array: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a column was found to be."""

    kind: str
    confidence: float
    reason: str
    from_names: bool = False
    from_values: bool = False
    paths: Mapping[tuple[str, ...], Finding] = field(default_factory=dict)
    """Of a document: what is at which path. The step `[]` goes into the elements of an array."""
    doubted: bool = False
    """Something speaks against it: the values, or that it belongs to the house."""
    also: str | None = None
    """Another kind that the values prove: account numbers that are card numbers."""

    @property
    def proposed(self) -> bool:
        return self.confidence >= PROPOSE


def detect(subject: Subject, summary: Summary, *, names: bool = True, values: bool = True) -> Finding | None:
    """The best explanation of a column; None when nothing speaks for sensitive data. `names`, `values`: look at these at all."""
    named = (
        read_names(subject.schema, subject.table, subject.column, subject.comment, subject.table_comment) if names else Named()
    )
    seen = list(by_values(summary, subject.base_type)) if values else []
    candidates = [c for s in seen if (c := _from_values(s, named, summary, subject))]
    counted = summary if values else Summary()
    for evidence in named.evidence:
        own = next((s for s in seen if s.kind == evidence.kind), None)
        found = _from_names(evidence.kind, evidence.strength, evidence.says, own, counted, subject.base_type)
        if found is not None and _nobodys(evidence.kind, named, counted):
            found = replace(found, confidence=min(found.confidence, 0.45), doubted=True)
        if found is None and named.encrypted and counted.share("token_shape", "long") >= 0.8:
            says = f"{evidence.says}; the values look encrypted"
            found = Finding(evidence.kind, round(evidence.strength * 0.75, 2), says, True)
        if found is not None:
            candidates.append(found)
    candidates = [c for c in candidates if c.confidence >= REVIEW]
    best = max(candidates, key=lambda c: c.confidence, default=None)
    account = next((c for c in candidates if c.kind == "account"), None)
    by_account = named.strength("account") >= 0.7 and named.strength("card_no") < 0.5
    if best is not None and best.kind == "card_no" and account is not None and by_account:
        why = f"{account.reason}; {best.reason}"  # bank accounts that are numbered like cards
        return replace(account, confidence=best.confidence, reason=why, from_values=True, also="card_no")
    return best


def _from_values(seen: Seen, named: Named, s: Summary, subject: Subject) -> Finding | None:
    """A kind that the values look like; the names may speak against the kinds whose form proves little."""
    confidence = seen.confidence
    if subject.base_type not in KINDS[seen.kind].types:
        return None
    doubt = ""
    if seen.kind == "name" and not named.strength("name") and named.of_thing:
        confidence, doubt = confidence - 0.4, ", though the name speaks of a thing"
    if seen.kind == "birthday" and (named.not_births or not _open_to(named, "birthday")):
        return None
    if seen.kind == "health" and named.of_dictionary:
        confidence, doubt = min(confidence, 0.4), ", in a list for everybody by the table's name"
    if seen.kind in _OF_HOUSES and named.of_institution:
        confidence, doubt = min(confidence, 0.45), ", of an institution by the table's name"
    elif seen.kind == "phone" and named.against.hotline:
        confidence, doubt = min(confidence, 0.45), ", that anybody may call by the column's name"
    elif seen.kind == "ip" and named.against.machine:
        confidence, doubt = min(confidence, 0.4), ", of machines by the column's name"
    elif seen.kind == "phone" and named.against.numbering and not named.strength("phone") and s.share("digits") > 0.95:
        confidence, doubt = min(confidence, 0.45), ", though the name speaks of numbered things"
    if (
        seen.kind == "phone"
        and s.marks.get("bare_mobile", 0) > 0.5 * s.distinct
        and named.strength("phone") == 0
        and subject.base_type in NUMBERS
    ):
        confidence -= 0.1
    says = f"{_percent(seen.share)} of {s.distinct} values are {seen.what}{doubt}"
    return Finding(seen.kind, round(confidence, 2), says, False, True, doubted=bool(doubt))


def _nobodys(kind: str, named: Named, s: Summary) -> bool:
    """Phones and places of the house itself; illnesses in a list of them; addresses in its own network."""
    if kind in _OF_HOUSES and named.of_institution:
        return True
    if (kind == "phone" and named.against.hotline) or (kind == "health" and named.of_dictionary):
        return True
    return kind == "ip" and s.share("ip_inside") >= 0.8 and not named.against.user


def _open_to(named: Named, kind: str) -> bool:
    return not named.evidence or named.evidence[0].kind == kind or named.evidence[0].strength < 0.5


def _from_names(kind: str, strength: float, says: str, seen: Seen | None, s: Summary, base_type: str) -> Finding | None:
    """A kind that the names speak for, confirmed, left alone or contradicted by the values."""
    if base_type not in KINDS[kind].types or kind == "profile" or (kind == "free_text" and strength < 0.7):
        return None
    if kind == "birthday" and base_type in NUMBERS and s.distinct == 0:
        strength *= 0.7
    if s.distinct == 0:
        unsure = kind == "amount" and strength < 0.6
        note = "no values to look at" if s.sampled == 0 else f"no value in {s.sampled} rows"
        return Finding(kind, round(strength * (0.6 if unsure else 0.95), 2), f"{says} ({note})", True)
    if seen is not None and seen.confidence >= 0.4:
        confidence = max(1 - (1 - strength) * (1 - seen.confidence), strength)
        return Finding(
            kind,
            round(min(confidence, 0.99), 2),
            f"{says}; {_percent(seen.share)} of {s.distinct} values are {seen.what}",
            True,
            True,
        )
    if kind == "phone" and s.serial and s.distinct >= FEW:
        return None  # a counter that has come to numbers like these
    if kind == "secret" and s.share("numbered") > 0.8:
        return None  # a prefix and a number: EX-889884448086
    share = fit(kind, s, base_type)
    if kind == "address" and says.endswith(IN_THIS_TABLE) and s.lengths[2] <= 12 and s.share("date") < 0.5:
        share = 1.0  # a postcode, a house number, a floor
    many = s.distinct >= FEW
    title = KINDS[kind].title
    if kind == "name" and strength < 0.75 and s.share("name_latin") > 0.9 and not s.share("latin_words", "known_latin"):
        return Finding(kind, 0.35, f"{says}, but the values are single words, and no known names", True)
    if share >= (0.4 if KINDS[kind].form else 0.6):
        proof = 0.06 if KINDS[kind].form else 0.0
        return Finding(
            kind, round(min(strength * (0.85 + 0.15 * share) + proof, 0.99), 2), f"{says}; the values fit", True, KINDS[kind].form
        )
    loose = loose_fit(kind, s)
    if loose >= 0.6 and not (kind == "birthday" and s.share("date") > 0.1) and not (kind == "phone" and s.serial):
        if kind == "card_no" and s.lengths[1] in (15, 16, 19) and s.share("card") < 0.25 and many:
            return Finding(
                kind, 0.35, f"{says}, but the Luhn digit is right in no more values than chance allows", True, doubted=True
            )
        return Finding(kind, round(strength * 0.8, 2), f"{says}; the values may be {title}", True)
    if s.share("starred") > 0.5:
        return Finding(kind, round(min(strength, 0.45), 2), f"{says}, but the values are masked already", True, doubted=True)
    if not many and loose + share > 0 and kind != "birthday":
        return Finding(kind, round(strength * 0.6, 2), f"{says}; of few values some fit", True)
    return None


def _percent(share: float) -> str:
    percent = round(share * 100)
    return "under 1 %" if percent < 1 else f"{percent} %"


def is_text(base_type: str) -> bool:
    return base_type in TEXTS


def is_date(base_type: str) -> bool:
    return base_type in DATES
