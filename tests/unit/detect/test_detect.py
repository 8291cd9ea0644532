"""What columns are taken for: names, values, both, and what must not fool them."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from policies.detect import PROPOSE, Finding, Subject, examine, summarise
from policies.detect.forms import marks, normal
from policies.detect.named import read_names, words
from policies.detect.prose import personal_data_in
from tests.discovery import values as v

TODAY = datetime.date(2026, 6, 30)


def found(
    column: str, given: list[str | None], table: str = "t", kind: str = "text", comment: str | None = None
) -> Finding | None:
    return examine(Subject("s", table, column, kind, comment), given, TODAY).finding


def some(generator: Callable[[random.Random], Any], count: int = 60, seed: int = 5) -> list[str | None]:
    r = random.Random(seed)
    return [str(generator(r)) for _ in range(count)]


def proposed(*args: Any, **named: Any) -> str | None:
    finding = found(*args, **named)
    return finding.kind if finding is not None and finding.confidence >= PROPOSE else None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("custNm2", ("cust", "nm", "2")),
        ("PHONE-NO", ("phone", "no")),
        ("IPAddress", ("ip", "address")),
        ("手机号2", ("手机号", "2")),
        ("KH01_XM", ("kh", "01", "xm")),
        ("", ()),
    ],
)
def test_words_of_a_name(name: str, parts: tuple[str, ...]) -> None:
    assert words(name) == parts


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("sfzh", "id_card"), ("sjhm", "phone"), ("khxm", "name"), ("yhkh", "card_no"), ("csrq", "birthday"),
        ("shoujihaoma", "phone"),
        ("custNm", "name"), ("mobile_no", "phone"), ("CUST-E-MAIL", "email"), ("passwd", "secret"), ("cvv2", "cvv"),
        ("身份证号", "id_card"),
        ("联系地址", "address"), ("ZHYE", "balance"), ("nianshouru", "salary"), ("tyshxydm", "uscc"), ("cphm", "plate"),
        ("lastLoginIp", "ip"),
        ("openid", "social"), ("face_feature", "biometric"), ("zjxy", "religion"), ("geburtsdatum", "birthday"),
        ("iban", "iban"),
    ],
)  # fmt: skip
def test_names_of_empty_columns(column: str, kind: str) -> None:
    types = {"birthday": "date", "balance": "numeric", "salary": "numeric", "biometric": "bytea"}
    assert proposed(column, [], kind=types.get(kind, "text")) == kind


@pytest.mark.parametrize(
    "column",
    ["phone_type", "email_verified", "address_id", "is_mobile", "password_updated_at",
    "product_name", "file_name", "证件类型", "手机型号",
     "邮箱是否验证", "token_count", "card_bin", "id", "xm_id", "created_at", "branch_name"],
)  # fmt: skip
def test_names_that_only_sound_alike(column: str) -> None:
    assert proposed(column, []) is None


def test_the_table_says_whose_name() -> None:
    assert proposed("name", [], table="customers") == "name"
    assert proposed("name", [], table="products") is None
    assert proposed("name", [], table="t") is None


def test_the_comment_says_it() -> None:
    assert proposed("f7", [], comment="客户身份证号码（18位）") == "id_card"
    assert proposed("f8", [], comment="证件类型: 1身份证 2护照") is None
    assert proposed("f9", [], comment="mobile phone") == "phone"


@pytest.mark.parametrize(
    ("generator", "kind"),
    [
        (v.id18, "id_card"), (v.id18_wide, "id_card"), (v.id18_spoilt, "id_card"), (v.document_mixed, "id_card"),
        (v.mobile, "phone"),
        (v.mobile_wide, "phone"), (v.landline, "phone"), (v.phone_intl, "phone"), (v.card, "card_no"),
        (v.card_spaced, "card_no"),
        (v.email, "email"), (v.person_zh, "name"), (v.person_en, "name"), (v.person_two, "name"), (v.address_zh, "address"),
        (v.uscc, "uscc"), (v.iban, "iban"), (v.plate, "plate"), (v.bcrypt, "secret"), (v.jwt, "secret"),
        (v.note_personal, "free_text"),
        (v.note_personal_en, "free_text"), (v.dob_text, "birthday"), (v.mac, "mac"),
    ],
)  # fmt: skip
def test_values_behind_a_name_that_says_nothing(generator: Callable[[random.Random], Any], kind: str) -> None:
    assert proposed("note1", some(generator)) == kind


@pytest.mark.parametrize(
    ("column", "generator", "kind"),
    [
        ("phone", v.model_no, "text"), ("id_card", v.uuid4, "text"), ("card_no", v.order16_random, "text"),
        ("order_no", v.order18, "text"),
        ("created", v.epoch_ms, "int8"), ("file_md5", v.md5, "text"), ("birthday", v.now, "timestamp"),
        ("email", v.GENERATORS["status_zh"], "text"),
        ("full_name", v.GENERATORS["product_zh"], "text"), ("note", v.GENERATORS["note_zh"], "text"),
        ("x", v.GENERATORS["city"], "text"), ("x", v.GENERATORS["branch_zh"], "text"), ("x", v.GENERATORS["title_en"], "text"),
        ("x", v.old_day, "date"), ("x", v.number11, "text"), ("x", v.version4, "text"), ("ssn", v.small, "int4"),
    ],
)  # fmt: skip
def test_what_must_not_fool(column: str, generator: Callable[[random.Random], Any], kind: str) -> None:
    assert proposed(column, some(generator), kind=kind) is None


@pytest.mark.parametrize("start", ["serial_big", "serial_18", "serial_code"])
def test_counters_are_no_numbers_of_persons(start: str) -> None:
    assert proposed("ref", some(v.SERIALS[start]())) is None


def test_values_win_over_a_wrong_name() -> None:
    finding = found("phone", some(v.id18))
    assert finding is not None
    assert (finding.kind, finding.from_values) == ("id_card", True)


def test_accounts_that_are_numbered_like_cards() -> None:
    finding = found("account_no", some(v.card))
    assert finding is not None
    assert (finding.kind, finding.also) == ("account", "card_no")
    assert proposed("x", some(v.card)) == "card_no"


def test_masked_values_are_for_review() -> None:
    finding = found("mobile", some(v.mobile_masked))
    assert finding is not None
    assert not finding.proposed
    assert "masked already" in finding.reason


def test_the_house_s_own_places() -> None:
    assert proposed("phone", some(v.GENERATORS["hotline"]), table="branches") is None
    assert proposed("manager_mobile", some(v.mobile), table="branches") == "phone"


def test_types_rule_out() -> None:
    assert proposed("phone", [], kind="bool") is None
    assert proposed("password", [], kind="timestamptz") is None
    assert proposed("birthday", [], kind="date") == "birthday"


def test_fillers_do_not_drown_the_values() -> None:
    assert proposed("note1", ["无"] * 500 + some(v.id18, 20)) == "id_card"


def test_arrays_and_documents() -> None:
    r = random.Random(1)
    phones = [json.dumps(v.phones(r)) for _ in range(30)]
    array = examine(Subject("s", "t", "x", "text", array=True), phones, TODAY).finding
    assert array is not None
    assert array.kind == "phone"
    documents = [json.dumps(v.json_person(r), ensure_ascii=False) for _ in range(30)]
    inner = examine(Subject("s", "t", "x", "jsonb"), documents, TODAY).finding
    assert inner is not None
    assert {p: f.kind for p, f in inner.paths.items()} == {
        ("id_card",): "id_card",
        ("mobile",): "phone",
        ("contact", "home"): "address",
    }
    assert found("x", [json.dumps(v.json_plain(r)) for _ in range(30)], kind="jsonb") is None


def test_keys_that_are_data_are_not_shown() -> None:
    r = random.Random(2)
    documents = [json.dumps({v.mobile(r): {"level": 1}, "seen": 2}) for _ in range(30)]
    inner = examine(Subject("s", "t", "x", "jsonb"), documents, TODAY).finding
    assert inner is not None
    assert {p: f.kind for p, f in inner.paths.items()} == {("*",): "phone"}


def test_no_value_comes_out() -> None:
    for generator in (g for name, g in v.GENERATORS.items() if name != "flag"):
        given = [str(x) for x in some(generator, 30) if x is not None and len(str(x)) >= 5]
        finding = found("x", list(given))
        for text in given:
            assert finding is None or text not in repr(finding)
            assert text not in repr(summarise(given, TODAY))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("请致电13812345678联系", {"phone"}),
        ("mail to a.b@example.com, please", {"email"}),
        ("batch 20240105123456789 done", set()),
        ("took 12345678901 ms", set()),
        ("see https://u@example.com/x", set()),
        ("card 4111 1111 1111 1111 stolen", {"card_no"}),
        ("call +44 20 7946 0018", {"phone"}),
    ],
)
def test_personal_data_in_prose(text: str, kinds: set[str]) -> None:
    assert personal_data_in(text) == kinds


def test_full_width() -> None:
    assert "mobile" in marks(normal("　１３８１２３４５６７８ "))


def test_table_about_places_with_people() -> None:
    assert read_names("s", "branches", "phone").of_institution
    assert not read_names("s", "branches", "manager_phone").of_institution
