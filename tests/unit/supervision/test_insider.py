"""A short form of `python -m tests.insider`: the insiders raise their alerts, and nobody else raises any."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.load import load_policy
from proxy.supervision.replay import Replay
from tests.insider.__main__ import RULES
from tests.insider.bank import EXPECTED, INSIDERS, write_year

DAYS = 100


@pytest.mark.parametrize("insiders", [INSIDERS, ()])
def test_a_hundred_days(tmp_path: Path, insiders: tuple[str, ...]) -> None:
    records = write_year(tmp_path / "trail", 1, DAYS, 0.02, insiders)
    run = Replay(tmp_path / "trail", load_policy([RULES]).alerts)
    alarms = list(run)
    assert {(alarm.name, alarm.key) for alarm in alarms} == (EXPECTED if insiders else set())
    assert (run.records, run.unread, run.broken) == (records, 0, [])
    assert all(alarm.first.startswith("worker-") and alarm.last.startswith("worker-") for alarm in alarms)
