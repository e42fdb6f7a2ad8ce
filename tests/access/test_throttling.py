"""Holding back those who guess."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.throttling import PLACES, Limit, neighbourhood, place_of


class Bucket:
    """What whoever keeps the numbers does with one."""

    def __init__(self, limit: Limit) -> None:
        self.limit, self.empty_at = limit, 0.0

    def take(self, now: float) -> float:
        self.empty_at = self.limit.believable(self.empty_at, now)
        wait = self.limit.wait(self.empty_at, now)
        if not wait:
            self.empty_at = self.limit.counted(self.empty_at, now)
        return wait


def test_so_many_at_once_and_then_one_now_and_then() -> None:
    bucket = Bucket(Limit(burst=3, every=10.0))
    assert [bucket.take(100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 10.0, 10.0]
    assert bucket.take(104.0) == 6.0
    assert bucket.take(110.0) == 0.0
    assert bucket.take(110.0) == 10.0
    assert [bucket.take(1_000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]


def test_a_clock_that_was_set_back_holds_nobody_back_for_long() -> None:
    bucket = Bucket(Limit(burst=3, every=10.0))
    assert [bucket.take(1e9) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert [bucket.take(now) for now in (100.0, 105.0, 110.0)] == [10.0, 5.0, 0.0]


def test_two_machines_whose_clocks_differ_a_little_let_nobody_try_more_often() -> None:
    bucket = Bucket(Limit(burst=3, every=10.0))
    assert [bucket.take(1_010.0) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert bucket.take(1_000.0) == 20.0


def test_a_name_has_one_place_that_nobody_without_the_secret_can_tell() -> None:
    places = {place_of(b"secret", f"name {n}") for n in range(1_000)}
    assert len(places) > 950
    assert places <= set(range(PLACES))
    assert place_of(b"secret", "ane") == place_of(b"secret", "ane") != place_of(b"another", "ane")
    assert {place_of(b"secret", name, places=1) for name in ("ane", "birk", "\ud800")} == {0}


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5), st.floats(0.5, 20))
def test_never_more_than_the_burst_and_what_time_gives(gaps, burst, every) -> None:
    bucket, now, taken = Bucket(Limit(burst, every)), 1_000.0, []
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        assert wait <= every + 1e-6
        if not wait:
            taken.append(now)
    for first, began in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - began) / every + 1e-6


def test_addresses_of_one_network_are_one_neighbour() -> None:
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2::9") != neighbourhood("2001:db8:1:3::9")
    assert neighbourhood("::ffff:192.0.2.1") == neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("") == ""
    assert neighbourhood("no address") == "no address"
