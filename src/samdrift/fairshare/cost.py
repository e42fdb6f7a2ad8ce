"""What a request costs against the share: weighted tokens, first as predicted, at last as counted."""

from __future__ import annotations

from math import sqrt

from samdrift.fairshare.amounts import MOST_COST, MOST_TOKENS, clamped
from samdrift.fairshare.stimuli import Estimate, Tokens, Tree

COLD_INPUT, COLD_OUTPUT = 256.0, 128.0
"""Tokens that are expected of a stranger."""
COLD_HIGH = 512.0
"""Tokens of output that a stranger is not expected to exceed. A limit of its own that is no more than this is taken at its
word: small limits are set by who knows how long the answers are, large ones by whoever wants to be safe. (A stranger who is
believed to be short and is not has many in flight before the first has ended and tells; what was believed too long is given
back.)"""
LEAST_COST = 1.0
"""A turn is never free, in weighted tokens: whoever floods us with requests that an engine turns down at once would else
always be next."""
_GAIN = 1 / 5
_GAIN_VARIANCE = 1 / 20
_NINE_OF_TEN = 1.28  # standard deviations
_MOST_REMEMBERED = 4096


class CostModel:
    """c = w_in·(input − cached) + w_cached·cached + w_out·output. Every result is finite and at least `LEAST_COST`."""

    __slots__ = ("_cached", "_input", "_output")

    def __init__(self, tree: Tree) -> None:
        self._input = clamped(tree.cost_input, 1e6)
        self._cached = clamped(tree.cost_cached, 1e6)
        self._output = clamped(tree.cost_output, 1e6)

    def cost(self, tokens: Tokens) -> float:
        """What a finished request took, in weighted tokens. `cached` counts as part of `input` and never
        exceeds it."""
        whole = clamped(tokens.input, MOST_TOKENS)
        cached = clamped(tokens.cached, whole)
        output = clamped(tokens.output, MOST_TOKENS)
        return _within(self._input * (whole - cached) + self._cached * cached + self._output * output)

    def charge(self, asked: float, output: float, cached: float = 0.0) -> float:
        """What is charged at admission for `asked` tokens of input, `cached` of them expected to be known still, and so
        many expected of output."""
        return _within(self._input * (asked - cached) + self._cached * cached + self._output * output)

    @property
    def usual(self) -> float:
        """What is believed of a request of which nothing is known."""
        return self.charge(COLD_INPUT, COLD_OUTPUT)


def _within(cost: float) -> float:
    return cost if LEAST_COST <= cost <= MOST_COST else min(max(cost, LEAST_COST), MOST_COST)


class _Habit:
    """What finished requests of one kind had: the mean output, its variance, and the part of the input that was
    cached."""

    __slots__ = ("cached", "mean", "variance")

    def __init__(self, output: float, cached: float) -> None:
        self.mean = output
        self.variance = (output / 2) ** 2  # one says little of how they differ
        self.cached = cached


class Habits:
    """What to expect for one model: moving averages of what finished requests of the same organisation, project and
    priority had. What is not heard of for long is forgotten when there are too many."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], _Habit] = {}

    def expect(self, organisation: str, project: str, rank: int, most: float | None) -> float:
        """Tokens of output, on average, at most `most`, the client's own limit."""
        habit = self._known.get((organisation, project, rank))
        if habit is None:
            return COLD_OUTPUT if most is None or most > COLD_HIGH else most
        return habit.mean if most is None else min(habit.mean, most)

    def expect_high(self, organisation: str, project: str, rank: int, most: float | None) -> float:
        """Tokens of output that nine of ten do not exceed, if they are spread like a bell, at most `most`."""
        habit = self._known.get((organisation, project, rank))
        high = COLD_HIGH if habit is None else habit.mean + _NINE_OF_TEN * sqrt(habit.variance)
        return high if most is None else min(high, most)

    def expect_cached(self, organisation: str, project: str, rank: int, asked: float) -> float:
        """How many of the tokens asked for the engine will know still."""
        habit = self._known.get((organisation, project, rank))
        return 0.0 if habit is None else habit.cached * asked

    def outgrown(self, organisation: str, project: str, rank: int, output: float, most: float | None) -> None:
        """A request has so many tokens of output and goes on: so requests of its kind are longer than was expected of
        them. One learns it before the first has finished."""
        habit = self._known.get((organisation, project, rank))
        if habit is None:
            if output > self.expect(organisation, project, rank, most):
                self.learn(organisation, project, rank, Tokens(output=int(output)))
        elif output > habit.mean:
            off = output - habit.mean
            habit.mean += _GAIN * off
            habit.variance += _GAIN_VARIANCE * (off * off - habit.variance)

    def learn(self, organisation: str, project: str, rank: int, tokens: Tokens) -> None:
        """A request finished."""
        output, whole = clamped(tokens.output, MOST_TOKENS), clamped(tokens.input, MOST_TOKENS)
        cached = clamped(tokens.cached, whole) / whole if whole else 0.0
        # Out and in again: the dict's order is by when a habit was last heard of.
        key = organisation, project, rank
        habit = self._known.pop(key, None)
        if habit is None:
            habit = _Habit(output, cached)
        else:
            off = output - habit.mean
            habit.mean += _GAIN * off
            habit.variance += _GAIN_VARIANCE * (off * off - habit.variance)
            habit.cached += _GAIN * (cached - habit.cached)
        self._known[key] = habit
        if len(self._known) > _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]


def limits_of(estimate: Estimate) -> tuple[float, float | None]:
    """The input and the limit of output of an estimate, made harmless.

    The input is an estimate made from bytes and may be wrong by a factor: so a request is never refused here
    for exceeding a replica's context. The engine counts, and says so.
    """
    most = estimate.max_output
    return clamped(estimate.input, MOST_TOKENS), None if most is None else clamped(most, MOST_TOKENS)
