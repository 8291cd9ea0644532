"""CREATE FUNCTION and DO in sessions with masked columns: code that can be seen through, and nothing else.

What a masked session makes, others run: with their rights, on values that the maker may not see, perhaps because the name is one
that they call already. So a function may be made when it is pure (`rewrite.bodies`): it reads nothing that is protected from its
maker, and leaves nothing behind, whoever calls it. It never takes the place of one that the policy allows, that protected tables
set off, or that is not pure itself. Calling it is another matter: the catalog says then what it is.

DO runs at once and is gone. Besides pure code it may hold statements that stand for themselves, each of which the session could
run alone: CREATE TYPE, INSERT, ALTER TABLE, … They are planned one by one; since the text of the block stays as it is, none of
them may need a change, and a name in it counts as every relation of that name.

Manual: sql-createfunction, sql-do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rewrite import functions, objects, procedural, relied, statements, system
from rewrite.bodies import standard
from rewrite.catalog import Function
from rewrite.objects import in_own_schema
from rewrite.pgtree import Node, ParseError, Statement, parse, strings, strip
from rewrite.plan import Effect, Refusal, Says, StatementPlan
from rewrite.refused import Refused
from rewrite.rewriter import Rewriter
from rewrite.run import Run, analyse, rewriter_for, unresolved
from rewrite.spans import Spans

Planned = tuple[Rewriter | None, StatementPlan, Node]
PlanOne = Callable[[Run, Statement], Planned]

_OPTIONS = frozenset({"as", "language", "volatility", "strict", "parallel", "cost", "rows", "security", "leakproof", "set"})
_LANGUAGES = frozenset({"sql", "plpgsql"})
_NEW = -1
"""Stands for the OID that the function will have."""
_CAUGHT = frozenset({"sqlerrm", "stacked"})
"""What tells a block about an error: all that is withheld from the client where a statement touches something protected."""
_IN_DO = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CreateTableAsStmt"})


def create_function(run: Run, kind: str, body: Node, name: str) -> Planned:
    options = {o["DefElem"]["defname"]: o["DefElem"].get("arg", {}) for o in body.get("options", ())}
    settings = [o["DefElem"]["arg"]["VariableSetStmt"] for o in body.get("options", ()) if o["DefElem"]["defname"] == "set"]
    language = _text(options.get("language", {})).lower() or "sql"
    if options.keys() - _OPTIONS or language not in _LANGUAGES or not _is_plain(options, settings):
        raise _opaque(body)
    parts = strings(body["funcname"])
    in_own_schema(run, kind, parts)
    _signature(run, kind, body)
    items = options.get("as", {}).get("List", {}).get("items", [])
    made = Function(
        _NEW,
        parts[-2] if len(parts) > 1 else "",
        parts[-1],
        "p" if body.get("is_procedure") else "f",
        "v",
        language=language,
        settings=tuple(_setting(s) for s in settings),
        body=_text(items[0]) if len(items) == 1 else run.text,
        types=_types(run, body),
    )
    inside = standard(body["sql_body"]) if "sql_body" in body else None
    if len(items) != (inside is None) or not run.book.pure.judge(made, inside):
        raise _opaque(body)
    _replaces_nothing(run, body, parts, made)
    return None, StatementPlan(name, (), Effect.RESOLUTION | Effect.DDL, says=Says.DETAILS), {kind: strip(body)}


def _text(value: Node) -> str:
    return str(value.get("String", {}).get("sval", ""))


def _is_plain(options: dict[str, Node], settings: list[Node]) -> bool:
    """No rights of its maker, no promise about leaks, no setting that a masked session may not change."""
    if any(options.get(key, {}).get("Boolean", {}).get("boolval") for key in ("security", "leakproof")):
        return False
    for setting in settings:
        if setting.get("kind") != "VAR_SET_VALUE" or setting["name"].lower() == "role":
            return False
        if functions.setting(setting["name"]) is not None:
            return False
    return True


def _setting(body: Node) -> str:
    """As pg_proc.proconfig has it; what is not a list of plain names may be any."""
    values = [a.get("A_Const", {}).get("sval", {}).get("sval", "") for a in body.get("args", ())]
    plain = all(v.isidentifier() and v == v.lower() for v in values)
    return f"{body['name'].lower()}={', '.join(values) if plain else chr(34)}"


def _types(run: Run, body: Node) -> tuple[int, ...]:
    """Every type that the words of the signature may mean."""
    names = [p["FunctionParameter"]["argType"] for p in body.get("parameters", ())] + [body.get("returnType", {})]
    known = run.context.catalog.types_by_name
    return tuple(t.oid for n in names for part in strings(n.get("names", [])) for t in known.get(part, ()))


def _signature(run: Run, kind: str, body: Node) -> None:
    """Types and defaults must be ones that the session could use itself; raises Refused."""
    rewriter = rewriter_for(run, kind, {k: body[k] for k in ("parameters", "returnType") if k in body})
    rewriter.allow_ddl = True
    analyse(run, rewriter)
    if rewriter.survey.sites or functions.effect(rewriter.survey, rewriter.names) is not None:
        raise _opaque(body)


def _replaces_nothing(run: Run, body: Node, parts: tuple[str, ...], made: Function) -> None:
    """Others rely on what a name means to them; raises Refused."""
    name = parts[-1]
    if any(allowed.rpartition(".")[2] == name for allowed in run.context.profile.functions):
        raise _opaque(body, "the policy allows functions of that name")
    why = relied.on(run.book, name)
    if why is not None:
        raise _opaque(body, why)
    there = run.context.catalog.functions_by_name.get(name, ())
    if not all(run.book.pure.harmless(f) for f in there):
        raise _opaque(body, f"there is another function {name}, which cannot be seen through")
    if there and body.get("replace") and _names_relations(run, made):
        raise _opaque(body, f"there is a function {name}, which could read something else while this transaction is open")


def _names_relations(run: Run, made: Function) -> bool:
    """Whether the body may read a relation: what it replaces has been judged by what is committed."""
    text = procedural.read(made.body or "", run.context.catalog)
    known = run.context.catalog.relations_by_word
    return text is None or any(not system.is_system(r) for w in text.words for r in known.get(w.name, ()))


def _opaque(body: Node, why: str = "") -> Refused:
    what = "CREATE PROCEDURE" if body.get("is_procedure") else "CREATE FUNCTION"
    why = why or "only code in SQL or PL/pgSQL that reads nothing protected and changes nothing can be seen through"
    return Refused(
        Refusal(
            "42501",
            f"{what} is not possible in a session with masked columns: {why}",
            "run it from a session without masked columns",
        )
    )


def do(run: Run, kind: str, body: Node, name: str, plan_one: PlanOne) -> Planned:
    arguments = {a["DefElem"]["defname"]: a["DefElem"]["arg"] for a in body.get("args", ())}
    source = _text(arguments.get("as", {}))
    if (_text(arguments.get("language", {})).lower() or "plpgsql") != "plpgsql":
        raise _hidden()
    try:
        text = procedural.read(source, run.context.catalog)
    except ParseError:
        text = None
    if text is None:
        raise _hidden()
    found = _statements(text, source)
    inside = [(start, end) for start, end, _ in found]
    rest = [w for w in text.words if not any(start <= w.start < end for start, end in inside)]
    book = run.book
    if not procedural.only_computes(text, rest, source, (), book, book.profile.extensions, book.pure.harmless):
        raise _hidden()
    effects, says = Effect.NONE, Says.ALL
    if found:
        _no_masked_values(run, text)
    caught = any(not w.quoted and w.name in _CAUGHT for w in text.words)
    for _, _, statement in found:
        rewriter, plan = _alone(run, statement, plan_one)
        effects |= plan.effects
        is_open = plan.says is not Says.LITTLE and _is_open(run, rewriter)
        if caught and not is_open:
            raise _hidden()
        if not is_open:
            says = min(says, plan.says)
    return None, StatementPlan(name, (), effects, says=says), {kind: strip(body)}


def _is_open(run: Run, rewriter: Rewriter | None) -> bool:
    """Whether the statement runs no code but such that can be seen through."""
    return rewriter is None or all(map(run.book.pure.harmless, functions.users_code(rewriter.survey, rewriter.names)))


def _hidden() -> Refused:
    return Refused(
        Refusal(
            "42501",
            "DO is not possible in a session with masked columns: not all that the block does can be seen, or it touches "
            "something protected",
            "write statements out instead of EXECUTE, send them one by one, or run it from a session without masked columns",
        )
    )


def _statements(text: procedural.Text, source: str) -> list[tuple[int, int, str]]:
    """The SQL statements with an effect that stand in the block: start and end in bytes, and the text."""
    out: list[tuple[int, int, str]] = []
    raw = source.encode()
    words = {w.start: w for w in text.words}
    depth = 0
    i = 0
    while i < len(text.tokens):
        token = text.tokens[i]
        word = words.get(token.start)
        before = text.tokens[i - 1].text.lower() if i else ";"
        if word is not None and not word.quoted and word.name in procedural.EFFECTS and before in procedural.BEGINS:
            first, depth = i, 0
            while i < len(text.tokens) and not (text.tokens[i].text == ";" and depth <= 0):
                depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text.tokens[i].text, 0)
                i += 1
            end = text.tokens[i].start if i < len(text.tokens) else len(raw)
            out.append((text.tokens[first].start, end, raw[text.tokens[first].start : end].decode()))
        i += 1
    return out


def _no_masked_values(run: Run, text: procedural.Text) -> None:
    """A variable could carry a masked value from a temporary table into a permanent one; raises Refused."""
    if run.resolution is None:
        raise unresolved(run)
    names = {w.name for w in text.words}
    calls = any(f.oid >= system.FIRST_USER_OID for n in names for f in run.context.catalog.functions_by_name.get(n, ()))
    if any(t in names or (calls and run.book.reader(t) is not None) for t in run.resolution.tainted):
        raise _hidden()


def _alone(run: Run, text: str, plan_one: PlanOne) -> tuple[Rewriter | None, StatementPlan]:
    """The plan of a statement as if it came by itself; raises Refused, also where it would have to be changed."""
    try:
        parsed = parse(text)
    except ParseError:
        raise _hidden() from None
    if len(parsed) != 1 or not (parsed[0].kind in _IN_DO or parsed[0].kind in statements.DDL or parsed[0].kind in objects.KINDS):
        raise _hidden()
    rewriter, plan, _ = plan_one(replace(run, text=text, spans=Spans(text), made=set()), parsed[0])
    if rewriter is not None and (rewriter.derived or rewriter.chosen or rewriter.returning or rewriter.reads_masked()):
        raise _hidden()
    if plan.taints:
        raise _hidden()
    return rewriter, plan
