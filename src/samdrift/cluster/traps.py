"""What in manifests silently does nothing, or something else than it says: rules, each with a sentence.

They are asked of our own output in tests, and of anybody's by `samdrift check kubernetes`. A rule says nothing where it cannot
know: manifests of a cluster are seldom all in one folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from samdrift.cluster.foreign import Found, Objects

Rule = Callable[[Objects], "Iterator[Trap]"]


@dataclass(frozen=True, slots=True)
class Trap:
    """One thing that does not do what it seems to. `rule` is the rule's name, `place` is `file: Kind namespace/name`."""

    rule: str
    place: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence} {self.remedy} [{self.rule}]"


def trap(one: Found, rule: str, sentence: str, remedy: str) -> Trap:
    """A trap in this object."""
    whose = f"{one.namespace}/{one.name}" if one.namespace else one.name
    return Trap(rule, f"{one.file}: {one.kind} {whose}", sentence, remedy)


def traps_in(objects: Objects) -> tuple[Trap, ...]:
    """Everything that is found, in the order of the rules."""
    from samdrift.cluster.traps_caches import CACHE_RULES
    from samdrift.cluster.traps_desks import DESK_RULES
    from samdrift.cluster.traps_entrance import ENTRANCE_RULES
    from samdrift.cluster.traps_patches import PATCH_RULES
    from samdrift.cluster.traps_queues import QUEUE_RULES
    from samdrift.cluster.traps_routes import ROUTE_RULES
    from samdrift.cluster.traps_serving import SERVING_RULES

    rules = (*ENTRANCE_RULES, *ROUTE_RULES, *PATCH_RULES, *CACHE_RULES, *DESK_RULES, *QUEUE_RULES, *SERVING_RULES)
    return tuple(found for rule in rules for found in rule(objects))
