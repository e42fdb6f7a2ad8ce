"""Shares change while people wait: the new ones hold at once, and nobody who waits is lost.

The engine is the fake one, at an address as somebody else's would be: what is tried is the product, and its engine only has
to be even.
"""

from __future__ import annotations

import asyncio
import copy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.live.communities import CHAT, PATIENCE, Community, document, until

from samdrift.spec.usage import Outcome

ROOT = Path(__file__).resolve().parents[2]
EACH = 140
"""Requests of each organisation. They come at once: all but a few wait."""
TOKENS = 12
COUNTED = 60
"""Answers that are counted before the change, and after it."""
SETTLING = 8
"""Answers after the change that are not counted: those that were in flight then, and their neighbours."""


@pytest.fixture
def even(somewhere: Path) -> Iterator[Community]:
    """Two members with the same share of four seats, of which each answers within an eighth of a second."""
    folder = somewhere / "shares"
    folder.mkdir()
    socket = folder / "engine.sock"
    engine = subprocess.Popen([sys.executable, "-m", "bench.fake_engine", "--listen", str(socket), "--per-token", "0.01"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        until(socket.exists, "the engine listens")
        described = document(
            organisations={"aarhus": {"share": {"weight": 1}}, "viborg": {"share": {"weight": 1}}},
            models={"chat": {"address": str(socket), "pool": "here", "seats": 4, "context": 512}},
            fairness={"wait": {"interactive": "5m"}},
        )  # fmt: skip
        with Community(folder, described) as running:
            yield running
    finally:
        engine.terminate()
        engine.wait(PATIENCE)


@dataclass
class Answers:
    """Whose requests were answered, in order, and the tickets."""

    whose: list[str] = field(default_factory=list)
    tickets: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, http: httpx.AsyncClient, organisation: str, key: str) -> None:
        body = {"model": "chat", "max_tokens": TOKENS, "messages": [{"role": "user", "content": "One more."}]}
        answer = await http.post(CHAT, json=body, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        self.whose.append(organisation)
        self.tickets.append(answer.headers["x-samdrift-ticket"])
        self.more.set()

    async def reach(self, count: int) -> None:
        while len(self.whose) < count:
            self.more.clear()
            await self.more.wait()


def change(community: Community, **weights: int) -> None:
    """Give members these weights, and return when the service says that it has taken them up."""
    changed = copy.deepcopy(community.described)
    for name, weight in weights.items():
        changed["organisations"][name]["share"]["weight"] = weight
    community.describe(changed)
    community.process.send_signal(signal.SIGHUP)
    until(lambda: "The document was changed" in community.said, "the document is taken up")


def test_a_change_of_shares_holds_at_once_and_nobody_who_waits_is_lost(even: Community) -> None:
    keys = {name: even.key(name) for name in ("aarhus", "viborg")}
    control, rows, refused = even.control, even.rows(), even.metric("samdrift_refusals_total")
    answers = Answers()

    async def play() -> int:
        async with httpx.AsyncClient(base_url=even.url, timeout=120, limits=httpx.Limits(max_connections=None),
                                     trust_env=False) as http, asyncio.timeout(120), asyncio.TaskGroup() as group:
            for _ in range(EACH):
                for name, key in keys.items():
                    group.create_task(answers.ask(http, name, key), name=name)
            await answers.reach(COUNTED)
            await asyncio.to_thread(change, even, aarhus=3, viborg=1)
            waiting = await asyncio.to_thread(even.metric, "samdrift_waiting_requests")
            changed = len(answers.whose)
            assert waiting > EACH, "most were waiting when the shares changed"
        return changed

    changed = asyncio.run(play())

    before = Counter(answers.whose[:COUNTED])
    after = Counter(answers.whose[changed + SETTLING : changed + SETTLING + COUNTED])
    assert before["aarhus"] / before["viborg"] == pytest.approx(1, rel=0.15), "one to one"
    assert after["aarhus"] / after["viborg"] == pytest.approx(3, rel=0.25), "three to one"
    assert Counter(answers.whose) == {"aarhus": EACH, "viborg": EACH}, "everybody was answered"
    assert len(set(answers.tickets)) == 2 * EACH
    even.settled()
    assert even.rows() - rows == 2 * EACH
    assert {even.usage(ticket).outcome for ticket in answers.tickets} == {Outcome.COMPLETED}
    assert even.control == control, "nothing was started again"
    assert even.metric("samdrift_refusals_total") == refused, "nobody was refused"
