"""Holding back those who guess, for all control planes together and over restarts: the numbers are in the ledger."""

from __future__ import annotations

import hashlib

from samdrift.access.throttling import Limit, place_of
from samdrift.api.signin.flows import LASTS
from samdrift.api.signin.store import Attempts, Offload


class HeldBack:
    """One limit, by what its places are called. `secret` is the same at all control planes of a community. Every method may raise
    StoreAway: where attempts cannot be counted, none is made."""

    def __init__(self, attempts: Attempts, do: Offload, secret: bytes, kind: str, limit: Limit) -> None:
        self._attempts, self._do, self._kind, self._limit = attempts, do, kind, limit
        self._secret = hashlib.sha256(secret + b"samdrift places of attempts").digest()

    async def take(self, name: str, now: float) -> float:
        """Count an attempt before it is made. Returns 0.0 if it may be made, else how many seconds to wait."""
        return await self._do(self._attempts.take, self._place(name), self._limit, now)

    async def give_back(self, name: str) -> None:
        """An attempt that was counted was right."""
        await self._do(self._attempts.give_back, self._place(name), self._limit)

    def _place(self, name: str) -> str:
        return f"{self._kind}-{place_of(self._secret, name)}"


class Spent:
    """Challenges that were answered rightly, so that no answer is good twice, wherever it is sent."""

    def __init__(self, attempts: Attempts, do: Offload) -> None:
        self._attempts, self._do = attempts, do

    async def spend(self, challenge: str, now: float) -> bool:
        """False if it was spent before, or so many were just now that there is no room to remember another. Raises StoreAway."""
        # Remembered for at least as long as its flow lasts.
        return await self._do(self._attempts.spend, hashlib.sha256(challenge.encode()).digest(), now, now + LASTS)
