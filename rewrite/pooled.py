"""What may not be left on a server connection that is another client's after the transaction (`upstream.pooling: transaction`).

The next client may be anybody with the same login, and a session that sees everything in clear: what one leaves, another finds.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.attributes import PREFIX
from rewrite import writes
from rewrite.pgtree import Node
from rewrite.plan import Refusal
from rewrite.statements import holds

_TEMPORARY = Refusal(
    "0A000",
    "a temporary relation would outlive the transaction on a pooled server connection",
    "CREATE TEMP TABLE ... ON COMMIT DROP, in a transaction.",
)
_TYPE = Refusal(
    "0A000", "a temporary type would outlive the transaction on a pooled server connection", "Make it in a schema of your own."
)
_LISTEN = Refusal(
    "0A000",
    "LISTEN does not work behind a pooler that shares server connections: whoever has the connection gets the notifications",
    "Listen on a connection that does not go by way of the pooler.",
)
_LOCK = Refusal(
    "0A000",
    "a session's advisory lock would outlive the transaction on a pooled server connection, where nobody could give it back",
    "pg_advisory_xact_lock() ends with the transaction.",
)
_LOCKS = frozenset("pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared".split())
_ROLE = Refusal(
    "0A000",
    "the role would stay in force for other clients of the pooled server connection",
    "SET LOCAL ROLE ends with the transaction.",
)
_PATH = Refusal(
    "0A000",
    "search_path with pg_temp would stay in force for other clients of the pooled server connection",
    "SET LOCAL search_path ends with the transaction.",
)
_ASSERTED = Refusal(
    "0A000",
    "what a session asserts would count for other clients of the pooled server connection",
    "SET LOCAL ends with the transaction; begin one.",
)
_HELD = Refusal(
    "0A000", "a cursor WITH HOLD would outlive the transaction on a pooled server connection", "Fetch within the transaction."
)


def left_behind(kind: str, body: Node) -> Refusal | None:
    """Why the statement would leave something to others."""
    if kind == "DeclareCursorStmt" and holds(body):
        return _HELD
    if kind == "ListenStmt":
        return _LISTEN
    if any(name and name[0].startswith("pg_temp") for name in _type_names(kind, body)):
        return _TYPE
    if any(not dropped for dropped in _temporary(kind, body)):
        return _TEMPORARY
    if kind == "VariableSetStmt":
        return None if body.get("is_local") else _setting(body)
    return _called(body)


def _type_names(kind: str, body: Node) -> Iterator[list[str]]:
    """The name of a type or function that the statement makes, in parts."""
    if kind == "CompositeTypeStmt":
        yield [body["typevar"].get("schemaname", "")]
    for field in ("domainname", "typeName", "funcname", "defnames"):
        if isinstance(parts := body.get(field), list):
            yield [part["String"].get("sval", "") for part in parts if "String" in part]


def _setting(body: Node) -> Refusal | None:
    """Of SET: what later transactions of others would be refused for. RESET is welcome."""
    if not body.get("args"):
        return None
    values = [arg["A_Const"].get("sval", {}).get("sval", "") for arg in body["args"] if "A_Const" in arg]
    if body.get("name", "").lower().startswith(PREFIX):
        return _ASSERTED
    if body.get("name", "").lower() == "role":
        return None if values == ["none"] else _ROLE
    return _PATH if body.get("name", "").lower() == "search_path" and "pg_temp" in values else None


def _called(body: object) -> Refusal | None:
    """Functions that take a lock or change a setting for the session; by name, whatever the schema."""
    if isinstance(body, dict):
        name = body.get("funcname")
        if isinstance(name, list) and name:
            refusal = _function(name[-1].get("String", {}).get("sval", ""), body.get("args", []))
            if refusal is not None:
                return refusal
        body = list(body.values())
    if isinstance(body, list):
        return next((found for item in body if (found := _called(item)) is not None), None)
    return None


def _function(name: str, args: list[Node]) -> Refusal | None:
    if name in _LOCKS:
        return _LOCK
    if name != "set_config" or len(args) != 3:
        return None
    setting, value, local = (arg.get("A_Const") for arg in args)
    if setting is None or (local is not None and local.get("boolval", {}).get("boolval")):
        return None  # what cannot be told beforehand is found by those whom it concerns
    what = setting.get("sval", {}).get("sval", "").lower()
    if what == "role":
        return _ROLE
    if what.startswith(PREFIX):
        return _ASSERTED
    to = value.get("sval", {}).get("sval", "") if value is not None else "pg_temp"
    return _PATH if what == "search_path" and "pg_temp" in to else None


def _temporary(kind: str, body: object) -> Iterator[bool]:
    """For each temporary relation that the statement makes: whether it is dropped with the transaction."""
    if isinstance(body, list):
        for item in body:
            yield from _temporary("", item)
    if not isinstance(body, dict):
        return
    if kind == "CreateStmt" and writes.is_temporary(body["relation"]):
        yield body.get("oncommit") == "ONCOMMIT_DROP"
    if kind == "ViewStmt" and writes.is_temporary(body["view"]):
        yield False
    if kind == "CreateSeqStmt" and writes.is_temporary(body["sequence"]):
        yield False
    into = body.get("rel")
    if "onCommit" in body and isinstance(into, dict) and writes.is_temporary(into):
        yield body["onCommit"] == "ONCOMMIT_DROP"
    for name, child in body.items():
        yield from _temporary(name, child)
