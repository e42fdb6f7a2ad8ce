"""Shares: from the document to the tree of turns."""

from __future__ import annotations

from samdrift.fairshare.amounts import weight_within
from samdrift.fairshare.stimuli import OrganisationShare, Tree
from samdrift.spec.document import Organisation, Spec
from samdrift.spec.size import weight_of, weight_of_project

DEFAULT_PROJECT = "default"
"""The project of keys that name none. It always exists."""


def tree_of(spec: Spec) -> Tree:
    """Who takes part with which weight, what tokens cost and how long one may wait, as the document says."""
    cost, wait = spec.fairness.cost, spec.fairness.wait
    return Tree(
        organisations={name: _share_of(organisation) for name, organisation in spec.organisations.items()},
        models=tuple(spec.models),
        waits={"interactive": wait.interactive, "standard": wait.standard, "batch": wait.batch},
        cost_input=cost.input,
        cost_cached=cost.cached,
        cost_output=cost.output,
        max_queue=spec.fairness.max_queue,
        max_waiting=spec.gateway.max_waiting,
        lease=spec.fairness.lease,
    )


def weights_of(tree: Tree, organisation: str, project: str) -> tuple[float, float]:
    """The weights of an organisation and of its project; 1 for what the tree does not know. Within sane
    bounds."""
    share = tree.organisations.get(organisation)
    if share is None:
        return 1.0, 1.0
    return weight_within(share.weight), weight_within(share.projects.get(project, 1.0))


def _share_of(organisation: Organisation) -> OrganisationShare:
    projects = {name: weight_of_project(project) for name, project in organisation.projects.items()}
    return OrganisationShare(weight_of(organisation), {DEFAULT_PROJECT: 1.0, **projects})
