"""What one admitted request took: the row that statements are made of. No content, ever."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a ticket ended."""

    COMPLETED = "completed"  # the engine answered to its end and the client took it
    REJECTED = "rejected"  # the engine answered with a 4xx: nothing was generated
    FAILED = "failed"  # the engine or the way to it broke
    LEFT = "left"  # the client hung up after admission
    LAPSED = "lapsed"  # no receipt ever came


@dataclass(frozen=True, slots=True)
class Usage:
    """One settled ticket. Times are in seconds; `at` is Unix time of settlement. `cached_tokens` is part of
    `input_tokens`. `estimated` says that the counts are no count of an engine. `user` is who asked within the organisation, as
    its retention says: a keyed hash, a name, or nothing."""

    ticket: str
    organisation: str
    project: str
    key: str
    model: str
    replica: str
    endpoint: str
    priority: str
    outcome: Outcome
    status: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    estimated: bool
    at: float
    waited: float
    first_byte: float | None
    duration: float
    user: str = ""
