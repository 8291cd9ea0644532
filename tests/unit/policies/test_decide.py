"""Decisions: first match, row branches, conditions, and that doubt shows less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import Policy, classify, compile_profile, explain
from policies.model import Decision, Profile, Show
from rewrite.catalog import Relation
from tests.unit.policies.support import Who, policy, relation

BASE = """
version: 1
classes:
  phone: { level: C2, mask: { keep: { last: 4 } } }
  card: { level: C3, mask: redact }
  money: { level: C1, mask: { round: 1000 } }
columns: { bank.t.phone: phone, bank.t.card: card, bank.t.balance: money }
rules:
"""
T = relation(1, "bank.t", "id:int4 phone card balance:numeric branch vip:bool")
OTHER = relation(2, "bank.u", "phone2")


def compiled(p: Policy, who: Who = Who(), *tables: Relation, **attributes: str) -> Profile:  # noqa: B008
    relations = tables or (T,)
    return compile_profile(p, classify(p, relations), relations, who.context(**attributes))


def phone(rules: str, who: Who = Who(), **attributes: str) -> Decision:  # noqa: B008
    return compiled(policy(BASE + rules), who, **attributes).decisions[1][2]


def shown(decision: Decision) -> list[tuple[str | None, str]]:
    return [(b.rows, b.mask.name if b.mask is not None else b.show.value) for b in decision.branches]


def rule(name: str, rest: str) -> str:
    return f"  - {{ name: {name}, {rest} }}\n"


def test_default_is_the_mask_of_the_class() -> None:
    profile = compiled(policy(BASE + "  []"))
    assert {a: shown(d) for a, d in profile.decisions[1].items()} == {
        2: [(None, "keep")],
        3: [(None, "redact")],
        4: [(None, "round")],
    }
    assert profile.decisions[1][2].rule is None
    assert (profile.decisions[1][3].data_class, profile.decisions[1][3].level) == ("card", "C3")
    assert profile.masked


def test_first_match_wins() -> None:
    rules = rule("one", "role: x, columns: '*', show: redact") + rule("two", "columns: '*', show: clear")
    assert shown(phone(rules, Who(roles=("x",)))) == [(None, "redact")]
    assert shown(phone(rules)) == [(None, "clear")]
    assert phone(rules).rule == "two"


def test_masked_only_when_something_is() -> None:
    everything = policy(BASE + rule("all", "columns: '*', show: clear"))
    assert not compiled(everything).masked
    some = policy(BASE + rule("all", "columns: level<=C2, show: clear"))
    assert compiled(some).masked
    rows = policy(BASE + rule("all", "columns: '*', rows: vip, show: clear"))
    assert compiled(rows).masked


def test_system_relations_do_not_make_a_session_masked() -> None:
    p = policy(BASE.replace("bank.t.", "pg_catalog.t.") + "  []")
    profile = compiled(p, Who(), relation(1, "pg_catalog.t", "id:int4 phone card balance:numeric"))
    assert len(profile.decisions[1]) == 3
    assert not profile.masked


def test_row_rules_make_branches_and_the_search_goes_on() -> None:
    rules = (
        rule("own", "role: m, columns: '*', rows: 'branch = :user.branch', show: clear")
        + rule("vip", "role: m, columns: '*', rows: vip, show: null")
        + rule("rest", "role: m, columns: class=phone, show: redact")
    )
    who = Who(roles=("m",))
    assert shown(phone(rules, who, branch="SH'1")) == [
        ("branch = 'SH''1'", "clear"),
        ("vip", "null"),
        (None, "redact"),
    ]
    assert phone(rules, who, branch="x").show == "conditional"
    profile = compiled(policy(BASE + rules), who, branch="x")
    assert shown(profile.decisions[1][3]) == [("branch = 'x'", "clear"), ("vip", "null"), (None, "redact")]
    assert profile.decisions[1][3].branches[-1].rule is None


@pytest.mark.parametrize(
    ("show", "expected"),
    [("clear", [(None, "clear")]), ("redact", [(None, "clear")]), ("mask", [(None, "keep")]), ("deny", [(None, "deny")])],
)
@pytest.mark.parametrize("rows", ["'branch = :user.branch'", "not no_such_column"])
def test_doubt_about_rows_never_shows_more(show: str, rows: str, expected: list[tuple[str | None, str]]) -> None:
    rules = rule("doubt", f"columns: '*', rows: {rows}, show: {show}") + rule("after", "columns: '*', show: clear")
    assert shown(phone(rules)) == expected


def test_doubt_does_not_undo_a_later_deny() -> None:
    rules = rule("doubt", "columns: '*', rows: 'x = 1', show: mask") + rule("after", "columns: '*', show: deny")
    assert shown(phone(rules)) == [(None, "deny")]


@pytest.mark.parametrize(
    ("condition", "who", "holds"),
    [
        ("role: [a, b]", Who(roles=("b", "c")), True),
        ("role: [a, b]", Who(roles=("c",)), False),
        ("role: li", Who(user="li"), True),
        ("user: li", Who(user="li"), True),
        ("user: li", Who(user="wang", roles=("li",)), False),
        ("database: [bank, crm]", Who(database="crm"), True),
        ("database: bank", Who(database="Bank"), False),
        ("application_name: 'col*'", Who(application_name="collect 1"), True),
        ("when: {app: psql}", Who(application_name="psql2"), False),
        ("network: 10.0.0.0/8", Who(client_address="10.9.8.7"), True),
        ("network: 10.0.0.0/8", Who(client_address="::ffff:10.9.8.7"), True),
        ("network: [11.0.0.0/8, '::1/128']", Who(client_address="::1"), True),
        ("network: 10.0.0.0/8", Who(client_address="11.0.0.1"), False),
        ("network: 0.0.0.0/0", Who(client_address=None), False),
        ("network: 0.0.0.0/0", Who(client_address="not an address"), False),
        ("role: a, user: li", Who(roles=("a",)), True),
        ("role: a, user: wang", Who(roles=("a",)), False),
        ("when: {time: '00:00-12:00', timezone: UTC}", Who(now=3600.0), True),
        ("when: {time: '00:00-12:00', timezone: UTC}", Who(now=13 * 3600.0), False),
        ("when: {days: thu}", Who(now=0.0), True),
        ("when: {days: fri}", Who(now=0.0), False),
    ],
)
def test_conditions(condition: str, who: Who, holds: bool) -> None:
    decision = phone(rule("r", f"{condition}, columns: '*', show: clear"), who)
    assert decision.is_clear is holds


@pytest.mark.parametrize(
    ("selector", "columns"),
    [
        ("*", {2, 3, 4}),
        ("level<=C2", {2, 4}),
        ("level < C2", {4}),
        ("level=C3", {3}),
        ("level>=C2", {2, 3}),
        ("class=card", {3}),
        ("bank.*.*", {2, 3, 4}),
        ("bank.t.ph*", {2}),
        ("bank.u.*", set()),
        ("*.t.id", set()),
    ],
)
def test_selectors(selector: str, columns: set[int]) -> None:
    p = policy(BASE + rule("r", f"columns: ['{selector}'], show: clear"))
    assert {a for a, d in compiled(p).decisions[1].items() if d.is_clear} == columns


def test_unclassified_is_above_every_level() -> None:
    extra = '\nunclassified: { new_columns_of: ["bank.*"], show: deny }'
    low = policy(BASE + rule("r", "columns: level<=C9, show: clear") + extra)
    assert compiled(low).decisions[1][1].is_denied
    high = policy(BASE + rule("r", "columns: level>=C3, show: clear") + extra)
    assert compiled(high).decisions[1][1].is_clear


def test_a_mask_that_does_not_suit_shows_null() -> None:
    p = policy(BASE + rule("r", "columns: '*', show: {truncate: year}"))
    assert shown(compiled(p).decisions[1][4]) == [(None, "null")]


def test_the_dictionarys_own_mask() -> None:
    text = BASE.replace("bank.t.phone: phone", "bank.t.phone: {class: phone, mask: redact}")
    assert shown(compiled(policy(text + "  []")).decisions[1][2]) == [(None, "redact")]
    masked = policy(text + rule("r", "columns: '*', show: mask"))
    assert shown(compiled(masked).decisions[1][2]) == [(None, "redact")]


def test_valid_until_looks_at_rules_that_may_apply() -> None:
    window = "when: {time: '08:00-09:00'}, columns: '*', show: clear"
    assert compiled(policy(BASE + rule("r", window)), Who(now=0.0)).valid_until == 8 * 3600
    both = rule("r", window) + rule("s", window.replace("08:00", "07:00"))
    assert compiled(policy(BASE + both), Who(now=0.0)).valid_until == 7 * 3600
    assert compiled(policy(BASE + rule("r", f"role: other, {window}")), Who(now=0.0)).valid_until is None


def test_equal_decisions_have_equal_keys() -> None:
    p = policy(BASE + rule("r", "role: x, columns: '*', rows: 'branch = :user.branch', show: clear"))
    plain = compiled(p).key
    assert compiled(p, Who(user="wang", application_name="other")).key == plain
    one = compiled(p, Who(roles=("x",)), branch="1").key
    assert one != plain
    assert compiled(p, Who(roles=("x",)), branch="2").key != one
    assert compiled(p, Who(roles=("x", "y")), branch="1").key == one


def test_keys_tell_masks_and_functions_apart() -> None:
    texts = ["  []", "  []\nfunctions: {allow: [bank.fx]}", "  []\nfunctions: {trust_extensions: [fx]}"]
    texts += [rule("r", f"columns: '*', show: {s}") for s in ("{keep: {first: 1}}", "{keep: {first: 2}}", "deny", "mask")]
    texts += [rule("q", "columns: '*', show: mask")]
    assert len({compiled(policy(BASE + t)).key for t in texts}) == len(texts)


def test_functions_and_extensions_go_along() -> None:
    profile = compiled(policy(BASE + "  []\nfunctions: {allow: [bank.fx], trust_extensions: [pgmath]}"))
    assert (profile.functions, profile.extensions) == ({"bank.fx"}, {"pgmath"})


def test_explain() -> None:
    rules = (
        rule("night", "when: {time: '22:00-23:00'}, columns: '*', show: clear")
        + rule("others", "role: x, columns: '*', show: clear")
        + rule("cards", "columns: class=card, show: clear")
        + rule("own", "columns: '*', rows: vip, show: clear")
        + rule("branch", "columns: '*', rows: 'branch = :user.branch', show: clear")
        + rule("end", "columns: level<=C2, show: deny")
        + rule("late", "columns: '*', show: clear")
    )
    p = policy(BASE + rules)
    steps = explain(p, classify(p, [T]), [T], Who(now=0.0).context(), 1, 2)
    assert [(s.rule, s.matched, s.why) for s in steps] == [
        ("night", False, "holds only at 22:00-23:00 UTC, where it is thu 00:00"),
        ("others", False, "for members of x"),
        ("cards", False, "for columns class=card"),
        ("own", True, "shows clear where vip"),
        ("branch", False, "the user has no attribute branch"),
        ("end", True, "shows deny"),
        ("late", False, "an earlier rule has decided"),
        (None, False, "an earlier rule has decided: default of class phone"),
    ]
    assert explain(p, classify(p, [T]), [T], Who().context(), 1, 1) == []


def test_show_values_of_branches() -> None:
    for branch in phone(rule("r", "columns: '*', rows: vip, show: deny")).branches:
        assert (branch.mask is not None) == (branch.show is Show.MASK)


@pytest.mark.parametrize(
    ("rules", "always"),
    [
        (rule("all", "columns: ['*'], show: clear"), True),
        (rule("me", "user: anna, columns: ['*'], show: clear"), True),
        (rule("role", "role: teller, columns: ['*'], show: clear"), False),
        (rule("some", "columns: [level<=C3], show: clear"), False),
        (rule("here", "columns: ['*'], rows: vip, show: clear"), False),
        (rule("first", "columns: [class=phone], show: clear") + rule("all", "columns: ['*'], show: clear"), False),
        (rule("other", "user: bert, columns: ['*'], show: deny") + rule("all", "columns: ['*'], show: clear"), True),
        (rule("now", "columns: ['*'], when: { days: mon-sun }, show: clear"), False),
    ],
)
def test_what_is_clear_whatever_relations_there_are(rules: str, always: bool) -> None:
    who = Who(user="anna", roles=("teller",))
    assert compiled(policy(BASE + rules), who).always_clear is always


@pytest.mark.parametrize(("tls", "seen"), [(True, "clear"), (False, "deny")])
def test_encrypted_or_not(tls: bool, seen: str) -> None:
    p = policy(
        BASE
        + """\
  - { name: inside, tls: true, columns: [class=phone], show: clear }
  - { name: outside, when: { tls: false }, columns: [class=phone], show: deny }
"""
    )
    profile = compile_profile(p, classify(p, (T,)), (T,), replace(Who().context(), tls=tls))
    assert profile.decisions[1][2].show == seen


def test_a_policy_that_lists_nothing_is_always_clear() -> None:
    nothing = "version: 1\nclasses: {}\n"
    assert compiled(policy(nothing)).always_clear
    assert not compiled(policy(nothing + "unclassified: { new_columns_of: ['bank.*'], show: mask }\n"), Who(), OTHER).always_clear


@pytest.mark.parametrize(
    ("entries", "relation_name", "may"),
    [
        ("bank.t.phone: phone", "bank.t", True),
        ("bank.t.phone: phone", "bank.u", False),
        ('"bank.*.phone": phone', "bank.u", True),
        ('"bank.*.phone": phone', "shop.u", False),
        ('"*.*.phone": phone', "pg_catalog.u", False),
        ("bank.u.phone: public", "bank.u", False),
    ],
)
def test_which_relations_the_policy_reaches(entries: str, relation_name: str, may: bool) -> None:
    classes = "version: 1\nclasses: { phone: { level: C2, mask: { keep: { last: 4 } } } }\n"
    profile = compiled(policy(f"{classes}columns:\n  {entries}\n"))
    assert profile.may_classify(*relation_name.split(".")) is may


def test_new_columns_that_nobody_has_reviewed_reach_their_relations() -> None:
    profile = compiled(
        policy("version: 1\nclasses: {}\nunclassified: { new_columns_of: ['bank.u*'], show: mask }\n"), Who(), OTHER
    )
    assert profile.may_classify("bank", "users")
    assert not profile.may_classify("bank", "t")
