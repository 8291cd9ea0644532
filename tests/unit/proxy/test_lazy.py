"""Commands are there by name, and what only some of them need is not loaded for the others."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from proxy.cli import cli
from proxy.lazy import LazyGroup

HEAVY = ("duckdb", "phonenumbers", "jinja2", "vl_convert", "obstore", "psycopg")


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    out = []
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        out.append((*prefix, name))
        if isinstance(found, click.Group):
            out += commands(found, (*prefix, name))
    return out


def test_every_command_can_be_called_by_its_name() -> None:
    names = commands(cli)
    assert {("audit", "who"), ("audit", "verify"), ("serve",), ("grants", "approve")} <= set(names)
    for name in names:
        found: click.Command | None = cli
        for part in name:
            assert isinstance(found, click.Group)
            found = found.get_command(click.Context(found), part)
        assert found is not None
        assert found.name == name[-1]


def test_an_unknown_command_is_unknown() -> None:
    assert isinstance(cli, LazyGroup)
    assert cli.get_command(click.Context(cli), "nothing") is None


@pytest.mark.parametrize("command", ["serve --help", "audit tail --help"])
def test_what_serving_does_not_need_is_not_loaded(command: str) -> None:
    code = f"""
import sys
from proxy.cli import cli
cli({command.split()!r}, standalone_mode=False)
print([m for m in {HEAVY!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
