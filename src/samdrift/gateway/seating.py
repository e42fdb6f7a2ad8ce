"""Which seat of its replica a request takes, and what stands in front of its body there.

So a request profits from nobody's prompts but those that its organisation lets it, and its engine hears names that it knows.
"""

from __future__ import annotations

from collections.abc import Callable

from samdrift.access.principal import Principal
from samdrift.gateway.naming import naming
from samdrift.gateway.questions import Question
from samdrift.gateway.slots import Slots, domain_of
from samdrift.spec.document import PromptCache
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.names import Named


class Seating:
    """The seats of the fleet of now. `clock` is monotonic seconds. `salt` keeps the prompts of a domain (see `slots`) apart from
    those of others in an engine's cache."""

    def __init__(self, clock: Callable[[], float], salt: Callable[[str], str]) -> None:
        self._clock, self._salt = clock, salt
        self._replicas: dict[str, Replica] = {}
        self._trials: dict[str, tuple[str, float]] = {}
        self._slots = Slots()

    @property
    def fleet(self) -> Fleet:
        """As it was last told."""
        return Fleet(tuple(self._replicas.values()))

    def fleet_changed(self, fleet: Fleet) -> None:
        """Replicas came, went or changed."""
        self._replicas = {replica.name: replica for replica in fleet.replicas}
        self._trials = {one.model: (one.name, one.portion) for one in fleet.replicas
            if one.state is ReplicaState.UP and one.portion < 1}  # fmt: skip
        self._slots.fleet_changed(fleet.replicas)

    def trial(self, model: str) -> tuple[str, float] | None:
        """The replica of this model that is tried now, and which part of new requests it takes; None if none is."""
        return self._trials.get(model)

    def take(
        self, replica: str, question: Question, who: Principal, named: Named, sharing: PromptCache
    ) -> tuple[int | None, str]:  # fmt: skip
        """The seat that a request is told to take, None if it is told none; and JSON text without braces for the front of its
        body. `sharing` is how far its organisation lets prompts profit from each other."""
        place = self._replicas[replica]
        slot, fields = None, place.fields_stream if question.stream else place.fields_plain
        domain = domain_of(sharing, who.organisation, who.line)
        if place.salted:
            salt = f'"cache_salt":"{self._salt(domain or f"{who.organisation}  {question.ticket}")}"'
            fields = f"{salt},{fields}" if fields else salt
        # What one adapter has made of a prompt is of no use to another, nor to their base.
        elif taken := self._slots.take(question.ticket, replica, domain and f"{domain} {named.name}", self._clock()):
            slot = taken.slot
            if taken.again and place.again is not None:
                fields = place.again[question.stream]
            fields = f'"id_slot":{slot},{fields}'
        return slot, ",".join(filter(None, (naming(place, named, question.model), fields)))

    def end(self, ticket: str, *, whole: bool) -> None:
        """A request has ended; `whole` says that its engine has answered it to the end."""
        self._slots.end(ticket, self._clock(), whole=whole)

    def resume(self, ticket: str, replica: str, slot: int | None) -> None:
        """A request of an earlier life of the desk still runs on this seat."""
        self._slots.resume(ticket, replica, slot, self._clock())
