"""Which definitions in the system catalogs embed literal values: what `policies/system.yaml` withholds from masked sessions.

The texts are as the server prints them, or its own parse trees; `literals` judges them. Fail closed: a definition that could
not be had counts as one with data in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proxy.control.literals import body_embeds_data, comment_embeds_data, embeds_data, holds_literal, tree_embeds_data, words
from rewrite.catalog import Literal

if TYPE_CHECKING:
    from proxy.control.build import Raw

_NAMEABLE = frozenset("rpvmf")


def literals(raw: Raw) -> Iterator[Literal]:
    """Every definition of one database that embeds a literal."""
    yield from _expressions(raw)
    yield from _comments(raw)
    yield from _views(raw)
    yield from _trees(raw)
    yield from _functions(raw)


def _expressions(raw: Raw) -> Iterator[Literal]:
    """Defaults, index expressions and predicates, checks, statistics: short enough to be judged by the columns they name."""
    for catalog, oid, relation, schema, name, text, generated, _ in raw.definitions:
        about = frozenset({relation})
        if text is None or embeds_data(text):
            yield Literal(catalog, oid, schema, name, about)
            if generated is not None:
                yield Literal("generated", relation, schema, name, about)
        elif holds_literal(text):
            yield Literal(catalog, oid, schema, name, about, data=False, words=words(text))
    for oid, _, text, _, schema, name in raw.domain_checks:
        if text is None or embeds_data(text):
            yield Literal("pg_constraint", oid, schema, name)


def _comments(raw: Raw) -> Iterator[Literal]:
    """On anything, a column or a table among them: of which table does not matter."""
    for oid, is_relation, text in raw.comments:
        if comment_embeds_data(text):
            yield Literal("pg_description", oid, "", "", frozenset({oid}) if is_relation else frozenset())


def _views(raw: Raw) -> Iterator[Literal]:
    """By the view's own OID, and by that of the rule that holds its definition."""
    for oid, schema, name, kind, *_ in raw.relations:
        view = raw.views.get(oid)
        if oid < 16384 or kind not in ("v", "m") or (view is not None and not embeds_data(view.sql)):
            continue
        yield Literal("view", oid, schema, name, frozenset({oid}))
        if view is not None:
            yield Literal("pg_rewrite", int(view.rule.partition(":")[0]), schema, "_RETURN", frozenset({oid}))


def _trees(raw: Raw) -> Iterator[Literal]:
    """Bounds of a range of amounts or dates are thresholds; a list names values."""
    for catalog, oid, relation, schema, name, tree in raw.trees:
        if tree_embeds_data(tree or "", only_texts=catalog == "pg_class" and ":strategy l" not in tree):
            yield Literal(catalog, oid, schema, name, frozenset({relation} if relation else ()))
    for oid, relation, schema, name, _, arguments in raw.triggers:
        if any(embeds_data("'" + a.replace("'", "''") + "'") for a in arguments.split("\\000")):
            yield Literal("pg_trigger", oid, schema, name, frozenset({relation}))


def _functions(raw: Raw) -> Iterator[Literal]:
    """A body is about the relations it seems to name; one that names none may be about any."""
    nameable: dict[str, set[int]] = {}
    for oid, _, name, kind, *_ in raw.relations:
        if oid >= 16384 and kind in _NAMEABLE:
            nameable.setdefault(name, set()).add(oid)
    for oid, schema, name, body in raw.bodies:
        if body_embeds_data(body or ""):
            about = frozenset(o for word in words(body) for o in nameable.get(word, ()))
            yield Literal("pg_proc", oid, schema, name, about)
