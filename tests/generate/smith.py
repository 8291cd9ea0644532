"""Statements of SQLsmith (Debian package `sqlsmith`). Their answers are not determinate: names, types and errors are compared.

    python -m tests.generate --sqlsmith 2000 --seed 1

SQLsmith reads the catalog through pgveil as the masked login and writes its statements down without running them; each then runs
through pgveil and on the masked copy like any other case.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tests.generate.banks import Bank
from tests.generate.statements import Case, Step

_CHANGING = re.compile(
    r"\b(pg_sleep\w*|setval|nextval|pg_advisory\w*|random|clock_timestamp|pg_notify|txid_\w+|pg_current_\w+)\b", re.I
)


def smith(bank: Bank, seed: int, count: int) -> Iterator[Case]:
    """Statements of SQLsmith over the schema that it sees through pgveil."""
    command = ["sqlsmith", f"--target={bank.proxy}", "--exclude-catalog", f"--max-queries={count}", f"--seed={seed}", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"sqlsmith failed:\n{done.stderr[-2000:]}")
    for text in done.stdout.split(";\n"):
        text = text.strip()
        if text and not _CHANGING.search(text):
            yield Case((Step(text, values=False),), (), "sqlsmith")
