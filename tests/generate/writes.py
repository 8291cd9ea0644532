"""INSERT, UPDATE, DELETE and MERGE, alone or inside WITH. Which row is written with what never depends on the order of rows."""

from __future__ import annotations

from dataclasses import replace

from tests.generate.names import Item, Scope, output_name
from tests.generate.queries import Queries
from tests.generate.schema import Column, Kind, Relation

_ASSIGNABLE = (Kind.INT, Kind.NUM, Kind.TEXT, Kind.BOOL, Kind.DATE, Kind.ARRAY, Kind.JSON)


class Writes(Queries):
    def write(self) -> tuple[str, Relation]:
        """A write and its target."""
        target = self._target()
        makers = (self._insert, self._insert, self._update, self._update, self._delete, self._merge)
        return self.rng.choice(makers)(target)[0], target

    def returning_write(self) -> tuple[str, Relation, tuple[Column, ...]]:
        """A write for WITH, and the columns it returns."""
        target = self._target()
        text, columns = self.rng.choice((self._insert, self._update, self._delete))(target, named=True)
        return text, target, columns

    def _target(self) -> Relation:
        free = [r for r in self.schema.relations if r.clear]
        tables = [r for r in self.schema.relations if r.kind in "rp"]
        return self.rng.choice(free if free and self.chance(0.7) else tables)

    def _item(self, target: Relation) -> tuple[str, Scope, Item]:
        """The target as written, and what may be said of it: mostly columns that are not masked."""
        columns = [c for c in target.columns if not c.masked or self.chance(0.03)]
        scope = Scope()
        aliased = self.chance(0.5)
        alias = scope.alias(self.rng) if aliased else target.name
        item = Item(alias, columns, target, aliased, row=target.clear, key=target.key)
        scope.items.append(item)
        text = self.relation_name(target)
        return f"{text} AS {self.name(alias)}" if aliased else text, scope, item

    def _safe(self, scope: Scope) -> Scope:
        return scope

    def _returning(self, scope: Scope, item: Item, named: bool) -> tuple[str, tuple[Column, ...]]:
        roll = self.rng.random()
        if named or roll < 0.35:
            columns = [c for c in item.columns if c.kind is not Kind.OTHER][:4]
            names: set[str] = set()
            out, listed = [], []
            for column in columns:
                forms = self.forms(scope, item, column)
                if forms:
                    name = output_name(self.rng, names)
                    listed.append(f"{forms[0]} AS {self.name(name)}")
                    out.append(replace(column, name=name))
            return (f" RETURNING {', '.join(listed)}", tuple(out)) if listed else ("", ())
        if roll < 0.55:
            return " RETURNING *" if item.relation is not None and item.relation.whole else "", ()
        if roll < 0.7:
            before, self.subqueries = self.subqueries, item.relation is not None and item.relation.clear
            text = f" RETURNING {self.one(scope, Kind.TEXT, 2)}, {self.one(scope, Kind.INT, 1)}"
            self.subqueries = before
            return text, ()
        return "", ()

    def _value(self, scope: Scope, column: Column) -> str:
        if column.kind not in _ASSIGNABLE or self.chance(0.1):
            return "DEFAULT"
        before, self.subqueries = self.subqueries, self.subqueries and self.chance(0.2)
        text = self.one(scope, column.kind, 1)
        self.subqueries = before
        return text

    def _insert(self, target: Relation, *, named: bool = False) -> tuple[str, tuple[Column, ...]]:
        text, scope, item = self._item(target)
        columns = [c for c in target.columns if c.writable and (c.kind in _ASSIGNABLE) and (not c.masked or self.chance(0.3))]
        keyed = [c for c in columns if c.name in target.key]
        rest = [c for c in columns if c.name not in target.key and self.chance(0.7)]
        columns = [*keyed, *rest]
        if not columns:
            return f"INSERT INTO {text} DEFAULT VALUES", ()
        listed = ", ".join(self.name(c.name) for c in columns)
        number = self.rng.randrange(90000, 99999)
        if self.chance(0.6):
            rows = ", ".join(
                f"({', '.join(self._fixed(c, target, number + i) for c in columns)})" for i in range(self.rng.randrange(1, 3))
            )
            source = f"VALUES {rows}"
        else:
            source = f"SELECT {', '.join(self._fixed(c, target, number) for c in columns)}"
            if self.chance(0.5):
                free = [r for r in self.schema.relations if r.clear]
                source += f" FROM {self.table(Scope(), self.rng.choice(free), plain=True)[0]} LIMIT 1"
        conflict = ""
        if target.key and self.chance(0.3):
            keys = ", ".join(self.name(k) for k in target.key)
            conflict = f" ON CONFLICT ({keys}) DO NOTHING"
            if rest and self.chance(0.6):
                column = self.name(self.rng.choice(rest).name)
                conflict = f" ON CONFLICT ({keys}) DO UPDATE SET {column} = excluded.{column}"
        override = " OVERRIDING SYSTEM VALUE" if self.chance(0.03) else ""
        own = any(c.masked for c in columns)  # a masked value of one's own: the masked copy would show it
        returning, out = self._returning(scope, item, named) if not own and (named or self.chance(0.6)) else ("", ())
        return f"INSERT INTO {text} ({listed}){override} {source}{conflict}{returning}", out

    def _fixed(self, column: Column, target: Relation, number: int) -> str:
        """A value for a new row: keys that are not there yet (mostly)."""
        if column.name in target.key and column.kind is Kind.INT:
            return str(number) if self.chance(0.9) else "1"
        if column.name in target.key and column.kind is Kind.TEXT:
            return f"'N{number}'" if self.chance(0.9) else "'BJ'"
        return self.literal(column.kind)

    def _update(self, target: Relation, *, named: bool = False) -> tuple[str, tuple[Column, ...]]:
        text, scope, item = self._item(target)
        free = [c for c in item.columns if c.writable and c.name not in target.key and c.kind in _ASSIGNABLE]
        if not free:
            return self._delete(target, named=named)
        chosen = self.rng.sample(free, self.rng.randrange(1, min(2, len(free)) + 1))
        if len(chosen) == 2 and self.chance(0.3):
            values = ", ".join(self._value(scope, c) for c in chosen)
            sets = f"({', '.join(self.name(c.name) for c in chosen)}) = ROW({values})"
        else:
            sets = ", ".join(f"{self.name(c.name)} = {self._value(scope, c)}" for c in chosen)
        source, where = self._beside(scope, item, "FROM")
        only = "ONLY " if self.chance(0.05) else ""
        returning, out = self._returning(scope, item, named) if named or (self.chance(0.6) and not source) else ("", ())
        return f"UPDATE {only}{text} SET {sets}{source}{where}{returning}", out

    def _beside(self, scope: Scope, item: Item, word: str) -> tuple[str, str]:
        """Another relation that a write looks at, and the condition; it decides whether a row is written, not with what."""
        before, self.subqueries = self.subqueries, self.subqueries and self.chance(0.3)
        where = f" WHERE {self.one(scope, Kind.BOOL, 2)}" if self.chance(0.8) else ""
        self.subqueries = before
        free = [r for r in self.schema.relations if r.clear]
        if not free or not self.chance(0.2):
            return "", where
        inner = Scope(None, list(scope.items))
        source, other = self.table(inner, self.rng.choice(free), plain=True)
        inner.items.append(other)
        return f" {word} {source}", f" WHERE {self._equal(inner, 0)} AND {self.one(inner, Kind.BOOL, 1)}"

    def _delete(self, target: Relation, *, named: bool = False) -> tuple[str, tuple[Column, ...]]:
        text, scope, item = self._item(target)
        source, where = self._beside(scope, item, "USING")
        returning, out = self._returning(scope, item, named) if named or (self.chance(0.6) and not source) else ("", ())
        return f"DELETE FROM {text}{source}{where}{returning}", out

    def _merge(self, target: Relation, *, named: bool = False) -> tuple[str, tuple[Column, ...]]:
        free = [c for c in target.columns if c.writable and c.name not in target.key and c.kind in _ASSIGNABLE and not c.masked]
        keyed = [c for c in target.columns if c.name in target.key]
        if len(keyed) != 1 or keyed[0].kind is not Kind.INT or not free or target.kind != "r":
            return self._update(target, named=named)
        key, column = self.name(keyed[0].name), self.rng.choice(free)
        text, scope, item = self._item(target)
        alias = self.name(item.alias)
        set_ = f"{self.name(column.name)} = {self.literal(column.kind)}"
        matched = self.rng.choice((f"UPDATE SET {set_}", "DELETE", "DO NOTHING"))
        missing = self.rng.choice((f'INSERT ({key}) VALUES ("src"."n")', "DO NOTHING"))
        source = '(VALUES (1), (3), (777)) AS "src" ("n")'
        when = f"WHEN MATCHED AND {self.one(scope, Kind.BOOL, 1)} THEN {matched} WHEN NOT MATCHED THEN {missing}"
        return f'MERGE INTO {text} USING {source} ON {alias}.{key} = "src"."n" {when}', ()
