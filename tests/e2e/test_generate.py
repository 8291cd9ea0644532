"""Random statements through pgveil and directly on a masked copy: no raw value, no other answer, nothing protected read bare.

The statements are those of fixed seeds (tests.generate); `python -m tests.generate` runs more of them and shrinks what fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.generate.banks import Bank, mini_bank
from tests.generate.bare import guarded, violations
from tests.generate.mutate import Mutator
from tests.generate.run import Runner
from tests.generate.shrink import shrink
from tests.generate.statements import Case, Step, generate
from tests.generate.trial import Canaries, Side, Verdict, judge

GENERATED, MUTATED = 700, 250
MOST_REFUSED = 0.12
"""Of what the masked copy answers; writes and relations that are always refused are part of the mix."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with mini_bank(tmp_path_factory.mktemp("generate") / "proxy") as bank:
        yield bank


def _check(runner: Runner) -> None:
    report = runner.report
    assert not report.failures, "\n".join(map(str, report.failures[:5]))
    assert report.verdicts["timeout"] == 0, report.text()
    assert report.succeeded > 0.8 * sum(report.verdicts.values()), report.text()
    assert report.refused_share < MOST_REFUSED, report.text()
    assert report.upstream > sum(report.verdicts.values())


def test_generated_statements(bank: Bank) -> None:
    runner = Runner(bank)
    runner.run(generate(bank.schema, 1, number, bank.paths) for number in range(GENERATED))
    _check(runner)


def test_mutated_fixtures(bank: Bank) -> None:
    runner = Runner(bank)
    mutator = Mutator()
    runner.run(mutator.case(1, number) for number in range(MUTATED))
    assert not runner.report.failures, "\n".join(map(str, runner.report.failures[:5]))
    assert len(mutator.fixtures) > 200


def test_the_same_seed_gives_the_same_statements(bank: Bank) -> None:
    def texts(seed: int) -> list[str]:
        return [str(generate(bank.schema, seed, n, bank.paths)) for n in range(30)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_a_raw_answer_is_a_leak_and_a_difference(bank: Bank) -> None:
    """The judge: what the raw database says directly is never taken for right."""
    case = Case((Step("SELECT id, phone FROM bank.customers"),))
    raw, masked = Side(bank.admin), Side(bank.direct)
    try:
        answers = masked.run(case)
        assert judge(case, raw.run(case), answers, Canaries(bank.canaries)).verdict is Verdict.LEAK
        assert judge(case, raw.run(case), answers, Canaries(())).verdict is Verdict.DIFFERS
        assert judge(case, answers, answers, Canaries(bank.canaries)).verdict is Verdict.EQUAL
    finally:
        raw.close()
        masked.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT phone FROM bank.customers", "bank.customers is read as it is"),
        ("SELECT 1 FROM (bank.branches b LEFT JOIN bank.accounts a ON true)", "bank.accounts is read as it is"),
        ("SELECT left(name, 1) || '**' AS phone FROM archive.customers", "archive.customers is read as it is"),
        ("SELECT left(name, 1) || '**' AS name, phone FROM archive.customers", "archive.customers is read as it is"),
        ("SELECT left(name, 1) || '**' AS name FROM archive.customers WHERE phone = '1'", "archive.customers is read as it is"),
        ("SELECT EXISTS (SELECT FROM ONLY bank.accounts a WHERE balance > 1)", "bank.accounts is read as it is"),
        ("SELECT * FROM bank.v_label", "bank.v_label is read as it is"),
        ("WITH c AS (SELECT 1) SELECT * FROM accounts", "accounts is read without a schema"),
        ("DELETE FROM bank.branches USING bank.customers c WHERE c.name = code", "bank.customers is read as it is"),
        ("SELECT id, pg_catalog.left(name, 1) OPERATOR(pg_catalog.||) '**' AS name FROM archive.customers AS c", None),
        ("WITH accounts AS (SELECT 1) SELECT * FROM accounts", None),
        ("SELECT id FROM bank.accounts", None),
        ("SELECT code FROM bank.branches", None),
    ],
)
def test_the_second_opinion(bank: Bank, text: str, problem: str | None) -> None:
    with psycopg.connect(bank.admin) as admin, psycopg.connect(bank.direct) as direct:
        found = violations(text, guarded(admin, direct, bank.masks))
    assert found == ([problem] if problem else [])


def test_what_the_second_opinion_sees_is_what_reached_the_server(bank: Bank) -> None:
    """A statement that goes round pgveil is found in the server's log."""
    runner = Runner(replace(bank, proxy=bank.proxy.replace(f"port={_port(bank.proxy)}", f"port={_port_of_url(bank.admin)}")))
    report = runner.run([Case((Step("SELECT count(*) FROM bank.customers"), Step("SELECT count(phone)\n\tFROM bank.customers")))])
    assert [f.outcome.verdict for f in report.failures] == [Verdict.BARE]


def _port(dsn: str) -> str:
    return next(word.removeprefix("port=") for word in dsn.split() if word.startswith("port="))


def _port_of_url(url: str) -> str:
    return url.rsplit(":", 1)[1].split("/")[0]


def test_shrinking() -> None:
    case = Case((Step("SELECT 1"), Step("SELECT a, /* x */ (b + bad), c FROM t WHERE (x = 1) ORDER BY 2")), ("bank",))
    small = shrink(case, lambda c: any("bad" in s.text for s in c.steps))
    assert [s.text for s in small.steps] == ["SELECT bad"]
    assert small.path == ()
