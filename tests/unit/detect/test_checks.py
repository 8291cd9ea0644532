"""Check digits agree with python-stdnum, which is LGPL and therefore only here."""

from __future__ import annotations

import random

import pytest
import stdnum.iban
import stdnum.luhn
from stdnum.cn import ric, uscc

from policies.detect import checks
from tests.discovery import values


@pytest.mark.parametrize("seed", range(40))
def test_agree_with_stdnum(seed: int) -> None:
    r = random.Random(seed)
    digits = values.digits(r, r.randrange(13, 20))
    assert checks.luhn(digits) == stdnum.luhn.is_valid(digits)
    made = values.id18(r)
    assert checks.resident_id(made)
    spoilt = made[:-1] + ("1" if made[-1] != "1" else "2")
    assert not checks.resident_id(spoilt)
    assert ric.calc_check_digit(made) == made[-1]
    code = values.uscc(r)
    assert checks.credit_code(code)
    assert uscc.is_valid(code) or code[:2] not in ("91", "12")
    assert not checks.credit_code(code[:-1] + ("A" if code[-1] != "A" else "B"))
    number = values.iban(r)
    assert checks.iban(number)
    assert not checks.iban(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize(
    "number", ["GB82WEST12345698765432", "FR1420041010050500013M02606", "NL91ABNA0417164300", "MT84MALT011000012345MTLCAST001S"]
)
def test_ibans_with_letters(number: str) -> None:
    assert stdnum.iban.is_valid(number, check_country=False)
    assert checks.iban(number)


def test_identity_cards_of_hong_kong_and_taiwan() -> None:
    assert checks.hong_kong_id("A1234563")
    assert not checks.hong_kong_id("A1234564")
    assert checks.hong_kong_id("AB9876543")
    assert checks.taiwan_id("A123456789")
    assert not checks.taiwan_id("A123456788")
