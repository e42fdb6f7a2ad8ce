"""Bands: whose turn it is among organisations.

0. in profile, interactive or standard; 1. in profile, batch; 2. borrowed, interactive or standard; 3. borrowed, batch.

An organisation is *in profile* while its bucket is not above β, or while it has nothing in flight. Then it may go *ahead*
of borrowers of its class that have been served less, provided that u ≤ u_min + Λ: so much may the least served be behind,
and no more. Without that lag cap (Λ = β) the gap has no bound, since a large refund makes an organisation look in profile
for long. In the first class those in profile go ahead of borrowers only while one of them is *bursting*: it has been
served no more than β since it last had nothing waiting. For among those who always wait, going ahead would make nobody's
wait shorter, and their shares uneven by up to Λ. Nor does the first class go before batch in profile that is behind by
more than Λ. Within a band, and among those in profile always, the least served is
next; and whoever is in profile and next by `u` anyway is in band 0 all the same.

Each class has three heaps by `u`, by stance; and there is one heap of tags, by which borrowers come back into profile as
nominal time passes: the trick of WF²Q+ for eligibility. Where the least served of those bursting violates the lag cap,
all do, so each look is at six tops. Whoever falls out of profile because β has shrunk is noticed when it comes to the top.
All steps are O(log n).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf

from samdrift.fairshare.members import BORROWING, BURSTING, IN_PROFILE, Member, Profiled, Root
from samdrift.fairshare.nominal import MOST_BUCKET, Nominal
from samdrift.fairshare.tree import FAR

BAND_IN_PROFILE, BAND_IN_PROFILE_BATCH, BAND_BORROWED, BAND_BORROWED_BATCH = range(4)
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
        beta = self.nominal.beta
        batch_within = self._in(batch, BURSTING)
        limit = inf if batch_within is None else batch_within.u + beta
        first = self._ahead(interactive, limit) or interactive.first()
        if first is not None and first.u <= limit and self.in_profile(first):
            return first, BAND_IN_PROFILE
        if batch_within is not None:
            # If a borrower is behind by more than the lag cap, it takes the turn that batch in profile is due.
            return self._ahead(batch, inf) or batch.first() or batch_within, BAND_IN_PROFILE_BATCH
        if first is not None:
            return first, BAND_BORROWED
        first = batch.first()
        return (first, BAND_BORROWED_BATCH) if first is not None else None

    def next_among(self, members: list[Member]) -> tuple[Member, int] | None:
        """The same among a few, without the lag cap: the others may not go on whatever their turn. O(members)."""
        best: tuple[int, float, int, Member] | None = None
        for member in members:
            for lane, stamp in enumerate(member.stamps):
                band = lane if self.in_profile(member) else lane + BAND_BORROWED
                if stamp and (best is None or (band, member.u, member.turns[lane]) < best[:3]):
                    best = band, member.u, member.turns[lane], member
        return None if best is None else (best[3], best[0])

    def in_profile(self, member: Member) -> bool:
        """By its bucket alone."""
        return not member.running or member.tag <= self.nominal.now + self.nominal.beta

    def fill(self, member: Member, amount: float) -> None:
        """What is in its bucket changes by so much (weighted tokens per weight). Then it must be judged. The bucket is not
        so small that it would not hold the one request that fills it."""
        now = self.nominal.now
        before = max(member.tag, now)
        full = max(before, now + max(MOST_BUCKET * self.nominal.beta, amount))
        member.tag = min(before + amount, full)

    def judge(self, member: Member, *, rekey: bool = False) -> None:
        """Its bucket or what it has in flight may have changed (and with `rekey`, its `u`): it stands where it
        belongs."""
        in_profile = self.in_profile(member)
        bursts = not member.running or member.u <= member.burst_from + self.nominal.beta
        stances = (BURSTING if bursts else IN_PROFILE, BURSTING) if in_profile else (BORROWING, BORROWING)
        for lane, stance in enumerate(stances):
            changed = stance != member.stance[lane]
            member.stance[lane] = stance
            if member.stamps[lane]:
                if rekey:
                    self.root.classes[lane].put(member)
                elif changed:
                    self.root.classes[lane].shift(member)
        if not in_profile:
            self._expect(member)

    def burst(self, member: Member) -> None:
        """It had nothing waiting in the first class and comes back to it."""
        member.burst_from = member.u
        self.judge(member)

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

    def _ahead(self, line: Profiled, limit: float) -> Member | None:
        """Who goes ahead of the borrowers in this line, if somebody is bursting and the lag cap allows it, with regard to
        them and to `limit`."""
        bursting, within = self._in(line, BURSTING), self._in(line, IN_PROFILE)
        if bursting is None:
            return None
        behind = line.first_of(BORROWING)
        if behind is not None:
            limit = min(limit, behind.u + self.nominal.beta)
        if bursting.u > limit:
            return None
        return line.least(bursting, within)

    def _in(self, line: Profiled, stance: int) -> Member | None:
        while (first := line.first_of(stance)) is not None and not self.in_profile(first):
            self.judge(first)
        return first

    def _expect(self, member: Member) -> None:
        """It comes back into profile when nominal time reaches its tag less β."""
        self._pushed += 1
        heappush(self._promotions, (member.tag, self._pushed, member))
        if len(self._promotions) > 4 * len(self.root.children) + _SLACK:
            self._promotions = list({entry[2]: entry for entry in self._promotions if _holds(entry)}.values())
            heapify(self._promotions)

    def _promote(self) -> None:
        threshold = self.nominal.now + self.nominal.beta
        while self._promotions and self._promotions[0][0] <= threshold:
            entry = heappop(self._promotions)
            if _holds(entry):
                self.judge(entry[2])


def _holds(entry: _Entry) -> bool:
    return entry[2].stance[1] == BORROWING and entry[2].tag == entry[0]
