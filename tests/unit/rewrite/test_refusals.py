"""Whoever is refused is told an SQLSTATE, why, and, where something can be done about it, what: read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TOP = Path(__file__).parent.parent.parent.parent
SOURCES = sorted([*(TOP / "rewrite").glob("*.py"), *(TOP / "proxy" / "session").glob("*.py")])

OF_THE_SERVER = frozenset(
    "08006 08P01 25P02 26000 3F000 42601 42809 42883 42P01 42P05 53200 54000 57014 57P01 57P03 57P05 XX000".split()
)
"""What the server itself would say, in its words, or what ends the session: there is nothing to advise."""


class Made(NamedTuple):
    where: str
    sqlstate: str | None
    """None: computed."""
    message: ast.expr
    hint: ast.expr | None


def made() -> Iterator[Made]:
    """Every place that makes a refusal."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            arguments = [*node.args, *(k.value for k in node.keywords if k.arg == "hint")]
            if node.func.id == "_refuse" and path.name == "writes.py":
                arguments.insert(0, ast.Constant("42501"))
            elif node.func.id == "refuse" and path.parent.name == "session":
                continue  # sends a refusal, makes none
            elif node.func.id not in ("Refusal", "refuse"):
                continue
            state = arguments[0].value if isinstance(arguments[0], ast.Constant) else None
            hint = arguments[2] if len(arguments) > 2 else None
            yield Made(f"{path.name}:{node.lineno}", state, arguments[1], hint)


def test_there_are_refusals() -> None:
    assert len(list(made())) > 60


@pytest.mark.parametrize("refusal", list(made()), ids=lambda r: r.where)
def test_state_reason_and_hint(refusal: Made) -> None:
    if refusal.sqlstate is not None:
        assert re.fullmatch(r"[0-9A-Z]{5}", refusal.sqlstate)
    if isinstance(refusal.message, ast.Constant):
        assert len(str(refusal.message.value).split()) > 2
    if refusal.sqlstate is not None and refusal.sqlstate not in OF_THE_SERVER:
        assert refusal.hint is not None, "say what the user can do"
        assert not (isinstance(refusal.hint, ast.Constant) and not refusal.hint.value)
