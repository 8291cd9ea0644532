"""What a report says of a period, as tables: questions to the index, and nothing else.

A statement *shows data in clear* when a sensitive column left in clear, for some rows at least, and it gave rows or has no
outcome. Its rows are all its rows: of a column that is clear for some rows only, nobody knows how many these were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import duckdb

from policies.language import level_key
from proxy.inquiry.who import Gap, gaps_in


class _Put(Protocol):
    def __call__(self, name: str, title: str, sql: str, note: str = "") -> None: ...


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Hours:
    """When people are expected to work, in the zone of the report."""

    start: int = 8 * 60 + 30
    """Minute of the day."""
    end: int = 18 * 60
    days: frozenset[int] = frozenset(range(5))
    """0 is Monday."""

    @property
    def text(self) -> str:
        days = ", ".join(_DAYS[day][:3] for day in sorted(self.days))
        return f"{self.start // 60:02d}:{self.start % 60:02d}-{self.end // 60:02d}:{self.end % 60:02d}, {days}"


@dataclass(frozen=True, slots=True)
class Period:
    start: datetime
    end: datetime
    """Not with it."""
    zone: str
    hours: Hours = field(default_factory=Hours)


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    """Of its file."""
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    note: str = ""

    def records(self) -> list[dict[str, object]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(slots=True)
class Figures:
    period: Period
    totals: dict[str, int] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    series: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    """What the charts draw."""
    levels: list[str] = field(default_factory=list)
    """Of what was shown in clear, gravest last."""
    gaps: list[Gap] = field(default_factory=list)
    began: datetime | None = None
    """Of the trail: its first record that is still there."""


_AUTHORITY = "COALESCE(authority, '(the class''s own mask)')"
_BASE = """
CREATE OR REPLACE TEMP TABLE behind AS SELECT DISTINCT touched, class, level, target,
  unnest([rule] || COALESCE(others, [])) AS authority FROM touched WHERE exposed;
CREATE OR REPLACE TEMP TABLE st AS SELECT worker, seq, time, time AT TIME ZONE current_setting('TimeZone') AS local, session,
  person, login, client, application, database, json_extract_string(asserted, '$.purpose') AS purpose,
  array_to_string(roles, ' ') AS roles, policy, statement, verdict, clear, touched, rows,
  refusal_sqlstate, refusal_message, on_failure, digests
FROM decisions WHERE time >= {start} AND time < {end} AND (touched IS NOT NULL OR verdict = 'refuse' OR on_failure IS NOT NULL);
CREATE OR REPLACE TEMP TABLE cl AS SELECT *, NOT (isodow(local) - 1 IN {days} AND hour(local) * 60 + minute(local) >= {opens}
  AND hour(local) * 60 + minute(local) < {closes}) AS off_hours, isodow(local) > 5 AS weekend
FROM st WHERE verdict <> 'refuse' AND COALESCE(rows, 1) > 0 AND touched IN (SELECT touched FROM behind);
CREATE OR REPLACE TEMP TABLE used AS SELECT TRY_CAST(substr(authority, 7) AS BIGINT) AS request, count(*) AS statements,
  sum(rows)::BIGINT AS rows, min(time) AS first_used, max(time) AS last_used
FROM cl JOIN (SELECT DISTINCT touched, authority FROM behind WHERE starts_with(authority, 'grant ')) USING (touched) GROUP BY ALL;
"""


def collect(connection: duckdb.DuckDBPyConnection, period: Period) -> Figures:
    """Everything a report needs. The connection's time zone is that of the period."""
    out = Figures(period)
    start, end = (f"TIMESTAMPTZ '{moment.isoformat()}'" for moment in (period.start, period.end))
    days = f"({', '.join(map(str, sorted(period.hours.days))) or '-1'})"
    connection.execute(_BASE.format(start=start, end=end, days=days, opens=period.hours.start, closes=period.hours.end))
    within = f"time >= {start} AND time < {end}"

    def table(name: str, title: str, sql: str, note: str = "") -> None:
        found = connection.execute(sql)
        columns = tuple(column[0] for column in found.description or ())
        out.tables[name] = Table(name, title, columns, found.fetchall(), note)

    def series(name: str, sql: str) -> None:
        found = connection.execute(sql)
        names = [column[0] for column in found.description or ()]
        out.series[name] = [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    _clear(table)
    _exemptions(table, start, end)
    _refusals(table, within)
    _people(table, start, end)
    table(
        "alerts", "Alerts raised",
        f"""SELECT detail->>'alert' AS alert, detail->>'severity' AS severity, COALESCE(detail->>'user', detail->>'person')
          AS person,
          detail->>'address' AS address, count(*) AS times, min(time) AS first, max(time) AS last
        FROM events WHERE event = 'alert' AND {within} GROUP BY ALL ORDER BY times DESC, alert, person""",
    )  # fmt: skip
    table(
        "policies", "Policies",
        f"""SELECT policy, bool_or(accepted) AS in_force, min(since) AS since,
          CASE WHEN bool_or(until IS NULL AND accepted) THEN NULL ELSE max(until) END AS until, any_value(files) AS files,
          max(reason) AS not_accepted_because
        FROM policies WHERE since < {end} AND COALESCE(until, {end}) > {start} AND (accepted OR since >= {start})
        GROUP BY policy ORDER BY since""",
    )  # fmt: skip
    series(
        "days",
        "SELECT local::DATE AS day, COALESCE(clear, 'unknown') AS level, count(*) AS statements, sum(rows)::BIGINT AS rows "
        "FROM cl GROUP BY ALL ORDER BY 1, 2",
    )
    series(
        "verdicts",
        f"SELECT (time AT TIME ZONE current_setting('TimeZone'))::DATE AS day, verdict, count(*) AS statements FROM decisions "
        f"WHERE {within} GROUP BY ALL ORDER BY 1, 2",
    )
    series("people", "SELECT person, COALESCE(clear, 'unknown') AS level, sum(rows)::BIGINT AS rows FROM cl GROUP BY ALL")
    series("hours", "SELECT isodow(local) - 1 AS weekday, hour(local) AS hour, count(*) AS statements FROM cl GROUP BY ALL")
    series(
        "classes",
        """SELECT class, how, count(*) AS statements FROM st JOIN (SELECT DISTINCT touched, class,
          CASE WHEN exposed THEN 'in clear' WHEN "show" = 'deny' THEN 'refused' ELSE 'masked' END AS how
          FROM touched WHERE "use" IN ('output', 'unknown')) USING (touched) GROUP BY ALL""",
    )  # fmt: skip
    table(
        "days", "Day by day",
        f"""SELECT day, COALESCE(statements, 0) AS statements, COALESCE(refused, 0) AS refused, COALESCE(in_clear, 0) AS in_clear,
          COALESCE(rows_in_clear, 0) AS rows_in_clear, COALESCE(people, 0) AS people_who_saw_clear
        FROM (SELECT (time AT TIME ZONE current_setting('TimeZone'))::DATE AS day, count(*) AS statements,
            count(*) FILTER (verdict = 'refuse') AS refused FROM decisions WHERE {within} GROUP BY ALL)
        LEFT JOIN (SELECT local::DATE AS day, count(*) AS in_clear, sum(rows)::BIGINT AS rows_in_clear,
          count(DISTINCT person) AS people
          FROM cl GROUP BY ALL) USING (day) ORDER BY day""",
    )  # fmt: skip
    _totals(connection, out, within)
    out.levels = sorted({str(row["level"]) for row in out.series["days"]}, key=level_key)
    out.gaps = gaps_in(connection, within, [], digests=False, period=(within, []))
    return out


def _clear(table: _Put) -> None:
    table(
        "in_clear", "Who saw which sensitive data in clear, and under what authority",
        f"""SELECT person, class, level, {_AUTHORITY} AS authority, count(*) AS statements, sum(rows)::BIGINT AS rows,
          min(time) AS first,
          max(time) AS last FROM cl JOIN (SELECT DISTINCT touched, class, level, authority FROM behind) USING (touched)
        GROUP BY ALL ORDER BY rows DESC NULLS FIRST, person, class""",
        "A statement that showed several classes counts for each. Rows are those of the statements.",
    )  # fmt: skip
    table(
        "columns", "Columns shown in clear",
        """SELECT target AS "column", class, level, count(DISTINCT person) AS people, count(*) AS statements,
          sum(rows)::BIGINT AS rows
        FROM cl JOIN (SELECT DISTINCT touched, target, class, level FROM behind) USING (touched)
        GROUP BY ALL ORDER BY level DESC, rows DESC NULLS FIRST, 1""",
    )  # fmt: skip
    table(
        "usage", "Use by class, level, role, purpose and authority",
        f"""SELECT class, level, COALESCE(roles, '') AS roles, COALESCE(purpose, '') AS purpose, {_AUTHORITY} AS authority,
          count(DISTINCT person) AS people, count(*) AS statements, sum(rows)::BIGINT AS rows
        FROM cl JOIN (SELECT DISTINCT touched, class, level, authority FROM behind) USING (touched)
        GROUP BY ALL ORDER BY level DESC, class, rows DESC NULLS FIRST, roles, purpose, authority""",
        "Roles: those the policy looked at, of the login or asserted.",
    )  # fmt: skip
    table(
        "top", "Who saw most",
        """SELECT person, any_value(login) AS login, count(*) AS statements, sum(rows)::BIGINT AS rows, max(rows) AS most_at_once,
          (SELECT count(DISTINCT x) FROM (SELECT unnest(digests) AS x FROM cl c WHERE c.person = cl.person)) AS values_named,
          count(DISTINCT local::DATE) AS days, list(DISTINCT client ORDER BY client)[:5] AS addresses,
          list(DISTINCT application ORDER BY application)[:5] AS applications
        FROM cl GROUP BY person ORDER BY rows DESC NULLS FIRST, person""",
        "Values named: different values in the literals and parameters of these statements, as many as customers looked up one "
        "by one, or more.",
    )  # fmt: skip
    table(
        "off_hours", "Outside working hours",
        """SELECT person, count(*) AS statements, sum(rows)::BIGINT AS rows, count(*) FILTER (weekend) AS on_weekends,
          max(clear) AS highest_level, min(time) AS first, max(time) AS last,
          round(100.0 * count(*) / any_value(of_all), 1) AS percent_of_own
        FROM cl JOIN (SELECT person, count(*) AS of_all FROM cl GROUP BY person) USING (person)
        WHERE off_hours GROUP BY person ORDER BY statements DESC, person""",
        "Statements that showed sensitive data in clear.",
    )  # fmt: skip


def _exemptions(table: _Put, start: str, end: str) -> None:
    table(
        "unmasked", "Statements that could not be read and went on unmasked (on_failure: clear)",
        """SELECT person, application, client, refusal_sqlstate AS sqlstate, refusal_message AS reason, count(*) AS statements,
          sum(rows)::BIGINT AS rows, min(time) AS first, max(time) AS last
        FROM st WHERE on_failure = 'clear' GROUP BY ALL ORDER BY statements DESC, person""",
    )  # fmt: skip
    table(
        "approvals", "Approvals and their use",
        f"""SELECT a.request, a.kind, a.person, a.asked_by, a.asked, a.reason, a.columns, a.levels, a.approved_by, a.granted,
          a.until,
          a.revoked_by, a.rejected_by, a.reviewed_by, COALESCE(u.statements, 0) AS statements, COALESCE(u.rows, 0) AS rows,
            u.first_used,
          CASE WHEN a.rejected IS NOT NULL THEN 'rejected' WHEN a.granted IS NULL THEN 'not granted'
            WHEN u.statements IS NULL THEN 'never used' ELSE 'used' END AS outcome
        FROM approvals a LEFT JOIN used u USING (request)
        WHERE COALESCE(a.asked, a.granted, a.rejected) < {end} AND COALESCE(a.until, a.rejected, a.asked, {end}) >= {start}
        UNION ALL BY NAME SELECT u.request, 'grant' AS kind, u.statements, u.rows, u.first_used,
          'used; approval not in this trail' AS outcome
        FROM used u ANTI JOIN approvals a USING (request)
        ORDER BY request""",
        "Use is that of this period.",
    )  # fmt: skip


def _refusals(table: _Put, within: str) -> None:
    table(
        "refusals", "Refusals by reason",
        """SELECT refusal_sqlstate AS sqlstate, refusal_message AS reason, count(*) AS statements, count(DISTINCT person)
          AS people,
          min(time) AS first, max(time) AS last FROM st WHERE verdict = 'refuse' GROUP BY ALL ORDER BY statements DESC, reason""",
    )  # fmt: skip
    table(
        "refused_people", "Refusals by person",
        """SELECT person, count(*) AS statements, count(DISTINCT refusal_message) AS reasons, list(DISTINCT client
          ORDER BY client)[:5]
          AS addresses, min(time) AS first, max(time) AS last
        FROM st WHERE verdict = 'refuse' GROUP BY person ORDER BY statements DESC, person""",
    )  # fmt: skip
    table(
        "failed_logins", "Failed log-ins",
        f"""SELECT login, client, sqlstate, reason, count(*) AS times, min(time) AS first, max(time) AS last
        FROM records WHERE kind = 'login_failed' AND {within} GROUP BY ALL ORDER BY times DESC, login, client""",
    )  # fmt: skip


def _people(table: _Put, start: str, end: str) -> None:
    seen = (
        "SELECT person, login, application, client, time FROM decision "
        "UNION ALL SELECT person, login, application, client, time FROM other WHERE kind = 'login'"
    )
    table(
        "new_people", "New people",
        f"""SELECT person, min(login) AS login, min(time) AS first FROM ({seen}) GROUP BY person
        HAVING min(time) >= {start} AND min(time) < {end} ORDER BY first, person""",
        "Never seen in this trail before.",
    )  # fmt: skip
    for name, column, title in (
        ("new_applications", "application", "New applications"),
        ("new_addresses", "client", "New addresses"),
    ):
        table(
            name, f"{title} of people",
            f"""SELECT person, {column}, min(time) AS first FROM ({seen}) WHERE {column} IS NOT NULL GROUP BY ALL
            HAVING min(time) >= {start} AND min(time) < {end} ORDER BY first, person, {column}""",
            "Never seen in this trail together before.",
        )  # fmt: skip


def _totals(connection: duckdb.DuckDBPyConnection, out: Figures, within: str) -> None:
    found = connection.execute(
        f"""SELECT (SELECT count(*) FROM decisions WHERE {within}) AS statements,
          (SELECT count(DISTINCT person) FROM decisions WHERE {within}) AS people,
          count(*) AS in_clear, COALESCE(sum(rows), 0)::BIGINT AS rows_in_clear, count(DISTINCT person) AS people_who_saw_clear,
          count(*) FILTER (off_hours) AS off_hours, (SELECT count(*) FROM st WHERE verdict = 'refuse') AS refused,
          (SELECT count(*) FROM st WHERE on_failure = 'clear') AS unmasked, (SELECT count(*) FROM used) AS grants_used,
          (SELECT COALESCE(sum(statements), 0)::BIGINT FROM used) AS by_grants FROM cl"""
    )
    names = [column[0] for column in found.description or ()]
    out.totals = dict(zip(names, found.fetchall()[0], strict=True))
    out.totals["alerts"] = sum(int(str(row["times"])) for row in out.tables["alerts"].records())
    out.totals["never_used"] = sum(row["outcome"] == "never used" for row in out.tables["approvals"].records())
    out.began = connection.execute("SELECT min(first) FROM segments").fetchall()[0][0]
