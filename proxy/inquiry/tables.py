"""The tables of the index, and the views that people ask (docs/audit-search.md describes them).

Below are four tables of our own: `decision` (with its outcome, or the outcomes that stood near it), `late` (outcomes that stood
further away), `outcome`, and `other` for all other kinds, wide, because what is absent costs nothing in columns. What a statement
touches is kept once per distinct list (`touched`), which statements name by number: a trail has millions of statements and
some thousand plans. Every row says of which segment it comes, so that a segment can be taken out again.

The views are an interface: their columns are only added to. The base is not, and changes with FORMAT.
"""

from __future__ import annotations

import hashlib

from proxy.audit.record import FIELDS, RESULT, Kind

STATEMENTS = (Kind.DECISION, Kind.REFUSED)

_TYPES = {
    "client_port": "INTEGER", "tls": "BOOLEAN", "part": "INTEGER", "parts": "INTEGER", "touches_more": "INTEGER",
    "decision": "BIGINT", "rows": "BIGINT", "bytes": "BIGINT", "seconds": "DOUBLE", "statements": "BIGINT", "pid": "BIGINT",
    "segment": "BIGINT", "accepted": "BOOLEAN", "roles": "VARCHAR[]", "values": "VARCHAR[]", "binds": "VARCHAR[]",
    "files": "VARCHAR[]", "values_whole": "BOOLEAN",
}  # fmt: skip
"""Of the fields that are not text. What is nested otherwise (`asserted`, `detail`, `touches`, `torn`) is the text of its JSON."""


def type_of(field: str) -> str:
    return _TYPES.get(field, "VARCHAR")


def _fields(*kinds: Kind) -> list[str]:
    out: dict[str, None] = {}
    for kind in kinds:
        out.update(dict.fromkeys(FIELDS[kind]))
    return list(out)


DECISION = [f for f in _fields(*STATEMENTS) if f not in ("touches", "refusal", "person", "clear", *RESULT)]
OTHER = [f for f in _fields(*(k for k in Kind if k not in (*STATEMENTS, Kind.OUTCOME))) if f not in ("segment", "person")]
READ = {name: type_of(name) for name in _fields(*Kind)}
"""What is read of a line, besides `v`, `seq`, `kind`, `time` and `worker`."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(fields: list[str]) -> str:
    return ", ".join(f"{quoted(name)} {type_of(name)}" for name in fields)


_PLACE = "worker VARCHAR, seq BIGINT, kind VARCHAR, time TIMESTAMPTZ, segment INTEGER"
_RESULT = "outcomes INTEGER, ended TIMESTAMPTZ, tag VARCHAR, rows BIGINT, bytes BIGINT, seconds DOUBLE, sqlstate VARCHAR"

BASE = f"""
CREATE TABLE about (format VARCHAR, directory VARCHAR);
CREATE TABLE piece (segment INTEGER, worker VARCHAR, number INTEGER, size BIGINT, mtime BIGINT, inode BIGINT, mac VARCHAR,
  records BIGINT, bad BIGINT, first TIMESTAMPTZ, last TIMESTAMPTZ);
CREATE TABLE touched_list (touched INTEGER, digest VARCHAR, columns VARCHAR, highest VARCHAR);
CREATE TABLE touched (touched INTEGER, relation VARCHAR, "column" VARCHAR, target VARCHAR, class VARCHAR, level VARCHAR,
  use VARCHAR, "show" VARCHAR, rule VARCHAR, "grant" BIGINT, others VARCHAR[], exposed BOOLEAN);
CREATE TABLE decision ({_PLACE}, {_columns(DECISION)}, person VARCHAR, clear VARCHAR, touched INTEGER,
  refusal_sqlstate VARCHAR, refusal_message VARCHAR, {_RESULT});
CREATE TABLE late (worker VARCHAR, decision BIGINT, segment INTEGER, {_RESULT});
CREATE TABLE outcome ({_PLACE}, session VARCHAR, decision BIGINT, tag VARCHAR, rows BIGINT, bytes BIGINT, seconds DOUBLE,
  sqlstate VARCHAR);
CREATE TABLE other ({_PLACE}, {_columns(OTHER)}, person VARCHAR);
"""
HOLDING = ("decision", "late", "outcome", "other", "piece")
"""Tables whose rows belong to a segment."""

_WHO = "person, login, database, client, client_port, application, tls, asserted"

VIEWS = f"""
CREATE VIEW decisions AS SELECT d.worker, d.seq, d.time, d.session, d.person, d.login, d.database, d.client, d.client_port,
  d.application, d.tls, d.asserted, d.roles, d.profile, d.policy, d.protocol, d.statement, d.part, d.parts, d.verdict, d.clear,
  d.touched, d.touches_more, d.refusal_sqlstate, d.refusal_message, d.on_failure, d.placed_by, d.text, d.text_digest, d."values",
  d.values_whole, d.binds, COALESCE(d."values", []) || COALESCE(d.binds, []) AS digests,
  d.outcomes + COALESCE(l.outcomes, 0) AS outcomes, COALESCE(l.ended, d.ended) AS ended,
  CASE WHEN l.outcomes IS NULL THEN d.tag ELSE l.tag END AS tag,
  COALESCE(d.rows + l.rows, d.rows, l.rows) AS rows, COALESCE(d.bytes + l.bytes, d.bytes, l.bytes) AS bytes,
  COALESCE(d.seconds + l.seconds, d.seconds, l.seconds) AS seconds,
  CASE WHEN l.outcomes IS NULL THEN d.sqlstate ELSE l.sqlstate END AS sqlstate
FROM decision d LEFT JOIN (
  SELECT worker, decision, sum(outcomes)::INTEGER AS outcomes, max(ended) AS ended, arg_max(tag, ended) AS tag,
    sum(rows)::BIGINT AS rows, sum(bytes)::BIGINT AS bytes, sum(seconds) AS seconds, max(sqlstate) AS sqlstate
  FROM late GROUP BY ALL) l ON l.worker = d.worker AND l.decision = d.seq;

CREATE VIEW touches AS SELECT d.time, d.worker, d.seq, d.session, d.person, d.login, d.client, d.application, d.database,
  d.asserted, json_extract_string(d.asserted, '$.purpose') AS purpose, d.policy, d.verdict, d.statement,
  t.relation, t."column", t.target, t.class, t.level, t.use, t."show", t.rule, t."grant", t.others, t.exposed,
  d.rows, d.bytes, d.sqlstate, d."values", d.binds, d.digests
FROM decisions d JOIN touched t USING (touched);

CREATE VIEW sessions AS SELECT i.worker, i.session, i.person, i.login, i.database, i.client, i.client_port, i.application, i.tls,
  i.asserted, i.roles, i.policy, i.time AS began, o.time AS ended, o.seconds, o.statements, o.reason
FROM (SELECT * FROM other WHERE kind = 'login') i
LEFT JOIN (SELECT * FROM other WHERE kind = 'logout') o ON o.worker = i.worker AND o.session = i.session;

CREATE VIEW events AS SELECT o.worker, o.seq, o.time, o.event, o.session,
  COALESCE(json_extract_string(o.detail, '$.person'), s.person, json_extract_string(o.detail, '$.user')) AS person, o.detail
FROM (SELECT * FROM other WHERE kind = 'event') o
LEFT JOIN (SELECT worker, session, any_value(person) AS person FROM other WHERE kind = 'login' GROUP BY ALL) s
  ON s.worker = o.worker AND s.session = o.session;

CREATE VIEW approval_steps AS SELECT time, worker, seq, event,
  TRY_CAST(json_extract_string(detail, '$.request') AS BIGINT) AS request, json_extract_string(detail, '$.person') AS person,
  json_extract_string(detail, '$.login') AS login, json_extract_string(detail, '$.client') AS client,
  json_extract_string(detail, '$.database') AS database, json_extract_string(detail, '$.for') AS "for",
  json_extract_string(detail, '$.state') AS state, json_extract_string(detail, '$.columns') AS columns,
  json_extract_string(detail, '$.classes') AS classes, json_extract_string(detail, '$.levels') AS levels,
  TRY_CAST(json_extract_string(detail, '$.seconds') AS BIGINT) AS seconds,
  TRY_CAST(json_extract_string(detail, '$.max_rows') AS BIGINT) AS max_rows,
  json_extract_string(detail, '$.rows') IS NOT NULL AS some_rows,
  COALESCE(json_extract_string(detail, '$.reason'), json_extract_string(detail, '$.note')) AS said
FROM other WHERE kind = 'event' AND (event LIKE 'grant\\_%' ESCAPE '\\' OR event LIKE 'break\\_glass%' ESCAPE '\\')
  AND event NOT IN ('grants_in_force', 'grants_unavailable');

CREATE VIEW approvals AS SELECT request,
  CASE WHEN bool_or(event = 'break_glass') THEN 'break-glass' WHEN bool_or(event = 'grant_requested') THEN 'columns' END AS kind,
  arg_min(person, time) FILTER (event IN ('grant_requested', 'break_glass')) AS asked_by,
  COALESCE(min("for"), arg_min(person, time) FILTER (event IN ('grant_requested', 'break_glass'))) AS person,
  min(time) FILTER (event IN ('grant_requested', 'break_glass')) AS asked,
  arg_min(said, time) FILTER (event IN ('grant_requested', 'break_glass')) AS reason,
  min(database) FILTER (event IN ('grant_requested', 'break_glass')) AS database,
  max(columns) AS columns, max(classes) AS classes, max(levels) AS levels, max(seconds) AS seconds, max(max_rows) AS max_rows,
  COALESCE(bool_or(some_rows), false) AS some_rows,
  COALESCE(list(DISTINCT person ORDER BY person) FILTER (event = 'grant_approved'), []) AS approved_by,
  min(time) FILTER (event = 'break_glass' OR (event = 'grant_approved' AND state = 'granted')) AS granted,
  min(time) FILTER (event = 'break_glass' OR (event = 'grant_approved' AND state = 'granted')) + to_seconds(max(seconds))
    AS expires,
  min(time) FILTER (event = 'grant_revoked') AS revoked, arg_min(person, time) FILTER (event = 'grant_revoked') AS revoked_by,
  least(min(time) FILTER (event = 'break_glass' OR (event = 'grant_approved' AND state = 'granted')) + to_seconds(max(seconds)),
    min(time) FILTER (event = 'grant_revoked')) AS until,
  min(time) FILTER (event = 'grant_rejected') AS rejected, arg_min(person, time) FILTER (event = 'grant_rejected') AS rejected_by,
  arg_max(state, time) FILTER (state IS NOT NULL) AS state,
  min(time) FILTER (event = 'break_glass_reviewed') AS reviewed,
  arg_min(person, time) FILTER (event = 'break_glass_reviewed') AS reviewed_by,
  string_agg(said, '; ' ORDER BY time) FILTER (event NOT IN ('grant_requested', 'break_glass') AND said <> '') AS notes
FROM approval_steps WHERE request IS NOT NULL AND event NOT IN ('grant_refused', 'grant_failed') GROUP BY request;

CREATE VIEW policies AS WITH loaded AS (
  SELECT worker, seq, time, policy, files, reason, accepted FROM other WHERE kind = 'policy'),
changed AS (
  SELECT *, lag(policy) OVER (PARTITION BY worker ORDER BY seq) IS DISTINCT FROM policy AS new FROM loaded WHERE accepted),
runs AS (SELECT * FROM changed WHERE new)
SELECT worker, seq, policy, time AS since, lead(time) OVER (PARTITION BY worker ORDER BY seq) AS until, files, true AS accepted,
  NULL::VARCHAR AS reason FROM runs
UNION ALL SELECT worker, seq, policy, time, NULL, files, false, reason FROM loaded WHERE NOT COALESCE(accepted, false);

CREATE VIEW records AS
SELECT worker, seq, kind, time, session, {_WHO}, policy, statement, verdict, NULL::BIGINT AS decision, tag, rows,
  COALESCE(refusal_sqlstate, sqlstate) AS sqlstate, refusal_message AS reason, NULL::VARCHAR AS event, NULL::VARCHAR AS detail
FROM decision
UNION ALL BY NAME SELECT worker, seq, kind, time, session, decision, tag, rows, sqlstate FROM outcome
UNION ALL BY NAME SELECT worker, seq, kind, time, session, {_WHO}, policy, sqlstate, COALESCE(reason, damage, found) AS reason,
  event, detail FROM other;

CREATE VIEW segments AS SELECT worker, number, size AS bytes, records, bad, first, last, mac FROM piece;
"""

FORMAT = hashlib.sha256(f"1 {BASE}{VIEWS}{READ}".encode()).hexdigest()[:16]
"""Of an index; one of another format is made anew. The number is for what the tables do not show."""
