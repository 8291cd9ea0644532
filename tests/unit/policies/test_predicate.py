"""Row predicates: attributes become literals where they stand for values, and nowhere else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.predicate import Predicate, parse_predicate


def parsed(text: str) -> Predicate:
    found = parse_predicate(text)
    assert isinstance(found, Predicate), found
    return found


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("branch = :user.branch", "SH01", "branch = 'SH01'"),
        ("branch = :user.branch", "O'Hara", "branch = 'O''Hara'"),
        ("branch = :user.branch", "a\\' or true or '", "branch = 'a\\'' or true or '''"),
        ("note = ':user.branch' and branch = :user.branch", "x", "note = ':user.branch' and branch = 'x'"),
        ('":user.branch" = :user.branch', "x", "\":user.branch\" = 'x'"),
        ("branch::user.branch = 'y'", "x", "branch::user.branch = 'y'"),
        ("(branch)=ANY(string_to_array(:user.branch,','))", "a,b", "(branch)=ANY(string_to_array('a,b',','))"),
    ],
)
def test_bind(text: str, value: str, expected: str) -> None:
    assert parsed(text).bind({"branch": value}) == expected


def test_a_missing_attribute_binds_nothing() -> None:
    assert parsed("branch = :user.branch").bind({"grade": "3"}) is None
    assert parsed("vip").bind({}) == "vip"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("not vip and balance < 500000", {"vip", "balance"}),
        ('Branch = 1 or "Branch" = 2', {"branch", "Branch"}),
        ("opened > date '2020-01-01' and lower(name) = 'x'", {"opened", "name"}),
        ("kind::pg_catalog.text in ('a', 'b') is true", {"kind"}),
        ("cast(a as int) between 1 and 2 and b is not null", {"a", "b"}),
        ("(addr).city = 'x' or t.c = 1", {"addr"}),
        ("case when a then b else false end", {"a", "b"}),
        ("分行 = 'x'", {"分行"}),
        ("now() < until and current_date > since", {"until", "since"}),
        ('a collate "C" = :user.x', {"a"}),
    ],
)
def test_names(text: str, names: set[str]) -> None:
    assert parsed(text).names == names


@pytest.mark.parametrize("text", ["e'\\''", "a /* x */", "$$x$$", "$tag$x$tag$", "a;", "U&'x'", "a \\ b", "x'", '"', "a)", "[a)"])
def test_refused(text: str) -> None:
    assert isinstance(parse_predicate(text), str)


quotes = st.text(st.sampled_from("ab'\\\"$;-() "), max_size=10)


@given(quotes, st.sampled_from(["a = {}", "{} = a or ({}) <> b", "f({}, 'x', \"y\")"]))
def test_a_bound_value_stays_one_literal(value: str, shape: str) -> None:
    """Read as SQL, the predicate with the value in it has the same tokens as with an empty one, whatever the value holds."""
    predicate = parsed(shape.replace("{}", ":user.x"))
    bound = predicate.bind({"x": value})
    assert bound is not None
    pieces = re.split(r"'((?:[^']|'')*)'", bound)
    literals = [p.replace("''", "'") for p in pieces[1::2]]
    assert literals.count(value) >= shape.count("{}")
    assert pieces[::2] == re.split(r"'(?:[^']|'')*'", shape.replace("{}", "''"))
