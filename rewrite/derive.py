"""One protected relation of a statement becomes its derived table: the place, the alias, the sample, system columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewrite import constants, filters
from rewrite.columns import Usage
from rewrite.pgtree import Node, quote_ident, strip
from rewrite.refused import refuse
from rewrite.source import Source, tree
from rewrite.stars import write_out
from rewrite.survey import Level, Site

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter


def own_alias(rewriter: Rewriter, site: Site) -> str:
    """The alias of the derived table: the relation's name, or schema.name where another relation has the same name.

    Something else of the same name, an alias or the same relation again, is only there when the alias of a join hides it.
    """
    relation = rewriter.relations[site]
    named = [s for s in site.level.sites if s.alias == site.alias and "alias" not in s.node]
    same = [s for s in named if rewriter.relations.get(s) is not relation]
    return f"{relation.schema}.{site.name}" if same else site.name


def derive(rewriter: Rewriter, site: Site, source: Source) -> None:
    """Put the derived table in the place of the relation, in text and tree."""
    usage = rewriter.usage(site)
    extra = _system_columns(rewriter, site, usage, source)
    span = rewriter.spans.relation(site.location, site.parts, only=site.only)
    node = site.node
    sample = ""
    assert site.item is not None
    if "RangeTableSample" in site.item:
        if source.view is not None:
            raise refuse("42809", "TABLESAMPLE clause can only be applied to tables and materialized views")
        start, end = _sample_span(rewriter, site.item["RangeTableSample"])
        sample = " " + rewriter.text.encode()[start:end].decode()
        rewriter.edit(start, end, "")
    # Unused columns are left out where no reference can mean the whole row and no alias list counts them.
    counted = "colnames" in node.get("alias", {})
    alias = node["alias"]["aliasname"] if "alias" in node else ""
    if counted and any(r.fields == (alias,) for r in usage.refs) and alias not in usage.names:
        raise refuse(
            "0A000",
            f"the whole row {alias} cannot be used while its columns have other names: it would show these",
            "leave the column names out of the alias, or name the columns",
        )
    columns = None if usage.whole else usage.columns
    select = source.select(only=site.only, alias=alias, sample=sample, extra=extra, columns=columns, counted=counted)
    where = filters.condition(rewriter, site)
    select += constants.spelled(where, rewriter.text)
    derived = f"({select})"
    subselect = {"subquery": tree(select)}
    rewriter.derived.append(subselect["subquery"])
    if "alias" in node:
        subselect["alias"] = strip(node["alias"])
    else:
        alias = rewriter.aliases[site] = own_alias(rewriter, site)
        derived += f" AS {quote_ident(alias)}"
        subselect["alias"] = {"aliasname": alias}
        _requalify(rewriter, site, alias, usage)
    if span.table_command:
        derived = f"SELECT * FROM {derived}"
    parts = _parts(derived, constants.spelled(where, rewriter.text), where) if where else ()
    rewriter.edit(span.outer_start, span.outer_end, derived, parts)
    rewriter.replacements[id(site.item)] = {"RangeSubselect": subselect}


def _parts(derived: str, condition: str, where: tuple[constants.Part, ...]) -> tuple[constants.Part, ...]:
    """What the edit is made of: the condition, with the client's constants in it, ends the derived table."""
    at = derived.rindex(condition)
    return (derived[:at], *where, derived[at + len(condition) :])


def _sample_span(rewriter: Rewriter, node: Node) -> tuple[int, int]:
    first = rewriter.spans.at(node["location"])
    start = rewriter.spans.tokens[first - 1].start
    end = rewriter.spans.closing(rewriter.spans.name_end(node["location"], len(node["method"])))
    if "repeatable" in node:
        i = rewriter.spans.at_or_after(end)
        end = rewriter.spans.closing(rewriter.spans.tokens[i].end)
    return start, end


def _system_columns(rewriter: Rewriter, site: Site, usage: Usage, source: Source) -> tuple[str, ...]:
    if not usage.system:
        return ()
    relation = rewriter.relations[site]
    what = f"system columns of {relation.schema}.{relation.name}"
    if relation.kind == "v":
        raise refuse("0A000", f"{what}, a view, cannot be used", "name the columns you need")
    if usage.whole and not write_out(rewriter, site):
        raise refuse("0A000", f"{what} cannot be used here", "name the columns you need instead of using * or the whole row")
    if "tableoid" in usage.system and relation.kind == "p":
        hidden = {c.attnum for c in relation.columns if c.name in source.masked | source.denied}
        if hidden & relation.partition_key or 0 in relation.partition_key:
            raise refuse("42501", f"{what} tell the partition, which a masked column decides", "leave tableoid out")
    return tuple(sorted(usage.system))


def _requalify(rewriter: Rewriter, site: Site, alias: str, usage: Usage) -> None:
    """`schema.table.column` names the relation; the derived table is known by its alias alone."""
    relation = rewriter.relations[site]
    for ref in rewriter.survey.refs:
        if len(ref.fields) < 3 or ref.fields[-3:-1] != (relation.schema, relation.name):
            continue
        if not _within(ref.level, site.level) or any(c.reference is ref.node for c in rewriter.chosen):
            continue
        keep = ref.node["fields"][-1]
        start = ref.node["location"]
        first = rewriter.spans.at(start)
        rewriter.edit(start, rewriter.spans.part_start(first, len(ref.fields) - 1), quote_ident(alias) + ".")
        rewriter.replacements[id(ref.node)] = {"fields": [{"String": {"sval": alias}}, strip(keep)]}


def _within(level: Level | None, outer: Level) -> bool:
    while level is not None:
        if level is outer:
            return True
        level = level.parent
    return False
