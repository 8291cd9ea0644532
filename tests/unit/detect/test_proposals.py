"""Proposals: what is written, that the loader takes it, and that nobody's decision is touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from policies.detect import Finding
from policies.detect.dictionary import Dictionary, Found, class_for, column_key, column_lines, extend_file, new_file
from policies.document import DocumentError, parse_document
from policies.language import DataClass, Policy
from policies.load import build_policy, load_policy
from policies.model import ColumnType
from policies.standards import STANDARDS

TEXT = ColumnType("text", "S", "pg_catalog.text")
JSONB = ColumnType("jsonb", "U", "pg_catalog.jsonb")
BIGINT = ColumnType("int8", "N", "pg_catalog.int8")
ARRAY = ColumnType("_text", "A", "pg_catalog.text[]")
SOURCE = STANDARDS["jrt-0171"]


def dictionary(existing: Mapping[str, DataClass] | None = None) -> Dictionary:
    return Dictionary(existing or {}, load_policy([SOURCE]).classes, SOURCE.read_text(encoding="utf-8"))


def column(name: str, kind: str, confidence: float = 0.9, of: ColumnType = TEXT, **paths: str) -> Found:
    inner = {tuple(p.split("__")): Finding(k, 0.9, "r") for p, k in paths.items()}
    return Found("bank", "customers", name, of, Finding(kind, confidence, "name x", paths=inner), 10)


def written(*columns: Found) -> tuple[str, Policy]:
    used = dictionary()
    text = new_file(["heading"], used, *column_lines(columns, used, public=False))
    return text, build_policy([parse_document(text)], "v")


def entry(policy: Policy, name: str) -> tuple[str, str]:
    found = next(e for e in policy.entries if e.pattern.source.endswith(name))
    return found.data_class, repr(found.mask)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("bank", "customers", "phone"), "bank.customers.phone"),
        (("bank", "Customers", "手机"), "bank.Customers.手机"),
        (("my bank", "a.b", "c*"), """'"my bank"."a.b"."c*"'"""),
        (("s", 'quo"te', "it's"), """'s."quo""te".it''s'"""),
        (("2024", "t-1", "#x"), "'2024.t-1.#x'"),
        (("null", "t", "yes"), "null.t.yes"),
    ],
)
def test_keys(names: tuple[str, str, str], key: str) -> None:
    assert column_key(*names) == key
    text = f"version: 1\nclasses: {{ c: {{ level: 1, mask: null }} }}\ncolumns:\n  {key}: c\n"
    policy = build_policy([parse_document(text)], "v")
    assert policy.entries[0].pattern.matches(*names)
    assert policy.entries[0].pattern.wildcards == 0


def test_a_new_file_loads_and_has_the_classes_with_their_clauses() -> None:
    text, policy = written(column("phone", "phone"), column("cvv", "cvv"), column("maybe", "email", 0.4))
    assert set(policy.classes) == {"phone", "cvv"}
    assert "# 4.2, C2: mobile number (手机号码)" in text
    assert "  # bank.customers.maybe: email   # 0.40 name x" in text
    assert [e.pattern.source for e in policy.entries] == ["bank.customers.phone", "bank.customers.cvv"]


def test_masks_suit_the_type() -> None:
    _, policy = written(
        column("a", "phone", of=BIGINT),
        column("b", "phone", of=ARRAY),
        column("c", "birthday"),
        column("d", "profile", of=JSONB, id="id_card", contact__home="address", tags__0="email"),
        column("e", "profile", id="id_card"),
        column("f", "profile", of=JSONB, **{"list__[]__tel": "phone", "*": "phone"}),
        column("g", "card_no", of=ARRAY),
    )
    assert entry(policy, ".a") == ("phone", "Null()")
    assert entry(policy, ".b")[1].startswith("Each(")
    assert entry(policy, ".c")[1].startswith("Keep(first=4")
    assert entry(policy, ".d")[1].count("key=") == 5
    assert entry(policy, ".e")[1].startswith("Redact(")
    assert entry(policy, ".f") == ("profile", "Null()")
    assert set(policy.classes) == {"phone", "birthday", "profile", "id_card", "address", "email", "card_no"}


def test_a_path_through_an_array_hides_the_array() -> None:
    text, _ = written(
        column("d", "profile", of=JSONB, **{"contacts__[]__tel": "phone", "contacts__[]__n": "name", "mail": "email"})
    )
    assert "{ json: { $.contacts: null, $.mail: email } }" in text


def test_classes_of_the_policy_are_used_by_whatever_name() -> None:
    policy = build_policy(
        [parse_document("version: 1\nclasses:\n  Mobile: { level: A, mask: redact }\n  id_no: { level: B, mask: null }\n")], "v"
    )
    used = dictionary(policy.classes)
    sure, _ = column_lines([column("p", "phone"), column("i", "id_card"), column("e", "email")], used, public=False)
    assert [line.split("   #")[0] for line in sure[1:]] == [
        "  bank.customers.p: Mobile",
        "  bank.customers.i: id_no",
        "  bank.customers.e: email",
    ]
    assert list(used.added) == ["email"]
    assert class_for("salary", ["x"]) is None


def test_kinds_that_a_standard_does_not_know_are_only_mentioned() -> None:
    source = STANDARDS["pci-dss"]
    used = Dictionary({}, load_policy([source]).classes, source.read_text(encoding="utf-8"))
    sure, unsure = column_lines([column("phone", "phone")], used, public=False)
    assert (sure, unsure) == ([], ["  # bank.customers.phone: phone has no class here   # 0.90 name x"])


def test_an_existing_file_keeps_its_lines() -> None:
    before = "version: 1\n# mine\nclasses:\n  phone: { level: C2, mask: redact }   #\ncolumns:\n  bank.customers.phone: phone #\n"
    policy = build_policy([parse_document(before)], "v")
    used = dictionary(policy.classes)
    sure, unsure = column_lines([column("mail", "email"), column("x", "name", 0.4)], used, public=False, known=before)
    after = extend_file(before, "f", "2026-01-02", used, sure, unsure)
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    merged = build_policy([parse_document(after)], "v")
    assert {e.pattern.source: e.data_class for e in merged.entries} == {
        "bank.customers.phone": "phone",
        "bank.customers.mail": "email",
    }
    again = dictionary(merged.classes)
    assert column_lines([column("mail", "email"), column("x", "name", 0.4)], again, public=False, known=after) == ([], [])


def test_an_existing_file_without_columns_or_classes() -> None:
    used = dictionary()
    sure, unsure = column_lines([column("mail", "email")], used, public=False)
    after = extend_file("version: 1\n", "f", "2026-01-02", used, sure, unsure)
    assert {e.data_class for e in build_policy([parse_document(after)], "v").entries} == {"email"}


@pytest.mark.parametrize(
    "text",
    ["version: 1\ncolumns: { a.b.c: public }\n", "columns:\n  a.b.c: public\nversion: 1\n", "version: 1\ncolumns:\n- x\n"],
)
def test_files_of_another_form_are_refused(text: str) -> None:
    used = dictionary()
    sure, unsure = column_lines([column("mail", "email")], used, public=False)
    with pytest.raises(DocumentError):
        extend_file(text, "f", "2026-01-02", used, sure, unsure)


def test_names_cannot_break_out_of_their_line() -> None:
    nasty = Found("s", "t\n  evil.x.y: public", "c\n#", TEXT, Finding("phone", 0.9, "name c\nx: y"), 1)
    used = dictionary()
    sure, unsure = column_lines([nasty], used, public=False)
    with pytest.raises(DocumentError):
        build_policy([parse_document(new_file([], used, [*sure, "  evil.x.y: public: public"], unsure))], "v")
    assert not any("\n" in line for line in sure if line.lstrip().startswith("#"))


@pytest.mark.parametrize("name", STANDARDS)
def test_standards_load_and_say_where_they_come_from(name: str) -> None:
    policy = load_policy([STANDARDS[name]])
    assert policy.classes
    lines = STANDARDS[name].read_text(encoding="utf-8").splitlines()
    for data_class in policy.classes:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {data_class}:"))
        assert lines[at - 1].startswith("  # "), data_class


def test_standards_serve_as_the_first_file_of_a_policy(tmp_path: Path) -> None:
    rules = tmp_path / "p.yaml"
    rules.write_text("version: 1\ncolumns:\n  bank.c.phone: phone\nrules:\n  - { name: r, columns: level<=C2, show: clear }\n")
    assert load_policy([SOURCE, rules]).entries[0].data_class == "phone"
