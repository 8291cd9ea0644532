"""Read a psql script as psql does: SQL statements, backslash commands and COPY data, one at a time.

What ends a statement and where variables are filled in follows psql's lexer (src/fe_utils/psqlscan.l, psqlscanslash.l): a
semicolon outside parentheses, quotes, comments and SQL-standard function bodies. Values of variables come from the caller,
because earlier statements set them (\\gset).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of text that psql would send, and the backslash command that sent it (`;` for a semicolon)."""

    text: str
    line: int
    sender: str = ";"
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A backslash command on its own."""

    name: str
    arguments: str
    line: int


_SENDERS = frozenset({"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "bind", "watch"})
_SPECIAL = re.compile(r"""['"$;()\\:]|--|/\*|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*|\n""")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")
_VARIABLE = re.compile(r""":(?:(\w+)|'(\w+)'|"(\w+)"|\{\?(\w+)\})""")
_ROUTINE = re.compile(r"create\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.I)


class Script:
    """One script, read from the front. `standard_strings` tells how the server reads backslashes in '...' just then."""

    def __init__(self, text: str, variables: Mapping[str, str], standard_strings: Callable[[], bool]) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._standard = standard_strings

    @property
    def line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def next(self) -> Sql | Command | None:
        """The next thing to do; None at the end."""
        out: list[str] = []
        parens = begins = 0
        text = self._text
        while True:
            found = _SPECIAL.search(text, self._at)
            if found is None:
                out.append(text[self._at :])
                self._at = len(text)
                rest = "".join(out).strip()
                return Sql(rest, self.line) if _has_sql(rest) else None
            out.append(text[self._at : found.start()])
            self._at = found.start()
            mark = found[0]
            if mark == ";" and not parens and not begins:
                line = self.line
                self._at += 1
                return Sql("".join(out).strip() + ";", line)
            if mark == "\\":
                if text.startswith("\\;", self._at):
                    out.append(";")
                    self._at += 2
                    continue
                command = self._command()
                if command.name in _SENDERS:
                    return Sql("".join(out).strip(), command.line, command.name, command.arguments)
                if command.name == "r":
                    out.clear()
                    parens = begins = 0
                    continue
                if not _has_sql("".join(out)):
                    return command
                continue  # in the middle of a statement: shows or changes nothing that is sent
            if mark == "(":
                parens += 1
            elif mark == ")":
                parens = max(0, parens - 1)
            elif mark[0].isalpha() or mark[0] == "_":
                begins = _depth(mark.lower(), begins, "".join(out[:40]))
                if mark.lower() in ("e", "b", "x", "n") and text.startswith("'", found.end()):
                    end = self._quoted(found.end(), backslashes=mark.lower() == "e")
                    out.append(text[self._at : end])
                    self._at = end
                    continue
            elif mark == ":":
                out.append(self._variable())
                continue
            end = self._token_end(mark, found.end())
            out.append(text[self._at : end])
            self._at = end

    def copy_data(self) -> list[str]:
        """The lines up to the end of COPY data."""
        if self._text.startswith("\n", self._at):
            self._at += 1
        else:
            self._at = self._text.find("\n", self._at) + 1 or len(self._text)
        lines = []
        while self._at < len(self._text):
            end = self._text.find("\n", self._at)
            end = len(self._text) if end < 0 else end
            line = self._text[self._at : end]
            self._at = min(end + 1, len(self._text))
            if line.rstrip("\r") == "\\.":
                break
            lines.append(line)
        return lines

    def data_follows(self) -> bool:
        """Whether the lines after a COPY FROM STDIN that did not run look like its data."""
        for line in self._text[self._at :].split("\n")[1:]:
            if line.rstrip("\r") == "\\.":
                return True
            if re.match(r"\s*(copy|select|create|drop|insert|alter|commit|--)\b", line, re.I):
                return False
        return False

    # -- pieces ---------------------------------------------------------------------------------------------------------

    def _command(self) -> Command:
        line = self.line
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        whole = self._text[self._at + 1 : end]
        name = re.match(r"[A-Za-z_]+[+]?|[!?.]", whole)
        word = name[0] if name else ""
        rest = whole[len(word) :]
        # A second backslash command on the line, or \\, ends the first one.
        if word not in ("echo", "qecho", "warn", "!", "copy"):
            cut = re.search(r"\\\\|\s\\[a-z]", _blank_quotes(rest))
            if cut is not None:
                skip = 2 if cut[0] == "\\\\" else 0
                self._at += 1 + len(word) + cut.start() + skip
                return Command(word, rest[: cut.start()].strip(), line)
        self._at = end
        return Command(word, rest.strip(), line)

    def _variable(self) -> str:
        text = self._text
        if text.startswith("::", self._at):
            self._at += 2
            return "::"
        found = _VARIABLE.match(text, self._at)
        name = next(filter(None, found.groups()), "") if found else ""
        if found is None or (name not in self._variables and not found[4]):
            self._at += 1
            return ":"
        self._at = found.end()
        if found[4]:
            return "TRUE" if name in self._variables else "FALSE"
        value = self._variables[name]
        if found[2]:
            return "'" + value.replace("'", "''") + "'"
        if found[3]:
            return '"' + value.replace('"', '""') + '"'
        return value

    def _token_end(self, mark: str, after: int) -> int:
        text = self._text
        if mark == "'":
            return self._quoted(after - 1, backslashes=not self._standard())
        if mark == '"':
            end = text.find('"', after)
            return len(text) if end < 0 else end + 1
        if mark == "$":
            tag = _DOLLAR.match(text, after - 1)
            if tag is None:
                return after
            end = text.find(tag[0], tag.end())
            return len(text) if end < 0 else end + len(tag[0])
        if mark == "--":
            end = text.find("\n", after)
            return len(text) if end < 0 else end
        if mark == "/*":
            depth, at = 1, after
            while depth:
                found = re.compile(r"/\*|\*/").search(text, at)
                if found is None:
                    return len(text)
                depth += 1 if found[0] == "/*" else -1
                at = found.end()
            return at
        return after

    def _quoted(self, quote: int, *, backslashes: bool) -> int:
        """The end of a string constant whose quote is at `quote`."""
        at = quote + 1
        pattern = re.compile(r"''|'|\\." if backslashes else r"''|'", re.S)
        while True:
            found = pattern.search(self._text, at)
            if found is None:
                return len(self._text)
            at = found.end()
            if found[0] == "'":
                return at


def _depth(word: str, begins: int, start: str) -> int:
    """How deep inside BEGIN ATOMIC ... END of a routine's body."""
    if word == "begin" and _ROUTINE.match(start.lstrip()):
        return begins + 1
    if begins and word == "case":
        return begins + 1
    if begins and word == "end":
        return begins - 1
    return begins


def _has_sql(text: str) -> bool:
    return bool(re.sub(r"--[^\n]*|/\*.*?\*/|\s+", "", text, flags=re.S))


def _blank_quotes(text: str) -> str:
    return re.sub(r"'[^']*'", lambda m: "." * len(m[0]), text)
