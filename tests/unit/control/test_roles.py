"""Membership counts along any chain."""

from __future__ import annotations

from proxy.control.roles import build_roles

ROWS = [(oid, name, name == "boss", False, True, False) for oid, name in enumerate("boss teller clerk 张三 lonely".split(), 1)]


def test_closure_holds_the_role_itself_and_all_it_belongs_to() -> None:
    roles = build_roles(ROWS, [(4, 3), (3, 2)])
    assert roles.of("张三") == {"张三", "clerk", "teller"}
    assert roles.of("clerk") == {"clerk", "teller"}
    assert roles.of("lonely") == {"lonely"}


def test_a_superuser_is_a_member_only_of_what_was_granted() -> None:
    roles = build_roles(ROWS, [(4, 3)])
    assert roles.roles["boss"].superuser
    assert roles.of("boss") == {"boss"}


def test_an_unknown_login_counts_as_itself() -> None:
    assert build_roles(ROWS, []).of("stranger") == {"stranger"}


def test_cycles_end() -> None:
    assert build_roles(ROWS, [(2, 3), (3, 2)]).of("teller") == {"teller", "clerk"}


def test_version_follows_content() -> None:
    assert build_roles(ROWS, [(4, 3)]).version == build_roles(ROWS, [(4, 3)]).version
    assert build_roles(ROWS, [(4, 3)]).version != build_roles(ROWS, [(4, 2)]).version
