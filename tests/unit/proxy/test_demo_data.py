"""The sample bank's numbers are what they look like, checked by somebody else's code."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest
from stdnum import luhn
from stdnum.cn import ric
from stdnum.iso7064 import mod_11_2

from proxy.demo.data import Bank, make_bank


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank()


def test_id_numbers_are_valid_and_carry_the_birth_date(bank: Bank) -> None:
    for row in bank.customers:
        number = str(row[2])
        assert mod_11_2.is_valid(number), row
        assert ric.get_birth_date(number) == row[5], row


def test_card_and_account_numbers_pass_the_luhn_test(bank: Bank) -> None:
    assert all(luhn.is_valid(str(row[2])) for row in [*bank.cards, *bank.accounts])


def test_keys_are_unique(bank: Bank) -> None:
    for rows, column in ((bank.customers, 2), (bank.customers, 3), (bank.cards, 2), (bank.accounts, 2)):
        assert len({row[column] for row in rows}) == len(rows)


def test_balance_of_a_customer_is_the_sum_of_the_accounts(bank: Bank) -> None:
    sums: dict[object, Decimal] = defaultdict(Decimal)
    for account in bank.accounts:
        assert isinstance(account[5], Decimal)
        if account[4] == "CNY":
            sums[account[1]] += account[5]
    assert {row[0]: row[7] for row in bank.customers} == sums


def test_equal_seeds_give_equal_banks(bank: Bank) -> None:
    assert list(make_bank().tables()) == list(bank.tables())
    assert make_bank(seed=2, customers=50, transactions=5).customers != bank.customers[:50]


def test_there_is_something_for_every_rule_of_the_policy(bank: Bank) -> None:
    ordinary = [row for row in bank.customers if not row[8] and row[7] < Decimal(1_000_000)]  # type: ignore[operator]
    assert 2000 < len(ordinary) < len(bank.customers) - 100
    assert any(str(row[1]).isascii() for row in bank.customers)
    assert any(not str(row[1]).isascii() for row in bank.customers)
