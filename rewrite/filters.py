"""`filters: equality`: conjuncts that compare a masked column with constants select on the stored values.

    SELECT name, phone FROM bank.customers c WHERE c.phone = '138…' AND vip
    SELECT name, phone FROM (SELECT …, <mask of phone> AS phone FROM bank.customers AS c
                             WHERE "phone" OPERATOR(pg_catalog.=) '138…') c WHERE TRUE AND vip

The comparison moves into the derived table of exactly that relation, where no other expression can see the stored value, and TRUE
takes its place. What moves is a top-level conjunct of WHERE, or of ON, from where it means the same in the relation: not from
under OR, NOT or CASE, and not to the side of an outer join that may be filled with NULLs. The target of UPDATE and DELETE has no
derived table: there the comparison stays, with its operator pinned.

`column = constant`, `column IN (constants)` and `column = ANY (array of constants)` are taken, where a constant is a literal or a
parameter, cast to a type of the column's family or not cast. A comparison that looks like one but cannot move is refused; any
other compares masked values. Every constant becomes a `Value` of the plan, for the session to count before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from policies.filters import FAMILIES, FilterKind
from rewrite.catalog import Relation
from rewrite.pgtree import Node, parse, quote_ident, strings, strip
from rewrite.plan import Probe, Touch, Value
from rewrite.refused import Refused, refuse
from rewrite.source import Origin
from rewrite.survey import Level, Site, Use

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter

Part = str | tuple[int, int]
"""Generated text, or the bytes [start, end) of the client's text that stand there."""

_CASTS: Final = {**FAMILIES, "int4": "number"}
_ALWAYS: Final = {"A_Const": {"boolval": {"boolval": True}}}
_ENDS: Final = frozenset(
    """and or group order limit having window union except intersect for fetch offset returning where on join left right inner
    full cross natural , ; ] )""".split()
)
_OPEN: Final = {"(": 1, "[": 1, ")": -1, "]": -1}


@dataclass(frozen=True, slots=True)
class _Constant:
    parts: tuple[Part, ...]
    value: Value | None
    """None for NULL, which equals nothing."""


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


def spelled(parts: Iterable[Part], source: str) -> str:
    raw = source.encode()
    return "".join(p if isinstance(p, str) else raw[p[0] : p[1]].decode() for p in parts)


def choose(rewriter: Rewriter) -> None:
    """Find the comparisons of the statement that select on stored values, and no longer count them as uses of the masked values.

    Raises Refused.
    """
    _refused_uses(rewriter)
    sites = {site: columns for site in rewriter.sources if (columns := _columns(rewriter, site, FilterKind.EQUALITY))}
    if not sites:
        return
    claims = _claims(rewriter)
    for level in rewriter.survey.levels:
        for node, reach, where in _conjuncts(level):
            found = _match(rewriter, level, node, claims, sites, reach, where)
            if found is not None:
                rewriter.chosen.append(found)
    if rewriter.chosen:
        _forget(rewriter)
        rewriter.chosen = _with_certainty(rewriter)


def _columns(rewriter: Rewriter, site: Site, kind: FilterKind) -> dict[str, Origin]:
    """Masked columns of the relation with that way of filtering, by name."""
    source = rewriter.sources[site]
    return {n: o for n, o in source.origins.items() if n in source.masked and o.decision.filters.kind is kind}


def _refused_uses(rewriter: Rewriter) -> None:
    """`filters: refuse`: no comparison at all."""
    for site in rewriter.sources:
        for name in _columns(rewriter, site, FilterKind.REFUSE):
            usage = rewriter.usage(site)
            uses = usage.clauses(name) & {"filter", "join", "group", "sort"}
            if not uses and "output" in usage.clauses(name) and _is_sorted_out(rewriter, site, name):
                uses = {"group"}
            if uses:
                where = f"{rewriter.relations[site].schema}.{rewriter.relations[site].name}"
                raise refuse(
                    "42501",
                    f"column {where}.{name} may not be compared, grouped or sorted by (filters: refuse)",
                    "leave the column out of WHERE, ON, GROUP BY, DISTINCT and ORDER BY",
                )


def _is_sorted_out(rewriter: Rewriter, site: Site, name: str) -> bool:
    """Whether an output column is also compared: DISTINCT, a set operation, ORDER BY and GROUP BY by number or by output name."""
    refs = {id(r.node): r for r in rewriter.usage(site).refs if r.fields[-1] == _here(rewriter, site, name)}
    stars = {id(r.node) for r in rewriter.usage(site).stars}
    for level in rewriter.survey.levels:
        body = level.body
        targets = body.get("targetList", [])
        mine = [i for i, t in enumerate(targets) if _holds(t, refs.keys() | stars)]
        if not mine:
            continue
        if body.get("distinctClause") or (level.parent is not None and level.parent.body.get("op", "SETOP_NONE") != "SETOP_NONE"):
            return True
        named = {targets[i]["ResTarget"].get("name") for i in mine}
        for item in (*body.get("sortClause", []), *body.get("groupClause", [])):
            node = item.get("SortBy", {}).get("node", item)
            if "A_Const" in node or strings_of(node.get("ColumnRef", {})) in {(n,) for n in named if n}:
                return True
        if any(_holds_key(targets[i], ("agg_order", "agg_filter", "over", "agg_distinct")) for i in mine):
            return True
    return False


def strings_of(reference: Node) -> tuple[str, ...]:
    return tuple(f["String"].get("sval", "") for f in reference.get("fields", ()) if "String" in f)


def _here(rewriter: Rewriter, site: Site, name: str) -> str:
    """What the query calls the relation's column."""
    relation = rewriter.relations[site]
    at = next(i for i, c in enumerate(relation.columns) if c.name == name)
    return rewriter.usage(site).names[at]


def _holds(node: Node, ids: Iterable[int]) -> bool:
    if isinstance(node, dict):
        return id(node) in ids or any(_holds(v, ids) for v in node.values())
    return isinstance(node, list) and any(_holds(v, ids) for v in node)


def _holds_key(node: Node, keys: tuple[str, ...]) -> bool:
    if isinstance(node, dict):
        return any(k in node for k in keys) or any(_holds_key(v, keys) for v in node.values())
    return isinstance(node, list) and any(_holds_key(v, keys) for v in node)


# -- where a conjunct may move --------------------------------------------------------------------------------------------


def _conjuncts(level: Level) -> Iterator[tuple[Node, frozenset[int], str]]:
    """Every top-level conjunct, the relations (id() of their nodes) into which it may move, and its clause."""
    body = level.body
    items = [*body.get("fromClause", ()), *body.get("usingClause", ())]
    reach = frozenset().union(*(_kept(i) for i in items)) if items else frozenset()
    if isinstance(body.get("relation"), dict) and "whereClause" in body:
        reach |= {id(body["relation"])}  # the target of UPDATE and DELETE
    for node in _parts(body.get("whereClause")):
        yield node, reach, "WHERE"
    for item in items:
        yield from _joined(item)


def _joined(item: Node) -> Iterator[tuple[Node, frozenset[int], str]]:
    join = item.get("JoinExpr")
    if join is None:
        return
    yield from _joined(join["larg"])
    yield from _joined(join["rarg"])
    kind = join.get("jointype", "JOIN_INNER")
    reach = frozenset[int]()
    if kind in ("JOIN_INNER", "JOIN_RIGHT"):
        reach |= _kept(join["larg"])
    if kind in ("JOIN_INNER", "JOIN_LEFT"):
        reach |= _kept(join["rarg"])
    for node in _parts(join.get("quals")):
        yield node, reach, "ON"


def _kept(item: Node) -> frozenset[int]:
    """The relations whose rows come through the joins of the item as they are, or not at all."""
    ((kind, body),) = item.items()
    if kind == "RangeVar":
        return frozenset({id(body)})
    if kind == "RangeTableSample":
        return frozenset({id(body["relation"]["RangeVar"])})
    if kind != "JoinExpr":
        return frozenset()
    join = body.get("jointype", "JOIN_INNER")
    left = _kept(body["larg"]) if join in ("JOIN_INNER", "JOIN_LEFT") else frozenset[int]()
    right = _kept(body["rarg"]) if join in ("JOIN_INNER", "JOIN_RIGHT") else frozenset[int]()
    return left | right


def _parts(node: Node) -> Iterator[Node]:
    if node is None:
        return
    found = node.get("BoolExpr")
    if found is not None and found["boolop"] == "AND_EXPR":
        for part in found["args"]:
            yield from _parts(part)
    else:
        yield node


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


# -- what a comparison is -------------------------------------------------------------------------------------------------


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
    constants = _constants(rewriter, kind, right, origin)
    if constants is None:
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
    start, end = _span(rewriter, node)
    chosen = Chosen(site, name, origin, node, reference, start, end, _condition(column, kind, constants))
    chosen.values = tuple(c.value for c in constants if c.value is not None)
    if _said(condition_tree(chosen.text(rewriter.text))) != _said(right):
        raise refuse(
            "0A000",
            f"a constant that is compared with the stored values of column {shown} is not written plainly",
            "write it as one plain string or number, or as a parameter",
        )
    return chosen


def _said(node: Node) -> list[Node]:
    """The constants and parameters of an expression, in order."""
    if isinstance(node, dict):
        if "A_Const" in node:
            return [strip(node["A_Const"])]
        if "ParamRef" in node:
            return [node["ParamRef"].get("number")]
        return [x for key, value in node.items() if key != "typeName" for x in _said(value)]
    return [x for value in node for x in _said(value)] if isinstance(node, list) else []


def _is_clear(rewriter: Rewriter, level: Level, reference: Node) -> bool:
    """Whether nothing else in the level can have a column of that name that we do not know."""
    if len(reference["fields"]) > 1:
        return True
    strangers = any(s in rewriter.temporary or s in rewriter.fresh or s not in rewriter.relations for s in level.sites)
    return not level.others and not strangers


def _condition(column: str, kind: str, constants: list[_Constant]) -> tuple[Part, ...]:
    if kind == "AEXPR_OP_ANY" and len(constants) == 1 and (constants[0].value is None or constants[0].value.many):
        return (f"({column} OPERATOR(pg_catalog.=) ANY (", *constants[0].parts, "))")
    out: list[Part] = ["("]
    for i, constant in enumerate(constants):
        out += (f"{' OR ' if i else ''}{column} OPERATOR(pg_catalog.=) ", *constant.parts)
    return (*out, ")")


def _constants(rewriter: Rewriter, kind: str, node: Node, origin: Origin) -> list[_Constant] | None:
    """What the column is compared with; None when that is anything but constants."""
    if kind == "AEXPR_OP":
        items = [node]
    elif kind == "AEXPR_IN":
        items = node["List"]["items"]
    elif kind == "AEXPR_OP_ANY":
        found = _array(rewriter, node, origin)
        if found is not None:
            return found
        one = _constant(rewriter, node, origin, many=True)
        return None if one is None else [one]
    else:
        return None
    out = [_constant(rewriter, item, origin) for item in items]
    return None if any(c is None for c in out) else [c for c in out if c is not None]


def _array(rewriter: Rewriter, node: Node, origin: Origin) -> list[_Constant] | None:
    """ARRAY[constants], perhaps cast."""
    cast = node.get("TypeCast")
    inner = cast["arg"] if cast is not None else node
    array = inner.get("A_ArrayExpr")
    if array is None or not array.get("elements"):
        return None
    family = FAMILIES[origin.column.base_type]
    out = []
    for item in array["elements"]:
        one = _constant(rewriter, item, origin)
        if one is None or (family != "text" and cast is None and "sval" in item.get("A_Const", {})):
            return None
        if cast is not None:
            spelling = _cast(cast["typeName"], family, many=True)
            if spelling is None or "TypeCast" in item:
                return None
            value = replace(one.value, cast=spelling.removesuffix("[]")) if one.value is not None else None
            one = _Constant((*one.parts, f"::{spelling.removesuffix('[]')}"), value)
        out.append(one)
    return out


def _constant(rewriter: Rewriter, node: Node, origin: Origin, *, many: bool = False) -> _Constant | None:
    """A literal or parameter, perhaps cast; with `many` one that is an array."""
    family = FAMILIES[origin.column.base_type]
    spelling = ""
    cast = node.get("TypeCast")
    if cast is not None:
        found = _cast(cast["typeName"], family, many=many)
        if found is None:
            return None
        spelling, node = found, cast["arg"]
    suffix = f"::{spelling}" if spelling else ""
    if "ParamRef" in node:
        number = node["ParamRef"].get("number", 0)
        if number < 1:
            return None
        return _Constant((f"${number}{suffix}",), Value(parameter=number, many=many, cast=spelling))
    constant = node.get("A_Const")
    if constant is None:
        return None
    if constant.get("isnull"):
        return _Constant((f"NULL{suffix}",), None)
    if "sval" in constant:
        return _literal(rewriter, constant, constant["sval"].get("sval", ""), suffix, spelling, many=many)
    if family != "number" or many or not ("ival" in constant or "fval" in constant):
        return None
    text = str(constant["ival"].get("ival", 0)) if "ival" in constant else constant["fval"]["fval"]
    if text.startswith("-"):
        made = _literal(rewriter, constant, text, suffix, spelling, many=many)
        return _Constant(("(", *made.parts[:1], ")", *made.parts[1:]), made.value)
    return _literal(rewriter, constant, text, suffix, spelling, many=many)


def _literal(rewriter: Rewriter, node: Node, text: str, suffix: str, cast: str, *, many: bool) -> _Constant:
    start = node["location"]
    spans = rewriter.spans
    last = spans.at(start)
    if text.startswith("-") and spans.tokens[last].text == "-":
        last += 1
    end = spans.tokens[last].end
    raw = rewriter.text.encode()
    chars = len(raw[:start].decode())
    value = Value(text=text, many=many, cast=cast, start=chars, end=chars + len(raw[start:end].decode()))
    return _Constant(((start, end), suffix) if suffix else ((start, end),), value)


def _cast(name: Node, family: str, *, many: bool) -> str | None:
    """How a cast to a type of the family is written; None for any other type."""
    names = strings(name.get("names", []))
    if len(names) == 2 and names[0] == "pg_catalog":
        names = names[1:]
    bounds = name.get("arrayBounds", [])
    if len(names) != 1 or name.get("setof") or name.get("pct_type") or bool(bounds) is not many or len(bounds) > 1:
        return None
    if _CASTS.get(names[0]) != family:
        return None
    typmods = [m.get("A_Const", {}).get("ival") for m in name.get("typmods", [])]
    if any(m is None for m in typmods):
        return None
    inside = f"({', '.join(str(m.get('ival', 0)) for m in typmods)})" if typmods else ""
    return f"pg_catalog.{names[0]}{inside}" + ("[]" if many else "")


# -- places ---------------------------------------------------------------------------------------------------------------


def _span(rewriter: Rewriter, node: Node) -> tuple[int, int]:
    """Bytes of a conjunct. What is wrong about them is found when the edited text is parsed again."""
    places = sorted(_places(node))
    tokens = rewriter.spans.tokens
    first = i = rewriter.spans.at(places[0])
    while True:
        depth = 0
        while i < len(tokens):
            word = tokens[i].text.lower()
            if depth == 0 and word in _ENDS and tokens[i - 1].text != ".":
                break
            depth += _OPEN.get(word, 0)
            i += 1
        if i == len(tokens) or tokens[i].start > places[-1] or tokens[i].text != ")" or tokens[first - 1].text != "(":
            break
        first, i = first - 1, i + 1
    return tokens[first].start, tokens[i - 1].end


def _places(node: Node) -> Iterator[int]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "location" and isinstance(value, int) and value >= 0:
                yield value
            elif isinstance(value, (dict, list)):
                yield from _places(value)
    elif isinstance(node, list):
        for value in node:
            yield from _places(value)


# -- what follows from the choice -----------------------------------------------------------------------------------------


def _forget(rewriter: Rewriter) -> None:
    """The chosen references use no masked value."""
    gone = {id(c.reference) for c in rewriter.chosen}
    for site, name in {(c.site, c.column) for c in rewriter.chosen}:
        usage = rewriter.usage(site)
        here = _here(rewriter, site, name)
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
            rewriter.edit(c.start, c.end, "TRUE")
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


def arguments(items: list[Node]) -> tuple[Value | None, ...]:
    """The arguments of an EXECUTE; None for one whose value is not there to be read."""
    return tuple(_argument(item) for item in items)


def _argument(node: Node) -> Value | None:
    cast = node.get("TypeCast")
    many = False
    if cast is not None:
        name = cast["typeName"]
        names = strings(name.get("names", []))
        many = bool(name.get("arrayBounds"))
        if name.get("typmods") or names[-1] not in FAMILIES or (len(names) > 1 and names[0] != "pg_catalog"):
            return None
        node = cast["arg"]
    constant = node.get("A_Const")
    if constant is None:
        return None
    if constant.get("isnull"):
        return Value(many=many)
    if "sval" in constant:
        return Value(text=constant["sval"].get("sval", ""), many=many)
    if "ival" in constant:
        return Value(text=str(constant["ival"].get("ival", 0)))
    return Value(text=constant["fval"]["fval"]) if "fval" in constant else None


def prepared_types(rewriter: Rewriter, types: list[Node]) -> None:
    """The types that SQL's PREPARE gives to parameters must be ones a filter can take; raises Refused."""
    for c in rewriter.chosen:
        family = FAMILIES[c.origin.column.base_type]
        for v in c.values:
            if not v.parameter:
                continue
            given = types[v.parameter - 1]["TypeName"] if v.parameter <= len(types) else None
            if given is not None and strings(given["names"])[-1] == "unknown":
                given = None
            fits = given is not None and not given.get("typmods") and _cast(given, family, many=v.many) is not None
            if fits or (given is None and v.certain):
                continue
            raise untyped(v.parameter, family)


def untyped(number: int, family: str) -> Refused:
    return refuse(
        "0A000",
        f"parameter ${number} is compared with stored values, and must be of a type whose constants can be counted",
        f"give it the type {'text' if family == 'text' else 'bigint or numeric' if family == 'number' else family}, and use "
        "another parameter elsewhere in the statement",
    )
