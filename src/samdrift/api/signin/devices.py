"""Devices that somebody has signed in on: whoever guesses at an account from elsewhere does not hold its owner back there.

A browser in which somebody came in with a local account holds a sealed cookie that says so. Its guesses at that account are
counted by themselves, and all others together; so a stolen one is worth as many guesses as any browser has, and no more. It lets
nobody in. The idea is OWASP's ("device cookies").
"""

from __future__ import annotations

from dataclasses import dataclass

from samdrift.api.signin.flows import random_text
from samdrift.api.signin.sealing import Seal

LASTS = 180 * 86_400.0
"""Seconds that a device is known for after the last time."""


@dataclass(frozen=True, slots=True)
class Device:
    """A browser, by a name that says nothing, and the account that somebody came in with there last."""

    id: str
    login: str


class Devices:
    """Writes and reads what such a browser holds. `key` (32 bytes) is the service's own."""

    def __init__(self, key: bytes) -> None:
        self._seal = Seal(key, "devices that people have signed in on")

    def known(self, login: str, now: float) -> str:
        """What a browser is to hold in which somebody has come in with this account just now. Each time it is another device,
        whose guesses nobody has used up."""
        return self._seal.seal_json({"id": random_text(16), "login": login, "until": now + LASTS})

    def read(self, text: str, now: float) -> Device | None:
        """Which device it is; None if it is not known, or not any more."""
        said = self._seal.open_json(text)
        return Device(said["id"], said["login"]) if said is not None and now < said["until"] else None
