"""What each kind of statement may do in a session with masked columns.

A statement that is not in these tables is refused: not understood means refused (docs/statements.md lists them for users).
"""

from __future__ import annotations

from dataclasses import replace

from policies.attributes import PREFIX
from rewrite.functions import setting
from rewrite.pgtree import Node
from rewrite.plan import Effect, Refusal, StatementPlan

QUERIES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})

PLAIN: dict[str, Effect] = {
    "TransactionStmt": Effect.NONE,
    "VariableShowStmt": Effect.NONE,
    "VariableSetStmt": Effect.RESOLUTION,
    "DiscardStmt": Effect.RESOLUTION,
    "DeallocateStmt": Effect.NONE,
    "ClosePortalStmt": Effect.NONE,
    "FetchStmt": Effect.FETCHES,
    "ListenStmt": Effect.NONE,
    "UnlistenStmt": Effect.NONE,
    "NotifyStmt": Effect.NONE,
    "CheckPointStmt": Effect.NONE,
    "ConstraintsSetStmt": Effect.NONE,
}
"""Statements that read no data: they pass as they are."""

SAID_IN_FULL = frozenset({"VariableShowStmt", "VariableSetStmt", "DeallocateStmt", "ListenStmt", "UnlistenStmt", "NotifyStmt"})
"""Those of them about which the server can say nothing that is not the client's own. COMMIT runs triggers."""

DDL: dict[str, Effect] = {
    "CreateStmt": Effect.RESOLUTION | Effect.DDL,
    "IndexStmt": Effect.RESOLUTION | Effect.DDL,
    "AlterTableStmt": Effect.RESOLUTION | Effect.DDL,
    "RenameStmt": Effect.RESOLUTION | Effect.DDL,
    "DropStmt": Effect.RESOLUTION | Effect.DDL,
    "TruncateStmt": Effect.WRITES,
    "CreateSeqStmt": Effect.RESOLUTION | Effect.DDL,
    "AlterSeqStmt": Effect.DDL,
    "CreateSchemaStmt": Effect.RESOLUTION | Effect.DDL,
    "CommentStmt": Effect.DDL,
    "GrantStmt": Effect.RESOLUTION | Effect.DDL,
    "ViewStmt": Effect.RESOLUTION | Effect.DDL,
    "RefreshMatViewStmt": Effect.WRITES,
    "ReindexStmt": Effect.NONE,
    "ClusterStmt": Effect.NONE,
}
"""Definitions: fine where they concern neither a protected relation nor a system catalog."""

HARMLESS_ON_PROTECTED = frozenset({"LockStmt", "VacuumStmt"})
"""Statements that name relations without showing or changing their data."""

DDL_NODES = frozenset(
    """AccessPriv AlterTableCmd Constraint PartitionBoundSpec PartitionCmd PartitionElem PartitionRangeDatum PartitionSpec
    ATAlterConstraint FunctionParameter ObjectWithArgs ReplicaIdentityStmt RoleSpec StatsElem TableLikeClause
    VacuumRelation""".split()
)

_TEMPORARY_COMMANDS = {
    "TRANS_STMT_ROLLBACK",
    "TRANS_STMT_ROLLBACK_TO",
    "TRANS_STMT_COMMIT",
    "TRANS_STMT_COMMIT_PREPARED",
    "TRANS_STMT_PREPARE",
    "TRANS_STMT_ROLLBACK_PREPARED",
}

_DROPPABLE = frozenset(
    {
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_MATVIEW",
        "OBJECT_INDEX",
        "OBJECT_SEQUENCE",
        "OBJECT_FOREIGN_TABLE",
        "OBJECT_SCHEMA",
        "OBJECT_TYPE",
        "OBJECT_DOMAIN",
        "OBJECT_STATISTIC_EXT",
        "OBJECT_COLLATION",
        "OBJECT_TSCONFIGURATION",
        "OBJECT_EXTENSION",
        "OBJECT_FUNCTION",
        "OBJECT_PROCEDURE",
        "OBJECT_ROUTINE",
        "OBJECT_AGGREGATE",
        "OBJECT_TRIGGER",
        "OBJECT_RULE",
    }
)

_RENAMABLE = frozenset(
    {
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_MATVIEW",
        "OBJECT_INDEX",
        "OBJECT_SEQUENCE",
        "OBJECT_COLUMN",
        "OBJECT_TABCONSTRAINT",
    }
)

_REASONS: dict[str, str] = {
    "a library can do anything": "LoadStmt AlterExtensionStmt AlterExtensionContentsStmt CreatePLangStmt",
    "role membership and roles decide what is masked": """GrantRoleStmt AlterRoleStmt CreateRoleStmt DropRoleStmt
        ReassignOwnedStmt DropOwnedStmt AlterOwnerStmt AlterDefaultPrivilegesStmt""",
    "it outlives the session and changes how others are served": """AlterRoleSetStmt AlterDatabaseSetStmt AlterSystemStmt
        AlterDatabaseStmt AlterDatabaseRefreshCollStmt""",
    "a function could read protected data when it is called": "AlterFunctionStmt",
    "a trigger could read protected data when it fires": "CreateTrigStmt CreateEventTrigStmt AlterEventTrigStmt",
    "a rule could read protected data when it applies": "RuleStmt",
    "it makes code run wherever a value is cast, compared or converted": """CreateCastStmt CreateConversionStmt
        CreateTransformStmt CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt AlterOperatorStmt CreateAmStmt
        AlterTSDictionaryStmt""",
    "a type decides how values are stored, checked and shown": "AlterTypeStmt AlterCollationStmt",
    "it decides which rows others see": "CreatePolicyStmt AlterPolicyStmt SecLabelStmt",
    "it moves objects to where their names mean something else": "AlterObjectSchemaStmt AlterObjectDependsStmt",
    "it copies or removes whole databases": "CreatedbStmt DropdbStmt",
    "it changes where tables are stored": """CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt
        AlterTableMoveAllStmt""",
    "it links the database to other servers": """CreateFdwStmt AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt
        CreateForeignTableStmt CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt ImportForeignSchemaStmt
        CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt""",
}
"""Statements that are never for a masked session, by the reason that its user is told."""

REFUSED: dict[str, str] = {kind: reason for reason, kinds in _REASONS.items() for kind in kinds.split()}

_OTHER_FORMS: dict[str, str] = {
    "CreateExtensionStmt": "a library can do anything",
    "DefineStmt": "it makes code run wherever a value is cast, compared or converted",
}
"""Why statements that run in some forms do not in others."""

WRAPPERS = frozenset(
    """ExplainStmt PrepareStmt DeclareCursorStmt CreateTableAsStmt ViewStmt CopyStmt ExecuteStmt CallStmt""".split()
)
"""Statements that hold a query, or stand for one: `rewrite.masked` decides about each."""

_NAMES = {
    "VariableSetStmt": "SET",
    "VariableShowStmt": "SHOW",
    "ClosePortalStmt": "CLOSE",
    "TransactionStmt": "TRANSACTION",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "RuleStmt": "CREATE RULE",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "CreateMaterializedViewStmt": "CREATE MATERIALIZED VIEW",
    "CreatedbStmt": "CREATE DATABASE",
    "DropdbStmt": "DROP DATABASE",
    "CreateStatsStmt": "CREATE STATISTICS",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateEnumStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "AlterEnumStmt": "ALTER TYPE",
    "DefineStmt": "CREATE",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "AlterStatsStmt": "ALTER STATISTICS",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "AlterOwnerStmt": "ALTER OWNER",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterTableMoveAllStmt": "ALTER TABLE ALL",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "SecLabelStmt": "SECURITY LABEL",
}
"""Where the grammar's own name for a statement is not what its user has written."""


def kind_name(kind: str) -> str:
    """The statement class for people and the audit trail: SelectStmt -> SELECT, CreateTableAsStmt -> CREATE TABLE AS."""
    if kind in _NAMES:
        return _NAMES[kind]
    out = ""
    for ch in kind.removesuffix("Stmt"):
        out += (" " if ch.isupper() and out else "") + ch.upper()
    return out


def not_supported(kind: str) -> Refusal:
    known = REFUSED.get(kind) or _OTHER_FORMS.get(kind)
    reason = known or "in this form it could show or change masked data, or is not known to pgveil"
    return Refusal(
        "42501" if known else "0A000",
        f"{kind_name(kind)} is not possible in a session with masked columns: {reason}",
        "run it from a session without masked columns",
    )


def plain_refusal(kind: str, body: Node, assertable: frozenset[str]) -> Refusal | None:
    """Why a statement of the PLAIN table may not run after all. `assertable`: what the session may assert of its person."""
    if kind == "VariableSetStmt" and not _sets_standard_strings(body):
        return setting(body.get("name", ""), assertable)
    return None


def _sets_standard_strings(body: Node) -> bool:
    """SET standard_conforming_strings = on, which restore scripts and drivers send: the way texts are read here anyway."""
    if body.get("kind") != "VAR_SET_VALUE" or body.get("name", "").lower() != "standard_conforming_strings":
        return False
    values = [a.get("A_Const", {}) for a in body.get("args", [])]
    return [v.get("sval", {}).get("sval", "").lower() for v in values] in (["on"], ["true"])


def ddl_refusal(kind: str, body: Node) -> Refusal | None:
    if kind == "DropStmt" and body.get("removeType") not in _DROPPABLE:
        return not_droppable(body.get("removeType", ""))
    if kind == "RenameStmt" and body.get("renameType") not in _RENAMABLE:
        return _of("RENAME of", body.get("renameType", ""), "what others run may name it")
    if kind == "GrantStmt" and body.get("targtype") != "ACL_TARGET_OBJECT":
        return Refusal(
            "42501",
            "GRANT and REVOKE on all objects of a schema are not possible in a session with masked columns",
            "name the objects, or run it from a session without masked columns",
        )
    if kind == "GrantStmt" and body.get("objtype") in ("OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE"):
        return _of("GRANT and REVOKE on", body["objtype"], "rights decide what code others may run")
    if kind == "CreateSchemaStmt" and body.get("schemaElts"):
        return Refusal(
            "0A000",
            "CREATE SCHEMA with objects in it is not possible in a session with masked columns",
            "create the schema alone, then its objects one by one",
        )
    return None


def not_droppable(object_type: str) -> Refusal:
    return _of("DROP", object_type, "what others run may depend on it")


def _of(verb: str, object_type: str, reason: str) -> Refusal:
    """`object_type` is the grammar's: OBJECT_FUNCTION."""
    what = object_type.removeprefix("OBJECT_").replace("_", " ")
    return Refusal(
        "42501",
        f"{verb} {what} is not possible in a session with masked columns: {reason}",
        "run it from a session without masked columns",
    )


def cascade() -> Refusal:
    return Refusal(
        "42501",
        "CASCADE could reach tables with masked columns that the statement does not name",
        "leave CASCADE out, or run it from a session without masked columns",
    )


def effects(kind: str, body: Node) -> Effect:
    """What running the statement may change in the session."""
    out = PLAIN.get(kind, Effect.NONE) | DDL.get(kind, Effect.NONE)
    if kind == "TransactionStmt" and body.get("kind") in _TEMPORARY_COMMANDS:
        return Effect.TRANSACTION_END
    if kind == "VariableSetStmt" and body.get("name", "").lower().startswith(PREFIX):
        return Effect.ASSERTS
    if kind == "VariableSetStmt" and not _touches_resolution(body):
        return Effect.NONE
    if kind == "DiscardStmt" and body.get("target") in ("DISCARD_PLANS", "DISCARD_SEQUENCES"):
        return Effect.NONE
    if kind in ("DiscardStmt", "DoStmt", "CallStmt") or (kind == "VariableSetStmt" and body.get("kind") == "VAR_RESET_ALL"):
        out |= Effect.ASSERTS
    if kind in ("CreateTableAsStmt",):
        out |= Effect.RESOLUTION | Effect.DDL
    if kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
        out |= Effect.WRITES
    if kind == "PrepareStmt":
        out |= Effect.PREPARES
    if kind == "ExecuteStmt":
        out |= Effect.EXECUTES
    if kind == "DeclareCursorStmt":
        out |= Effect.OPENS
    if kind == "CopyStmt":
        out |= Effect.COPY_IN | Effect.WRITES if body.get("is_from") else Effect.COPY_OUT
    if (
        kind not in PLAIN
        and kind not in DDL
        and kind not in QUERIES
        and kind
        not in (
            "CreateTableAsStmt",
            "PrepareStmt",
            "ExecuteStmt",
            "CopyStmt",
            "ExplainStmt",
            "DeclareCursorStmt",
            "LockStmt",
            "VacuumStmt",
        )
    ):
        out |= Effect.RESOLUTION | Effect.DDL  # anything else, in a session with nothing masked
    return out


def _touches_resolution(body: Node) -> bool:
    name = body.get("name", "").lower()
    return body.get("kind") in ("VAR_RESET_ALL", "VAR_SET_MULTI") or name in (
        "search_path",
        "role",
        "session_authorization",
    )


_CURSOR_OPT_HOLD = 0x20
"""parsenodes.h"""


def with_cursor(plan: StatementPlan, kind: str, body: Node) -> StatementPlan:
    """The plan of DECLARE CURSOR, FETCH, MOVE and CLOSE with the cursor's name."""
    if kind not in ("DeclareCursorStmt", "FetchStmt", "ClosePortalStmt"):
        return plan
    held = kind == "DeclareCursorStmt" and holds(body)
    return replace(plan, cursor=body.get("portalname") or None, holds=held)


def holds(body: Node) -> bool:
    """Of DECLARE CURSOR: WITH HOLD."""
    return bool(body.get("options", 0) & _CURSOR_OPT_HOLD)


def prepared_name(kind: str, body: Node) -> str | None:
    """The SQL-level prepared statement that a PREPARE, EXECUTE or DEALLOCATE names."""
    return body.get("name") if kind in ("PrepareStmt", "ExecuteStmt", "DeallocateStmt") else None
