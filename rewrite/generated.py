"""Generated columns over masked columns: a copy of them, or something computed from them, whatever the policy says of them.

On a masked copy of the table such a column would be computed from masked values. So it is here: its mask is its own generation
expression with the masked columns in it replaced by their masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.model import Branch, ColumnType, Decision, Show
from rewrite.catalog import Relation
from rewrite.expression import ExpressionError, columns_of, pin
from rewrite.masks import decision_sql
from rewrite.pgtree import quote_ident


@dataclass(frozen=True, slots=True)
class _Computed:
    """The generation expression over masked columns."""

    text: str
    name: str = "generated"
    is_expression: bool = True
    companions: frozenset[str] = frozenset()

    def accepts(self, column: ColumnType) -> str | None:
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        return self.text

    def apply(self, value: object) -> object:
        raise NotImplementedError


def generated_decisions(relation: Relation, own: Mapping[int, Decision]) -> Mapping[int, Decision]:
    """Decisions on the generated columns of a relation that use columns decided upon and are not decided upon themselves.

    One whose expression cannot be carried is denied.
    """
    sensitive = {c.name: own[c.attnum] for c in relation.columns if c.attnum in own and not own[c.attnum].is_clear}
    names = {c.name: quote_ident(c.name) for c in relation.columns}
    out = {}
    for number, text in relation.generated_as:
        used = columns_of(text) if text else None
        if number in own or (used is not None and not used & sensitive.keys()):
            continue
        if not sensitive:
            continue
        out[number] = _decision(relation, text, sensitive, names)
    return out


def _decision(relation: Relation, text: str, sensitive: Mapping[str, Decision], names: Mapping[str, str]) -> Decision:
    denied = Decision("generated", "", (Branch(None, Show.DENY, None, None),))
    masked = dict(names)
    for column in relation.columns:
        if column.name in sensitive:
            expression = decision_sql(column, sensitive[column.name], names)
            if expression is None:
                return denied
            masked[column.name] = expression
    try:
        mask = _Computed(pin(text, masked)) if text else None
        if mask is not None:
            pin(mask.text, names)  # it can be read again
    except ExpressionError:
        mask = None
    return denied if mask is None else Decision("generated", "", (Branch(None, Show.MASK, mask, None),))
