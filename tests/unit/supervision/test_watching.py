"""Each kind of alert over the trail: raised when it is to be, with its numbers and evidence, and not otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.supervision.engine import AT_MOST, AT_MOST_OF_ALL, Engine
from tests.unit.supervision.support import BEGIN, CARD, DAY, FILTER, HOUR, PHONE, Trail, alerts_of


def test_rows_in_a_window_slide_and_are_for_each(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ name: bulk, on: rows, more_than: 100, within: 1h, level: C2, severity: critical }")
    trail.did(BEGIN, rows=60)
    trail.did(BEGIN + 1, user="other", rows=60)
    trail.did(BEGIN + 2, touches=[{**PHONE, "show": "mask"}], rows=1000)
    trail.did(BEGIN + 2 * HOUR, rows=60)
    assert trail.told() == []
    trail.did(BEGIN + 2.5 * HOUR, rows=41)
    (alarm,) = trail.told()
    assert (alarm.name, alarm.severity, alarm.key, alarm.amount, alarm.per) == ("bulk", "critical", "u", 101, "user")
    assert (alarm.first, alarm.last) == ("main#5", "main#7")
    assert "101 rows with sensitive data in clear within 1 hour; the rule allows 100" in alarm.text


def test_quiet_then_told_again_and_at_once_when_it_has_grown_tenfold(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ name: bulk, on: rows, more_than: 10, within: 1d, quiet: 2h }")
    trail.did(BEGIN, rows=11)
    trail.did(BEGIN + HOUR, rows=50)
    assert trail.names() == [("bulk", "u", 11)]
    trail.did(BEGIN + 1.5 * HOUR, rows=5000)
    trail.did(BEGIN + 1.6 * HOUR, rows=5000)
    assert trail.names() == [("bulk", "u", 5061)]
    trail.did(BEGIN + 4 * HOUR, rows=1)
    assert trail.names() == [("bulk", "u", 10062)]


def test_rows_of_a_portal_that_stops_on_the_way(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: rows, more_than: 25, within: 1d }")
    seq = trail.feed(BEGIN, "decision", login="u", touches=[PHONE])
    for _ in range(3):
        trail.feed(BEGIN + 1, "outcome", decision=seq, tag="SUSPENDED", rows=10)
    assert trail.names() == [("rows", "u", 30)]


def test_distinct_customers(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: customers, more_than: 3, within: 30d }")
    for n in range(6):
        trail.did(BEGIN + n * DAY, values=[n % 2])
    trail.did(BEGIN + 9 * DAY, values=[7, 8], touches=[{**PHONE, "show": "mask"}])
    assert trail.told() == []
    trail.did(BEGIN + 10 * DAY, values=[3, 4])
    assert trail.names() == [("customers", "u", 4)]
    trail.did(BEGIN + 45 * DAY, values=[5])
    assert trail.told() == []


def test_only_single_look_ups(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: customers, more_than: 1, within: 1d, rows_at_most: 2 }")
    trail.did(BEGIN, values=[1, 2, 3], rows=50)
    trail.did(BEGIN, values=[1, 2, 3], rows=0)
    assert trail.told() == []
    trail.did(BEGIN, values=[1, 2], rows=2)
    assert trail.names() == [("customers", "u", 2)]


def test_usual_for_the_same_person(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ name: sudden, on: rows, times_usual: 5, more_than: 50 }")
    for day in range(12):
        trail.did(BEGIN + day * DAY, rows=20 + day % 3)
        trail.did(BEGIN + day * DAY, user="new", rows=1 if day > 9 else 0)
    trail.did(BEGIN + 12 * DAY, rows=100)
    trail.did(BEGIN + 12 * DAY, user="new", rows=1000)  # known for two days only
    assert trail.told() == []
    trail.did(BEGIN + 12 * DAY, rows=100)
    (alarm,) = trail.told()
    assert (
        "200 rows with sensitive data in clear today. Usual are 21 a day (median of 12 days; hardly ever more than 25)"
        in alarm.text
    )
    assert alarm.detail()["usual"] == 21


def peers(trail: Trail, others: int, insider: int) -> None:
    for day in range(20):
        for n in range(others):
            trail.did(BEGIN + day * DAY + n, user=f"p{n}", values=[("p", n, day)] if day % 4 == 0 else [])
        for n in range(insider):
            trail.did(BEGIN + day * DAY + 100 + n, user="insider", values=[("i", day, n)])


def test_more_than_peers(tmp_path: Path) -> None:
    rule = "{ name: steady, on: customers, within: 30d, times_peers: 3, more_than: 20, days: 10, timezone: Asia/Shanghai }"
    trail = Trail(tmp_path, rule)
    peers(trail, others=6, insider=3)
    (alarm,) = trail.told()
    assert (alarm.name, alarm.key, alarm.amount) == ("steady", "insider", 30)
    assert "on 10 days. Usual among 6 others with the same roles are 3 " in alarm.text


def test_too_few_peers_say_nothing(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: customers, within: 30d, times_peers: 3, more_than: 20 }")
    peers(trail, others=4, insider=3)
    assert trail.told() == []


def test_masked_filters(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: masked_filters, more_than: 2, within: 1h }")
    for n in range(3):
        trail.did(BEGIN + n, touches=[{**FILTER, "show": "clear"}])
        trail.did(BEGIN + n, touches=[{**FILTER, "use": "output"}])
    assert trail.told() == []
    for n in range(3):
        trail.did(BEGIN + n, touches=[FILTER])
    assert trail.names() == [("masked_filters", "u", 3)]


def test_first_seen(tmp_path: Path) -> None:
    trail = Trail(
        tmp_path, "{ on: new_network, learn: 10d }", "{ on: new_application, learn: 10d }", "{ on: new_address, learn: 10d }"
    )
    trail.login(BEGIN)
    trail.login(BEGIN + DAY, client="10.9.9.9", application="psql")
    trail.login(BEGIN + 20 * DAY, client="10.0.0.7")
    assert [a.name for a in trail.told()] == ["new_address"]
    trail.did(BEGIN + 21 * DAY, application="evil")
    assert [(a.name, a.key) for a in trail.told()] == [("new_application", "u")]
    trail.login(BEGIN + 22 * DAY, client="2001:db8::1", application="evil")
    told = trail.told()
    assert [a.name for a in told] == ["new_network", "new_address"]
    assert told[0].detail()["network"] == "2001:db8::/64"
    trail.login(BEGIN + 23 * DAY, client="2001:db8::2", application="evil")
    assert [a.name for a in trail.told()] == ["new_address"]


def test_first_access(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: first_access, learn: 10d }", "{ name: l, on: first_access, of: level, level: C3, learn: 1d }")
    trail.did(BEGIN)
    trail.did(BEGIN + 11 * DAY)
    assert trail.told() == []
    trail.did(BEGIN + 12 * DAY, touches=[PHONE, CARD])
    (alarm,) = trail.told()
    assert "was shown class card in clear for the first time in 12 days (1 other known)" in alarm.text


def test_dormant(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: dormant, after: 60d }")
    trail.login(BEGIN)
    trail.login(BEGIN + 59 * DAY)
    assert trail.told() == []
    trail.login(BEGIN + 130 * DAY, client="203.0.113.9", application="x")
    (alarm,) = trail.told()
    assert "has logged in after 71 days without, from 203.0.113.9 with 'x'" in alarm.text


def test_outside_of_working_hours(tmp_path: Path) -> None:
    rule = (
        '{ on: clear, outside: { time: "08:00-18:00", days: mon-fri, holidays: ["2026-03-04"] }, '
        "timezone: Asia/Shanghai, severity: info, within: 1h, quiet: 1h }"
    )
    trail = Trail(tmp_path, rule)
    trail.did(BEGIN)
    trail.did(BEGIN + 8 * HOUR + 3500)
    trail.did(BEGIN + 8 * HOUR + 3550, touches=[FILTER])
    assert trail.told() == []
    for at in (BEGIN + 9 * HOUR, BEGIN + 2 * DAY, BEGIN + 5 * DAY):  # evening, holiday, Saturday
        trail.did(at)
        (alarm,) = trail.told()
        assert "outside of working hours" in alarm.text


def test_selection_of_people_and_circumstances(tmp_path: Path) -> None:
    trail = Trail(
        tmp_path,
        "{ name: a, on: refused, role: staff, not_user: [boss], without: [purpose], application_name: 'x*', database: d }",
    )

    def refused(user: str = "u", roles: str = "staff", application: str = "xy", database: str = "d", **asserted: str) -> int:
        trail.feed(BEGIN, "refused", login=user, roles=[roles], application=application, database=database, asserted=asserted)
        return len(trail.told())

    assert refused(user="boss") == refused(roles="other") == refused(application="y") == refused(database="e") == 0
    assert refused(purpose="audit") == 0
    assert refused(ticket="7") == 1


@pytest.mark.parametrize("per", ["user", "address", "database", "application"])
def test_per(tmp_path: Path, per: str) -> None:
    trail = Trail(tmp_path, f"{{ on: login_failed, more_than: 1, within: 1h, per: {per}, role: x }}")
    for n in range(2):
        trail.feed(BEGIN + n, "login_failed", login="u", client="1.2.3.4", database="d", application="a", roles=["x"])
    (alarm,) = trail.told()
    assert alarm.key == {"user": "u", "address": "1.2.3.4", "database": "d", "application": "a"}[per]
    assert alarm.detail()[per] == alarm.key


def test_a_flood_is_told_and_held_back(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ name: new, on: new_application, learn: 1h, severity: critical }")
    trail.login(BEGIN)
    for n in range(500):
        trail.login(BEGIN + 2 * DAY + n, application=f"app {n}")
    told = trail.told()
    assert len([a for a in told if a.name == "new" and not a.held]) == AT_MOST
    assert len([a for a in told if a.name == "new"]) == 500
    floods = [a for a in told if a.name == "flood"]
    assert [f.amount for f in floods] == [21, 100]
    assert floods[0].severity == "critical"
    assert (floods[0].detail()["alert"], floods[0].detail()["rule"]) == ("flood", "new")
    trail.login(BEGIN + 3 * DAY, application="another")
    assert [a.held for a in trail.told()] == [False]


def test_a_clock_that_goes_back(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: rows, more_than: 10, within: 1h }")
    trail.did(BEGIN + 400 * DAY, rows=11)
    assert [a.name for a in trail.told()] == ["rows"]
    trail.did(BEGIN, rows=11)
    assert [(a.name, a.severity) for a in trail.told()] == [("clock", "critical"), ("rows", "warning")]


def test_an_alert_of_the_proxy_is_passed_on(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    detail = {"alert": "cards", "on": "clear", "severity": "critical", "count": 3, "within": 60, "per": "user", "user": "u"}
    trail.feed(BEGIN, "event", event="alert", detail=detail)
    (alarm,) = trail.told()
    assert (alarm.name, alarm.severity, alarm.key, alarm.amount, alarm.raised_by) == ("cards", "critical", "u", 3, "proxy")


@pytest.mark.parametrize(
    "detail",
    [
        None, {}, {"alert": "x" * 10**6, "severity": "apocalypse", "count": "many", "per": "__class__", "user": ["a"]},
        {"alert": 7, "count": -5, "within": {}, "user": "\u202e\x1b[2J" * 500},
    ],
)  # fmt: skip
def test_a_forged_one_does_no_harm(tmp_path: Path, detail: object) -> None:
    trail = Trail(tmp_path)
    trail.feed(BEGIN, "event", event="alert", detail=detail)
    (alarm,) = trail.told()
    assert alarm.severity == "warning"
    assert len(alarm.body()) < 4000
    assert "\x1b" not in alarm.body().decode()


def test_odd_names(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: rows, more_than: 1, within: 1h, per: application }")
    for name in ("", "'\"\\; DROP", "\x00\x1b[31m", "\ud800", "x" * 10**6, "名" * 300):
        for _ in range(2):
            trail.did(BEGIN, application=name, rows=1)
        (alarm,) = trail.told()
        json.loads(alarm.body())
        assert len(alarm.body()) < 4000
    trail.store.commit({}, [], trail.engine.keep())


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    for line in (b"", b"{", b"[]", b'{"seq":"x"}', b"\xff\xfe", b"[" * 10_000):
        trail.engine.feed("main", line)
    assert trail.engine.unread == 6
    assert {(a.name, a.severity) for a in trail.told()} == {("trail", "critical")}


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "9999-12-31T23:59:59.999999Z"}, {"time": "yesterday"}, {"roles": 7}, {"touches": [{"relation": 5}]},
        {"values": ["no hex"]},
        {"asserted": {"a": {"b": []}}}, {"decision": 2**70}, {"rows": 2**62}, {"rows": -5}, {"person": ""}, {"values": [None]},
    ],
)  # fmt: skip
def test_a_record_with_odd_contents_stops_nothing(tmp_path: Path, fields: dict[str, object]) -> None:
    trail = Trail(
        tmp_path, "{ on: rows, more_than: 5, within: 1d, timezone: Asia/Shanghai }", "{ on: dormant }",
        "{ on: customers, times_peers: 2, timezone: Asia/Shanghai }", "{ name: o, on: clear, outside: { time: '08:00-09:00' } }",
    )  # fmt: skip
    for kind in ("decision", "outcome", "login", "refused"):
        odd = {"login": "u", "touches": [PHONE], "decision": 1, **fields}
        trail.engine.feed("main", trail.line(BEGIN, kind, **odd))
        trail.store.commit({}, [], trail.engine.keep())
    trail.told()
    trail.did(BEGIN + HOUR, user="other", rows=6)
    assert ("rows", "other", 6) in trail.names()
    trail.store.commit({}, [], trail.engine.keep())


def test_days_end_though_a_clock_was_wrong(tmp_path: Path) -> None:
    trail = Trail(tmp_path, "{ on: customers, within: 30d, times_peers: 3, more_than: 20, days: 10 }")
    trail.login(BEGIN + 3000 * DAY)
    peers(trail, others=6, insider=3)
    assert ("customers", "insider") in {(a.name, a.key) for a in trail.told()}


def test_a_flood_of_many_rules(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    for n in range(AT_MOST_OF_ALL + 50):
        trail.feed(BEGIN, "event", event="alert", detail={"alert": f"a{n}", "user": "u"})
    told = trail.told()
    assert len([a for a in told if not a.held and a.name != "flood"]) == AT_MOST_OF_ALL
    assert [a.name for a in told].count("flood") == 1


def test_many_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.supervision.rules.MOST_MEMBERS", 10)
    monkeypatch.setattr("proxy.supervision.state.KEPT", 20)
    trail = Trail(tmp_path, "{ on: customers, within: 30d, times_peers: 3, more_than: 20, days: 10 }", "{ on: new_network }")
    peers(trail, others=30, insider=3)
    trail.store.commit({}, [], trail.engine.keep())
    assert ("customers", "insider") in {(a.name, a.key) for a in trail.told()}
    assert trail.store.size <= 20


def test_waiting_outcomes_are_bounded_and_end_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.supervision.engine.OPEN", 5)
    trail = Trail(tmp_path, "{ on: rows, more_than: 1 }")
    for n in range(20):
        trail.feed(BEGIN + n, "decision", login="u", touches=[PHONE])
    assert len(trail.engine._waiting) == 5
    trail.feed(BEGIN + 30, "start")
    assert trail.engine._waiting == {}


def test_it_goes_on_after_every_record_as_if_nothing_had_been(tmp_path: Path) -> None:
    rules = (
        "{ on: rows, more_than: 10, within: 1d }", "{ on: customers, more_than: 15, within: 30d }",
        "{ on: new_network, learn: 2d }",
        "{ name: p, on: customers, times_peers: 2, more_than: 8, within: 30d, peers: 2 }", "{ on: dormant, after: 3d }",
    )  # fmt: skip
    whole = Trail(tmp_path / "whole", *rules)
    lines: list[bytes] = []
    feed = whole.engine.feed

    def note(worker: str, line: bytes) -> None:
        lines.append(line)
        feed(worker, line)

    whole.engine.feed = note  # type: ignore[method-assign]
    for n in range(40):
        whole.did(BEGIN + n * HOUR * 7, user=f"u{n % 4 if n % 3 else 0}", rows=9, values=[n, n + 1], client=f"10.0.{n // 11}.1")
    whole.login(BEGIN + 20 * DAY, user="u3")
    wanted = whole.names()
    assert {name for name, _, _ in wanted} == {"rows", "customers", "new_network", "p", "dormant"}
    cut = Trail(tmp_path / "cut", *rules)
    found = []
    for line in lines:
        cut.engine.feed("main", line)
        found += cut.names()
        cut.store.commit({}, [], cut.engine.keep())
        path = cut.store.path
        cut.store.close()
        cut.store = type(cut.store)(path)
        cut.engine = Engine(cut.store, alerts_of(", ".join(rules)))
        cut.engine.restore(cut.store.meta("engine"))
    assert found == wanted
