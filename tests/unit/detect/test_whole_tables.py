"""What columns say about each other, what stands in parts of texts, what names and tables around a column change."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import stdnum.es.dni
import stdnum.es.nie
import stdnum.fr.nir

from policies.detect import Finding, Subject, examine, examine_table
from policies.detect.foreign import national
from policies.detect.joined import taken_apart
from policies.detect.named import read_names
from tests.discovery import values as v

TODAY = datetime.date(2026, 6, 30)


def some(generator: Callable[[random.Random], Any], count: int = 60, seed: int = 5) -> list[str | None]:
    r = random.Random(seed)
    return [str(generator(r)) for _ in range(count)]


def kinds(
    columns: Mapping[str, Sequence[str | None]], table: str = "t", types: Mapping[str, str] | None = None, schema: str = "s"
) -> dict[str, str]:
    """What is proposed, by column."""
    given = [(Subject(schema, table, c, (types or {}).get(c, "text")), values) for c, values in columns.items()]
    found = [e.finding for e in examine_table(given, TODAY)]
    return {c: f.kind for c, f in zip(columns, found, strict=True) if f is not None and f.proposed}


def alone(
    column: str, values: Sequence[str | None], table: str = "t", kind: str = "text", comment: str | None = None
) -> str | None:
    finding: Finding | None = examine(Subject("s", table, column, kind, comment), values, TODAY).finding
    return finding.kind if finding is not None and finding.proposed else None


def test_values_are_looked_at_by_the_keys_beside_them() -> None:
    names, phones = some(v.person_zh, 30), some(v.mobile, 30)
    keys: list[str | None] = ["real_name", "theme"] * 30
    values = [x for name in names for x in (name, "dark")]
    assert kinds({"attr_name": keys, "attr_value": values}) == {"attr_value": "name"}
    mixed = [x for pair in zip(names, phones, strict=True) for x in pair]
    assert kinds({"attr_name": ["real_name", "mobile"] * 30, "attr_value": mixed})["attr_value"] in ("free_text", "phone")
    assert kinds({"attr_name": ["theme", "size"] * 30, "attr_value": ["dark", "12"] * 30}) == {}


def test_of_settings_only_secrets_count() -> None:
    keys: list[str | None] = ["smtp.host", "smtp.password", "support.phone", "password.min_length"]
    values: list[str | None] = ["10.8.0.25", "Wint3r!Mail#22", "021-55556666", "12"]
    assert kinds({"cfg_key": keys, "cfg_value": values}, "app_config") == {"cfg_value": "secret"}
    assert kinds({"cfg_key": keys[2:], "cfg_value": values[2:]}, "app_config") == {}


def test_no_key_or_value_comes_out() -> None:
    people = [x for x in some(v.person_en, 40) if x]
    columns = {"holder_name": people, "attr_value": people[::-1], "note": [f"{x}|friend|{i}" for i, x in enumerate(people)]}
    given = [(Subject("s", "t", c, "text"), values) for c, values in columns.items()]
    for examined in examine_table(given, TODAY):
        assert not [p for p in people if p in repr(examined)]


def test_money_beside_balances_and_in_payrolls() -> None:
    money = some(v.money)
    columns = {"cust_name": some(v.person_zh), "acct_bal": money, "zz1": some(v.money, seed=9), "int_rate": some(v.rate)}
    types = {"acct_bal": "numeric", "zz1": "numeric", "int_rate": "numeric"}
    assert kinds(columns, "deposits", types) == {"cust_name": "name", "acct_bal": "balance", "zz1": "balance"}
    assert kinds({"zz1": money}, "deposits", types) == {}
    assert kinds({"zz1": money}, "slip", types, schema="payroll") == {"zz1": "salary"}


def test_expiry_beside_card_numbers() -> None:
    columns = {"card_no": some(v.card), "exp_dt": some(v.expiry)}
    assert kinds(columns)["exp_dt"] == "card_expiry"
    assert "exp_dt" not in kinds({"exp_dt": columns["exp_dt"]})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([f"{n}|配偶|0{i}" for i, n in enumerate(some(v.person_zh, 30))], "free_text"),
        ([f"name={n};level={i % 5}" for i, n in enumerate(some(v.person_en, 30))], "free_text"),
        ([f"<r><Name>{n}</Name><Level>{i % 5}</Level></r>" for i, n in enumerate(some(v.person_en, 30))], "free_text"),
        ([f"red|small|{i}" for i in range(30)], None),
        ([f"a={i};b={i * 7 % 11}" for i in range(30)], None),
        ([f"【店】您的验证码是{256321 + 7 * i}，请勿泄露" for i in range(30)], "free_text"),
        ([f"Insured {n} called again" for n in ("Kevin Nguyen", "Mary Smith", "Paul Scott")] + ["nothing"] * 3, "free_text"),
    ],
)
def test_parts_of_texts(values: list[str | None], found: str | None) -> None:
    assert alone("x", values) == found


def test_numbers_that_only_look_like_phones() -> None:
    r = random.Random(3)
    assert alone("order_id", [str(13800000000 + 971 * i) for i in range(60)], kind="int8") is None
    assert alone("x", [str(r.randrange(13_000_000_000, 20_000_000_000)) for _ in range(200)], kind="int8") is None
    assert alone("trace_no", some(v.mobile)) is None
    assert alone("x", some(v.mobile)) == "phone"


def test_addresses_of_machines_are_nobodys() -> None:
    inside: list[str | None] = [f"10.20.{i % 4}.{i}" for i in range(60)]
    assert alone("gateway_ip", some(v.ip4)) is None
    assert alone("x", inside) is None
    assert alone("ip_address", inside) is None
    assert alone("client_ip", inside) == "ip"
    assert alone("x", some(v.ip4)) == "ip"


def test_the_houses_own_places_and_prices() -> None:
    assert alone("address", some(v.address_zh), "branch_info") is None
    assert alone("address", some(v.address_zh), "branch_visitor") == "address"
    assert alone("BRNTEL", some(v.landline), "BRNFIL") is None
    assert alone("manager_phone", some(v.mobile), "branch") == "phone"
    assert alone("base_premium", some(v.money), "product", "numeric") is None
    assert alone("hotline", some(v.landline), "supplier") is None


def test_a_comment_is_clearer_than_first_letters() -> None:
    assert read_names("s", "t", "glxm").strength("name") > 0.8
    assert read_names("s", "t", "glxm", "关联项目").strength("name") < 0.6


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cusnam", ("cust", "name")),
        ("actnbr", ("acct", "no")),
        ("hometel", ("home", "tel")),
        ("cvvval", ("cvv", "val")),
        ("permit", ("permit",)),
        ("os", ("os",)),
    ],
)
def test_names_written_together(name: str, parts: tuple[str, ...]) -> None:
    assert taken_apart((name,)) == parts


@pytest.mark.parametrize("seed", range(20))
def test_foreign_numbers_agree_with_stdnum(seed: int) -> None:
    r = random.Random(seed)
    number = f"{r.randrange(10**8):08}"
    assert national(number + stdnum.es.dni.calc_check_digit(number))
    wrong = chr(ord(stdnum.es.dni.calc_check_digit(number)) ^ 1)
    assert not national(number + wrong)
    nie = f"X{r.randrange(10**7):07}"
    assert national(nie + stdnum.es.nie.calc_check_digit(nie))
    nir = f"{r.choice('12')}{r.randrange(100):02}{r.randrange(1, 13):02}{r.randrange(1, 96):02}{r.randrange(10**6):06}"
    assert national(nir + stdnum.fr.nir.calc_check_digits(nir))
    assert not national(nir + f"{(int(stdnum.fr.nir.calc_check_digits(nir)) + 1) % 97:02}")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("AB123456C", True), ("RSSMRA85T10A562S", True), ("65180539W001", True), ("S1234567D", True), ("123.456.789-09", True),
        ("900101-1234567", True), ("order", False), ("20240105123", False), ("S1234567A", False),
    ],
)  # fmt: skip
def test_foreign_numbers(text: str, is_one: bool) -> None:
    assert national(text) is is_one


def test_terms_that_the_table_explains() -> None:
    assert alone("comment", ["broken arm", "flu", "burn-out, step by step"] * 5, "absence") == "health"
    assert alone("comment", ["broken arm", "flu", "burn-out, step by step"] * 5, "parcel") is None
    assert alone("score", [str(300 + 7 * i) for i in range(60)], "bureau_report", "int4") == "credit"
    assert alone("score", [str(300 + 7 * i) for i in range(60)], "game", "int4") is None
    assert alone("line2", [f"Bldg {c}" for c in "ABCDEFGHIJKL"], "party_address") == "address"
    assert alone("smoker", ["t", "f"] * 20, "party", "bool") == "health"
    assert alone("income_range", ["3k-5k", "15k+", "5000元以上", "60k EUR"] * 9, "profile") == "salary"
