"""What columns are by their form and their neighbours, whatever they are called."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from policies.detect import Subject, examine_table
from policies.detect.forms import marks
from policies.detect.kinds import KINDS
from policies.detect.lexicon import vocabulary
from policies.detect.shapes import is_vector, random_string, secret_link
from tests.discovery import values as v

TODAY = datetime.date(2026, 6, 30)
Columns = Mapping[str, tuple[str, Sequence[str | None]]]
HEX = "0123456789abcdef"
MIXED = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def some(generator: Callable[[random.Random], Any], seed: int = 5) -> list[str | None]:
    r = random.Random(seed)
    return [str(generator(r)) for _ in range(60)]


def drawn(length: int, alphabet: str, prefix: str = "") -> list[str | None]:
    return some(lambda r: prefix + "".join(r.choices(alphabet, k=length)), seed=length)


def proposed(table: str, columns: Columns, schema: str = "s") -> dict[str, str]:
    given = [(Subject(schema, table, name, kind), values) for name, (kind, values) in columns.items()]
    found = [e.finding for e in examine_table(given, TODAY)]
    return {c: f.kind for c, f in zip(columns, found, strict=True) if f is not None and f.proposed}


IDS: list[str | None] = [str(1000 + n) for n in range(60)]
CARDS = ("text", some(v.card))
HASHES = ("text", drawn(53, MIXED, "$2b$12$"))
NAMES = ("text", some(v.person_en))
BORN = ("date", some(v.dob))
MONEY = ("numeric", some(lambda r: f"{r.lognormvariate(8, 1):.2f}"))


def test_three_digits_beside_cards() -> None:
    digits = ("bpchar", drawn(3, "0123456789"))
    assert proposed("t", {"kh": CARDS, "q7": digits})["q7"] == "cvv"
    assert "q7" not in proposed("t", {"q7": digits})
    assert "q7" not in proposed("t", {"kh": CARDS, "q7": ("bpchar", some(lambda r: r.choice(("156", "840", "978"))))})
    assert "q7" not in proposed("t", {"kh": CARDS, "q7": ("bpchar", drawn(4, "0123456789"))})
    assert "branch" not in proposed("t", {"kh": CARDS, "branch": digits})


def test_random_strings_beside_passwords() -> None:
    columns: Columns = {"email": ("text", some(v.email)), "zz": ("text", drawn(16, HEX)), "file_md5": ("text", drawn(32, HEX))}
    assert set(proposed("accounts", {**columns, "x1": HASHES})) == {"email", "x1", "zz"}
    assert set(proposed("accounts", columns)) == {"email"}


def test_random_strings_that_a_name_calls_secret() -> None:
    assert proposed("t", {"push_tk": ("text", drawn(44, HEX))}) == {"push_tk": "secret"}
    assert proposed("t", {"etag": ("text", drawn(32, HEX)), "exec_token": ("text", drawn(12, "0123456789", "EX-"))}) == {}


def test_links_with_tokens() -> None:
    assert proposed("t", {"hook": ("text", drawn(24, HEX, "https://hooks.example/b?token="))}) == {"hook": "secret"}
    assert proposed("t", {"pdf": ("text", [f"https://x.example/f/{n}.pdf" for n in drawn(12, HEX)])}) == {}
    assert secret_link("https://user:pw@db.example/x")
    assert secret_link("https://a.example/r/" + "aZ3kQ9" * 6)
    assert not secret_link("https://a.example/articles/how-to-open-an-account?page=2")


def test_short_codes_that_open_something() -> None:
    codes, few = ("text", drawn(6, "0123456789")), ("text", some(lambda r: r.choice(("OPEN", "SHUT", "BUSY"))))
    assert proposed("orders", {"pick_code": codes, "locker_code": codes, "item_code": codes, "lock_code": few}) == {
        "pick_code": "secret",
        "locker_code": "secret",
    }


@pytest.mark.parametrize(
    ("plate", "land"),
    [
        ("B-GS 2143", "plate_de"),
        ("WF20 AKD", "plate_uk"),
        ("KE-604-MD", "plate_fr"),
        ("FA 123 BC", "plate_it"),
        ("7131 NNB", "plate_es"),
        ("12-XYZ-3", "plate_nl"),
        ("京A12345", "plate"),
        ("粤BD12345", "plate"),
    ],
)
def test_plates(plate: str, land: str) -> None:
    assert land in marks(plate)


def test_plates_need_vehicles_or_several_countries() -> None:
    def german(r: random.Random) -> str:
        return f"{r.choice('BMKS')}-{''.join(r.choices(MIXED[:20], k=2))} {r.randrange(100, 9999)}"

    def mixed(r: random.Random) -> str:
        british = f"WF{r.randrange(10, 74)} {''.join(r.choices('ABDEFG', k=3))}"
        return r.choice((german(r), british, f"{r.randrange(1000, 9999)} {''.join(r.choices('BCDFG', k=3))}"))

    assert proposed("t", {"x": ("text", some(mixed))}) == {"x": "plate"}
    assert proposed("cars", {"x": ("text", some(german))}) == {"x": "plate"}
    assert proposed("t", {"x": ("text", some(german))}) == {}


def test_passports_of_several_countries() -> None:
    def paper(r: random.Random) -> str:
        return r.choice(("", "X", "AB")) + "".join(r.choices("0123456789", k=9))[:9]

    def number(r: random.Random) -> str:
        text = paper(r)
        return text[:9]

    columns: Columns = {"full_name": NAMES, "x": BORN, "ref3": ("text", some(number))}
    assert proposed("people", columns)["ref3"] == "passport"
    assert "loyalty_no" not in proposed("people", {"full_name": NAMES, "x": BORN, "loyalty_no": columns["ref3"]})
    assert "ref3" not in proposed("parts", {"ref3": columns["ref3"]})


def test_names_on_cards_and_family_names() -> None:
    assert {"known_latin", "latin_words"} <= marks("LIN/WEI")
    family = ("text", [n and n.split()[-1] for n in NAMES[1]])
    assert proposed("people", {"x": BORN, "email": ("text", some(v.email)), "y": family})["y"] == "name"
    assert "y" not in proposed("t", {"y": family})


def test_money_in_tables_of_one_row_each() -> None:
    columns: Columns = {"account_id": ("int4", IDS), "zz": MONEY, "commission": MONEY, "fee": MONEY}
    assert proposed("t", columns) == {"zz": "balance"}
    many: Columns = {**columns, "account_id": ("int4", [str(1000 + n % 20) for n in range(60)])}
    assert proposed("trades", many) == {}


def test_vectors_beside_persons() -> None:
    r = random.Random(3)
    vectors = [str([round(r.uniform(-1, 1), 4) for _ in range(12)]) for _ in range(60)]
    assert proposed("people", {"full_name": NAMES, "x": BORN, "v": ("text", vectors)})["v"] == "biometric"
    assert proposed("t", {"selfie_vec": ("float4", [])}) == proposed("t", {"v": ("text", vectors)}) == {}
    assert is_vector([0.5] * 8)
    assert not is_vector([1, 2, 3, 4, 5, 6, 7, 8])


def test_tags_and_blood() -> None:
    people: Columns = {"full_name": NAMES, "x": BORN}
    tags = ("text", some(lambda r: r.choice(("慢病-高血压", "慢病-糖尿病", "母婴", "常客"))))
    blood = ("text", some(lambda r: r.choice(("A+", "B-", "O型", "AB"))))
    assert proposed("members", {**people, "tags": tags, "q": blood}) == {
        "full_name": "name",
        "x": "birthday",
        "tags": "health",
        "q": "health",
    }
    assert proposed("dict", {"tags": tags}) == {}


def test_answers_stand_after_questions() -> None:
    asked = ("text", some(lambda r: r.choice(("Birth town?", "First pet?", "Mother's maiden name?"))))
    answers = ("text", some(lambda r: r.choice(("rex", "bern", "fluffy", "miller"))))
    assert proposed("logins", {"x": HASHES, "q": asked, "a": answers}) == {"x": "secret", "a": "secret"}
    assert proposed("faq", {"q": asked, "a": answers}) == {}


def test_pairs_of_degrees() -> None:
    q = ("float8", some(lambda r: f"{r.uniform(45, 55):.6f}"))
    p = ("float8", some(lambda r: f"{r.uniform(2, 12):.6f}"))
    assert proposed("t", {"customer_id": ("int4", IDS), "q": q, "p": p}) == {"q": "location", "p": "location"}
    assert proposed("t", {"customer_id": ("int4", IDS), "q": q, "z": ("int4", IDS)}) == {}
    assert proposed("t", {"q": q, "p": p}) == proposed("branches", {"q": q, "p": p}) == {}


def test_account_numbers_behind_a_bank() -> None:
    banks = ("text", some(lambda r: f"中国银行南京城北支行 {r.randrange(10**16, 10**17)}"))
    assert proposed("t", {"x": banks}) == {"x": "account"}


def test_several_names_in_one_text() -> None:
    buyers = ("text", some(lambda r: "、".join(v.person_zh(r) for _ in range(r.choice((1, 1, 2))))))
    assert {"name_zh", "given_zh"} <= marks("张伟、李娜")
    assert "name_zh" not in marks("合同、收据")
    assert proposed("t", {"x": buyers}) == {"x": "name"}


def test_addresses_among_other_text() -> None:
    things = ("text", some(lambda r: r.choice(("农机具一批", "林权证", f"房产:{v.address_zh(r)}"))))
    assert proposed("t", {"cust_no": ("text", IDS), "x": things})["x"] in ("address", "free_text")


def test_what_only_looks_like_something() -> None:
    assert not marks("LN-24-000031") & {"address_latin"}
    assert proposed("t", {"x": ("text", drawn(7, "0123456789", "T"))}) == {}
    states = ("text", some(lambda r: r.choice(("active", "closed", "rejected"))))
    street = ("text", some(v.address_en))
    assert "state" not in proposed("t", {"customer_id": ("int4", IDS), "street": street, "state": states})


def test_what_is_beside_the_notion_in_a_comment() -> None:
    given = [(Subject("s", "t", "gx", "text", "与借款人关系"), some(lambda r: r.choice(("同村", "亲属", "朋友"))))]
    assert [e.finding for e in examine_table(given, TODAY)] == [None]


def test_random_strings() -> None:
    assert random_string("bb4b74afc11c75f1")
    assert random_string("sess_aB3dE5gH7jK9mN1p")
    assert not random_string("A87165473")
    assert not random_string("InternationalPaymentService2024")
    assert not random_string("00000000-0000-4000-8000-00000000abcd")


def test_what_speaks_against_names_known_classes() -> None:
    assert set(vocabulary("lexicon")["against_structure"]) <= set(KINDS)
