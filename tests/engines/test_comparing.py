"""A new version is let go for what it fails more than chance explains, and for nothing else."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.engines.comparing import AT_ONCE, AT_THE_END, CREDIT, Tally, did_worse, likelihood

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
    assert likelihood(new, old) == pytest.approx(ways / comb(good + failed, new.ended), rel=1e-6)


@settings(deadline=None)
@given(new=tallies, old=tallies)
def test_a_failure_more_never_speaks_for_it_and_a_success_never_against(new, old):
    assert likelihood(new.with_one(failed=True), old) <= likelihood(new, old) * (1 + 1e-9)
    assert likelihood(new.with_one(failed=False), old) >= likelihood(new, old) * (1 - 1e-9)
