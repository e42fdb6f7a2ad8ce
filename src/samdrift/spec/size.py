"""Weights from size: what an organisation is due when the document only says how large it is."""

from __future__ import annotations

from samdrift.spec.document import Organisation, Project, Spec

REFERENCE_INHABITANTS = 10_000
"""How many inhabitants make one unit of weight."""
EXPONENT = 1.0
"""How steeply weight grows with size; between 0.5 and 1."""


def weight_of(organisation: Organisation) -> float:
    """`share.weight` if it is given, else by size: w = max(1, round((inhabitants / 10 000) ** 1.0)); without
    a size, 1.

    In proportion (exponent 1), because a member pays by size and the share should follow the price: 10 000
    inhabitants of a large member get what 10 000 of a small one get. An exponent below 1 would move share
    from large members to small ones, which is a decision for the community to write down as `share.weight`,
    not for a default to make. Rounded, so that the weights are whole parts ("andele") that a board can read
    and add up, and the flat rate is a price per part. At least 1, so that the smallest member is worth a seat
    at all: an island of 3 657 inhabitants gets one part as a town of 14 999 does. 10 000 keeps the rounding
    error of a typical municipality (tens of thousands) small, while the largest stay below 100.
    """
    if organisation.share.weight is not None:
        return organisation.share.weight
    if organisation.inhabitants is None:
        return 1.0
    return float(max(1, round((organisation.inhabitants / REFERENCE_INHABITANTS) ** EXPONENT)))


def weight_of_project(project: Project) -> float:
    """Its weight among the projects of its organisation: `share.weight`, else 1."""
    return 1.0 if project.share.weight is None else project.share.weight


def shares_of(spec: Spec) -> dict[str, float]:
    """The fraction of the community's capacity that each organisation is due when all want it at once.

    Sums to 1.
    """
    weights = {name: weight_of(organisation) for name, organisation in spec.organisations.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
