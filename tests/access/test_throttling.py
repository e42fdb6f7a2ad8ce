"""Holding back those who guess."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.throttling import Throttle, neighbourhood


def test_so_many_at_once_and_then_one_now_and_then() -> None:
    throttle = Throttle(bytes(32), burst=3, every=10.0)
    assert [throttle.take("ane", 100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 10.0, 10.0]
    assert throttle.take("ane", 104.0) == 6.0
    assert throttle.take("ane", 110.0) == 0.0
    assert throttle.take("ane", 110.0) == 10.0
    assert [throttle.take("ane", 1_000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]


def test_what_was_right_is_given_back() -> None:
    throttle = Throttle(bytes(32), burst=1, every=10.0)
    for _ in range(100):
        assert throttle.take("ane", 100.0) == 0.0
        throttle.give_back("ane")


def test_two_names_are_two_unless_they_share_a_place() -> None:
    throttle = Throttle(bytes(32), burst=1, every=10.0)
    assert [throttle.take(f"name {n}", 100.0) for n in range(50)] == [0.0] * 50
    narrow = Throttle(bytes(32), burst=1, every=10.0, places=1)
    assert [narrow.take(name, 100.0) for name in ("ane", "birk")] == [0.0, 10.0]


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5), st.floats(0.5, 20))
def test_never_more_than_the_burst_and_what_time_gives(gaps, burst, every) -> None:
    throttle, now, taken = Throttle(b"k", burst, every, places=4), 1_000.0, []
    for gap in gaps:
        now += gap
        wait = throttle.take("ane", now)
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
