"""Engines on accelerators, on a machine that says it has two: a real supervisor, real processes, and a program that takes vLLM's
words in vLLM's place. Nothing here has a GPU."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.engines import pretended_vllm
from tests.engines.test_supervising import community

from samdrift.engines import living, loads, succession, supervising
from samdrift.engines.accelerators import Accelerator, Inventory
from samdrift.engines.identities import identity_of
from samdrift.engines.loads import held_by
from samdrift.engines.supervising import WeightsProblems
from samdrift.spec.demand import Demand
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

UP, ASLEEP, STARTING, DOWN = ReplicaState.UP, ReplicaState.ASLEEP, ReplicaState.STARTING, ReplicaState.DOWN
GIB = 2**30
NAP = {"engine": "vllm", "pool": "gpu", "weights": "file:weights", "memory": "30GiB",
    "replicas": {"min": 0, "max": 1, "idle": "10m"}}  # fmt: skip
GPUS = Inventory({"nvidia": tuple(Accelerator("nvidia", n, "NVIDIA L40S", 44 * GIB) for n in (0, 1))})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder with weights, `vllm` on the path of programs, and two devices found."""
    (tmp_path / "weights").mkdir()
    tensors = json.dumps({"a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "weights" / "model.safetensors").write_bytes(struct.pack("<Q", len(tensors)) + tensors + bytes(8))
    shape = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    (tmp_path / "weights" / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": 512}))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{pretended_vllm.__file__}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(supervising, "take_inventory", lambda _families: GPUS)
    monkeypatch.setattr(living, "held_by", lambda planned, identity: held_by(planned, identity, lambda _family: HELD))
    HELD.each = 20 * GIB
    return tmp_path


class Held:
    """A tool that says every process has so much of every device."""

    each = 0

    def held(self):
        return {number: dict.fromkeys(_ours(), self.each) for number in (0, 1)}


HELD = Held()


def _ours():
    def words(folder):
        try:
            return (folder / "cmdline").read_bytes()
        except OSError:
            return b""

    processes = [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [int(folder.name) for folder in processes if b"pretended_vllm" in words(folder)]


def document(**models) -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Prøve"},
        "organisations": {"samsoe": {}},
        "pools": {"gpu": {"devices": [{"kind": "nvidia-l40s", "count": 2}]}},
        "models": {name: NAP | model for name, model in models.items()},
    })  # fmt: skip


def waits(model):
    return Demand(model, "samsoe", 1, time.monotonic())


def told(folder, name="chat-0"):
    """What the engine has written: what it was told at its start, and what it was asked."""
    lines = [json.loads(line) for line in (folder / "logs" / f"{name}.log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if "words" in line], [line["asked"] for line in lines if "asked" in line]


async def eventually(so):
    """Of this nobody is told: it is looked at, for at most 20 s."""
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


async def chat(replica):
    transport = httpx.AsyncHTTPTransport(uds=replica.address)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=10) as http:
        return (await http.post("/v1/chat/completions", json={"model": replica.model, "messages": []})).status_code


async def let_idle_go(place):
    """Ten minutes have passed in which nobody has asked for anything."""
    later = time.monotonic() + 601.0
    place.supervisor._clock, before = lambda: later, place.supervisor._clock
    place.supervisor.look([], {})
    place.supervisor._clock = before


async def woken_up(place, name="chat-0"):
    place.supervisor.look([waits(name[:-2])], {})
    return (await place.until(lambda fleet: fleet[name].state is UP))[name]


def test_a_model_over_two_devices_is_told_which_and_remembers_them_over_a_new_control_plane(folder):
    spec = document(chat={"devices": 2, "memory": "60GiB", "replicas": 1})

    async def first():
        async with community(folder, spec) as place:
            await place.until(lambda fleet: fleet["chat-0"].state is UP)
            record = place.records.find("chat-0")
            return record.devices, place.supervisor.standings()["chat"].memory

    devices, memory = asyncio.run(first())
    assert devices == ("gpu/nvidia-l40s-0", "gpu/nvidia-l40s-1")
    assert memory == 60 * GIB
    (start,), _ = told(folder)
    assert (start["devices"], start["order"]) == ("0,1", "PCI_BUS_ID")
    assert start["words"][start["words"].index("--tensor-parallel-size") + 1] == "2"


def test_an_engine_that_is_found_running_stands_where_it_stood(folder):
    """Two models, one on each device; the control plane is killed, and the next one does not guess."""
    spec = document(one={"replicas": 1}, two={"replicas": 1})
    left = {}

    async def first():
        async with community(folder, spec) as place:
            await place.until(lambda fleet: all(replica.state is UP for replica in fleet.values()))
            left["records"] = {name: place.records.find(name) for name in ("one-0", "two-0")}

    asyncio.run(first())
    stood = {name: record.devices for name, record in left["records"].items()}
    assert sorted(stood.values()) == [("gpu/nvidia-l40s-0",), ("gpu/nvidia-l40s-1",)]

    async def second():
        async with community(folder, spec) as place:
            await place.until(lambda fleet: all(replica.state is UP for replica in fleet.values()))
            quarters = place.supervisor._quarters
            for name, devices in (("one-0", stood["two-0"]), ("two-0", stood["one-0"])):
                record = place.records.find(name)
                place.records.put(type(record)(**{f: getattr(record, f) for f in record.__slots__} | {"devices": devices}))
            return {name: quarters.devices_of(name, name) for name in ("one-0", "two-0")}

    assert asyncio.run(second()) == {"one-0": stood["two-0"], "two-0": stood["one-0"]}


def test_what_an_engine_has_on_its_device_is_measured_and_remembered(folder, monkeypatch):
    monkeypatch.setattr(living, "_MEASURE", 0.6)

    async def play():
        async with community(folder, document(chat={"memory": None})) as place:
            await woken_up(place)
            await eventually(lambda: place.supervisor.standings()["chat"].memory == 21 * GIB)

    asyncio.run(play())
    (past,) = json.loads((folder / "loads.json").read_text())["loads"].values()
    assert past["memory"] == 20 * GIB


def test_an_idle_engine_sleeps_in_the_machines_memory_and_wakes_for_the_next_request(folder):
    async def play():
        async with community(folder, document(chat={})) as place:
            replica = await woken_up(place)
            assert await chat(replica) == 200
            pid, HELD.each = place.pid("chat-0"), GIB // 2
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            standing = place.supervisor.standings()["chat"]
            assert standing.state == "asleep"
            assert standing.why.startswith("nobody has asked for it in 60")
            assert standing.why.endswith("its weights wait in the machine's memory")
            assert place.records.find("chat-0").asleep
            assert identity_of(pid) is not None
            again = await woken_up(place)
            assert (await chat(again), again.generation, place.pid("chat-0")) == (200, replica.generation, pid)
            assert place.supervisor.standings()["chat"].state == "up"
            assert not place.records.find("chat-0").asleep

    asyncio.run(play())
    starts, asked = told(folder)
    assert len(starts) == 1
    assert asked == ["chat", "sleep", "wake", "chat"]
    (past,) = json.loads((folder / "loads.json").read_text())["loads"].values()
    assert past["dozing"] == GIB // 2
    assert past["waking"] > 0


def test_the_devices_of_one_that_sleeps_are_others_to_have_and_it_waits_its_turn_to_wake(folder):
    wide = {"devices": 2, "memory": "80GiB"}

    async def play():
        async with community(folder, document(chat={}, wide=wide)) as place:
            await woken_up(place)
            await let_idle_go(place)
            HELD.each = GIB
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            await woken_up(place, "wide-0")
            assert place.fleets[-1]["chat-0"].state is ASLEEP
            again = place.supervisor.look([waits("chat")], {"wide-0": (1, time.monotonic())})
            assert again is not None
            assert place.supervisor.standings()["chat"].why.startswith("it gets the room of wide-0")

    asyncio.run(play())
    _, asked = told(folder)
    assert "wake" not in asked


def test_an_engine_that_cannot_sleep_is_stopped_and_started_again(folder, monkeypatch):
    monkeypatch.setenv("LANG", "insomnia")

    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            pid = place.pid("chat-0")
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            assert identity_of(pid) is None
            await woken_up(place)

    asyncio.run(play())
    starts, asked = told(folder)
    assert (len(starts), asked) == (2, ["sleep"])


def test_one_whose_sleep_cannot_be_written_down_is_stopped_for_another_life_would_take_it_for_one_that_answers(folder):
    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            in_the_way = folder / "run/processes.new"
            in_the_way.mkdir()  # nothing can be written there, as on a full disk
            await let_idle_go(place)
            await eventually(lambda: not place.supervisor._quarters.places)
            in_the_way.rmdir()
            assert (await woken_up(place)).generation == 1

    asyncio.run(play())
    assert "sleep" not in told(folder)[1]


def test_where_the_machine_has_no_memory_for_it_an_engine_is_stopped_and_says_so(folder, monkeypatch):
    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            monkeypatch.setattr(living, "memory_available", lambda: GIB)
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            assert place.supervisor.standings()["chat"].why.endswith("the machine has no memory for it to sleep in")

    asyncio.run(play())
    assert told(folder)[1] == []


def test_one_that_dies_in_its_sleep_takes_no_device_from_anybody_and_is_loaded_anew(folder):
    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            os.kill(place.pid("chat-0"), signal.SIGKILL)
            await eventually(lambda: not place.supervisor._quarters.places)
            assert place.fleets[-1]["chat-0"].state is ASLEEP
            assert await chat(await woken_up(place)) == 200

    asyncio.run(play())


def test_a_sleeper_is_not_adopted_for_it_answers_nobody(folder):
    """As if the control plane had been killed while it slept."""
    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            supervisor = place.supervisor
            return supervisor._quarters.adoptable(
                supervisor._living.program, supervisor._succession.target, supervisor._succession.awaits)  # fmt: skip

    assert asyncio.run(play()) == []


def gaps(place, model="chat"):
    """How often nothing of a model was up since it first was."""
    up = [any(r.model == model and r.state is UP for r in fleet.values()) for fleet in place.fleets]
    return sum(before and not after for before, after in zip(up[up.index(True) :], up[up.index(True) + 1 :], strict=False))


async def only_up(place, *names):
    return await place.until(lambda fleet: {n for n, r in fleet.items() if r.model == "chat"} == set(names) and all(
        fleet[n].state is UP for n in names))  # fmt: skip


def test_with_another_number_of_devices_it_comes_up_beside_the_old_one_and_takes_over(folder):
    async def play():
        async with community(folder, document(chat={"replicas": 1, "memory": "20GiB"})) as place:
            await only_up(place, "chat-0")
            await place.supervisor.apply(document(chat={"replicas": 1, "devices": 2, "memory": "40GiB"}))
            await only_up(place, "chat-0-b")
            assert place.records.find("chat-0-b").devices == ("gpu/nvidia-l40s-0", "gpu/nvidia-l40s-1")
            assert gaps(place) == 0
            with pytest.raises(WeightsProblems, match="there are 2"):
                await place.supervisor.apply(document(chat={"replicas": 1, "devices": 4}))
            assert gaps(place) == 0

    asyncio.run(play())
    assert [start["devices"] for start in told(folder, "chat-0-b")[0]] == ["0,1"]


def test_where_both_have_no_room_the_old_one_goes_first_and_requests_wait_while_it_drains(folder):
    drained = asyncio.Event()

    async def play():
        async with community(folder, document(chat={"replicas": 1}), drained=lambda _: drained.wait()) as place:
            await only_up(place, "chat-0")
            assert place.supervisor.foresee(document(chat={"replicas": 1, "devices": 2, "memory": "20GiB"})) == ()
            larger = document(chat={"replicas": 1, "devices": 2, "memory": "80GiB"})
            (sentence,) = place.supervisor.foresee(larger)
            assert sentence.startswith("chat: there is no room for the old and the new one at once.")
            await place.supervisor.apply(larger)
            assert "there is no room for both" in place.supervisor.standings()["chat"].why
            fleet = await place.until(lambda fleet: fleet["chat-0"].state is ReplicaState.DRAINING)
            assert fleet["chat-0"].followed
            drained.set()
            await eventually(lambda: any(len(r.devices) == 2 and r.identity for r in place.records.all()))
            await place.until(lambda fleet: {r.state for r in fleet.values()} == {UP})
            assert gaps(place) == 1

    asyncio.run(play())


def pooled(first, second, **models):
    """Two pools with so many of the two devices."""
    pools = {name: {"devices": [{"kind": "nvidia-l40s", "count": n}]} for name, n in (("gpu", first), ("other", second)) if n}
    said = document(**models).model_dump(mode="json", exclude_defaults=True)
    return Spec.model_validate(said | {"samdrift": 1, "pools": pools})


def test_in_another_pool_each_replica_comes_up_before_the_one_that_it_follows_goes(folder):
    two = {"replicas": 2, "memory": "20GiB"}

    async def play():
        async with community(folder, pooled(1, 1, chat=two)) as place:
            await only_up(place, "chat-0", "chat-1")
            before = len(place.fleets)
            await place.supervisor.apply(pooled(1, 1, chat=two | {"pool": "other"}))
            await only_up(place, "chat-0-b", "chat-1-b")
            ups = [sum(r.state is UP for r in fleet.values()) for fleet in place.fleets[before:]]
            assert min(ups) == 2
            assert {r.devices for r in place.records.all() if r.identity} == {("other/nvidia-l40s-0",)}

    asyncio.run(play())


def test_one_whose_pool_is_no_more_serves_until_the_other_is_up_and_nobody_starts_a_third(folder):
    one = {"replicas": 1, "memory": "20GiB"}

    async def play():
        async with community(folder, pooled(2, 0, chat=one)) as place:
            await only_up(place, "chat-0")
            await place.supervisor.apply(pooled(0, 2, chat=one | {"pool": "other"}))
            await only_up(place, "chat-0-b")
            assert gaps(place) == 0
            assert {name for fleet in place.fleets for name in fleet} == {"chat-0", "chat-0-b"}

    asyncio.run(play())


def test_a_document_that_goes_back_before_it_is_up_leaves_the_old_one_as_it_was(folder):
    one = {"replicas": 1, "memory": "20GiB"}

    async def play():
        async with community(folder, pooled(1, 1, chat=one)) as place:
            await only_up(place, "chat-0")
            pid = place.pid("chat-0")
            await place.supervisor.apply(pooled(1, 1, chat=one | {"pool": "other"}))
            await place.until(lambda fleet: "chat-0-b" in fleet)
            await place.supervisor.apply(pooled(1, 1, chat=one))
            await only_up(place, "chat-0")
            assert place.pid("chat-0") == pid
            assert gaps(place) == 0
            assert not (folder / "run/rollouts.json").read_text().strip("{} \n")

    asyncio.run(play())


def test_one_that_does_not_answer_on_its_new_devices_leaves_the_old_one_serving_and_says_why(folder, monkeypatch):
    one = {"replicas": 1, "memory": "20GiB"}

    async def broken(_driver, _planned):
        return "answered a request with 500"

    async def play():
        async with community(folder, pooled(1, 1, chat=one)) as place:
            await only_up(place, "chat-0")
            monkeypatch.setattr(succession, "fault_of", broken)
            await place.supervisor.apply(pooled(1, 1, chat=one | {"pool": "other"}))
            said = "answered a request with 500; the old one serves on"
            await eventually(lambda: said in place.supervisor.standings()["chat"].why)
            await only_up(place, "chat-0")
            monkeypatch.undo()
            assert gaps(place) == 0

    asyncio.run(play())


def test_memory_that_is_needed_ends_a_sleep(folder, monkeypatch):
    monkeypatch.setattr(living, "_MEASURE", 0.6)

    async def play():
        async with community(folder, document(chat={})) as place:
            await woken_up(place)
            await let_idle_go(place)
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            assert loads.memory_available() > 0
            monkeypatch.setattr(living, "memory_available", lambda: GIB)
            await eventually(lambda: not place.supervisor._quarters.places)
            assert "the machine needed its memory" in place.supervisor.standings()["chat"].why

    asyncio.run(play())
