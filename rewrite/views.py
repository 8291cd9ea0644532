"""Views: read as they are, with their own columns masked, or through their definition with its sources replaced.

As it is when the definition uses nothing masked. With its columns masked when masked columns are only passed through
(`rewrite.outputs`): the same answer, with the view's own rights and row security. Otherwise the definition (pg_get_viewdef, every
name qualified) goes through the same substitution and the same verification as a client's statement; so a view on a view, a join
or an aggregate shows what it would show over masked tables. A materialized view stores its rows, so it cannot be opened: what it
computed from masked columns is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from policies.model import Decision
from rewrite import seal, system
from rewrite.catalog import Relation
from rewrite.outputs import Outputs, makes_rows, outputs
from rewrite.pgtree import ParseError, parse, quote_ident
from rewrite.plan import Resolution
from rewrite.records import uncast
from rewrite.refused import Refused, refuse
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter, apply_edits
from rewrite.source import Origin, Source, SourceBook
from rewrite.spans import SpanError, Spans
from rewrite.survey import Survey
from rewrite.touched import inside, touches
from rewrite.verify import VerificationError, nothing_bare, same


class ViewTexts:
    """Reads views by their definition texts."""

    def read(self, relation: Relation, explicit: Mapping[int, Decision], book: SourceBook) -> Source:
        named = {c.name for c in relation.columns if c.attnum in explicit}
        try:
            rewriter = analysed(relation, book)
        except (Refused, ParseError, SpanError) as e:
            if len(named) == len(relation.columns) or (named and _of_extension(relation, book)):
                return book.table(relation, explicit)  # the policy, or the built-in dictionary, says everything about it
            return book.refused(relation, _why(e))
        found = outputs(relation, rewriter)
        own = book.table(relation, explicit)
        if own.refusal is not None:
            return own
        origins = {**found.passed, **own.origins}
        deciding = found.deciding | own.deciding
        if not rewriter.reads_masked() and not opened(rewriter):
            return _as_it_is(relation, rewriter, origins, deciding, book)
        if relation.kind == "m":
            return _materialized(relation, rewriter, found, origins, deciding, named, book)
        if not opened(rewriter) and not found.decides and found.computed <= named:
            return _as_it_is(relation, rewriter, origins, deciding, book)
        return _open(relation, rewriter, found, own, book)

    def temporary(self, relation: Relation, resolution: Resolution, book: SourceBook) -> Source | None:
        inside = seal.query(relation.view_sql or "")
        try:
            rewriter = analysed(relation if inside is None else replace(relation, view_sql=inside), book, resolution)
        except (Refused, ParseError, SpanError) as e:
            return book.refused(relation, _why(e))
        if inside is not None or is_opened(rewriter):
            found = outputs(relation, rewriter)
            source = _open(relation, rewriter, found, book.table(relation, {}), book)
            return replace(source, decides=True) if rewriter.tainted() else source
        if rewriter.tainted():
            return replace(book.plain(relation), masked=frozenset(c.name for c in relation.columns), decides=True)
        return None

    def temporary_leads(self, relation: Relation, resolution: Resolution, book: SourceBook) -> bool:
        try:
            rewriter = analysed(relation, book, resolution)
        except (Refused, ParseError, SpanError):
            return True
        return any(not is_temporary(r) or book.temporary_leads(r, resolution) for r in rewriter.relations.values())


def _materialized(
    relation: Relation,
    rewriter: Rewriter,
    found: Outputs,
    origins: Mapping[str, Origin],
    deciding: frozenset[str],
    named: set[str],
    book: SourceBook,
) -> Source:
    stored = found.computed - named
    if opened(rewriter):
        return book.refused(relation, "it stores what a view over masked columns showed")
    if found.decides and not named:
        return book.refused(relation, "masked columns decided which rows it stores")
    if found.decides and stored | (found.passed.keys() - named):
        left = ", ".join(sorted(stored | (found.passed.keys() - named)))
        return book.refused(relation, f"the policy names some of its columns but not {left}")
    if makes_rows(relation, rewriter, stored):
        return book.refused(relation, "masked columns decided which rows it stores")
    return _as_it_is(relation, rewriter, origins, deciding, book, stored)


def _as_it_is(
    relation: Relation,
    rewriter: Rewriter,
    origins: Mapping[str, Origin],
    deciding: frozenset[str],
    book: SourceBook,
    stored: frozenset[str] = frozenset(),
) -> Source:
    source = book.masked_outputs(relation, origins, deciding, stored)
    return replace(source, touches=inside(source, rewriter))


def _open(relation: Relation, rewriter: Rewriter, found: Outputs, own: Source, book: SourceBook) -> Source:
    """The definition with its sources replaced; columns that the policy names are masked once more on top of it."""
    if own.denied:
        return book.refused(relation, "a column of it is denied, and others are computed from masked columns")
    own_rights = relation.security_invoker or (is_temporary(relation) and not relation.owner)
    if not own_rights and any(_has_row_security(r, book) for r in rewriter.relations.values()):
        return book.refused(relation, "tables behind it have row-level security, and it computes with masked columns")
    denied = [n for s, source in rewriter.sources.items() for n in source.denied if rewriter.usage(s).clauses(n)]
    if denied:
        return book.refused(relation, f"it computes with denied column {sorted(denied)[0]}")
    try:
        rewriter.substitute()
        uncast(rewriter)
        text, _ = apply_edits(rewriter.text, rewriter.edits)
        same(text, [rewriter.expected()])
        nothing_bare(text, book, rewriter.derived)
    except Refused as e:
        return book.refused(relation, _why(e))
    except (ParseError, SpanError, VerificationError) as e:
        return book.refused(relation, f"its definition cannot be rewritten ({e})")
    if own.masked:
        items = ", ".join(own.items[c.name] for c in relation.columns)
        text = f"SELECT {items} FROM ({text}) AS {quote_ident(relation.name)}"
    columns = frozenset(c.name for c in relation.columns)
    masked = columns if found.decides else (columns & (found.passed.keys() | found.computed | own.masked))
    return Source(
        relation,
        {},
        text,
        masked,
        frozenset(),
        own.decisions,
        touches(rewriter),
        deciding=columns,
        decides=found.decides,
    )


def is_opened(rewriter: Rewriter) -> bool:
    """Whether a temporary view of that definition is read through it."""
    return bool(rewriter.sources) and (rewriter.reads_masked() or opened(rewriter))


def opened(rewriter: Rewriter) -> bool:
    """Whether a view behind has to be read through its definition: then so has what reads it."""
    return any(source.view is not None for source in rewriter.sources.values())


def _why(error: Refused | ParseError | SpanError) -> str:
    if isinstance(error, Refused):
        return error.refusal.message if error.refusal else "its definition names something unknown"
    return f"its definition cannot be read ({error})"


def _of_extension(relation: Relation, book: SourceBook) -> bool:
    """Whether the view shows nothing but what a function of the extension with its name gives: pg_stat_statements."""
    if f"*.{relation.name}" not in system.rules().withhold or relation.view_sql is None:
        return False
    survey = [Survey(s.kind, s.body) for s in parse(relation.view_sql)]
    called = [f for s in survey for c in s.calls for f in book.catalog.functions_by_name.get(c.names[-1], ())]
    return bool(called) and not any(s.sites for s in survey) and all(f.extension == relation.name for f in called)


def _has_row_security(relation: Relation, book: SourceBook) -> bool:
    """Whether the rows that the relation shows depend on who reads it."""
    if relation.row_security:
        return True
    return relation.kind == "v" and relation.security_invoker and any(_has_row_security(r, book) for r in book.bases(relation))


def analysed(relation: Relation, book: SourceBook, resolution: Resolution | None = None) -> Rewriter:
    """The definition of a view, understood; raises Refused. Names in it are qualified but for those of pg_catalog."""
    if not relation.view_sql:
        raise refuse("42501", "its definition is not known", "try again in a moment, or read the tables behind it")
    text = relation.view_sql.rstrip().rstrip(";")
    (statement,) = parse(text)
    names = book.bodies.names(resolution or Resolution(("pg_catalog",)))
    rewriter = Rewriter(text, statement.kind, statement.body, book, names, Spans(text))
    rewriter.definition = True
    if book.profile.masked:
        rewriter.analyse()
    else:
        rewriter.observe()
    return rewriter
