"""What the names say: of the column, its table, and the comments on both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from policies.detect.lexicon import any_of, lines, word_set

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_COMMENT_END = re.compile(r"[,，。；;:：(（\[【|/]|\s-\s|\n")
_BARE_NAME = frozenset(("name", "names", "nm", "mc", "mingcheng", "naam", "nom", "nombre", "nome"))
_BARE_NAME_HAN = re.compile(r"名称$|^名$")
_JUST_BELOW = 0.55
_PERSON = word_set("lexicon", "person")
_PERSON_HAN = any_of("person_han")
"""Whose names, numbers and addresses are about persons."""
_THING = word_set("lexicon", "thing")
_THING_HAN = any_of("thing_han")
"""Whose names are harmless."""
_INSTITUTION = word_set("lexicon", "institution")
_INSTITUTION_HAN = any_of("institution_han")
_MONEY = word_set("lexicon", "money_table")
_OTHER_PARTS = (
    *("type", "status", "flag", "time", "date", "model", "count", "verified"),
    *("leixing", "zhuangtai", "xinghao", "pinpai", "shijian", "cishu", "shuliang", "biaozhi", "guishudi"),
)
_MONEY_PART = re.compile(r"tran|txn|trx|ledger|jrnl|journal|payment|loan|deposit|remit|stmt", re.IGNORECASE)
_MONEY_HAN = any_of("money_table_han")
_NEUTRAL_AFTER = word_set("lexicon", "neutral_after")
_OTHER_AFTER = word_set("lexicon", "other_after")
_BEFORE_OTHER = word_set("lexicon", "before_other")
_OTHER_HAN = any_of("other_han")
_NOT_BIRTHS = word_set("lexicon", "not_births")
_CARD_WORDS = frozenset(("card", "cards", "cc", "creditcard", "kp", "kxx", "xyk", "jjk", "yhk", "card_no", "pan"))
_ENCRYPTED = frozenset("enc encrypted encrypt cipher ciphertext crypt crypted hash hashed md sha sm jiami miwen".split())
_PUBLIC_OF_INSTITUTIONS = frozenset(("phone", "address", "email", "location"))


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
    not_births: bool = False
    encrypted: bool = False
    """The name says that the values are."""

    def strength(self, kind: str) -> float:
        return max((e.strength for e in self.evidence if e.kind == kind), default=0.0)


@lru_cache(maxsize=8192)
def words(name: str) -> tuple[str, ...]:
    """`custNm2` → cust, nm, 2. Chinese characters stay together."""
    plain = unicodedata.normalize("NFKC", name)
    humps = _HUMP.sub("_", plain)
    return tuple(
        w.lower()
        for w in re.split(
            r"[^0-9A-Za-z\u00c0-\u024f\u4e00-\u9fff]+|(?<=[\u4e00-\u9fff])(?![\u4e00-\u9fff])|(?<![\u4e00-\u9fff])(?=[\u4e00-\u9fff])",
            humps,
        )
        if w
    )


def read_names(schema: str, table: str, column: str, comment: str | None = None, table_comment: str | None = None) -> Named:
    """What the names of a column and its surroundings say about its content."""
    own = words(column)
    around = _around(schema, table, table_comment)
    head = frozenset(own[:-1])
    person = bool((head | around.words) & _PERSON) or around.person_han
    best: dict[str, NameEvidence] = {}
    for found in (*_by_words(own, column), *_by_han(column, "column name"), *_by_comment(comment)):
        known = best.get(found.kind)
        if known is None or found.strength > known.strength:
            best[found.kind] = found
    of_thing, of_person, bare = _whose_name(own, column, comment, around)
    if bare and "name" not in best:
        strength = 0.0 if of_thing else 0.7 if of_person else 0.3
        if strength:
            best["name"] = NameEvidence("name", strength, "column and table name" if of_person else "column name")
    if (
        "amount" in best
        and best["amount"].strength < 0.6
        and (around.words & _MONEY or around.money_han or _MONEY_PART.search(table))
    ):
        best["amount"] = NameEvidence("amount", 0.7, "column and table name")
    if "card_expiry" in best and not (frozenset(own) | around.words) & _CARD_WORDS and "卡" not in table + column:
        best["card_expiry"] = NameEvidence("card_expiry", min(best["card_expiry"].strength, 0.4), best["card_expiry"].says)
    institution = (
        (bool(around.last & _INSTITUTION) or around.institution_han) and not (head & _PERSON) and not around.last & _PERSON
    )
    if institution:
        for kind in _PUBLIC_OF_INSTITUTIONS & best.keys():
            best[kind] = NameEvidence(kind, min(best[kind].strength, 0.45), best[kind].says)
    ordered = tuple(sorted(best.values(), key=lambda e: -e.strength))
    births = frozenset(own) & _NOT_BIRTHS or any(w.startswith("graduat") for w in own)
    return Named(ordered, of_thing, person, institution, bool(births), bool(frozenset(own) & _ENCRYPTED))


@dataclass(frozen=True, slots=True)
class _Around:
    words: frozenset[str]
    last: frozenset[str]
    """The table's own words, in the singular too."""
    person_han: bool
    thing_han: bool
    money_han: bool
    institution_han: bool


@lru_cache(maxsize=4096)
def _around(schema: str, table: str, comment: str | None) -> _Around:
    own = [
        w
        for w in words(table)
        if not w.isdigit()
        and w not in ("t", "tb", "tbl", "tab", "sys", "dim", "fact", "ods", "dwd", "dws", "ads", "stg", "v", "f", "d")
    ]
    singular = {
        w[:-3] + "y" if w.endswith("ies") else w[:-2] if w.endswith("sses") else w[:-1] if len(w) > 3 and w.endswith("s") else w
        for w in own
    }
    every = frozenset((*own, *singular))
    text = table + " " + (comment or "")
    return _Around(
        every,
        every,
        bool(_PERSON_HAN.search(text)),
        bool(_THING_HAN.search(text)),
        bool(_MONEY_HAN.search(text)),
        bool(_INSTITUTION_HAN.search(text)),
    )


def _whose_name(own: tuple[str, ...], column: str, comment: str | None, around: _Around) -> tuple[bool, bool, bool]:
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
    if comment and _THING_HAN.search(comment) and not _PERSON_HAN.search(comment):
        return True, False, True
    if any(w in _THING for w in head) and not any(w in _PERSON for w in head):
        return True, False, True
    if han and _THING_HAN.search(column) and not _PERSON_HAN.search(column):
        return True, False, True
    if any(w in _PERSON for w in head) or (han and _PERSON_HAN.search(column)):
        return False, True, True
    if around.words & _PERSON or around.person_han:
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
            if _OTHER_HAN.search(rest) or "是否" in text:
                continue
            if kind == "address" and re.search(r"(?:IP|ip|MAC|mac|网|邮箱|邮件|URL|物理|内存)$", text[: found.start()]):
                continue
            loss = 1.0 if len(rest) <= 4 else _JUST_BELOW
            yield NameEvidence(kind, strength * loss, f"{says} {text}" if says == "column name" else says)
            break


def _by_comment(comment: str | None) -> Iterator[NameEvidence]:
    if not comment:
        return
    title = _COMMENT_END.split(unicodedata.normalize("NFKC", comment).strip(), maxsplit=1)[0].strip()[:40]
    if _HAN.search(title):
        for found in _by_han(title, "comment"):
            yield NameEvidence(found.kind, found.strength * 0.95, "comment")
    elif title and len(title.split()) <= 5:
        for found in _by_words(words(title), title):
            yield NameEvidence(found.kind, found.strength * 0.85, "comment")
