"""A new version is let go for what it fails more than chance explains, or rejects, or for being slower, and for nothing else."""

from __future__ import annotations

import math
import random
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.engines.comparing import (
    AT_ONCE,
    AT_THE_END,
    CREDIT,
    WARMING,
    Pace,
    Tally,
    by_chance,
    did_worse,
    likelihood,
    slower,
)
from samdrift.spec.usage import Outcome, Usage

NOTHING = Tally()


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (Tally(2, 2), NOTHING),  # whatever is asked of it fails, and nobody asks the old one
        (Tally(30, 3), Tally(270, 0)),
        (Tally(100, 20), Tally(900, 9)),
    ],
)
def test_one_that_clearly_fails_more_is_let_go_at_once(new, old):
    assert did_worse(new, old, AT_ONCE)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (NOTHING, NOTHING),
        (Tally(50, 0), Tally(450, 0)),
        (Tally(50, 5), Tally(450, 45)),  # both fail alike: the fault is not the new version's
        (Tally(100, 1), Tally(900, 0)),  # once in a hundred is what a network does
        (Tally(10, 1), Tally(90, 30)),
    ],
)
def test_one_that_fails_no_more_than_the_old_one_may_take_over(new, old):
    assert not did_worse(new, old, AT_THE_END)
    assert not did_worse(new, old, AT_ONCE)


def test_the_only_request_it_had_failed_so_it_does_not_take_over_but_is_given_the_time():
    assert not did_worse(Tally(1, 1), NOTHING, AT_ONCE)
    assert did_worse(Tally(1, 1), NOTHING, AT_THE_END)


tallies = st.integers(0, 60).flatmap(lambda ended: st.integers(0, ended).map(lambda failed: Tally(ended, failed)))


@settings(deadline=None)
@given(new=tallies, old=tallies)
def test_it_is_the_exact_test(new, old):
    good, failed = CREDIT + old.ended - old.failed + new.ended - new.failed, new.failed + old.failed
    ways = sum(comb(failed, k) * comb(good, new.ended - k) for k in range(new.failed, min(failed, new.ended) + 1))
    found = likelihood(new.ended, new.failed, old.ended, old.failed)
    assert found == pytest.approx(ways / comb(good + failed, new.ended), rel=1e-6)


@settings(deadline=None)
@given(new=tallies, old=tallies)
def test_a_failure_more_never_speaks_for_it_and_a_success_never_against(new, old):
    def chance(tally):
        return likelihood(tally.ended, tally.failed, old.ended, old.failed)

    assert chance(new.with_one(Outcome.FAILED)) <= chance(new) * (1 + 1e-9)
    assert chance(new.with_one(Outcome.COMPLETED)) >= chance(new) * (1 - 1e-9)


def test_what_clients_do_wrong_they_do_to_both_and_a_few_rejections_are_no_reason():
    assert did_worse(Tally(30, 0, 6), Tally(270, 0, 2), AT_ONCE)
    assert not did_worse(Tally(30, 0, 6), Tally(270, 0, 54), AT_THE_END)
    assert not did_worse(Tally(2, 0, 2), Tally(500, 0, 0), AT_ONCE)


def usage(first, each, tokens=50, *, cached=0, outcome=Outcome.COMPLETED, whole=False):
    ends = 2.0 + first + (tokens - 1) * each
    return Usage("t", "o", "p", "k", "m", "r", "/", "standard", outcome, 200, 100, cached, tokens, False, 0.0, 2.0,
        ends if whole else 2.0 + first, ends)  # fmt: skip


def pace(*usages, warming=0):
    made = Pace(warming)
    for one in usages:
        made.add(one)
    return made


def around(middle, count, seed, spread=0.5):
    chance = random.Random(seed)
    return [chance.lognormvariate(math.log(middle), spread) for _ in range(count)]


def test_one_that_is_slower_to_begin_or_to_go_on_is_found_out_and_by_how_much():
    old = pace(*(usage(first, 0.01) for first in around(0.2, 300, 1)))
    assert slower(pace(*(usage(first, 0.01) for first in around(0.4, 40, 2))), old, 0.5).startswith("begins to answer after 4")
    steady = pace(*(usage(0.2, each) for each in around(0.010, 300, 3)))
    assert slower(pace(*(usage(0.2, each) for each in around(0.020, 40, 4))), steady, 0.5).startswith("needs for each token 19.1")
    assert slower(pace(*(usage(0.2, each) for each in around(0.020, 40, 4))), steady, 1.5) == "", "it is borne with"
    assert slower(pace(*(usage(0.2, each) for each in around(0.020, 19, 4))), steady, 0.5) == "", "too few say nothing"


def test_one_that_is_as_fast_is_hardly_ever_called_slower_though_times_vary_much():
    alarms = 0
    for seed in range(300):
        old = pace(*(usage(first, first / 30) for first in around(0.3, 200, seed)))
        new = pace(*(usage(first, first / 30) for first in around(0.3, 40, seed + 0.5)))
        alarms += slower(new, old, 0.05) != ""
    assert alarms <= 3  # one in a thousand, at most


def test_what_says_nothing_of_its_speed_is_left_out():
    cold = pace(*(usage(0.1, 0.01) for _ in range(50)))
    known = [usage(0.01, 0.01, cached=90) for _ in range(300)]
    assert not pace(*known).first
    assert slower(cold, pace(*known), 0.5) == "", "the old one's cache is full of what it was asked"
    assert not pace(*(usage(9, 9, outcome=Outcome.LEFT) for _ in range(50))).each
    assert not pace(*(usage(9.0, 0.01) for _ in range(WARMING)), warming=WARMING).first
    assert not pace(*(usage(9.0, 0.01, tokens=2) for _ in range(50))).first
    whole = pace(*(usage(0.5, 0.02, whole=True) for _ in range(30)))
    assert not whole.first
    assert whole.each[0] == pytest.approx((0.5 + 49 * 0.02) / 50)
    assert len(pace(*(usage(0.1, 0.01) for _ in range(5000))).first) == 400


def test_ranks_are_those_of_the_book():
    # Mann and Whitney's own way to count: how many pairs the new one is ahead in.
    new, old = (3.0, 5.0, 5.0, 9.0), (1.0, 2.0, 5.0, 4.0, 6.0)
    ahead = sum((a > b) + 0.5 * (a == b) for a in new for b in old)
    n, m, ties = 4, 5, 3**3 - 3
    spread = math.sqrt(n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1))))
    assert by_chance(new, old) == pytest.approx(0.5 * math.erfc((ahead - n * m / 2 - 0.5) / spread / math.sqrt(2)))
    assert by_chance((1.0,) * 30, (1.0,) * 30) == 1.0
