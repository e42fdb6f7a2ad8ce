"""An engine that takes adapters while it runs: nothing is started anew for one more, and none is offered before it has it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.engines.loras import write_peft
from tests.engines.test_devices import document, eventually, folder, told
from tests.engines.test_supervising import community

from samdrift.engines import adapting
from samdrift.spec.fleet import ReplicaState

__all__ = ["folder"]  # the fixture
STANDS = {"replicas": 1}


def spec(**adapters: str):
    return document(chat=STANDS | {"adapters": {name: {"weights": f"file:{path}"} for name, path in adapters.items()}})


@pytest.fixture
def adapters(folder):
    for name in ("brev", "sag", "odd"):
        write_peft(folder / name)
    return folder


def offered(place) -> set[str]:
    """The adapters of the replica, as the fleet has it."""
    up = (r for r in place.supervisor.fleet.replicas if r.name == "chat-0" and r.state is ReplicaState.UP)
    return {name for replica in up for name, _ in replica.adapters} - {"chat"}


def pid(place) -> int:
    return place.supervisor._records.find("chat-0").identity.pid


def test_one_more_is_loaded_beside_what_runs_and_one_less_is_taken_away(adapters):
    async def play():
        async with community(adapters, spec(brev="brev")) as place:
            await eventually(lambda: offered(place) == {"brev"})
            before = pid(place)
            await place.supervisor.apply(spec(brev="brev", sag="sag"))
            await eventually(lambda: offered(place) == {"brev", "sag"})
            await place.supervisor.apply(spec(sag="sag"))
            await eventually(lambda: "unload brev" in told(adapters)[1])
            assert offered(place) == {"sag"}
            assert pid(place) == before
            started, asked = told(adapters)
            assert len(started) == 1
            assert asked == ["load sag", "unload brev"]

    asyncio.run(play())


def test_one_that_it_will_not_take_is_not_offered_and_the_others_are(adapters, monkeypatch):
    monkeypatch.setattr(adapting, "_AGAIN", 0.05)

    async def play():
        async with community(adapters, spec(brev="brev")) as place:
            await eventually(lambda: offered(place) == {"brev"})
            await place.supervisor.apply(spec(brev="brev", odd="odd", sag="sag"))
            await eventually(lambda: told(adapters)[1].count("load odd") > 2)
            assert offered(place) == {"brev", "sag"}
            assert "does not take the adapter odd" in place.supervisor.standings()["chat"].why
            await place.supervisor.apply(spec(brev="brev"))
            await eventually(lambda: offered(place) == {"brev"})

    asyncio.run(play())


def test_an_engine_that_was_killed_has_them_again(adapters):
    async def play():
        async with community(adapters, spec(brev="brev")) as place:
            await eventually(lambda: offered(place) == {"brev"})
            await place.supervisor.apply(spec(brev="brev", sag="sag"))
            await eventually(lambda: offered(place) == {"brev", "sag"})
            before = pid(place)
            os.kill(before, signal.SIGKILL)
            await eventually(lambda: not offered(place))
            await eventually(lambda: offered(place) == {"brev", "sag"} and pid(place) != before)

    asyncio.run(play())


def test_other_weights_under_the_same_name_are_another_version(adapters):
    async def play():
        async with community(adapters, spec(brev="brev")) as place:
            await eventually(lambda: offered(place) == {"brev"})
            before = pid(place)
            await place.supervisor.apply(spec(brev="sag"))
            await eventually(lambda: offered(place) == {"brev"} and pid(place) != before)
            assert not [asked for asked in told(adapters)[1] if "load" in asked]

    asyncio.run(play())


def test_an_adapter_that_is_not_there_at_the_start_keeps_nobody_waiting_and_comes_when_it_is(adapters):
    async def play():
        async with community(adapters, spec(brev="brev", late="late"), again=0.05) as place:
            await eventually(lambda: offered(place) == {"brev"})
            standing = place.supervisor.standings()["chat"]
            assert standing.state == "up"
            assert standing.why.startswith("Its adapter late cannot be served. file:late does not exist")
            before = pid(place)
            write_peft(adapters / "late")
            await eventually(lambda: offered(place) == {"brev", "late"})
            assert pid(place) == before
            assert "late" not in place.supervisor.standings()["chat"].why

    asyncio.run(play())
