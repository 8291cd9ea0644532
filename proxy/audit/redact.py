"""Takes the data out of SQL text: every literal becomes `?`, comments go, runs of white space become one blank.

Contract: never fails, linear, and errs on the side of removing: text whose lexing is in doubt (unterminated, different
under `standard_conforming_strings = off`, or a letter right behind the closing quote) is cut off there
with `?…`. Identifiers, keywords, operators and `$1` stay; a quoted identifier that looks like data (six digits or an `@`)
does not. Lexical rules: manual section 4.1.
"""

from __future__ import annotations

import functools
import re

CUT = "?…"
LIMIT = 8192
"""Bytes of redacted text kept, UTF-8."""
_INPUT_LIMIT = 65536
_CACHED = 4096

_TOKEN = re.compile(
    r"""
    (?P<keep> (?: (?!(?:[eEbBxXnN]|[uU]&)['"])[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*+
              | [ ](?!\s) | -(?!-) | /(?!\*) | \.(?![0-9])
              | [^\sA-Za-z_0-9'"$/.\-\u0080-\U0010ffff] )++ )  # runs of what surely holds no data, for speed
  | (?P<space> \s++ | --[^\n\r]*+ )
  | (?P<comment> /\* )
  | (?P<string> (?: [eE]'(?:[^'\\]|''|\\.)*+'                     # E'..': backslash escapes
                  | (?:[uU]&|[bBxXnN])?+'(?:[^'\\]|''|\\[^'])*+' )  # a quote behind a backslash: in doubt
                (?![A-Za-z0-9_$'\u0080-\U0010ffff]) )             # 'O'Brien': in doubt
  | (?P<name> (?:[uU]&)?+"(?:[^"]|"")*+" )
  | (?P<doubt> (?:[eEbBxXnN]|[uU]&)?+' | (?:[uU]&)?+" )
  | (?P<word> [A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*+ )
  | (?P<param> \$[0-9]{1,5}+(?![A-Za-z0-9_$\u0080-\U0010ffff]) )
  | (?P<dollar> \$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*+)?+\$ )
  | (?P<number> [$]?+\.?+[0-9](?:[eE][+-]?[0-9]|[A-Za-z0-9_.\u0080-\U0010ffff])*+ )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_COMMENT_PART = re.compile(r"/\*|\*/")
_NEAR = re.compile(r"\b(at or near|syntax error|unterminated|invalid input)\b.*", re.DOTALL | re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{5,}")


def redact_literals(sql: str) -> str:
    """The statement without its literals, at most LIMIT bytes."""
    return _redact_cached(sql) if len(sql) <= _CACHED else _redact(sql)


def redact_message(message: str) -> str:
    """A refusal's reason for the record: what a parser quotes from the statement, strings and long numbers go."""
    message = _NEAR.sub(lambda m: f"{m[1]} {CUT}", message)
    message = re.sub(r"'[^']*'", "'?'", message)
    return _DIGITS.sub("?", message)[:1000]


def _redact(sql: str) -> str:
    out: list[str] = []
    at, end = 0, min(len(sql), _INPUT_LIMIT)
    match = _TOKEN.match
    while at < end:
        token = match(sql, at, end)
        assert token is not None  # `other` takes any character
        at = token.end()
        kind = token.lastgroup
        if kind == "keep":
            out.append(token[0])
        elif kind == "space":
            out.append(" ")
        elif kind == "string" or kind == "number":
            out.append("?")
        elif kind == "name":
            out.append('"?"' if _looks_like_data(token[0]) else token[0])
        elif kind == "comment":
            out.append(" ")
            at = _comment_end(sql, at, end)
        elif kind == "dollar":
            at = sql.find(token[0], at, end) + len(token[0])
            out.append("?")
            if at < len(token[0]):
                at = -1
        elif kind == "doubt":
            at = -1
        else:
            out.append(token[0])
        if at < 0:
            out.append(CUT)
            break
    else:
        if end < len(sql):
            out.append(" …")
    text = re.sub(r" {2,}", " ", "".join(out)).strip()
    data = text.encode("utf-8", "backslashreplace")
    return text if len(data) <= LIMIT else data[: LIMIT - 4].decode("utf-8", "ignore") + " …"


_redact_cached = functools.lru_cache(maxsize=2048)(_redact)


def _comment_end(sql: str, at: int, end: int) -> int:
    """Behind the `*/` that closes the comment opened before `at`, comments nest; -1 when nothing does."""
    depth = 1
    while part := _COMMENT_PART.search(sql, at, end):
        at = part.end()
        depth += 1 if part[0] == "/*" else -1
        if depth == 0:
            return at
    return -1


def _looks_like_data(name: str) -> bool:
    return "@" in name or sum(c.isdigit() for c in name) >= 6
