"""What a person's name looks like: Chinese by surname and given name, Latin by its form and common names, and both together.

A single value proves little (the surname 黄 begins 黄金 too), so the answers here are marks that `summary` counts over a column.
"""

from __future__ import annotations

import itertools
import re

from policies.detect.lexicon import characters, word_set

_SURNAMES = characters("people", "surnames")
_DOUBLE = word_set("people", "double_surnames")
_COMMON_SURNAMES = characters("people", "common_surnames")
_GIVEN = characters("people", "given")
_NEVER = characters("people", "never") - characters("people", "end_only")
_ZH = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]{2,4}")
_ZH_FOREIGN = re.compile(r"[\u4e00-\u9fff]{1,8}(?:[·•・．.][\u4e00-\u9fff]{1,8}){1,3}")
_TITLES = re.compile(r"^(?:mr|mrs|ms|miss|dr|prof|herr|frau|dipl|ing|mme|univ|sr|sra|sig|ir|mag)\b\.?[\s-]*", re.IGNORECASE)
_SUFFIXES = re.compile(
    r",?\s+(?:jr|sr|md|dds|phd|dvm|esq|ii|iii|iv|b\.?a\.?|b\.?sc\.?|m\.?sc\.?|mba\.?|b\.?eng\.?)\.?$", re.IGNORECASE
)
_WORD = re.compile(r"(?:[^\W\d_]['’]?)+(?:-[^\W\d_]+['’]?[^\W\d_]*)*\.?")
_EMBOSSED = re.compile(r"[A-Z][A-Z' -]*/[A-Z][A-Z' -]+")
"""As it stands on cards and tickets: LIN/WEI."""
_PARTICLES = frozenset("de da di del della van von der den zu bin al el la le du dos das y e ter af av".split())
_BOTH = re.compile(r"([\u4e00-\u9fff·]{2,8})\s*[(（/,，]?\s*([A-Za-z][A-Za-z .,'-]{2,40})[)）]?")

_PAIR = re.compile(
    r"(?<![A-Za-z])(?=([A-Z][a-z]{2,}) (?:[A-Z]\. )?([A-Z](?:['’][A-Z])?[a-z]{2,})(?![A-Za-z])"
    r"|([A-Z]{3,}) (?:[A-Z] )?([A-Z]{3,})(?![A-Za-z]))"
)
_FILE = re.compile(r"\.(?:pdf|jpe?g|png|docx?|tiff?|zip|ofd)$", re.IGNORECASE)
_ZH_ADDRESSED = re.compile(
    r"(?:客户|联系人|姓名|收款人|付款人|被保险人|投保人|患者|病人|借款人|员工|同事|其父|其母|配偶|丈夫|妻子|儿子|女儿|亲属)"
    r"[:： ]?([\u4e00-\u9fff]{2,3})"
    r"(?![\u4e00-\u9fff])|([\u4e00-\u9fff]{2,3})(?:先生|女士|小姐|同志|本人)"
    r"|(?:给|代|替|还|付|收到?)([\u4e00-\u9fff]{2,3})(?=的|转|还|付|工资|借|货|房|款|$)"
)

_FIRST_NAMES = word_set("people", "first_names")
_LAST_NAMES = word_set("people", "last_names")
_NOT_NAMES = word_set("people", "not_names")
_PINYIN_SURNAMES = word_set("people", "pinyin_surnames")
_SYLLABLE = (
    r"(?:[zcs]h?|[bpmfdtnlgkhjqxryw])?"
    r"(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|an|en|in|un|ai|ei|ui|ao|ou|iu|ie|ue|er|ia|ua|uo|a|o|e|i|u|v)"
)
_PINYIN_GIVEN = re.compile(rf"(?:{_SYLLABLE}){{1,3}}")


def chinese_name(text: str) -> bool:
    """Chinese characters that begin with a surname and do not end like a thing or a place; or a foreign name with dots."""
    if _ZH_FOREIGN.fullmatch(text):
        return True
    if not _ZH.fullmatch(text):
        return False
    if text[:2] in _DOUBLE:
        return len(text) > 2
    if text[0] not in _SURNAMES or len(text) > 3:
        return False
    return not any(c in _NEVER for c in text[1:])


def chinese_given(text: str) -> bool:
    """The last character is one that given names use."""
    return text[-1] in _GIVEN and text[-1] not in _NEVER


def chinese_common(text: str) -> bool:
    """One of the surnames that most people have."""
    return text[0] in _COMMON_SURNAMES or text[:2] in _DOUBLE


def several_names(text: str) -> bool:
    """Chinese names with signs between them: 张伟、李娜."""
    parts = re.split(r"\s*[、,，;；/&]\s*", text)
    return 2 <= len(parts) <= 6 and all(chinese_name(p) and chinese_given(p) for p in parts)


def latin_words(text: str) -> list[str]:
    """The words of a name in Latin script, or nothing when it has not the form of one."""
    bare = _SUFFIXES.sub("", text.replace("/", " ") if _EMBOSSED.fullmatch(text) else text)
    for _ in range(3):
        bare = _TITLES.sub("", bare)
    words = [w for w in re.split(r"[\s,]+", bare) if w]
    if not 1 <= len(words) <= 5 or not all(_WORD.fullmatch(w) for w in words) or any(ord(c) > 0x24F for c in bare):
        return []
    capitals = [w for w in words if w.lower() not in _PARTICLES]
    if not capitals or any(w[0].islower() for w in capitals) or any(w.lower().rstrip(".") in _NOT_NAMES for w in capitals):
        return []
    return [w.rstrip(".") for w in capitals]


def latin_known(words: list[str]) -> bool:
    """One of the words is a common first or last name, or the whole is a Chinese name in pinyin."""
    parts = [p for w in words for p in re.split(r"[-'’]", _plain(w)) if p]
    return any(p in _FIRST_NAMES or p in _LAST_NAMES for p in parts) or pinyin_name(words)


def first_name(word: str) -> bool:
    """A common first name."""
    return _plain(word) in _FIRST_NAMES


def last_name(word: str) -> bool:
    """A common family name."""
    return _plain(word) in _LAST_NAMES or _plain(word) in _PINYIN_SURNAMES


def names_in(text: str) -> bool:
    """Names of persons stand inside the text: a common first and last name side by side, or a Chinese name with a title."""
    for found in _PAIR.findall(text):
        first, last = found[:2] if found[0] else found[2:]
        if _plain(first) in _FIRST_NAMES and _plain(last) in _LAST_NAMES and _plain(last) not in _NOT_NAMES:
            return True
    if _FILE.search(text) and any(
        chinese_name(p) and chinese_given(p) and chinese_common(p) for p in re.split(r"[/\\_. -]", text) if len(p) in (2, 3)
    ):
        return True
    return any(
        chinese_name(name) and (chinese_given(name) or chinese_common(name))
        for groups in _ZH_ADDRESSED.findall(text)
        for name in groups
        if len(name) > 1
    )


def name_in_parts(text: str) -> bool:
    """A name of a person stands in the name of a file: Keller_Emma_passport, 张伟-身份证."""
    parts = [p for p in re.split(r"[\s_.,()+-]+", text) if p]
    if any(chinese_name(p) and chinese_given(p) and chinese_common(p) for p in parts):
        return True
    plain = [_plain(p) for p in parts if p[0].isupper()]
    pairs = itertools.pairwise(plain)
    return any((a in _FIRST_NAMES and b in _LAST_NAMES) or (a in _LAST_NAMES and b in _FIRST_NAMES) for a, b in pairs)


def pinyin_name(words: list[str]) -> bool:
    lower = [w.lower() for w in words]
    if not 2 <= len(lower) <= 3:
        return False
    for surname, given in ((lower[0], lower[1:]), (lower[-1], lower[:-1])):
        if surname in _PINYIN_SURNAMES and _PINYIN_GIVEN.fullmatch("".join(given).replace("-", "")):
            return True
    return False


def bilingual(text: str) -> bool:
    """A Chinese name with the same in Latin letters beside it: 张伟 (Zhang Wei)."""
    found = _BOTH.fullmatch(text)
    return found is not None and chinese_name(found[1]) and bool(latin_words(found[2].strip()))


def _plain(word: str) -> str:
    table = str.maketrans("äöüéèêëáàâãåíìîïóòôõúùûçñøæ", "aoueeeeaaaaaiiiioooouuucnoa")
    return word.lower().replace("ß", "ss").translate(table)
