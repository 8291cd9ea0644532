"""A page of docs/ as a script: its commands are run as a reader would run them, its answers compared.

Fenced blocks: `sh` is run by bash; `sh NAME` opens psql as NAME, left open; `sql NAME` is typed there, one statement a line. The
`text` block after them is the answer. With `until` after the language, the command is repeated until it gives that answer.
What differs from run to run (times, numbers of audit records, durations) is compared by its form only.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TIMEOUT = 60.0
VARYING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d|Z| UTC)?", "TIME"),
    (r"main#\d+", "RECORD"),
    (r"\d+ relations", "RELATIONS"),
    (r"psql:<stdin>:\d+: ", ""),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One or more commands and what they answer."""

    language: str
    session: str
    until: bool
    commands: str
    answer: str | None
    line: int

    def __str__(self) -> str:
        return f"line {self.line}"


def steps(page: str) -> Iterator[Step]:
    """The steps of a page in their order; `yaml` blocks have no answer and no session."""
    blocks = list(BLOCK.finditer(page))
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "text":
            continue
        words = block[2].split()
        until = "until" in words
        name = next((w for w in words if w != "until"), "")
        follows = after is not None and after[1] == "text" and not page[block.end() : after.start()].strip()
        answer = after[3] if after is not None and follows else None
        yield Step(block[1], name, until, block[3], answer, page.count("\n", 0, block.start()) + 1)


def plain(text: str) -> list[str]:
    """Lines without what varies: column widths, times, notices."""
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if line and not set(line) <= set("-+ ") and not line.startswith(("NOTICE:", NOTICE_HINT))]


NOTICE_HINT = "HINT: SHOW veil.access lists"


class Psql:
    """A psql that is left open; what it says comes in the order in which it says it."""

    END = "--end-of-answer--"

    def __init__(self, command: str, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"{command} 2>&1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=dict(env)
        )

    def type(self, statements: str) -> str:
        """What is answered, errors included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out = ""
        for statement in statements.splitlines():
            self._process.stdin.write(f"{statement}\n\\echo {self.END}\n")
            self._process.stdin.flush()
            timer = threading.Timer(TIMEOUT, self._process.kill)
            timer.start()
            try:
                for line in self._process.stdout:
                    if line.strip() == self.END:
                        break
                    out += line
                else:
                    raise AssertionError(f"psql ended:\n{out}")
            finally:
                timer.cancel()
        return out

    def close(self) -> None:
        self._process.communicate(timeout=TIMEOUT)


@dataclass(slots=True)
class Reader:
    """Somebody who types what the page says. `prelude` is what stands in their shell."""

    prelude: str
    cwd: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    sessions: dict[str, Psql] = field(default_factory=dict)

    def do(self, step: Step) -> str:
        if step.language == "sql":
            return self.sessions[step.session].type(step.commands)
        if step.session:
            self.sessions[step.session] = Psql(f"{self.prelude}\n{step.commands.strip()}", self.env)
            return ""
        done = subprocess.run(
            ["bash", "-c", f"{self.prelude}\n{step.commands}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=dict(self.env), cwd=self.cwd, timeout=TIMEOUT,
        )  # fmt: skip
        return done.stdout

    def leave(self) -> None:
        for session in self.sessions.values():
            session.close()
