"""Which parse tree nodes pgveil understands. Anything else is refused in a masked session.

Names are those of PostgreSQL's raw parse tree (src/include/nodes/parsenodes.h, primnodes.h), as of PostgreSQL 18.
"""

from __future__ import annotations

EXPRESSIONS = frozenset(
    """
    A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star Alias BitString BoolExpr Boolean BooleanTest CTECycleClause
    CTESearchClause CaseExpr CaseWhen CoalesceExpr CollateClause ColumnDef ColumnRef CommonTableExpr CurrentOfExpr DefElem Float
    FuncCall GroupingFunc GroupingSet IndexElem InferClause Integer IntoClause JsonAggConstructor JsonArgument
    JsonArrayAgg JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate JsonKeyValue
    JsonObjectAgg JsonObjectConstructor JsonOutput JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable
    JsonTableColumn JsonTablePathSpec JsonValueExpr List LockingClause MergeSupportFunc MergeWhenClause MinMaxExpr
    MultiAssignRef NamedArgExpr NullTest OnConflictClause ParamRef RangeFunction RangeSubselect RangeTableFunc
    RangeTableFuncCol RangeTableSample RangeVar ResTarget ReturningClause ReturningOption RowExpr SQLValueFunction SelectStmt
    SetToDefault SortBy String SubLink TypeCast TypeName WindowDef WithClause XmlExpr XmlSerialize
    """.split()
)
"""Nodes that may stand inside a SELECT, INSERT, UPDATE, DELETE or MERGE."""
