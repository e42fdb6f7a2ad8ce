"""What the supervisor asks of an engine's driver. One module beside this one implements it per engine; they
do not know each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from samdrift.engines.processes import Program

Task = Literal["generate", "embed"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A replica as the document wants it, with its weights at hand.

    `seats` is how many requests it runs at once, `context` how many tokens one seat holds. `address` is the
    path of the Unix socket that it must listen on. `pooled` says that the weights say themselves how an
    embedding is pooled. `threads` is how many processor threads it may use: `asked_threads` if the document
    says so, else a share that depends on the other models. A change of that share alone is no reason to
    replace a replica: it would let a change to one model restart all others.
    """

    name: str
    model: str
    engine: str
    task: Task
    weights: Path
    pooled: bool
    seats: int
    context: int
    address: str
    log: Path
    asked_threads: int | None
    threads: int = field(compare=False)


class Driver(Protocol):
    """How one kind of engine is started, asked for its health, and spoken to."""

    reserved: frozenset[str]
    """Top-level fields of a body that clients must not send to this engine: they would change what the
    platform counts, or reach what other organisations left in the engine."""

    stripped: frozenset[str]
    """Request headers (lower case) that must not reach this engine."""

    idle: float
    """Seconds after which the engine closes a connection that nobody uses; a proxy must give it up sooner."""

    def endpoints(self, task: Task) -> tuple[str, ...]:
        """The paths at which a replica with this task answers."""

    def fields(self, task: Task) -> Mapping[Literal["plain", "stream"], str]:
        """JSON text without braces to put in front of a body, by kind of request."""

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`."""

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` is ready for requests. False at any doubt; it never raises."""
