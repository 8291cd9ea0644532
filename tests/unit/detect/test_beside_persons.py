"""What is about persons only because of where it stands."""

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
from policies.detect.people import name_in_parts
from policies.detect.persons import FITS, PLACES, beside_persons, keys_of_persons
from policies.detect.surroundings import words
from tests.discovery import values as v

TODAY = datetime.date(2026, 6, 30)
Columns = Mapping[str, tuple[str, Sequence[str | None]]]


def some(generator: Callable[[random.Random], Any], seed: int = 5) -> list[str | None]:
    r = random.Random(seed)
    return [str(generator(r)) for _ in range(60)]


def one_of(*choices: str) -> list[str | None]:
    r = random.Random(7)
    return [r.choice(choices) for _ in range(60)]


def looked_at(table: str, columns: Columns) -> tuple[list[Subject], list[Any]]:
    given = [(Subject("s", table, name, kind), values) for name, (kind, values) in columns.items()]
    return [s for s, _ in given], examine_table(given, TODAY)


def proposed(table: str, columns: Columns) -> dict[str, str]:
    subjects, seen = looked_at(table, columns)
    found = zip(subjects, (e.finding for e in seen), strict=True)
    return {s.column: f.kind for s, f in found if f is not None and f.proposed}


IDS: list[str | None] = [str(1000 + n) for n in range(60)]
KEYS: list[str | None] = [f"00000000-0000-4000-8000-{n * n:012x}" for n in range(60)]
MARRIED = one_of("single", "married", "divorced")
CITIES = one_of("Geneva", "London", "Paris", "Lyon", "Bern")


def test_particulars_beside_a_name() -> None:
    columns: Columns = {
        "client_id": ("int4", IDS),
        "full_name": ("text", some(v.person_en)),
        "marital_status": ("text", MARRIED),
        "Rückkaufswert": ("numeric", some(v.money)),
        "status": ("text", one_of("open", "closed")),
        "created_at": ("timestamp", some(v.GENERATORS["now"])),
    }
    assert proposed("clients", columns) == {"full_name": "name", "marital_status": "marital", "Rückkaufswert": "balance"}


def test_the_same_words_elsewhere_are_nobodys() -> None:
    columns: Columns = {"nationality": ("text", MARRIED), "debt_amt": ("numeric", some(v.money)), "city": ("text", CITIES)}
    assert proposed("lookups", columns) == {}
    assert proposed("branches", {"branch_id": ("int4", IDS), "city": ("text", CITIES), "phone": ("text", some(v.mobile))}) == {}


@pytest.mark.parametrize("city", ["city", "ort", "ville", "ciudad", "cidade", "citta", "gemeente", "chengshi", "城市"])
def test_a_city_needs_a_street_and_a_person(city: str) -> None:
    street: Columns = {"street": ("text", some(v.address_en)), city: ("text", CITIES)}
    assert proposed("t", {"customer_id": ("int4", IDS), **street})[city] == "address"
    assert city not in proposed("t", {"customer_id": ("int4", IDS), city: ("text", CITIES)})


def test_tables_that_refer_to_persons_by_a_key_of_another() -> None:
    parent = looked_at("portfolios", {"depot_key": ("text", KEYS), "holder_iban": ("text", some(v.iban))})
    child = looked_at("positions", {"depot_key": ("text", KEYS), "exposure_amt": ("numeric", some(v.money))})
    keys = keys_of_persons([parent, child])
    assert keys == {"depot_key"}
    assert not any(e.finding is not None and e.finding.proposed for e in beside_persons(*child))
    found = beside_persons(*child, keys)[1].finding
    assert found is not None
    assert (found.proposed, found.kind) == (True, "balance")


def test_what_speaks_against_a_finding_is_not_overruled() -> None:
    columns: Columns = {"cust_name": ("text", some(v.person_zh)), "hotline_phone": ("text", some(v.mobile))}
    assert proposed("customers", columns) == {"cust_name": "name"}


def test_forms_of_papers_and_coins() -> None:
    assert "mrz" in marks("P<GBRMILLER<<ANNA<<<<<<<<<<<<<<<<<<<<<<<<<<<")
    assert "wallet" in marks("0x" + "7752d29c30" * 4)
    assert "wallet" not in marks("0x" + "ab" * 32)
    assert name_in_parts("Miller_Anna_passport")
    assert name_in_parts("张伟_身份证")
    assert not name_in_parts("annual_report_2024")


def test_accents_are_left_out_of_names() -> None:
    assert words("PrénomÉpouse") == ("prenom", "epouse")
    assert words("straße") == ("strasse",)


def test_every_attribute_names_a_class_and_a_test_of_values() -> None:
    for entry in vocabulary("attributes")["attributes"]:
        assert entry["kind"] in KINDS
        assert entry["values"] in FITS
        assert entry["near"] in PLACES
