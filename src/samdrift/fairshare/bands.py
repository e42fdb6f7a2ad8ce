"""Bands: whose turn it is among organisations.

0. in profile, interactive or standard; 1. in profile, batch; 2. borrowed, interactive or standard; 3. borrowed, batch.

An organisation is *in profile* while its bucket is not above β, or while it has nothing in flight, provided that
u ≤ u_min + Λ: so much may the least served be behind, and no more. Without that lag cap (Λ = β) the gap has no bound,
since a large refund makes an organisation look in profile for long. Who is in profile by their bucket but not by the
lag cap counts as borrowing. Within a band the least served is next.

Each class has two heaps by `u`, of those in profile by their buckets and of the others; and there is one heap of tags,
by which the others come back into profile as nominal time passes: the trick of WF²Q+ for eligibility. Where the least
served of those in profile violates the lag cap, all do, so each look is at four tops. Whoever falls out of profile
because β has shrunk is noticed when it comes to the top. All steps are O(log n).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from samdrift.fairshare.members import Member, Profiled, Root, least
from samdrift.fairshare.nominal import MOST_BUCKET, Nominal
from samdrift.fairshare.tree import FAR

IN_PROFILE, IN_PROFILE_BATCH, BORROWED, BORROWED_BATCH = range(4)
_SLACK = 64
_Entry = tuple[float, int, Member]


class Bands:
    """See the module."""

    __slots__ = ("_promotions", "_pushed", "nominal", "root")

    def __init__(self, nominal: Nominal) -> None:
        self.nominal = nominal
        self.root = Root(nominal)
        # Those outside, by tag. Entries of whoever is inside, or whose tag has changed, are outdated.
        self._promotions: list[_Entry] = []
        self._pushed = 0

    def next(self) -> tuple[Member, int] | None:
        """Whose turn it is, and in which band; None if nobody stands in line."""
        self._promote()
        interactive, batch = self.root.classes
        inside, inside_batch = self._first_inside(interactive), self._first_inside(batch)
        outside, outside_batch = interactive.first_outside(), batch.first_outside()
        tops = [top.u for top in (inside, inside_batch, outside, outside_batch) if top is not None]
        if not tops:
            return None
        limit = min(tops) + self.nominal.beta
        if inside is not None and inside.u <= limit:
            return inside, IN_PROFILE
        if inside_batch is not None and inside_batch.u <= limit:
            return inside_batch, IN_PROFILE_BATCH
        borrower = least(inside, outside, 0)
        if borrower is not None:
            return borrower, BORROWED
        borrower = least(inside_batch, outside_batch, 1)
        return (borrower, BORROWED_BATCH) if borrower is not None else None

    def next_among(self, members: list[Member]) -> tuple[Member, int] | None:
        """The same among a few, without the lag cap: the others may not go on whatever their turn. O(members)."""
        best: tuple[int, float, int, Member] | None = None
        for member in members:
            for lane, stamp in enumerate(member.stamps):
                band = lane if self.in_profile(member) else lane + BORROWED
                if stamp and (best is None or (band, member.u, stamp) < best[:3]):
                    best = band, member.u, stamp, member
        return None if best is None else (best[3], best[0])

    def in_profile(self, member: Member) -> bool:
        """By its bucket alone."""
        return not member.running or member.tag <= self.nominal.now + self.nominal.beta

    def fill(self, member: Member, amount: float) -> None:
        """What is in its bucket changes by so much (weighted tokens per weight). Then it must be judged."""
        now = self.nominal.now
        member.tag = min(max(member.tag, now) + amount, now + MOST_BUCKET * self.nominal.beta)

    def judge(self, member: Member, *, rekey: bool = False) -> None:
        """Its bucket or what it has in flight may have changed (and with `rekey`, its `u`): it stands where it
        belongs."""
        inside = self.in_profile(member)
        if inside != member.inside:
            member.inside, rekey = inside, True
        if rekey:
            for line, stamp in zip(self.root.classes, member.stamps, strict=True):
                if stamp:
                    line.put(member)
        if not inside:
            self._expect(member)

    def set_back(self) -> None:
        """Nominal time is set back where floats would lose sight of small costs. O(organisations), hardly ever."""
        if self.nominal.now <= FAR:
            return
        by = self.nominal.set_back()
        self.root.tags = {name: tag - by for name, tag in self.root.tags.items() if tag > by}
        self._promotions.clear()
        for member in self.root.children.values():
            member.tag -= by
            self.judge(member)

    def _first_inside(self, line: Profiled) -> Member | None:
        while (first := line.first_inside()) is not None and not self.in_profile(first):
            self.judge(first)
        return first

    def _expect(self, member: Member) -> None:
        """It comes back into profile when nominal time reaches its tag less β."""
        self._pushed += 1
        heappush(self._promotions, (member.tag, self._pushed, member))
        if len(self._promotions) > 2 * len(self.root.children) + _SLACK:
            self._promotions = list({entry[2]: entry for entry in self._promotions if _holds(entry)}.values())
            heapify(self._promotions)

    def _promote(self) -> None:
        threshold = self.nominal.now + self.nominal.beta
        while self._promotions and self._promotions[0][0] <= threshold:
            entry = heappop(self._promotions)
            if _holds(entry):
                self.judge(entry[2])


def _holds(entry: _Entry) -> bool:
    return not entry[2].inside and entry[2].tag == entry[0]
