"""What happens to models, for those who follow it: how each stands, told anew whenever that changes.

Whoever follows is told the newest state, never a backlog: a slow reader misses what was in between, and holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from samdrift.api.v1.model_events import ModelState
from samdrift.engines.standings import Standing
from samdrift.gateway.naming import lacks
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.names import names_of

_TICK = 1.0  # seconds between two looks at how much of a load is left
_SILENCE = 15.0  # seconds without an event after which a sign of life is sent
_MOST = 200


class ModelEvents:
    """See the module. `standings` tells how the models stand whose engines are ours."""

    def __init__(
        self, spec: Callable[[], Spec], fleet: Callable[[], Fleet], standings: Callable[[], Mapping[str, Standing]] = dict
    ) -> None:  # fmt: skip
        self._spec, self._fleet, self._standings = spec, fleet, standings
        self._followers: set[asyncio.Event] = set()
        self._over = False

    def stir(self) -> None:
        """Something has happened. Returns at once."""
        for follower in self._followers:
            follower.set()

    def close(self) -> None:
        """Everybody is told the last state, and no more."""
        self._over = True
        self.stir()

    def state(self, model: str) -> ModelState | None:
        """How a model or an adapter stands; None for one that is not in the document."""
        named = names_of(self._spec()).get(model)
        if named is None:
            return None
        mine = [replica for replica in self._fleet().replicas if replica.model == named.model and not lacks(replica, named)]
        up = sum(replica.state is ReplicaState.UP for replica in mine)
        standing = self._standings().get(named.model)
        if standing is None:
            return ModelState(model=model, state="up" if up else "down", up=up, expected=None, left=None, memory=None, why=None)
        left = None if standing.left is None else round(standing.left, 1)
        return ModelState(model=model, state=standing.state, up=up, expected=standing.seconds, left=left, memory=standing.memory,
            why=standing.why or None)  # fmt: skip

    def follow(self, model: str) -> AsyncIterator[ModelState | None] | None:
        """How it stands now, and each time that changes; None where nothing did for a while. None for an unknown model."""
        return None if self.state(model) is None else self._following(model)

    async def _following(self, model: str) -> AsyncIterator[ModelState | None]:
        told = self.state(model)
        yield told
        if len(self._followers) >= _MOST:
            return  # they have been told how it stands, and may ask again
        stirred = asyncio.Event()
        self._followers.add(stirred)
        try:
            silent = 0.0
            while not self._over and (state := self.state(model)) is not None:
                if state != told:
                    told, silent = state, 0.0
                    yield state
                elif silent >= _SILENCE:
                    silent = 0.0
                    yield None
                stirred.clear()
                wait = _TICK if state.state in ("loading", "waiting") else _SILENCE
                try:
                    async with asyncio.timeout(wait):
                        await stirred.wait()
                except TimeoutError:
                    silent += wait
        finally:
            self._followers.discard(stirred)
