"""SELECT in all its forms. Everything made here has one possible answer (as a multiset, or as a list when `ordered`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.generate.expressions import COMPARABLE, SIMPLE
from tests.generate.names import Item, Scope, output_name
from tests.generate.schema import Column, Kind
from tests.generate.sources import Query, Sources

_UNNAMED = "?"


@dataclass(slots=True)
class Queries(Sources):
    # -- a whole query --------------------------------------------------------------------------------------------------

    def query(self, parent: Scope | None, depth: int, *, named: bool = False, kinds: tuple[Kind, ...] | None = None) -> Query:
        """`named`: every output column has a name of its own that is known. `kinds`: the wanted types."""
        self.budget -= 2
        tables = list(self.tables)
        with_ = self._with(parent, depth - 1) if depth > 0 and self.budget > 15 and self.chance(0.15) else ""
        roll = self.rng.random()
        if depth > 0 and self.budget > 12 and roll < 0.12:
            made = self._set_operation(parent, depth - 1, kinds)
        elif kinds is None and roll < 0.15:
            made = self._table_command()
        elif roll < 0.18 and kinds is None:
            made = self._bare_values()
        else:
            made = self._select(parent, depth, named, kinds)
        self.tables = tables
        return replace(made, text=with_ + made.text)

    def _table_command(self) -> Query:
        whole = [r for r in self.schema.relations if r.whole]
        relation = self.rng.choice(whole)
        name = self.relation_name(relation)
        form = self.rng.choice(
            (f"TABLE {name}", f"TABLE ONLY {name}" if relation.kind == "r" else f"TABLE {name}", f"SELECT * FROM {name}")
        )
        made = Query(form, relation.columns)
        return self._ordered(made, None) if self.chance(0.3) else made

    def _bare_values(self) -> Query:
        kinds = [self.rng.choice(SIMPLE) for _ in range(self.rng.randrange(1, 4))]
        rows = [", ".join(f"{self.literal(k)}::{k.value}" for k in kinds) for _ in range(self.rng.randrange(1, 4))]
        columns = tuple(Column(f"column{i}", k) for i, k in enumerate(kinds, 1))
        return self._ordered(Query(f"VALUES {', '.join(f'({r})' for r in rows)}", columns), None)

    def _ordered(self, made: Query, scope: Scope | None) -> Query:
        """With ORDER BY over all columns, and perhaps a limit; as it is when a column cannot be sorted."""
        if not made.sortable or not made.columns:
            return made
        positions = list(range(1, len(made.columns) + 1))
        self.rng.shuffle(positions)
        items = [f"{p}{self.rng.choice(('', ' ASC', ' DESC', ' DESC NULLS LAST', ' NULLS FIRST'))}" for p in positions]
        text = f"{made.text} ORDER BY {', '.join(items)}"
        if self.chance(0.5):
            text += self._limit()
        return Query(text, made.columns, ordered=True)

    def _limit(self) -> str:
        n = self.rng.randrange(0, 9)
        return self.rng.choice(
            (f" LIMIT {n}", f" LIMIT {n} OFFSET 2", f" OFFSET {n} ROWS FETCH FIRST 3 ROWS ONLY",
            f" FETCH NEXT ({n} + 1) ROWS ONLY",
             " FETCH FIRST ROW ONLY", " LIMIT ALL", f" FETCH FIRST {n} ROWS WITH TIES", f" LIMIT (SELECT {n})")
        )  # fmt: skip

    def _set_operation(self, parent: Scope | None, depth: int, kinds: tuple[Kind, ...] | None) -> Query:
        kinds = kinds or tuple(self.rng.choice(SIMPLE) for _ in range(self.rng.randrange(1, 4)))
        count = self.rng.choice((2, 2, 3))
        parts = [self._select(parent, depth, True, kinds) for _ in range(count)]
        text = f"({parts[0].text})"
        for part in parts[1:]:
            operation = self.rng.choice(
                ("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "UNION DISTINCT", "EXCEPT ALL", "INTERSECT ALL")
            )
            text = f"{text} {operation} ({part.text})" if self.chance(0.8) else f"({text}) {operation} ({part.text})"
        made = Query(text, parts[0].columns)
        return self._ordered(made, None) if self.chance(0.5) else made

    # -- WITH -----------------------------------------------------------------------------------------------------------

    def _with(self, parent: Scope | None, depth: int) -> str:
        parts = []
        recursive = self.chance(0.3)
        used: set[str] = set()
        for _ in range(self.rng.choice((1, 1, 2))):
            name = output_name(self.rng, used)
            if recursive and self.chance(0.8):
                text, columns = self._recursive(parent, name, depth)
            else:
                inner = self.query(parent, depth, named=True)
                columns = inner.columns
                listed = ""
                if self.chance(0.3):
                    names: set[str] = set()
                    columns = tuple(replace(c, name=output_name(self.rng, names)) for c in columns)
                    listed = f" ({', '.join(self.name(c.name) for c in columns)})"
                hint = self.rng.choice(("", "", " MATERIALIZED", " NOT MATERIALIZED"))
                text = f"{self.name(name)}{listed} AS{hint} ({inner.text})"
            parts.append(text)
            self.tables.append((name, columns))
        return f"WITH {'RECURSIVE ' if recursive else ''}{', '.join(parts)} "

    def _recursive(self, parent: Scope | None, name: str, depth: int) -> tuple[str, tuple[Column, ...]]:
        base = self.query(parent, min(depth, 1), named=True, kinds=(Kind.INT, Kind.TEXT))
        names = {"select", name}
        n, x = output_name(self.rng, names), output_name(self.rng, names)
        columns = [Column(n, Kind.INT), Column(x, Kind.TEXT)]
        number, text_ = self.name(n), self.name(x)
        step = (
            f"SELECT {number} + 1, {self.rng.choice((f'left({text_}, 3)', text_, f'{text_} || chr(42)'))} "
            f"FROM {self.name(name)} WHERE {number} BETWEEN 0 AND 3"
        )
        all_ = self.rng.choice(("", "ALL "))
        text = f'{self.name(name)} ({number}, {text_}) AS (SELECT * FROM ({base.text}) AS "base" UNION {all_}{step})'
        if self.chance(0.25):
            order = output_name(self.rng, names)
            text += f" SEARCH {self.rng.choice(('DEPTH', 'BREADTH'))} FIRST BY {number} SET {self.name(order)}"
            columns.append(Column(order, Kind.OTHER))
        if self.chance(0.25):
            mark, route = output_name(self.rng, names), output_name(self.rng, names)
            text += f" CYCLE {number}, {text_} SET {self.name(mark)} USING {self.name(route)}"
            columns += [Column(mark, Kind.BOOL), Column(route, Kind.OTHER)]
        return text, tuple(columns)

    # -- SELECT ---------------------------------------------------------------------------------------------------------

    def _select(self, parent: Scope | None, depth: int, named: bool, kinds: tuple[Kind, ...] | None) -> Query:
        clause, scope = self.from_clause(parent, depth)
        where = f" WHERE {self.one(scope, Kind.BOOL, min(depth + 1, 3))}" if self.chance(0.5) else ""
        body = f" FROM {clause}{where}"
        if kinds is None and not named and self.chance(0.05):
            return self._locked(scope, body)
        if self.chance(0.25):
            return self._grouped(scope, body, named, kinds)
        if self.chance(0.12):
            made = self._windowed(scope, body, named, kinds)
            if made is not None:
                return made
        if kinds is None and self.chance(0.15):
            made = self._star(scope, body, named)
            if made is not None:
                return made
        items, columns = self._items(scope, named, kinds)
        distinct = ""
        if all(c.sortable for c in columns) and self.chance(0.15):
            distinct = "DISTINCT "
            if columns and self.chance(0.4):
                return self._distinct_on(scope, body, items, columns)
        made = Query(f"SELECT {distinct}{', '.join(items)}{body}", columns)
        if self.chance(0.35):
            return self._ordered(made, scope)
        return self._by_expression(scope, made) if not distinct and self.chance(0.2) else made

    def _items(self, scope: Scope, named: bool, kinds: tuple[Kind, ...] | None) -> tuple[list[str], tuple[Column, ...]]:
        items, columns = [], []
        used: set[str] = set()
        for number in range(len(kinds) if kinds else self.rng.choice((0 if not named and self.chance(0.02) else 1, 2, 2, 3, 4))):
            kind = kinds[number] if kinds else self.rng.choice((*SIMPLE, *SIMPLE, *COMPARABLE))
            text = None
            row = self.row(scope) if kinds is None and not named and self.chance(0.05) else None
            if row is not None:
                composite = self.rng.choice(
                    (row, f"ROW({row}.*, 1)", f"ROW({row})", f"row_to_json({row})", f"count({row}) OVER ()")
                )
                items.append(composite)
                columns.append(Column(_UNNAMED, Kind.OTHER, sortable=False))
                continue
            text = self.one(scope, kind, 2)
            if kinds:
                text = f"CAST({text} AS {kind.value})"
            items.append(self._named(text, columns, kind, used, named))
        return items, tuple(columns)

    def _named(self, text: str, columns: list[Column], kind: Kind, used: set[str], named: bool) -> str:
        if named or self.chance(0.4):
            name = output_name(self.rng, used)
            columns.append(Column(name, kind))
            return f"{text} AS {self.name(name)}"
        columns.append(Column(_UNNAMED, kind))
        return text

    def _star(self, scope: Scope, body: str, named: bool) -> Query | None:
        if any(i.relation is not None and not i.relation.whole for i in scope.items):
            return None
        columns = tuple(c for i in scope.items for c in i.columns)
        if named:
            if len(scope.items) > 1 or len({c.name for c in columns}) < len(columns):
                return None
            return (
                self._ordered(Query(f"SELECT *{body}", columns), scope) if self.chance(0.3) else Query(f"SELECT *{body}", columns)
            )
        roll = self.rng.random()
        if roll < 0.4:
            return Query(f"SELECT *{body}", tuple(replace(c, sortable=False) for c in columns))
        if roll < 0.5:
            extra = self.one(scope, Kind.TEXT, 2)
            return Query(f"SELECT *, {extra}{body}", tuple(replace(c, sortable=False) for c in columns))
        item = self.rng.choice(scope.items)
        if scope.by_alias(item.alias) is not item:
            return None
        star = f"{self.name(item.alias)}.*"
        if self.row_ok(scope, item) and self.chance(0.3):
            star = f"({self.name(item.alias)}).*"
        if len({c.name for c in item.columns}) == len(item.columns):
            made = Query(f"SELECT {star}{body}", tuple(item.columns))
            return self._ordered(made, scope) if self.chance(0.4) else made
        return Query(f"SELECT {star}{body}", (Column(_UNNAMED, Kind.OTHER, sortable=False),))

    def _by_expression(self, scope: Scope, made: Query) -> Query:
        """ORDER BY something that does not decide everything: no limit, or one WITH TIES."""
        keys = [f"{self.one(scope, self.rng.choice(SIMPLE), 2)}{self.rng.choice(('', ' DESC', ' USING <'))}" for _ in range(2)]
        keys = [k for k in keys if not k.lstrip("(+-").rstrip(") ").split(" ")[0].isdigit() and not _constant(k)] or ["1"]
        text = f"{made.text} ORDER BY {', '.join(keys)}"
        if keys != ["1"] and self.chance(0.4):
            text += f" FETCH FIRST {self.rng.randrange(1, 5)} ROWS WITH TIES"
        return Query(text, made.columns)

    def _distinct_on(self, scope: Scope, body: str, items: list[str], columns: tuple[Column, ...]) -> Query:
        positions = list(range(1, len(columns) + 1))
        rest = ", ".join(str(p) for p in positions)
        return Query(f"SELECT DISTINCT ON (1) {', '.join(items)}{body} ORDER BY {rest}", columns, ordered=True)

    def _locked(self, scope: Scope, body: str) -> Query:
        """FOR UPDATE and its like, where PostgreSQL takes it."""
        if not self.locks or not all(i.relation is not None and i.relation.kind in "rp" for i in scope.items) or "JOIN" in body:
            return Query(f"SELECT count(*){body}", (Column("count", Kind.INT),))
        items, columns = self._items(scope, False, None)
        if any(" OVER " in i for i in items) or not items:
            items, columns = ["1"], (Column(_UNNAMED, Kind.INT),)
        made = self._ordered(Query(f"SELECT {', '.join(items)}{body}", columns), scope)
        lock = self.rng.choice(("FOR UPDATE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR KEY SHARE"))
        if self.chance(0.5):
            lock += f" OF {self.name(self.rng.choice(scope.items).alias)}"
        lock += self.rng.choice(("", " NOWAIT", " SKIP LOCKED"))
        if "WITH TIES" in made.text and "SKIP" in lock:
            lock = "FOR UPDATE"
        return replace(made, text=f"{made.text} {lock}")

    # -- grouping -------------------------------------------------------------------------------------------------------

    def _grouped(self, scope: Scope, body: str, named: bool, kinds: tuple[Kind, ...] | None) -> Query:
        leaves: list[tuple[str, Kind]] = []
        groups: list[str] = []
        by_key = next((i for i in scope.items if self._keyed(scope, i)), None)
        if by_key is not None and self.chance(0.25):
            columns = {c.name: c for c in by_key.columns}
            groups = [self.forms(scope, by_key, columns[k])[0] for k in by_key.key]
            for column in by_key.columns:
                forms = self.forms(scope, by_key, column)
                leaves += [(self.rng.choice(forms), column.kind)] if forms else []
        else:
            for _ in range(self.rng.choice((0, 1, 1, 2))):
                kind = self.rng.choice(SIMPLE)
                before, self.subqueries = self.subqueries, False
                text = self.column(scope, kind, own=True) if self.chance(0.7) else self.one(scope, kind, 1)
                self.subqueries = before
                if text is not None and not _constant(text) and "$" not in text:
                    groups.append(text)
                    leaves.append((text, kind))
        clause = ""
        if groups:
            how = self.rng.choice(("", "", "DISTINCT ", "ALL ")) if self.chance(0.2) else ""
            clause = f" GROUP BY {how}{self._grouping(groups)}"
        leaves += [self._aggregate(scope) for _ in range(2)]
        after = Scope(scope.parent, scope.items, scope.merged, leaves)
        having = f" HAVING {self.one(after, Kind.BOOL, 2)}" if self.chance(0.25) else ""
        items, columns = [], []
        used: set[str] = set()
        wanted = kinds or tuple(self.rng.choice(leaves)[1] for _ in range(self.rng.choice((1, 2, 3))))
        for kind in wanted:
            kind = kind if kind in COMPARABLE else Kind.INT
            text = self.one(after, kind, 1)
            items.append(self._named(f"CAST({text} AS {kind.value})" if kinds else text, columns, kind, used, named))
        if clause and kinds is None and "(" in clause and "GROUPING SETS" in clause and self.chance(0.5):
            items.append(self._named(f"GROUPING({groups[0]})", columns, Kind.INT, used, named))
        made = Query(f"SELECT {', '.join(items)}{body}{clause}{having}", tuple(columns))
        return self._ordered(made, after) if self.chance(0.4) else made

    def _keyed(self, scope: Scope, item: Item) -> bool:
        if not item.key or item.relation is None or item.relation.kind not in "rp":
            return False
        columns = {c.name: c for c in item.columns}
        return all(k in columns and k not in scope.merged and self.forms(scope, item, columns[k]) for k in item.key)

    def _grouping(self, groups: list[str]) -> str:
        listed = ", ".join(groups)
        return self.rng.choice(
            (listed, listed, listed, f"ROLLUP ({listed})", f"CUBE ({listed})", f"GROUPING SETS (({listed}), ())",
             f"GROUPING SETS (({groups[0]}), ROLLUP ({listed}))", f"({listed})", f"{groups[0]}, ROLLUP ({listed})")
        )  # fmt: skip

    def _aggregate(self, scope: Scope) -> tuple[str, Kind]:
        """An aggregate over columns of this level whose value does not depend on the order of rows."""
        before, self.subqueries = self.subqueries, False
        own = Scope(None, scope.items, scope.merged)

        def column(kind: Kind) -> str:
            text = self.column(own, kind, own=True)
            return text if text is not None and self._means_the_same(scope, text) else self.literal(kind).replace("$1", "x")

        parameters, self.parameters = self.parameters, None
        made: tuple[Callable[[], tuple[str, Kind]], ...] = (
            lambda: ("count(*)", Kind.INT),
            lambda: (f"count({self.rng.choice(('', 'DISTINCT '))}{column(self.rng.choice(SIMPLE))})", Kind.INT),
            lambda: (f"sum({column(Kind.NUM)})", Kind.NUM),
            lambda: (f"round(avg({column(Kind.NUM)}), 2)", Kind.NUM),
            lambda: (f"max({column(Kind.TEXT)})", Kind.TEXT),
            lambda: (f"min({column(Kind.DATE)})", Kind.DATE),
            lambda: (f"max(DISTINCT {column(Kind.NUM)})", Kind.NUM),
            lambda: (f"bool_or({column(Kind.BOOL)})", Kind.BOOL),
            lambda: (f"every({column(Kind.BOOL)})", Kind.BOOL),
            lambda: self._sorted("string_agg({0}::text, ',' ORDER BY {0}::text)", column(Kind.TEXT), Kind.TEXT),
            lambda: self._sorted("string_agg(DISTINCT {0}::text, '/' ORDER BY {0}::text DESC)", column(Kind.TEXT), Kind.TEXT),
            lambda: self._sorted("array_agg({0}::text ORDER BY {0}::text NULLS FIRST)", column(Kind.TEXT), Kind.ARRAY),
            lambda: self._sorted("jsonb_agg({0} ORDER BY {0})", column(Kind.INT), Kind.JSON),
            lambda: (f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {column(Kind.NUM)})", Kind.NUM),
            lambda: (f"round(percentile_cont(0.25) WITHIN GROUP (ORDER BY {column(Kind.INT)})::numeric, 2)", Kind.NUM),
            lambda: (f"rank(3) WITHIN GROUP (ORDER BY {column(Kind.INT)})", Kind.INT),
            lambda: (f"round(stddev_pop({column(Kind.INT)}), 2)", Kind.NUM),
            lambda: self._row_aggregate(scope),
        )
        text, kind = self.rng.choice(made)()
        if self.chance(0.15) and not text.startswith("round("):
            text += f" FILTER (WHERE {self.one(own, Kind.BOOL, 1)})"
        self.subqueries, self.parameters = before, parameters
        return text, kind

    def _means_the_same(self, scope: Scope, text: str) -> bool:
        return bool(text)

    def _sorted(self, form: str, text: str, kind: Kind) -> tuple[str, Kind]:
        return form.format(text), kind

    def _row_aggregate(self, scope: Scope) -> tuple[str, Kind]:
        row = self.row(scope)
        if row is None:
            return "count(*)", Kind.INT
        return self.rng.choice(((f"count({row})", Kind.INT), (f"jsonb_agg({row} ORDER BY to_jsonb({row}))", Kind.JSON)))

    # -- windows --------------------------------------------------------------------------------------------------------

    def _windowed(self, scope: Scope, body: str, named: bool, kinds: tuple[Kind, ...] | None) -> Query | None:
        windows = []
        used: set[str] = set()
        only = scope.items[0] if len(scope.items) == 1 else None
        key = None
        if only is not None and only.key and self._keyed(scope, only):
            columns = {c.name: c for c in only.columns}
            key = ", ".join(self.forms(scope, only, columns[k])[0] for k in only.key)
        leaves: list[tuple[str, Kind]] = []
        clause = ""
        for _ in range(2):
            partition = f"PARTITION BY {self.one(scope, self.rng.choice(SIMPLE), 1)}" if self.chance(0.6) else ""
            if key is not None and self.chance(0.5):
                over = (
                    f"({partition} ORDER BY {key}{self.rng.choice(('', ' DESC'))})"
                    if "," not in key
                    else f"({partition} ORDER BY {key})"
                )
                functions = (
                    ("row_number()", Kind.INT),
                    (f"lag({self.one(scope, Kind.TEXT, 1)})", Kind.TEXT),
                    (f"lead({self.one(scope, Kind.INT, 1)}, 2)", Kind.INT),
                    (f"first_value({self.one(scope, Kind.DATE, 1)})", Kind.DATE),
                    (f"nth_value({self.one(scope, Kind.TEXT, 1)}, 2)", Kind.TEXT),
                    ("ntile(3)", Kind.INT),
                )
                frame = self.rng.choice(
                    ("", " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", " ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW")
                )
                over = over[:-1] + frame + ")"
            else:
                order = self.one(scope, self.rng.choice((Kind.INT, Kind.NUM, Kind.DATE, Kind.TEXT)), 1)
                frame = self.rng.choice(
                    ("", " RANGE UNBOUNDED PRECEDING", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                     " GROUPS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP",
                     " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING")
                )  # fmt: skip
                over = f"({partition} ORDER BY {order}{frame})" if self.chance(0.7) else f"({partition})"
                functions = (
                    (f"sum({self.one(scope, Kind.NUM, 1)})", Kind.NUM),
                    ("count(*)", Kind.INT),
                    (f"max({self.one(scope, Kind.TEXT, 1)})", Kind.TEXT),
                    (f"count({self.one(scope, Kind.TEXT, 1)}) FILTER (WHERE {self.one(scope, Kind.BOOL, 1)})", Kind.INT),
                    ("rank()", Kind.INT),
                    ("dense_rank()", Kind.INT),
                )
            text, kind = self.rng.choice(functions)
            if self.chance(0.25):
                name = output_name(self.rng, used)
                windows.append(f"{self.name(name)} AS {over}")
                over = self.name(name)
            leaves.append((f"{text} OVER {over}", kind))
        if windows:
            clause = f" WINDOW {', '.join(windows)}"
        items, columns = [], []
        names: set[str] = set()
        if kinds:
            for kind in kinds:
                found = [t for t, k in leaves if k is kind]
                items.append(
                    self._named(
                        f"CAST({found[0] if found else self.one(scope, kind, 1)} AS {kind.value})", columns, kind, names, named
                    )
                )
        else:
            for text, kind in leaves:
                items.append(self._named(text, columns, kind, names, named))
            kind = self.rng.choice(SIMPLE)
            items.append(self._named(self.one(scope, kind, 1), columns, kind, names, named))
        made = Query(f"SELECT {', '.join(items)}{body}{clause}", tuple(columns))
        return self._ordered(made, scope) if self.chance(0.4) else made

    # -- subqueries of expressions --------------------------------------------------------------------------------------

    def _inner(self, scope: Scope) -> Scope:
        """The scope as a subquery sees it."""
        return scope

    def scalar_subquery(self, scope: Scope, kind: Kind, depth: int) -> str | None:
        if kind not in SIMPLE:
            return None
        inner = self.query(self._inner(scope), min(depth, 1), named=True, kinds=(kind,))
        roll = self.rng.random()
        if roll < 0.5 and kind is not Kind.BOOL:
            return f'(SELECT {self.rng.choice(("max", "min"))}("v") FROM ({inner.text}) AS "sub" ("v"))'
        return f'(SELECT "v" FROM ({inner.text}) AS "sub" ("v") ORDER BY 1 LIMIT 1)'

    def column_subquery(self, scope: Scope, kind: Kind, depth: int) -> str | None:
        return self.query(self._inner(scope), min(depth, 1), named=True, kinds=(kind,)).text

    def any_subquery(self, scope: Scope, depth: int) -> str:
        return self.query(self._inner(scope), min(depth, 1), named=True).text


def _constant(text: str) -> bool:
    """Whether PostgreSQL could read it as a position or refuse it as a constant where a list of expressions is sorted or
    grouped."""
    bare = text.split(" ")[0].strip("()+-")
    return (
        bare.replace(".", "").isdigit()
        or bare[:1] in "'$"
        or bare in ("NULL::int", "true", "false", "NULL::bool", "NULL")
        or "'" in bare[:3]
    )
