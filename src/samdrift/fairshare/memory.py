"""The memory of one replica: whether the cache holds one request more until all have been answered.

Every request in flight holds its prompt and what has been answered so far, and grows by a token a step; when it ends it
gives all of it back. So what a set of requests needs at most is not the sum of their ends but the highest stair: with
those that last longest first, max over k of Σ_{j≤k} now_j + k·rem_k, rem_k being what the k-th has still to say (as in
the Past-Future scheduler, Gong et al., ASPLOS 2025). What it has to say is predicted high (the ninth of ten), and of
the cache a part κ is used. Besides, what all could come to need if every prediction were four times too low may exceed
the cache threefold at most: a guard for when many are wrong at once.
"""

from __future__ import annotations

from dataclasses import dataclass

KAPPA = 1.0
"""The part of a cache that is used, at most, by prediction."""
_LEAST_KAPPA = 0.5
ETA = 3.0
"""By how much the worst case may exceed the cache."""
WORST = 4.0
"""The worst case is so many times the predicted output, or the client's limit."""
_UNSEEN = 128.0  # tokens: we are told more often than that
_MORE = 1 / 4  # who has said more than predicted is believed to say a quarter of that more


@dataclass(frozen=True, slots=True)
class Need:
    """What a request is believed to need: tokens of input, tokens of output (nine of ten have no more), and the client's
    own limit of output."""

    input: float
    output: float
    most: float | None

    @property
    def whole(self) -> float:
        """At its end."""
        return self.input + self.output

    @property
    def worst(self) -> float:
        """If the prediction is far too low."""
        output = max(WORST * self.output, 1.0)
        return self.input + (output if self.most is None else min(output, self.most))


class Holding:
    """What one request in flight holds: `seen` tokens of output at the time `at`."""

    __slots__ = ("at", "need", "seen")

    def __init__(self, need: Need, at: float) -> None:
        self.need = need
        self.seen = 0.0
        self.at = at

    def step(self, now: float, pace: float, most_unseen: float) -> tuple[float, float]:
        """How many tokens it has still to say, and how many it holds. It cannot have said more than `most_unseen` since
        it was last seen."""
        need = self.need
        said = self.seen + min(pace * (now - self.at), most_unseen)
        if said >= need.output:
            # Longer than predicted, or a little faster: nobody knows how much there is to come.
            said = max(self.seen, need.output)
            remaining = _MORE * said
            if need.most is not None:
                remaining = min(remaining, max(0.0, need.most - said))
            return remaining, need.input + said
        return need.output - said, need.input + said


class Memory:
    """See the module. `tokens` is what the cache holds."""

    __slots__ = ("_holdings", "_most_unseen", "_whole", "_worst", "kappa", "tokens")

    def __init__(self, tokens: float) -> None:
        self.tokens = tokens
        self.kappa = KAPPA
        self._holdings: dict[str, Holding] = {}
        self._whole = self._worst = 0.0
        # Without bound until we are told of progress at all.
        self._most_unseen = float("inf")

    @property
    def reserved(self) -> float:
        """What those in flight will hold at their ends, together."""
        return self._whole

    def fits(self, need: Need, now: float, pace: float, spare: float = 0.0) -> bool:
        """Whether one more fits beside those in flight, with `spare` tokens left over; `pace` is how many tokens a
        second each of them says. O(n log n) in those in flight on this replica, and mostly O(1). Whatever it needs, it
        fits into an empty replica: there the engine is who knows better."""
        if not self._holdings:
            return True
        room = self.kappa * self.tokens - spare
        if self._worst + need.worst > ETA * self.tokens:
            return False
        if self._whole + need.whole <= room:
            return True
        return self.highest_stair(need, now, pace) <= room

    def highest_stair(self, need: Need, now: float, pace: float) -> float:
        """The most tokens that those in flight and one more will hold together."""
        steps = [holding.step(now, pace, self._most_unseen) for holding in self._holdings.values()]
        steps.append((need.output, need.input))
        steps.sort(reverse=True)
        highest = held = 0.0
        for count, (remaining, holds) in enumerate(steps, start=1):
            held += holds
            highest = max(highest, held + count * remaining)
        return highest

    def hold(self, ticket: str, need: Need, now: float) -> None:
        """A request is in flight."""
        self.release(ticket)
        self._holdings[ticket] = Holding(need, now)
        self._whole += need.whole
        self._worst += need.worst

    def progress(self, ticket: str, output: float, now: float) -> None:
        """It has said so many tokens."""
        holding = self._holdings.get(ticket)
        if holding is not None:
            holding.seen, holding.at = max(holding.seen, output), now
            self._most_unseen = _UNSEEN

    def release(self, ticket: str) -> None:
        """It is in flight no longer."""
        holding = self._holdings.pop(ticket, None)
        if holding is None:
            return
        # Sums of floats drift; an empty cache holds nothing.
        self._whole = self._whole - holding.need.whole if self._holdings else 0.0
        self._worst = self._worst - holding.need.worst if self._holdings else 0.0

    def correct(self, *, crowded: bool) -> None:
        """The engine says that its cache was too full, or that it is well."""
        self.kappa = max(_LEAST_KAPPA, self.kappa - 0.02) if crowded else min(KAPPA, self.kappa + 0.01)
