"""`alerts`: what they say, and what they refuse to take."""

from __future__ import annotations

import pytest

from policies import DocumentError
from tests.unit.policies.support import policy

HEAD = "version: 1\nclasses: { phone: { level: C2, mask: null } }\n"


def test_everything() -> None:
    first, second = policy(
        HEAD + "alerts:\n  - { on: clear, level: C3 }\n"
        "  - { name: many, on: refused, more_than: 10, within: 1h, per: address, severity: critical }"
    ).alerts
    assert (first.name, first.kind, first.more_than, first.within, first.per, first.severity) == (
        "clear", "clear", 0, 600.0, "user", "warning",
    )  # fmt: skip
    assert [s.source for s in first.columns] == ["level>=C3"]
    assert (second.name, second.more_than, second.within, second.per, second.severity) == (
        "many",
        10,
        3600.0,
        "address",
        "critical",
    )


def test_files_are_taken_together() -> None:
    found = policy(HEAD + "alerts: [{ on: clear }]", "version: 1\nalerts: [{ on: refused, name: x }]").alerts
    assert [alert.name for alert in found] == ["clear", "x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a list"),
        ("[{ name: x }]", "found no key 'on'"),
        ("[{ on: clean }]", "did you mean 'clear'"),
        ("[{ on: refused, level: C3 }]", "found with on: refused"),
        ("[{ on: clear, level: C3, columns: '*' }]", "found beside level"),
        ("[{ on: clear, columns: class=phon }]", "found no class 'phon'"),
        ("[{ on: clear, columns: [] }]", "expected at least one column"),
        ("[{ on: clear, more_than: -1 }]", "expected a whole number"),
        ("[{ on: clear, within: 0 }]", "found an empty window"),
        ("[{ on: clear, per: table }]", "expected one of user, address, database, application"),
        ("[{ on: clear, severity: bad }]", "expected one of info"),
        ("[{ on: clear }, { on: clear }]", "is called 'clear' like the one at p1.yaml:3"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        policy(f"{HEAD}alerts: {text}")
    assert message in str(caught.value)
