"""The fixtures' statements, changed: other names and operators in their place, wrapped in other statements, written
differently."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from rewrite.pgtree import ParseError, parse, tokens
from tests.fixtures.rewrite import Case as Fixture
from tests.fixtures.rewrite import cases
from tests.generate.noise import noisy
from tests.generate.statements import Case, Step

_ORDER_MATTERS = re.compile(
    r"\b(limit|fetch|offset|distinct\s+on|row_number|lag|lead|first_value|last_value|nth_value|ntile|array_agg|string_agg|json_agg|jsonb_agg|"
    r"xmlagg|random|now|clock_timestamp|current_timestamp|tablesample|ctid|xmin|xmax|tableoid|mode|explain|version|for\s+update|nextval|"
    r"pg_\w+|information_schema|exists|current_\w+|txid_\w+|array|copy|prepare|execute|declare|oid|phone_t)\b",
    re.I,
)
_SWAPS = (
    ("and", "or"), ("left", "right", "inner", "full"), ("union", "except", "intersect"), ("asc", "desc"), ("=", "<>", "<",
    ">"), ("+", "-"),
    ("min", "max"), ("upper", "lower", "md5"), ("true", "false"), ("any", "all"), ("rollup", "cube"), ("sum", "max", "count"),
)  # fmt: skip
_NAMES = (
    "id", "name", "phone", "email", "branch", "balance", "c", "a", "customers", "accounts", "bank", "archive", "corporate",
    "v_contact",
    "contact", "vip", "profile", "birthday", "x", "t", '"Phone"', '"Customers"', "public", "status", "number", "code", "branches",
)  # fmt: skip


def _wraps(query: str, rng: random.Random) -> list[Callable[[], tuple[Step, ...]]]:
    def one(text: str, **more: bool) -> tuple[Step, ...]:
        return (Step(text, **more),)

    return [
        lambda: one(f"SELECT * FROM ({query}) AS q"),
        lambda: one(f"WITH customers AS ({query}) SELECT * FROM customers"),
        lambda: one(f"WITH q AS MATERIALIZED ({query}) TABLE q"),
        lambda: one(f"SELECT count(*) FROM ({query}) AS phone"),
        lambda: one(f"SELECT q FROM ({query}) AS q"),
        lambda: one(f"SELECT to_jsonb(q) FROM ({query}) q"),
        lambda: one(f"({query}) UNION ALL ({query})"),
        lambda: one(f"SELECT EXISTS ({query})"),
        lambda: one(f"SELECT b.code, q.* FROM bank.branches b LEFT JOIN LATERAL ({query}) q ON true"),
        lambda: one(f"SELECT (SELECT count(*) FROM ({query}) AS q) AS n, c.phone FROM bank.customers c"),
        lambda: one(f"EXPLAIN {query}", values=False),
        lambda: one(f"COPY ({query}) TO STDOUT"),
        lambda: (Step(f"PREPARE p AS {query}"), Step("EXECUTE p"), Step("DEALLOCATE p")),
        lambda: (Step(f"DECLARE c CURSOR FOR {query}"), Step("FETCH ALL FROM c"), Step("CLOSE c")),
        lambda: (Step(f"CREATE TEMP TABLE tmp AS {query}"), Step("SELECT * FROM tmp")),
        lambda: one(f"{query};{query}"),
        lambda: one(query),
    ]


class Mutator:
    """Changed fixtures, in the same order for the same seed."""

    def __init__(self) -> None:
        self.fixtures = [f for f in cases() if _usable(f)]

    def case(self, seed: int, number: int) -> Case:
        rng = random.Random(f"mutate/{seed}/{number}")
        fixture = rng.choice(self.fixtures)
        text = fixture.statement.strip().rstrip(";")
        try:
            kinds = [s.kind for s in parse(text)]
        except ParseError:
            kinds = []
        if rng.random() < 0.75 and not _ORDER_MATTERS.search(text):
            text = _changed(rng, text)
        steps: tuple[Step, ...] = (Step(text, values=not text.lower().lstrip().startswith("explain")),)
        if kinds == ["SelectStmt"] and rng.random() < 0.7 and " into " not in text.lower():
            steps = rng.choice(_wraps(text, rng))()
        if rng.random() < 0.3:
            steps = tuple(Step(noisy(rng, s.text, 0.2), s.parameters, s.ordered, s.values) for s in steps)
        return Case(steps, tuple(p for p in fixture.names("path") if p != "pg_temp"), str(fixture))


def _usable(fixture: Fixture) -> bool:
    return not (
        fixture.get("before")
        or fixture.get("temp")
        or fixture.get("compare")
        or fixture.file in ("settings", "system_catalogs", "lexing")
        or fixture.expected.startswith("NEED")
        or re.search(r"minibank\.|\bpg_|search_path|listen|notify", fixture.statement, re.I)
    )


def _changed(rng: random.Random, text: str) -> str:
    """One to three tokens exchanged, dropped or doubled."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            found = tokens(text)
        except ParseError:
            return text
        raw = text.encode()
        token = rng.choice(found)
        word = token.text.lower()
        group = next((g for g in _SWAPS if word in g), None)
        if group is not None:
            new = rng.choice(group)
        elif re.fullmatch(r"[a-z_]\w*|\".*\"", word) and word in _NAMES:
            new = rng.choice(_NAMES)
        elif word.isdigit():
            new = str(rng.randrange(0, 12))
        elif word.startswith("'"):
            new = rng.choice(("'BJ'", "'1%'", "''", "'2024-01-01'"))
        else:
            continue
        changed = raw[: token.start].decode() + new + raw[token.end :].decode()
        if not _ORDER_MATTERS.search(changed):
            text = changed
    return text
