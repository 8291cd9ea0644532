"""`pgveil check`: findings of a policy against a database."""

from __future__ import annotations

from policies import classify, problems
from rewrite.catalog import Relation
from tests.unit.policies.support import policy, relation

BASE = """
version: 1
classes:
  phone: { level: C2, mask: { keep: { last: 4 } } }
  card: { level: C3, mask: redact }
columns: { bank.t.phone: phone, bank.t.card: card, %s }
rules:
"""
T = relation(1, "bank.t", "id:int4 phone card vip:bool tags:_text")


def found(rules: str, extra: str = "", *tables: Relation, roles: set[str] | None = None) -> list[str]:
    p = policy(BASE % extra + rules)
    relations = tables or (T,)
    return [str(x) for x in problems(p, classify(p, relations), relations, roles)]


def test_nothing_wrong() -> None:
    assert found("  - { name: r, role: x, columns: '*', rows: vip, show: clear }", roles={"x"}) == []


def test_entries_that_match_nothing() -> None:
    for name, why in (
        ("bank.t.vipp", "there is no column vipp (did you mean 'vip'?)"),
        ("bank.t.xyz", "there is no column xyz"),
        ("bank.tt.phone", "there is no table bank.tt"),
        ("banc.t.phone", "there is no schema banc (did you mean 'bank'?)"),
    ):
        assert found("  []", f"{name}: card") == [f"p1.yaml:6: warning: {name} matches no column of a table: {why}"]
    assert found("  []", "bank.*.gone: card") == ["p1.yaml:6: warning: bank.*.gone matches no column of a table"]


def test_attributes_that_nobody_has() -> None:
    rules = "  - { name: r, columns: '*', rows: 'phone = :user.brunch', show: clear }\n"
    assert found(rules + "attributes: { anyone: branch }") == [
        "p1.yaml:8: warning: rule 'r': nobody has an attribute 'brunch' (did you mean 'branch'?)"
    ]
    assert found(rules + "attributes: { user: { from: a.b } }") == []


def test_names_of_roles_and_columns_are_told_when_they_are_near() -> None:
    rules = "  - { name: r, role: teler, columns: '*', rows: vipp, show: clear }"
    assert found(rules, roles={"teller"}) == [
        "p1.yaml:8: warning: rule 'r' grants nothing there: bank.t has no column vipp (did you mean 'vip'?)",
        "p1.yaml:8: warning: rule 'r': the server has no role 'teler' (did you mean 'teller'?)",
    ]


def test_mask_and_type() -> None:
    assert found("  []", "bank.t.id: phone, bank.t.tags: phone") == [
        "p1.yaml:4: error: keep masks text, not int4; shown as NULL: bank.t.id",
        "p1.yaml:4: error: keep masks text, not arrays: use { each: … }; shown as NULL: bank.t.tags",
    ]
    assert found("  - { name: r, columns: class=phone, show: { round: 10 } }") == [
        "p1.yaml:8: error: rule 'r': round masks numbers, not text; shown as NULL: bank.t.phone"
    ]


def test_shadowed_rules() -> None:
    first = "  - { name: first, columns: level<=C3, show: clear }\n"
    second = "  - { name: second, role: x, columns: class=phone, show: mask }\n"
    assert found(first + second) == ["p1.yaml:9: warning: rule 'second' is never reached: 'first' comes before it"]
    assert found(second + first) == []
    assert found(first.replace("columns", "rows: vip, columns") + second) == []
    assert found(first.replace("columns", "role: y, columns") + second) == []
    assert len(found(first.replace("columns", "role: [x, y], columns") + second)) == 1
    assert found(first.replace("columns", "role: x, columns") + second.replace("role: x, ", "")) == []
    assert found(first.replace("level<=C3", "class=card") + second) == []
    timed = first.replace("columns", "when: {days: mon}, columns")
    assert found(timed + second) == []


def test_two_rules_together_shadow_a_third() -> None:
    rules = (
        "  - { name: a, columns: class=phone, show: clear }\n"
        "  - { name: b, columns: class=card, show: clear }\n"
        "  - { name: c, columns: '*', show: deny }\n"
    )
    assert found(rules) == ["p1.yaml:10: warning: rule 'c' is never reached: 'b' comes before it"]


def test_unknown_roles() -> None:
    rules = "  - { name: r, role: [x, y], user: z, columns: '*', show: clear }"
    assert found(rules, roles={"x"}) == [
        "p1.yaml:8: warning: rule 'r': the server has no role 'y'",
        "p1.yaml:8: warning: rule 'r': the server has no role 'z'",
    ]
    assert found(rules) == []


def test_selectors_that_select_nothing() -> None:
    rules = "  - { name: r, columns: [bank.t.id, level=C4, class=phone], show: clear }"
    assert found(rules) == [
        "p1.yaml:8: warning: rule 'r': bank.t.id names no sensitive column",
        "p1.yaml:8: warning: rule 'r': level=C4 names a level that no class has (there are C2, C3)",
    ]


def test_rows_of_tables_without_the_column() -> None:
    rules = "  - { name: r, columns: '*', rows: branch = 1, show: clear }"
    assert found(rules) == ["p1.yaml:8: warning: rule 'r' grants nothing there: bank.t has no column branch"]


def test_application_name_alone() -> None:
    rules = "  - { name: r, columns: '*', application_name: crm, show: clear }"
    assert [x for x in found(rules) if "any client can set application_name" in x] != []
    assert found(rules.replace("columns", "role: x, columns")) == []


def test_approvals_that_nobody_can_use() -> None:
    text = """\
  []
approvals:
  - { columns: [level=C3, bank.t.gone], approvers: [managr], requesters: [x], max: 1h }
policy_changes: { approvers: [manager, dpo] }
"""
    assert found(text, roles={"manager", "x"}) == [
        "p1.yaml:10: warning: approvals: bank.t.gone names no sensitive column: there is no column gone",
        "p1.yaml:10: warning: approvals: the server has no role 'managr' (did you mean 'manager'?)",
        "p1.yaml:11: warning: policy_changes: the server has no role 'dpo'",
    ]
