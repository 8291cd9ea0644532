"""What changes between two policies, without a server: whoever rules tell apart, in all situations that they tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import cli

HEAD = """\
version: 1
classes: { phone: { level: C2, mask: redact }, pin: { level: C3, mask: null } }
columns: { a.b.phone: phone, a.b.pin: pin }
"""
RULE = HEAD + "rules: [{ name: r, columns: class=phone, show: clear, %s }]\n"


def diff(home: Path, old: str, new: str, *options: str) -> tuple[int, list[str]]:
    """Exit status, and the lines on who sees what."""
    (home / "old.yaml").write_text(old, encoding="utf-8")
    (home / "new.yaml").write_text(new, encoding="utf-8")
    done = CliRunner().invoke(cli, ["diff", *options, str(home / "old.yaml"), str(home / "new.yaml")])
    lines = done.output.replace(f"{home}/", "").splitlines()
    if "who sees what:" not in lines:
        return done.exit_code, lines
    first = lines.index("who sees what:")
    return done.exit_code, [line.strip() for line in lines[first + 1 : lines.index("", first)]]


CLEAR = "a.b.phone: masked (redact) → clear by rule 'r'"


@pytest.mark.parametrize(
    ("condition", "lines"),
    [
        ("role: x", ["(a member of x):", CLEAR]),
        ("user: u", ["u:", CLEAR]),
        ("database: d", ["(anybody else):", CLEAR + ", only in database d"]),
        ("application_name: 'c[ab]*'", ["(anybody else):", CLEAR + ", only with application_name c[ab]*"]),
        ("network: [10.0.0.0/8, 11.0.0.0/8]", ["(anybody else):", CLEAR + ", only from 10.0.0.0/8 or 11.0.0.0/8"]),
        ("when: { menu: ['1', '2'], app: x }", ["(anybody else):", CLEAR + ", only with application_name x, with menu 1 or 2"]),
        ("when: { menu: '*' }", ["(anybody else):", CLEAR + ", only with menu ‹any›"]),
        ("when: { time: '22:00-06:00' }", ["at mon-sun 22:00-06:00 UTC"]),
        ("when: { days: sat-sun, timezone: Asia/Shanghai }", ["only at sat 00:00 to mon 00:00 Asia/Shanghai"]),
        ("rows: x = :user.n", ["clear where x = :user.n, otherwise masked as before by rule 'r', only with n ‹any›"]),
    ],
)
def test_a_rule_is_added(tmp_path: Path, condition: str, lines: list[str]) -> None:
    attributes = "attributes: { anyone: [menu, n] }\n"
    status, found = diff(tmp_path, HEAD + attributes, RULE % condition + attributes)
    assert status == 1
    for line in lines:
        assert line in found or any(line in other for other in found), found


def test_a_gap_between_two_conditions_is_found(tmp_path: Path) -> None:
    """Only together they differ: both policies show it to somebody, but not in the same situations."""
    both = "rules: [{ name: r, columns: class=phone, when: { app: x, network: 10.0.0.0/8 }, show: clear }]\n"
    one = both.replace("app: x, ", "")
    assert diff(tmp_path, HEAD + both, HEAD + one)[1][1:] == [
        "a.b.phone: masked (redact) → clear by rule 'r', only with another application_name, from 10.0.0.0/8"
    ]


def test_what_does_not_change(tmp_path: Path) -> None:
    status, lines = diff(tmp_path, HEAD, "# comment\n" + HEAD)
    assert status == 0
    assert any(line.startswith("nobody sees anything else, of what was looked at: 1 kinds of login, 2 columns") for line in lines)
    assert [line for line in lines if line.startswith("not looked at:")] != []


def test_a_change_that_nobody_meets_is_a_change(tmp_path: Path) -> None:
    for extra, said in (
        ("functions: { allow: [a.f] }\n", "~ functions"),
        (
            "classes: { phone: { level: C3, mask: redact }, pin: { level: C3, mask: null } }\n",
            "~ class phone (new.yaml:3): level",
        ),
        ("limits: [{ name: l, probes_per_hour: 3 }]\n", "~ limits"),
        ("attributes: { anyone: x }\n", "~ attributes"),
    ):
        head = HEAD.replace("classes: { phone: { level: C2, mask: redact }, pin: { level: C3, mask: null } }\n", "")
        new = head + extra if "classes" in extra else HEAD + extra
        status, lines = diff(tmp_path, HEAD, new)
        assert status == 1
        assert "  " + said in lines, lines


def test_rules_in_another_order(tmp_path: Path) -> None:
    rules = ["{ name: a, role: x, columns: '*', show: clear }", "{ name: b, role: x, columns: '*', show: deny }"]
    old, new = (HEAD + f"rules: [{', '.join(order)}]\n" for order in (rules, rules[::-1]))
    status, lines = diff(tmp_path, old, new)
    assert (status, lines) == (1, ["(a member of x):", "a.b.phone, a.b.pin: clear → denied by rule 'b', was by rule 'a'"])


def test_masks_of_the_same_name_that_differ(tmp_path: Path) -> None:
    mask = "json: { $.a: redact }"
    old = HEAD.replace("mask: redact", f"mask: {{ {mask} }}")
    _, lines = diff(tmp_path, old, old.replace("$.a", "$.b"))
    assert "a.b.phone: masked (json) → masked (json) of another kind by no rule" in lines


def test_filters(tmp_path: Path) -> None:
    new = HEAD.replace("a.b.phone: phone", "a.b.phone: { class: phone, filters: equality }")
    _, lines = diff(tmp_path, HEAD, new)
    assert lines[1:] == ["a.b.phone: masked (redact), filters masked → masked (redact), filters equality (60 an hour) by no rule"]


def test_too_many_conditions_are_tried_rule_by_rule_and_said(tmp_path: Path) -> None:
    one = "{ name: r%d, columns: class=phone, when: { a%d: ['1', '2', '3'] }, show: { keep: { last: %d } } }"
    rules = ", ".join(one % (n, n, n + 1) for n in range(6))
    attributes = f"attributes: {{ anyone: [{', '.join(f'a{n}' for n in range(6))}] }}\n"
    old = HEAD + attributes + f"rules: [{rules}]\n"
    status, lines = diff(tmp_path, old, old.replace("last: 6", "last: 7"))
    assert status == 1
    assert lines[2:4] == ["was masked (keep last 6)", "now masked (keep last 7)"]
    assert lines[4] == "by rule 'r5', only with a5 1 or 2 or 3, in 3 of 19 situations that were tried"
    done = CliRunner().invoke(cli, ["diff", str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")])
    assert "not looked at: combinations of more conditions than one rule has (4096 for (anybody else))" in done.output


def test_a_role_that_is_asserted(tmp_path: Path) -> None:
    """A trusted application can act as a member of a role that its login does not have."""
    attributes = "attributes: { trusted_apps: { app: [role] } }\n"
    found = diff(tmp_path, HEAD + attributes, RULE % "role: x" + attributes, "--as", "app")[1]
    assert found == ["app:", CLEAR + ", only asserting role x"]
    found = diff(tmp_path, RULE % "role: x", RULE % "role: x" + attributes, "--as", "app")[1]
    assert found == ["app:", CLEAR + ", only asserting role x"]
    assert CLEAR not in " ".join(diff(tmp_path, RULE % "role: x", RULE % "role: x" + attributes, "--as", "other")[1])


def test_only_who_may_assert_is_met(tmp_path: Path) -> None:
    attributes = "attributes: { trusted_apps: { app: [menu] } }\n"
    found = diff(tmp_path, HEAD + attributes, RULE % "when: { menu: '1' }" + attributes)[1]
    assert found == ["app:", CLEAR + ", only with menu 1"]
