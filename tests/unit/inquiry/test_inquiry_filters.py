"""What a search answers is what plain Python finds in the records, for filters made at random."""

from __future__ import annotations

import fnmatch
import random
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from policies.language import level_key
from proxy.audit.values import DigestKeys, ValueDigest
from proxy.inquiry.filters import BadFilter, Filters, of_decisions
from tests.trail.people import LEVELS, card_of, id_card_of, phone_of
from tests.unit.inquiry.conftest import KEY, Made

ROUNDS = 60
_COLUMNS = ("bank.customers.phone", "customers.phone", "phone", "bank.cards.*", "*.full_name", "nothing")


def _like(wanted: tuple[str, ...], value: str | None, tails: str = "") -> bool:
    if value is None:
        return False
    return any(fnmatch.fnmatchcase(value, w) or (tails and fnmatch.fnmatchcase(value, f"*{tails}{w}")) for w in wanted)


def _touched(f: Filters, t: dict[str, Any]) -> bool:
    target = f"{t['relation']}.{t['column']}"
    return (
        (not f.table or _like(f.table, t["relation"], "."))
        and (not f.column or _like(f.column, target, "."))
        and (not f.data_class or _like(f.data_class, t["class"]))
        and (f.level is None or level_key(t["level"]) >= level_key(f.level))
        and (not f.use or t["use"] in f.use)
        and (not f.show or t["show"] in f.show)
        and (not f.rule or _like(f.rule, t["rule"]))
        and (not f.grant or t["grant"] in f.grant)
    )


def naive(f: Filters, d: dict[str, Any]) -> bool:
    moment = datetime.fromisoformat(d["time"])
    refusal = d["refusal"] or {}
    return (
        (not f.is_about_columns or any(_touched(f, t) for t in d["touches"]))
        and (not f.user or _like(f.user, d["person"], "/") or _like(f.user, d["login"]))
        and all(
            not wanted or _like(wanted, d[name])
            for name, wanted in (
                ("person", f.person), ("login", f.login), ("verdict", f.verdict), ("statement", f.statement),
                ("client", f.client), ("application", f.application), ("database", f.database),
            )
        )
        and (not f.sqlstate or _like(f.sqlstate, d["sqlstate"]) or _like(f.sqlstate, refusal.get("sqlstate")))
        and (f.since is None or moment >= f.since)
        and (f.until is None or moment < f.until)
        and (not f.digests or bool(set(f.digests) & {*d["values"], *(d["binds"] or ())}))
        and (f.text is None or re.search(f.text, d["text"]) is not None)
    )  # fmt: skip


def made_at_random(rng: random.Random, decisions: list[dict[str, Any]]) -> Filters:
    some = rng.choice(decisions)
    others = rng.choice(decisions)
    touch = rng.choice(some["touches"] or [{"relation": "x.y", "rule": None, "grant": None, "class": "phone", "column": "z"}])
    start = datetime.fromisoformat(some["time"])
    customer = rng.randrange(1, 2000)
    named = some["values"] + (some["binds"] or []) or [
        ValueDigest(DigestKeys.of(KEY).value)(make(customer)) for make in (phone_of, id_card_of, card_of)
    ]
    choices: dict[str, object] = {
        "user": (rng.choice((some["login"], some["person"], some["person"].rpartition("/")[2])),),
        "person": (some["person"], others["person"]),
        "login": (some["login"][:4] + "*",),
        "table": (rng.choice(("bank.customers", "cards", touch["relation"])),),
        "column": (rng.choice(_COLUMNS),),
        "data_class": (touch["class"], rng.choice(list(LEVELS))),
        "level": rng.choice(("C1", "C2", "C3", "C4")),
        "use": (rng.choice(("output", "filter", "sort")),),
        "show": (rng.choice(("clear", "mask", "conditional", "deny")),),
        "rule": (touch["rule"] or "grant *",),
        "grant": (rng.randrange(1, 24), rng.randrange(1, 24)),
        "verdict": (some["verdict"],),
        "statement": (some["statement"],),
        "sqlstate": (rng.choice(("42703", "42501", "42*")),),
        "client": (some["client"],),
        "application": (some["application"],),
        "database": (rng.choice(("bank", "other")),),
        "since": start,
        "until": start + timedelta(days=rng.randrange(20)),
        "digests": tuple(named[:2]),
        "text": rng.choice(("phone", r"^SELECT \*", "count|avg", "id = .1$")),
    }
    picked = rng.sample(list(choices), rng.choice((1, 1, 2, 2, 3, 4)))
    return Filters(**{name: choices[name] for name in picked})  # type: ignore[arg-type]


def test_a_search_finds_what_plain_python_finds(made: Made) -> None:
    rng = random.Random(20261101)
    found_some = 0
    decisions = made.decisions
    with made.index.reading() as connection:
        for _ in range(ROUNDS):
            f = made_at_random(rng, decisions)
            condition, values = of_decisions(connection, f)
            answer = connection.execute(f"SELECT worker, seq FROM decisions WHERE {condition}", values).fetchall()
            expected = {(d["worker"], d["seq"]) for d in decisions if naive(f, d)}
            assert len(answer) == len(set(answer))
            assert set(answer) == expected, f
            found_some += bool(expected)
    assert found_some > ROUNDS / 3


def test_networks(made: Made) -> None:
    with made.index.reading() as connection:
        condition, values = of_decisions(connection, Filters(client=("10.20.3.0/24", "10.30.0.99")))
        found = {c for (c,) in connection.execute(f"SELECT DISTINCT client FROM decisions WHERE {condition}", values).fetchall()}
    assert found == {d["client"] for d in made.decisions if d["client"].startswith("10.20.3.")} != set()


@pytest.mark.parametrize("given", [Filters(client=("10.0.0.0/99",)), Filters(text="(")])
def test_what_cannot_be_read_is_said(made: Made, given: Filters) -> None:
    with made.index.reading() as connection, pytest.raises(BadFilter):
        of_decisions(connection, given)
