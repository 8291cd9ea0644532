"""What the server itself may read in another way than the grammar we parse with: that of PostgreSQL 18, in UTF-8.

Servers before 16 have other number constants and lack keywords; a database in another encoding cuts long names at another place
and may fold letters beyond ASCII. What both read alike passes; anything else is refused, so that what was checked is what runs.
Manual: sql-syntax-lexical, sql-keywords-appendix, charset.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewrite.catalog import Catalog
from rewrite.pgtree import Token
from rewrite.plan import Refusal

_NEW_NUMBER = re.compile(r"\.?[0-9].*_|0[xXoObB]")
"""Before 16, `1_000` is the number 1 followed by a name; from 16 on a number. 15 takes it for an error."""
_JUNK = re.compile(r"[0-9]+(_[0-9]+)+")

_RESERVED_SINCE = {"system_user": 160000}
"""Words that became reserved: a name to older servers, something else to the grammar we have."""

_TYPE_SINCE = {"json": 170000}
"""Words that stand for a builtin type, whatever the search_path, since that version; before, for any of that name. For functions
`rewrite.functions` knows."""

_NAME_BYTES = 63
_WIDEST = 4
"""Bytes of the widest character in any encoding of a database."""

_SINGLE_BYTE = re.compile(r"(SQL_ASCII|LATIN|ISO_|WIN|KOI)", re.IGNORECASE)


def refusal(source: str, tokens: Sequence[Token], catalog: Catalog) -> Refusal | None:
    """Of a text and its tokens. Why the server might read the text otherwise; None when it cannot."""
    if catalog.server_version < 170000:
        found = _older_grammar(source, tokens, catalog)
        if found is not None:
            return found
    if catalog.encoding not in ("UTF8", "UNICODE"):
        return _other_encoding(tokens, catalog.encoding)
    return None


def _older_grammar(source: str, tokens: Sequence[Token], catalog: Catalog) -> Refusal | None:
    version = catalog.server_version
    for i, token in enumerate(tokens):
        text = token.text
        if version < 160000 and _NEW_NUMBER.match(text):
            if version >= 150000 and _JUNK.fullmatch(text):
                place = len(source.encode()[: token.start].decode()) + 1
                return Refusal("42601", f'trailing junk after numeric literal at or near "{text}"', None, place, verbatim=True)
            return _otherwise(text, version, "write the number in decimal digits")
        word = text.lower()
        after_dot = i > 0 and tokens[i - 1].text == "."
        if after_dot or word not in _WORDS:
            continue
        if version < _RESERVED_SINCE.get(word, 0):
            return _otherwise(text, version, f'write "{word}" with quotes when it is a name')
        if version < _TYPE_SINCE.get(word, 0) and _elsewhere(catalog.types_by_name.get(word, ())):
            return _otherwise(text, version, f"write pg_catalog.{word}")
    return None


_WORDS = _RESERVED_SINCE.keys() | _TYPE_SINCE.keys()


def _elsewhere(found: Sequence[object]) -> bool:
    """Whether a schema other than pg_catalog has one."""
    return any(getattr(f, "schema", "") != "pg_catalog" for f in found)


def _otherwise(text: str, version: int, hint: str) -> Refusal:
    server = version // 10000
    return Refusal("0A000", f'"{text}" means something else to PostgreSQL {server} than to pgveil, which reads as 18 does', hint)


def _other_encoding(tokens: Sequence[Token], encoding: str) -> Refusal | None:
    folds = _SINGLE_BYTE.match(encoding) is not None
    for token in tokens:
        text = token.text
        if text[:3].lower() == 'u&"':
            return _unsure(encoding, 'U&"" names are converted to the database\'s encoding', "write the name without escapes")
        if text.isascii() or not (text[0] == '"' or text[0] == "_" or text[0].isalpha() or text[0] > "\x7f"):
            continue
        beyond = sum(c > "\x7f" for c in text)
        if len(text.encode()) > _NAME_BYTES or len(text) + beyond * (_WIDEST - 1) > _NAME_BYTES:
            return _unsure(encoding, "a name this long may be cut at another place", "use a shorter name or an alias")
        if folds and text[0] != '"' and any(c > "\x7f" and (c.lower() != c or encoding == "SQL_ASCII") for c in text):
            return _unsure(encoding, f'the letters of "{text}" may be folded', "write the name in quotes")
    return None


def _unsure(encoding: str, why: str, hint: str) -> Refusal:
    return Refusal("0A000", f"a name cannot be read with certainty in a database with encoding {encoding}: {why}", hint)
