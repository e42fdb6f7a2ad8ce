"""What a caller may ask for, as `/v1/models` says it: what each model takes and can do, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from samdrift.spec.abilities import endpoints_of
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.names import Named

_BEST_FIRST = (ReplicaState.UP, ReplicaState.STARTING, ReplicaState.ASLEEP, ReplicaState.DRAINING, ReplicaState.DOWN)


@dataclass(frozen=True, slots=True)
class Listed:
    """A name that can be asked for. `model` is the one whose engines serve it, `up` how many requests they take at once now,
    `state` that of the best of them, and `context` how many tokens one request may have in all."""

    named: Named
    model: Model
    state: ReplicaState
    up: int
    context: int

    def entry(self, name: str, created: int) -> dict[str, Any]:
        """As OpenAI's clients expect it under this name, and more."""
        most = self.model.seats * self.model.replicas.max
        entry = {
            "id": name, "object": "model", "created": created, "owned_by": "samdrift",
            "task": self.model.task, "endpoints": list(endpoints_of(self.model.task)),
            "inputs": ["text", "image"] if self.model.sees else ["text"],
            "context": self.context, "state": self.state.value, "seats": {"up": self.up, "most": max(most, self.up)},
        }  # fmt: skip
        if name != self.named.name:
            entry["stands_for"] = self.named.name
        if self.named.is_adapter:
            entry["adapter_of"] = self.named.model
        return entry


def listing_of(spec: Spec, names: Mapping[str, Named], fleet: Fleet) -> dict[str, Listed]:
    """What is to be said of these names. O(names + replicas)."""
    replicas: dict[str, list[tuple[ReplicaState, int, int]]] = {}
    for one in fleet.replicas:
        replicas.setdefault(one.model, []).append((one.state, one.seats, one.context))
    return {name: _listed(named, spec.models[named.model], replicas.get(named.model, ()))
        for name, named in names.items() if named.model in spec.models}  # fmt: skip


def _listed(named: Named, model: Model, replicas: Iterable[tuple[ReplicaState, int, int]]) -> Listed:
    found = list(replicas)
    state = min((state for state, _, _ in found), key=_BEST_FIRST.index, default=ReplicaState.DOWN)
    up = [(seats, context) for is_in, seats, context in found if is_in is ReplicaState.UP]
    # Weights may have been made for less than the document would give a seat; an engine that is not looked at says 0.
    context = min([model.context, *(context for _, context in up if context)])
    return Listed(named, model, state, sum(seats for seats, _ in up), context)
