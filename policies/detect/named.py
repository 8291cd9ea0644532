"""What the names say: of the column, its table, and the comments on both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from policies.detect.joined import taken_apart
from policies.detect.lexicon import any_of, lines, word_set
from policies.detect.surroundings import PERSON, PERSON_HAN, THING_HAN, Against, Around, against, around, context_lines, words

_HAN = re.compile(r"[\u4e00-\u9fff]")
_COMMENT_END = re.compile(r"[,，。；;:：(（\[【|/、]|\s-\s|\n|\s+\d|(?<=[\u4e00-\u9fff])\d{1,2}[-=:：.、 ]?(?=[\u4e00-\u9fff])")
_INITIALS = re.compile(r"[bcdfghjklmnpqrstwxyz]{2,7}|[a-z]{2,4}")
"""Columns called by first letters of pinyin, which may stand for many things."""
_OTHERWISE_SAID = 0.6
_CLAUSES = frozenset("of for to in from by used where that which as when sent on with".split())
_OF_BIRTH = ("date", "of", "birth")
_PERSON_FIRST = re.compile(r"fzr|lxr|khjl|jl_|hz_|zg_|jbr")
_BARE_NAME = frozenset(("name", "names", "nm", "mc", "jc", "mingcheng", "naam", "nom", "nombre", "nome"))
_BARE_NAME_HAN = re.compile(r"名称$|^名$")
_JUST_BELOW = 0.55
IN_THIS_TABLE = ", in this table"
_OF_THE_BOOKS = frozenset("gl ledger nostro vostro internal inner suspense nbzh km kmh coa subject".split())
"""Accounts in the house's own books."""
_LIMITS = frozenset(("min", "max", "default", "required", "minimum", "maximum"))
_THING = word_set("lexicon", "thing")
"""Whose names are harmless."""
_MONEY = word_set("lexicon", "money_table")
_OTHER_PARTS = (
    *("type", "status", "flag", "time", "date", "model", "count", "verified"),
    *("leixing", "zhuangtai", "xinghao", "pinpai", "shijian", "cishu", "shuliang", "biaozhi", "guishudi"),
)
_MONEY_PART = re.compile(r"tran|txn|trx|ledger|jrnl|journal|payment|loan|deposit|remit|stmt", re.IGNORECASE)
_NEUTRAL_AFTER = word_set("lexicon", "neutral_after")
_OTHER_AFTER = word_set("lexicon", "other_after")
_BEFORE_OTHER = word_set("lexicon", "before_other")
_OTHER_HAN = any_of("other_han")
_NOT_BIRTHS = word_set("lexicon", "not_births")
_CARD_WORDS = frozenset(("card", "cards", "cc", "creditcard", "kp", "kxx", "xyk", "jjk", "yhk", "card_no", "pan"))
_ENCRYPTED = frozenset("enc encrypted encrypt cipher ciphertext crypt crypted hash hashed md sha sm jiami miwen".split())
_DICTIONARIES = word_set("lexicon", "dictionaries")
_PUBLIC_OF_INSTITUTIONS = frozenset(("phone", "address", "email", "location", "ip"))


@dataclass(frozen=True, slots=True)
class NameEvidence:
    """One kind that the names speak for."""

    kind: str
    strength: float
    says: str
    """The name or comment that says so, for a person: `column name`, `comment`."""


@dataclass(frozen=True, slots=True)
class Named:
    """All that the names say."""

    evidence: tuple[NameEvidence, ...] = ()
    of_thing: bool = False
    """The name is one of a product, branch, file …: not of a person."""
    of_person: bool = False
    of_institution: bool = False
    """The table is about the house's own places, whose phones and addresses are public."""
    of_dictionary: bool = False
    """The table lists what there is, of illnesses or drugs, for everybody."""
    not_births: bool = False
    encrypted: bool = False
    """The name says that the values are."""
    against: Against = Against(False, False, False, False)

    def strength(self, kind: str) -> float:
        return max((e.strength for e in self.evidence if e.kind == kind), default=0.0)


def read_names(schema: str, table: str, column: str, comment: str | None = None, table_comment: str | None = None) -> Named:
    """What the names of a column and its surroundings say about its content."""
    own = words(column)
    near = around(schema, table, table_comment)
    title = title_of(comment)
    head = frozenset(own[:-1])
    person = bool(head & PERSON) or near.of_persons
    of_thing, of_person, bare = _whose_name(own, column, title, near)
    best: dict[str, NameEvidence] = {}
    apart = taken_apart(tuple(w for w in own if not w.isdigit()) or own)
    found = [*_by_words(own, column), *_by_han(column, "column name"), *_by_context(own, apart, near, column)]
    if apart != own:
        found += [replace(e, strength=e.strength * 0.9) for e in _by_words(apart, column)]
        if not bare:
            of_thing, of_person, bare = _whose_name(apart, column, title, near)
    said = list(_by_comment(comment))
    if _HAN.search(title) and _INITIALS.fullmatch(column.lower()):
        kinds = {e.kind for e in said}
        found = [
            e if e.kind in kinds or e.says.endswith(IN_THIS_TABLE) else replace(e, strength=e.strength * _OTHERWISE_SAID)
            for e in found
        ]
    for each in (*found, *said):
        known = best.get(each.kind)
        if known is None or each.strength > known.strength:
            best[each.kind] = each
    if bare:
        strength = 0.0 if of_thing else 0.7 if of_person else 0.3
        if strength and ("name" not in best or (of_person and best["name"].strength < strength)):
            best["name"] = NameEvidence("name", strength, "column and table name" if of_person else "column name")
    if (
        "amount" in best
        and best["amount"].strength < 0.6
        and (near.words & _MONEY or near.money_han or near.of_persons or _MONEY_PART.search(table))
    ):
        best["amount"] = NameEvidence("amount", 0.7, "column and table name")
    if "card_expiry" in best and not (frozenset(own) | near.words) & _CARD_WORDS and "卡" not in table + column:
        _cap(best, ("card_expiry",), 0.4)
    against_it = against(own, column, title)
    institution = near.institution and not head & PERSON and not _PERSON_FIRST.match(column.lower())
    if institution:
        _cap(best, _PUBLIC_OF_INSTITUTIONS, 0.45)
    if own and (own[0] in _LIMITS or "budget" in own):
        _cap(best, ("balance", "amount", "salary"), 0.4)
    if (frozenset((*own, *apart)) & _OF_THE_BOOKS and own[-1] != "zh") or (
        near.words & _OF_THE_BOOKS and "money" not in near.groups
    ):
        _cap(best, ("account", "balance", "amount", "name"), 0.4)
    if near.catalogue:
        _cap(best, ("amount", "balance", "salary", "biometric", "uscc"), 0.4)
    if against_it.hotline:
        _cap(best, ("phone",), 0.4)
    if against_it.machine and not against_it.user:
        for kind in ("ip", "address", "mac"):
            best.pop(kind, None)
    ordered = tuple(sorted(best.values(), key=lambda e: -e.strength))
    dictionary = near.catalogue and bool(near.words & _DICTIONARIES)
    births = frozenset(own) & _NOT_BIRTHS or any(w.startswith("graduat") for w in own)
    encrypted = bool(frozenset(own) & _ENCRYPTED)
    return Named(ordered, of_thing, person, institution, dictionary, bool(births), encrypted, against_it)


def _cap(best: dict[str, NameEvidence], kinds: Iterable[str], most: float) -> None:
    for kind in best.keys() & frozenset(kinds):
        best[kind] = replace(best[kind], strength=min(best[kind].strength, most))


def title_of(comment: str | None) -> str:
    """What the comment calls the column: up to the first sign or number that begins a list or an explanation."""
    if not comment:
        return ""
    return _COMMENT_END.split(unicodedata.normalize("NFKC", comment).strip(), maxsplit=1)[0].strip()[:60]


def _by_context(own: tuple[str, ...], apart: tuple[str, ...], near: Around, column: str) -> Iterator[NameEvidence]:
    line, other = "_".join(own), "_".join(apart)
    for group, (kind, strength, pattern) in context_lines():
        if group in near.groups and (pattern.fullmatch(line) or pattern.fullmatch(other)):
            yield NameEvidence(kind, strength, f"name {column}{IN_THIS_TABLE}")


def _whose_name(own: tuple[str, ...], column: str, title: str, around: Around) -> tuple[bool, bool, bool]:
    """(of a thing, of a person, the column is called name and little more)"""
    rest = [w for w in own if not w.isdigit() and w not in _NEUTRAL_AFTER]
    han = _BARE_NAME_HAN.search(column)
    bare = bool(rest) and (rest[-1] in _BARE_NAME or han is not None)
    if not bare:
        joined = "".join(own)
        return (
            bool(re.search(r"(?:product|file|branch|table|dept|company|brand|city|school|host|goods|item)name", joined)),
            False,
            False,
        )
    head = rest[:-1]
    if title and THING_HAN.search(title) and not PERSON_HAN.search(title):
        return True, False, True
    if any(w in _THING for w in head) and not any(w in PERSON for w in head):
        return True, False, True
    if han and THING_HAN.search(column) and not PERSON_HAN.search(column):
        return True, False, True
    if any(w in PERSON for w in head) or (han and PERSON_HAN.search(column)):
        return False, True, True
    if around.words & PERSON or around.person_han:
        return False, not (around.words & _THING and not around.person_han), True
    return bool(around.words & _THING) or around.thing_han, False, True


def _by_words(own: tuple[str, ...], column: str) -> Iterator[NameEvidence]:
    line = "_".join(own)
    for kind, strength, pattern in lines("words", whole_words=True):
        best = 0.0
        for found in pattern.finditer(line):
            before = [w for w in line[: found.start()].split("_") if w]
            after = [w for w in line[found.end() :].split("_") if w]
            best = max(best, strength * _in_place(kind, before, after))
        if best:
            yield NameEvidence(kind, best, f"name {column}")
    joined = "".join(own)
    if len(own) <= 2:
        for kind, strength, pattern in lines("parts", whole_words=False):
            part = pattern.search(joined)
            if part is not None:
                rest = re.sub(r"\d", "", joined[part.end() :])
                if any(w in _OTHER_AFTER for w in own[1:]) or own[0] in _BEFORE_OTHER:
                    continue
                other = rest == "id" or rest.startswith(_OTHER_PARTS)
                if not other:
                    yield NameEvidence(kind, strength, f"name {column}")


def _in_place(kind: str, before: list[str], after: list[str]) -> float:
    """How much of the strength is left, given the words around the notion."""
    if before and (before[0] in _BEFORE_OTHER or before[-1] in _BEFORE_OTHER):
        return 0.0
    if kind == "address" and any(
        w
        in (
            "ip",
            "mac",
            "email",
            "mail",
            "web",
            "url",
            "memory",
            "wallet",
            "e",
            "remote",
            "bitcoin",
            "btc",
            "eth",
            "hw",
            "hardware",
        )
        for w in before[-1:]
    ):
        return 0.0
    if kind == "amount" and any(w in ("product", "tax", "discount", "unit") for w in before):
        return 0.5
    after = [w for w in after if not w.isdigit()]
    if any(w in _OTHER_AFTER for w in after):
        return 0.0
    if any(w not in _NEUTRAL_AFTER for w in after):
        return _JUST_BELOW
    return 1.0


def _by_han(text: str, says: str) -> Iterator[NameEvidence]:
    if not _HAN.search(text):
        return
    for kind, strength, pattern in lines("han", whole_words=False):
        for found in pattern.finditer(text):
            rest = text[found.end() :]
            if (_OTHER_HAN.search(rest) and not (kind == "biometric" and rest.startswith("模板"))) or "是否" in text:
                continue
            if kind == "health" and rest.startswith(("号", "编号", "单号", "序号", "流水", "医生", "科室")):
                continue
            if kind == "address" and re.search(r"(?:IP|ip|MAC|mac|网|邮箱|邮件|URL|物理|内存)$", text[: found.start()]):
                continue
            loss = 1.0 if len(rest) <= 4 else _JUST_BELOW
            yield NameEvidence(kind, strength * loss, f"{says} {text}" if says == "column name" else says)
            break


def _by_comment(comment: str | None) -> Iterator[NameEvidence]:
    title = title_of(comment)
    if _HAN.search(title):
        for found in _by_han(title[:40], "comment"):
            yield NameEvidence(found.kind, found.strength * 0.95, "comment")
    elif title:
        said = words(title)
        if len(said) <= 5:
            for found in _by_words(said, title):
                yield NameEvidence(found.kind, found.strength * 0.85, "comment")
        elif len(said) <= 12:
            cut = next((i for i, w in enumerate(said) if w in _CLAUSES and i > 0 and said[i - 1 : i + 2] != _OF_BIRTH), len(said))
            for found in _by_words(said[:cut], title):
                yield NameEvidence(found.kind, found.strength * 0.75, "comment")
