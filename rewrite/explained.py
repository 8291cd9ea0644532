"""What EXPLAIN may show in a session with masked columns.

A plan is made of conditions, estimates and, with ANALYZE, counts. Conditions of the statement are over masked values; those
that come from elsewhere (a view's definition, a policy, a default) may hold data, and counts may be about what a masked column
decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewrite.catalog import Relation
from rewrite.pgtree import Node
from rewrite.plan import Explain, Refusal
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter
from rewrite.run import Run
from rewrite.source import SourceBook

_OFF = frozenset({"false", "off", "0", "f", "no", "n"})


def refusal(run: Run, body: Node, rewriter: Rewriter) -> Refusal | None:
    """Why the EXPLAIN may not run."""
    wanted = asked(body)
    return next((why for shown, why in hidden(run, rewriter) if shown & wanted), None)


def asked(body: Node) -> Explain:
    """What the EXPLAIN shows."""
    options = ((Explain.VERBOSE, "verbose", False), (Explain.ANALYZE, "analyze", False), (Explain.COSTS, "costs", True))
    out = Explain.PLAN
    for flag, name, default in options:
        if _is_on(body, name, default=default):
            out |= flag
    return out


def hidden(run: Run, rewriter: Rewriter) -> tuple[tuple[Explain, Refusal], ...]:
    """What no EXPLAIN of the statement may show, and why."""
    book = run.book
    known = run.context.catalog.relations
    named = list(rewriter.relations.values())
    if any(is_temporary(r) for r in named):  # what is behind a temporary view is for the server to say
        named += [known[o] for o in book.protected] + [known[o] for o in book.withheld.get("view", ()) if o in known]
    relations = list({r.oid: r for n in named for r in _behind(book, n)}.values())
    out = []
    if any(book.holds_literals(r) for r in _defaulted(rewriter)):
        out.append((Explain.VERBOSE, _refusal("VERBOSE could show defaults that hold data", "leave VERBOSE out")))
    if any(book.masked_partition_key(r) for r in relations):
        what = "ANALYZE would count rows by partition, which a masked column decides"
        out.append((Explain.ANALYZE, _refusal(what, "leave ANALYZE out")))
        what = "the costs would tell the sizes of partitions, which a masked column decides"
        out.append((Explain.COSTS, _refusal(what, "add (COSTS OFF)")))
    if any(_shows_definition(book, r) for r in relations) or _calls_withheld(rewriter) or _computes_withheld(rewriter):
        out.append((Explain.PLAN, _refusal("the plan would show conditions of a definition that hold data")))
    if rewriter.survey.targets and any(r.conditional_triggers and r.oid in book.protected for r in relations):
        what = "ANALYZE would count the rows for which conditions of triggers hold"
        out.append((Explain.ANALYZE, _refusal(what, "leave ANALYZE out")))
    return tuple(out)


def _refusal(what: str, hint: str | None = None) -> Refusal:
    return Refusal("42501", f"EXPLAIN of this statement is not possible in a session with masked columns: {what}", hint)


def _is_on(body: Node, name: str, *, default: bool = False) -> bool:
    """The last value of a boolean option, as PostgreSQL reads it: named without a value means on."""
    out = default
    for option in body.get("options", ()):
        element = option["DefElem"]
        if element.get("defname", "").lower() != name:
            continue
        value = element.get("arg")
        text = ""
        if value is not None:
            ((_, inner),) = value.items()
            text = str(inner.get("sval", inner.get("boolval", inner.get("ival", "0")))).lower() if inner else "0"
        out = text not in _OFF
    return out


def _behind(book: SourceBook, relation: Relation, depth: int = 0) -> Iterator[Relation]:
    """The relation, what its definition names, and what is stored below it."""
    yield relation
    if depth < 64 and relation.kind == "v":
        for base in book.bases(relation):
            yield from _behind(book, base, depth + 1)
    elif relation.kind != "v":
        yield from book.below(relation)


def _shows_definition(book: SourceBook, relation: Relation) -> bool:
    """Whether a plan over the relation prints parts of a definition that is withheld."""
    if relation.oid in book.withheld.get("view", frozenset()) and relation.kind == "v":
        return True
    policies = book.withheld.get("pg_policy", frozenset())
    return any(x.oid in policies and relation.oid in x.relations for x in book.catalog.literals if x.catalog == "pg_policy")


def _computes_withheld(rewriter: Rewriter) -> bool:
    """A generated column shows as its expression: a virtual one (PostgreSQL 18), and one over masked columns."""
    withheld = rewriter.book.withheld.get("generated", frozenset())
    return any(
        c.generated and rewriter.usage(site).clauses(c.name)
        for site, relation in rewriter.relations.items()
        if relation.oid in withheld
        for c in relation.columns
    )


def _defaulted(rewriter: Rewriter) -> list[Relation]:
    """The targets whose defaults the plan of the statement may hold, and the tables behind them."""
    nodes = [
        body["relation"]
        for kind, body in rewriter.survey.targets
        if kind in ("InsertStmt", "MergeStmt") or _has(body.get("targetList"), "SetToDefault")
    ]
    found = [relation for site, relation in rewriter.relations.items() if any(site.node is n for n in nodes)]
    for relation in found:  # grows: views on views
        found += [r for r in rewriter.book.bases(relation) if r not in found]
    return found


def _has(node: Node, kind: str) -> bool:
    """Whether a node of the kind is in the tree."""
    if isinstance(node, dict):
        return kind in node or any(_has(v, kind) for v in node.values())
    return isinstance(node, list) and any(_has(v, kind) for v in node)


def _calls_withheld(rewriter: Rewriter) -> bool:
    """SQL functions are inlined: their constants show."""
    withheld = rewriter.book.withheld.get("pg_proc", frozenset())
    called = {c.names[-1] for c in rewriter.survey.calls} if withheld else set()
    return any(f.oid in withheld for name in called for f in rewriter.names.catalog.functions_by_name.get(name, ()))
