"""JSON Schema of policy files, for editors: made of the tables that the loader uses."""

from __future__ import annotations

from policies.keywords import DRAFT, Schema, mapping
from policies.load import TOP_KEYS
from policies.masks.words import WHOLE_MASK


def policy_schema() -> Schema:
    """Whatever it refuses the loader refuses too; the loader also checks what stands in other files and what words mean."""
    return {
        "$schema": DRAFT,
        "title": "pgveil policy",
        "description": "Who sees which columns how. docs/policy.md is the manual.",
        **mapping(TOP_KEYS),
        "definitions": {"mask": WHOLE_MASK},
    }
