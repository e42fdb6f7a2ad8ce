"""What the planner of placement is told and what it answers, as values: devices, wants, residents; loads and releases.

Memory is in bytes, times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """One device, or the memory of a machine. `memory` is None where nobody has said how much there is: then everything fits.
    `kind` is the document's word (`nvidia-b200`), `family` its first part. `number` is what the system calls it among those of
    its family; None for a processor."""

    name: str
    pool: str
    memory: int | None
    kind: str = "cpu"
    number: int | None = None

    @property
    def family(self) -> str:
        """Whose device it is: the part of `kind` before the first hyphen."""
        return self.kind.split("-", 1)[0]


@dataclass(frozen=True, slots=True)
class Want:
    """What the document wants of a model. `need` is what one replica takes of each of its `devices`, `load` how long it takes to
    load. It stands on devices of one family; if on several, on those of one kind. At least `least` replicas stand at any time and
    at most `most`; one that nobody has used for `idle` seconds may go."""

    model: str
    pool: str
    need: int
    least: int
    most: int
    idle: float
    load: float
    devices: int = 1
    family: str = "cpu"


@dataclass(frozen=True, slots=True)
class Resident:
    """A replica that has its memory. `since` is when it began to load, and once it is up, when it came up; `used` is when a
    request last began or ended on it. `down` is one that does not come up, and is tried again. `leaving` takes no new requests,
    and its memory comes free when what runs on it has ended. `asleep` lives on with the little memory that is left to it, serves
    nobody, and can be woken on these devices."""

    name: str
    model: str
    devices: tuple[str, ...]
    need: int
    state: Literal["loading", "up", "down", "leaving", "asleep"]
    since: float
    used: float
    running: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Load this replica there. `why` is a sentence's end for people: "because …"."""

    name: str
    model: str
    devices: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Release:
    """Send nothing new to this replica, and end it when nothing runs on it any more. `to` is the model that gets its room, if
    one waits for it."""

    name: str
    model: str
    to: str | None
    why: str


Step = Load | Release


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order. `waits` says why models that are asked for are not loaded yet. Time alone changes nothing
    before `again` (None: ever)."""

    steps: tuple[Step, ...] = ()
    waits: dict[str, str] = field(default_factory=dict)
    again: float | None = None
