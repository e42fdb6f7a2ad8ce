"""Starts are spread over time where a cache is what counts, so that requests of one size do not come and go in waves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from samdrift.fairshare.memory import Need
from samdrift.fairshare.spread import LONGEST, Spread

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}
CACHE = 4000


@pytest.fixture
def warm(stage, engine):
    """Two organisations whose requests (100 tokens in, 100 out, ten seconds) the model knows well; both have plenty waiting."""

    def make(*names):
        s = stage(dict.fromkeys(names, 1.0), fleet=[engine("chat-0", 64, kv_tokens=CACHE)], waits=LONG)
        for _ in range(25):
            ticket = s.arrives(names[0])
            s.passes(10.0)
            s.finishes(ticket)
        return s

    return make


def starts(s, seconds):
    """When requests start while time passes, relative to now."""
    begun, known, times = s.now, len(s.admitted), []
    while s.now < begun + seconds:
        s.passes(0.01)
        times += [s.now - begun] * (len(s.admitted) - known)
        known = len(s.admitted)
    return times


def test_half_of_the_cache_fills_at_once_and_the_rest_over_time(warm):
    s = warm("a", "b")
    for _ in range(40):
        s.arrives("a")
        s.arrives("b")
    assert len(s.admitted) - 25 == CACHE / 200 / 2 + 1, "half of the cache, and the one that exceeds it"
    times = starts(s, 3.0)
    assert len(times) >= 5
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # (100 + 50) tokens for 10 s of a cache of 4000.
    assert all(gap == pytest.approx(150 * 10 / CACHE, abs=0.011) for gap in gaps)


def test_whoever_is_alone_is_not_held_back(warm):
    s = warm("a", "b")
    for _ in range(40):
        s.arrives("a")
    assert len(s.admitted) - 25 == CACHE / 200


def test_whoever_has_nothing_running_is_not_held_back(warm):
    s = warm("a", "b")
    for _ in range(20):
        s.arrives("a")
    for _ in range(8):
        s.finishes(s.admitted[-1])
    s.arrives("b", "first of b")
    assert "first of b" in s.admitted


def test_it_ends_by_itself(warm):
    s = warm("a", "b")
    for _ in range(10):
        s.arrives("a")
        s.arrives("b")
    waiting = s.pool.waiting
    assert waiting
    assert s.scheduler.soon is not None
    assert s.scheduler.soon <= s.now + LONGEST
    s.passes(10 * LONGEST)
    assert s.pool.waiting == 0
    s.passes(LONGEST)
    assert s.scheduler.soon is None


def test_a_giant_holds_nobody_back_for_more_than_a_second():
    spread = Spread()
    spread.started(Need(100_000, 4000, None), 10.0, 200_000, now=5.0)
    assert spread.until == 5.0 + LONGEST


@pytest.mark.parametrize(("pace", "tokens"), [(0.0, 1000.0), (10.0, 0.0)])
def test_where_nothing_is_known_nobody_is_held_back(pace, tokens):
    spread = Spread()
    spread.started(Need(100, 100, None), pace, tokens, now=0.0)
    assert not spread.holds_back(0.0, 100, 1.0, 1.0)
