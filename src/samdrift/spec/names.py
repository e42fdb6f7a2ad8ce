"""Names that can be asked for: models, and adapters, which are models of their own over the engines of another. Who sees which.

A name that belongs to one organisation does not exist for the others: they are told of it what they are told of any word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from samdrift.spec.document import EngineName, Organisation, Spec
from samdrift.spec.weights import Precision


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for: `model` is the one whose engines serve it (for an adapter its base, else `name` itself), and
    `organisation` the only one that sees it, None for everybody."""

    name: str
    model: str
    organisation: str | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter over another model."""
        return self.name != self.model


class Names:
    """The names of a document. `all` has everything that can be asked for but by an alias, in the document's order, each model
    before its adapters. Made once for a document: that takes O(models), and each question after it as much."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.all: dict[str, Named] = {}
        for name, model in spec.models.items():
            self.all.setdefault(name, Named(name, name, model.organisation))
            for adapter, said in model.adapters.items():
                self.all.setdefault(adapter, Named(adapter, name, said.organisation or model.organisation))
        self._outside = {name for name, model in spec.models.items() if model.runs == "outside"}

    def seen_by(self, organisation: str) -> dict[str, Named]:
        """What exists for an organisation, whether or not it may use it."""
        return {name: named for name, named in self.all.items() if named.organisation in (None, organisation)}

    def used_by(self, organisation: str) -> dict[str, Named]:
        """What an organisation may use; nothing for one that is no member."""
        member = self._spec.organisations.get(organisation)
        if member is None:
            return {}
        barred = self._outside if member.outside == "refused" else set()
        return {name: named for name, named in self._allowed(organisation, member) if named.model not in barred}

    def shared_by(self, organisation: str) -> tuple[str, ...] | None:
        """The models in whose turns an organisation takes part, for themselves or for an adapter; None for whoever takes part in
        all, whichever there will be."""
        member = self._spec.organisations[organisation]
        part = {named.model for _, named in self._allowed(organisation, member)}
        if member.models is None and len(part) == len(self._spec.models):
            return None
        return tuple(name for name in self._spec.models if name in part)

    def _allowed(self, organisation: str, member: Organisation) -> Iterator[tuple[str, Named]]:
        listed = None if member.models is None else frozenset(member.models)
        for name, named in self.all.items():
            if named.organisation in (None, organisation) and (listed is None or name in listed):
                yield name, named


def names_of(spec: Spec) -> dict[str, Named]:
    """Everything that can be asked for but by an alias: models, each before its adapters."""
    return Names(spec).all


@dataclass(frozen=True, slots=True)
class WeightsNamed:
    """Weights that a document names, and for what: a model, an adapter over the model `over`, or a `part` of a model."""

    name: str
    weights: str
    engine: EngineName
    licence: str
    precision: Precision | None = None
    over: str = ""
    part: str = ""


def weights_named(spec: Spec) -> Iterator[WeightsNamed]:
    """All weights of a document, in its order."""
    for name, model in spec.models.items():
        if model.weights is not None:
            yield WeightsNamed(name, model.weights, model.engine, model.licence, model.precision)
            if model.projector is not None:
                yield WeightsNamed(name, model.projector, model.engine, model.licence, part="projector")
            for adapter, said in model.adapters.items():
                yield WeightsNamed(adapter, said.weights, model.engine, said.licence, over=name)
