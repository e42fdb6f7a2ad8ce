"""Plays about going first within one's share, about borrowing, and about the seats that are kept free."""

from __future__ import annotations

import pytest

from samdrift.fairshare.headroom import MEMORY, Smoothed, kept_free
from samdrift.fairshare.stimuli import Ticked

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


def _flood(s, name="flood", n=60, **how):
    for _ in range(n):
        s.arrives(name, **how)


def _turn(s, seconds=0.5, **tokens):
    """Time passes and whoever was admitted first is done."""
    s.now += seconds
    s.finishes(next(t for t in s.admitted if t not in s.charges), **tokens)


def test_whoever_comes_back_within_its_share_goes_before_who_borrows(stage):
    s = stage({"flood": 1.0, "calm": 1.0, "idle": 8.0}, seats=8, waits=LONG, lease=1e6)
    _flood(s)
    for _ in range(20):
        _turn(s)
    burst = [s.arrives("calm") for _ in range(4)]
    for _ in range(4):
        _turn(s)
    assert [s.bands.get(ticket) for ticket in burst] == [0, 0, 0, 0]
    assert s.bands[next(t for t in reversed(s.admitted) if t.startswith("flood"))] == 2


def test_bands_are_told_with_each_admission(stage):
    s = stage({"a": 1.0, "b": 1.0, "idle": 8.0}, seats=4, waits=LONG, lease=1e6, guarantee_window=0.2)
    first, night = s.arrives("a"), s.arrives("b", priority="batch")
    assert (s.bands[first], s.bands[night]) == (0, 1)
    beyond, night = s.arrives("a"), s.arrives("b", priority="batch")
    assert (s.bands[beyond], s.bands[night]) == (2, 3)


def test_batch_within_its_share_goes_before_interactive_that_borrows(stage):
    s = stage({"a": 1.0, "b": 1.0, "idle": 8.0}, seats=6, waits=LONG, lease=1e6)
    _flood(s, "a")
    for _ in range(20):
        _turn(s)
    night = s.arrives("b", priority="batch")
    _turn(s)
    _turn(s)
    assert s.bands[night] == 1


def test_batch_within_its_share_is_not_stopped_by_other_batch_that_starves(stage):
    """A night's batch borrows and is passed by borrowed interactive requests for long; batch that is within its share goes
    on all the same, and pulls the other along."""
    s = stage({"day": 1.0, "night": 1.0, "small": 1.0, "idle": 3.0}, seats=2, waits=LONG, lease=1e6, watch=False,
        guarantee_window=2.0)  # fmt: skip
    _flood(s, "night", 100, priority="batch")
    for _ in range(20):
        _turn(s)
    _flood(s, "day", 900)
    for _ in range(60):
        s.arrives("small", priority="batch")
    before = len(s.admitted)
    for _ in range(300):
        _turn(s)
    parts = {name: sum(t.startswith(name) for t in s.admitted[before:]) / 300 for name in ("day", "small")}
    assert parts["small"] >= 1 / 6 - 0.03
    assert parts["day"] > 0.5


def test_whoever_has_borrowed_for_hours_is_back_in_profile_after_a_window_of_others_service(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=8, waits=LONG, lease=1e6, watch=False)
    _flood(s, "a", 1200)
    for _ in range(1000):
        _turn(s, 0.1)
    member, nominal = s.pool.turns.root.children["a"], s.pool.nominal
    assert member.tag - nominal.now <= 2 * nominal.beta * (1 + 1e-9)


def test_leaving_for_a_moment_empties_no_bucket(stage):
    s = stage({"a": 1.0, "b": 1.0, "idle": 98.0}, seats=2, waits=LONG, lease=1e6)
    s.arrives("a", "a0")
    tag = s.pool.turns.root.children["a"].tag
    for n in range(4):
        s.arrives("b", f"b{n}")
    s.finishes("a0")
    s.finishes("b0")
    assert "a" not in s.pool.turns.root.children, "it has been passed, and is forgotten but for its bucket"
    assert tag > s.pool.nominal.now
    s.arrives("a", "again")
    assert s.pool.turns.root.children["a"].tag >= tag


def test_a_floor_of_five_percent_is_left_to_batch_of_the_same_organisation(stage):
    s = stage({"a": 1.0}, seats=1, waits=LONG, lease=1e6, watch=False)
    s.arrives("a")
    for _ in range(40):
        s.arrives("a", priority="batch")
    for n in range(400):
        s.arrives("a", f"person{n}")
        _turn(s)
    part = sum(not ticket.startswith("person") for ticket in s.admitted) / len(s.admitted)
    assert part == pytest.approx(0.05, abs=0.01)


# -- headroom ---------------------------------------------------------------------------------------------------


def test_headroom_follows_the_square_root_of_those_it_is_for():
    assert kept_free(0, 100, 50.0) == 0
    assert kept_free(2, 100, 9.0) == 6
    assert kept_free(3, 100, 9.0) == 9
    assert kept_free(3, 100, 400.0) == 18, "and never exceeds its part of all seats"
    assert kept_free(3, 100, 0.05) == 0


@pytest.mark.parametrize(("seats", "kept"), [(1, 0), (3, 0), (4, 1), (8, 1), (20, 3)])
def test_small_pools_keep_one_seat_at_most(seats, kept):
    assert kept_free(2, seats, 16.0) == kept


def test_headroom_decays_when_nobody_uses_their_share_any_more():
    count = Smoothed()
    count.change(20, 0.0)
    count.change(-20, 1000.0)
    assert kept_free(3, 100, count.mean(1000.0)) > 0
    assert kept_free(3, 100, count.mean(1000.0 + 6 * MEMORY)) == 0


def test_borrowers_leave_a_seat_free_for_who_uses_its_share_and_it_is_taken_at_once(stage):
    s = stage({"flood": 1.0, "calm": 4.0}, seats=8, waits=LONG, lease=1e6)
    for _ in range(60):
        person = s.arrives("calm")
        s.now += 1.0
        s.finishes(person)
    _flood(s, n=80)
    for _ in range(12):
        _turn(s)
    assert s.pool.seats.free == 1
    assert s.arrives("calm") in s.admitted


def test_nothing_is_kept_against_oneself(stage):
    s = stage({"alone": 1.0, "asleep": 9.0}, seats=20, waits=LONG, lease=1e6)
    _flood(s, "alone", 80)
    for _ in range(40):
        _turn(s)
    assert s.pool.seats.free == 0


def test_nothing_is_kept_at_night(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=20, waits=LONG, lease=1e6)
    for name in "ab":
        _flood(s, name, 60, priority="batch")
    for _ in range(60):
        _turn(s)
    assert s.pool.seats.free == 0


def test_no_worse_band_passes_a_better_one_that_must_leave_seats_free(stage):
    """`busy` has the requests that seats are kept free for. Nothing is kept against itself; but its own borrowed batch does
    not pass the borrowed request of another, who must leave a seat free."""
    s = stage({"busy": 4.0, "other": 1.0}, seats=8, waits=LONG, lease=1e6, guarantee_window=0.2)
    for _ in range(30):
        s.arrives("busy", "")
        s.now += 2.0
        s.finishes("")
        del s.charges[""]
    while s.pool.seats.free > 1:
        s.arrives("other")
    s.arrives("other", "waits")
    s.arrives("busy", "person")
    s.finishes(next(t for t in s.admitted if t.startswith("other")))
    assert "person" in s.admitted
    s.arrives("busy", "night", priority="batch")
    taken = [ticket for ticket in ("waits", "night") if ticket in s.admitted]
    assert taken != ["night"], "the worse band has passed the better one"


def test_time_alone_gives_nobody_more_than_their_share_while_no_replica_is_up(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 2)])
    s.arrives("a", "t")
    s.finishes("t")
    s.fleet_is()
    before = s.pool.nominal.now
    s.now += 1000
    s.tell(Ticked(s.now))
    s.arrives("a")
    assert s.pool.nominal.now == pytest.approx(before)


def test_the_rate_of_a_pool_is_learnt_from_what_it_does_when_full(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=4, waits=LONG, lease=1e6, watch=False)
    for _ in range(400):
        s.arrives("a")
        s.arrives("b")
    for _ in range(600):
        _turn(s, 0.25)
    assert s.pool.nominal.rate == pytest.approx(300 / 0.25, rel=0.05)
