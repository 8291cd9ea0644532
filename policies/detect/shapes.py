"""Forms of values that mean something beside others: random strings, links with tokens, plates of many countries, vectors.

None of these marks proves a kind by itself; `structure` weighs them with what else stands in the table. Formats of plates: the
registration rules of the countries; of passports: ICAO 9303 part 4 and the numbers that countries print.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_PREFIX = re.compile(r"^[A-Za-z]{1,10}[_-](?=[A-Za-z0-9+/=_-]{8,}$)")
_HEX = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{8,256}|(?=.*\d)(?=.*[A-F])[0-9A-F]{8,256}")
_BASE64 = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[A-Za-z0-9+/_:.-]{12,256}={0,2}")
_TOKEN_KEY = re.compile(
    r"(?:^|[&;])(?:[\w.-]*(?:token|secret|sig|signature|key|auth|otp|nonce|hash|session|jwt|ticket)|code|sid|pw|pwd|password|t|k|s)"
    r"=[^&;]{8,}",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"[A-Z]{2,5}[_-]\d{8,20}")
_FILE = re.compile(r"\.[A-Za-z0-9]{2,5}$")
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)

PLATES: dict[str, re.Pattern[str]] = {
    "plate_de": re.compile(r"[A-ZÄÖÜ]{1,3}(?:-|\s|\s?-\s?)[A-Z]{1,2}\s?[1-9]\d{0,3}[EH]?"),
    "plate_uk": re.compile(r"[A-Z]{2}\d{2}\s?[A-HJ-PR-Z]{3}|[A-Z]\d{1,3}\s[A-Z]{3}"),
    "plate_fr": re.compile(r"[A-HJ-NP-TV-Z]{2}([ -])\d{3}\1[A-HJ-NP-TV-Z]{2}"),
    "plate_it": re.compile(r"[A-HJ-NPR-TV-Z]{2}\s?\d{3}\s?[A-HJ-NPR-TV-Z]{2}"),
    "plate_es": re.compile(r"\d{4}[ -]?[BCDFGHJ-NPR-TV-Z]{3}"),
    "plate_nl": re.compile(
        r"[A-Z]{2}-\d\d-\d\d|\d\d-\d\d-[A-Z]{2}|\d\d-[A-Z]{2}-\d\d|[A-Z]{2}-\d\d-[A-Z]{2}|[A-Z]{2}-[A-Z]{2}-\d\d|\d\d-[A-Z]{2}-[A-Z]{2}"
        r"|\d\d-[A-Z]{3}-\d|\d-[A-Z]{3}-\d\d|[A-Z]{2}-\d{3}-[A-Z]|[A-Z]-\d{3}-[A-Z]{2}|[A-Z]{3}-\d\d-[A-Z]|\d-[A-Z]{2}-\d{3}"
    ),
    "plate_be": re.compile(r"[1-9]-[A-Z]{3}-\d{3}"),
    "plate_ch": re.compile(r"(?:AG|AI|AR|BE|BL|BS|FR|GE|GL|GR|JU|LU|NE|NW|OW|SG|SH|SO|SZ|TG|TI|UR|VD|VS|ZG|ZH)[ -]?\d{3,6}"),
    "plate_at": re.compile(r"[A-Z]{1,2}[- ]\d{2,5}\s?[A-Z]{1,3}"),
    "plate_pl": re.compile(r"[A-Z]{2,3}\s(?:\d{5}|\d{4}[A-Z]|\d{3}[A-Z]{2}|[A-Z]\d{3,4})"),
    "plate_in": re.compile(r"[A-Z]{2}[ -]?\d{1,2}[ -]?[A-Z]{1,3}[ -]?\d{4}"),
    "plate_br": re.compile(r"[A-Z]{3}-?\d[A-Z0-9]\d{2}"),
    "plate_us": re.compile(r"[A-Z]{3}[- ]?\d{3,4}|\d[A-Z]{3}\d{3}|\d{3}[- ][A-Z]{3}"),
    "plate_ru": re.compile(r"[АВЕКМНОРСТУХABEKMHOPCTYX]\s?\d{3}\s?[АВЕКМНОРСТУХABEKMHOPCTYX]{2}\s?\d{2,3}"),
    "plate_kr": re.compile(r"\d{2,3}[\uac00-\ud7a3]\s?\d{4}"),
}
"""By country. Some codes of other things look like some of them."""

_TRAVEL = re.compile(
    r"[A-Z]\d{7,8}|[A-Z]{2}\d{6,7}|[A-Z]{3}\d{6}|\d{2}[A-Z]{2}\d{5}|\d{9}|(?=.*\d)[CFGHJKL][CFGHJKLMNPRTVWXYZ0-9]{8}"
    r"|[A-Z]\d[A-Z]{2}\d{5}|[A-Z]{2}\d[A-Z]{2}\d{4}"
)
"""Numbers of passports: CN, US, GB, FR, DE, IT, ES, NL, IN, JP, KR, CA, AU, BR, PL and others."""
_BANK_ACCOUNT = re.compile(
    r"(?=.{12,120}$).*(?:银行|信用社|农商行?|[工农中建交招民]行|支行|营业部"
    r"|\bbank\b|sparkasse|banque|banco|banca|caisse|credit union)"
    r".*?(?<!\d)\d(?:[ -]?\d){8,29}(?!\d).*",
    re.IGNORECASE,
)
_BLOOD = re.compile(
    r"(?:A|B|AB|O|0)\s?(?:型|[+-]|\s?RH\s?(?:[+-]|阳性|阴性)|\s?(?:pos|neg)(?:itive|ative)?)(?:\s?[(（].{1,10}[)）])?",
    re.IGNORECASE,
)
_DEGREES = re.compile(r"-?\d{1,3}\.\d{4,15}")
_LOWER = re.compile(r"[a-z_-]{2,24}")
_LEAST_NUMBERS = 8
"""Numbers from which a row of them is a vector and no pair of coordinates or short list of sizes."""


def shapes(text: str) -> frozenset[str]:
    """The marks of one value."""
    found: set[str] = set()
    if random_string(text):
        found.add("random")
    if _NUMBERED.fullmatch(text):
        found.add("numbered")
    if secret_link(text):
        found.add("secret_link")
    if 5 <= len(text) <= 12 and any(c.isdigit() for c in text):
        upper = text.upper()
        found.update(country for country, form in PLATES.items() if form.fullmatch(upper))
        if any(c.startswith("plate_") for c in found):
            found.add("plate_abroad")
        if _TRAVEL.fullmatch(upper):
            found.add("travel_number")
            if not text.isdigit():
                found.add("travel_letters")
    if _BANK_ACCOUNT.fullmatch(text):
        found.add("bank_account")
    if len(text) <= 16 and _BLOOD.fullmatch(text):
        found.add("blood")
    if _LOWER.fullmatch(text):
        found.add("lower_word")
    if _DEGREES.fullmatch(text):
        found.add("degrees")
    if text in ("A", "B", "O", "AB"):
        found.add("blood_letter")
        if text == "AB":
            found.add("blood_ab")
    if len(text) >= 6 and text[-1] in "?？":
        found.add("question")
    return frozenset(found)


def random_string(text: str) -> bool:
    """Drawn by a machine: hexadecimal, or letters of both cases and digits that change all the time."""
    if not 8 <= len(text) <= 300 or not text.isascii() or UUID.fullmatch(text):
        return False
    bare = _PREFIX.sub("", text)
    if _HEX.fullmatch(bare):
        return 6 * sum(c.isalpha() for c in bare) >= len(bare)
    if not _BASE64.fullmatch(bare) or bare[0] == "/" or _FILE.search(bare):
        return False
    changes = sum(_class(a) != _class(b) for a, b in itertools.pairwise(bare))
    return 3 * changes >= len(bare)


def _class(c: str) -> int:
    return 0 if c.islower() else 1 if c.isupper() else 2 if c.isdigit() else 3


def secret_link(text: str) -> bool:
    """A link that opens something for whoever has it: a token among its parameters or in its path, a password before the host."""
    if "://" not in text or any(c.isspace() for c in text):
        return False
    try:
        link = urlsplit(text)
    except ValueError:
        return False
    if ":" in link.netloc.rpartition("@")[0] or _TOKEN_KEY.search(link.query) or _TOKEN_KEY.search(link.fragment):
        return True
    return any(len(part) >= 20 and not _FILE.search(part) and random_string(part) for part in link.path.split("/"))


def is_vector(document: object) -> bool:
    """A row of many fractions: what is left of a face, a voice or a text."""
    return (
        isinstance(document, Sequence)
        and not isinstance(document, str)
        and len(document) >= _LEAST_NUMBERS
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in document)
        and 2 * sum(isinstance(n, float) and n != int(n) for n in document) > len(document)
    )
