"""FF1: format-preserving encryption over numerals of any radix, NIST SP 800-38G (2016) with the domain bound of revision 1.

Algorithm 7 of the standard with AES-256. The SQL twin is `pgveil.ff1` in proxy/companion/companion.sql.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MIN_DOMAIN = 1_000_000
"""radix ** length must be at least this (SP 800-38G Rev. 1, section 5.1): less could be guessed by trying."""
MAX_LENGTH = 256
"""Numerals at most. The standard allows more; a column value that is longer is no number of anything."""

_ROUNDS = 10
_BLOCK = 16


def suits(radix: int, length: int) -> bool:
    """Whether that many numerals can be encrypted."""
    return 2 <= length <= MAX_LENGTH and radix**length >= MIN_DOMAIN


def encrypt(key: bytes, radix: int, numerals: Sequence[int], tweak: bytes = b"") -> list[int]:
    """The numerals, encrypted under an AES key of 16, 24 or 32 bytes: as many, of the same radix.

    Raises ValueError when they do not suit (`suits`).
    """
    n, t = len(numerals), len(tweak)
    if not suits(radix, n):
        raise ValueError(f"{n} numerals of radix {radix} cannot be encrypted")
    block = _cipher(key)
    u = n // 2
    v = n - u
    a, b = list(numerals[:u]), list(numerals[u:])
    size = ((radix**v - 1).bit_length() + 7) // 8
    d = 4 * ((size + 3) // 4) + 4
    head = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big") + t.to_bytes(4, "big")
    head = block(head)
    padding = bytes((-t - size - 1) % _BLOCK)
    for i in range(_ROUNDS):
        r = head
        q = tweak + padding + bytes([i]) + _number(b, radix).to_bytes(size, "big")
        for at in range(0, len(q), _BLOCK):
            r = block(_xor(r, q[at : at + _BLOCK]))
        s = r
        for j in range(1, (d + _BLOCK - 1) // _BLOCK):
            s += block(_xor(r, j.to_bytes(_BLOCK, "big")))
        m = v if i % 2 else u
        c = (_number(a, radix) + int.from_bytes(s[:d], "big")) % radix**m
        a, b = b, _numerals(c, radix, m)
    return a + b


def _cipher(key: bytes) -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # one block at a time: the building block of CBC-MAC
    return encryptor.update


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(_BLOCK, "big")


def _number(numerals: Sequence[int], radix: int) -> int:
    out = 0
    for numeral in numerals:
        out = out * radix + numeral
    return out


def _numerals(number: int, radix: int, length: int) -> list[int]:
    out = [0] * length
    for i in range(length - 1, -1, -1):
        number, out[i] = divmod(number, radix)
    return out
