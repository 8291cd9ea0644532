"""`filters: equality`: conjuncts that compare a masked column with constants select on the stored values.

    SELECT name, phone FROM bank.customers c WHERE c.phone = '138…' AND vip
    SELECT name, phone FROM (SELECT …, <mask of phone> AS phone FROM bank.customers AS c
                             WHERE ("phone" OPERATOR(pg_catalog.=) '138…')) c WHERE (TRUE) AND vip

The comparison moves into the derived table of exactly that relation, where no other expression can see the stored value, and TRUE
takes its place. What moves is a top-level conjunct of WHERE, or of ON, from where it means the same in the relation: not from
under OR, NOT or CASE, and not to the side of an outer join that may be filled with NULLs. The target of UPDATE and DELETE has no
derived table: there the comparison stays, with its operator pinned.

`column = constant`, `column IN (constants)` and `column = ANY (array of constants)` are taken, where a constant is a literal or a
parameter, cast to a type of the column's family or not cast. A comparison that looks like one but cannot move is refused; any
other compares masked values. Every constant becomes a `Value` of the plan, for the session to count before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from policies.filters import FAMILIES, FilterKind
from rewrite.catalog import Relation
from rewrite.compared import columns_with, refused_uses, seen_as
from rewrite.conjuncts import conjuncts, span
from rewrite.constants import Constant, Part, cast_to, constants, said, spelled
from rewrite.pgtree import Node, parse, quote_ident, strings, strip
from rewrite.plan import Probe, Touch, Value
from rewrite.refused import Refused, refuse
from rewrite.source import Origin
from rewrite.survey import Level, Site, Use

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter

_ALWAYS: Final = {"A_Const": {"boolval": {"boolval": True}}}


@dataclass(slots=True, eq=False)
class Chosen:
    """A comparison with stored values."""

    site: Site
    column: str
    origin: Origin
    node: Node
    """The conjunct, type key included."""
    reference: Node
    start: int
    end: int
    """Bytes of the conjunct."""
    parts: tuple[Part, ...]
    """The condition in the derived table, or of the target."""
    values: tuple[Value, ...] = field(default=())

    def text(self, source: str) -> str:
        return spelled(self.parts, source)

    def touch(self) -> Touch:
        relation, decision = self.origin.relation, self.origin.decision
        name = f"{relation.schema}.{relation.name}"
        return Touch(name, self.origin.column.name, decision.data_class, decision.level, "filter", "raw", decision.rule)


def choose(rewriter: Rewriter) -> None:
    """Find the comparisons of the statement that select on stored values, and no longer count them as uses of the masked values.

    Raises Refused.
    """
    refused_uses(rewriter)
    sites = {site: columns for site in rewriter.sources if (columns := columns_with(rewriter, site, FilterKind.EQUALITY))}
    if not sites:
        return
    claims = _claims(rewriter)
    for level in rewriter.survey.levels:
        for node, reach, where in conjuncts(level):
            found = _match(rewriter, level, node, claims, sites, reach, where)
            if found is not None:
                rewriter.chosen.append(found)
    if rewriter.chosen:
        _forget(rewriter)
        rewriter.chosen = _with_certainty(rewriter)


def _claims(rewriter: Rewriter) -> dict[int, list[tuple[Site, str | None]]]:
    """What each column reference may mean: by id() of its node, the sites and real names; None for a whole row."""
    out: dict[int, list[tuple[Site, str | None]]] = {}
    for site, relation in rewriter.relations.items():
        if site not in rewriter.columns.usages:
            continue
        usage = rewriter.usage(site)
        for ref in usage.refs:
            name = ref.fields[-1]
            real = relation.columns[usage.names.index(name)].name if name in usage.names else None
            out.setdefault(id(ref.node), []).append((site, real))
    return out


def _match(
    rewriter: Rewriter,
    level: Level,
    node: Node,
    claims: dict[int, list[tuple[Site, str | None]]],
    sites: dict[Site, dict[str, Origin]],
    reach: frozenset[int],
    where: str,
) -> Chosen | None:
    """The comparison that a conjunct is; None: it compares masked values. Raises Refused."""
    expression = node.get("A_Expr")
    if expression is None or strings(expression.get("name", [])) not in (("=",), ("pg_catalog", "=")):
        return None
    kind = expression["kind"]
    left, right = expression.get("lexpr"), expression.get("rexpr")
    if left is None or right is None:
        return None
    if kind == "AEXPR_OP" and "ColumnRef" not in left:
        left, right = right, left
    reference = left.get("ColumnRef")
    found = claims.get(id(reference), []) if reference is not None else []
    mine = [(s, n) for s, n in found if n is not None and n in sites.get(s, {})]
    if not mine:
        return None
    site, name = mine[0]
    assert name is not None
    origin = sites[site][name]
    if origin.relation.kind == "f":
        return None  # what another server finds equal is not known
    compared = constants(rewriter, kind, right, origin)
    if compared is None:
        return None
    relation = rewriter.relations[site]
    shown = f"{relation.schema}.{relation.name}.{name}"
    if len(found) > 1 or site.level is not level or level.natural or level.joins or not _is_clear(rewriter, level, reference):
        raise refuse(
            "0A000",
            f"it is not certain that this comparison means column {shown}, which is looked up by its stored value",
            "give the table an alias and write alias.column; no alias for a join, no NATURAL JOIN",
        )
    if id(site.node) not in reach:
        raise refuse(
            "0A000",
            f"column {shown} cannot be looked up by its stored value on this side of an outer join",
            "use an inner join, or put the comparison into the ON of the outer join",
        )
    column = quote_ident(name)
    if site.use is Use.TARGET:
        if relation.kind not in "rp":
            return None
        start = reference["location"]
        column = rewriter.text.encode()[start : rewriter.spans.name_end(start, len(reference["fields"]))].decode()
    start, end = span(rewriter, node)
    chosen = Chosen(site, name, origin, node, reference, start, end, _condition(column, kind, compared))
    chosen.values = tuple(c.value for c in compared if c.value is not None)
    if said(condition_tree(chosen.text(rewriter.text))) != said(right):
        raise refuse(
            "0A000",
            f"a constant that is compared with the stored values of column {shown} is not written plainly",
            "write it as one plain string or number, or as a parameter",
        )
    return chosen


def _is_clear(rewriter: Rewriter, level: Level, reference: Node) -> bool:
    """Whether nothing else in the level can have a column of that name that we do not know."""
    if len(reference["fields"]) > 1:
        return True
    strangers = any(s in rewriter.temporary or s in rewriter.fresh or s not in rewriter.relations for s in level.sites)
    return not level.others and not strangers


def _condition(column: str, kind: str, constants: list[Constant]) -> tuple[Part, ...]:
    if kind == "AEXPR_OP_ANY" and len(constants) == 1 and (constants[0].value is None or constants[0].value.many):
        return (f"({column} OPERATOR(pg_catalog.=) ANY (", *constants[0].parts, "))")
    out: list[Part] = ["("]
    for i, constant in enumerate(constants):
        out += (f"{' OR ' if i else ''}{column} OPERATOR(pg_catalog.=) ", *constant.parts)
    return (*out, ")")


def _forget(rewriter: Rewriter) -> None:
    """The chosen references use no masked value."""
    gone = {id(c.reference) for c in rewriter.chosen}
    for site, name in {(c.site, c.column) for c in rewriter.chosen}:
        usage = rewriter.usage(site)
        here = seen_as(rewriter, site, name)
        left = [r for r in usage.refs if r.fields[-1] == here and id(r.node) not in gone]
        clauses = {r.clause for r in left}
        if clauses:
            usage.columns[name] = clauses
        else:
            usage.columns.pop(name, None)
        if not any(("returning", id(site.level.body)) not in r.path for r in left):
            usage.stored.discard(name)


def _with_certainty(rewriter: Rewriter) -> list[Chosen]:
    """A parameter that is used elsewhere too may have got its type there."""
    used: dict[int, int] = {}
    _parameters(rewriter.body, used)
    mine: dict[int, set[tuple[str, str]]] = {}
    counts: dict[int, int] = {}
    for c in rewriter.chosen:
        for v in c.values:
            if v.parameter:
                counts[v.parameter] = counts.get(v.parameter, 0) + 1
                mine.setdefault(v.parameter, set()).add((v.cast or c.origin.column.base_type, str(v.many)))
    certain = {n for n, count in counts.items() if count == used.get(n) and len(mine[n]) == 1}
    for c in rewriter.chosen:
        c.values = tuple(replace(v, certain=not v.parameter or v.parameter in certain) for v in c.values)
    return rewriter.chosen


def _parameters(node: Node, used: dict[int, int]) -> None:
    if isinstance(node, dict):
        found = node.get("ParamRef")
        if isinstance(found, dict):
            number = found.get("number", 0)
            used[number] = used.get(number, 0) + 1
        for value in node.values():
            _parameters(value, used)
    elif isinstance(node, list):
        for value in node:
            _parameters(value, used)


def substitute(rewriter: Rewriter) -> None:
    """TRUE in the place of what has moved; the comparisons of a target where they are, pinned."""
    for c in rewriter.chosen:
        if c.site.use is Use.TARGET:
            rewriter.edit(c.start, c.end, c.text(rewriter.text), c.parts)
            rewriter.replacements[id(c.node)] = condition_tree(c.text(rewriter.text))
        else:
            rewriter.edit(c.start, c.end, "(TRUE)")
            rewriter.replacements[id(c.node)] = _ALWAYS


def condition(rewriter: Rewriter, site: Site) -> tuple[Part, ...]:
    """What the derived table of the relation selects by; empty: every row."""
    out: list[Part] = []
    for c in rewriter.chosen:
        if c.site is site:
            out += (" AND " if out else " WHERE ", *c.parts)
    return tuple(out)


def condition_tree(text: str) -> Node:
    (statement,) = parse(f"SELECT WHERE {text}")
    return strip(statement.body)["whereClause"]


def probes(rewriter: Rewriter, statement: int) -> tuple[Probe, ...]:
    """What the session has to count."""
    out = []
    for c in rewriter.chosen:
        column = c.origin.column
        root = _root(rewriter, c.origin.relation, column.name)
        name = f"{root.schema}.{root.name}.{column.name}"
        limit = c.origin.decision.filters.probes_per_hour
        out.append(Probe(name, column.base_type, FAMILIES[column.base_type], limit, c.values, statement))
    return tuple(out)


def _root(rewriter: Rewriter, relation: Relation, column: str) -> Relation:
    """The topmost table whose column it is: a partition has no budget of its own."""
    known = rewriter.book.catalog.relations
    seen = set()
    while relation.oid not in seen:
        seen.add(relation.oid)
        for oid in relation.parents:
            parent = known.get(oid)
            if parent is not None and any(c.name == column for c in parent.columns):
                relation = parent
                break
    return relation


def prepared_types(rewriter: Rewriter, types: list[Node]) -> None:
    """The types that SQL's PREPARE gives to parameters must be ones a filter can take; raises Refused."""
    for c in rewriter.chosen:
        family = FAMILIES[c.origin.column.base_type]
        values = []
        for v in c.values:
            if not v.parameter:
                values.append(v)
                continue
            given = types[v.parameter - 1]["TypeName"] if v.parameter <= len(types) else None
            if given is not None and strings(given["names"])[-1] == "unknown":
                given = None
            spelling = cast_to(given, family, many=v.many) if given is not None and not given.get("typmods") else None
            if spelling is None and not (given is None and v.certain):
                raise untyped(v.parameter, family)
            values.append(replace(v, type=spelling or ""))
        c.values = tuple(values)


def untyped(number: int, family: str) -> Refused:
    return refuse(
        "0A000",
        f"parameter ${number} is compared with stored values, and must be of a type whose constants can be counted",
        f"give it the type {'text' if family == 'text' else 'bigint or numeric' if family == 'number' else family}, and use "
        "another parameter elsewhere in the statement",
    )
