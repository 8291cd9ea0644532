"""Which functions, operators and types a masked session may use.

A statement that names a function, an operator or a type may run any code of that name that the server finds: every candidate
must be harmless. Code also runs without a call in sight: operators, casts, domain checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from policies.attributes import PREFIX
from policies.model import COMPANION
from rewrite import system
from rewrite.catalog import Catalog, Function
from rewrite.pgtree import Node, strings
from rewrite.plan import Need, Refusal, Resolution
from rewrite.survey import Call, Level, Survey

_BUILTIN_CASTS = frozenset(
    """bit bool boolean box bpchar bytea char cid cidr circle date daterange float4 float8 inet int2 int4 int8 int4range int8range
    interval json jsonb jsonpath line lseg macaddr macaddr8 money name numeric numrange oid path pg_lsn point polygon regclass
    regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype text tid time
    timestamp timestamptz timetz tsquery tsrange tstzrange tsvector txid_snapshot uuid varbit varchar xid xid8 xml""".split()
)
"""Builtin types: `type(value)` is a cast when no function of that name exists."""

_KEYWORD_FUNCTIONS = {
    "JsonObjectConstructor": (("json_object",), 160000),
    "JsonArrayConstructor": (("json_array",), 160000),
    "JsonArrayQueryConstructor": (("json_array",), 160000),
    "JsonObjectAgg": (("json_objectagg",), 160000),
    "JsonArrayAgg": (("json_arrayagg",), 160000),
    "JsonParseExpr": (("json",), 170000),
    "JsonScalarExpr": (("json_scalar",), 170000),
    "JsonSerializeExpr": (("json_serialize",), 170000),
    "JsonFuncExpr": (("json_value", "json_query", "json_exists"), 170000),
    "MergeSupportFunc": (("merge_action",), 170000),
}
"""SQL/JSON syntax of later versions that an older server reads as a call of a function of that name."""

STORAGE = frozenset({"pg_column_size", "pg_column_compression", "pg_column_toast_chunk_id"})
"""Builtin functions that tell how a value is stored."""

_CHANGES_SETTINGS = re.compile(
    r"\b(search_path|set_config|schema|role|session|pg_settings|reset|discard|execute)\b", re.IGNORECASE
)
"""Words without which a body in SQL or PL/pgSQL cannot change how names resolve. Loops and cursors may have them too."""
_WORD = re.compile(r"\w+")

_SAMPLES = frozenset({"system", "bernoulli", "system_rows", "system_time"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a statement cannot go on: a refusal, or something that has to be known first."""

    refusal: Refusal | None = None
    need: Need = Need(0)


@dataclass(frozen=True, slots=True)
class Names:
    """What the checks look names up in."""

    catalog: Catalog
    resolution: Resolution | None
    allowed: frozenset[str]
    """Functions that the policy allows, as schema.name."""
    extensions: frozenset[str] = frozenset()
    """Extensions that the policy trusts beyond the built-in list."""
    assertable: frozenset[str] = frozenset()
    """What the session may assert of its person."""
    harmless: Callable[[Function], bool] | None = None
    """Tells a function that needs nobody's leave, because all it does can be seen (rewrite.bodies)."""


def check(survey: Survey, names: Names, *, unlisted: bool = False, guarded: bool = False) -> Finding | None:
    """The first function, operator or type of the statement that a masked session may not use; None when all are fine.

    `unlisted`: the statement reads relations whose columns are not known (temporary ones, those of the open transaction).
    `guarded`: parameters that set_config() takes from an expression are looked at when it runs (`setting_guard`).
    """
    for call in survey.calls:
        finding = _call(call, names, unlisted, guarded)
        if finding is None and call.names == ("pg_catalog", "json_object") and names.catalog.server_version < 160000:
            finding = _candidates(("json_object",), names, must_exist=False)  # a word of the grammar since 16 only
        if finding is not None:
            return finding
    for operator in survey.operators:
        finding = _operator(operator, names)
        if finding is not None:
            return finding
    for type_name in survey.types:
        finding = _type(type_name, names)
        if finding is not None:
            return finding
    for sample in survey.samples:
        if sample[-1] not in _SAMPLES and sample[-1] in names.catalog.functions_by_name:
            return Finding(forbidden("sampling method", ".".join(sample)))
    for keyword in survey.keywords:
        if keyword in _KEYWORD_FUNCTIONS:
            possible, since = _KEYWORD_FUNCTIONS[keyword]
            for name in possible if names.catalog.server_version < since else ():
                finding = _candidates((name,), names, must_exist=False)
                if finding is not None:
                    return finding
    return None


def attribute(name: str, names: Names) -> Finding | None:
    """Whether `value.name` may run a function that a masked session may not call: PostgreSQL takes it for name(value) when the
    value has no such column, whatever its type."""
    if name in system.rules().definitions:
        return Finding(forbidden("attribute notation of", name))
    return _candidates((name,), names, must_exist=False, count=1)


def forbidden(what: str, name: str) -> Refusal:
    return Refusal(
        "42501",
        f"{what} {name} may not be used in a session with masked columns",
        "it may read or run something pgveil cannot see; if it is harmless, a DBA can allow it in the policy (functions: allow)",
    )


def _call(call: Call, names: Names, unlisted: bool, guarded: bool) -> Finding | None:
    name = call.names[-1]
    if _is_set_config(call):
        finding = None if guarded and sets_computed(call) else _set_config(call, names.assertable)
        if finding is not None:
            return finding
    called = call.names
    if called == ("pg_catalog", "extract") and names.catalog.server_version < 140000:
        called = ("pg_catalog", "date_part")  # what EXTRACT(field FROM value) was up to PostgreSQL 13
    finding = _candidates(called, names, must_exist=True, count=_count(call))
    if (
        finding is not None
        and finding.need is Need.CATALOG
        and len(call.names) == 1
        and ((unlisted and len(call.node.get("args", ())) == 1) or name in _named(call.level))
    ):
        return None  # there is no such function: a column written as a call, f(q)
    return finding


def _named(level: Level) -> set[str]:
    """Names of columns that the statement around the level makes itself: aliases of columns and of results."""
    while level.parent is not None:
        level = level.parent
    out: set[str] = set()
    rest: list[Node] = [level.body]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += node
        elif isinstance(node, dict):
            for key in ("colnames", "aliascolnames"):
                out.update(strings(node.get(key, [])))
            for kind, field in (("ResTarget", "name"), ("ColumnDef", "colname")):
                if kind in node and isinstance(node[kind].get(field), str):
                    out.add(node[kind][field])
            rest += [v for v in node.values() if isinstance(v, (dict, list))]
    return out


def _count(call: Call) -> int | None:
    """How many arguments the call gives; None where that does not tell which functions can be meant."""
    if call.node.keys() & {"func_variadic", "agg_within_group"}:
        return None
    return len(call.node.get("args", ()))


def _takes(function: Function, count: int | None) -> bool:
    """Whether a call with so many arguments can mean the function (FuncnameGetCandidates)."""
    if count is None or function.arguments < 0 or function.kind == "p":
        return True
    return function.arguments - function.defaults <= count and (function.variadic or count <= function.arguments)


def _candidates(called: tuple[str, ...], names: Names, *, must_exist: bool, count: int | None = None) -> Finding | None:
    name = called[-1]
    if len(called) == 1:
        everywhere = names.catalog.functions_by_name.get(name, ())
        if names.resolution is None:
            if any(f.schema != "pg_catalog" and _takes(f, count) and not _allowed(f, names) for f in everywhere):
                return Finding(need=Need.RESOLUTION)
            found = everywhere
        else:
            path = {"pg_catalog", *names.resolution.path}
            found = tuple(f for f in everywhere if f.schema in path)
    else:
        if len(called) == 3 and called[0] != names.catalog.database:
            return Finding(Refusal("0A000", "cross-database references are not implemented", "leave the database's name out"))
        schema = called[-2]
        if schema.startswith("pg_temp"):
            return Finding(forbidden("function", ".".join(called)))
        if must_exist and schema not in names.catalog.schemas:
            return Finding(Refusal("3F000", f'schema "{schema}" does not exist'), Need.CATALOG)
        found = tuple(f for f in names.catalog.functions_by_name.get(name, ()) if f.schema == schema)
    for f in found:
        if _takes(f, count) and not _allowed(f, names):
            return Finding(forbidden("function", f"{f.schema}.{f.name}"))
    if found or not must_exist:
        return None
    schemas = called[-2:-1]
    if name in _BUILTIN_CASTS or name in names.catalog.column_names:
        return None  # a cast written as a call, or a column written as one: phone(c)
    if name in names.catalog.types_by_name:
        return _type(called, names)
    if names.resolution is not None and any(t[1] == name and t[0] in (schemas or (t[0],)) for t in names.resolution.types):
        return None  # a cast to a type of the open transaction
    if names.resolution is None:  # the open transaction may have made it
        return Finding(need=Need.RESOLUTION)
    return Finding(Refusal("42883", f"function {'.'.join(called)} does not exist"), Need.CATALOG)


def _allowed(function: Function, names: Names) -> bool:
    if function.schema == COMPANION:  # to guess a value and see its token is to know it
        return False
    if system.is_allowed(function, names.allowed, names.extensions):
        return True
    return names.harmless is not None and names.harmless(function)


def is_usable(oid: int, names: Names) -> bool:
    """Whether a masked session may run the function of that OID."""
    function = names.catalog.functions.get(oid)
    return function is not None and _allowed(function, names)


def _operator(operator: tuple[str, ...], names: Names) -> Finding | None:
    found = names.catalog.operators_by_name.get(operator[-1], ())
    bad = [o for o in found if not is_usable(o.function, names)]
    if not bad:
        return None
    if len(operator) > 1:
        bad = [o for o in bad if o.schema == operator[-2]]
    elif names.resolution is None:
        return Finding(need=Need.RESOLUTION)
    else:
        bad = [o for o in bad if o.schema in names.resolution.path]
    return Finding(forbidden("operator", f"{bad[0].schema}.{bad[0].name}")) if bad else None


def _type(type_name: tuple[str, ...], names: Names) -> Finding | None:
    found = names.catalog.types_by_name.get(type_name[-1], ())
    if len(type_name) > 1:
        found = tuple(t for t in found if t.schema == type_name[-2])
    elif len(found) > 1 and names.resolution is None:
        if any(not is_usable(oid, names) for t in found for oid in t.functions):
            return Finding(need=Need.RESOLUTION)
    elif names.resolution is not None and len(found) > 1:  # types are not overloaded: the first in the path it is
        place = {schema: i for i, schema in enumerate(names.resolution.path)}
        found = tuple(sorted((t for t in found if t.schema in place), key=lambda t: place[t.schema])[:1])
    for t in found:
        for oid in t.functions:
            if not is_usable(oid, names):
                return Finding(forbidden("type", f"{t.schema}.{t.name} (a cast or check of it calls a function)"))
    return None


def _is_set_config(call: Call) -> bool:
    return call.names[-2:] in (("set_config",), ("pg_catalog", "set_config"))


def sets_computed(call: Call) -> bool:
    """A set_config() whose parameter is known only when it runs."""
    args = call.node.get("args", [])
    plain = len(args) == 3 and not any("NamedArgExpr" in a for a in args) and "func_variadic" not in call.node
    return _is_set_config(call) and plain and _parameter(call) is None


def setting_guard() -> tuple[str, str]:
    """What stands before and behind the first argument of such a call: NULL in the place of a parameter that may not be changed,
    which set_config() does not take. Names of parameters are ASCII to the server."""
    refused = ",".join(sorted(system.rules().settings))
    return (
        f'(SELECT CASE WHEN pg_catalog.lower(pgveil.a COLLATE pg_catalog."C") OPERATOR(pg_catalog.=) '
        f"ANY ('{{{refused}}}'::pg_catalog.text[]) THEN NULL::pg_catalog.text ELSE pgveil.a END FROM (SELECT (",
        ")::pg_catalog.text AS a OFFSET 0) AS pgveil)",
    )


def _set_config(call: Call, assertable: frozenset[str]) -> Finding | None:
    """set_config() is SET by another name: the parameter must be known, and one that a masked session may set."""
    name = _parameter(call)
    if name is None:
        return Finding(Refusal("42501", "set_config() needs the name of the parameter as a constant", "write the name out"))
    refusal = setting(name, assertable)
    return Finding(refusal) if refusal is not None else None


def _parameter(call: Call) -> str | None:
    """The parameter that a set_config() call names: a constant, or a column that the query compares with one.

    The second form is what pg_dump sends: SELECT set_config(name, ...) FROM pg_settings WHERE name = '...'.
    """
    args = call.node.get("args", [])
    first = args[0] if args else {}
    while "TypeCast" in first:
        first = first["TypeCast"]["arg"]
    constant = first.get("A_Const", {}).get("sval")
    if constant is not None:
        return str(constant.get("sval", ""))
    where = call.level.body.get("whereClause", {}).get("A_Expr", {})
    if not call.sure:
        return None
    if "ColumnRef" not in first or where.get("kind") != "AEXPR_OP" or strings(where["name"])[-1] != "=":
        return None
    left, right = where["lexpr"].get("ColumnRef"), where["rexpr"].get("A_Const", {}).get("sval")
    if left is None or right is None or left["fields"] != first["ColumnRef"]["fields"]:
        return None
    return str(right.get("sval", ""))


def setting(name: str, assertable: frozenset[str] = frozenset()) -> Refusal | None:
    """Why a masked session may not change the parameter; None when it may. `assertable`: what it may say of its person."""
    if name.lower().startswith(PREFIX):
        attribute = name.lower().removeprefix(PREFIX)
        if attribute in assertable:
            return None
        return Refusal(
            "42501",
            f"{name.lower()} may not be set by this login",
            "a login asserts what the policy lets it assert (attributes: trusted_apps, anyone)",
        )
    if name.lower() in system.rules().settings:
        return Refusal(
            "42501",
            f"parameter {name.lower()} may not be changed in a session with masked columns",
            "it changes who the session is or how statements are read: leave it as it is",
        )
    return None


def set_config_names(survey: Survey) -> frozenset[str]:
    """Parameters that set_config() calls of the statement may change, in lower case; empty text for one not known."""
    return frozenset((_parameter(c) or "").lower() for c in survey.calls if c.names[-1] == "set_config")


def asserts(survey: Survey) -> bool:
    """Whether set_config() calls of the statement may change what the session asserts."""
    return any(not name or name.startswith(PREFIX) for name in set_config_names(survey))


def may_change_settings(survey: Survey, names: Names) -> bool:
    """Whether the statement calls a function, allowed by the policy, that may leave another search_path behind."""
    catalog = names.catalog
    called = {c.names[-1] for c in survey.calls} | set(survey.fields) | {r.fields[-1] for r in survey.refs if len(r.fields) > 1}
    todo = [f for name in called for f in catalog.functions_by_name.get(name, ())]
    symbols = {o[-1] for o in survey.operators}
    behind = [catalog.functions.get(o.function) for name in symbols for o in catalog.operators_by_name.get(name, ())]
    todo += [f for f in behind if f is not None]
    seen: set[int] = set()
    while todo:
        function = todo.pop()
        if function.oid in seen or function.oid < system.FIRST_USER_OID or function.extension is not None:
            continue
        seen.add(function.oid)
        if names.harmless is not None and names.harmless(function):
            continue
        if function.kind != "a" and function.language not in ("sql", "plpgsql"):
            return True
        if function.kind == "a":
            todo += [f for oid in function.parts if (f := catalog.functions.get(oid)) is not None]
            continue
        if function.body is None or _CHANGES_SETTINGS.search(function.body):
            return True
        words = set(_WORD.findall(function.body)) | set(_WORD.findall(function.body.lower()))
        todo += [f for word in words for f in catalog.functions_by_name.get(word, ())]
    return False


def may_write(survey: Survey, names: Names) -> bool:
    """Whether the statement calls, in whatever way, code outside pg_catalog that may change data."""
    catalog = names.catalog
    called = [f.oid for c in survey.calls for f in catalog.functions_by_name.get(c.names[-1], ())]
    called += [o.function for name in survey.operators for o in catalog.operators_by_name.get(name[-1], ())]
    named = [t for name in survey.types for t in catalog.types_by_name.get(name[-1], ())]
    called += [oid for t in named for oid in t.functions]
    called += [c.function for c in catalog.casts if c.context != "e" or any(t.oid == c.target for t in named)]
    found = (catalog.functions.get(oid) for oid in called)
    volatile = (f for f in found if f is not None and f.schema != "pg_catalog" and f.volatility == "v")
    return any(names.harmless is None or not names.harmless(f) for f in volatile)


def called(survey: Survey, names: Names) -> list[Function]:
    """The functions that the statement may call by name, also in attribute notation."""
    found = {c.names[-1] for c in survey.calls} | set(survey.fields) | {r.fields[-1] for r in survey.refs if len(r.fields) > 1}
    return [f for name in sorted(found) for f in names.catalog.functions_by_name.get(name, ())]


def users_code(survey: Survey, names: Names) -> list[Function]:
    """The functions of our users that the statement may call, by whatever notation; by name, on the safe side."""
    catalog = names.catalog
    found = called(survey, names)
    behind = [o.function for name in survey.operators for o in catalog.operators_by_name.get(name[-1], ())]
    named = [t for name in survey.types for t in catalog.types_by_name.get(name[-1], ())]
    behind += [oid for t in named for oid in t.functions]
    behind += [c.function for c in catalog.casts]
    unknown = Function(0, "", "", "f", "v")
    found += [catalog.functions.get(oid, unknown) for oid in behind]
    return [f for f in found if f.extension is None and (f.oid >= system.FIRST_USER_OID or not f.oid)]


def effect(survey: Survey, names: Names, *, own: bool = False) -> str | None:
    """A function behind the expressions that does more than compute; None: there is none.

    Functions of our users count as such, unless `own`: somebody else looks at them.
    """
    called = {c.names for c in survey.calls} | {(f,) for f in survey.fields}
    called |= {r.fields[-1:] for r in survey.refs if len(r.fields) > 1}
    for name in sorted(called):
        if not computes_only(names, name, own=own):
            return name[-1]
    for operator in survey.operators:
        for o in names.catalog.operators_by_name.get(operator[-1], ()):
            function = names.catalog.functions.get(o.function)
            if function is None or not _computes(function, names, own):
                return operator[-1]
    return None


def computes_only(names: Names, called: tuple[str, ...], *, own: bool = False) -> bool:
    """Whether every function of that name (in the schema, if one is written) does nothing but compute."""
    found = names.catalog.functions_by_name.get(called[-1], ())
    return all(_computes(f, names, own) for f in found if len(called) < 2 or f.schema == called[-2])


def _computes(function: Function, names: Names, own: bool) -> bool:
    builtin = function.schema in ("pg_catalog", "information_schema") and function.oid < system.FIRST_USER_OID
    if function.extension is None and not builtin:
        return own
    return system.computes(function, names.extensions)


def tells_withheld(survey: Survey, withheld: Mapping[str, frozenset[int]]) -> str | None:
    """Name of a function in the statement that could tell something about an object that is withheld."""
    for call in survey.calls:
        if any(withheld.get(kind) for kind in guard(call).objects):
            return call.names[-1]
    return None


def guard(call: Call) -> system.Guard:
    """What a builtin function may not tell of; a guard without objects for all others."""
    if len(call.names) == 1 or call.names[-2] == "pg_catalog":
        return system.rules().definitions.get(call.names[-1], _UNGUARDED)
    return _UNGUARDED


_UNGUARDED = system.Guard((), "oid")
