"""One of two desks goes, by whatever death: the other one goes on, and every request counts once."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import os
import signal
import time
from dataclasses import dataclass, field

import httpx
from tests.ledger.postgres import Cluster
from tests.live.communities import until
from tests.processes.commons import ORGANISATIONS, SEATS, Commons

from samdrift.spec.usage import Outcome

CALLERS = 24
LIMIT = 3.0
"""Seconds within which service has to go on."""


@dataclass
class Load:
    """Callers who ask again and again, by turns for a stream and for a whole answer."""

    commons: Commons
    patience: float = 30.0
    """Seconds after which a caller gives up."""
    answered: list[tuple[float, float, int, str]] = field(default_factory=list)
    """When it was asked and answered (monotonic), the status (0: none), the ticket."""

    async def run(self, until_done: asyncio.Event) -> None:
        limits = httpx.Limits(max_connections=CALLERS * 2)
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.commons.front}", timeout=self.patience, trust_env=False,
            limits=limits)  # fmt: skip
        async with http, asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._call(http, number, until_done), name=f"caller {number}")

    async def _call(self, http: httpx.AsyncClient, number: int, until_done: asyncio.Event) -> None:
        headers = {"authorization": f"Bearer {self.commons.keys[ORGANISATIONS[number % 3]]}"}
        for turn in itertools.count(number):
            if until_done.is_set():
                return
            body = {"model": "chat", "max_tokens": 5 + turn % 20, "stream": turn % 2 == 0,
                "messages": [{"role": "user", "content": "word " * (1 + turn % 50)}]}  # fmt: skip
            asked = time.monotonic()
            try:
                answer = await http.post("/v1/chat/completions", json=body, headers=headers)
                status, ticket = answer.status_code, answer.headers.get("x-samdrift-ticket", "")
            except httpx.TransportError:
                status, ticket = 0, ""
            self.answered.append((asked, time.monotonic(), status, ticket))
            if status != 200:
                await asyncio.sleep(0.05)  # as a polite client

    def gap_after(self, moment: float) -> float:
        """Seconds from `moment` until one who asked after it was answered."""
        return min(end for asked, end, status, _ in self.answered if asked > moment and status == 200) - moment


async def _under_load(commons: Commons, what: signal.Signals, patience: float = 30.0) -> tuple[Load, float]:
    """Load; then this befalls the active desk; then five more seconds of load."""
    load, done = Load(commons, patience), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(done), name="load")
        try:
            await asyncio.sleep(2)  # so long that there are tickets open and callers waiting
            active = await asyncio.to_thread(lambda: commons.active)
            process = active.process
            assert process is not None
            await asyncio.to_thread(until, lambda: active.in_use >= 2, "somebody is being served")
            moment = time.monotonic()
            os.kill(process.pid, what)
            await asyncio.sleep(5)
        finally:
            done.set()
    return load, moment


def _all_counted_once(commons: Commons, load: Load) -> None:
    """The ledger has what the engine generated, to the token: no ticket lost, none doubled, none invented."""
    served = commons.served()
    assert not served["repeated"]
    generated = served["completed"] | served["cut"]
    until(lambda: commons.total_rows() >= len(generated), "every ticket is settled", 15)
    rows = {ticket: commons.usage(ticket) for ticket in generated}
    assert all(row is not None and row.outcome is not Outcome.LAPSED and not row.estimated for row in rows.values())
    # Whoever hangs up while a whole answer is made has no count of it, here as anywhere.
    stayed = {ticket: row for ticket, row in rows.items() if row is not None and row.outcome is not Outcome.LEFT}
    counted = {ticket: [row.input_tokens, row.output_tokens] for ticket, row in stayed.items()}
    assert counted == {ticket: generated[ticket] for ticket in stayed}
    assert commons.total_rows() == len(generated), "the ledger has tickets that no engine saw"
    said = collections.Counter(ticket for _, _, status, ticket in load.answered if status == 200)
    assert set(said) <= set(stayed)
    assert max(said.values()) == 1
    if all(status for *_, status, _ in load.answered):  # nobody gave up: whose seat is free before the engine has noticed
        assert stayed == rows
        assert served["most"] <= SEATS, "more were admitted at once than there are seats"


def test_service_goes_on_when_the_active_desk_is_killed_under_load(commons: Commons) -> None:
    before = commons.active
    load, moment = asyncio.run(_under_load(commons, signal.SIGKILL))
    gap = load.gap_after(moment)
    late = [status for asked, _, status, _ in load.answered if asked > moment + LIMIT]
    print(f"\nkilled: service went on after {gap:.2f} s; {len(load.answered)} asked, "
        f"{sum(status != 200 for *_, status, _ in load.answered)} refused")  # fmt: skip
    assert gap < LIMIT
    assert set(late) == {200}
    assert {status for *_, status, _ in load.answered} <= {200, 503}
    after = commons.active
    assert after is not before
    begun = [line for line in map(json.loads, commons.said(after).splitlines()) if line.get("event") == "active"]
    assert begun[-1]["tickets"] > 0, "nobody was being served when it was killed: this has shown nothing"
    _all_counted_once(commons, load)
    until(lambda: not commons.ledger.open_tickets.unsettled(), "no ticket is open any more")


def test_a_desk_that_hangs_is_replaced_and_admits_nobody_when_it_wakes(commons: Commons) -> None:
    before, other = commons.active, commons.standby
    # Whoever it holds when it stops is held until it is ended; they give up, and ask again.
    load, moment = asyncio.run(_under_load(commons, signal.SIGSTOP, patience=1.0))
    gap = load.gap_after(moment)
    print(f"\nstopped: service went on after {gap:.2f} s")
    assert gap < LIMIT
    assert other.active
    assert before.process is not None
    headers = {"authorization": f"Bearer {commons.keys['aarhus']}", "x-samdrift-model": "chat", "x-samdrift-facts": "40;0;5;;"}
    with httpx.Client(base_url=f"http://127.0.0.1:{before.ask_http}", trust_env=False, timeout=10) as http:
        os.kill(before.process.pid, signal.SIGCONT)
        for number in range(20):
            # As its own word for 503, which Envoy turns into one.
            assert http.post("/v1/chat/completions", headers=headers | {"x-request-id": f"woken-{number}"}).status_code == 424
    assert other.active
    assert not before.active
    until(lambda: before.page("/standbyz")[0] == 200, "it is fit again")
    _all_counted_once(commons, load)


def test_a_desk_that_is_told_to_go_hands_over_at_once(commons: Commons) -> None:
    before = commons.active
    load, moment = asyncio.run(_under_load(commons, signal.SIGTERM))
    print(f"\nended: service went on after {load.gap_after(moment):.2f} s")
    assert load.gap_after(moment) < 1.5
    assert before.process is not None
    assert before.process.wait(10) == 0
    _all_counted_once(commons, load)


def test_envoy_may_ask_over_grpc(postgres: Cluster, folder) -> None:
    with Commons(folder, postgres.make_database(), over_grpc=True) as commons:
        answer = commons.post("viborg", {"max_tokens": 7})
        assert answer.status_code == 200
        ticket = answer.headers["x-samdrift-ticket"]
        row = until(lambda: commons.usage(ticket), "the ticket is settled")
        assert (row.organisation, row.input_tokens, row.output_tokens) == ("viborg", 2, 7)
        refused = commons.post("viborg", {"model": "no-such"})
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"
        before, began = commons.active, time.monotonic()
        assert before.process is not None
        before.process.kill()
        until(lambda: commons.post("viborg", {"max_tokens": 1}).status_code == 200, "service goes on", LIMIT)
        assert time.monotonic() - began < LIMIT
