"""AES in PL/pgSQL, for servers without pgcrypto: tables and round keys (FIPS 197), made here, looked up there.

About fifty times slower than pgcrypto. Both are held to the same test vectors (tests/e2e/test_keyed.py).
"""

from __future__ import annotations


def round_keys(key: bytes) -> list[int]:
    """The key schedule of an AES key of 16, 24 or 32 bytes, as words of 32 bits (FIPS 197, section 5.2)."""
    nk = len(key) // 4
    words = [int.from_bytes(key[i : i + 4], "big") for i in range(0, len(key), 4)]
    rcon = 1
    for i in range(nk, 4 * (nk + 7)):
        word = words[-1]
        if i % nk == 0:
            word = _substitute((word << 8 | word >> 24) & 0xFFFFFFFF) ^ rcon << 24
            rcon = _double(rcon)
        elif nk > 6 and i % nk == 4:
            word = _substitute(word)
        words.append(words[i - nk] ^ word)
    return words


def tables() -> tuple[list[int], list[list[int]]]:
    """The S-box, and the four tables that do SubBytes, ShiftRows and MixColumns of one byte at once."""
    first = [_double(s) << 24 | s << 16 | s << 8 | (_double(s) ^ s) for s in _SBOX]
    return _SBOX, [[(t >> 8 * n | t << 32 - 8 * n) & 0xFFFFFFFF for t in first] for n in range(4)]


def _double(value: int) -> int:
    """Times x in GF(2^8)."""
    return (value << 1) ^ (0x11B if value & 0x80 else 0)


def _sbox() -> list[int]:
    power, log, value = [0] * 255, [0] * 256, 1
    for i in range(255):
        power[i], log[value] = value, i
        value ^= _double(value)  # times x + 1, which generates the field
    out = []
    for i in range(256):
        inverse = power[-log[i] % 255] if i else 0
        turned = inverse
        for n in range(1, 5):
            turned ^= (inverse << n | inverse >> 8 - n) & 0xFF
        out.append(turned ^ 0x63)
    return out


_SBOX = _sbox()


def _substitute(word: int) -> int:
    return int.from_bytes(bytes(_SBOX[b] for b in word.to_bytes(4, "big")), "big")
