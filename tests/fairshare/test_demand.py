"""What is said of those who wait, to whoever decides which models to load."""

from __future__ import annotations

from tests.fairshare.conftest import Stage, replica

from samdrift.spec.fleet import ReplicaState

ASLEEP = replica("chat-0", 2, state=ReplicaState.ASLEEP)


def demand(stage):
    return {d.organisation: (d.urgent, d.patient) for d in stage.scheduler.demand(stage.now)}


def test_a_model_that_sleeps_is_hoped_for_and_nobody_who_asks_is_refused_at_once():
    s = Stage({"aarhus": 1, "samsoe": 1}, fleet=[ASLEEP], cold_wait=30.0)
    s.arrives("aarhus")
    s.arrives("samsoe")
    assert not s.refused
    assert not s.admitted
    assert demand(s) == {"aarhus": (1, 0), "samsoe": (1, 0)}
    s.fleet_is(replica("chat-0", 2))
    assert len(s.admitted) == 2
    assert demand(s) == {}


def test_batch_waits_for_what_is_loaded_anyway_until_it_has_waited_for_half_its_time():
    s = Stage({"aarhus": 1}, fleet=[ASLEEP], waits={"interactive": 20.0, "standard": 60.0, "batch": 900.0}, cold_wait=900.0)
    s.arrives("aarhus", priority="batch")
    assert demand(s) == {"aarhus": (0, 1)}
    s.passes(449.0)
    assert demand(s) == {"aarhus": (0, 1)}
    s.passes(1.0)
    assert demand(s) == {"aarhus": (1, 0)}


def test_who_is_beyond_its_share_asks_for_no_more_replicas_and_who_is_within_does():
    s = Stage({"aarhus": 1, "samsoe": 1}, seats=4, guarantee_window=1.0)
    for _ in range(40):
        s.arrives("aarhus", output=2000)
    s.arrives("samsoe")
    found = {d.organisation: d for d in s.scheduler.demand(s.now)}
    assert (found["aarhus"].urgent, found["aarhus"].patient) == (0, 36)
    assert (found["samsoe"].urgent, found["samsoe"].urgent_since) == (1, s.now)
    assert found["samsoe"].patient_since is None


def test_who_waits_in_vain_for_a_model_that_sleeps_is_refused_when_its_time_is_up():
    s = Stage({"aarhus": 1}, fleet=[ASLEEP], cold_wait=30.0)
    ticket = s.arrives("aarhus")
    s.passes(29.9)
    assert ticket not in s.refused
    s.passes(0.1)
    assert s.refused[ticket].reason == "no_replica"
