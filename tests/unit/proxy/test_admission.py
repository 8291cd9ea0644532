"""Counting sessions, arrivals and failures."""

from __future__ import annotations

import pytest

from proxy.admission import Admission, Bucket, Ceilings, Rate, TooFast, TurnedAway, place_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_fills_again_at_its_pace(clock: Clock) -> None:
    bucket: Bucket[str] = Bucket(Rate(3, 60.0), clock)
    for _ in range(3):
        assert not bucket.is_empty("a")
        bucket.take("a")
    assert bucket.is_empty("a")
    assert not bucket.is_empty("b")
    clock.now += 19.9
    assert bucket.is_empty("a")
    clock.now += 0.2
    assert not bucket.is_empty("a")
    clock.now += 1e6
    bucket.take("a")
    bucket.take("a")
    assert not bucket.is_empty("a")
    bucket.take("a")
    assert bucket.is_empty("a"), "never more than the rate's count"


def test_a_bucket_forgets_the_quietest(clock: Clock) -> None:
    bucket: Bucket[int] = Bucket(Rate(1, 60.0), clock, table=100)
    for n in range(1000):
        bucket.take(n)
        bucket.take(0)
    assert len(bucket) == 100
    assert bucket.is_empty(0)
    assert not bucket.is_empty(1)


def test_what_raises_counts_nothing() -> None:
    admission = Admission(Ceilings(connections=2, per_address=1, per_user=1, per_database=1))
    admission.arrive("1.1.1.1", "ann")
    with pytest.raises(TurnedAway) as error:
        admission.arrive("1.1.1.1", "ann")
    assert error.value.limit == "connections_per_address"
    admission.arrive("2.2.2.2", "ann")
    with pytest.raises(TurnedAway) as error:
        admission.arrive("3.3.3.3", "ann")
    assert error.value.limit == "connections"
    admission.enter("ann", "bank")
    for user, database, limit in (("ann", "other", "connections_per_user"), ("bob", "bank", "connections_per_database")):
        with pytest.raises(TurnedAway) as error:
            admission.enter(user, database)
        assert (error.value.limit, error.value.sqlstate) == (limit, "53300")
    admission.leave("ann", "bank")
    admission.enter("bob", "bank")
    admission.depart("1.1.1.1")
    admission.arrive("1.1.1.1", "bob")


def test_nothing_is_kept_of_sessions_that_are_over() -> None:
    admission = Admission(Ceilings(per_user=10, per_address=10))
    for n in range(100):
        admission.arrive(f"10.0.0.{n}", f"user{n}")
        admission.enter(f"user{n}", f"db{n}")
    for n in range(100):
        admission.leave(f"user{n}", f"db{n}")
        admission.depart(f"10.0.0.{n}")
    kept = (admission._addresses, admission._users, admission._databases)
    assert [dict(counts) for counts in kept] == [{}, {}, {}]


def test_failures_belong_to_user_and_address(clock: Clock) -> None:
    admission = Admission(Ceilings(failures=Rate(1, 60.0)), clock)
    admission.failed("1.1.1.1", "ann")
    with pytest.raises(TooFast) as error:
        admission.arrive("1.1.1.1", "ann")
    assert (error.value.limit, error.value.sqlstate) == ("failed_logins", "53400")
    admission.arrive("2.2.2.2", "ann")
    admission.arrive("1.1.1.1", "bob")
    clock.now += 60.0
    admission.arrive("1.1.1.1", "ann")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("nonsense:", "nonsense:"),
    ],
)
def test_an_ipv6_network_is_one_place(address: str, place: str) -> None:
    assert place_of(address) == place
