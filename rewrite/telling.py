"""What a write would tell by being accepted or not: constraints that look at masked columns.

An INSERT of a value that a unique index already holds fails, and one that a foreign key does not find; an UPDATE of `used` under
`CHECK (used <= balance)` bisects the balance. Messages can be withheld, failure cannot. So a column may not be written where a
constraint holds its new value against values that the session does not see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rewrite.catalog import Relation
from rewrite.pgtree import parse
from rewrite.plan import Refusal
from rewrite.source import Source, SourceBook


def references(book: SourceBook, relation: Relation, columns: Collection[str]) -> Refusal | None:
    """A foreign key accepts what exists in the column it refers to: with a masked one there, trying tells its values."""
    for base, written in _written_tables(book, relation, columns):
        for table in (base, *(book.below(base) if base.kind == "p" else ())):  # partitions may have foreign keys of their own
            numbers = {c.attnum: c.name for c in table.columns}
            for key in table.references:
                target = book.catalog.relations.get(key.target)
                column = numbers.get(key.attnum)
                if column in written and (target is None or key.target_attnum in book.hidden(target)):
                    return Refusal(
                        "42501",
                        f"column {table.schema}.{table.name}.{column} refers by a foreign key to a masked column: writing it "
                        "would tell whether a value exists there",
                        "leave the column out",
                    )
    return None


def together(book: SourceBook, relation: Relation, columns: Collection[str], *, only: bool = False) -> Refusal | None:
    """A constraint that looks at a masked column and a changed one tells about the former by what it accepts."""
    for base, written in _written_tables(book, relation, columns):
        for table in (base, *(() if only else book.below(base))):
            hidden = book.hidden(table)
            groups = set(table.checked_together)
            if table.partition_key:
                every = frozenset(c.attnum for c in table.columns)
                groups.add(every if 0 in table.partition_key else table.partition_key)
            for column in table.columns:
                if column.name in written and any(column.attnum in g and g & hidden - {column.attnum} for g in groups):
                    return Refusal(
                        "42501",
                        f"column {table.schema}.{table.name}.{column.name} is checked together with masked columns (by a "
                        "constraint, index, policy or generated column): changing it would tell about them",
                        "a session that sees these columns in clear can change it",
                    )
    return None


def inserted(book: SourceBook, relation: Relation, source: Source, columns: Collection[str]) -> Refusal | None:
    """A unique index accepts what is not there: a new row may bring no value for a masked column in one."""
    hidden = source.masked | source.denied
    for column in relation.columns:
        if column.name not in hidden or column.name not in columns:
            continue
        origin = source.origins[column.name]
        base = origin.relation
        name = f"{relation.schema}.{relation.name}.{column.name}"
        if base.kind == "v":
            return Refusal("42501", f"column {name} is masked", "write to the table itself")
        for table in (base, *(book.below(base) if base.kind == "p" else ())):
            number = next((c.attnum for c in table.columns if c.name == origin.column.name), 0)
            if {number, 0} & table.unique:  # 0: an expression in a unique index may use any column
                return Refusal(
                    "42501",
                    f"column {name} is masked and part of a unique index: inserting into it would tell whether a value exists",
                    "leave the column out, or insert from a session that sees it in clear",
                )
    return None


def _written_tables(
    book: SourceBook, relation: Relation, columns: Collection[str], depth: int = 0
) -> Iterator[tuple[Relation, frozenset[str]]]:
    """The tables that a write to the relation reaches, with the names there of the columns it writes."""
    if relation.kind != "v":
        yield relation, frozenset(columns)
        return
    if not columns or depth > 64:
        return
    names = _passed(relation)
    for base in book.bases(relation):
        every = {c.name for c in base.columns}
        written = every if names is None else {here for own, here in names.items() if own in columns} & every
        yield from _written_tables(book, base, written, depth + 1)


def _passed(view: Relation) -> dict[str, str] | None:
    """Columns of a view that may be written -> their names in the table behind it; None when that is not plain to see."""
    statements = parse(view.view_sql) if view.view_sql else []
    targets = statements[0].body.get("targetList", []) if len(statements) == 1 else []
    if len(targets) != len(view.columns):
        return None
    out = {}
    for column, target in zip(view.columns, targets, strict=True):
        fields = target["ResTarget"].get("val", {}).get("ColumnRef", {}).get("fields", [])
        if fields:
            out[column.name] = fields[-1].get("String", {}).get("sval", "")
    return out
