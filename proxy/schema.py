"""`pgveil schema`: JSON Schema of policies, of their tests and of the configuration, for editors, and of audit records.

The same texts lie in the package (`policies/*.schema.json`, `proxy/config.schema.json`); a test fails when they are not
what the tables make. `python -m proxy.schema` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

import policies
from policies.keywords import DRAFT, Schema, mapping
from policies.schema import policy_schema
from policies.trials import schema_of_tests
from proxy.audit.shape import audit_schema
from proxy.configkeys import SECTIONS


def config_schema() -> Schema:
    return {
        "$schema": DRAFT,
        "title": "pgveil configuration",
        "description": "docs/configuration.md is the manual.",
        **mapping(SECTIONS),
    }


SCHEMAS: dict[str, tuple[Path, Callable[[], Schema]]] = {
    "policy": (Path(policies.__file__).with_name("policy.schema.json"), policy_schema),
    "tests": (Path(policies.__file__).with_name("tests.schema.json"), schema_of_tests),
    "config": (Path(__file__).with_name("config.schema.json"), config_schema),
    "audit": (Path(__file__).parent / "audit" / "record.schema.json", audit_schema),
}
"""By name: where it lies in the package, and what makes it."""


def text_of(schema: Schema) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


@click.command()
@click.argument("name", type=click.Choice(sorted(SCHEMAS)))
@click.option("--path", "where", is_flag=True, help="Print where the schema lies instead.")
def schema(name: str, where: bool) -> None:
    """Print the JSON Schema of policy files, of their tests or of the configuration, for editors, or of audit records.

    First line of a file: `# yaml-language-server: $schema=policy.schema.json`
    """
    path, make = SCHEMAS[name]
    click.echo(str(path) if where else text_of(make()), nl=where)


if __name__ == "__main__":
    for path, make in SCHEMAS.values():
        path.write_text(text_of(make()), encoding="utf-8")
