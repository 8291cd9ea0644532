"""How much of what the server says about a statement may be passed on: errors, notices, their DETAIL and CONTEXT.

These quote rows ("Key (phone)=(138…) already exists", "Failing row contains (…)"). Where a statement touches nothing protected,
the rows are ones that the session could read, as long as no code reads others on its behalf: a trigger, a function that the
policy allows. What comes out of such code names it in its context, and is left out there; where code may change the row that is
written, nothing is said. Nor where a foreign key leads on to something protected: rows that go along when another is deleted or
changed are checked behind the statement, and no context tells whose they were. Texts that code raises itself are passed on only
where all of it has been seen through.
"""

from __future__ import annotations

from collections.abc import Iterable

from rewrite import fired, functions, system, writes
from rewrite.catalog import Relation
from rewrite.plan import Says
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter
from rewrite.source import SourceBook


def _reached(book: SourceBook, named: list[Relation]) -> Iterable[Relation]:
    """What is written, also through views, what it refers to, what refers to it, and so on: ON DELETE CASCADE and the like."""
    catalog = book.catalog
    written = [one for r in named for one in fired.reaches(book, r)]
    found = {r.oid for r in written}
    ahead = {ref.target for r in written for ref in r.references}
    while found:
        below = {c for oid in found for c in catalog.children.get(oid, ())}
        more = found | below | {r.oid for r in catalog.relations.values() if any(ref.target in found for ref in r.references)}
        if more == found:
            break
        found = more
    return [catalog.relations[oid] for oid in found | ahead if oid in catalog.relations]


def says(rewriter: Rewriter) -> Says:
    """For an analysed statement."""
    book = rewriter.book
    for site, relation in rewriter.relations.items():
        if is_temporary(relation):
            if site in rewriter.sources:
                return Says.LITTLE
        elif book.is_guarded(relation):
            return Says.LITTLE
    targets = {id(body.get("relation")) for _, body in rewriter.survey.targets}
    written = [r for s, r in rewriter.relations.items() if id(s.node) in targets or rewriter.kind == "CopyStmt"]
    for relation in _reached(book, [r for r in written if not is_temporary(r)]):
        if book.is_guarded(relation) or fired.sets_off_code(book, relation):
            return Says.LITTLE
    code = functions.users_code(rewriter.survey, rewriter.names)
    inside = (f for r in rewriter.relations.values() for f in writes.in_definition(rewriter, r))
    code += [f for f in inside if f.extension is None and f.oid >= system.FIRST_USER_OID]
    unseen = [f for f in code if not book.pure.harmless(f)]
    if any(f.language == "sql" for f in unseen):
        return Says.LITTLE  # the server may put its body in the place of the call: no context tells what comes out of it
    return Says.ALL if code and not unseen else Says.DETAILS
