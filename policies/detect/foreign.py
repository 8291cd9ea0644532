"""National identification numbers whose form, mostly with a check character, hardly anything else has."""

from __future__ import annotations

import re
from collections.abc import Callable

_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]")
"""United Kingdom: National Insurance number."""
_FISCAL = re.compile(r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]")
"""Italy: codice fiscale."""
_PENSION = re.compile(r"\d{2}(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}[A-Z]\d{3}")
"""Germany: Rentenversicherungsnummer, with the day of birth in it."""
_NIR = re.compile(r"[1-478]\d{2}(?:0[1-9]|1[0-2]|[2-9]\d)(?:\d{2}|2[AB])\d{6}(\d{2})")
"""France: numéro de sécurité sociale."""
_NRIC = re.compile(r"[STFGM]\d{7}[A-Z]")
_DNI = re.compile(r"[XYZ]?\d{7,8}[A-HJ-NP-TV-Z]")
_PAN = re.compile(r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]")
"""India: permanent account number."""
_CPF = re.compile(r"\d{3}\.\d{3}\.\d{3}-\d{2}")
"""Brazil, in its written form."""
_PERSONAL = re.compile(r"(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-+]\d{4}")
"""Sweden: personnummer, with its hyphen."""
_RRN = re.compile(r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-4]\d{6}")
"""Korea: resident registration number, with its hyphen."""


def _nir(text: str) -> bool:
    digits = text[:-2].replace("2A", "19").replace("2B", "18")
    return 97 - int(digits) % 97 == int(text[-2:])


def _dni(text: str) -> bool:
    number = str("XYZ".find(text[0])) + text[1:-1] if text[0] in "XYZ" else text[:-1]
    return len(number) == 8 and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def _nric(text: str) -> bool:
    total = sum(int(c) * w for c, w in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    if text[0] in "TG":
        total += 4
    letters = "JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK"
    return text[0] == "M" or letters[total % 11] == text[-1]


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool] | None], ...] = (
    (_NINO, None),
    (_FISCAL, None),
    (_PENSION, None),
    (_NIR, _nir),
    (_NRIC, _nric),
    (_DNI, _dni),
    (_PAN, None),
)
_WRITTEN = (_CPF, _PERSONAL, _RRN)


def national(text: str) -> bool:
    """The text is such a number."""
    if not 9 <= len(text) <= 21:
        return False
    bare = text.upper().replace(" ", "")
    return any(p.fullmatch(bare) is not None and (check is None or check(bare)) for p, check in _FORMS) or any(
        p.fullmatch(text) for p in _WRITTEN
    )
