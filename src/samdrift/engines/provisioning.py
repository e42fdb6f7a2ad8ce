"""The weights of all models of a document, made ready beside the event loop: several at once, each told of as it is ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import replace
from pathlib import Path

from samdrift.engines.weights import Doing, Means, Wanted, Weights, WeightsError, prepare
from samdrift.engines.weights.cache import Cache
from samdrift.spec.document import Model, Spec
from samdrift.spec.weights import Misnamed, parse_reference

Told = Callable[[str, Doing, float], None]
"""Hears in the event loop of a model, what is done with its weights, and which part of that is done, from 0 to 1."""

Ready = tuple[str, Weights | WeightsError]
"""A model, and its weights or what is wrong with them."""

_AT_ONCE = 4


class Provisions:
    """Makes weights ready for one community. `base` is where relative paths and the lock are, `cache` where what is fetched or
    made is kept, `secret` gives a text of the document with its references followed."""

    def __init__(self, *, base: Path, cache: Path, secret: Callable[[str], str] | None, told: Told) -> None:
        self._base, self._cache, self._secret, self._told = base, cache, secret, told

    async def at_hand(self, spec: Spec) -> frozenset[str]:
        """The models whose weights are on this machine already; they may still have to be read or converted."""
        named = [(name, model.weights) for name, model in spec.models.items() if model.weights is not None]
        return await asyncio.to_thread(lambda: frozenset(name for name, reference in named if self._is_here(reference)))

    async def ready(self, spec: Spec, only: Collection[str] | None = None) -> AsyncGenerator[Ready, None]:
        """Each model of `spec` that has weights (or of those, `only` these), in the order in which they are ready, with them or
        with what is wrong.

        Whoever is cancelled here need not wait: threads that fetch end within about a second, and what was fetched is kept.
        """
        means = Means(spec.weights, stop=threading.Event())
        if self._secret is not None:
            means = replace(means, secret=self._secret)
        few, done = asyncio.Semaphore(_AT_ONCE), asyncio.Queue[Ready]()
        models = [(name, model, model.weights) for name, model in spec.models.items()
            if model.weights is not None and (only is None or name in only)]  # fmt: skip

        async def one(name: str, model: Model, reference: str) -> None:
            async with few:
                done.put_nowait((name, await self._one(name, model, reference, means)))

        try:
            async with asyncio.TaskGroup() as group:
                for name, model, reference in models:
                    group.create_task(one(name, model, reference), name=f"weights of {name}")
                for _ in models:
                    yield await done.get()
        finally:
            means.stop.set()

    async def all(self, spec: Spec, only: Collection[str] | None = None) -> tuple[dict[str, Weights], dict[str, str]]:
        """The weights of all these models, in the document's order, and a sentence for each whose weights cannot be served."""
        found = {name: one async for name, one in self.ready(spec, only)}
        weights = {name: one for name in spec.models if isinstance(one := found.get(name), Weights)}
        return weights, {name: str(one) for name in spec.models if isinstance(one := found.get(name), WeightsError)}

    def _is_here(self, reference: str) -> bool:
        parts = parse_reference(reference)
        if isinstance(parts, Misnamed) or not parts.fetched:
            return True
        from samdrift.engines.weights.obtaining import known

        cache = Cache(self._cache)
        try:
            listing = known(reference, base=self._base, cache=cache)
        except WeightsError:
            return True  # what is wrong is said at once
        return listing is not None and all(cache.holds(item.sha256, item.size) for item in listing.items)

    async def _one(self, name: str, model: Model, reference: str, means: Means) -> Weights | WeightsError:
        loop = asyncio.get_running_loop()

        def step(what: Doing, share: float) -> None:
            if not means.stop.is_set():
                loop.call_soon_threadsafe(self._told, name, what, share)

        wanted: Wanted = "gguf" if model.engine == "llamacpp" else "safetensors"
        try:
            return await asyncio.to_thread(prepare, reference, base=self._base, cache=self._cache, step=step,
                precision=model.precision, licence=model.licence, wanted=wanted, means=means)  # fmt: skip
        except WeightsError as error:
            return error
