"""From one life of the desk to the next."""

from __future__ import annotations

import random

from samdrift.fairshare.invariants import violations
from samdrift.fairshare.replay import line_of, stimuli_of
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import Arrived, Estimate, Finished, Restored, Snapshot, Tokens

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


def _restarted(s, at=0.0):
    """Another process, with another clock."""
    again = Scheduler(s.scheduler.tree, s.fleet, at)
    again.handle(Restored(s.scheduler.snapshot(), at))
    assert violations(again) == []
    return again


def _busy(stage):
    pick = random.Random(2)
    s = stage({"a": 1.0, "b": 2.0, "c": 1.0}, seats=4, waits=LONG, lease=1e6)
    for _ in range(300):
        s.now += 0.2
        running = [t for t in s.admitted if t not in s.charges]
        if len(running) < 4 or pick.random() < 0.5:
            s.arrives(pick.choice("aabc"), input=pick.randint(1, 900))
        else:
            s.finishes(pick.choice(running), input=pick.randint(1, 900))
    return s


def test_shares_go_on_where_they_stood(stage):
    s = _busy(stage)
    again = _restarted(s, at=5.0)
    before, after = s.scheduler.snapshot(), again.snapshot()
    assert {lease.ticket for lease in after.leases} == {lease.ticket for lease in before.leases}
    was, now = before.pools[0], after.pools[0]
    assert (now.nominal, now.virtual) == (was.nominal, was.virtual)
    for name, member in again.floor.pools["chat"].turns.root.children.items():
        assert member.u == was.served_to[name]


def test_what_ran_is_settled_as_if_nothing_had_happened(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=2)
    s.arrives("a", "t", input=1000)
    s.arrives("b", "u")
    again = _restarted(s)
    assert again.floor.pools["chat"].turns.root.children["a"].u == 1200
    again.handle(Finished("t", Tokens(200, 0, 0), 1.0))
    assert violations(again) == []
    again.handle(Arrived("v", "chat", "a", "default", "key", Estimate(100, 0), "interactive", 1.0))
    assert again.floor.pools["chat"].turns.root.children["a"].u <= 300


def test_whoever_borrowed_before_the_restart_still_borrows_after_it(stage):
    s = stage({"flood": 1.0, "calm": 9.0}, seats=4, waits=LONG, lease=1e6)
    for n in range(40):
        s.arrives("flood", f"f{n}", input=2000)
    for n in range(30):
        s.now += 0.5
        s.finishes(f"f{n}", input=2000)
    again = _restarted(s)
    nominal, member = again.floor.pools["chat"].nominal, again.floor.pools["chat"].turns.root.children["flood"]
    assert member.tag > nominal.now + nominal.beta


def test_a_snapshot_that_comes_late_changes_nothing(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "t")
    before = s.scheduler.snapshot()
    assert s.tell(Restored(Snapshot(), s.now)) == []
    assert s.scheduler.snapshot() == before


def test_a_snapshot_survives_being_written(stage):
    told = [Restored(_busy(stage).scheduler.snapshot(), 3.0)]
    assert list(stimuli_of(line_of(stimulus) for stimulus in told)) == told


def test_a_broken_snapshot_leaves_everything_finite(stage):
    s = _busy(stage)
    text = line_of(Restored(s.scheduler.snapshot(), 0.0))
    pool = s.scheduler.snapshot().pools[0]
    for absurd in ("Infinity", "-5.0", "NaN", "1e300"):
        broken = text.replace(str(pool.nominal), absurd).replace(str(pool.virtual), absurd).replace(str(pool.rate), absurd)
        again = Scheduler(s.scheduler.tree, s.fleet, 0.0)
        for stimulus in stimuli_of([broken]):
            again.handle(stimulus)
        assert violations(again) == []
