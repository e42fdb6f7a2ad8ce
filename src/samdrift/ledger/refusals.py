"""A flood of refused attempts must not fill the audit trail: after some, the rest of a minute is counted and told of later."""

from __future__ import annotations

import dataclasses
import threading

from samdrift.spec.events import AuditEvent

_WINDOW = 60.0  # seconds
_EACH = 20  # refusals of one kind from one address in a window
_ALL = 600  # refusals together in a window
_MOST = 4_096  # kinds that are told apart


class Throttle:
    """Which refusals are written. Changes always are. Time is that of the events. Safe to call from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = float("-inf")
        self._count = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._skipped = 0

    def passed(self, event: AuditEvent) -> AuditEvent | None:
        """The event as it is to be written; None if it is only counted. The first one written after others were not says how many
        in `after`, as `refusals_not_written`."""
        if event.outcome != "refused":
            return event
        kind = (event.action, event.address)
        with self._lock:
            if not self._began <= event.at < self._began + _WINDOW:
                self._began, self._count = event.at, 0
                self._counts.clear()
            count = self._counts.get(kind, 0)
            if count >= _EACH or self._count >= _ALL or (count == 0 and len(self._counts) >= _MOST):
                self._skipped += 1
                return None
            self._counts[kind] = count + 1
            self._count += 1
            skipped, self._skipped = self._skipped, 0
        return dataclasses.replace(event, after={**event.after, "refusals_not_written": skipped}) if skipped else event
