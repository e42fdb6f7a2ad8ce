"""Crowds: where a project has more keys at once than are worth a queue each, they share some.

The first 512 keys of a project have a queue of their own. Beyond that each key is dealt a hand of 4 of 64 shared queues
and joins the shortest (shuffle sharding, as in Kubernetes API Priority and Fairness, KEP-1040): a key that floods can
fill its own hand, and hardly ever all four queues of another's. So what a project can make us remember has a bound.
"""

from __future__ import annotations

from zlib import crc32

from samdrift.fairshare.tree import Project

OWN_QUEUES = 512
SHARED_QUEUES = 64
HAND = 4


def leaf_name(project: Project, key: str) -> str:
    """The name of the queue that a key without one of its own joins: its own while there is room, else one of its
    hand."""
    if len(project.children) < OWN_QUEUES:
        return key
    hand = [f"\0{number}" for number in hand_of(key)]
    return min(hand, key=lambda name: leaf.waiting if (leaf := project.children.get(name)) is not None else 0)


def hand_of(key: str) -> list[int]:
    """The numbers of the queues that a key is dealt: four different ones, always the same."""
    deck = list(range(SHARED_QUEUES))
    drawn = crc32(key.encode("utf-8", "surrogatepass"))
    hand = []
    for left in range(SHARED_QUEUES, SHARED_QUEUES - HAND, -1):
        drawn, place = divmod(drawn, left)
        hand.append(deck[place])
        deck[place] = deck[left - 1]
    return hand
