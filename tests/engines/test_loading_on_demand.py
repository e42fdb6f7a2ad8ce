"""Engines that come and go by who waits: a real supervisor, real engines, and a fleet that says so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest
from tests.engines.test_supervising import CHAT, EMBED, asked, community, document

from samdrift.engines.identities import identity_of
from samdrift.engines.standings import WeightsProblems
from samdrift.spec.demand import Demand
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

UP, ASLEEP, STARTING, DOWN = ReplicaState.UP, ReplicaState.ASLEEP, ReplicaState.STARTING, ReplicaState.DOWN
NAP = {"replicas": {"min": 0, "max": 1, "idle": "10m"}, "memory": "300MiB"}


@pytest.fixture
def folder(tmp_path, weights_cache):
    """A data folder where the embedding model has been converted before."""
    (tmp_path / "weights").symlink_to(weights_cache)
    return tmp_path


def narrow(room, **models) -> Spec:
    """A document whose pool has so much memory."""
    described = json.loads(document(**models).model_dump_json())
    described["pools"] = {"here": {"devices": [{"kind": "cpu", "memory": room}]}}
    return Spec.model_validate(described)


def waits(model, since=None):
    return Demand(model, "aarhus", 1, time.monotonic() if since is None else since)


def states(place):
    return {name: replica.state for name, replica in place.fleets[-1].items()}


def test_a_model_is_loaded_when_it_is_asked_for_and_makes_room_for_the_next(folder):
    async def play():
        async with community(folder, narrow("400MiB", chat=CHAT | NAP, embed=EMBED | NAP)) as place:
            await place.until(lambda fleet: {r.state for r in fleet.values()} == {ASLEEP})
            assert place.supervisor.standings()["chat"].state == "asleep"
            place.supervisor.look([waits("chat")])
            fleet = await place.until(lambda fleet: fleet["chat-0"].state is UP)
            assert await asked(fleet["chat-0"]) == 2
            chat = place.pid("chat-0")
            # Nobody uses it: it goes when it has been idle for as long as loading it took.
            again = place.supervisor.look([waits("embed")], {})
            assert place.supervisor.standings()["embed"].state == "waiting"
            assert states(place)["chat-0"] is UP
            # On a machine so busy that it goes at once, nothing is left to be waited for but what comes much later.
            await asyncio.sleep(min(20.0, again - time.monotonic()))
            place.supervisor.look([waits("embed")], {})
            await place.until(lambda fleet: fleet["embed-0"].state is UP and fleet["chat-0"].state is ASLEEP)
            assert identity_of(chat) is None
        return place

    place = asyncio.run(play())
    said = {(step.model, step.step) for step in place.steps}
    assert {("chat", "loading"), ("chat", "leaving"), ("chat", "asleep"), ("embed", "up")} <= said
    remembered = json.loads((folder / "loads.json").read_text())["loads"]
    assert all(past["times"] == 1 and past["seconds"] > 0 for past in remembered.values())


def test_an_engine_that_is_killed_while_it_loads_is_started_again(folder):
    async def play():
        async with community(folder, document(chat=CHAT | NAP)) as place:
            await place.until(lambda fleet: fleet["chat-0"].state is ASLEEP)
            place.supervisor.look([waits("chat")])
            await place.until(lambda fleet: fleet["chat-0"].state is STARTING)
            await place.until(lambda _: ("chat", "starting") in {(step.model, step.step) for step in place.steps})
            os.kill(place.pid("chat-0"), signal.SIGKILL)
            await place.until(lambda fleet: fleet["chat-0"].state is DOWN)
            assert place.supervisor.standings()["chat"].state == "down"
            assert "SIGKILL" in place.supervisor.standings()["chat"].why
            fleet = await place.until(lambda fleet: fleet["chat-0"].state is UP)
            assert await asked(fleet["chat-0"]) == 2

    asyncio.run(play())


def test_a_model_that_can_never_fit_is_down_says_why_and_keeps_nobody_else_from_being_served(folder):
    large = CHAT | NAP | {"memory": "2GiB"}

    async def play():
        async with community(folder, narrow("400MiB", large=large, embed=EMBED | {"memory": "300MiB"})) as place:
            fleet = await place.until(lambda fleet: fleet["embed-0"].state is UP)
            assert fleet["large-0"].state is DOWN
            standing = place.supervisor.standings()["large"]
            assert (standing.state, standing.left) == ("down", None)
            assert standing.why == "it needs 2.0 GiB, and of the devices of pool `here` the largest has 400 MiB"
            place.supervisor.look([waits("large", 0.0)])
            assert states(place)["large-0"] is DOWN
            with pytest.raises(WeightsProblems, match=r"it needs 3\.0 GiB"):
                await place.supervisor.check(narrow("400MiB", large=large | {"memory": "3GiB"}))

    asyncio.run(play())
