"""What the engines tell people: each step towards a model that answers or away from it, and how a model stands now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from samdrift.engines.weights import Doing


@dataclass(frozen=True, slots=True)
class Progress:
    """A step towards a model that answers, or away from it, for people. `fraction` is from 0 to 1, `sentence` says why, or what
    is wrong."""

    model: str
    step: Doing | Literal["loading", "starting", "trying", "up", "down", "leaving", "asleep", "failed"]
    fraction: float
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A new version of a model that takes a `portion` of new requests, as `replica`, and is watched for as many seconds more as
    `left` says. Of the requests that have ended meanwhile, `ended` were its own, `failed` of them by its engine's fault and
    `rejected` by it; the others are those of the old version."""

    replica: str
    portion: float
    left: float
    ended: int
    failed: int
    old_ended: int
    old_failed: int
    rejected: int
    old_rejected: int


State = Literal["up", "loading", "waiting", "leaving", "asleep", "down"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands. `why` is what was last decided of it or went wrong; `memory` (bytes) and `seconds` are what one replica
    is believed to take, and until it is up; `left` is in how many seconds one will be up, None if one is or nobody can tell.
    `trial` is a new version that is watched."""

    state: State
    why: str
    memory: int | None
    seconds: float | None
    left: float | None
    trial: Trial | None = None


class WeightsProblems(Exception):  # noqa: N818 - all problems at once
    """Some models of a document cannot be served. `problems` has a sentence by model; nothing was changed."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(f"{model}: {sentence}" for model, sentence in sorted(problems.items())))
        self.problems = problems


class News:
    """Hands steps on to `told`, and remembers by model what was last decided of it or went wrong (`why`), what is wrong with its
    weights (`faults`) and what is done with them (`doing`)."""

    def __init__(self, told: Callable[[Progress], None]) -> None:
        self.why: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self.doing: dict[str, str] = {}
        self._told = told

    def fails(self, model: str, fault: str) -> None:
        """Its weights cannot be served, and why."""
        self.faults[model] = fault
        self._told(Progress(model, "failed", 0.0, fault))

    def prepares(self, model: str, doing: Doing, share: float) -> None:
        """Something is done with its weights."""
        self.doing[model] = f"{doing} its weights: {share:.0%}"
        self._told(Progress(model, doing, share))

    def say(self, model: str, step: Literal["loading", "leaving", "asleep", "trying"], why: str) -> None:
        """It was decided, and why."""
        self.why[model] = why
        self._told(Progress(model, step, 0.0, why))

    def step(self, progress: Progress) -> None:
        """Something happened that needs no explanation later."""
        self._told(progress)
