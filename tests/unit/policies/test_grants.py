"""Grants as the policy sees them: who may decide, what still needs somebody's word, and what a grant shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.approvals import Grant, Target, Vote, missing_votes, offer, same_person, seconds_of, span
from policies.decide import compile_profile
from policies.dictionary import classify
from policies.model import Decision
from policies.predicate import Predicate, parse_predicate
from tests.unit.policies.support import Who, policy, relation

BASE = """
version: 1
classes:
  phone: { level: C2, mask: { keep: { last: 4 } } }
  card: { level: C3, mask: redact }
columns: { bank.t.phone: phone, bank.t.card: card }
rules:
  - { name: nobody, columns: [class=card], show: deny }
approvals:
  - { columns: [level=C3], approvers: [dpo], need: 2, max: 4h }
  - { columns: [level<=C2], requesters: [desk], approvers: [manager], same: [branch], max: 1d }
"""
T = relation(1, "bank.t", "id:int4 phone card")
PHONE = Target("bank", "t", "phone", "phone", "C2", 1, 2)
CARD = Target("bank", "t", "card", "card", "C3", 1, 3)
WHO = Who()
GRANT = Grant(7, "li", "bank", (PHONE,), None, WHO.now + 60, None)
DESK = frozenset({"desk"})


def vote(person: str, *roles: str, **attributes: str) -> Vote:
    return Vote(person, frozenset(roles), attributes)


def decided(*grants: Grant, text: str = BASE, column: int = 2) -> Decision:
    p = policy(text)
    profile = compile_profile(p, classify(p, (T,)), (T,), replace(WHO.context(), grants=grants))
    assert profile.valid_until == min((g.until for g in grants if g.until > WHO.now), default=None)
    return profile.decisions[1][column]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2 hours", 7200),
        ("30 min", 1800),
        ("1 day 12h", 129600),
        ("1.5 h", 5400),
        ("90", None),
        ("soon", None),
        ("", None),
        ("0 s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_durations_in_words() -> None:
    assert [span(s) for s in (0, 59, 3600, 86400, 129600, 90061)] == ["0 s", "59 s", "1 h", "1 day", "1 day 12 h", "1 day 1 h"]


def test_who_may_ask() -> None:
    p = policy(BASE)
    assert offer(p, PHONE, frozenset()) is None
    assert offer(p, PHONE, DESK) is p.approvals[1]
    assert offer(p, CARD, frozenset()) is p.approvals[0]
    assert offer(p, replace(PHONE, data_class="gone"), DESK) is None


@pytest.mark.parametrize(
    ("votes", "missing"),
    [
        ([], ["2 more of dpo"]),
        ([vote("a", "dpo")], ["1 more of dpo"]),
        ([vote("a", "dpo"), vote("a", "dpo")], ["1 more of dpo"]),
        ([vote("a", "dpo"), vote("li", "dpo")], ["1 more of dpo"]),
        ([vote("a", "dpo"), vote("b", "manager")], ["1 more of dpo"]),
        ([vote("a", "dpo"), vote("b", "dpo")], []),
    ],
)
def test_two_pairs_of_eyes(votes: list[Vote], missing: list[str]) -> None:
    assert missing_votes([policy(BASE).approvals[0]], votes, "li", {}) == missing


@pytest.mark.parametrize(
    ("requester", "approver", "enough"),
    [("N", "N", True), ("N", "S", False), ("", "", False), ("N", "", False), ("", "N", False)],
)
def test_the_same_branch(requester: str, approver: str, enough: bool) -> None:
    """Who has no branch has none in common."""
    votes = [vote("a", "manager", branch=approver) if approver else vote("a", "manager")]
    attributes = {"branch": requester} if requester else {}
    assert (missing_votes([policy(BASE).approvals[1]], votes, "li", attributes) == []) is enough


def test_a_grant_comes_before_all_rules() -> None:
    assert decided().show == "mask"
    assert (decided(GRANT).show, decided(GRANT).rule) == ("clear", "grant 7")
    assert decided(replace(GRANT, targets=(CARD,)), column=3).show == "clear"


@pytest.mark.parametrize(
    "grant",
    [
        replace(GRANT, until=WHO.now),
        replace(GRANT, left=0),
        replace(GRANT, targets=(replace(PHONE, data_class="card", level="C3"),)),
        replace(GRANT, targets=(replace(PHONE, level="C1"),)),
        replace(GRANT, targets=(replace(PHONE, relation="u"),)),
    ],
)
def test_a_grant_that_shows_nothing(grant: Grant) -> None:
    """It is over or used up, or the column is no longer what it was when somebody asked for it."""
    assert decided(grant).show == "mask"


def test_what_the_policy_no_longer_offers_no_grant_shows() -> None:
    assert decided(GRANT, text=BASE.replace("level<=C2", "level<=C1")).show == "mask"


def test_some_rows() -> None:
    rows = parse_predicate("id = 1")
    assert isinstance(rows, Predicate)
    found = decided(replace(GRANT, rows=rows), replace(GRANT, id=8, left=3))
    assert [(b.rows, b.rule) for b in found.branches] == [("id = 1", "grant 7"), ("true", "grant 8"), (None, None)]


def test_another_table_or_column_of_that_name_is_not_meant() -> None:
    for other in (replace(PHONE, relation_oid=2), replace(PHONE, attnum=3)):
        assert decided(replace(GRANT, targets=(other,))).show == "mask"


def test_spellings_of_one_name_are_one_person() -> None:
    for other in ("LI", " li", "ｌｉ", "l i"):
        assert same_person("li", other)
    assert not same_person("li", "lin")
