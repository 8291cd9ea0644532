"""How the tables of keys are written: each key of a YAML file with a sentence for people and the shape of its value.

The loaders refuse what is not in their table, and `pgveil schema` makes its JSON Schema of the same tables, so the two cannot
say different things. **To add a key, add one line to the table of its section:**

    RULE_KEYS = {
        ...
        "need": Key("How many approvers it takes.", whole(1, 9)),
    }

then run `python -m proxy.schema`, which writes the schema files anew, and document the key, with an example, in
docs/policy.md or docs/configuration.md (tests fail until then). A section with keys of its own gets a table of its own, in
the module that reads it: `Key("…", mapping(NEW_KEYS))` in the outer table, `section.only(NEW_KEYS)` in the loader. Shapes
are JSON Schema (draft 7); those that occur more than once have a name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"


@dataclass(frozen=True, slots=True)
class Key:
    doc: str
    """What editors show: one or two sentences."""
    shape: Schema
    needed: bool = False


Keys = Mapping[str, Key]

TEXT: Schema = {"type": "string", "minLength": 1}
SCALAR: Schema = {"type": ["string", "number", "boolean"]}
"""Whatever stands there is taken as text: `1`, `C2`, `17:30`."""
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {}
DURATION: Schema = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$"}]
}
MASK: Schema = {"$ref": "#/definitions/mask"}
INNER_MASK: Schema = {"anyOf": [{"$ref": "#/definitions/mask"}, TEXT]}
"""Inside json and each, a class may be named."""
_PART = r'("([^"]|"")+"|[^".\s]+)'
COLUMN_PATTERN = rf"^{_PART}\.{_PART}\.{_PART}$"
RELATION_PATTERN = rf"^{_PART}\.{_PART}$"
_PLAIN_PART = r'("([^"]|"")+"|[^".\s*?\[]+)'
PLAIN_NAME: Schema = {"type": "string", "pattern": rf"^{_PLAIN_PART}\.{_PLAIN_PART}$"}
"""schema.function or schema.table, without wildcards."""
RELATION: Schema = {"type": "string", "pattern": RELATION_PATTERN}


def some(item: Schema) -> Schema:
    """One, or a list of at least one."""
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def several(item: Schema) -> Schema:
    """One, or a list, which may be empty."""
    return {"anyOf": [item, {"type": "array", "items": item}]}


def listed(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def words(allowed: Iterable[str]) -> Schema:
    return {"enum": list(allowed)}


def whole(minimum: int | None = None, maximum: int | None = None) -> Schema:
    out: Schema = {"type": "integer"}
    if minimum is not None:
        out["minimum"] = minimum
    if maximum is not None:
        out["maximum"] = maximum
    return out


def either(*shapes: Schema) -> Schema:
    return {"anyOf": list(shapes)}


def mapping(keys: Keys, *, others: Schema | None = None, apart: Iterable[tuple[str, str]] = ()) -> Schema:
    """A mapping with these keys. `others`: the shape of further keys, which are refused without it. `apart`: pairs of keys that
    exclude each other."""
    out: Schema = {
        "type": "object",
        "properties": {name: {"description": key.doc, **_under_description(key.shape)} for name, key in keys.items()},
        "additionalProperties": False if others is None else others,
    }
    needed = [name for name, key in keys.items() if key.needed]
    if needed:
        out["required"] = needed
    if exclusive := [{"not": {"required": list(pair)}} for pair in apart]:
        out["allOf"] = exclusive
    return out


def named(value: Schema, pattern: str | None = None) -> Schema:
    """A mapping of names, each with such a value."""
    out: Schema = {"type": "object", "additionalProperties": value}
    if pattern is not None:
        out["propertyNames"] = {"pattern": pattern}
    return out


def one_of(keys: Keys) -> Schema:
    """A mapping with exactly one of these keys."""
    return {**mapping(keys), "minProperties": 1, "maxProperties": 1}


def optional(shape: Schema) -> Schema:
    """The key may also stand there without a value."""
    return {"anyOf": [shape, {"type": "null"}]}


def _under_description(shape: Schema) -> Schema:
    """Draft 7 ignores whatever stands beside $ref."""
    return {"allOf": [shape]} if "$ref" in shape else shape
