"""JSON Schema of the audit trail's records, for whoever reads them with a program: `pgveil schema audit`.

The names and their order are in `proxy.audit.record`, what they mean in docs/audit.md; here is what values they have. Fields may
be added without a new `v`, so readers must let pass what they do not know, and so does the schema.
"""

from __future__ import annotations

from policies.keywords import DRAFT, Schema
from proxy.audit.record import COMMON, FIELDS, MAX_TOUCHES, NESTED, RESULT, VERSION, Kind

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FROM_ONE: Schema = {"type": "integer", "minimum": 1}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_MAC: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
_STATE: Schema = {"type": ["string", "null"], "pattern": "^[0-9A-Z]{5}$"}


def _one_of(*words: str | None) -> Schema:
    return {"enum": list(words)}


def _object(fields: tuple[str, ...], shapes: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(fields), "properties": {name: shapes[name] for name in fields}}


_TOUCH: dict[str, Schema] = {
    "relation": _TEXT, "column": _TEXT, "class": _TEXT, "level": _TEXT,
    "use": _one_of("output", "filter", "join", "group", "sort", "write", "unknown"),
    "show": _one_of("clear", "mask", "conditional", "deny", "raw"),
    "rule": _MAYBE_TEXT, "grant": {"type": ["integer", "null"]}, "others": _TEXTS,
}  # fmt: skip
_REFUSAL: dict[str, Schema] = {"sqlstate": {"type": "string", "pattern": "^[0-9A-Z]{5}$"}, "message": _TEXT}
_TORN: dict[str, Schema] = {"segment": _FROM_ONE, "bytes": _COUNT, "sha256": _MAC}
SHAPES: dict[str, Schema] = {
    "v": {"const": VERSION}, "seq": _FROM_ONE, "kind": _one_of(*(kind.value for kind in Kind)),
    "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}, "worker": _TEXT, "mac": _MAC,
    "session": _MAYBE_TEXT, "login": _TEXT, "person": _TEXT, "database": _TEXT, "client": _TEXT,
    "client_port": {"type": "integer", "minimum": 0, "maximum": 65535}, "application": _TEXT, "tls": _FLAG,
    "asserted": {"type": "object", "additionalProperties": _TEXT}, "roles": _TEXTS, "profile": _MAYBE_TEXT, "policy": _MAYBE_TEXT,
    "protocol": _one_of("simple", "extended", "function"), "statement": _MAYBE_TEXT, "part": _FROM_ONE, "parts": _FROM_ONE,
    "verdict": _one_of("pass", "rewrite", "refuse"),
    "touches": {"type": "array", "maxItems": MAX_TOUCHES, "items": _object(NESTED["touches"], _TOUCH)},
    "touches_more": _COUNT, "clear": _MAYBE_TEXT,
    "refusal": {"anyOf": [{"type": "null"}, _object(NESTED["refusal"], _REFUSAL)]},
    "on_failure": _one_of("clear", None), "placed_by": _one_of("sqlglot", "libpg_query", ""), "text": _MAYBE_TEXT,
    "text_digest": {"anyOf": [_DIGEST, {"const": ""}]},
    "values": {"anyOf": [{"type": "null"}, {"type": "array", "items": _DIGEST}]},
    "values_whole": {"type": ["boolean", "null"]},
    "binds": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"anyOf": [{"type": "null"}, {"const": ""}, _DIGEST]}}]},
    "decision": _FROM_ONE, "tag": _MAYBE_TEXT, "rows": _COUNT, "bytes": _COUNT, "seconds": _SECONDS, "sqlstate": _STATE,
    "statements": _COUNT, "reason": _MAYBE_TEXT, "previous_policy": _MAYBE_TEXT, "files": _TEXTS, "accepted": _FLAG,
    "event": _TEXT, "detail": {"type": "object"}, "version": _TEXT, "pid": _FROM_ONE, "host": _TEXT, "listen": _TEXT,
    "mode": _one_of("async", "before-result", "strict"), "segment": _FROM_ONE, "previous": _MAC, "key_id": _DIGEST,
    "found": _one_of("new", "rotated", "stopped", "crashed", "damaged"),
    "torn": {"type": "array", "items": _object(NESTED["torn"], _TORN)}, "damage": _MAYBE_TEXT,
}  # fmt: skip
"""By name; a name means the same in every kind of record."""


def audit_schema() -> Schema:
    open_ = {name: {"anyOf": [{"type": "null"}, SHAPES[name]]} for name in RESULT}  # of a decision whose outcome follows
    shapes = {kind: {**SHAPES, **open_} if kind is Kind.DECISION else SHAPES for kind in Kind}
    kinds = [
        {"if": {"properties": {"kind": {"const": kind.value}}}, "then": _object(FIELDS[kind], shapes[kind])} for kind in Kind
    ]
    return {
        "$schema": DRAFT,
        "title": "pgveil audit record",
        "description": "One line of audit-*.jsonl. docs/audit.md is the manual.",
        **_object(COMMON, SHAPES),
        "allOf": kinds,
    }
