"""`pgveil explain`: what a login sees, of the columns of a statement or of tables, by which rules, and why not by the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from policies.attributes import LOGIN
from policies.decide import Step
from policies.document import suggest
from policies.filters import FilterKind
from policies.masks.describe import describe
from policies.model import Branch, Decision, Show
from policies.names import Part, Pattern, split_name
from policies.trials import Situation
from proxy.config import Config
from proxy.errors import ConfigError
from proxy.reading import Report, one_database, read_policy, read_world
from proxy.whatif import View
from rewrite.plan import Plan, Verdict


def explain_live(config: Config, situation: Situation, what: str, *, as_json: bool = False) -> Report:
    """Of an SQL statement, or of columns written `schema.table`, `schema.table.column`, with wildcards. Raises PgveilError. Not
    ok: refused, or no such login."""
    policy = read_policy(config.policy)
    name = one_database(config, situation.database)
    view = asyncio.run(read_world(config, policy, name)).view(situation)
    explanation = _Explanation(view)
    pattern = column_pattern(what)
    plan = None if pattern is not None else view.plan(what)
    columns = explanation.named(pattern) if pattern is not None else explanation.touched(what, plan)
    known = explanation.known and (plan is None or plan.verdict is not Verdict.REFUSE)
    if as_json:
        return Report((json.dumps(explanation.as_json(columns, plan), ensure_ascii=False, indent=1),), known)
    return Report(tuple(explanation.as_text(columns, plan)), known)


def column_pattern(what: str) -> Pattern | None:
    """The columns that `schema.table` or `schema.table.column` names; None for a statement."""
    parts = split_name(what.strip())
    if parts is None or len(parts) not in (2, 3):
        return None
    return Pattern(what.strip(), parts if len(parts) == 3 else (*parts, Part("*", False)))


@dataclass(frozen=True, slots=True)
class _Column:
    oid: int
    attnum: int
    name: str


class _Explanation:
    def __init__(self, view: View) -> None:
        self.view = view
        self.world = view.world
        self.known = view.situation.user in view.world.roles.names

    def named(self, pattern: Pattern) -> list[_Column]:
        """Raises ConfigError when there are none."""
        relations = sorted(self.world.catalog.relations.values(), key=lambda r: (r.schema, r.name))
        tables = [r for r in relations if pattern.parts[1].matcher()(r.name) and pattern.reaches(r.schema) and r.columns]
        found = [
            _Column(r.oid, c.attnum, f"{r.schema}.{r.name}.{c.name}")
            for r in tables
            for c in r.columns
            if pattern.parts[2].matcher()(c.name)
        ]
        if found:
            return found
        words = [f"{r.schema}.{r.name}" for r in relations]
        wanted = pattern.source
        if tables:
            words = [f"{r.schema}.{r.name}.{c.name}" for r in tables for c in r.columns]
        raise ConfigError(f"database {self.world.name} has no {wanted}{suggest(wanted, words)}")

    def touched(self, sql: str, plan: Plan | None) -> list[_Column]:
        """Each sensitive column that the statement uses. Of a refused one, as far as it can be read."""
        profile = replace(self.view.profile, masked=False)
        statements = (plan.statements if plan is not None else ()) or self.view.plan(sql, profile).statements
        out = []
        for name, column in dict.fromkeys((t.relation, t.column) for s in statements for t in s.touches):
            schema, _, relation = name.partition(".")
            found = self.world.find(schema, relation, column)
            if found is not None and self._decision(_Column(*found, "")) is not None:
                out.append(_Column(*found, f"{name}.{column}"))
        return out

    def _decision(self, column: _Column) -> Decision | None:
        return self.view.profile.decisions.get(column.oid, {}).get(column.attnum)

    # -- text

    def as_text(self, columns: Sequence[_Column], plan: Plan | None) -> Iterator[str]:
        yield from self._heading()
        clear = [c.name for c in columns if self._decision(c) is None]
        for column in columns:
            yield from self._column(column)
        if clear:
            yield ""
            yield f"not sensitive: {', '.join(clear)}"
        if plan is not None:
            if not columns:
                yield ""
                yield "no sensitive column is used"
            yield ""
            yield from _counted(plan)
            yield from _outcome(plan)

    def _heading(self) -> Iterator[str]:
        view, context = self.view, self.view.context
        others = sorted(context.roles - {context.user})
        if not self.known:
            yield f"warning: the server has no login {context.user}"
        yield f"login     {context.user}, member of {', '.join(others) or 'no other role'}"
        yield f"database  {context.database}, search_path {', '.join(view.path)}"
        client = [w for w in (context.application_name, context.client_address, "encrypted" if context.tls else "") if w]
        if client:
            yield f"client    {', '.join(client)}"
        if view.situation.now is not None:
            yield f"time      {_moment(context.now)}"
        known = {name: value for name, value in context.attributes.items() if (name, value) != (LOGIN, context.user)}
        if known:
            said = (f"{name} = {value}" for name, value in sorted(known.items()))
            yield f"person    {', '.join(said)}"
        yield f"policy    {self.world.policy.version}"
        if self.world.policy.approvals:
            yield "grants    not looked at: SHOW veil.access in a session tells what holds there"

    def _column(self, column: _Column) -> Iterator[str]:
        decision = self._decision(column)
        if decision is None:
            return
        yield ""
        yield f"{column.name}: {told(decision)}  [class {decision.data_class}, level {decision.level}]"
        if decision.filters.kind is FilterKind.EQUALITY:
            yield f"  filters: equality, {decision.filters.probes_per_hour} different values an hour"
        elif decision.filters.kind is FilterKind.REFUSE:
            yield "  filters: refuse"
        for step in self._steps(column):
            rule = "default" if step.rule is None else f"rule '{step.rule}'"
            place = f" ({step.place})" if step.place and step.matched else ""
            yield f"  {'+' if step.matched else '-'} {rule}{place}: {step.why}"

    def _steps(self, column: _Column) -> list[Step]:
        return self.view.steps(column.oid, column.attnum)

    # -- JSON

    def as_json(self, columns: Sequence[_Column], plan: Plan | None) -> dict[str, Any]:
        context = self.view.context
        out: dict[str, Any] = {
            "login": context.user,
            "known": self.known,
            "roles": sorted(context.roles - {context.user}),
            "database": context.database,
            "application_name": context.application_name,
            "address": context.client_address,
            "tls": context.tls,
            "time": _moment(context.now),
            "attributes": dict(sorted(context.attributes.items())),
            "policy": self.world.policy.version,
            "columns": [self._json_column(c) for c in columns],
        }
        if plan is not None:
            out["statement"] = _json_plan(plan)
        return out

    def _json_column(self, column: _Column) -> dict[str, Any]:
        decision = self._decision(column)
        if decision is None:
            return {"column": column.name, "sensitive": False, "shows": "clear"}
        return {
            "column": column.name,
            "sensitive": True,
            "class": decision.data_class,
            "level": decision.level,
            "shows": decision.show,
            "filters": decision.filters.kind.value,
            "branches": [
                {"rows": b.rows, "shows": b.show.value, "mask": describe(b.mask) if b.mask is not None else None, "rule": b.rule}
                for b in decision.branches
            ],
            "rules": [{"rule": s.rule, "place": s.place, "matched": s.matched, "why": s.why} for s in self._steps(column)],
        }


def told(decision: Decision) -> str:
    """clear where branch = 'N', otherwise keep."""
    return ", otherwise ".join(_branch(branch) for branch in decision.branches)


def _branch(branch: Branch) -> str:
    shown = describe(branch.mask) if branch.show is Show.MASK and branch.mask is not None else branch.show.value
    return shown if branch.rows is None else f"{shown} where {branch.rows}"


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()


def _counted(plan: Plan) -> Iterator[str]:
    """What the statement looks for by stored values."""
    for probe in plan.probes:
        yield f"counted   constants compared with stored values of {probe.column}: {len(probe.values)}"


def _outcome(plan: Plan) -> Iterator[str]:
    if plan.refusal is not None:
        yield f"refused   {plan.refusal.sqlstate}: {plan.refusal.message}"
        if plan.refusal.hint:
            yield f"hint      {plan.refusal.hint}"
    elif plan.verdict is Verdict.NEED:
        yield "undecided: the statement names something that only a running session can know"
    elif plan.verdict is Verdict.PASS:
        yield "sent as it is"
    else:
        yield f"rewritten (placed by {plan.placed_by})"
        yield plan.text


def _json_plan(plan: Plan) -> dict[str, Any]:
    refusal = plan.refusal
    return {
        "verdict": plan.verdict.value,
        "sent": plan.text,
        "refused": None if refusal is None else {"sqlstate": refusal.sqlstate, "message": refusal.message, "hint": refusal.hint},
    }
