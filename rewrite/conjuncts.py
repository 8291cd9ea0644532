"""The conditions that stand alone or are joined by AND in WHERE and ON, where they may move, and where they are in the text.

A condition on one relation means the same within the relation if the joins above leave the relation's rows as they are or drop
them: not where an outer join fills them with NULLs. A condition in the ON of an outer join may move into the side that is filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rewrite.pgtree import Node
from rewrite.survey import Level

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter

_ENDS: Final = frozenset(
    """and or group order limit having window union except intersect for fetch offset returning where on join left right inner
    full cross natural , ; ] )""".split()
)
_OPEN: Final = {"(": 1, "[": 1, ")": -1, "]": -1}


def conjuncts(level: Level) -> Iterator[tuple[Node, frozenset[int], str]]:
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


def span(rewriter: Rewriter, node: Node) -> tuple[int, int]:
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
