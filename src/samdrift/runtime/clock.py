"""The clock, at the one door where it comes in. Everybody below is handed the time."""

from __future__ import annotations

import time

monotonic = time.monotonic
"""Seconds that never go back."""

wall = time.time  # noqa: TID251 - this is the door that the rule speaks of
"""Unix seconds."""
