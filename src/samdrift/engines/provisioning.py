"""The weights of all models of a document, made ready beside the event loop: several at once, each told of as it is ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights import (
    Doing,
    Means,
    Step,
    Wanted,
    Weights,
    WeightsError,
    prepare,
    prepare_adapter,
    prepare_projector,
    refuse_adapter,
    refuse_projector,
    refuse_scoreless,
)  # fmt: skip
from samdrift.engines.weights.cache import Cache
from samdrift.spec.document import Model, Spec
from samdrift.spec.names import weights_named
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
        self._needs: list[tuple[Spec, set[str]]] = []  # what documents need of the cache, the last two of them
        self._noting = threading.Lock()

    async def at_hand(self, spec: Spec) -> frozenset[str]:
        """The models whose weights are on this machine already; they may still have to be read or converted."""
        named = list(weights_named(spec))
        away = await asyncio.to_thread(lambda: {one.over or one.name for one in named if not self._is_here(one.weights)})
        return frozenset(one.name for one in named if not one.over) - away

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
                found = await self._one(name, model, reference, means)
                await asyncio.to_thread(self._note_needed, spec, found)
                done.put_nowait((name, found))

        await asyncio.to_thread(self._note_needed, spec)

        try:
            async with asyncio.TaskGroup() as group:
                for name, model, reference in models:
                    group.create_task(one(name, model, reference), name=f"weights of {name}")
                for _ in models:
                    yield await done.get()
        finally:
            means.stop.set()

    async def all(self, spec: Spec, only: Collection[str] | None = None) -> tuple[dict[str, Weights], dict[str, str]]:
        """The weights of all these models, in the document's order, and a sentence for each that cannot be served, or not with
        all of its adapters."""
        found = {name: one async for name, one in self.ready(spec, only)}
        weights = {name: one for name in spec.models if isinstance(one := found.get(name), Weights)}
        problems = {name: problem_of(found[name]) for name in spec.models if name in found}
        return weights, {name: problem for name, problem in problems.items() if problem}

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

    def _note_needed(self, spec: Spec, found: Weights | WeightsError | None = None) -> None:
        """What this document names is the last to go from the cache, and what the one before it named: people go back to that."""
        from samdrift.engines.weights.obtaining import known

        cache, digests = Cache(self._cache), set[str]()
        for one in weights_named(spec):
            parts = parse_reference(one.weights)
            if not isinstance(parts, Misnamed) and parts.fetched:
                with suppress(WeightsError):
                    listing = known(one.weights, base=self._base, cache=cache)
                    digests |= {item.sha256 for item in listing.items if item.sha256} if listing is not None else set()
        if isinstance(found, Weights):
            made = (found.path, found.projector, *(adapter.path for _, adapter in found.adapters))
            digests |= {path.stem for path in made if path is not None and path.parent == self._cache}
        with self._noting, suppress(OSError):  # on a full disk it stays as it was noted last
            if not any(document is spec for document, _ in self._needs):
                self._needs = [*self._needs[-1:], (spec, set())]
            for document, needs in self._needs:
                needs |= digests if document is spec else set()
            cache.note_needed({digest for _, needs in self._needs for digest in needs})

    async def _one(self, name: str, model: Model, reference: str, means: Means) -> Weights | WeightsError:
        loop = asyncio.get_running_loop()

        def step(what: Doing, share: float) -> None:
            if not means.stop.is_set():
                loop.call_soon_threadsafe(self._told, name, what, share)

        found = await self._model(model, reference, step, means)
        return found if isinstance(found, WeightsError) else await self._with_adapters(found, model, step, means)

    async def _with_adapters(self, found: Weights, model: Model, step: Step, means: Means) -> Weights:
        """The same, and its adapters. One that cannot be had does not keep the model from those who do not ask for it."""
        adapters, lacking = [], []
        for name, said in model.adapters.items():
            try:
                adapters.append((name, await asyncio.to_thread(prepare_adapter, said.weights, found, base=self._base,
                    cache=self._cache, step=step, licence=said.licence, wanted=wanted_by(model), means=means)))  # fmt: skip
            except WeightsError as error:
                lacking.append(f"Its adapter {name} cannot be served. {error}")
        return replace(found, adapters=tuple(adapters), lacking=tuple(lacking))

    async def _model(self, model: Model, reference: str, step: Step, means: Means) -> Weights | WeightsError:
        try:
            found = await asyncio.to_thread(prepare, reference, base=self._base, cache=self._cache, step=step,
                precision=model.precision, licence=model.licence, wanted=wanted_by(model), means=means)  # fmt: skip
            refuse_adapter(reference, found)
            if model.task == "rerank":
                await asyncio.to_thread(refuse_scoreless, reference, found)
            if model.projector is None:
                return refuse_projector(reference, found)
            through = await asyncio.to_thread(prepare_projector, model.projector, base=self._base, cache=self._cache, step=step,
                licence=model.licence, means=means)  # fmt: skip
        except WeightsError as error:
            return error
        return replace(found, projector=through.path)


def problem_of(found: Weights | WeightsError) -> str:
    """What is wrong with a model's weights or those of its adapters, as sentences; "" if nothing is."""
    return str(found) if isinstance(found, WeightsError) else " ".join(found.lacking)


def wanted_by(model: Model) -> Wanted:
    """How weights must lie for the engine of this model."""
    return "gguf" if "gguf" in DRIVERS[model.engine].formats else "safetensors"
