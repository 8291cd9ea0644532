"""What goes wrong in a command, told to a person in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from proxy.errors import PgveilError

T = TypeVar("T")


def for_people(debug: bool, work: Callable[[], T]) -> T:
    """Run a command. With `debug` the traceback is shown instead."""
    try:
        return work()
    except PgveilError as error:
        if debug:
            raise
        hint = f"\nHint: {error.hint}" if error.hint else ""
        raise click.ClickException(f"{error.message}{hint}") from None
    except OSError as error:
        if debug:
            raise
        name = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(name + (error.strerror or str(error))) from None
