"""Who saw a column of one customer in clear, and under what authority?

The trail knows which statements named the customer (by the digests of what identifies them) and which columns a statement
gave out, but not which customers were among the rows. So there are two lists, and they are never mixed: statements that named
the customer and showed the column, and people whose statements showed it without naming anybody, of whom it is only known how
many rows they got. What the trail cannot answer at all is said too (`Gap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from policies.approvals import GRANT
from proxy.inquiry.filters import Condition, matches, of_period

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    columns: tuple[str, ...]
    """schema.table.column, or the end of it, with `*`."""
    digests: tuple[str, ...] = ()
    """Of all that identifies the customer; none: the second list only."""
    since: datetime | None = None
    until: datetime | None = None
    masked: bool = False
    """Also what was shown masked."""
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that showed it, and the policies in which it stood."""

    name: str | None
    """None: the class's own mask."""
    policies: tuple[Record, ...]
    """policy, since, until, files, statements."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What the answer cannot cover."""

    what: str
    count: int


@dataclass(slots=True)
class Answer:
    named: list[Record] = field(default_factory=list)
    """Statements, oldest first."""
    others: list[Record] = field(default_factory=list)
    """Sums by person and authority, most rows first."""
    refused: list[Record] = field(default_factory=list)
    """Who named the customer and was refused, by person."""
    empty: int = 0
    """Statements that named the customer and showed the column, of no row."""
    rules: list[Rule] = field(default_factory=list)
    grants: list[Record] = field(default_factory=list)
    missing_grants: list[int] = field(default_factory=list)
    """Grants whose approval is in no record here."""
    gaps: list[Gap] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    """What the patterns mean in this trail."""


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] = ()) -> list[Record]:
    found = connection.execute(sql, list(values))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


_NAMED_BEFORE = """
INSERT INTO naming SELECT f.worker, f.seq, f.session, f.statement, true FROM decisions f
JOIN (SELECT worker, session, min(seq) AS seq FROM naming WHERE statement = 'PREPARE' OR starts_with(statement,
  'DECLARE') GROUP BY ALL) d
  ON d.worker = f.worker AND d.session = f.session AND d.seq < f.seq
ANTI JOIN naming n ON n.worker = f.worker AND n.seq = f.seq
WHERE f.statement IN ('FETCH', 'EXECUTE') AND {where}"""
"""DECLARE and PREPARE name the customer, FETCH and EXECUTE show: of which of them is not in the record, so all in the session "
"count."""


def ask(connection: duckdb.DuckDBPyConnection, q: Question) -> Answer:
    answer = Answer()
    where, values = _period(q)
    of_column, wanted = matches("target", q.columns, ".")
    shown = "\"use\" IN ('output', 'unknown') AND \"show\" <> 'deny'" if q.masked else "exposed"
    answer.columns = [
        str(r["target"]) for r in rows_of(connection, f"SELECT DISTINCT target FROM touched WHERE {of_column} ORDER BY 1", wanted)
    ]
    connection.execute(f"CREATE OR REPLACE TEMP MACRO wanted() AS {list(q.digests)}::VARCHAR[]")
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE showing AS SELECT DISTINCT touched, target, "show", rule, "grant", others FROM touched '
        f"WHERE {of_column} AND {shown}",
        wanted,
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE naming AS SELECT worker, seq, session, statement, false AS by_name FROM decisions "
        f'WHERE {where} AND (list_has_any("values", wanted()) OR list_has_any(binds, wanted()))',
        values,
    )
    connection.execute(_NAMED_BEFORE.format(where=where), values)
    answer.named = rows_of(
        connection,
        f"""SELECT d.time, d.worker, d.seq, d.session, d.person, d.login, d.client, d.application, d.database, d.asserted,
          s.target, s."show", s.rule, s."grant", s.others, n.by_name, d.policy, d.rows, d.statement, d.text
        FROM decisions d JOIN showing s USING (touched) JOIN naming n ON n.worker = d.worker AND n.seq = d.seq
        WHERE {where} AND d.verdict <> 'refuse' AND COALESCE(d.rows, 1) > 0 ORDER BY d.time, d.worker, d.seq, s.target""",
        values,
    )
    answer.empty = _count(
        connection,
        f"""SELECT count(*) FROM decisions d SEMI JOIN naming n ON n.worker = d.worker AND n.seq = d.seq
        WHERE {where} AND d.verdict <> 'refuse' AND d.rows = 0 AND d.touched IN (SELECT touched FROM showing)""",
        values,
    )
    answer.others = rows_of(
        connection,
        f"""SELECT d.person, d.login, s.target, s."show", s.rule, s."grant", s.others, count(*) AS statements,
          sum(d.rows)::BIGINT AS rows,
          min(d.time) AS first, max(d.time) AS last, list(DISTINCT d.client ORDER BY d.client)[:5] AS clients,
          list(DISTINCT d.application ORDER BY d.application)[:5] AS applications,
          count(*) FILTER (n.session IS NOT NULL) AS in_naming_sessions
        FROM decisions d JOIN showing s USING (touched)
        LEFT JOIN (SELECT DISTINCT worker, session FROM naming) n ON n.worker = d.worker AND n.session = d.session
        ANTI JOIN naming m ON m.worker = d.worker AND m.seq = d.seq
        WHERE {where} AND d.verdict <> 'refuse' AND COALESCE(d.rows, 1) > 0 GROUP BY ALL
        ORDER BY rows DESC NULLS FIRST, person, target""",
        values,
    )
    answer.refused = rows_of(
        connection,
        f"""SELECT d.person, count(*) AS statements, min(d.time) AS first, max(d.time) AS last,
          list(DISTINCT d.refusal_message)[:3] AS reasons
        FROM decisions d SEMI JOIN naming n ON n.worker = d.worker AND n.seq = d.seq
        WHERE {where} AND d.verdict = 'refuse' GROUP BY ALL ORDER BY statements DESC, person""",
        values,
    )
    _authority(connection, answer, q)
    answer.gaps = gaps_in(connection, where, values, bool(q.digests), _of_time(q))
    return answer


def _period(q: Question) -> Condition:
    conditions = of_period(q.since, q.until)
    if q.databases:
        conditions.append(matches("database", q.databases))
    return " AND ".join(text for text, _ in conditions) or "true", [value for _, given in conditions for value in given]


def _of_time(q: Question) -> Condition:
    conditions = of_period(q.since, q.until)
    return " AND ".join(text for text, _ in conditions) or "true", [value for _, given in conditions for value in given]


def _count(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object]) -> int:
    return int(connection.execute(sql, list(values)).fetchall()[0][0])


def _authority(connection: duckdb.DuckDBPyConnection, answer: Answer, q: Question) -> None:
    where, values = _period(q)
    versions = rows_of(
        connection,
        f"""WITH seen AS (
          SELECT s.rule, d.policy, count(*) AS statements FROM decisions d
          JOIN (SELECT DISTINCT touched, unnest([rule] || COALESCE(others, [])) AS rule FROM showing) s USING (touched)
          WHERE {where} AND d.verdict <> 'refuse' AND COALESCE(d.rows, 1) > 0 AND NOT COALESCE(starts_with(s.rule, ?), false)
          GROUP BY ALL),
        force AS (SELECT policy, min(since) AS since, CASE WHEN bool_or(until IS NULL) THEN NULL ELSE max(until) END AS until,
          any_value(files) AS files FROM policies WHERE accepted GROUP BY policy)
        SELECT rule, seen.policy, since, until, files, statements FROM seen LEFT JOIN force USING (policy)
        ORDER BY rule NULLS LAST, since""",
        [*values, GRANT],
    )
    for name in dict.fromkeys(r["rule"] for r in versions):
        answer.rules.append(Rule(None if name is None else str(name), tuple(r for r in versions if r["rule"] == name)))
    numbers = sorted({n for r in (*answer.named, *answer.others) for n in grants_behind(r)})
    answer.grants = grants(connection, numbers)
    answer.missing_grants = sorted(set(numbers) - {int(str(g["request"])) for g in answer.grants})


def rules_behind(row: Record) -> list[str | None]:
    """All that showed it, the first first; None is the class's own mask."""
    rule, others = row["rule"], row["others"]
    return [None if rule is None else str(rule), *(map(str, others) if isinstance(others, list) else ())]


def grants_behind(row: Record) -> list[int]:
    """Their numbers."""
    names = (name for name in rules_behind(row) if name is not None and name.startswith(GRANT))
    found = [int(number) for name in names if (number := name.removeprefix(GRANT)).isdigit()]
    return found or ([row["grant"]] if isinstance(row["grant"], int) else [])


def grants(connection: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> list[Record]:
    """What the trail says of these grants."""
    if not numbers:
        return []
    return rows_of(
        connection, f"SELECT * FROM approvals WHERE request IN ({', '.join('?' * len(numbers))}) ORDER BY request", numbers
    )


_ALWAYS = (
    ("statements that could not be read went on unmasked (on_failure: clear) and gave rows: what they showed is not known",
     "on_failure = 'clear' AND COALESCE(rows, 1) > 0"),
    ("statements of more than 64 MB were read by nobody, in sessions that see everything in clear",
     "statement = 'UNREAD' AND COALESCE(rows, 1) > 0"),
    ("statements touched more columns than a record lists; those cut off are in no list here", "touches_more > 0"),
    ("statements have no record of their end (still under way, or pgveil was killed): their rows are not known",
     "outcomes = 0 AND verdict <> 'refuse'"),
)  # fmt: skip
_BY_VALUE = (
    ("statements have no digests of their literals (audit.values: none, an older pgveil, or nobody has read them): that they "
        "named "
     "the customer cannot be known", '"values" IS NULL'),
    ("statements have more literals than a record holds, or such whose end is in doubt: they may have named the customer all "
        "the same",
     "NOT values_whole"),
    ("statements have parameters of which no digests were kept (longer than 1 MB, or audit.values: none)",
     "protocol = 'extended' AND binds IS NULL AND contains(text, '$1')"),
)  # fmt: skip

_LOST = "TRY_CAST(json_extract_string(detail, '$.lost') AS BIGINT)"
_GONE = "records could not be written and are lost (audit.on_failure: flow)"
_NO_RECORDS = "lines of the trail are no records: run pgveil audit verify"


def gaps_in(
    connection: duckdb.DuckDBPyConnection, where: str, values: Sequence[object], digests: bool, period: Condition
) -> list[Gap]:
    """What the decisions in `where` leave open. `digests`: for who asks by value. `period`: the times in it."""
    asked = (*_ALWAYS, *(_BY_VALUE if digests else ()))
    counted = ", ".join(f"count(*) FILTER ({condition})" for _, condition in asked)
    counts = connection.execute(f"SELECT {counted} FROM decisions WHERE {where}", list(values)).fetchall()[0]
    lost = _count(
        connection, f"SELECT COALESCE(sum({_LOST}), 0)::BIGINT FROM other WHERE event = 'gap' AND {period[0]}", period[1]
    )
    bad = _count(connection, "SELECT COALESCE(sum(bad), 0)::BIGINT FROM piece", ())
    found = [*((what, count) for (what, _), count in zip(asked, counts, strict=True)), (_GONE, lost), (_NO_RECORDS, bad)]
    return [Gap(what, count) for what, count in found if count]
