"""The model of the engine, and plays: nothing is lost, nothing is made up, and the same seed gives the same day."""

from __future__ import annotations

from dataclasses import replace
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.simulation import metrics
from samdrift.simulation.draws import Draws
from samdrift.simulation.engine import EngineModel
from samdrift.simulation.playing import play
from samdrift.simulation.policies.table import OURS, POLICIES
from samdrift.simulation.profile import Profile
from samdrift.simulation.workload import Outage, Request, Workload, numbered
from samdrift.simulation.workloads import vtc

SMALL = Profile("small", 0.010, 0.001, 0.0001, memory=2_000, seats=8, chunk=256)


def a_day(requests, profile=SMALL, **settings):
    members = dict.fromkeys(sorted({request.organisation for request in requests}), 1.0)
    duration = max(request.at for request in requests) + 1.0
    return Workload("a day", members, numbered(list(requests)), profile, duration, (0.0, duration), **settings)


def busy(seed, count=60, members=3):
    draws = Draws(seed)
    return [
        Request(0, f"m{draws.whole(1, members)}", draws.between(0, 20), draws.whole(1, 600), draws.whole(1, 200), 200)
        for _ in range(count)
    ]


def test_one_request_takes_the_time_that_the_profile_says():
    fate = play(a_day([Request(0, "a", 1.0, 600, 5)]), POLICIES["fcfs"]).fates[0]
    # Three chunks are read: 256, 256 and 88 tokens; the last of them writes the first token. Then four steps of one.
    reading = 3 * 0.010 + 600 * 0.0001 + 1 * 0.001
    assert fate.first == pytest.approx(1.0 + reading)
    assert fate.ended == pytest.approx(1.0 + reading + 4 * 0.011)


def test_steps_that_are_alike_are_one_event_and_nothing_else_changes():
    engine = EngineModel(SMALL)
    one, two = Request(1, "a", 0.0, 100, 50), Request(2, "b", 0.0, 100, 50)
    engine.admit(one, 0.0)
    engine.turn(engine.wake)
    alone_until = engine.wake
    halfway = (alone_until - 0.021) / 2 + 0.021
    engine.admit(two, halfway)
    assert engine.wake < alone_until
    assert engine.wake - halfway <= 0.011 + 1e-9, "the newcomer joins at the next step"


REFUSING_NOBODY = [OURS, "fcfs", "round-robin", "las-60s", "vtc", "vtc-oracle", "vtc-predict", "decayed-300s", "partition"]


@pytest.mark.parametrize("policy", REFUSING_NOBODY)
def test_everybody_is_served_once_and_in_full(policy):
    played = play(a_day(busy(3)), POLICIES[policy])
    assert all(fate.ended is not None and fate.written == fate.request.written for fate in played.fates)
    assert all(fate.request.at <= fate.admitted <= fate.first <= fate.ended for fate in played.fates)


@pytest.mark.parametrize("policy", [OURS, "vtc"])
def test_what_was_served_is_what_was_asked_for(policy):
    played = play(a_day(busy(5)), POLICIES[policy])
    service = metrics.Service(played)
    for member in service.members:
        asked = sum(fate.request.cost for fate in metrics.fates_of(played, [member]))
        assert service.between(member, 0.0, played.ended + 1.0) == pytest.approx(asked)


def test_first_come_is_first_served():
    played = play(a_day(busy(7)), POLICIES["fcfs"])
    admitted = [fate.admitted for fate in played.fates]
    assert admitted == sorted(admitted)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_memory_is_never_exceeded(seed):
    workload = a_day(busy(seed, 40))
    played = play(workload, POLICIES["vtc"])
    # What a request holds at a time between its start and its end: its prompt and what it has written so far, which
    # is at most what the pace of one token per shortest step allows.
    for fate in played.fates:
        now = fate.first + 1e-9
        held = 0.0
        for other in played.fates:
            if other.admitted <= now < other.ended and other.first is not None:
                span = max(1e-9, other.ended - other.first)
                part = min(1.0, max(0.0, (now - other.first) / span))
                held += other.request.input + part * other.request.written
        assert held <= workload.profile.memory * 1.05


@pytest.mark.parametrize("policy", [OURS, "vtc", "las-60s"])
def test_the_same_seed_is_the_same_day(policy):
    def outcome():
        return [(f.admitted, f.first, f.ended) for f in play(a_day(busy(11)), POLICIES[policy]).fates]

    assert outcome() == outcome()
    assert vtc.poisson_short_long(4) == vtc.poisson_short_long(4)
    assert vtc.poisson_short_long(4) != vtc.poisson_short_long(5)


def test_draws_are_what_they_were():
    # Published figures name their seed: these numbers may never change.
    draws = Draws(1)
    assert [draws.whole(0, 999) for _ in range(5)] == [368, 943, 45, 777, 219]
    assert Draws(1).fork("a").unit() != Draws(1).fork("b").unit()
    values = [Draws(2).fork(str(n)).exponential(3.0) for n in range(4_000)]
    assert metrics.mean(values) == pytest.approx(3.0, rel=0.06)


def test_a_replica_that_is_lost_loses_what_it_runs_and_no_more():
    requests = [Request(0, "a", 0.0, 100, 200), Request(0, "a", 0.1, 100, 200), Request(0, "b", 6.0, 100, 20)]
    workload = replace(a_day(requests), outages=(Outage(0, 1.0, 5.0),))
    for policy in (OURS, "fcfs"):
        fates = play(workload, POLICIES[policy]).fates
        assert [fate.lost for fate in fates] == [1.0, 1.0, None], policy
        assert fates[2].ended is not None, policy


def test_who_hangs_up_while_waiting_is_not_served():
    requests = [Request(0, "a", 0.001 * n, 100, 200) for n in range(10)] + [Request(0, "b", 0.5, 600, 200, patience=0.2)]
    for policy in (OURS, "fcfs", "vtc"):
        fate = play(a_day(requests), POLICIES[policy]).fates[-1]
        assert (fate.left, fate.admitted) == (pytest.approx(0.7), None), policy


def test_a_suite_of_ten_minutes_takes_less_than_a_second_of_the_processor():
    started = thread_time()
    play(vtc.overload(1), POLICIES["vtc"])
    assert thread_time() - started < 1.0
