"""By what weights are fetched: settings of the document, its secrets, the environment, and how long to bear with a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.secret_references import MissingReference
from samdrift.spec.weights import WeightsSettings

Doing = Literal["fetching", "checking", "reading", "converting"]
Step = Callable[[Doing, float], None]
"""Told what is being done and which part of it is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How much a server may try us. `silence` is in seconds; a piece is given up after `tries` without a byte in a row, with
    pauses (seconds) that double from `pause`. A file is fetched in pieces of `piece` bytes."""

    silence: float = 30.0
    tries: int = 6
    pause: float = 0.5
    piece: int = 32 * 2**20


def _no_secrets(text: str) -> str:
    if text:
        raise MissingReference("nobody here can follow references")
    return ""


@dataclass(frozen=True, slots=True)
class Means:
    """`secret` gives a text of the document with its references followed, and raises MissingReference. Whoever sets `stop` ends
    what is going on within a second or so; it is the only way to end a thread that fetches."""

    settings: WeightsSettings = field(default_factory=WeightsSettings)
    secret: Callable[[str], str] = _no_secrets
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    patience: Patience = Patience()
    stop: threading.Event = field(default_factory=threading.Event)

    def followed(self, text: str) -> str:
        """A text with its references followed. Raises WeightsError."""
        try:
            return self.secret(text) if text else ""
        except MissingReference as error:
            raise WeightsError(f"The credentials for weights cannot be read: {error}.") from error
