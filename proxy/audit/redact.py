"""Takes the data out of SQL text: every literal becomes `?`, comments go, runs of white space become one blank.

What the literals say is handed over as well, statement by statement, for `proxy.audit.values`, which makes digests of it.

Contract: never fails, linear, and errs on the side of removing: text whose lexing is in doubt (unterminated, different
under `standard_conforming_strings = off`, or a letter right behind the closing quote) is cut off there
with `?…`. Identifiers, keywords, operators and `$1` stay; a quoted identifier that looks like data (six digits or an `@`)
does not. Lexical rules: manual section 4.1.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

CUT = "?…"
LIMIT = 8192
"""Bytes of redacted text kept, UTF-8."""
_INPUT_LIMIT = 262_144
"""Characters that are looked at."""
_CACHED = 4096
_DEPTH = 3
"""How far bodies within bodies ($$ ... $$) are searched for literals."""
_WITH_PASSWORDS = re.compile(r"\b(create|alter)\s+(role|user|group|subscription|server|foreign)\b", re.IGNORECASE)
"""How statements begin of which a literal may be a password, in a body perhaps behind a BEGIN or IF."""
MAX_VALUES = 10_000
"""Different literals kept of one text."""

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
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))|''", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_UNICODE = re.compile(r"\\(?:([0-9A-Fa-f]{4})|\+([0-9A-Fa-f]{6})|(\\))|''")
_NEAR = re.compile(r"\b(at or near|syntax error|unterminated|invalid input)\b.*", re.DOTALL | re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{5,}")


@dataclass(frozen=True, slots=True)
class Redacted:
    text: str
    """Without literals, at most LIMIT bytes."""
    values: tuple[tuple[str, ...], ...]
    """What the literals say, each once, for each of the statements that a semicolon divides."""
    whole: bool
    """The values are all there are: nothing was in doubt, too long or too many."""


def redact(sql: str) -> Redacted:
    return _redact_cached(sql) if len(sql) <= _CACHED else _redact(sql)


def redact_message(message: str) -> str:
    """A refusal's reason for the record: what a parser quotes from the statement, strings and long numbers go."""
    message = _NEAR.sub(lambda m: f"{m[1]} {CUT}", message)
    message = re.sub(r"'[^']*'", "'?'", message)
    return _DIGITS.sub("?", message)[:1000]


def _redact(sql: str, depth: int = _DEPTH) -> Redacted:
    out: list[str] = []
    values = _Values()
    at, end = 0, min(len(sql), _INPUT_LIMIT)
    match = _TOKEN.match
    while at < end:
        token = match(sql, at, end)
        assert token is not None  # `other` takes any character
        at = token.end()
        kind = token.lastgroup
        if kind == "keep":
            out.append(token[0])
            values.between(token[0])
        elif kind == "space":
            out.append(" ")
            values.begin(" ")
        elif kind == "string":
            out.append("?")
            values.string(_said(token[0]))
        elif kind == "number":
            out.append("?")
            values.add(token[0])
        elif kind == "name":
            out.append('"?"' if _looks_like_data(token[0]) else token[0])
            values.between('"')
        elif kind == "comment":
            out.append(" ")
            values.begin(" ")
            at = _comment_end(sql, at, end)
        elif kind == "dollar":
            begin = at
            at = sql.find(token[0], at, end) + len(token[0])
            out.append("?")
            if at < len(token[0]):
                at = -1
            else:
                values.body(sql[begin : at - len(token[0])], depth)
        elif kind == "doubt":
            at = -1
        else:
            out.append(token[0])
            values.between(token[0])
        if at < 0:
            out.append(CUT)
            values.whole = False
            break
    else:
        if end < len(sql):
            out.append(" …")
            values.whole = False
    text = re.sub(r" {2,}", " ", "".join(out)).strip()
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > LIMIT:
        text = data[: LIMIT - 4].decode("utf-8", "ignore") + " …"
    return Redacted(text, values.divided(), values.whole)


class _Values:
    """Collects what the literals of a text say."""

    def __init__(self) -> None:
        self.whole = True
        self._run: list[str] = []
        """Strings with nothing but blanks between them, which belong together (manual section 4.1.2.1)."""
        self._pieces: list[dict[str, None]] = [{}]
        self._begin = ""
        """The first words of the statement."""
        self._number = 0
        self._empty = True
        """Nothing but blanks since the last semicolon."""

    def add(self, value: str) -> None:
        self._end_run()
        self._put(value)

    def _put(self, value: str) -> None:
        self._empty = False
        if self._number >= MAX_VALUES:
            self.whole = False
            return
        if value not in self._pieces[-1]:
            self._pieces[-1][value] = None
            self._number += 1

    def begin(self, text: str) -> None:
        """The statement goes on."""
        if len(self._begin) < 80:
            self._begin += text

    def string(self, value: str) -> None:
        """As it stands, and with those that it continues."""
        self._put(value)
        self._run.append(value)

    def _end_run(self) -> None:
        if len(self._run) > 1:
            self._put("".join(self._run))
        self._run.clear()

    def body(self, text: str, depth: int) -> None:
        """A string between dollars: what it says, or, where it is code, what the literals in it say."""
        self.add(text)
        if depth > 0 and not text.isalnum():
            inner = _redact(text, depth - 1)
            self.whole = self.whole and inner.whole
            for piece in inner.values:
                for value in piece:
                    self.add(value)

    def between(self, text: str) -> None:
        """What is not a literal."""
        if text.strip(" ") == "":
            self.begin(text)
            return
        self._end_run()
        for number, part in enumerate(text.split(";")):
            if number:
                self._end()
            self.begin(part)
            if part.strip(" "):
                self._empty = False

    def _end(self) -> None:
        """Of a statement. Nothing is kept of one that may hold a password."""
        if _WITH_PASSWORDS.search(self._begin) is not None and self._pieces[-1]:
            self._pieces[-1] = {}
            self.whole = False
        self._begin = ""
        if not self._empty:
            self._pieces.append({})
            self._empty = True

    def divided(self) -> tuple[tuple[str, ...], ...]:
        """To be called once, when there is no more."""
        self._end_run()
        self._end()
        return tuple(map(tuple, self._pieces[:-1] or self._pieces))


def _said(token: str) -> str:
    """What a string constant says, whatever way it is written."""
    at = token.index("'")
    inside = token[at + 1 : -1]
    prefix = token[:at].lower()
    if prefix == "e":
        return _ESCAPE.sub(_unescaped, inside)
    if prefix == "u&":
        return _UNICODE.sub(_of_unicode, inside)
    return inside.replace("''", "'")


def _unescaped(m: re.Match[str]) -> str:
    octal, *hexadecimal, plain = m.groups()
    if plain is not None:
        return _ESCAPED.get(plain, plain)
    if octal is not None:
        return chr(int(octal, 8) & 0xFF)
    code = next((int(h, 16) for h in hexadecimal if h is not None), None)
    return "'" if code is None else chr(code) if code < 0x110000 else ""


def _of_unicode(m: re.Match[str]) -> str:
    code = m[1] or m[2]
    if code is not None:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""
    return "\\" if m[3] else "'"


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
