"""`limits`: of whom they speak, and what they refuse to take."""

from __future__ import annotations

import pytest

from policies import DocumentError
from policies.limits import NO_CAPS, Caps, caps
from tests.unit.policies.support import policy

POLICY = """
version: 1
limits:
  - { name: analysts, role: analysts, probes_per_hour: 20 }
  - { name: li, user: [li, wang], probes_per_hour: 5 }
  - { name: all, probes_per_hour: 100 }
"""


@pytest.mark.parametrize(
    ("user", "roles", "name", "most"),
    [("zhang", {"zhang"}, "all", 100), ("zhang", {"analysts"}, "analysts", 20), ("li", {"li", "analysts"}, "li", 5)],
)
def test_the_smallest_number_counts(user: str, roles: set[str], name: str, most: int) -> None:
    cap = caps(policy(POLICY).limits, user, roles).probes
    assert cap is not None
    assert (cap.limit.name, cap.most) == (name, most)


def test_nobody_is_limited_without_a_limit() -> None:
    assert caps(policy("version: 1\nlimits: [{ role: analysts, probes_per_hour: 20 }]").limits, "li", {"li"}) is NO_CAPS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: {}", "p1.yaml:2:9: key 'limits': found a mapping, expected a list"),
        ("limits: [{ role: a }]", "found no number, expected at least one of"),
        ("limits: [{ probes_per_hour: -1 }]", "expected a whole number from 0"),
        ("limits: [{ probes_per_hours: 1 }]", "did you mean 'probes_per_hour'"),
        ("limits: [{ probes_per_hour: 1, role: a, roles: b }]", "means the same as 'role'"),
        ("limits: [{ probes_per_hour: 1, role: [] }]", "expected at least one name"),
        ("limits: [{ probes_per_hour: 1, over: mask }]", "is about data in clear"),
        ("limits: [{ name: a, probes_per_hour: 1 }, { name: a, probes_per_hour: 2 }]", "is also the name at p1.yaml:2"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        policy(f"version: 1\n{text}")
    assert message in str(caught.value)


def test_each_number_has_its_limit() -> None:
    text = "version: 1\nlimits:\n  - { name: few, user: li, clear_rows_per_session: 9, clear_values_per_day: 3, over: mask }\n"
    found = caps(policy(text + "  - { name: all, clear_values_per_day: 4, clear_values_per_statement: 2 }").limits, "li", {"li"})
    shown = {n: (c.most, c.limit.name) for n in Caps.__dataclass_fields__ if (c := getattr(found, n)) is not None}
    assert shown == {"session": (9, "few"), "values_day": (3, "few"), "values_statement": (2, "all")}
    assert (found.rows, found.values) == (True, True)
    assert found.names == [None, "few", None, None, "all", None, "few"]
