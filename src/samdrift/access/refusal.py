"""No, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samdrift.spec.problems import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, and why. `named` fills the places in the problem's sentence.

    Its `detail`, where there is one, is for logs only.
    """

    reason: Reason
    named: Mapping[str, str] = field(default_factory=dict)
