"""What a request costs against the share: weighted tokens, first as predicted, at last as counted."""

from __future__ import annotations

from samdrift.fairshare.amounts import MOST_COST, MOST_TOKENS, clamped
from samdrift.fairshare.stimuli import Estimate, Tokens, Tree

COLD_OUTPUT = 128.0
"""Tokens of output that are expected of a stranger."""
LEAST_CHARGE = 1.0
"""A turn is never free, in weighted tokens: free turns would let one member pass all others for ever."""
_GAIN = 1 / 5
_MOST_REMEMBERED = 4096


class CostModel:
    """c = w_in·(input − cached) + w_cached·cached + w_out·output. Every result is finite and not negative."""

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
        return min(self._input * (whole - cached) + self._cached * cached + self._output * output, MOST_COST)

    def charge(self, asked: float, output: float) -> float:
        """What is charged at admission for `asked` tokens of input and so many expected of output; none of
        it is expected to be cached."""
        return min(max(self._input * asked + self._output * output, LEAST_CHARGE), MOST_COST)


class Outputs:
    """How much output to expect for one model: a moving average (gain 1/5) of what finished requests of the
    same organisation, project and priority had. What is not heard of for long is forgotten when there are
    too many."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[tuple[str, str, int], float] = {}

    def expect(self, organisation: str, project: str, rank: int, most: float | None) -> float:
        """Tokens of output, at most `most`, the client's own limit."""
        mean = self._means.get((organisation, project, rank), COLD_OUTPUT)
        return mean if most is None else min(mean, most)

    def learn(self, organisation: str, project: str, rank: int, output: float) -> None:
        """A request finished with this many tokens of output."""
        output = clamped(output, MOST_TOKENS)
        # Out and in again: the dict's order is by when a mean was last heard of.
        mean = self._means.pop((organisation, project, rank), None)
        self._means[organisation, project, rank] = output if mean is None else mean + _GAIN * (output - mean)
        if len(self._means) > _MOST_REMEMBERED:
            del self._means[next(iter(self._means))]


def limits_of(estimate: Estimate) -> tuple[float, float | None]:
    """The input and the limit of output of an estimate, made harmless.

    The input is an estimate made from bytes and may be wrong by a factor: so a request is never refused here
    for exceeding a replica's context. The engine counts, and says so.
    """
    most = estimate.max_output
    return clamped(estimate.input, MOST_TOKENS), None if most is None else clamped(most, MOST_TOKENS)
