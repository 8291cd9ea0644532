"""Temporary views over masked columns are stored sealed: nobody but pgveil can read them.

A temporary view is stored as it was written, and opened when a statement reads it: the statement gets the definition with the
masks in it, and the server never reads the view itself. Code is another reader. The unqualified names in a function or a block
mean temporary relations first, and whose body is looked at when may change while a statement sleeps, waits for a lock or fetches
from a cursor. So what is stored is the query in parentheses, under a condition that the server cannot compute: whatever reads the
view as it is fails before it has seen a row, because constants are computed when a query is planned.

Manual: sql-createview, xfunc-volatility (constants are folded at plan time).
"""

from __future__ import annotations

from typing import Final

from rewrite.pgtree import Node, ParseError, Statement, parse, strip, tokens
from rewrite.refused import refuse
from rewrite.rewriter import Rewriter
from rewrite.run import Run

_ALIAS: Final = "pgveil"
_MARK: Final = "a temporary view over masked columns is read by statements only, not by code"
_BEFORE: Final = "SELECT * FROM ("
_AFTER: Final = (
    f"\n) AS {_ALIAS} WHERE pg_catalog.int4in(pg_catalog.textout('{_MARK}'::pg_catalog.text)) "
    "OPERATOR(pg_catalog.=) 0::pg_catalog.int4"
)


def close(run: Run, rewriter: Rewriter, statement: Statement, query: Node) -> Node:
    """Edit the definition in a CREATE VIEW so that it is stored sealed; `query` and the result are trees. Raises Refused."""
    if statement.body.get("withCheckOption", "NO_CHECK_OPTION") != "NO_CHECK_OPTION":
        raise refuse(
            "0A000",
            "a temporary view over masked columns cannot be written through, so it has no CHECK OPTION",
            "leave WITH CHECK OPTION out",
        )
    start, end = _place(run, statement)
    rewriter.edit(start, start, _BEFORE)
    rewriter.edit(end, end, _AFTER)
    (template,) = parse(f"{_BEFORE}SELECT{_AFTER}")
    outer = strip(template.body)
    outer["fromClause"][0]["RangeSubselect"]["subquery"] = query
    return {template.kind: outer}


def _place(run: Run, statement: Statement) -> tuple[int, int]:
    """Where the query of a CREATE VIEW begins and ends: behind the first AS that is in no parentheses."""
    inside = [t for t in run.spans.tokens if statement.start <= t.start < statement.end and t.text != ";"]
    depth = 0
    for i, token in enumerate(inside[:-1]):
        word = token.text.lower()
        if word == "recursive" and not depth:
            break
        if word == "as" and not depth:
            return inside[i + 1].start, inside[-1].end
        depth += {"(": 1, ")": -1}.get(token.text, 0)
    raise refuse(
        "0A000",
        "CREATE RECURSIVE VIEW over masked columns is not possible in a session with masked columns",
        "write CREATE TEMP VIEW name AS WITH RECURSIVE …",
    )


def query(definition: str) -> str | None:
    """The query within a definition that the server has printed; None when it is not sealed."""
    if _MARK not in definition:
        return None
    try:
        parsed = parse(definition)
        found = tokens(definition)
    except ParseError:
        return None
    body = parsed[0].body
    if len(parsed) != 1 or not _is_sealed(body):
        return None
    words = [t.text.lower() for t in found]
    depth = 0
    places: dict[str, int] = {}
    for i, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and word in ("from", ")", "where"):
            places.setdefault(word, i)
    if not {"from", ")", "where"} <= places.keys() or words[places["from"] + 1] != "(":
        return None
    raw = definition.encode()
    inner = raw[found[places["from"] + 1].end : found[places[")"]].start].decode()
    if all(set(t["ResTarget"]) <= {"val", "location"} for t in body["targetList"]):
        return inner.strip()
    return raw[: found[places["where"]].start].decode().rstrip()  # columns have other names than in the query


def _is_sealed(body: Node) -> bool:
    ranges = body.get("fromClause", [])
    if len(ranges) != 1 or ranges[0].get("RangeSubselect", {}).get("alias", {}).get("aliasname") != _ALIAS:
        return False
    columns = [t["ResTarget"].get("val", {}).get("ColumnRef", {}).get("fields", []) for t in body.get("targetList", ())]
    plain = all(c and all("String" in part for part in c) for c in columns)  # from version 16 on without the alias
    return plain and _MARK in repr(body.get("whereClause"))
