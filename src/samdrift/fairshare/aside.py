"""Who is looked past while seats are given out, and put back when that is done: bounded in number."""

from __future__ import annotations

from samdrift.fairshare import adapters, backfill
from samdrift.fairshare.members import Member
from samdrift.fairshare.tickets import Waiter
from samdrift.fairshare.turns import Turns, member_of


class Aside:
    """See the module."""

    __slots__ = ("_by_member", "_keys", "_members", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._members: list[Member] = []
        self._keys: list[Waiter] = []
        self._by_member: dict[str, int] = {}

    def organisation(self, member: Member) -> bool:
        """All that this organisation has waiting. False if that is too much."""
        return len(self._members) < backfill.MOST_PASSED and self._block(member)

    def key(self, waiter: Waiter) -> bool:
        """What this one's key has waiting; or all of its organisation, if it has more such keys. False if that is too much."""
        member = member_of(waiter.leaf)
        passed = self._by_member[member.name] = self._by_member.get(member.name, 0) + 1
        if passed > adapters.MOST_KEYS:
            return self._block(member)
        if len(self._keys) >= adapters.MOST_PASSED:
            return False
        self._turns.set_aside(waiter)
        self._keys.append(waiter)
        return True

    def put_back(self) -> None:
        """Everybody, to where they stood. O(1) where nobody was looked past."""
        if not self._keys and not self._members:
            return
        for waiter in self._keys:
            self._turns.put_back(waiter)
        for member in self._members:
            self._turns.unblock(member, lift=False)
        self._keys.clear()
        self._members.clear()
        self._by_member.clear()

    def _block(self, member: Member) -> bool:
        self._turns.block(member)
        self._members.append(member)
        return True
