"""What becomes of masked columns in a view's definition: passed through, computed with, or deciding which rows there are.

A view whose masked columns are only passed through shows the same when its own columns are masked as when it is opened: the mask
of a value does not care by which way the value came. Reading the view itself keeps its owner's rights and row security, and asks
the reader for no right on the tables behind it. Everything that is not plainly a column passed through counts as computed or as
deciding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from policies.model import Decision
from rewrite.catalog import Relation
from rewrite.expression import columns_of
from rewrite.pgtree import Node, strings
from rewrite.rewriter import Rewriter
from rewrite.source import Origin
from rewrite.survey import Site

_SETS = frozenset(
    """unnest generate_series generate_subscripts regexp_matches regexp_split_to_table string_to_table json_array_elements
    json_array_elements_text json_each json_each_text json_object_keys json_populate_recordset json_to_recordset
    jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text jsonb_object_keys jsonb_path_query
    jsonb_path_query_tz jsonb_populate_recordset jsonb_to_recordset aclexplode ts_debug ts_parse ts_token_type""".split()
)
"""Builtin functions that make rows of their argument."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The output columns of one view, by what they have to do with masked columns."""

    passed: Mapping[str, Origin]
    """Sensitive columns that come unchanged from one column of the relations behind."""
    computed: frozenset[str]
    """Columns that may be computed from masked ones."""
    decides: bool
    """Which rows there are, or their order, may depend on masked columns."""
    deciding: frozenset[str]
    """Columns that come unchanged from one which decides, by a rule's row condition, what a session sees of the row."""


def outputs(view: Relation, rewriter: Rewriter) -> Outputs:
    """The outputs of a view whose definition has been analysed."""
    columns = {c.name: c for c in view.columns}
    everything = frozenset(columns)
    body = rewriter.body
    targets = [t["ResTarget"].get("val") for t in body.get("targetList", [])]
    if len(targets) != len(columns) or "larg" in body or any(lv.joins or lv.natural for lv in rewriter.survey.levels):
        return Outputs({}, everything, True, frozenset())
    claims = _claims(rewriter)
    plain = {name: found for name, val in zip(columns, targets, strict=True) if (found := _plain(rewriter, val, claims))}
    seen: dict[Site, dict[str, str]] = {}
    for name, (site, real) in plain.items():
        seen.setdefault(site, {}).setdefault(real, name)
    nullable = _nullable(rewriter)
    hidden = {node for node, found in claims.items() if any(_is_hidden(rewriter, *c) for c in found)}
    passed: dict[str, Origin] = {}
    computed = set()
    deciding = set()
    for name, val in zip(columns, targets, strict=True):
        if name in plain:
            site, real = plain[name]
            if real in rewriter.book.deciding(rewriter.relations[site]):
                deciding.add(name)
            origin = _origin(rewriter, site, real)
            if origin is not None:
                moved = _through(origin, seen[site])
                if moved is not None and _same_type(view, name, moved) and (site not in nullable or _strict(moved.decision)):
                    passed[name] = moved
                    continue
        if _mentions(val, hidden):
            computed.add(name)
    decides = _decides(rewriter, targets, hidden, bool(passed) or bool(computed))
    return Outputs(passed, frozenset(computed), decides, frozenset(deciding))


def _origin(rewriter: Rewriter, site: Site, name: str) -> Origin | None:
    """Where a column is decided upon; None when it is not sensitive or does not hold the stored value."""
    relation = rewriter.relations[site]
    source = rewriter.sources.get(site) or rewriter.book.target(relation)
    if source is not None:
        return source.origins.get(name)
    decisions = rewriter.book.profile.decisions.get(relation.oid, {})
    here = {c.name: c.name for c in relation.columns}
    return next(
        (Origin(relation, c, decisions[c.attnum], here) for c in relation.columns if c.name == name and c.attnum in decisions),
        None,
    )


def makes_rows(view: Relation, rewriter: Rewriter, names: Collection[str]) -> bool:
    """Whether one of these computed columns may decide, by returning a set, how many rows there are."""
    targets = rewriter.body.get("targetList", [])
    if len(targets) != len(view.columns):
        return True
    chosen = [t for c, t in zip(view.columns, targets, strict=True) if c.name in names]
    return any(_returns_set(t) for t in chosen)


def _returns_set(node: Node) -> bool:
    if isinstance(node, dict):
        call = node.get("FuncCall")
        if call is not None:
            names = strings(call["funcname"])
            if names[-1] in _SETS or (len(names) > 1 and names[0] != "pg_catalog"):
                return True
        return any(_returns_set(v) for v in node.values())
    return isinstance(node, list) and any(_returns_set(v) for v in node)


def _claims(rewriter: Rewriter) -> dict[int, list[tuple[Site, str | None]]]:
    """What each column reference may mean: by the id of its node, the sites and real names; None for a whole row."""
    out: dict[int, list[tuple[Site, str | None]]] = {}
    for site, relation in rewriter.relations.items():
        usage = rewriter.usage(site)
        for ref in usage.refs:
            name = ref.fields[-1]
            real = relation.columns[usage.names.index(name)].name if name in usage.names else None
            out.setdefault(id(ref.node), []).append((site, real))
    return out


def _plain(rewriter: Rewriter, val: Node, claims: Mapping[int, list[tuple[Site, str | None]]]) -> tuple[Site, str] | None:
    """The one column that an output passes on."""
    reference = val.get("ColumnRef") if isinstance(val, dict) else None
    found = claims.get(id(reference), []) if reference is not None else []
    if len(found) != 1:
        return None
    site, real = found[0]
    return (site, real) if real is not None and site.level.body is rewriter.body else None


def _is_hidden(rewriter: Rewriter, site: Site, real: str | None) -> bool:
    source = rewriter.sources.get(site)
    if source is None:
        return False
    hidden = source.masked | source.denied
    return bool(hidden) if real is None else real in hidden


def _through(origin: Origin, seen: Mapping[str, str]) -> Origin | None:
    """The origin under the names of a view that passes on `seen`; None when something its decision needs does not pass."""
    needed = {origin.column.name}
    for branch in origin.decision.branches:
        texts = [branch.rows] if branch.rows is not None else []
        if branch.mask is not None and branch.mask.is_expression:
            texts.append(branch.mask.sql("$1", origin.column_type))
        for text in texts:
            used = columns_of(text)
            if used is None:
                return None
            needed |= used & {c.name for c in origin.relation.columns}
    if not all(origin.names.get(n) in seen for n in needed):
        return None
    return replace(origin, names={own: seen[here] for own, here in origin.names.items() if here in seen})


def _same_type(view: Relation, name: str, origin: Origin) -> bool:
    column = next(c for c in view.columns if c.name == name)
    return column.type_sql == origin.column.type_sql


def _strict(decision: Decision) -> bool:
    """Whether NULL stays NULL; a policy's own SQL need not keep it."""
    return not any(b.mask is not None and b.mask.is_expression for b in decision.branches)


def _nullable(rewriter: Rewriter) -> set[Site]:
    """Sites whose rows an outer join may fill with NULLs."""
    inside: set[int] = set()
    _filled(rewriter.body.get("fromClause", []), False, inside)
    return {site for site in rewriter.relations if id(site.node) in inside}


def _filled(node: Node, filled: bool, found: set[int]) -> None:
    if isinstance(node, dict):
        join = node.get("JoinExpr")
        if join is not None:
            kind = join.get("jointype")
            _filled(join["larg"], filled or kind in ("JOIN_RIGHT", "JOIN_FULL"), found)
            _filled(join["rarg"], filled or kind in ("JOIN_LEFT", "JOIN_FULL"), found)
            return
        if filled:
            found.add(id(node))
        for value in node.values():
            _filled(value, filled, found)
    elif isinstance(node, list):
        for value in node:
            _filled(value, filled, found)


def _decides(rewriter: Rewriter, targets: list[Node], hidden: set[int], shown: bool) -> bool:
    """Whether a masked column is used anywhere but in the output columns."""
    if any(source.decides for source in rewriter.sources.values()):
        return True
    if shown and any(not item for item in rewriter.body.get("distinctClause", [])):
        return True
    inside: set[int] = set()
    for val in targets:
        _ids(val, inside)
    keyed = _keyed(rewriter)
    if any(node not in inside and node not in keyed for node in hidden):
        return True
    if not any(source.masked | source.denied for source in rewriter.sources.values()):
        return False
    if any(r.fields[-1] == "*" and id(r.node) not in inside for r in rewriter.survey.refs):
        return True
    clauses = [*rewriter.body.get("groupClause", []), *rewriter.body.get("sortClause", [])]
    return any("A_Const" in (item.get("SortBy", {}).get("node", item) if isinstance(item, dict) else {}) for item in clauses)


def _keyed(rewriter: Rewriter) -> set[int]:
    """Items of GROUP BY that change no group because the relation's primary key is in the list too."""
    items = rewriter.body.get("groupClause", [])
    nodes = {id(i["ColumnRef"]) for i in items if "ColumnRef" in i}
    if len(nodes) != len(items):
        return set()
    out: set[int] = set()
    for site, relation in rewriter.relations.items():
        usage = rewriter.usage(site)
        mine = {id(r.node): r.fields[-1] for r in usage.refs if id(r.node) in nodes and r.fields[-1] in usage.names}
        real = {relation.columns[usage.names.index(n)].name for n in mine.values()}
        key = {c.name for c in relation.columns if c.attnum in relation.primary_key}
        source = rewriter.sources.get(site)
        if key and key <= real and not (source is not None and key & (source.masked | source.denied)):
            out |= mine.keys()
    return out


def _ids(node: Node, found: set[int]) -> None:
    if isinstance(node, dict):
        found.add(id(node))
        for value in node.values():
            _ids(value, found)
    elif isinstance(node, list):
        for value in node:
            _ids(value, found)


def _mentions(node: Node, hidden: set[int]) -> bool:
    """Whether an expression refers to one of the nodes, or to all columns of something."""
    if isinstance(node, dict):
        if id(node) in hidden or "A_Star" in node:
            return True
        return any(_mentions(v, hidden) for v in node.values())
    return isinstance(node, list) and any(_mentions(v, hidden) for v in node)
