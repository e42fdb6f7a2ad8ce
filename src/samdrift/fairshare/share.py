"""Shares: from the document to the tree of turns, and what each organisation is due of a model, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from samdrift.fairshare.amounts import clamped, weight_within
from samdrift.fairshare.stimuli import OrganisationShare, Tree
from samdrift.spec.document import Organisation, Spec
from samdrift.spec.names import Names
from samdrift.spec.portion import MOST_GUARANTEED, Portion
from samdrift.spec.size import weight_of, weight_of_project

DEFAULT_PROJECT = "default"
"""The project of keys that name none. It always exists."""
_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Due:
    """What one organisation is due of one model. `weight` is its weight there, `part` its part of the whole, `seats` that
    part in seats. It holds at most `most` seats at once (None: as many as there are) and keeps `kept` for itself
    alone."""

    weight: float
    part: float
    seats: float
    most: int | None
    kept: int

    @property
    def own(self) -> int:
        """The seats that it may always hold: what it is due, made whole upwards, since there is no half seat."""
        return max(1, ceil(self.seats - _EXACT))


def tree_of(spec: Spec) -> Tree:
    """Who takes part with which weight, what tokens cost and how long one may wait, as the document says."""
    cost, wait, names = spec.fairness.cost, spec.fairness.wait, Names(spec)
    return Tree(
        organisations={name: _share_of(organisation, names.shared_by(name))
            for name, organisation in spec.organisations.items()},
        models=tuple(spec.models),
        waits={"interactive": wait.interactive, "standard": wait.standard, "batch": wait.batch},
        cost_input=cost.input,
        cost_cached=cost.cached,
        cost_output=cost.output,
        max_queue=spec.fairness.max_queue,
        max_waiting=spec.gateway.max_waiting,
        lease=spec.fairness.lease,
        guarantee_window=spec.fairness.guarantee_window,
        cold_wait=wait.cold,
    )


def dues(tree: Tree, model: str, seats: int) -> dict[str, Due]:
    """What each organisation that may use `model` is due of its `seats`, by name. O(organisations²) at worst where many
    have guarantees; not on the path of a request."""
    members = {
        name: share for name, share in tree.organisations.items() if share.models is None or model in share.models
    }
    weights = _with_guarantees({name: weight_within(share.weight) for name, share in members.items()},
        {name: _guaranteed(share.guarantee, seats) for name, share in members.items() if share.guarantee})  # fmt: skip
    whole = sum(weights.values())
    return {name: _due(share, weights[name], weights[name] / whole, seats) for name, share in members.items()}


def _due(share: OrganisationShare, weight: float, part: float, seats: int) -> Due:
    due = part * seats
    own = max(1, ceil(due - _EXACT))
    most = None if share.borrow is None else own + floor(_portion(share.borrow, due) + _EXACT)
    kept = 0 if share.lend is None else max(0, floor(due - _portion(share.lend, due) + _EXACT))
    return Due(weight, part, due, most, kept)


def _portion(portion: Portion, whole: float) -> float:
    return clamped(portion.part, 1e6) * whole + clamped(portion.seats, 1e6)


def _guaranteed(guarantee: Portion, seats: int) -> float:
    part = clamped(guarantee.part, 1.0)
    return min(1.0, part + clamped(guarantee.seats, 1e6) / seats) if seats else part


def _with_guarantees(weights: dict[str, float], parts: dict[str, float]) -> dict[str, float]:
    """The weights, raised where somebody's part of the whole is less than guaranteed, so that it is exactly that: then
    everything that holds for weights holds for guarantees. The others keep their weights, and their proportions."""
    parts = {name: part for name, part in parts.items() if part > 0}
    asked, most = sum(parts.values()), 1.0 if len(parts) == len(weights) else MOST_GUARANTEED
    if asked > most:
        # The fleet may have shrunk: all are cut alike, so that something is left for the others.
        parts = {name: part * most / asked for name, part in parts.items()}
    raised: set[str] = set()
    while True:
        free = sum(weight for name, weight in weights.items() if name not in raised)
        # If all are guaranteed something, what is left over goes to them alike.
        whole = free / max(1 - sum(parts[name] for name in raised), _EXACT) if free else 1.0
        short = {name for name, part in parts.items() if name not in raised and weights[name] < part * whole}
        if not short:
            return {name: parts[name] * whole if name in raised else weight for name, weight in weights.items()}
        raised |= short


def _share_of(organisation: Organisation, models: tuple[str, ...] | None) -> OrganisationShare:
    projects = {name: weight_of_project(project) for name, project in organisation.projects.items()}
    share = organisation.share
    return OrganisationShare(
        weight_of(organisation), {DEFAULT_PROJECT: 1.0, **projects}, borrow=share.borrows, lend=share.lends,
        guarantee=share.guaranteed, models=models,
    )  # fmt: skip
