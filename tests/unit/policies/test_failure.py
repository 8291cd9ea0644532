"""`on_failure`: named logins only, and never everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import DocumentError
from policies.decide import failed_profile
from rewrite.plan import Verdict
from rewrite.planner import Planner
from tests.support.minibank import context
from tests.unit.policies.support import policy

POLICY = """
version: 1
on_failure:
  default: refuse
  core_banking: clear
  batch: { show: clear, at_most: 5, within: 10m }
  other: refuse
"""


def test_it_names_logins() -> None:
    found = policy(POLICY).on_failure
    assert {login: (e.at_most, e.within) for login, e in found.items()} == {"core_banking": (None, 3600.0), "batch": (5, 600.0)}


def test_files_are_taken_together() -> None:
    found = policy("version: 1\non_failure: { a: clear }", "version: 1\non_failure: { default: refuse, b: clear }").on_failure
    assert found.keys() == {"a", "b"}


def test_a_broken_profile_is_for_exempt_logins_only() -> None:
    p = policy("version: 1\non_failure: { a: clear }")
    assert failed_profile(p, "A", 0.0) is None
    found = failed_profile(p, "a", 100.0)
    assert found is not None
    assert (found.masked, found.broken, found.valid_until) == (True, True, 105.0)


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT phone FROM bank.customers", "BEGIN"])
def test_under_a_broken_profile_nothing_can_be_read(text: str) -> None:
    """It knows of no column, so nothing may pass for harmless."""
    found = failed_profile(policy("version: 1\non_failure: { a: clear }"), "a", 0.0)
    assert found is not None
    plan = Planner().plan(text, replace(context(), profile=found))
    assert plan.verdict is Verdict.REFUSE
    assert plan.refusal is not None
    assert plan.refusal.failure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "on_failure: { default: clear }",
            "p1.yaml:2:24: key 'on_failure.default': found 'clear' for everybody",
        ),
        ("on_failure: { 'core_*': clear }", "expected the name of one login, without wildcards"),
        ("on_failure: { a: show }", "expected one of refuse, clear"),
        ("on_failure: { a: { at_most: 1 } }", "found no key 'show'"),
        ("on_failure: { a: { show: clear, within: 1h } }", "found without at_most"),
        ("on_failure: { a: { show: refuse, at_most: 1 } }", "found refuse with a number"),
        ("on_failure: { a: { show: clear, at_most: 1, within: 0 } }", "found an empty window"),
        ("on_failure: { a: clear, a: refuse }", "found twice"),
        ("on_failure: []", "expected a mapping"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        policy(f"version: 1\n{text}")
    assert message in str(caught.value)


def test_each_login_stands_in_one_file() -> None:
    with pytest.raises(DocumentError, match=r"is also at p1\.yaml:2"):
        policy("version: 1\non_failure: { a: clear }", "version: 1\non_failure: { a: clear }")
