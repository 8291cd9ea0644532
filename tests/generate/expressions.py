"""Expressions of a wanted type over what is in scope. They raise no errors that depend on the order of evaluation.

Numeric expressions keep two decimals, so that equal values are written equally wherever rows are merged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.generate.names import Item, Scope, written
from tests.generate.schema import Column, Kind, Schema

COMPARABLE = (Kind.INT, Kind.NUM, Kind.TEXT, Kind.DATE, Kind.TIME, Kind.BOOL, Kind.ARRAY, Kind.BYTES, Kind.JSON)
SIMPLE = (Kind.INT, Kind.NUM, Kind.TEXT, Kind.DATE, Kind.BOOL)
_TEXTS = (
    "'13'", "'138****1111'", "'客'", "'%1%'", "'BJ'", "''", "'it''s'", "E'a\\'b'", "E'tab\\there'", "$$dollar$$", "$q$ $$ ' $q$",
    "U&'\\5BA2'", "'--'", "'/* no comment */'", "'\\'", "'from bank.customers'", "N'n'", "'*'", "text 'typed'", "'active'",
    "'x'::varchar",
    "CAST('abc' AS char(5))::text", "'$1'", "':x'",
)  # fmt: skip
_DATES = ("date '1970-01-01'", "'1980-06-15'::date", "CAST('2024-03-01' AS date)", "make_date(1990, 7, 15)", "'epoch'::date")


@dataclass(slots=True)
class Expressions:
    """One statement's expressions. `budget` limits its size."""

    rng: random.Random
    schema: Schema
    budget: int = 40
    parameters: list[str] | None = None
    """Values of $1, $2, ...; None where parameters are not possible."""
    subqueries: bool = field(default=True)

    # -- choosing -------------------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def name(self, name: str) -> str:
        return written(self.rng, name)

    def one(self, scope: Scope, kind: Kind, depth: int = 3) -> str:
        """An expression of the kind."""
        self.budget -= 1
        if depth <= 0 or self.budget <= 0 or self.chance(0.3):
            return self.leaf(scope, kind)
        if self.chance(0.08):
            return self._any_kind(scope, kind, depth - 1)
        if self.subqueries and self.budget > 8 and self.chance(0.05):
            found = self.scalar_subquery(scope, kind, depth - 1)
            if found is not None:
                return found
        makers = self._makers().get(kind)
        return self.rng.choice(makers)(scope, depth - 1) if makers else self.leaf(scope, kind)

    def leaf(self, scope: Scope, kind: Kind) -> str:
        return (self.column(scope, kind) if self.chance(0.8) else None) or self.literal(kind)

    def literal(self, kind: Kind) -> str:
        r = self.rng
        if kind is Kind.TEXT:
            text = r.choice(_TEXTS)
        elif kind is Kind.INT:
            text = r.choice((str(r.randrange(-3, 60)), "0", "1", "'7'::int", "+5", "NULL::int" if self.chance(0.1) else "2"))
        elif kind is Kind.NUM:
            text = r.choice(
                (
                    f"{r.randrange(0, 600000)}.{r.randrange(10, 99)}",
                    "10000.00",
                    "'120000.00'::numeric(20,2)",
                    "1e3::numeric(20,2)",
                )
            )
        elif kind is Kind.DATE:
            text = r.choice(_DATES)
        elif kind is Kind.TIME:
            text = "timestamptz '2024-01-01 00:00+00'"
        elif kind is Kind.BOOL:
            text = r.choice(("true", "false", "'t'::bool", "NULL::bool" if self.chance(0.2) else "true"))
        elif kind is Kind.JSON:
            text = r.choice(("'{\"a\": [1, 2]}'::jsonb", "'{}'::jsonb", "'[]'::jsonb", "jsonb_build_object('risk', 3)"))
        elif kind is Kind.ARRAY:
            text = r.choice(("ARRAY['a', 'gold']", "'{x,y}'::text[]", "ARRAY[]::text[]"))
        elif kind is Kind.BYTES:
            text = "'\\x0102'::bytea"
        else:
            text = "NULL"
        if self.parameters is not None and kind in (Kind.INT, Kind.TEXT, Kind.DATE) and self.chance(0.4):
            values = {Kind.INT: "3", Kind.TEXT: "138%", Kind.DATE: "1975-01-01"}
            self.parameters.append(values[kind])
            return f"${len(self.parameters)}::{kind.value}"
        return text

    # -- columns --------------------------------------------------------------------------------------------------------

    def column(self, scope: Scope, kind: Kind, *, own: bool = False) -> str | None:
        """A reference to a column of the kind in one of its ways to be written; None when there is none."""
        choices: list[tuple[Item, Column] | str] = []
        for number, level in enumerate(scope.up()):
            if own and number:
                break
            if level.leaves is not None:
                choices += [text for text, of in level.leaves if of is kind] if number == 0 else []
                continue
            found = [(i, c) for i in level.items for c in i.columns if c.kind is kind]
            choices += found * (4 if number == 0 else 1)
        for _ in range(4):
            if not choices:
                return None
            choice = self.rng.choice(choices)
            if isinstance(choice, str):
                return choice
            forms = self.forms(scope, *choice)
            if forms:
                return self.rng.choice(forms)
        return None

    def forms(self, scope: Scope, item: Item, column: Column) -> list[str]:
        """How a column of an item can be written here."""
        rng = self.rng
        out = []
        bare = scope.by_column(column.name)
        if len(bare) == 1 and bare[0] is item:
            out += [self.name(column.name)] * 3
        if sum(c.name == column.name for c in item.columns) > 1:
            return out
        if scope.by_alias(item.alias) is item:
            alias = self.name(item.alias)
            out += [f"{alias}.{self.name(column.name)}"] * 4
            if self.chance(0.1) and self.row_ok(scope, item):
                out += [f"({alias}).{self.name(column.name)}", f"({alias}.*).{self.name(column.name)}"]
                if column.name not in self.schema.taken and self.attributes(item):
                    out.append(f"{self.name(column.name)}({alias})")
            relation = item.relation
            if (
                relation is not None
                and not item.aliased
                and sum(i.relation is relation for s in scope.up() for i in s.items) == 1
            ):
                out.append(f"{written(rng, relation.schema)}.{written(rng, relation.name)}.{self.name(column.name)}")
        return out

    def attributes(self, item: Item) -> bool:
        return item.relation is not None

    def row_ok(self, scope: Scope, item: Item) -> bool:
        """The bare alias means the item's whole row here."""
        return item.row and scope.by_alias(item.alias) is item and not scope.by_column(item.alias)

    def row(self, scope: Scope) -> str | None:
        """A whole-row reference to an item of this level."""
        if scope.leaves is not None:
            return None
        items = [i for i in scope.items if self.row_ok(scope, i)]
        return self.name(self.rng.choice(items).alias) if items else None

    # -- kinds ----------------------------------------------------------------------------------------------------------

    def _makers(self) -> dict[Kind, tuple[Callable[[Scope, int], str], ...]]:
        return {
            Kind.INT: (self._int,),
            Kind.NUM: (self._num,),
            Kind.TEXT: (self._text, self._text, self._text_of),
            Kind.BOOL: (self._compare, self._compare, self._match, self._test, self._logic, self._in, self._rows),
            Kind.DATE: (self._date,),
            Kind.JSON: (self._json,),
            Kind.ARRAY: (self._array,),
        }

    def _any_kind(self, scope: Scope, kind: Kind, depth: int) -> str:
        def e() -> str:
            return self.one(scope, kind, depth)

        forms = [
            lambda: f"coalesce({e()}, {e()})",
            lambda: f"CASE WHEN {self.one(scope, Kind.BOOL, depth)} THEN {e()} ELSE {e()} END",
            lambda: f"({e()})",
        ]
        if kind in SIMPLE:
            forms += [
                lambda: f"nullif({e()}, {e()})",
                lambda: f"greatest({e()}, {e()})",
                lambda: f"least({e()}, {e()})",
                lambda: f"(ARRAY[{e()}, {e()}])[1]",
                lambda: f"CASE {self.one(scope, Kind.INT, depth)} WHEN 1 THEN {e()} WHEN 2 THEN {e()} END",
                lambda: f"CAST({e()} AS {kind.value})",
            ]
        return self.rng.choice(forms)()

    def _int(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"length({e(Kind.TEXT)})",
                lambda: f"({e(Kind.INT)} {self.rng.choice(('+', '-', '|', '#', 'OPERATOR(pg_catalog.+)'))} {e(Kind.INT)} % 7)",
                lambda: f"abs({e(Kind.INT)})",
                lambda: f"extract(year FROM {e(Kind.DATE)})::int",
                lambda: f"position('1' in {e(Kind.TEXT)})",
                lambda: f"cardinality({e(Kind.ARRAY)})",
                lambda: f"num_nulls({e(Kind.TEXT)}, {e(Kind.DATE)})",
                lambda: f"width_bucket({e(Kind.NUM)}, 0, 1000000, 10)",
                lambda: f"ascii({e(Kind.TEXT)})",
                lambda: f"({e(Kind.BOOL)})::int",
                lambda: f"({e(Kind.DATE)} - date '2000-01-01')",
                lambda: f"strpos({e(Kind.TEXT)}, '*')",
            )
        )()

    def _num(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind = Kind.NUM) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"({e()} {self.rng.choice('+-')} {e()})::numeric(20,2)",
                lambda: f"round({e()} / 3, 2)",
                lambda: f"round(abs({e()}), 2)",
                lambda: f"{e(Kind.INT)}::numeric(20,2)",
                lambda: f"(- {e()})::numeric(20,2)",
                lambda: f"trunc({e()} * 1.5, 2)",
            )
        )()

    def _text(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind = Kind.TEXT) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"({e()} || {e()})",
                lambda: f"upper({e()})",
                lambda: f"pg_catalog.lower({e()})",
                lambda: f"left({e()}, {self.rng.randrange(-2, 9)})",
                lambda: f"substring({e()} from 2 for 4)",
                lambda: f"substr({e()}, 4)",
                lambda: f"overlay({e()} placing '#' from 2)",
                lambda: f"trim(both '1' from {e()})",
                lambda: f"trim({e()})",
                lambda: f"replace({e()}, '*', {e()})",
                lambda: f"md5({e()})",
                lambda: f"format('%s-%s', {e()}, {e()})",
                lambda: f"concat_ws(',', {e()}, {e(Kind.INT)})",
                lambda: f"concat(VARIADIC ARRAY[{e()}, {e()}])",
                lambda: f"split_part({e()}, '*', 1)",
                lambda: f"lpad({e()}, 12, 'x')",
                lambda: f"reverse({e()})",
                lambda: f"translate({e()}, '0123', 'abcd')",
                lambda: f"regexp_replace({e()}, '[0-9]', '#', 'g')",
                lambda: f'({e()} COLLATE "C")',
                lambda: f"initcap({e()})",
                lambda: f"quote_literal({e()})",
                lambda: f"substring({e()} similar '%#\"1_#\"%' escape '#')",
                lambda: f"normalize({e()}, NFC)",
            )
        )()

    def _text_of(self, scope: Scope, depth: int) -> str:
        row = self.row(scope) if self.chance(0.3) else None
        if row is not None:
            return self.rng.choice((f"{row}::text", f"row_to_json({row})::text", f"to_jsonb({row})::text", f"concat({row})"))
        composite = self.column(scope, Kind.COMPOSITE) if self.chance(0.4) else None
        if composite is not None:
            return self.rng.choice((f"({composite}).phone", f"({composite}).email", f"({composite})::text"))

        def e(kind: Kind) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"{e(Kind.INT)}::text",
                lambda: f"CAST({e(Kind.NUM)} AS text)",
                lambda: f"to_char({e(Kind.DATE)}, 'YYYY-MM')",
                lambda: f"to_char({e(Kind.NUM)}, 'FM999999990.00')",
                lambda: f"{e(Kind.DATE)}::text",
                lambda: f"({e(Kind.JSON)} ->> 'risk')",
                lambda: f"({e(Kind.JSON)} #>> '{{a,0}}')",
                lambda: f"({e(Kind.ARRAY)})[1]",
                lambda: f"array_to_string({e(Kind.ARRAY)}, '/')",
                lambda: f"encode(convert_to({e(Kind.TEXT)}, 'UTF8'), 'hex')",
                lambda: f"encode({e(Kind.BYTES)}, 'base64')",
                lambda: f"({e(Kind.BOOL)})::text",
                lambda: f"jsonb_typeof({e(Kind.JSON)})",
                lambda: f"jsonb_pretty({e(Kind.JSON)})",
                lambda: f"to_json({e(Kind.TEXT)})::text",
                lambda: f"xmlserialize(content xmlelement(name x, xmlattributes({e(Kind.INT)} as i), {e(Kind.TEXT)}) as text)",
                lambda: f"xmlforest({e(Kind.TEXT)} as f)::text",
            )
        )()

    def _date(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind = Kind.DATE) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"({e()} + {self.rng.randrange(0, 400)})",
                lambda: f"date_trunc('month', {e()})::date",
                lambda: f"({e()} - interval '1 month 2 days')::date",
                lambda: f"(timestamp '2020-01-01 10:00' AT TIME ZONE 'UTC' + {e(Kind.INT)} % 9 * interval '1 day')::date",
            )
        )()

    def _json(self, scope: Scope, depth: int) -> str:
        row = self.row(scope) if self.chance(0.3) else None
        if row is not None:
            return self.rng.choice((f"to_jsonb({row})", f"row_to_json({row})::jsonb", f"jsonb_build_array({row})"))

        def e(kind: Kind) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"to_jsonb({e(Kind.TEXT)})",
                lambda: f"jsonb_build_object('k', {e(Kind.TEXT)}, 'n', {e(Kind.INT)})",
                lambda: f"({e(Kind.JSON)} || '{{\"z\": 1}}')",
                lambda: f"({e(Kind.JSON)} -> 'risk')",
                lambda: f"jsonb_path_query_array({e(Kind.JSON)}, '$.*')",
                lambda: f"jsonb_build_array({e(Kind.DATE)}, {e(Kind.NUM)})",
                lambda: f"array_to_json({e(Kind.ARRAY)})::jsonb",
                lambda: f"jsonb_strip_nulls({e(Kind.JSON)})",
            )
        )()

    def _array(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"ARRAY[{e(Kind.TEXT)}, {e(Kind.TEXT)}]",
                lambda: f"string_to_array({e(Kind.TEXT)}, '*')",
                lambda: f"array_append({e(Kind.ARRAY)}, {e(Kind.TEXT)})",
                lambda: f"regexp_split_to_array({e(Kind.TEXT)}, '1')",
                lambda: f"({e(Kind.ARRAY)} || {e(Kind.ARRAY)})",
                lambda: f"({e(Kind.ARRAY)})[1:2]",
            )
        )()

    # -- conditions -----------------------------------------------------------------------------------------------------

    def _compare(self, scope: Scope, depth: int) -> str:
        kind = self.rng.choice(SIMPLE)
        a, b = self.one(scope, kind, depth), self.one(scope, kind, depth)
        if self.subqueries and self.chance(0.1):
            found = self.column_subquery(scope, kind, depth)
            if found is not None:
                return f"({a} {self.rng.choice(('=', '<', '>=', '<>'))} {self.rng.choice(('ANY', 'ALL', 'SOME'))} ({found}))"
        forms = [f"{a} {self.rng.choice(('=', '<', '>', '<=', '>=', '<>', '!='))} {b}", f"{a} IS DISTINCT FROM {b}",
                 f"{a} IS NOT DISTINCT FROM {b}", f"{a} BETWEEN {b} AND {self.one(scope, kind, depth)}",
                 f"{a} NOT BETWEEN SYMMETRIC {b} AND {self.one(scope, kind, depth)}"]  # fmt: skip
        return f"({self.rng.choice(forms)})"

    def _match(self, scope: Scope, depth: int) -> str:
        a = self.one(scope, Kind.TEXT, depth)
        pattern = self.rng.choice(("'1%'", "'%**%'", "'_3%'", "'客%'", "'%@%'"))
        forms = (
            f"{a} LIKE {pattern}", f"{a} NOT LIKE {pattern} ESCAPE '!'", f"{a} ILIKE {pattern}", f"{a} ~ '^1[3-8]'",
            f"{a} !~* 'a'",
            f"{a} SIMILAR TO '(1|客)%'", f"starts_with({a}, '1')", f"{a} ~~ {pattern}", f"{a} ^@ '1'",
            f"{a} LIKE ANY (ARRAY[{pattern}, '2%'])",
        )  # fmt: skip
        return f"({self.rng.choice(forms)})"

    def _test(self, scope: Scope, depth: int) -> str:
        row = self.row(scope) if self.chance(0.15) else None
        if row is not None:
            return self.rng.choice(
                (f"({row} IS NOT NULL)", f"({row} IS NULL)", f"({row} = {row})", f"({row} IS DISTINCT FROM NULL)")
            )
        kind = self.rng.choice((*SIMPLE, Kind.JSON, Kind.ARRAY))
        a = self.one(scope, kind, depth)
        forms = [f"{a} IS NULL", f"{a} IS NOT NULL", f"{a} ISNULL"]
        if kind is Kind.BOOL:
            forms += [f"{a} IS TRUE", f"{a} IS NOT FALSE", f"{a} IS UNKNOWN"]
        if kind is Kind.JSON:
            forms += [f"{a} ? 'risk'", f"{a} @> '{{\"risk\": 1}}'", f"{a} ?| ARRAY['ssn', 'a']"]
        if kind is Kind.ARRAY:
            forms += [f"{a} @> ARRAY['gold']", f"{a} && ARRAY['gold', 'x']", f"{self.one(scope, Kind.TEXT, depth)} = ANY ({a})"]
        return f"({self.rng.choice(forms)})"

    def _logic(self, scope: Scope, depth: int) -> str:
        a, b = self.one(scope, Kind.BOOL, depth), self.one(scope, Kind.BOOL, depth)
        return self.rng.choice((f"({a} AND {b})", f"({a} OR {b})", f"(NOT {a})"))

    def _in(self, scope: Scope, depth: int) -> str:
        kind = self.rng.choice(SIMPLE[:4])
        a = self.one(scope, kind, depth)
        no = self.rng.choice(("", "NOT "))
        if self.subqueries and self.budget > 6 and self.chance(0.5):
            if self.chance(0.4):
                return f"({no}EXISTS ({self.any_subquery(scope, depth)}))"
            found = self.column_subquery(scope, kind, depth)
            if found is not None:
                return f"({a} {no}IN ({found}))"
        return f"({a} {no}IN ({self.one(scope, kind, depth)}, {self.literal(kind)}))"

    def _rows(self, scope: Scope, depth: int) -> str:
        def e(kind: Kind) -> str:
            return self.one(scope, kind, depth)

        return self.rng.choice(
            (
                lambda: f"(({e(Kind.INT)}, {e(Kind.TEXT)}) < ({e(Kind.INT)}, {e(Kind.TEXT)}))",
                lambda: f"(ROW({e(Kind.DATE)}, {e(Kind.INT)}) = ROW({e(Kind.DATE)}, {e(Kind.INT)}))",
                lambda: f"(({e(Kind.INT)}, {e(Kind.INT)}) IN ((1, 2), ({e(Kind.INT)}, 3)))",
                lambda: f"(({e(Kind.DATE)}, date '2030-01-01') OVERLAPS (date '1990-01-01', {e(Kind.DATE)}))",
                lambda: f"(ROW({e(Kind.TEXT)}, {e(Kind.DATE)}) IS DISTINCT FROM ROW({e(Kind.TEXT)}, {e(Kind.DATE)}))",
            )
        )()

    # -- what queries add -----------------------------------------------------------------------------------------------

    def scalar_subquery(self, scope: Scope, kind: Kind, depth: int) -> str | None:
        raise NotImplementedError

    def column_subquery(self, scope: Scope, kind: Kind, depth: int) -> str | None:
        raise NotImplementedError

    def any_subquery(self, scope: Scope, depth: int) -> str:
        raise NotImplementedError
