"""Play one script against pgveil and two masked copies, statement by statement, and keep the three databases alike.

A statement that pgveil refuses runs nowhere: the copies get a statement that fails instead, so that transactions stay in step.
Definitions that are refused outside a transaction are then made on all three servers by a session that goes around pgveil, as a
DBA would: the statements behind them have something to work with. Nothing is made so that would store masked or raw values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.regress.client import Connection, Outcome, Result
from tests.regress.judge import Judgement, Verdict, judge, refusal
from tests.regress.script import Command, Script, Sql
from tests.regress.servers import DATABASE, LOGIN, Servers

POISON = "refused by pgveil"
_IDLE = 0
_DEFINES = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:(?:create(?!\s+(?:global\s+|local\s+)?temp|\s+materialized|\s+(?:unlogged\s+)?table\s[^(]*\bas\b)"
    r"|alter|drop|grant|revoke|comment|security|import|reassign|do)\b|(?:copy\s[^;]*\sfrom\s(?!stdin)))",
    re.I | re.S,
)
_SETS = re.compile(r"(?:\s|--[^\n]*\n)*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b)", re.I)


@dataclass(frozen=True, slots=True)
class Case:
    """A statement and its verdict."""

    file: str
    line: int
    sql: str
    judgement: Judgement


class Player:
    """Three sessions with the state that psql would keep beside them."""

    def __init__(
        self,
        servers: Servers,
        canary: re.Pattern[str],
        variables: dict[str, str],
        *,
        extended: bool,
        report: Callable[[Case], None],
    ) -> None:
        self._servers = servers
        self._canary = canary
        self._extended = extended
        self._report = report
        self.variables = dict(variables)
        self.skipped: Counter[str] = Counter()
        self._file = ""
        self._conditions: list[str] = []
        self._user = LOGIN
        self._connect()
        options = "-c lock_timeout=3s -c statement_timeout=20s -c client_min_messages=error"
        self._sides = [Connection(p, LOGIN, DATABASE, options) for p in (servers.raw, servers.copy, servers.twin)]

    def _connect(self) -> None:
        ports = (self._servers.pgveil, self._servers.copy, self._servers.twin)
        self._veil, self._copy, self._twin = (Connection(p, self._user, DATABASE, extended=self._extended) for p in ports)

    def close(self) -> None:
        for connection in (self._veil, self._copy, self._twin, *self._sides):
            connection.close()

    def _again(self, user: str) -> None:
        for connection in (self._veil, self._copy, self._twin):
            connection.close()
        self._user = user
        self._connect()
        for side in self._sides:
            side.run("DISCARD ALL")

    def play(self, path: Path) -> None:
        self._file = path.stem
        script = Script(path.read_text("utf-8", "surrogateescape"), self.variables, lambda: self._copy.standard_strings)
        while (item := script.next()) is not None:
            if isinstance(item, Command):
                if not self._command(item):
                    return
            elif all(c == "true" for c in self._conditions):
                self._send(item, script)

    # -- statements -----------------------------------------------------------------------------------------------------

    def _send(self, item: Sql, script: Script | None) -> None:
        if item.sender in ("gdesc", "bind", "watch") or not item.text:
            self.skipped["\\" + item.sender] += 1
            return
        data: list[str] | None = None
        if script is not None and re.search(r"\bcopy\b.*\bfrom\s+stdin", item.text, re.I | re.S):
            data = script.copy_data() if script.data_follows() else []
        got, copy = self._statement(item, data)
        if item.sender == "gset" and got is not None and copy.results and len(copy.results[-1].rows) == 1:
            self._remember(copy.results[-1], item.arguments)
        if item.sender == "gexec" and got is not None:
            for row in copy.results[-1].rows if copy.results else ():
                for value in row:
                    if value is not None:
                        self._send(Sql(value.decode(), item.line), None)

    def _remember(self, result: Result, prefix: str) -> None:
        for name, value in zip(result.columns, result.rows[0], strict=True):
            key = prefix + name.decode()
            if value is None:
                self.variables.pop(key, None)
            else:
                self.variables[key] = value.decode()

    def _statement(self, item: Sql, data: list[str] | None) -> tuple[Outcome | None, Outcome]:
        """Run it everywhere. The first answer is None when it was refused."""
        before = self._copy.transaction
        got = self._veil.run(item.text, data)
        if got.refused and got.error is not None and got.error.sqlstate in ("42501", "0A000", "54001"):
            self._canaries(item, got)
            self._case(item, refusal(got))
            copy = self._copy.run(POISON)
            self._twin.run(POISON)
            if before == _IDLE and _DEFINES.match(item.text):
                self._define(item.text)
            return None, copy
        copy = self._copy.run(item.text, data)
        twin = self._twin.run(item.text, data)
        self._case(item, judge(item.text, got, copy, twin, self._canary))
        if got.died or copy.died:
            self._again(self._user)
        elif got.transaction != copy.transaction:
            for connection in (self._veil, self._copy, self._twin):
                connection.run("ROLLBACK")
        elif got.error is None and _SETS.match(item.text):
            for side in self._sides:
                side.run(item.text)
        return got, copy

    def _canaries(self, item: Sql, got: Outcome) -> None:
        seen = self._canary.search(got.everything())
        if seen is not None:
            self._case(item, Judgement(Verdict.LEAKED, f"{seen[0]} in a refusal"))

    def _define(self, text: str) -> None:
        for side in self._sides:
            side.run(text)

    def _case(self, item: Sql, judgement: Judgement) -> None:
        self._report(Case(self._file, item.line, item.text, judgement))

    # -- backslash commands ---------------------------------------------------------------------------------------------

    def _command(self, item: Command) -> bool:
        """False: the script is over."""
        name, arguments = item.name, item.arguments
        if name in ("if", "elif", "else", "endif"):
            self._condition(name, arguments)
            return True
        if any(c != "true" for c in self._conditions):
            return True
        if name in ("q", "quit"):
            return False
        if name == "set":
            words = re.findall(r"'(?:[^']|'')*'|\S+", arguments)
            if words:
                self.variables[words[0]] = "".join(self._word(w) for w in words[1:])
        elif name == "unset":
            self.variables.pop(arguments, None)
        elif name == "getenv":
            variable, key = arguments.split()
            if key in self.variables:
                self.variables[variable] = self.variables[key]
        elif name in ("c", "connect"):
            words = [self._word(w) for w in arguments.split()]
            self._again(words[1] if len(words) > 1 and words[1] != "-" else self._user)
        elif name == "encoding":
            self._send(Sql(f"SET client_encoding TO '{arguments}'", item.line), None)
        elif name not in ("pset", "echo", "a", "t", "x", "qecho", "warn", "p", "f"):
            self.skipped["\\" + name] += 1
        return True

    def _word(self, word: str) -> str:
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if word.startswith(":"):
            name = word[1:].strip("'\"")
            return self.variables.get(name, word)
        return word

    def _condition(self, name: str, arguments: str) -> None:
        if name == "endif":
            self._conditions.pop()
            return
        value = self._truth(arguments)
        if name == "if":
            self._conditions.append("true" if value else "false")
        elif self._conditions[-1] != "false":
            self._conditions[-1] = "over"
        elif name == "else" or value:
            self._conditions[-1] = "true"

    def _truth(self, text: str) -> bool:
        found = re.fullmatch(r":\{\?(\w+)\}", text)
        if found is not None:
            return found[1] in self.variables
        return self._word(text).lower() in ("t", "true", "on", "1", "yes")
