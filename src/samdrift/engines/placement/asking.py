"""Who waits for which model, how urgently, and how that is said to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from samdrift.engines.residents import Want
from samdrift.spec.demand import Demand

CROWD = 5.0
"""Seconds of waiting that a crowd counts for at most, when it is decided who is next."""


@dataclass(slots=True)
class Asked:
    """What waits for one model."""

    urgent: int = 0
    patient: int = 0
    since: float = inf
    patient_since: float = inf
    organisations: int = 0

    @property
    def any(self) -> bool:
        """Whether anybody waits."""
        return bool(self.urgent or self.patient)

    def urgency(self, load: float, now: float) -> float:
        """How urgent it is that this model is up, in seconds of waiting, if loading it takes `load` seconds."""
        if not self.urgent:
            return now - self.patient_since
        return now - self.since + CROWD * (1 - 1 / self.urgent) - load

    def said(self, now: float) -> str:
        """Who waits, as a sentence without its end."""
        number, since = (self.urgent, self.since) if self.urgent else (self.patient, self.patient_since)
        requests = "1 request waits" if number == 1 else f"{number} requests wait"
        by = "" if self.organisations == 1 else f" of {self.organisations} organisations"
        return f"{requests}{by}, the longest for {seconds(now - since)}"


NOBODY = Asked()


class Asking:
    """What waits for each model. Models for which nobody has asked have `NOBODY`."""

    def __init__(self, demands: Iterable[Demand], wants: Mapping[str, Want]) -> None:
        self._found: dict[str, Asked] = {}
        for demand in sorted(demands, key=lambda demand: (demand.model, demand.organisation)):
            if demand.model in wants:
                _count(self._found.setdefault(demand.model, Asked()), demand)

    def of(self, model: str) -> Asked:
        """What waits for this one."""
        return self._found.get(model, NOBODY)

    def models(self) -> tuple[str, ...]:
        """The models that somebody waits for, in order of their names."""
        return tuple(model for model, asked in self._found.items() if asked.any)


def _count(asked: Asked, demand: Demand) -> None:
    asked.urgent += demand.urgent
    asked.patient += demand.patient
    asked.organisations += 1
    if demand.urgent and demand.urgent_since is not None:
        asked.since = min(asked.since, demand.urgent_since)
    if demand.patient and demand.patient_since is not None:
        asked.patient_since = min(asked.patient_since, demand.patient_since)


def seconds(number: float) -> str:
    """A time for people."""
    return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
