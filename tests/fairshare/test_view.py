"""What can be seen of a model by whoever looks and does not touch."""

from __future__ import annotations

import random
import re
from pathlib import Path

import samdrift
from samdrift.fairshare.tickets import RANKS

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


def test_a_view_tells_what_is_so_after_every_step_of_a_random_play(stage):
    pick = random.Random(7)
    s = stage({"a": 1.0, "b": 3.0, "never": 4.0}, seats=3, waits=LONG, lease=1e6)
    view = s.scheduler.view("chat")
    asked, gone = {}, set()
    for _ in range(400):
        if pick.random() < 0.55:
            who, priority = pick.choice("ab"), pick.choice(sorted(RANKS))
            asked[s.arrives(who, priority=priority)] = who, priority
        elif running := [t for t in s.admitted if t not in s.charges]:
            s.finishes(pick.choice(running))
        elif waiting := [t for t in asked if t not in s.admitted and t not in gone]:
            gone.add(waiting[0])
            s.leaves(waiting[0])
        waits = [asked[t] for t in asked if t not in s.admitted and t not in gone]
        runs = [asked[t][0] for t in s.admitted if t not in s.charges]
        assert (view.seats, view.waiting) == (3, len(waits))
        assert sorted(s.scheduler.waiters()) == sorted(t for t in asked if t not in s.admitted and t not in gone)
        for name in ("a", "b", "never", "unheard of"):
            own = [priority for who, priority in waits if who == name]
            assert (view.waiting_of(name), view.running_of(name)) == (len(own), runs.count(name))
            for priority, rank in RANKS.items():
                as_urgent = sum(RANKS[other] <= rank for other in own)
                assert view.ahead(name, priority) == (as_urgent, len(waits) - len(own))
    assert len(s.charges) > 100


def test_parts_that_are_due_follow_weights(stage):
    view = stage({"a": 1.0, "b": 3.0}).scheduler.view("chat")
    assert [view.due(name) for name in ("a", "b", "unheard of")] == [0.25, 0.75, 0.0]
    assert [view.weight(name) for name in ("a", "b", "unheard of")] == [1.0, 3.0, 0.0]


def test_of_a_model_that_is_not_known_there_is_nothing_to_see(stage):
    assert stage({"a": 1.0}).scheduler.view("no-such-model") is None


def test_a_lapsed_ticket_is_one_until_its_receipt_comes(stage):
    s = stage({"a": 1.0}, lease=5.0)
    s.arrives("a", "t")
    assert not s.scheduler.lapsed("t")
    s.passes(10.0)
    assert s.scheduler.lapsed("t")
    s.finishes("t")
    assert not s.scheduler.lapsed("t")


def test_no_other_room_reads_the_floor():
    package = Path(samdrift.__file__).parent
    inside = re.compile(r"scheduler\.floor|fairshare\.(floor|pool|turns|room)\b")
    others = [path for path in package.rglob("*.py") if path.parent.name != "fairshare"]
    readers = [str(path.relative_to(package)) for path in others if inside.search(path.read_text())]
    assert readers == [], "what others may see of the scheduler is its `view`"
