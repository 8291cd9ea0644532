"""Turns stretches of segments into rows of the index.

Contract: a stretch is complete lines of one segment; everything goes in, or nothing does (the caller's transaction). What a row
says comes from its own segment alone, so that each segment can go again without the others.
What is no record is counted, never passed over in silence. No line is believed more than that: proof is `pgveil audit
verify`'s job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from policies.language import level_key
from proxy.audit.record import MAX_LINE, NESTED, RESULT, Kind
from proxy.inquiry.tables import DECISION, OTHER, READ, STATEMENTS, quoted


@dataclass(frozen=True, slots=True)
class Stretch:
    lines: Path
    """A file of complete lines."""
    worker: str
    segment: int
    """Its number in the index."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Of one segment."""

    records: int
    bad: int
    """Lines that are no record."""
    first: object
    last: object
    """Times."""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _struct(types: dict[str, str]) -> str:
    return "{" + ", ".join(f"{_literal(name)}: {_literal(kind)}" for name, kind in types.items()) + "}"


_LINE = {"v": "INTEGER", "seq": "BIGINT", "kind": "VARCHAR", "time": "TIMESTAMPTZ", **READ}
_OF_TOUCHES: dict[str, object] = {"grant": "BIGINT", "others": ["VARCHAR"]}
_TOUCHES = json.dumps([{name: _OF_TOUCHES.get(name, "VARCHAR") for name in NESTED["touches"]}])
_STATEMENT = ", ".join(_literal(kind.value) for kind in STATEMENTS)
_OWN = ", ".join(_literal(kind.value) for kind in (*STATEMENTS, Kind.OUTCOME))

_STAGE = f"""
CREATE OR REPLACE TEMP TABLE stage AS SELECT r.* EXCLUDE (filename), o.worker, o.segment AS place
FROM read_json(?, filename = true, format = 'newline_delimited', ignore_errors = true,
  maximum_object_size = {MAX_LINE + 1024}, columns = {_struct(_LINE)}) r
JOIN origin o USING (filename)"""
_NEW_LISTS = """
CREATE OR REPLACE TEMP TABLE fresh AS SELECT touches, sha256(touches) AS digest
FROM (SELECT DISTINCT touches FROM stage WHERE touches IS NOT NULL AND touches <> '[]')"""
_NUMBER_LISTS = """
INSERT INTO touched_list SELECT (SELECT COALESCE(max(touched), 0) FROM touched_list) + row_number() OVER (ORDER BY f.digest),
  f.digest, NULL, NULL FROM fresh f ANTI JOIN touched_list t USING (digest)"""
_UNFOLD = f"""
INSERT INTO touched SELECT l.touched, t.relation, t."column", t.relation || '.' || t."column", t.class, t.level, t.use, t."show",
  t.rule, COALESCE(t."grant", TRY_CAST(regexp_extract(t.rule, '^grant (\\d+)$', 1) AS BIGINT)),
  NULLIF(t.others, []),
  t.use IN ('output', 'unknown') AND t."show" IN ('clear', 'conditional')
FROM (SELECT touched, unnest(from_json(touches, {_literal(_TOUCHES)})) AS t
  FROM fresh JOIN touched_list l USING (digest) WHERE l.columns IS NULL) l"""
_DESCRIBE = """
UPDATE touched_list SET columns = d.columns FROM (
  SELECT touched, left(string_agg(said, '; ' ORDER BY exposed DESC, said), 1000) AS columns FROM (
    SELECT DISTINCT touched, exposed,
      target || CASE use WHEN 'output' THEN '' ELSE ' (' || use || ')' END || ' ' || "show"
        || COALESCE(' by ' || rule, '') AS said
    FROM touched) GROUP BY touched) d
WHERE d.touched = touched_list.touched AND touched_list.columns IS NULL"""
_RESULTS = """
CREATE OR REPLACE TEMP TABLE result AS SELECT worker, place, decision, count(*)::INTEGER AS outcomes, max(time) AS ended,
  arg_max(tag, seq) AS tag, sum(rows)::BIGINT AS rows, sum(bytes)::BIGINT AS bytes, sum(seconds) AS seconds,
  max(sqlstate) AS sqlstate
FROM stage WHERE kind = 'outcome' GROUP BY ALL"""
_PLACE = "s.worker, s.seq, s.kind, s.time, s.place AS segment"
_RESULT = "r.ended, r.tag, r.rows, r.bytes, r.seconds, r.sqlstate"


def _field(name: str) -> str:
    return "NULLIF(s.asserted, '{}') AS asserted" if name == "asserted" else f"s.{quoted(name)}"


_DECISIONS = f"""
INSERT INTO decision BY NAME SELECT {_PLACE}, {", ".join(map(_field, DECISION))},
  COALESCE(s.person, s.login) AS person, COALESCE(s.clear, l.highest) AS clear, l.touched,
  json_extract_string(s.refusal, '$.sqlstate') AS refusal_sqlstate,
  json_extract_string(s.refusal, '$.message') AS refusal_message,
  COALESCE(r.outcomes, CASE WHEN s.seconds IS NULL THEN 0 ELSE 1 END) AS outcomes,
  COALESCE(r.ended, CASE WHEN s.seconds IS NOT NULL THEN s.time END) AS ended,
  {", ".join(f"CASE WHEN r.outcomes IS NULL THEN s.{name} ELSE r.{name} END AS {name}" for name in RESULT)}
FROM stage s
LEFT JOIN (SELECT f.touches, t.touched, t.highest FROM fresh f JOIN touched_list t USING (digest)) l ON l.touches = s.touches
LEFT JOIN result r ON r.place = s.place AND r.decision = s.seq
WHERE s.kind IN ({_STATEMENT})"""
_LATE = f"""
INSERT INTO late BY NAME SELECT r.worker, r.decision, r.place AS segment, r.outcomes, {_RESULT} FROM result r
ANTI JOIN (SELECT place, seq FROM stage WHERE kind IN ({_STATEMENT})) d ON d.place = r.place AND d.seq = r.decision"""
_OUTCOMES = f"""
INSERT INTO outcome BY NAME SELECT {_PLACE}, s.session, s.decision, s.tag, s.rows, s.bytes, s.seconds, s.sqlstate
FROM stage s WHERE s.kind = 'outcome'"""
_OTHERS = f"""
INSERT INTO other BY NAME SELECT {_PLACE}, {", ".join(map(_field, OTHER))},
  CASE WHEN s.login IS NOT NULL THEN COALESCE(s.person, s.login) END AS person
FROM stage s WHERE s.kind NOT IN ({_OWN})"""


def load(index: duckdb.DuckDBPyConnection, stretches: Sequence[Stretch]) -> dict[int, Loaded]:
    """Take in stretches, by the number of their segment."""
    index.execute("CREATE OR REPLACE TEMP TABLE origin (filename VARCHAR, worker VARCHAR, segment INTEGER)")
    index.executemany("INSERT INTO origin VALUES (?, ?, ?)", [[str(s.lines), s.worker, s.segment] for s in stretches])
    index.execute(_STAGE, [[str(s.lines) for s in stretches]])
    whole = "seq IS NOT NULL AND time IS NOT NULL AND kind IS NOT NULL"
    counted = index.execute(
        f"SELECT place, count(*) FILTER ({whole}), count(*) FILTER (NOT ({whole})), min(time), max(time) "
        "FROM stage GROUP BY place"
    ).fetchall()
    index.execute(f"DELETE FROM stage WHERE NOT ({whole})")
    _take_lists(index)
    for text in (_RESULTS, _DECISIONS, _LATE, _OUTCOMES, _OTHERS):
        index.execute(text)
    index.execute("DROP TABLE stage; DROP TABLE fresh; DROP TABLE result; DROP TABLE origin")
    return {place: Loaded(*rest) for place, *rest in counted}


def _take_lists(index: duckdb.DuckDBPyConnection) -> None:
    """Number the lists of touched columns that have not been there before."""
    index.execute(_NEW_LISTS)
    index.execute(_NUMBER_LISTS)
    index.execute(_UNFOLD)
    levels = index.execute(
        "SELECT touched, list(DISTINCT level) FROM touched WHERE exposed AND touched IN "
        "(SELECT touched FROM touched_list WHERE columns IS NULL) GROUP BY touched"
    ).fetchall()
    index.execute(_DESCRIBE)
    highest = [(max((x for x in found if x is not None), key=level_key, default=None), touched) for touched, found in levels]
    if highest:
        index.executemany("UPDATE touched_list SET highest = ? WHERE touched = ?", highest)
