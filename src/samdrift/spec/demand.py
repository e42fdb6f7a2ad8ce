"""Who waits for which model: what is known of it when somebody decides which models to load.

The one value that `fairshare` makes and `engines` reads; the runtime hands it on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests of one organisation that wait for one model. `urgent` of them are within their share, and somebody or an
    application waits for the answer, the first since `urgent_since`; `patient` are batch, or beyond the share, the first since
    `patient_since`. Times are monotonic seconds; None where there are none."""

    model: str
    organisation: str
    urgent: int = 0
    urgent_since: float | None = None
    patient: int = 0
    patient_since: float | None = None
