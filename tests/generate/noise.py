"""Comments, odd white space and odd case between the tokens of a statement: the meaning stays."""

from __future__ import annotations

import random

from rewrite.pgtree import ParseError, tokens

_SPACE = (
    " ", "  ", "\n", "\t", "\r\n", "\f", " /**/ ", "/* it's */", "/* outer /* inner */ ' */", "\n--\n",
    "-- from bank.customers\n",
    '/* "quoted */', "/* $$ */", " --'\n", "/* 客户 */", "/* ; */",
)  # fmt: skip


def noisy(rng: random.Random, text: str, amount: float) -> str:
    """`text` with the given share of the gaps between its tokens filled with something PostgreSQL skips."""
    try:
        found = tokens(text)
    except ParseError:
        return text
    raw = text.encode()
    out = []
    at = 0
    for token in found:
        gap = raw[at : token.start].decode()
        if rng.random() < amount:
            gap += rng.choice(_SPACE)
            if at and not gap[:1].isspace():
                gap = " " + gap  # an operator before a comment would swallow its start
        word = raw[token.start : token.end].decode()
        if word.isascii() and word.isalpha() and rng.random() < amount:
            word = rng.choice((word.upper(), word.lower(), word.capitalize()))
        out.append(gap + word)
        at = token.end
    return "".join(out) + raw[at:].decode()
