"""More keys than are worth a queue each, and lines that are too long to join."""

from __future__ import annotations

from itertools import combinations

from samdrift.fairshare.crowds import HAND, OWN_QUEUES, SHARED_QUEUES, hand_of
from samdrift.spec.problems import Reason

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


def test_thousands_of_keys_share_a_few_queues(stage):
    s = stage({"a": 1.0}, waits=LONG, watch=False, max_queue=10**6)
    for n in range(3000):
        s.arrives("a", key=f"key{n}")
    (project,) = s.pool.turns.root.children["a"].children.values()
    assert len(project.children) <= OWN_QUEUES + SHARED_QUEUES


def test_a_hand_is_always_the_same_and_rarely_anothers():
    hands = [frozenset(hand_of(f"key{n}")) for n in range(1000)]
    assert hands[7] == frozenset(hand_of("key7"))
    assert all(len(hand) == HAND and max(hand) < SHARED_QUEUES for hand in hands)
    same = sum(one == other for one, other in combinations(hands, 2))
    assert same < 10


def test_a_key_that_floods_does_not_close_the_crowd_to_another(stage):
    s = stage({"a": 1.0}, waits=LONG, watch=False, max_queue=10**6)
    for n in range(OWN_QUEUES + 50):
        s.arrives("a", key=f"key{n}")
    for _ in range(2000):
        s.arrives("a", key="flooding")
    mine = next(f"calm{n}" for n in range(100) if not set(hand_of(f"calm{n}")) & set(hand_of("flooding")))
    s.arrives("a", "calm", key=mine)
    for _ in range(2 * (OWN_QUEUES + SHARED_QUEUES)):
        s.finishes(next(reversed(s.admitted)))
        if "calm" in s.admitted:
            break
    assert "calm" in s.admitted


def test_whoever_would_wait_far_too_long_is_told_at_once(stage):
    s = stage({"a": 1.0, "b": 1.0}, max_queue=1000)
    for n in range(25):
        s.arrives("a", f"t{n}")
        s.passes(2)
        s.finishes(f"t{n}")
    for n in range(40):
        s.arrives("a", f"w{n}")
    early = [ticket for ticket, refusal in s.refused.items() if refusal.waited == 0.0]
    assert early, "two seconds each: whoever is further back than some fifteen has no hope within twenty"
    assert early[0] in ("w15", "w16", "w17")
    assert s.refused[early[0]].reason is Reason.QUEUE_FULL
    assert 10 <= s.refused[early[0]].retry_after <= 30
    assert "b0" not in s.refused
    s.arrives("b", "b0")
    assert "b0" not in s.refused, "its own line is empty"


def test_batch_of_ones_own_is_not_counted_against_a_person(stage):
    s = stage({"a": 1.0}, max_queue=1000)
    for n in range(25):
        s.arrives("a", f"t{n}")
        s.passes(2)
        s.finishes(f"t{n}")
    for _ in range(200):
        s.arrives("a", priority="batch")
    s.arrives("a", "person")
    assert "person" not in s.refused
