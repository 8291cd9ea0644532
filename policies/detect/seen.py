"""What the values alone say, and how well they fit a kind that the names speak for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.detect.kinds import BYTES, DATES, NUMBERS, TEXTS
from policies.detect.summary import Summary

FEW = 8
"""Distinct values below which the values alone prove less."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One kind that the values look like."""

    kind: str
    confidence: float
    share: float
    what: str
    """What was counted, for a person: `mobile numbers`."""


_PHONES = ("mobile", "landline", "phone_na", "phone_intl", "phone_within")
_FORMS: dict[str, tuple[str, ...]] = {
    "id_card": ("id18", "id15"),
    "phone": _PHONES,
    "email": ("email",),
    "card_no": ("card",),
    "iban": ("iban",),
    "uscc": ("uscc",),
    "ip": ("ip",),
    "mac": ("mac",),
    "account": ("wallet",),
    "plate": ("plate",),
    "vin": ("vin",),
    "passport": ("passport", "mrz"),
    "permit": ("permit",),
    "national_id": ("ssn", "national", "hkid", "twid"),
    "name": ("name_zh", "known_latin"),
    "address": ("address_zh", "address_latin"),
    "secret": ("stored_password", "key"),
    "birthday": ("date",),
    "card_expiry": ("expiry",),
    "health": ("disease",),
    "ethnicity": ("ethnic",),
    "religion": ("religion",),
    "political": ("party",),
    "device_id": ("imei", "uuid"),
}
"""Marks that count for a kind."""
_BY_TEXT = {"banks with account numbers": ("bank_account",), "links that open something for whoever has them": ("secret_link",)}
_LOOSE: dict[str, tuple[str, ...]] = {
    "id_card": ("id_shape", "id15", "passport", "permit", "hkid", "twid"),
    "phone": ("mobile", "landline", "phone_na", "phone_intl", "service_number", "dialled"),
    "card_no": ("card_shape",),
    "name": ("wordy", "name_latin", "company"),
    "address": ("several_words", "wordy", "name_latin"),
    "vin": ("vin",),
    "uscc": ("id_like",),
    "birthday": ("date",),
    "secret": ("token_shape",),
    "device_id": ("token_shape",),
    "passport": ("passport", "permit"),
}
"""Marks that at least do not contradict a kind."""


_STRONG = {
    "id18": "id_card",
    "mobile": "phone",
    "landline": "phone",
    "phone_na": "phone",
    "phone_intl": "phone",
    "email": "email",
    "card": "card_no",
    "iban": "iban",
    "ssn": "national_id",
    "national": "national_id",
    "uscc": "uscc",
    "plate": "plate",
}
"""Kinds of values that prove themselves, one by one."""


_INSIDE = {
    "name": "names of persons",
    "address": "addresses",
    "id_card": "ID numbers",
    "card_no": "card numbers",
    "phone": "phone numbers",
    "email": "e-mail addresses",
    "secret": "codes and passwords",
    "account": "accounts",
}


def by_values(s: Summary, base_type: str) -> Iterator[Seen]:
    """Kinds that the values look like, whatever the column is called."""
    if s.distinct == 0 or base_type not in TEXTS | NUMBERS | DATES | {"inet", "cidr", "macaddr", "macaddr8"}:
        return
    few = 0.85 if s.distinct < FEW else 1.0
    for kind, confidence, need, what in (
        ("id_card", 0.97, 0.3, "resident ID numbers with the right check digit"),
        ("email", 0.97, 0.5, "e-mail addresses"),
        ("iban", 0.97, 0.5, "IBANs with the right check digits"),
        ("uscc", 0.95, 0.5, "credit codes with the right check character"),
        ("mac", 0.9, 0.6, "hardware addresses"),
        ("account", 0.85, 0.5, "addresses of crypto wallets"),
        ("account", 0.8, 0.4, "banks with account numbers"),
        ("secret", 0.7, 0.5, "links that open something for whoever has them"),
        ("plate", 0.92, 0.6, "vehicle plates"),
        ("secret", 0.95, 0.5, "stored passwords or keys"),
        ("national_id", 0.8, 0.6, "national ID numbers"),
    ):
        share = s.share(*_BY_TEXT.get(what, _FORMS[kind]))
        if share >= need:
            yield Seen(kind, confidence * few, share, what)
    if not s.serial:
        yield from _numbers(s, few)
        yield from _mixed(s)
    yield from _people(s, few)
    yield from _special(s)
    if s.ages is not None and s.ages.look_like_births and s.share("date") > 0.95 and base_type != "timestamptz":
        yield Seen("birthday", 0.56, s.share("date"), "days decades ago, as dates of birth are")
    yield from _inside(s)


def _numbers(s: Summary, few: float) -> Iterator[Seen]:
    share = s.share("card")
    if share >= 0.5 and s.distinct >= 3:
        yield Seen("card_no", 0.95 * few, share, "card numbers by prefix, length and Luhn digit")
    share = s.share("id_shape", "id15")
    if share >= 0.6 and s.share("id18") >= 0.3 * share:
        yield Seen("id_card", 0.9 * few, share, "numbers built like resident IDs")
    phones = s.share(*_PHONES)
    if s.narrow or s.marks.get("no_mobile", 0) > 0.15 * s.marks.get("bare_mobile", 0):
        phones = 0.0  # eleven digits, some of which are mobile numbers by chance
    if phones >= 0.6:
        yield Seen("phone", (0.92 if s.distinct >= 5 else 0.7) * few, phones, "phone numbers")
    elif s.share(*_PHONES, "service_number") >= 0.7 and phones >= 0.2:
        yield Seen("phone", 0.6 * few, s.share(*_PHONES, "service_number"), "phone numbers, some of them hotlines")
    elif phones + s.share("email") >= 0.8 and phones >= 0.2:
        yield Seen("phone", 0.85 * few, phones, "phone numbers, beside e-mail addresses")
    papers = s.share("id18", "id15", "passport", "permit", "hkid")
    if papers >= 0.7 and s.share("id18", "id15") >= 0.15:
        yield Seen("id_card", 0.93 * few, papers, "ID, passport and permit numbers")
    if s.share("passport") >= 0.8 and s.distinct >= 10:
        yield Seen("passport", 0.62, s.share("passport"), "numbers built like passport numbers")
    if s.share("mrz") >= 0.5:
        yield Seen("passport", 0.95, s.share("mrz"), "machine-readable lines of passports")
    if s.share("vin") >= 0.8 and s.distinct >= 5:
        yield Seen("vin", 0.72, s.share("vin"), "vehicle identification numbers")
    if s.share("ip") >= 0.95:
        if s.share("ip_inside") >= 0.8:
            yield Seen("ip", 0.4, s.share("ip"), "IP addresses of the house's own network")
        else:
            yield Seen("ip", 0.75 * few, s.share("ip"), "IP addresses")
    if s.share("geo_pair") >= 0.6:
        yield Seen("location", 0.8 * few, s.share("geo_pair"), "pairs of coordinates")
    if s.share("track") >= 0.5:
        yield Seen("track", 0.95 * few, s.share("track"), "magnetic stripe data")


def _mixed(s: Summary) -> Iterator[Seen]:
    """Several kinds in one column: numbers of accounts at several services, old values of all sorts."""
    hits = s.marks.get("personal", 0)
    if s.narrow or s.marks.get("no_mobile", 0) > 0.15 * s.marks.get("bare_mobile", 0):
        hits -= s.marks.get("bare_mobile", 0)
    by_chance = s.marks.get("hkid", 0) + s.marks.get("twid", 0)
    if by_chance < 0.3 * s.distinct:
        hits -= by_chance  # one letter and digits have the right check digit in every tenth value
    share = hits / s.distinct
    if hits < 3 or share < 0.04 or s.share("digits") > 0.9 or s.share("ip", "uuid", "hex", "date") > 0.5:
        return
    if s.share("service_number") >= 0.3:
        return
    kind = max(_STRONG, key=lambda k: s.marks.get(k, 0))
    yield Seen(_STRONG[kind], min(0.55 + share / 3, 0.85), share, "phone numbers, e-mail addresses, ID or card numbers")


def _people(s: Summary, few: float) -> Iterator[Seen]:
    zh = s.marks.get("name_zh", 0)
    if zh and s.distinct >= 4:
        given, common = s.marks.get("given_zh", 0) / zh, s.marks.get("common_zh", 0) / zh
        both = s.share("name_zh", "known_latin")
        if both >= 0.8 and given >= 0.55 and common >= 0.45 and s.share("name_zh") >= 0.3:
            sure = 0.65 + 0.25 * min(both, given, 1.0) if s.distinct >= FEW else 0.55
            yield Seen("name", sure, both, "Chinese names of persons")
    company = s.share("company")
    like_people = s.marks.get("given_zh", 0) >= 0.55 * zh and s.marks.get("common_zh", 0) >= 0.45 * zh
    if (
        s.distinct >= FEW
        and company >= 0.05
        and s.share("name_zh") >= 0.3
        and company + s.share("name_zh") >= 0.85
        and like_people
    ):
        yield Seen("name", 0.7, s.share("name_zh"), "Chinese names of persons, beside companies")
    known, words = s.share("known_latin"), s.share("latin_words")
    if s.distinct >= FEW and s.share("first_name") >= 0.75 and s.share("name_latin") >= 0.9:
        yield Seen("name", 0.6, s.share("first_name"), "first names")
    if s.distinct >= 4 and words >= 0.75 and known >= 0.3:
        sure = min((0.5 if known >= 0.5 else 0.38) + 0.35 * known, 0.85) if s.distinct >= FEW else 0.4 + 0.12 * known
        yield Seen("name", sure, s.share("name_latin"), "names of persons")
    share = s.share("address_zh", "address_latin")
    if share >= 0.5:
        yield Seen("address", 0.88 * few if s.share("address_zh") > 0.3 else 0.78 * few, share, "postal addresses")


def _special(s: Summary) -> Iterator[Seen]:
    for kind, need, what in (
        ("ethnicity", 0.8, "ethnic groups"),
        ("religion", 0.6, "religions"),
        ("political", 0.6, "party memberships"),
        ("health", 0.5, "diagnoses"),
    ):
        if s.share(*_FORMS[kind]) >= need and s.distinct >= 3:
            yield Seen(kind, 0.75, s.share(*_FORMS[kind]), what)
    if s.distinct >= 5 and s.share("icd") >= 0.8 and s.share("icd_fine") >= 0.4:
        yield Seen("health", 0.65, s.share("icd"), "codes of diagnoses")


def _inside(s: Summary) -> Iterator[Seen]:
    hits = sum(s.inside.values())
    if not hits or (s.lengths[2] < 12 and "secret" not in s.inside):
        return
    widest = max(s.inside, key=lambda k: s.inside[k])
    share = s.inside[widest] / s.distinct
    whole = s.share("card", "mobile", "landline", "email", "id18", "id15", "phone_intl", "phone_na", "uscc", "id_shape")
    if share >= 0.01 and (hits >= 2 or s.distinct < 50) and whole < 0.5 and s.lengths[1] < 4000:
        if widest == "name" and share < 0.05 and hits - s.inside["name"] < 2:
            return
        yield Seen("free_text", min(0.62 + share / 2, 0.9), share, _INSIDE.get(widest, widest) + " among other text")


def fit(kind: str, s: Summary, base_type: str) -> float:
    """Share of the values that have the form of the kind; for kinds without one, that at least may be such a thing."""
    if kind in ("balance", "amount", "salary"):
        return max(s.share("number"), s.share("money_text")) if not s.serial and (not s.small or s.distinct < FEW) else 0.2
    if kind == "birthday":
        return s.share("date") if s.ages is not None and s.ages.may_be_births else 0.0
    if kind == "cvv":
        return 1.0 if s.lengths[0] >= 3 and s.lengths[2] <= 4 and s.share("digits") > 0.9 else s.share("hex")
    if kind == "card_expiry":
        return s.share("expiry", "date")
    if kind == "health" and base_type in NUMBERS:
        return s.share("number")
    if kind == "pin":
        return max(s.share("hex", "token_shape"), 1.0 if s.share("digits") > 0.9 and 4 <= s.lengths[1] <= 12 else 0.0)
    if kind == "account":
        return _account(s)
    if kind == "location":
        return (
            1.0
            if (s.degrees and s.share("number") > 0.9 and not s.round_numbers) or s.share("geo_pair") > 0.6
            else s.share("several_words", "token_shape") * 0.7
        )
    if kind == "secret" and base_type not in BYTES:
        if s.marks.get("date", 0) > s.distinct * 0.5 or (s.share("number") > 0.9 and s.lengths[2] < 4):
            return 0.0
        repeated = 0.3 if s.filled >= 30 and s.distinct * 10 < s.filled else 1.0
        return repeated * max(s.share("token_shape", "stored_password"), s.share("key"), s.share("long"))
    if kind in ("passport", "permit", "national_id", "social", "device_id", "vin", "plate"):
        return _identifier(kind, s)
    if kind == "name":
        return max(s.share("name_zh", "known_latin"), 0.6 * s.share("name_latin"))
    if kind in ("health", "ethnicity", "religion", "political"):
        if base_type in DATES:
            return 1.0
        coded = s.lengths[2] <= 4 and s.distinct <= 60 and not s.serial
        return max(
            s.share(*_FORMS[kind]), (0.6 if kind == "health" else 0.3) if s.share("number", "date") > 0.9 and not coded else 0.8
        )
    return s.share(*_FORMS[kind]) if kind in _FORMS else 1.0


def loose_fit(kind: str, s: Summary) -> float:
    """Share of the values that do not contradict the kind, where `fit` found too little."""
    if kind == "name" and s.distinct >= FEW and s.lengths[1] <= 4 and s.share("han") > 0.8:
        return 0.0  # short Chinese words that are no names
    if kind == "birthday" and s.share("date") < 0.1:
        years = s.lengths[0] == s.lengths[2] == 4
        return s.share("digits") if s.lengths[0] >= 4 and s.lengths[2] <= 8 and (years or not s.serial) else 0.0
    return s.share(*_LOOSE[kind]) if kind in _LOOSE else 0.0


def _account(s: Summary) -> float:
    if s.serial and s.lengths[2] < 9:
        return 0.0
    if s.share("date") > 0.9 and s.lengths[2] <= 10:
        return 0.0
    if s.share("dated") > 0.8:
        return 0.0  # numbers of orders and the like: the day, and a counter
    long_enough = s.lengths[1] >= 8 and s.lengths[2] <= 40
    return (
        max(s.share("digits"), s.share("card"), 0.8 * s.share("token_shape"))
        if long_enough and s.share("email", "uuid") < 0.3
        else 0.0
    )


def _identifier(kind: str, s: Summary) -> float:
    if s.serial and kind != "social":
        return 0.1
    if kind == "plate":
        return max(s.share("plate"), 0.7 * s.share("token_shape"))
    if kind == "social":
        return 1.0 if s.share("token_shape") > 0.7 or s.share("digits") > 0.7 else s.share("mobile", "email")
    if kind == "device_id":
        return s.share("token_shape") if s.lengths[1] >= 8 else 0.0
    if kind == "vin":
        return max(s.share("vin"), 0.8 * s.share("token_shape") if s.lengths[1] >= 6 else 0.0)
    if s.share("date") > 0.9 and s.lengths[1] in (10, 19):
        return 0.0
    return s.share("id_like") if s.lengths[1] >= 5 and s.lengths[2] <= 40 else 0.0
