"""The people, accounts, cards and transactions of the sample bank: made up, deterministic, and plausible.

Plausible matters: masks, scrubbers and discovery look at check digits and formats, so ID numbers carry the check
character of GB 11643 and the holder's birth date, card and account numbers pass the Luhn test (ISO/IEC 7812-1), memos
hold phone numbers inside prose, and a customer's balance is the sum of the accounts in CNY. Equal seeds give equal rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

Row = tuple[object, ...]

CUSTOMERS = 3000
TRANSACTIONS = 20000
CHINA = timezone(timedelta(hours=8))

BRANCHES: tuple[tuple[str, str, str, date, str], ...] = (
    ("BJ01", "北京金融街支行", "北京市西城区", date(1998, 5, 18), "华北"),
    ("SH01", "上海陆家嘴支行", "上海市浦东新区", date(2001, 9, 3), "华东"),
    ("GZ01", "广州天河支行", "广州市天河区", date(2003, 3, 21), "华南"),
    ("SZ01", "深圳南山支行", "深圳市南山区", date(2006, 11, 8), "华南"),
    ("CD01", "成都高新支行", "成都市武侯区", date(2010, 6, 30), "西南"),
    ("XA01", "西安雁塔支行", "西安市雁塔区", date(2013, 4, 12), "西北"),
)
_REGIONS = {"BJ01": "110102", "SH01": "310115", "GZ01": "440106", "SZ01": "440305", "CD01": "510107", "XA01": "610113"}
_SURNAMES = (
    ("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"), ("赵", "zhao"),
    ("黄", "huang"), ("周", "zhou"), ("吴", "wu"), ("徐", "xu"), ("孙", "sun"), ("林", "lin"), ("郭", "guo"),
    ("欧阳", "ouyang"), ("司马", "sima"),
)  # fmt: skip
_GIVEN = (
    ("伟", "wei"), ("芳", "fang"), ("娜", "na"), ("静", "jing"), ("磊", "lei"), ("晓", "xiao"), ("明", "ming"),
    ("丽", "li"), ("建", "jian"), ("华", "hua"), ("志", "zhi"), ("强", "qiang"), ("雪", "xue"), ("梅", "mei"),
    ("宇", "yu"), ("晨", "chen"), ("思", "si"), ("远", "yuan"), ("嘉", "jia"), ("欣", "xin"),
)  # fmt: skip
_LATIN_FIRST = ("Anna", "Carlos", "Elena", "Felix", "Grace", "Hugo", "Ingrid", "Jonas", "Marta", "Nina", "Sofia")
_LATIN_LAST = ("Almeida", "Berg", "Costa", "Dubois", "Fischer", "García", "Novák", "O'Brien", "Rossi", "Smith", "Weber")
_ROADS = ("解放路", "人民路", "中山路", "建设大道", "和平街", "长江路", "学院路", "滨河路")
_DOMAINS = ("example.com", "example.net", "mail.example.org")
_PREFIXES = ("133", "138", "139", "150", "158", "186", "189", "199")
_TAGS = ("gold", "silver", "loan", "mortgage", "fund", "insurance", "student", "private")
_MEMOS = (
    "客户来电 {phone} 咨询理财产品",
    "请回电{phone}，谈房贷",
    "refund, call back on {phone} after 5 pm",
    "房租 {month} 月",
    "工资",
    "online order",
    "代缴水电费",
)


@dataclass(slots=True)
class Bank:
    """All rows, table by table, in the column order of schema.sql."""

    branches: list[Row] = field(default_factory=list)
    customers: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    cards: list[Row] = field(default_factory=list)
    transactions: list[Row] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[str, Sequence[Row]]]:
        """Tables in an order that satisfies the foreign keys."""
        yield "branches", self.branches
        yield "customers", self.customers
        yield "accounts", self.accounts
        yield "cards", self.cards
        yield "transactions", self.transactions


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    login: str
    vip: bool
    rich: bool


_FIRST_PEOPLE = (
    _Person("张晓明", "zhang.xiaoming", vip=False, rich=False),
    _Person("Elena Rossi", "elena.rossi", vip=False, rich=False),
    _Person("欧阳静", "ouyang.jing", vip=True, rich=True),
)
"""Customers 1 to 3, fixed, so that the texts of the demo and the README can speak of them."""

_FIRST_FOREIGN = ((1, "USD", Decimal("8211.50")), (2, "EUR", Decimal("254310.00")), (6, "USD", Decimal("9467.80")))
"""Foreign currency of customers 1, 2 and 6, fixed for the same reason. Number 6 lives in another region."""


def id_check_character(first17: str) -> str:
    """The last character of a Chinese ID number (GB 11643, ISO 7064 MOD 11-2)."""
    return "10X98765432"[sum(int(d) * (2 ** (17 - i)) for i, d in enumerate(first17)) % 11]


def luhn_digit(digits: str) -> str:
    """The check digit that makes `digits` + it pass the Luhn test."""
    total = 0
    for i, d in enumerate(reversed(digits)):
        n = int(d) * (2 if i % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return str(-total % 10)


def make_bank(seed: int = 20250101, customers: int = CUSTOMERS, transactions: int = TRANSACTIONS) -> Bank:
    """Make the whole bank. Pure: the same arguments give the same rows."""
    rng = random.Random(seed)
    bank = Bank(branches=list(BRANCHES))
    phones = rng.sample(range(10**8), customers)
    serials = rng.sample(range(10**8), customers * 4)
    for n in range(1, customers + 1):
        person = _FIRST_PEOPLE[n - 1] if n <= len(_FIRST_PEOPLE) else _person(rng)
        branch = "BJ01" if n <= len(_FIRST_PEOPLE) else rng.choice(BRANCHES)[0]
        _add_customer(bank, rng, n, person, branch, rng.choice(_PREFIXES) + f"{phones[n - 1]:08d}", serials)
    for n in range(1, transactions + 1):
        bank.transactions.append(_transaction(bank, rng, n))
    _add_foreign_accounts(bank, rng, serials)
    return bank


def _person(rng: random.Random) -> _Person:
    if rng.random() < 0.2:
        first, last = rng.choice(_LATIN_FIRST), rng.choice(_LATIN_LAST)
        name, login = f"{first} {last}", f"{first}.{last}".lower().replace("'", "").replace("á", "a").replace("í", "i")
    else:
        (surname, s), given = rng.choice(_SURNAMES), rng.choices(_GIVEN, k=rng.choice((1, 2, 2)))
        name, login = surname + "".join(g for g, _ in given), s + "." + "".join(g for _, g in given)
    return _Person(name, login, vip=rng.random() < 0.05, rich=rng.random() < 0.03)


def _add_customer(
    bank: Bank, rng: random.Random, number: int, person: _Person, branch: str, phone: str, serials: list[int]
) -> None:
    born = date(1950, 1, 1) + timedelta(days=rng.randrange(365 * 55))
    city = next(b[2] for b in BRANCHES if b[0] == branch)
    first17 = f"{_REGIONS[branch]}{born:%Y%m%d}{number % 1000:03d}"
    total = Decimal(0)
    for _ in range(1 if number <= len(_FIRST_PEOPLE) else rng.choice((1, 1, 1, 2, 2, 3))):
        low, high = (500_000_000, 5_000_000_000) if person.rich else (10_000, 45_000_000)
        amount = Decimal(rng.randrange(low, high)) / 100
        total += amount
        _add_account(bank, rng, number, branch, amount, serials)
        if number <= len(_FIRST_PEOPLE) or rng.random() >= 0.15:
            _add_card(bank, rng, person.name, serials)
    profile = {
        "mobile": phone,
        "id_card": first17 + id_check_character(first17),
        "income_band": rng.choice("ABCDE"),
        "emergency": {"name": _person(rng).name, "phone": rng.choice(_PREFIXES) + f"{rng.randrange(10**8):08d}"},
        "prefs": {"lang": rng.choice(("zh", "en")), "newsletter": rng.random() < 0.4},
    }
    bank.customers.append((
        number,
        person.name,
        first17 + id_check_character(first17),
        phone,
        f"{person.login}{number}@{rng.choice(_DOMAINS)}" if rng.random() < 0.95 else None,
        born,
        f"{city}{rng.choice(_ROADS)}{rng.randrange(1, 999)}号{rng.randrange(1, 30)}栋{rng.randrange(101, 2800)}室",
        total,
        person.vip,
        branch,
        json.dumps(profile, ensure_ascii=False),
        sorted(rng.sample(_TAGS, rng.randrange(0, 4))),
        datetime(2015, 1, 1, tzinfo=UTC) + timedelta(hours=rng.randrange(24 * 3600)),
    ))  # fmt: skip


def _add_account(
    bank: Bank, rng: random.Random, customer: int, branch: str, balance: Decimal, serials: list[int], currency: str = "CNY"
) -> None:
    number = len(bank.accounts) + 1
    opened = date(2012, 1, 1) + timedelta(days=rng.randrange(365 * 12))
    body = f"621226{serials[len(bank.accounts)]:08d}{rng.randrange(1000):03d}1"
    kind = rng.choice(("savings", "checking"))
    region = next(b[4] for b in BRANCHES if b[0] == branch)
    bank.accounts.append((number, customer, body + luhn_digit(body), kind, currency, balance, opened, region))


def _add_card(bank: Bank, rng: random.Random, name: str, serials: list[int]) -> None:
    """A card for the account that was added last."""
    number = len(bank.accounts)
    card = rng.choice(("622202", "621700", "436742")) + f"{serials[number - 1]:08d}{rng.randrange(10)}"
    expiry = date(rng.randrange(2027, 2032), rng.randrange(1, 13), 1)
    limit = rng.choice((5000, 10000, 50000))
    bank.cards.append((len(bank.cards) + 1, number, card + luhn_digit(card), name, f"{rng.randrange(1000):03d}", expiry, limit))


def _add_foreign_accounts(bank: Bank, rng: random.Random, serials: list[int]) -> None:
    """Some customers keep US dollars or euros besides."""
    others = ((n, rng.choice(("USD", "EUR")), Decimal(rng.randrange(10_000, 45_000_000)) / 100) for n in range(10, 3000, 10))
    for customer, currency, balance in (*_FIRST_FOREIGN, *others):
        if customer <= len(bank.customers):
            _add_account(bank, rng, customer, str(bank.customers[customer - 1][9]), balance, serials, currency)


def _transaction(bank: Bank, rng: random.Random, number: int) -> Row:
    at = datetime(2025, 1, 1, tzinfo=CHINA) + timedelta(minutes=rng.randrange(365 * 24 * 60))
    other = bank.customers[rng.randrange(len(bank.customers))]
    memo = rng.choice(_MEMOS).format(phone=other[3], month=at.month) if rng.random() < 0.6 else None
    if number == 1:
        memo = _MEMOS[0].format(phone=other[3])
    return (
        number,
        rng.randrange(len(bank.accounts)) + 1,
        at,
        Decimal(rng.randrange(100, 2_000_000)) / 100 * rng.choice((1, -1)),
        rng.choice(("mobile", "atm", "web", "counter")),
        other[1] if rng.random() < 0.5 or number == 1 else None,
        memo,
    )
