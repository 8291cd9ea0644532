"""The `rows:` predicate of a rule: found attributes, found names, replaced attributes. A scanner, not a parser.

The text is SQL over the columns of one relation. `rewrite` parses and pins it; here only what needs no grammar is done:
`:user.branch` becomes a literal of the session's attribute (never inside a string, a quoted name or a `::` cast), and
text that could end the expression early (comments, semicolons, unbalanced brackets) is refused when the policy is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<bad>--|/\*|;|\\|\x00|\$[A-Za-z_]*\$|[eEbBxXnN]'|[uU]&['"])
      | (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<cast>::)
      | (?P<attribute>:user\.(?P<attr>[A-Za-z_][A-Za-z0-9_]*))
      | (?P<colon>:)
      | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[^\W\d][\w$]*)
      | (?P<open>[(\[])
      | (?P<close>[)\]])
      | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Words that SQL reads as something other than a column.
# fmt: off
_KEYWORDS = frozenset((
    "all", "and", "any", "array", "as", "asc", "at", "between", "both", "case", "cast", "collate", "current_date",
    "current_time", "current_timestamp", "date", "distinct", "else", "end", "escape", "extract", "false", "for",
    "from", "ilike", "in", "interval", "is", "isnull", "leading", "like", "localtime", "localtimestamp", "not",
    "notnull", "null", "operator", "or", "overlaps", "position", "similar", "some", "substring", "symmetric",
    "then", "time", "timestamp", "to", "trailing", "trim", "true", "unknown", "using", "when", "with", "without",
    "zone", "day", "month", "year", "hour", "minute", "second",
))
# fmt: on
_TYPE_LEADERS = frozenset({"cast", "as", "collate"})


@dataclass(frozen=True, slots=True)
class Predicate:
    source: str
    attributes: frozenset[str]
    """Names used as :user.<name>."""
    names: frozenset[str]
    """Words that stand where a column may stand, folded as PostgreSQL folds them."""

    def bind(self, attributes: Mapping[str, str]) -> str | None:
        """The predicate with attributes as literals; None when an attribute is not known for the session."""
        if not self.attributes <= attributes.keys():
            return None
        out = []
        for token in _tokens(self.source):
            out.append(quote(attributes[token["attr"]]) if token.lastgroup == "attribute" else token[0])
        return "".join(out)


def quote(value: str) -> str:
    """A plain SQL literal; pgveil pins standard_conforming_strings, so a backslash stands for itself."""
    return "'" + value.replace("'", "''") + "'"


def parse_predicate(source: str) -> Predicate | str:
    """The predicate, or a sentence that says what is wrong with it."""
    attributes: set[str] = set()
    names: set[str] = set()
    stack: list[str] = []
    tokens = [t for t in _tokens(source) if t.lastgroup != "space"]
    for i, token in enumerate(tokens):
        kind, text = token.lastgroup, token[0]
        if kind == "bad":
            return f"{text!r} cannot be used in a row predicate"
        if kind == "other" and text in "'\"":
            return f"a {text} is not closed"
        if kind == "colon":
            return "only :user.<attribute> can follow a colon"
        if kind == "attribute":
            attributes.add(token["attr"])
        elif kind == "open":
            stack.append(")" if text == "(" else "]")
        elif kind == "close":
            if not stack or stack.pop() != text:
                return f"{text!r} closes nothing"
        elif kind in ("word", "quoted") and _may_be_column(tokens, i):
            names.add(text[1:-1].replace('""', '"') if kind == "quoted" else text.lower())
    if stack:
        return f"{stack[-1]!r} is missing"
    if any(t[0].lower() in ("select", "with") for t in tokens if t.lastgroup == "word"):
        return "a sub-select cannot be used in a row predicate"
    return Predicate(source, frozenset(attributes), frozenset(names))


def _tokens(source: str) -> Iterator[re.Match[str]]:
    """Every character of the source is in exactly one token."""
    return _TOKEN.finditer(source)


def _may_be_column(tokens: list[re.Match[str]], i: int) -> bool:
    token = tokens[i]
    before = tokens[i - 1] if i else None
    after = tokens[i + 1] if i + 1 < len(tokens) else None
    if token.lastgroup == "word" and token[0].lower() in _KEYWORDS:
        return False
    if before is not None and (before[0] in (".", "::") or before[0].lower() in _TYPE_LEADERS):
        return False
    return after is None or after[0] not in (".", "(")
