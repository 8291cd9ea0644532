"""FF1 against the samples that NIST publishes with SP 800-38G, and what is too short to encrypt."""

from __future__ import annotations

import pytest

from policies.masks import ff1

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
KEY = "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94"
SAMPLES = [
    (16, 10, "0123456789", "", "2433477484"),
    (16, 10, "0123456789", "39383736353433323130", "6124200773"),
    (16, 36, "0123456789abcdefghi", "3737373770717273373737", "a9tv40mll9kdu509eum"),
    (24, 10, "0123456789", "", "2830668132"),
    (24, 10, "0123456789", "39383736353433323130", "2496655549"),
    (24, 36, "0123456789abcdefghi", "3737373770717273373737", "xbj3kv35jrawxv32ysr"),
    (32, 10, "0123456789", "", "6657667009"),
    (32, 10, "0123456789", "39383736353433323130", "1001623463"),
    (32, 36, "0123456789abcdefghi", "3737373770717273373737", "xs8a0azh2avyalyzuwd"),
]


@pytest.mark.parametrize(("size", "radix", "plain", "tweak", "expected"), SAMPLES)
def test_samples(size: int, radix: int, plain: str, tweak: str, expected: str) -> None:
    key = {16: KEY[:32], 24: KEY[:32] + "EF4359D8D580AA4F", 32: KEY}[size]
    numerals = [ALPHABET.index(c) for c in plain]
    found = ff1.encrypt(bytes.fromhex(key), radix, numerals, bytes.fromhex(tweak))
    assert "".join(ALPHABET[n] for n in found) == expected


@pytest.mark.parametrize(("radix", "length"), [(10, 5), (10, 1), (2, 19), (10, 257), (1000, 1)])
def test_too_short_or_long(radix: int, length: int) -> None:
    assert not ff1.suits(radix, length)
    with pytest.raises(ValueError, match="cannot be encrypted"):
        ff1.encrypt(bytes(32), radix, [0] * length)


def test_nothing_meets() -> None:
    """It is a permutation: different values stay different."""
    some = [[int(c) for c in f"{n:06}"] for n in range(0, 1_000_000, 4999)]
    assert len({tuple(ff1.encrypt(bytes(32), 10, n)) for n in some}) == len(some)
