"""Check digits, a few lines each. python-stdnum, which has them all, is LGPL: it serves as the oracle in the tests only."""

from __future__ import annotations

import re

_RESIDENT = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_IBAN_LENGTHS = dict(
    pair.split("=")
    for pair in (
        "AD=24 AE=23 AL=28 AT=20 AZ=28 BA=20 BE=16 BG=22 BH=22 BR=29 BY=28 CH=21 CR=22 CY=28 CZ=24 DE=22 DK=18 DO=28 EE=20 EG=29 "
        "ES=24 FI=18 FO=18 FR=27 GB=22 GE=22 GI=23 GL=18 GR=27 GT=28 HR=21 HU=28 IE=22 IL=23 IQ=23 IS=26 IT=27 JO=30 KW=30 KZ=20 "
        "LB=28 LC=32 LI=21 LT=20 LU=20 LV=21 LY=25 MC=27 MD=24 ME=22 MK=19 MR=27 MT=31 MU=30 NL=18 NO=15 PK=24 PL=28 PS=29 PT=25 "
        "QA=29 RO=24 RS=22 SA=24 SC=31 SE=24 SI=19 SK=24 SM=27 ST=25 SV=28 TL=23 TN=24 TR=26 UA=29 VA=22 VG=24 XK=20"
    ).split()
)
"""Lengths by country, from the SWIFT IBAN registry."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B, over text of digits only."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def resident_id(text: str) -> bool:
    """The check character of an 18-place resident ID (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(int(c) * w for c, w in zip(text[:17], _RESIDENT, strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def credit_code(text: str) -> bool:
    """The check character of a unified social credit code (GB 32100, MOD 31)."""
    places = [_CREDIT_LETTERS.find(c) for c in text]
    if len(text) != 18 or -1 in places:
        return False
    return (31 - sum(p * w for p, w in zip(places[:17], _CREDIT, strict=True)) % 31) % 31 == places[17]


def iban(text: str) -> bool:
    """Length by country and check digits (ISO 13616, MOD 97-10). `text` has no blanks and is in capitals."""
    if not _IBAN.fullmatch(text) or _IBAN_LENGTHS.get(text[:2]) != str(len(text)):
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def hong_kong_id(text: str) -> bool:
    """The check character of a Hong Kong identity card: one or two letters, six digits, the check character."""
    padded = f"{text:>9}"
    values = [36 if c == " " else int(c, 36) for c in padded[:8]]
    check = 10 if padded[8] == "A" else int(padded[8], 36)
    return (sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) + check) % 11 == 0


def taiwan_id(text: str) -> bool:
    """The check digit of a Taiwan identity card: a letter and nine digits."""
    first = "ABCDEFGHJKLMNPQRSTUVXYWZIO".find(text[0]) + 10
    rest = [int(c) for c in text[1:]]
    total = first // 10 + first % 10 * 9 + sum(d * w for d, w in zip(rest[:8], range(8, 0, -1), strict=True)) + rest[8]
    return total % 10 == 0
