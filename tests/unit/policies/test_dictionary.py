"""The dictionary laid over relations: which entry wins, who inherits, what stays out."""

from __future__ import annotations

from policies import Policy, classify
from rewrite.catalog import Relation
from tests.unit.policies.support import policy, relation

CLASSES = """
version: 1
classes:
  a: { level: C1, mask: redact }
  b: { level: C2, mask: redact }
  c: { level: C3, mask: redact }
"""


def classes(p: Policy, *relations: Relation) -> dict[str, str]:
    """`schema.table.column` -> class."""
    found = classify(p, relations)
    return {
        f"{r.schema}.{r.name}.{c.name}": found[r.oid, c.attnum].data_class.name
        for r in relations
        for c in r.columns
        if (r.oid, c.attnum) in found
    }


def test_fewest_wildcards_win_then_the_later() -> None:
    p = policy(CLASSES + 'columns: {bank.t.x: c, "*.*.x": a, "bank.*.x": b, "*.t.?": a, "b*k.*.y": a, "bank.?.y*": b}')
    assert classes(p, relation(1, "bank.t", "x y"), relation(2, "hr.t", "x"), relation(3, "bank.u", "x")) == {
        "bank.t.x": "c",
        "bank.t.y": "b",
        "hr.t.x": "a",
        "bank.u.x": "b",
    }


def test_names_are_case_sensitive_and_quotes_are_literal() -> None:
    p = policy(CLASSES + """columns: {bank."KYC.Records"."姓 名": a, 'bank."t*".x': b, bank.T.x: c}""")
    found = classes(p, relation(1, "bank.KYC.Records", "姓名"), relation(2, "bank.t1", "x"), relation(3, "bank.t*", "x"))
    assert found == {"bank.t*.x": "b"}
    odd = Relation(9, "bank", "KYC.Records", "r", "o", relation(9, "x.y", "z").columns)
    p = policy(CLASSES + """columns: {bank."KYC.Records".z: a}""")
    assert len(classify(p, [odd])) == 1


def test_system_schemas_are_meant_only_by_name() -> None:
    system = relation(1, "pg_catalog.pg_stats", "phone"), relation(2, "information_schema.phones", "phone")
    assert classes(policy(CLASSES + 'columns: {"*.*.phone": a}'), *system) == {}
    named = policy(CLASSES + 'columns: {"pg_catalog.*.phone": a}')
    assert classes(named, *system) == {"pg_catalog.pg_stats.phone": "a"}
    assert classes(policy(CLASSES + 'unclassified: {new_columns_of: ["*.*"]}'), *system) == {}


def test_kinds() -> None:
    relations = [relation(i, f"bank.t{k}", "x", kind=k) for i, k in enumerate("rpfmvSic", 1)]
    by_glob = classes(policy(CLASSES + 'columns: {"bank.*.x": a}'), *relations)
    assert set(by_glob) == {"bank.tr.x", "bank.tp.x", "bank.tf.x", "bank.tm.x"}
    named = classes(policy(CLASSES + 'columns: {"*.tv.x*": a, bank.tS.x: a, bank.ti.x: a, bank.tc.x: a}'), *relations)
    assert set(named) == {"bank.tv.x"}


def test_partitions_inherit_both_ways_over_the_whole_tree() -> None:
    root = relation(1, "bank.tx", "id x", kind="p")
    middle = relation(2, "bank.tx_2024", "x id", kind="p", parents=(1,))
    leaf = relation(3, "archive.tx_2024_01", "x id", parents=(2,))
    sibling = relation(4, "archive.tx_2023", "x id", parents=(1,))
    expected = {"bank.tx.x": "b", "bank.tx_2024.x": "b", "archive.tx_2024_01.x": "b", "archive.tx_2023.x": "b"}
    for name in ("bank.tx", "bank.tx_2024", "archive.tx_2024_01", "archive.tx_2023"):
        p = policy(CLASSES + f"columns: {{{name}.x: b}}")
        assert classes(p, root, middle, leaf, sibling) == expected, name


def test_own_entry_before_inheritance() -> None:
    parent, child = relation(1, "bank.p", "x"), relation(2, "bank.c", "x", parents=(1,))
    assert classes(policy(CLASSES + "columns: {bank.p.x: c, bank.c.x: a}"), parent, child) == {
        "bank.p.x": "c",
        "bank.c.x": "a",
    }


def test_public_by_wildcard_does_not_open_a_child() -> None:
    parent, child = relation(1, "bank.p", "x"), relation(2, "bank.c", "x", parents=(1,))
    by_glob = policy(CLASSES + 'columns: {bank.p.x: c, "bank.*.x": public}')
    assert classes(by_glob, parent, child) == {"bank.p.x": "c", "bank.c.x": "c"}
    by_name = policy(CLASSES + "columns: {bank.p.x: c, bank.c.x: public}")
    assert classes(by_name, parent, child) == {"bank.p.x": "c"}


def test_of_several_parents_the_strictest_counts() -> None:
    one, two = relation(1, "bank.one", "x"), relation(2, "bank.two", "x")
    child = relation(3, "bank.c", "x", parents=(1, 2))
    assert classes(policy(CLASSES + "columns: {bank.one.x: c, bank.two.x: b}"), one, two, child)["bank.c.x"] == "c"


def test_unclassified() -> None:
    p = policy(CLASSES + 'columns: {bank.t.x: a, bank.t.id: public}\nunclassified: {new_columns_of: ["bank.*"], show: mask}')
    table = relation(1, "bank.t", "id x y", kind="p")
    part = relation(2, "elsewhere.t_1", "id x y", parents=(1,))
    view = relation(3, "bank.v", "y", kind="v")
    other = relation(4, "hr.t", "y")
    assert classes(p, table, part, view, other) == {
        "bank.t.x": "a",
        "bank.t.y": "unclassified",
        "elsewhere.t_1.x": "a",
        "elsewhere.t_1.y": "unclassified",
    }


def test_entries_that_match_nothing() -> None:
    p = policy(CLASSES + 'columns: {bank.t.x: a, "*.*.x": b, bank.t.gone: c}')
    assert [e.pattern.source for e in classify(p, [relation(1, "bank.t", "x")]).unmatched] == ["bank.t.gone"]


def test_takes_the_catalogs_mapping() -> None:
    p = policy(CLASSES + "columns: {bank.t.x: a}")
    table = relation(1, "bank.t", "x")
    assert classify(p, {1: table}) == classify(p, [table])


def test_a_renamed_column_stays_what_it_was_until_the_policy_changes() -> None:
    p = policy(CLASSES + 'columns: {bank.t.x: c, "*.*.y": a}')
    first = classify(p, [relation(1, "bank.t", "x z"), relation(2, "bank.u", "x")])
    assert set(first) == {(1, 1)}
    moved = [relation(1, "archive.t_old", "w x"), relation(2, "bank.t", "x")]
    later = classify(p, moved, first)
    assert {key: later[key].data_class.name for key in later} == {(1, 1): "c", (2, 1): "c"}
    assert later.kept == ("archive.t_old.w",)
    back = classify(p, [relation(1, "bank.t", "x z"), relation(2, "bank.u", "x")], later)
    assert (set(back), back.kept) == ({(1, 1)}, ())
    assert set(classify(p, moved)) == {(2, 1)}


def test_swapped_columns_are_both_protected() -> None:
    p = policy(CLASSES + "columns: {bank.t.x: c}")
    swapped = classify(p, [relation(1, "bank.t", "z x")], classify(p, [relation(1, "bank.t", "x z")]))
    assert set(swapped) == {(1, 1), (1, 2)}


def test_a_new_column_is_remembered_and_a_dropped_one_forgotten() -> None:
    p = policy(CLASSES + "columns: {bank.t.x: c, bank.t.y: a}")
    grown = classify(p, [relation(1, "bank.t", "x y")], classify(p, [relation(1, "bank.t", "x")]))
    renamed = classify(p, [relation(1, "bank.t", "v w")], grown)
    assert {key: renamed[key].data_class.name for key in renamed} == {(1, 1): "c", (1, 2): "a"}
    assert set(classify(p, [relation(1, "bank.t", "v")], renamed)) == {(1, 1)}
