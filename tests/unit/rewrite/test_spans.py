"""The bytes an edit may replace."""

from __future__ import annotations

import pytest

from rewrite.pgtree import parse
from rewrite.spans import SpanError, Spans
from rewrite.survey import Survey


def spans(text: str) -> list[tuple[str, str, bool]]:
    """Name, whole construct and whether it is the command TABLE, of every relation named."""
    raw = text.encode()
    out = []
    for statement in parse(text):
        for site in Survey(statement.kind, statement.body).sites:
            s = Spans(text).relation(site.location, site.parts, only=site.only)
            out.append((raw[s.start : s.end].decode(), raw[s.outer_start : s.outer_end].decode(), s.table_command))
    return out


@pytest.mark.parametrize(
    ("text", "name", "outer"),
    [
        ("SELECT 1 FROM a", "a", "a"),
        ("SELECT 1 FROM s.a x", "s.a", "s.a"),
        ("SELECT 1 FROM d.s.a", "d.s.a", "d.s.a"),
        ("SELECT 1 FROM s . a", "s . a", "s . a"),
        ("SELECT 1 FROM s /* . */ . -- .\n a x", "s /* . */ . -- .\n a", "s /* . */ . -- .\n a"),
        ("SELECT 1 FROM s./* /* */ */a", "s./* /* */ */a", "s./* /* */ */a"),
        ("SELECT 1 FROM ONLY s.a x", "s.a", "ONLY s.a"),
        ("SELECT 1 FROM ONLY (s.a) x", "s.a", "ONLY (s.a)"),
        ("SELECT 1 FROM only/**/( /**/ a /**/ )x", "a", "only/**/( /**/ a /**/ )"),
        ("SELECT 1 FROM s.a * x", "s.a", "s.a *"),
        ("SELECT 1 FROM a*, b", "a", "a*"),
        ('SELECT 1 FROM "s"."a""b" x', '"s"."a""b"', '"s"."a""b"'),
        ('SELECT 1 FROM "s.t"."FROM"', '"s.t"."FROM"', '"s.t"."FROM"'),
        ('SELECT 1 FROM U&"\\0061" x', 'U&"\\0061"', 'U&"\\0061"'),
        ("""SELECT 1 FROM s.u&"!0061" UESCAPE '!' x""", """s.u&"!0061" UESCAPE '!'""", """s.u&"!0061" UESCAPE '!'"""),
        ("SELECT '中文', 1 FROM 零售.客户 客", "零售.客户", "零售.客户"),
        ("SELECT 1 FROM " + "长" * 40, "长" * 40, "长" * 40),
        ("SELECT 1 FROM " + "x" * 100, "x" * 100, "x" * 100),
        ("SELECT 1;; SELECT 2 FROM a", "a", "a"),
        ("COPY s.a (b) TO STDOUT", "s.a", "s.a"),
    ],
)
def test_names(text: str, name: str, outer: str) -> None:
    found = spans(text)
    assert found[0] == (name, outer, False)


@pytest.mark.parametrize(
    "text", ["TABLE s.a", "table/**/s.a", "(TABLE s.a)", "SELECT 1 UNION TABLE s.a", "WITH x AS (TABLE s.a) SELECT 1"]
)
def test_table_command(text: str) -> None:
    (found,) = spans(text)
    assert found[0] == "s.a"
    assert found[2]


def test_table_command_with_only() -> None:
    assert spans("TABLE ONLY (s.a)") == [("s.a", "TABLE ONLY (s.a)", True)]


def test_a_place_without_a_name_is_an_error() -> None:
    with pytest.raises(SpanError):
        Spans("SELECT 1 FROM a").relation(3, 1)
    with pytest.raises(SpanError):
        Spans("SELECT 1 FROM a").relation(14, 2)
    with pytest.raises(SpanError):
        Spans("SELECT 1 FROM a").relation(14, 1, only=True)


def test_arguments_and_parentheses() -> None:
    text = "SELECT f(g(1, ')'), ARRAY[2, 3])"
    s = Spans(text)
    start, end = s.first_argument(7, 1)
    assert text[start:end] == "g(1, ')')"
    assert s.closing(8) == len(text)
    with pytest.raises(SpanError):
        s.closing(0)


def test_group_by() -> None:
    text = "SELECT 1 FROM a GROUP BY DISTINCT b"
    assert text[: Spans(text).group_by(text.index("b", 30))].endswith("GROUP BY DISTINCT")
