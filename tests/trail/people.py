"""The people of the made-up bank, where they sit, and what they ask for. All names and numbers are invented."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

LEVELS = {
    "name": "C2",
    "phone": "C2",
    "id_card": "C2",
    "email": "C2",
    "address": "C2",
    "balance": "C2",
    "card_no": "C3",
    "cvv": "C3",
}
COLUMNS = {
    "full_name": "name", "phone": "phone", "id_card": "id_card", "email": "email", "address": "address", "balance": "balance",
}  # fmt: skip
CUSTOMERS = 50_000


def phone_of(customer: int) -> str:
    return f"138{(customer * 7919 + 12345) % 10**8:08d}"


def id_card_of(customer: int) -> str:
    return f"11010219{60 + customer % 40:02d}{1 + customer % 12:02d}{1 + customer % 28:02d}{customer % 10000:04d}"


def card_of(customer: int) -> str:
    return f"621700{(customer * 104729 + 777) % 10**10:010d}"


@dataclass(frozen=True, slots=True)
class Use:
    """How a statement uses a sensitive column of the table."""

    column: str
    use: str = "output"
    relation: str = "bank.customers"
    data_class: str = ""

    @property
    def kind(self) -> str:
        return self.data_class or COLUMNS[self.column]


@dataclass(frozen=True, slots=True)
class Question:
    """A statement that is asked again and again."""

    text: str
    uses: tuple[Use, ...] = ()
    by: tuple[str, ...] = ()
    """What its literals say: phone, id_card, card, customer, word."""
    binds: tuple[str, ...] = ()
    rows: tuple[int, int] = (0, 1)
    tag: str = "SELECT"
    refusal: tuple[str, str] | None = None
    failing: str | None = None


def _out(*columns: str) -> tuple[Use, ...]:
    return tuple(Use(column) for column in columns)


LOOK_UP = (
    Question("SELECT id, full_name, phone FROM bank.customers WHERE id = $1", _out("full_name", "phone"), binds=("customer",)),
    Question(
        "SELECT id, full_name, phone, address FROM bank.customers WHERE phone = ?",
        (*_out("full_name", "phone", "address"), Use("phone", "filter")), by=("phone",),
    ),
    Question(
        "SELECT full_name, id_card, balance FROM bank.customers WHERE id_card = ?",
        (*_out("full_name", "id_card", "balance"), Use("id_card", "filter")), by=("id_card",),
    ),
    Question(
        "SELECT c.full_name, k.card_no FROM bank.cards k JOIN bank.customers c ON c.id = k.customer_id WHERE k.card_no = $1",
        (Use("full_name"), Use("card_no", "output", "bank.cards", "card_no"), Use("card_no", "filter", "bank.cards", "card_no")),
        binds=("card",),
    ),
)  # fmt: skip
PLAIN = (
    Question("SELECT code, name, region FROM bank.branches", rows=(6, 6)),
    Question("SELECT count(*) FROM bank.transactions WHERE booked >= ?", by=("word",), rows=(1, 1)),
    Question(
        "UPDATE bank.transactions SET state = ? WHERE id = $1", by=("word",), binds=("customer",), rows=(1, 1), tag="UPDATE"
    ),
    Question("BEGIN", rows=(0, 0), tag="BEGIN"),
    Question("COMMIT", rows=(0, 0), tag="COMMIT"),
    Question("SELECT branch, avg(balance) FROM bank.customers GROUP BY branch", (Use("balance"),), rows=(6, 6)),
)
LISTS = (
    Question(
        "SELECT full_name, phone, email FROM bank.customers WHERE branch = ? ORDER BY full_name LIMIT ?",
        (*_out("full_name", "phone", "email"), Use("full_name", "sort")), by=("word", "word"), rows=(20, 400),
    ),
    Question("SELECT * FROM bank.customers WHERE vip", _out(*COLUMNS), rows=(5, 60)),
    Question(
        "SELECT full_name, phone FROM bank.customers WHERE phone LIKE ?", (*_out("full_name", "phone"), Use("phone", "filter")),
        by=("phone",), rows=(0, 3),
    ),
)  # fmt: skip
EXPORT = Question("COPY (SELECT full_name, phone, id_card FROM bank.customers) TO STDOUT",
                  _out("full_name", "phone", "id_card"), rows=(40_000, 50_000), tag="COPY")  # fmt: skip
REFUSED = (
    Question("SELECT cvv FROM bank.cards WHERE card_no = ?", (Use("cvv", "output", "bank.cards", "cvv"),), by=("card",),
             refusal=("42501", "column bank.cards.cvv is denied by rule 'DBAs do not touch card verification values'")),
    Question("SELECT query_to_xml(?, ?, ?, ?)", by=("word",) * 4, refusal=("42501", "function query_to_xml runs SQL text")),
)  # fmt: skip
FAILING = (Question("SELECT nothing FROM bank.branches", failing="42703", rows=(0, 0)),)


@dataclass(frozen=True, slots=True)
class Person:
    login: str
    name: str
    """Whom the login acts for; the login itself when nobody else."""
    roles: tuple[str, ...]
    asserted: tuple[tuple[str, str], ...]
    application: str
    network: str
    shows: dict[str, tuple[str, str | None]]
    """How classes are shown to this person, and by which rule."""
    questions: tuple[Question, ...]
    weights: tuple[int, ...]
    """How often each is asked; added up from the first on once the person is there."""
    share: int
    """Of the sessions, by day."""
    night: int = 0
    """The same at night and on weekends."""
    favourite: int = 0
    """A customer whom this person looks up again and again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(itertools.accumulate(self.weights)))

    @property
    def person(self) -> str:
        return self.login if self.name == self.login else f"{self.login}/{self.name}"


_MASK: dict[str, tuple[str, str | None]] = dict.fromkeys(LEVELS, ("mask", None))


def _shown(rule: str, *classes: str, show: str = "clear") -> dict[str, tuple[str, str | None]]:
    return {**_MASK, **dict.fromkeys(classes, (show, rule))}


_SURNAMES = ("王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴")
_GIVEN = ("伟", "芳", "娜", "静", "磊", "晓明", "丽华", "志强", "雪梅", "思远")
_MENU = "menu 0412, customer file - ordinary customers of the teller's own branch"


@dataclass(slots=True)
class Staff:
    people: list[Person] = field(default_factory=list)

    def by_name(self, name: str) -> Person:
        return next(p for p in self.people if p.name == name)


def make_staff(rng: random.Random) -> Staff:
    staff = Staff()
    add = staff.people.append
    work = (*LOOK_UP, *PLAIN)
    for n in range(40):
        name = _SURNAMES[n % 10] + _GIVEN[(n * 3 + n // 10) % 10]
        menu = rng.choice(("0412", "0413"))
        asserted = (("teller", name), ("menu", menu), ("channel", "counter"), ("purpose", "service"))
        shows = {**_shown(_MENU, "name", "phone", "id_card", "address", "balance", show="conditional")}
        if n == 7:  # the insider: a few look-ups a day, for a year
            add(Person("core_banking", name, ("core",), asserted, "core-banking 7.2", "10.8.1", shows, LOOK_UP, (8, 6, 4, 3),
                       12, 1, favourite=4711))  # fmt: skip
            continue
        add(Person("core_banking", name, ("core",), asserted, "core-banking 7.2", f"10.8.{n % 6}", shows, work,
                   (14, 6, 4, 3, 8, 4, 5, 9, 9, 1), 10))  # fmt: skip
    for n in range(12):
        tool = ("DBeaver 24.1", "Tableau 2025.2", "psql", "Jupyter")[n % 4]
        questions = (*LISTS, *PLAIN, *FAILING, *REFUSED)
        add(Person(f"analyst{n:02d}", f"analyst{n:02d}", ("analyst",), (("purpose", "campaign"),), tool, "10.20.3", _MASK,
                   questions, (5, 2, 2, 3, 3, 1, 2, 2, 6, 1, 1, 1), 3, 1))  # fmt: skip
    for n in range(6):
        shows = _shown("managers see ordinary customers; the important ones stay masked", *COLUMNS.values(), show="conditional")
        add(Person(f"manager{n}", f"manager{n}", ("branch_manager",), (), "Excel", f"10.8.{n}", shows, (*LISTS, *LOOK_UP),
                   (3, 1, 2, 4, 4, 2, 1), 2))  # fmt: skip
    for n in range(2):
        shows = _shown("auditors see everything", *LEVELS)
        add(Person(f"auditor{n}", f"auditor{n}", ("auditor",), (("purpose", "审计"),), "psql", "10.30.0", shows,
                   (*LISTS, *LOOK_UP), (2, 1, 1, 3, 3, 2, 2), 1))  # fmt: skip
    shows = _shown("who collects debts sees whom to call", "name", "phone")
    add(Person("risk", "risk", ("risk",), (("purpose", "collection"),), "risk-desk", "10.21.0", shows, (*LISTS, *LOOK_UP),
               (3, 1, 2, 4, 4, 2, 1), 6, 1))  # fmt: skip
    add(Person("mobile_api", "mobile_api", ("api",), (), "mobile-gateway", "10.40.0", _MASK, work,
               (20, 5, 2, 2, 5, 2, 8, 12, 12, 0), 60, 60))  # fmt: skip
    add(
        Person(
            "admin",
            "admin",
            ("admin",),
            (),
            "psql",
            "10.9.9",
            _MASK,
            (*PLAIN, *REFUSED, *FAILING),
            (2, 2, 1, 1, 1, 1, 1, 1, 1),
            1,
            1,
        )
    )
    return staff


def weighted(people: Sequence[Person], night: bool) -> list[Person]:
    """A list to choose from, each as often as their share of the sessions."""
    return [p for p in people for _ in range(p.night if night else p.share)]
