"""Known results come out: what the literature proves or measured holds in the simulator."""

from __future__ import annotations

import pytest

from samdrift.simulation import metrics
from samdrift.simulation.playing import play
from samdrift.simulation.policies.table import OURS, POLICIES
from samdrift.simulation.workload import WEIGHT_INPUT, WEIGHT_OUTPUT
from samdrift.simulation.workloads import arena, denmark, neighbours, vtc
from samdrift.simulation.workloads.table import SUITES


def test_the_token_counter_keeps_its_proven_bound():
    # OSDI 2024, Theorem 4.4: between backlogged clients the difference of service is at most 2·max(w_p·L, w_q·M).
    workload = vtc.overload(1)
    bound = 2 * max(WEIGHT_INPUT * 256, WEIGHT_OUTPUT * workload.profile.memory)
    assert metrics.accumulated_gap(play(workload, POLICIES["vtc"])) <= bound
    assert metrics.accumulated_gap(play(workload, POLICIES["fcfs"])) > 2 * bound


def test_the_record_of_the_artifact_is_met():
    # Their runs on an A10G: FCFS 876 tokens/s, largest difference 447; VTC 893, 192.9, accumulated gap 9 050.
    first_come, counter = (play(vtc.overload(1), POLICIES[name]) for name in ("fcfs", "vtc"))
    assert metrics.throughput(first_come) == pytest.approx(876, rel=0.05)
    assert max(metrics.service_differences(first_come)) == pytest.approx(447, rel=0.05)
    assert metrics.throughput(counter) == pytest.approx(893, rel=0.05)
    assert max(metrics.service_differences(counter)) == pytest.approx(192.9, rel=0.05)
    assert metrics.accumulated_gap(counter) == pytest.approx(9_050, rel=0.15)


def test_weights_are_parts():
    served = metrics.normalised(play(vtc.overload_weighted(2), POLICIES["vtc-weighted"]))
    assert metrics.jain(served.values()) > 0.999
    unweighted = metrics.normalised(play(vtc.overload_weighted(2), POLICIES["vtc"]))
    assert metrics.jain(unweighted.values()) < 0.9


def share_of_who_had_borrowed(policy):
    service = metrics.Service(play(neighbours.borrowed(1), POLICIES[policy]))
    first, second = (service.between(who, 330.0, 390.0) for who in ("first", "second"))
    return first / (first + second)


def test_borrowing_is_punished_by_history_and_not_by_virtual_time():
    assert share_of_who_had_borrowed("decayed-168h") < 0.05
    assert share_of_who_had_borrowed("las-60s") < 0.35
    assert share_of_who_had_borrowed("vtc") > 0.4
    assert share_of_who_had_borrowed(OURS) > 0.45


def test_a_limit_per_minute_refuses_while_seats_are_free():
    played = play(arena.arena(1), POLICIES["rpm-5"])
    assert metrics.refused(played.fates) > 600
    assert metrics.throughput(played) < 0.6 * metrics.throughput(play(arena.arena(1), POLICIES["fcfs"]))


def test_a_partition_lends_nothing():
    workload = neighbours.alone(1)
    rates = {p: metrics.cost_rate(play(workload, POLICIES[p]), *workload.window) for p in ("partition", "fcfs", OURS)}
    assert rates["partition"] < 0.5 * rates["fcfs"]
    assert rates[OURS] >= 0.99 * rates["fcfs"]


@pytest.mark.parametrize("name", [name for name in SUITES if name != "weekday"])
def test_a_suite_is_in_order_and_says_who_is_who(name):
    workload = SUITES[name](1)
    times = [request.at for request in workload.requests]
    assert times == sorted(times)
    assert [request.number for request in workload.requests] == list(range(len(workload.requests)))
    assert {*workload.contenders, *workload.modest, *workload.watched} <= set(workload.weights)
    assert {request.organisation for request in workload.requests} <= set(workload.weights)


def test_denmark_has_98_municipalities_and_six_million_people():
    assert len(denmark.MUNICIPALITIES) == 98
    assert sum(denmark.MUNICIPALITIES.values()) == pytest.approx(5_970_000, rel=0.01)
    assert len(denmark.weights()) == 103
