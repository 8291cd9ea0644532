"""A case: a query or a write, and the statements people put around it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.generate.names import Scope
from tests.generate.noise import noisy
from tests.generate.schema import Column, Kind, Schema
from tests.generate.sources import Query
from tests.generate.writes import Writes


@dataclass(frozen=True, slots=True)
class Step:
    text: str
    parameters: tuple[str, ...] | None = None
    """Given: sent by the extended protocol."""
    ordered: bool = False
    """The order of the rows is decided."""
    values: bool = True
    """The values are decided; not so in EXPLAIN."""


@dataclass(frozen=True, slots=True)
class Case:
    """Statements that run one after the other in one transaction, which is rolled back."""

    steps: tuple[Step, ...]
    path: tuple[str, ...] = ()
    origin: str = ""

    def __str__(self) -> str:
        head = [f"SET search_path = {', '.join(self.path)};"] if self.path else []
        return "\n".join((*head, *(f"{s.text};{f'  -- {list(s.parameters)}' if s.parameters else ''}" for s in self.steps)))


_AROUND = (
    ("plain", 46), ("extended", 14), ("write", 12), ("explain", 3), ("prepare", 5), ("cursor", 5), ("temporary", 4), ("copy", 6),
    ("several", 3), ("writing_with", 2),
)  # fmt: skip


class Statements(Writes):
    """Makes cases."""

    def case(self) -> Case:
        kinds, weights = zip(*_AROUND, strict=True)
        kind = self.rng.choices(kinds, weights)[0]
        if kind == "extended":
            self.parameters = []
        steps: list[Step] = getattr(self, f"_{kind}")()
        return Case(tuple(steps), self.path, kind)

    def _top(self, *, named: bool = False) -> Query:
        return self.query(None, self.rng.choice((1, 2, 2, 3)), named=named)

    def _plain(self) -> list[Step]:
        made = self._top()
        return [Step(made.text, ordered=made.ordered)]

    def _extended(self) -> list[Step]:
        made = self._top()
        return [Step(made.text, tuple(self.parameters or ()), made.ordered)]

    def _write(self) -> list[Step]:
        text, target = self.write()
        after = self.relation_name(target)
        columns = ", ".join(self.name(c.name) for c in target.columns if not c.masked)
        return [Step(text), Step(f"SELECT {columns or 1} FROM {after}")]

    def _explain(self) -> list[Step]:
        options = self.rng.choice(("", "VERBOSE ", "(COSTS off) ", "(ANALYZE, TIMING off) ", "(FORMAT json) ", "ANALYZE "))
        return [Step(f"EXPLAIN {options}{self._top().text}", values=False)]

    def _prepare(self) -> list[Step]:
        self.parameters = []
        made = self._top()
        values = tuple(self.parameters)
        self.parameters = None
        name = self.name(self.rng.choice(("p", "customers", "Plan 1")))
        types = ""
        given = ", ".join(_literal(v) for v in values)
        run = f"EXECUTE {name}{f' ({given})' if values else ''}"
        return [
            Step(f"PREPARE {name}{types} AS {made.text}"),
            Step(run, ordered=made.ordered),
            Step(f"EXPLAIN {run}", values=False) if self.chance(0.2) else Step(run, ordered=made.ordered),
            Step(f"DEALLOCATE {name}"),
        ]

    def _cursor(self) -> list[Step]:
        self.locks = False
        made = self._top()
        name = self.name(self.rng.choice(("c", "customers", "Cursor 1")))
        options = self.rng.choice(("", "SCROLL ", "NO SCROLL ", "INSENSITIVE ", "BINARY ")) if made.ordered else ""
        if options == "BINARY " and any(c.kind not in (Kind.INT, Kind.TEXT, Kind.DATE, Kind.BOOL) for c in made.columns):
            options = ""
        hold = self.rng.choice(("", " WITH HOLD", " WITHOUT HOLD"))
        steps = [Step(f"DECLARE {name} {options}CURSOR{hold} FOR {made.text}")]
        if made.ordered:
            steps.append(Step(f"FETCH {self.rng.choice(('2', 'NEXT', 'FORWARD 3', 'FIRST'))} FROM {name}", ordered=True))
        steps.append(Step(f"FETCH ALL IN {name}", ordered=made.ordered))
        return [*steps, Step(f"CLOSE {name}")]

    def _temporary(self) -> list[Step]:
        made = self._top(named=True)
        if any(c.kind is Kind.COMPOSITE for c in made.columns):  # a view's whole row is a record: no table can hold it
            return [Step(made.text, ordered=made.ordered)]
        name = self.rng.choice(("tt", "customers_tmp", '"Temp 1"'))
        options = self.rng.choice(("", " ON COMMIT DROP", " WITH (fillfactor = 70)"))
        steps = [Step(f"CREATE {self.rng.choice(('TEMP', 'TEMPORARY', 'LOCAL TEMP'))} TABLE {name}{options} AS {made.text}")]
        if any(c.name == "?" for c in made.columns):
            return steps
        return [*steps, Step(f"SELECT * FROM {name}"), Step(f"SELECT count(*) FROM {name} AS t")]

    def _copy(self) -> list[Step]:
        options = self.rng.choice(("", " (FORMAT csv, HEADER)", " WITH CSV FORCE QUOTE *", " (DELIMITER '|', NULL 'nil')"))
        if self.chance(0.3):
            relation = self.rng.choice([r for r in self.schema.relations if r.kind == "r"])
            columns = [c.name for c in relation.columns if c.writable]
            self.rng.shuffle(columns)
            listed = ", ".join(self.name(c) for c in columns[: self.rng.randrange(1, len(columns) + 1)])
            return [Step(f"COPY {self.relation_name(relation)} ({listed}) TO STDOUT{options}")]
        self.locks = False
        made = self._top()
        return [Step(f"COPY ({made.text}) TO STDOUT{options}", ordered=made.ordered)]

    def _several(self) -> list[Step]:
        first, second = self._top(), self.fresh()._top()
        return [Step(f"{first.text}; {second.text};")]

    def _writing_with(self) -> list[Step]:
        text, _target, columns = self.returning_write()
        if not columns:
            return [Step(text)]
        self.tables.append(("w", columns))
        made = self.query(None, 1)
        self.tables.clear()
        return [Step(f"WITH w AS ({text}) {made.text}" if not made.text.startswith("WITH ") else text, ordered=False)]

    def fresh(self) -> Statements:
        """Another statement of the same case."""
        return Statements(self.rng, self.schema, 30, path=self.path)


def _literal(value: str) -> str:
    return value if value.isdigit() else f"'{value}'"


def generate(schema: Schema, seed: int, number: int, paths: tuple[tuple[str, ...], ...]) -> Case:
    """Case `number` of a seed; always the same for the same schema."""
    rng = random.Random(f"{seed}/{number}")
    path = rng.choice(paths) if rng.random() < 0.3 else ()
    case = Statements(rng, schema, rng.choice((15, 30, 45, 60)), path=path).case()
    amount = rng.choice((0, 0, 0, 0.05, 0.3))
    if not amount:
        return case
    return replace(case, steps=tuple(replace(s, text=noisy(rng, s.text, amount)) for s in case.steps))


__all__ = ["Case", "Column", "Scope", "Statements", "Step", "generate"]
