"""FROM clauses: relations in all their forms, subqueries, functions, VALUES and every kind of join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.generate.expressions import SIMPLE, Expressions
from tests.generate.names import Item, Scope, output_name, written
from tests.generate.schema import Column, Kind, Relation


@dataclass(frozen=True, slots=True)
class Query:
    """A query's text and what it gives. Without `ordered` its rows come in no particular order."""

    text: str
    columns: tuple[Column, ...] = ()
    ordered: bool = False

    @property
    def sortable(self) -> bool:
        return all(c.sortable for c in self.columns)


@dataclass(slots=True)
class Sources(Expressions):
    tables: list[tuple[str, tuple[Column, ...]]] = field(default_factory=list)
    """Common table expressions in sight, the innermost last."""
    path: tuple[str, ...] = ()
    """Schemas of the search_path; empty: every name is qualified."""
    locks: bool = True

    # -- relations ------------------------------------------------------------------------------------------------------

    def relation(self) -> Relation:
        rare = self.schema.rare and self.chance(0.003)
        return self.rng.choice(self.schema.rare if rare else self.schema.relations)

    def relation_name(self, relation: Relation) -> str:
        """How the relation can be named here; without its schema only where nothing hides it."""
        if relation.schema in self.path and self.chance(0.6) and relation.name not in {n for n, _ in self.tables}:
            earlier = self.path[: self.path.index(relation.schema)]
            known = {(r.schema, r.name) for r in (*self.schema.relations, *self.schema.rare)}
            if not any((s, relation.name) in known for s in earlier):
                return self.name(relation.name)
        return f"{written(self.rng, relation.schema)}.{self.name(relation.name)}"

    def table(self, scope: Scope, relation: Relation | None = None, *, plain: bool = False) -> tuple[str, Item]:
        """A relation as an item of FROM. `plain`: no sample, no column aliases."""
        relation = relation or self.relation()
        text = self.relation_name(relation)
        table = relation.kind in "rp"
        key = relation.key if not (relation.kind == "r" and not relation.child and self._has_children(relation)) else ()
        if table and self.chance(0.06):
            text = self.rng.choice((f"ONLY {text}", f"ONLY ({text})"))
            key = relation.key
            if relation.kind == "p":
                text = text  # ONLY of a partitioned table is empty on both sides
        elif table and self.chance(0.04):
            text += " *"
        columns = list(relation.columns)
        taken = {i.alias for i in scope.items}
        aliased = relation.name in taken or self.chance(0.6)
        alias = scope.alias(self.rng) if aliased else relation.name
        if aliased:
            text += self.rng.choice((" AS ", " ")) + self._alias(alias)
            if relation.whole and not plain and self.chance(0.08):
                names: set[str] = set()
                count = self.rng.randrange(1, len(columns) + 1)
                renamed = [output_name(self.rng, names) for _ in range(count)]
                keep = [c.name for c in columns[count:]]
                if not set(renamed) & set(keep):
                    text = self._with_as(text) + f" ({', '.join(map(self._alias, renamed))})"
                    mapping = dict(zip([c.name for c in columns], renamed, strict=False))
                    columns = [replace(c, name=mapping.get(c.name, c.name)) for c in columns]
                    key = tuple(mapping.get(k, k) for k in key)
        if table and not plain and self.chance(0.04):
            method = self.rng.choice(("BERNOULLI", "system", "pg_catalog.bernoulli" if False else "Bernoulli"))
            text += f" TABLESAMPLE {method} ({self.rng.choice((100, 0, 100.0))})"
            text += self.rng.choice(("", f" REPEATABLE ({self.rng.randrange(9)})"))
        if not relation.whole:
            columns = list(columns)
        return text, Item(alias, columns, relation, aliased, relation.whole, key)

    def _has_children(self, relation: Relation) -> bool:
        return any(r.child and r.kind == "r" and set(relation.columns) <= set(r.columns) for r in self.schema.relations)

    def _alias(self, name: str) -> str:
        """An alias: never a bare word that would need AS to be taken as one."""
        return self.name(name)

    def _with_as(self, text: str) -> str:
        return text

    # -- other items ----------------------------------------------------------------------------------------------------

    def item(self, scope: Scope, lateral: Scope | None, depth: int) -> tuple[str, Item]:
        """An item of FROM. `lateral` is the scope with what stands left of it, when LATERAL can see that."""
        roll = self.rng.random()
        if depth <= 0 or self.budget < 8 or roll < 0.62:
            if self.tables and self.chance(0.45):
                return self._cte(scope)
            return self.table(scope)
        if roll < 0.82:
            return self._subselect(scope, lateral, depth)
        if roll < 0.88:
            return self._values(scope)
        return self._function(scope, lateral)

    def _cte(self, scope: Scope) -> tuple[str, Item]:
        name, columns = self.rng.choice(self.tables)
        columns = next(c for n, c in reversed(self.tables) if n == name)
        text = self._alias(name)
        alias = name
        if name in {i.alias for i in scope.items} or self.chance(0.5):
            alias = scope.alias(self.rng)
            text += f" AS {self._alias(alias)}"
        return text, Item(alias, list(columns))

    def _subselect(self, scope: Scope, lateral: Scope | None, depth: int) -> tuple[str, Item]:
        beside = lateral is not None and bool(lateral.items) and self.chance(0.5)
        inner = self.query(lateral if beside else scope.parent, depth - 1, named=True)
        alias = scope.alias(self.rng)
        text = f"{'LATERAL ' if beside else ''}({inner.text}) {self.rng.choice(('AS ', ''))}{self._alias(alias)}"
        columns = list(inner.columns)
        if self.chance(0.15):
            names: set[str] = set()
            columns = [replace(c, name=output_name(self.rng, names)) for c in columns]
            text += f" ({', '.join(self._alias(c.name) for c in columns)})"
        return text, Item(alias, columns)

    def _values(self, scope: Scope) -> tuple[str, Item]:
        kinds = [self.rng.choice(SIMPLE) for _ in range(self.rng.randrange(1, 4))]
        rows = [", ".join(f"{self.literal(k)}::{k.value}" for k in kinds) for _ in range(self.rng.randrange(1, 4))]
        alias = scope.alias(self.rng)
        names: set[str] = set()
        columns = [Column(output_name(self.rng, names), k) for k in kinds]
        listed = ", ".join(self._alias(c.name) for c in columns)
        return f"(VALUES {', '.join(f'({r})' for r in rows)}) AS {self._alias(alias)} ({listed})", Item(alias, columns)

    def _function(self, scope: Scope, lateral: Scope | None) -> tuple[str, Item]:
        alias = scope.alias(self.rng)
        names: set[str] = set()
        of = lateral if lateral is not None else Scope(scope.parent)
        arguments: list[Callable[[], tuple[str, list[Kind]]]] = [
            lambda: (f"generate_series(1, {self.rng.randrange(1, 5)})", [Kind.INT]),
            lambda: (f"unnest({self.one(of, Kind.ARRAY, 2)})", [Kind.TEXT]),
            lambda: (f"regexp_split_to_table({self.one(of, Kind.TEXT, 1)}, '1')", [Kind.TEXT]),
            lambda: (f"jsonb_each_text({self._object(of)})", [Kind.TEXT, Kind.TEXT]),
            lambda: (f"jsonb_object_keys({self._object(of)})", [Kind.TEXT]),
        ]
        roll = self.rng.random()
        if roll < 0.15:
            columns = [Column(output_name(self.rng, names), Kind.TEXT), Column(output_name(self.rng, names), Kind.INT)]
            listed = ", ".join(f"{self._alias(c.name)} {c.kind.value}" for c in columns)
            row = self.rng.choice(("jsonb_to_record('{\"a\": 1}')", "jsonb_to_recordset('[{}, {}]')"))
            return f"{row} AS {self._alias(alias)} ({listed})", Item(alias, columns)
        if roll < 0.22:
            document = f"xmlelement(name r, xmlelement(name v, {self.one(of, Kind.TEXT, 1)}))"
            columns = [Column(output_name(self.rng, names), Kind.TEXT), Column(output_name(self.rng, names), Kind.INT)]
            listed = f"{self._alias(columns[0].name)} text PATH '.', {self._alias(columns[1].name)} FOR ORDINALITY"
            text = f"XMLTABLE('/r/v' PASSING {document} COLUMNS {listed}) AS {self._alias(alias)}"
            return text, Item(alias, columns)
        count = self.rng.choice((1, 1, 1, 2))
        made = [self.rng.choice(arguments)() for _ in range(count)]
        kinds = [k for _, ks in made for k in ks]
        text = made[0][0] if count == 1 else f"ROWS FROM ({', '.join(m[0] for m in made)})"
        if self.chance(0.4):
            text += " WITH ORDINALITY"
            kinds.append(Kind.INT)
        columns = [Column(output_name(self.rng, names), k) for k in kinds]
        lateral_word = "LATERAL " if self.chance(0.2) else ""
        listed = ", ".join(self._alias(c.name) for c in columns)
        row = len(columns) > 1  # a function of one column: its alias means that column
        return f"{lateral_word}{text} AS {self._alias(alias)} ({listed})", Item(alias, columns, row=row)

    def _object(self, scope: Scope) -> str:
        row = self.row(scope) if scope.items and self.chance(0.5) else None
        return f"to_jsonb({row})" if row else f"jsonb_build_object('a', {self.one(scope, Kind.TEXT, 1)})"

    # -- joins ----------------------------------------------------------------------------------------------------------

    def from_clause(self, parent: Scope | None, depth: int) -> tuple[str, Scope]:
        scope = Scope(parent)
        parts = []
        for _ in range(self.rng.choice((1, 1, 1, 2)) if depth > 0 else 1):
            parts.append(self._joined(scope, depth))
        return ", ".join(parts), scope

    def _joined(self, scope: Scope, depth: int) -> str:
        text, item = self.item(scope, Scope(scope.parent, list(scope.items), set(scope.merged)), depth)
        before = len(scope.items)
        scope.items.append(item)
        for _ in range(self.rng.choice((0, 0, 1, 1, 2)) if depth > 0 and self.budget > 8 else 0):
            text = self._join(scope, text, before, depth)
        own = scope.items[before:]
        if len(own) > 1 and not scope.merged and self.chance(0.06):
            return self._join_alias(scope, text, before)
        return text

    def _join(self, scope: Scope, left: str, first: int, depth: int) -> str:
        kind = self.rng.choice(("JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"))
        sideways = kind not in ("RIGHT JOIN", "FULL JOIN")
        before = Scope(scope.parent, list(scope.items), set(scope.merged))
        right, item = self.item(scope, before if sideways else None, depth - 1)
        mine = scope.items[first:]
        names = [c.name for i in mine for c in i.columns]
        shared = [c for c in item.columns if names.count(c.name) == 1 and self._same(mine, c)]
        clash = [c.name for c in item.columns if c.name in names and c not in shared]
        scope.items.append(item)
        if kind == "CROSS JOIN":
            if len(scope.items) > 2:
                return f"{left} INNER JOIN {right} ON {self._equal(scope, first)}"
            return f"{left} CROSS JOIN {right}"
        natural = shared and not clash and first == 0 and len(mine) == 1 and self._natural(mine[0]) and self._natural(item)
        if natural and self.chance(0.25):
            scope.merged |= {c.name for c in shared}
            return f"{left} NATURAL {kind} {right}"
        if shared and first == 0 and len(mine) == 1 and self.chance(0.4):
            using = self.rng.sample(shared, self.rng.randrange(1, min(2, len(shared)) + 1))
            scope.merged |= {c.name for c in using}
            listed = ", ".join(self.name(c.name) for c in using)
            return f"{left} {kind} {right} USING ({listed})"
        condition = self._equal(scope, first)
        if kind != "FULL JOIN" and self.chance(0.3):
            seen = Scope(scope.parent, scope.items[first:], scope.merged)
            condition += f" AND {self.one(seen, Kind.BOOL, 2)}"
        return f"{left} {kind} {right} ON {condition}"

    def _natural(self, item: Item) -> bool:
        return item.relation is None or item.relation.whole

    def _same(self, items: list[Item], column: Column) -> bool:
        other = next(c for i in items for c in i.columns if c.name == column.name)
        return other.kind is column.kind and column.kind in SIMPLE

    def _equal(self, scope: Scope, first: int) -> str:
        """An equality between the newest item and one left of it."""
        right = scope.items[-1]
        pairs = [
            (i, a, b)
            for i in scope.items[first:-1]
            for a in i.columns
            for b in right.columns
            if a.kind is b.kind and a.kind in SIMPLE
        ]
        self.rng.shuffle(pairs)
        pairs.sort(key=lambda p: p[1].kind is Kind.BOOL)
        for item, a, b in pairs[:6]:
            seen = Scope(scope.parent, scope.items[first:], scope.merged)
            left, other = self.forms(seen, item, a), self.forms(seen, right, b)
            if left and other:
                return f"{self.rng.choice(left)} = {self.rng.choice(other)}"
        return "true" if len(scope.items) < 3 else "1 = 1"

    def _join_alias(self, scope: Scope, text: str, first: int) -> str:
        """(a JOIN b ...) AS j hides a and b."""
        own = scope.items[first:]
        columns = [c for i in own for c in i.columns]
        del scope.items[first:]
        alias = scope.alias(self.rng)
        denied = any(i.relation is not None and not i.relation.whole for i in own)
        scope.items.append(Item(alias, columns, row=False))
        if not denied and self.chance(0.4):
            names: set[str] = set()
            columns = [replace(c, name=output_name(self.rng, names)) for c in columns]
            scope.items[-1].columns = columns
            return f"({text}) AS {self._alias(alias)} ({', '.join(self._alias(c.name) for c in columns)})"
        return f"({text}) AS {self._alias(alias)}"

    # -- what queries add -----------------------------------------------------------------------------------------------

    def query(self, parent: Scope | None, depth: int, *, named: bool = False, kinds: tuple[Kind, ...] | None = None) -> Query:
        raise NotImplementedError
