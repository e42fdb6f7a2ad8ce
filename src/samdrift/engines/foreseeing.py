"""Foreseeing: what a document would do to the engines that stand, before it is applied. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samdrift.engines.adapting import is_the_same_but_for_adapters
from samdrift.engines.drivers import Planned
from samdrift.engines.housing import Housing
from samdrift.engines.places import Place
from samdrift.engines.quarters import Quarters
from samdrift.engines.weights import Weights
from samdrift.spec.document import Spec

_OF_WEIGHTS = ("weights", "precision", "projector", "engine")


def at_hand(weights: Mapping[str, Weights], before: Spec, after: Spec) -> dict[str, Weights]:
    """The weights of those models of `after` that have the same ones as in `before`."""
    def same(name: str) -> bool:
        old, new = before.models.get(name), after.models[name]
        return old is not None and all(getattr(old, said) == getattr(new, said) for said in _OF_WEIGHTS)

    return {name: weights[name] for name in after.models if name in weights and same(name)}


def interruptions(housing: Housing, quarters: Quarters, slots: Mapping[str, Planned]) -> tuple[str, ...]:
    """A sentence for each model whose only replica that is up could not be replaced beside itself. `slots` and `housing` are
    those of the new document, `quarters` those that stand."""
    found = []
    for model in dict.fromkeys(planned.model for planned in slots.values()):
        up = [place for place in quarters.of_model(model) if place.open and not place.leaving and place.part == "serving"]
        if len(up) == 1 and up[0].slot in slots and model not in housing.misfits:
            planned = quarters.named(slots[up[0].slot], up[0].name)
            if not _fits_beside(up[0], planned, housing, tuple(quarters.places.values())):
                expected = housing.expected(model)
                about = "" if expected is None else f" (about {max(1.0, expected.seconds):.0f} s)"
                found.append(f"{model}: there is no room for the old and the new one at once. The old one finishes what it "
                    f"has and goes first; requests wait as long as that takes, and until the new one is up{about}.")  # fmt: skip
    return tuple(found)


def _fits_beside(place: Place, planned: Planned, housing: Housing, places: Sequence[Place]) -> bool:
    if not housing.may_stay(planned.model, place.devices):
        return housing.room_for(planned.model, places) is not None
    return place.shown == planned or is_the_same_but_for_adapters(place.shown, planned) or housing.has_room_beside(place, places)
