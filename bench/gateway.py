"""What a request costs on its whole way: the product beside a bare Envoy, at the same fake engine, in the same minutes.

`python -m bench.gateway [--quick]` prints the table and writes build/bench/gateway.json. Exit code 1 only if something
is broken: an answer that is not 200, a ledger whose rows are not one for one the requests, a wrong count of tokens.

Processor time is the kernel's clock of each process (all threads, user and system). The control plane's is taken from
before the load until all its rows are in the ledger and the journal has been compared, so that deciding, settling,
counting and storing are all in it. Rounds of product and bare Envoy alternate; figures are medians, ratios medians
of the ratios of neighbouring rounds.

Envoy is held against a bare Envoy at the same number of requests per second: the more it has to do, the more requests
it takes up at each waking, so that at full speed the faster of two always looks cheaper per request, too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from bench.load import Taken, load, request
from bench.report import Figure, keep, middle, ratio, show
from bench.subjects import ROOT, Broken, Subject, bare_envoy, fake_engine, ledger_of, product, until
from samdrift.ledger.ledger import Ledger

BUSY = 32
"""Connections of the load for throughput and streams."""
PYTHON_MOST, ENVOY_MOST, CHUNK_MOST = 150.0, 2.2, 1.6
"""Targets: microseconds of Python per request; Envoy's cost per request and per chunk, in those of a bare Envoy."""
ENGINE_FIELDS = {"cache_prompt": False, "timings_per_token": True}
"""What the product puts into a streamed body; put there by the client for the bare Envoy, so that answers are the same."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `even` are the requests of a load of `rate` a second; `per_token` are the engine's seconds
    between the chunks of a stream."""

    rounds: int = 5
    busy: int = 6000
    even: int = 2400
    rate: float = 1000.0
    alone: int = 800
    streams: int = 64
    tokens: int = 400
    per_token: float = 0.008


QUICK = Sizes(rounds=1, busy=200, even=60, alone=30, streams=4, tokens=20, per_token=0.002)


@dataclass(frozen=True, slots=True)
class Round:
    """One load on one subject. Times are seconds; `cpu` is per part, for all requests together."""

    rate: float
    p50: float
    p99: float
    requests: int
    events: int
    cpu: dict[str, float]

    def micros(self, *parts: str) -> float:
        """Microseconds of processor time per request."""
        return sum(self.cpu[part] for part in parts) / self.requests * 1e6

    def per_event(self, *parts: str) -> float:
        """Microseconds of processor time per streamed event, the request's own cost shared out among them."""
        return sum(self.cpu[part] for part in parts) / self.events * 1e6


class Books:
    """The product's ledger, which must have one row for each answered request, and each token."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._requests = self._input = self._output = 0

    async def agree(self, taken: Taken, *, given: int, made: int) -> None:
        """Return when the rows have come and the journal has been compared with them. Each request had `given` tokens
        and was answered with `made`. Raises Broken if a row or a token is lost, or too many."""
        answered = len(taken.latencies)
        self._requests += answered
        self._input += answered * given
        self._output += answered * made

        async def settled() -> bool:
            return (await asyncio.to_thread(self._told))[0] >= self._requests

        await until(settled, f"{self._requests} rows in the ledger", within=30, pause=0.2)
        await asyncio.sleep(1.2)  # the journal is compared once a second, and that belongs to the cost of requests
        told = await asyncio.to_thread(self._told)
        if told != (self._requests, self._input, self._output):
            raise Broken(f"the ledger says {told} (requests, input and output tokens), but it should say "
                f"{(self._requests, self._input, self._output)}")  # fmt: skip

    def _told(self) -> tuple[int, int, int]:
        total = self._ledger.totals(0, 1e12, group_by=())[0]
        return total.requests, total.input_tokens, total.output_tokens


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the load sends it, and what it takes: `given` tokens of prompt, `made` of answer."""

    body: dict[str, Any]
    given: int
    made: int

    def wire(self, subject: Subject, **more: Any) -> list[bytes]:
        """As bytes, one for each of the subject's clients."""
        return [request("/v1/chat/completions", self.body | more, headers) for headers in subject.headers]


def plain() -> Ask:
    """A short chat, answered whole."""
    return Ask({"model": "quick", "messages": [{"role": "user", "content": "How do I apply for a place in a nursery"}],
        "max_tokens": 16}, 10, 16)  # fmt: skip


def streamed(tokens: int) -> Ask:
    """The same, as a stream."""
    return Ask(plain().body | {"model": "paced", "max_tokens": tokens, "stream": True}, 10, tokens)


async def measured(
    subject: Subject, ask: Ask, wire: list[bytes], *, connections: int, count: int, books: Books | None,
    rate: float | None = None,
) -> Round:  # fmt: skip
    """One round. Raises Broken if any answer is not whole and 200, or the ledger disagrees."""
    before = subject.cpu()
    taken = await load(subject.address, wire, connections=connections, count=count, rate=rate)
    fault = taken.fault()
    if fault:
        raise Broken(fault)
    if ask.body.get("stream") and taken.events < ask.made * count:
        raise Broken(f"{taken.events} events for {count} streams of {ask.made} tokens")
    if books is not None:
        await books.agree(taken, given=ask.given, made=ask.made)
    after = subject.cpu()
    return Round(taken.rate, taken.percentile(0.5), taken.percentile(0.99), count, taken.events,
        {part: after[part] - before[part] for part in after})  # fmt: skip


Rounds = dict[str, list[Round]]


async def compare(sizes: Sizes, folder: Path) -> tuple[dict[str, Rounds], dict[str, dict[str, int]]]:
    """All rounds, by kind of load and subject, and the memory that each subject's parts hold at the end."""
    loads: dict[str, Rounds] = {"busy": {}, "even": {}, "alone": {}, "streams": {}}
    async with AsyncExitStack() as stage:
        enter = stage.enter_async_context
        quick = await enter(fake_engine(str(folder / "quick.sock"), folder / "quick.log"))
        pace = ("--per-token", str(sizes.per_token))
        paced = await enter(fake_engine(str(folder / "paced.sock"), folder / "paced.log", *pace))
        bare = await enter(bare_envoy(folder, "bare", quick.address))
        bare_paced = await enter(bare_envoy(folder, "bare-paced", paced.address))
        ours = await enter(product(folder / "ours", {"quick": quick.address, "paced": paced.address}))
        ledger = ledger_of(folder / "ours")
        stage.callback(ledger.close)
        books, chat, stream = Books(ledger), plain(), streamed(sizes.tokens)

        async def one(kind: str, name: str, subject: Subject) -> None:
            ask = stream if kind == "streams" else chat
            wire = ask.wire(subject, **(ENGINE_FIELDS if kind == "streams" and subject is not ours else {}))
            loads[kind].setdefault(name, []).append(await measured(subject, ask, wire, count=getattr(sizes, kind),
                connections=1 if kind == "alone" else BUSY, rate=sizes.rate if kind == "even" else None,
                books=books if subject is ours else None))  # fmt: skip

        for name, subject in (("direct", quick), ("bare", bare), ("ours", ours)):
            await one("even", name, subject)  # for the caches, not counted
        loads["even"].clear()
        for _ in range(sizes.rounds):
            for kind in ("busy", "even", "alone"):
                for name, subject in (("direct", quick), ("bare", bare), ("ours", ours)):
                    await one(kind, name, subject)
            for name, subject in (("bare", bare_paced), ("ours", ours)):
                await one("streams", name, subject)
        memory = {"bare": bare.memory(), "ours": ours.memory()}
    return loads, memory


def figures_of(loads: dict[str, Rounds], memory: dict[str, dict[str, int]]) -> list[Figure]:
    """The table."""
    busy, even, alone, streams = loads["busy"], loads["even"], loads["alone"], loads["streams"]

    def micros(rounds: list[Round], *parts: str) -> list[float]:
        return [one.micros(*parts) for one in rounds]

    def chunks(rounds: list[Round], *parts: str) -> list[float]:
        return [one.per_event(*parts) for one in rounds]

    def added(part: str, over: str) -> float:
        return middle(getattr(a, part) - getattr(b, part) for a, b in zip(alone["ours"], alone[over], strict=True)) * 1000

    python = ("control", "guardian")
    return [
        Figure("requests/s, 32 connections: direct", middle(r.rate for r in busy["direct"]), "/s"),
        Figure("requests/s, 32 connections: bare Envoy", middle(r.rate for r in busy["bare"]), "/s"),
        Figure("requests/s, 32 connections: Samdrift", middle(r.rate for r in busy["ours"]), "/s"),
        Figure("latency p99, 32 connections: Samdrift", middle(r.p99 for r in busy["ours"]) * 1000, "ms"),
        Figure("latency added to direct, 1 connection, p50", added("p50", "direct"), "ms"),
        Figure("latency added to direct, 1 connection, p99", added("p99", "direct"), "ms"),
        Figure("latency added to bare Envoy, 1 connection, p50", added("p50", "bare"), "ms"),
        Figure("latency added to bare Envoy, 1 connection, p99", added("p99", "bare"), "ms"),
        Figure("Python per request, all told, at full speed", middle(micros(busy["ours"], *python)), "µs", PYTHON_MOST),
        Figure("Python per request, all told, at an even rate", middle(micros(even["ours"], *python)), "µs"),
        Figure("Envoy per request at an even rate: bare", middle(micros(even["bare"], "envoy")), "µs"),
        Figure("Envoy per request at an even rate: Samdrift", middle(micros(even["ours"], "envoy")), "µs"),
        Figure("Envoy per request at an even rate, Samdrift / bare", ratio(micros(even["ours"], "envoy"),
            micros(even["bare"], "envoy")), "×", ENVOY_MOST),
        Figure("Envoy per request at full speed: bare", middle(micros(busy["bare"], "envoy")), "µs"),
        Figure("Envoy per request at full speed: Samdrift", middle(micros(busy["ours"], "envoy")), "µs"),
        Figure("Envoy per streamed chunk: bare", middle(chunks(streams["bare"], "envoy")), "µs"),
        Figure("Envoy per streamed chunk: Samdrift", middle(chunks(streams["ours"], "envoy")), "µs"),
        Figure("Envoy per streamed chunk, Samdrift / bare", ratio(chunks(streams["ours"], "envoy"),
            chunks(streams["bare"], "envoy")), "×", CHUNK_MOST),
        Figure("Python per streamed chunk", middle(chunks(streams["ours"], *python)), "µs"),
        Figure("memory: bare Envoy", memory["bare"]["envoy"] / 2**20, "MiB"),
        Figure("memory: Envoy", memory["ours"]["envoy"] / 2**20, "MiB"),
        Figure("memory: Python", sum(memory["ours"][part] for part in python) / 2**20, "MiB"),
    ]  # fmt: skip


def deciding() -> list[Figure]:
    """What the scheduler alone takes, under 10 000 that wait."""
    from bench import fairshare

    found = fairshare.measure()
    figures = []
    for what, (words, half, most) in fairshare.TARGETS.items():
        figures.append(Figure(f"{words}, p50", found[f"{what}_p50"], "µs", half))
        figures.append(Figure(f"{words}, p99", found[f"{what}_p99"], "µs", most))
    return [*figures, Figure("memory growth over 180 000 requests", found["growth_kb"], "kB")]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="What a request costs on its whole way.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; the figures mean nothing")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    try:
        with tempfile.TemporaryDirectory(prefix="samdrift-bench-") as folder:
            loads, memory = uvloop.run(compare(sizes, Path(folder)))
    except Broken as broken:
        sys.exit(f"Broken: {broken}")
    sections = {"The way of a request": figures_of(loads, memory)}
    show("The way of a request", sections["The way of a request"])
    if sizes is not QUICK:
        sections["The scheduler alone"] = deciding()
        show("The scheduler alone", sections["The scheduler alone"])
    told = {kind: {name: [asdict(one) for one in rounds] for name, rounds in named.items()} for kind, named in loads.items()}
    keep(ROOT / "build/bench/gateway.json", sections, {**told, "memory": memory})


if __name__ == "__main__":
    main()
