"""The kinds of sensitive data that discovery knows; a kind's name is that of its class in the files of `policies/standards`."""

from __future__ import annotations

from dataclasses import dataclass

NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "money"})
WIDE_NUMBERS = frozenset({"int8", "numeric"})
TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext"})
DATES = frozenset({"date", "timestamp", "timestamptz"})
ADDRESSES = frozenset({"inet", "cidr"})
MACS = frozenset({"macaddr", "macaddr8"})
BYTES = frozenset({"bytea"})
FLAGS = frozenset({"bool"})
DOCUMENTS = frozenset({"json", "jsonb"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sensitive data."""

    name: str
    title: str
    """As it reads in a sentence: 'resident ID numbers'."""
    types: frozenset[str]
    """pg_type names of base types that can hold it."""
    form: bool
    """Values have a form that can be recognised, so that values without it speak against the kind."""


def _kind(name: str, title: str, types: frozenset[str] = TEXTS, form: bool = False) -> tuple[str, Kind]:
    return name, Kind(name, title, types, form)


KINDS: dict[str, Kind] = dict(
    [
        _kind("name", "names of persons", TEXTS, True),
        _kind("id_card", "identity card numbers", TEXTS | WIDE_NUMBERS, True),
        _kind("national_id", "national identity, tax or social security numbers", TEXTS | NUMBERS),
        _kind("passport", "passport numbers"),
        _kind("permit", "travel permits and licences of persons"),
        _kind("phone", "phone numbers", TEXTS | WIDE_NUMBERS, True),
        _kind("email", "e-mail addresses", TEXTS, True),
        _kind("address", "postal addresses", TEXTS, True),
        _kind("birthday", "dates of birth", TEXTS | DATES | frozenset({"int2", "int4", "int8", "numeric"}), True),
        _kind("social", "accounts at messengers and social networks", TEXTS | NUMBERS),
        _kind("card_no", "payment card numbers", TEXTS | WIDE_NUMBERS, True),
        _kind("card_expiry", "expiry dates of cards", TEXTS | DATES | NUMBERS),
        _kind("cvv", "card verification codes", TEXTS | NUMBERS, True),
        _kind("pin", "PINs and PIN blocks", TEXTS | NUMBERS | BYTES),
        _kind("track", "magnetic stripe and chip data", TEXTS | BYTES),
        _kind("account", "account numbers", TEXTS | WIDE_NUMBERS),
        _kind("iban", "IBANs", TEXTS, True),
        _kind("uscc", "unified social credit codes", TEXTS, True),
        _kind("balance", "balances and limits", NUMBERS | TEXTS),
        _kind("amount", "amounts of transactions", NUMBERS | TEXTS),
        _kind("salary", "salaries and incomes", NUMBERS | TEXTS),
        _kind("credit", "credit scores and ratings", NUMBERS | TEXTS),
        _kind("marital", "marital status", TEXTS | NUMBERS),
        _kind("employer", "employers of persons"),
        _kind("plate", "vehicle plates", TEXTS, True),
        _kind("vin", "vehicle identification numbers", TEXTS, True),
        _kind("ip", "IP addresses", TEXTS | ADDRESSES, True),
        _kind("mac", "hardware addresses", TEXTS | MACS, True),
        _kind("device_id", "identifiers of devices", TEXTS | WIDE_NUMBERS | frozenset({"uuid"})),
        _kind("location", "positions of persons", TEXTS | NUMBERS | frozenset({"point"})),
        _kind("secret", "passwords, keys and tokens", TEXTS | BYTES | frozenset({"uuid"})),
        _kind("biometric", "biometric data", TEXTS | BYTES | frozenset({"float4", "float8"})),
        _kind("health", "health data", TEXTS | NUMBERS | FLAGS),
        _kind("genetic", "genetic data", TEXTS | BYTES),
        _kind("ethnicity", "ethnic origin", TEXTS | NUMBERS | FLAGS),
        _kind("religion", "religion or belief", TEXTS | NUMBERS | FLAGS),
        _kind("political", "political opinions and membership", TEXTS | NUMBERS | FLAGS | DATES),
        _kind("union_membership", "trade union membership", TEXTS | NUMBERS | FLAGS),
        _kind("sex_life", "sex life and orientation", TEXTS),
        _kind("criminal", "criminal records", TEXTS),
        _kind("personal", "other particulars of persons", TEXTS | NUMBERS | FLAGS | DATES),
        _kind("profile", "documents with personal data", DOCUMENTS | TEXTS),
        _kind("free_text", "prose with personal data", TEXTS),
    ]
)
