"""A new version beside the old one: it takes a part, is watched, and takes over or is let go. Real engines throughout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest
from tests.engines.test_loading_on_demand import narrow, waits
from tests.engines.test_supervising import EMBED, community, document

from samdrift.spec.fleet import ReplicaState
from samdrift.spec.usage import Outcome, Usage

UP, ASLEEP = ReplicaState.UP, ReplicaState.ASLEEP
LONG, SHORT = {"canary": "10%", "watch": "1h"}, {"canary": "25%", "watch": "1s"}
NEXT = {"context": 100}


@pytest.fixture
def folder(tmp_path, weights_cache):
    """A data folder where the embedding model has been converted before."""
    (tmp_path / "weights").symlink_to(weights_cache)
    return tmp_path


def ended(replica, outcome=Outcome.COMPLETED, *, first=0.1, each=0.01, tokens=50):
    """A receipt: a stream that began `first` seconds after it was admitted, and took `each` for each token after that."""
    return Usage("t", "samsoe", "default", "k", "embed", replica, "/v1/chat/completions", "standard", outcome, 200, 100, 0,
        tokens, False, 0.0, 1.0, 1.0 + first, 1.0 + first + (tokens - 1) * each)  # fmt: skip


def version(rollout=LONG, **more):
    return document(embed=EMBED | {"rollout": rollout} | more)


def portions(fleet):
    return {name: replica.portion for name, replica in fleet.items() if replica.state is UP}


def why(place):
    return place.supervisor.standings()["embed"].why


@asynccontextmanager
async def trying(folder, rollout=LONG, replicas=1, **more):
    """A community whose model has a new version on trial."""
    async with community(folder, version(rollout, replicas=replicas)) as place:
        await place.all_up(*(f"embed-{number}" for number in range(replicas)))
        await place.supervisor.apply(version(rollout, replicas=replicas, **(more or NEXT)))
        await place.until(lambda fleet: fleet.get("embed-0-b") is not None and fleet["embed-0-b"].state is UP)
        yield place


def test_the_new_version_takes_its_part_and_then_all(folder):
    async def play():
        async with trying(folder, SHORT) as place:
            assert portions(place.fleets[-1]) == {"embed-0": 1.0, "embed-0-b": 0.25}
            assert "takes 25% of new requests and is watched for 1s" in why(place)
            trial = place.supervisor.standings()["embed"].trial
            assert (trial.replica, trial.portion, trial.ended) == ("embed-0-b", 0.25, 0)
            place.supervisor.answered(ended("embed-0-b"))
            fleet = await place.all_up("embed-0-b")
            assert (fleet["embed-0-b"].portion, fleet["embed-0-b"].context) == (1.0, 100)
            assert why(place) == (
                "embed-0-b has taken over; while it was watched it failed 0 of 1 request, and the old one 0 of 0")

    asyncio.run(play())


def test_one_that_fails_is_let_go_at_once_and_not_tried_again_until_the_document_changes(folder):
    async def play():
        async with trying(folder) as place:
            old = place.pid("embed-0")
            for _ in range(30):
                place.supervisor.answered(ended("embed-0"))
            place.supervisor.answered(ended("embed-0-b", Outcome.FAILED))
            place.supervisor.answered(ended("embed-0-b", Outcome.FAILED))
            await place.all_up("embed-0")
            said = ("the new version is not used, for it failed 2 of 2 requests, and the old one 0 of 30; "
                "the old one serves on")  # fmt: skip
            assert why(place) == said
            assert said in [step.sentence for step in place.steps if step.step == "trying"]
            assert place.pid("embed-0") == old
        # A control plane that starts anew does not start what was refused.
        async with community(folder, version(**NEXT)) as place:
            fleet = await place.all_up("embed-0")
            assert fleet["embed-0"].context == 128
            assert why(place) == said
            await place.supervisor.apply(version(**NEXT))
            await place.until(lambda fleet: "embed-0-b" in fleet and fleet["embed-0-b"].state is UP)

    asyncio.run(play())


def test_one_that_ends_while_it_is_watched_is_let_go(folder):
    async def play():
        async with trying(folder) as place:
            os.kill(place.pid("embed-0-b"), signal.SIGKILL)
            await place.all_up("embed-0")
            assert "it ended while it was tried (it was ended by SIGKILL)" in why(place)

    asyncio.run(play())


def test_one_that_rejects_what_the_old_one_takes_is_let_go(folder):
    async def play():
        async with trying(folder) as place:
            for _ in range(60):
                place.supervisor.answered(ended("embed-0"))
            for _ in range(4):
                place.supervisor.answered(ended("embed-0-b", Outcome.REJECTED))
            await place.all_up("embed-0")
            assert "rejected 4 of 4 requests, and the old one 0 of 60; the old one serves on" in why(place)

    asyncio.run(play())


def test_one_that_is_slower_than_the_document_bears_is_let_go(folder):
    async def play():
        async with trying(folder, LONG | {"slower": "20%"}) as place:
            for number in range(400):
                place.supervisor.answered(ended("embed-0", each=0.010 + number % 7 / 1000))
                if not number % 10:
                    place.supervisor.answered(ended("embed-0-b", each=0.016 + number % 7 / 1000))
            await place.all_up("embed-0")
            assert "it needs for each token 19 ms, and the old one 13 ms; the old one serves on" in why(place)

    asyncio.run(play())


def test_failures_that_both_versions_share_are_no_reason(folder):
    async def play():
        async with trying(folder, SHORT) as place:
            for _ in range(20):
                place.supervisor.answered(ended("embed-0", Outcome.FAILED))
            place.supervisor.answered(ended("embed-0-b", Outcome.FAILED))
            fleet = await place.all_up("embed-0-b")
            assert fleet["embed-0-b"].portion == 1.0

    asyncio.run(play())


def test_a_document_that_goes_back_ends_the_trial_and_the_old_one_was_never_disturbed(folder):
    async def play():
        async with trying(folder) as place:
            old = place.pid("embed-0")
            await place.supervisor.apply(version())
            fleet = await place.all_up("embed-0")
            assert fleet["embed-0"].context == 128
            assert place.pid("embed-0") == old
            assert not (folder / "run/rollouts.json").read_text().strip("{} \n")

    asyncio.run(play())


def test_a_still_newer_version_takes_the_place_of_the_one_on_trial(folder):
    async def play():
        async with trying(folder) as place:
            await place.supervisor.apply(version(context=90))
            fleet = await place.until(lambda fleet: "embed-0-b" in fleet and (
                fleet["embed-0-b"].state, fleet["embed-0-b"].context) == (UP, 90))  # fmt: skip
            assert portions(fleet) == {"embed-0": 1.0, "embed-0-b": 0.1}
            assert fleet["embed-0"].context == 128

    asyncio.run(play())


def test_a_trial_is_widened_or_ended_by_the_document_and_begins_no_second_time(folder):
    async def play():
        async with trying(folder) as place:
            new = place.pid("embed-0-b")
            await place.supervisor.apply(version({"canary": "50%", "watch": "1h"}, **NEXT))
            assert portions(place.fleets[-1]) == {"embed-0": 1.0, "embed-0-b": 0.5}
            await place.supervisor.apply(document(embed=EMBED | NEXT))
            await place.all_up("embed-0-b")
            assert place.pid("embed-0-b") == new

    asyncio.run(play())


def test_another_change_of_the_document_does_not_disturb_the_trial(folder):
    async def play():
        async with trying(folder) as place:
            place.supervisor.answered(ended("embed-0-b"))
            both = place.pid("embed-0"), place.pid("embed-0-b")
            await place.supervisor.apply(document(embed=EMBED | {"rollout": LONG} | NEXT, other=EMBED))
            await place.until(lambda fleet: "other-0" in fleet and fleet["other-0"].state is UP)
            assert (place.pid("embed-0"), place.pid("embed-0-b")) == both
            assert place.supervisor.standings()["embed"].trial.ended == 1

    asyncio.run(play())


CONTROL_PLANE = """
import asyncio, sys
from pathlib import Path
from samdrift.engines.records import Records
from samdrift.engines.supervising import Supervisor
from samdrift.spec.document import Spec
folder, first, second = Path(sys.argv[1]), *map(Spec.model_validate_json, sys.argv[2:])
def told(fleet):
    print(",".join(r.name for r in fleet.replicas if r.state.value == "up"), flush=True)
async def play():
    supervisor = Supervisor(folder=folder, base=folder, records=Records(folder / "run"), told=told)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(first))
        while not any(r.state.value == "up" for r in supervisor.fleet.replicas):
            await asyncio.sleep(0.02)
        await supervisor.apply(second)
asyncio.run(play())
"""


def test_a_control_plane_that_is_killed_meanwhile_comes_back_and_goes_on_watching(folder):
    """And does not take the new version for the good one, though it is what the document says."""
    documents = [spec.model_dump_json() for spec in (version(), version(**NEXT))]
    with subprocess.Popen(
        [sys.executable, "-c", CONTROL_PLANE, str(folder), *documents], stdout=subprocess.PIPE, text=True
    ) as control:
        while control.stdout.readline().strip() != "embed-0,embed-0-b":
            assert control.poll() is None
        control.kill()
    noted = folder / "run/rollouts.json"
    held = json.loads(noted.read_text())
    assert held["embed"]["watched"] >= 0
    held["embed"] |= {"watched": 3000.0, "tried": {"ended": 7}}  # as after fifty minutes
    noted.write_text(json.dumps(held))

    async def play():
        async with community(folder, version(**NEXT)) as place:
            pids = place.pid("embed-0"), place.pid("embed-0-b")
            fleet = await place.until(lambda fleet: portions(fleet) == {"embed-0": 1.0, "embed-0-b": 0.1})
            assert (place.pid("embed-0"), place.pid("embed-0-b")) == pids
            assert {replica.generation for replica in fleet.values()} == {0}
            assert (fleet["embed-0"].context, fleet["embed-0-b"].context) == (128, 100)
            trial = place.supervisor.standings()["embed"].trial
            assert 500 < trial.left <= 600
            assert trial.ended == 7
            await place.supervisor.apply(version(LONG | {"watch": "51m"}, **NEXT))
            assert place.supervisor.standings()["embed"].trial.left < 60, "whatever is applied that leaves the version"

    asyncio.run(play())


def test_a_model_that_falls_asleep_meanwhile_wakes_as_the_old_version_and_is_tried_again(folder):
    nap = EMBED | {"rollout": LONG, "replicas": {"min": 0, "max": 1, "idle": "10m"}}
    passed = [0.0]

    async def play():
        async with community(folder, document(embed=nap), clock=lambda: time.monotonic() + passed[0]) as place:
            await place.until(lambda fleet: fleet["embed-0"].state is ASLEEP)
            place.supervisor.look([waits("embed")], {})
            await place.until(lambda fleet: fleet["embed-0"].state is UP)
            await place.supervisor.apply(document(embed=nap | NEXT))
            await place.until(lambda fleet: portions(fleet) == {"embed-0": 1.0, "embed-0-b": 0.1})
            passed[0] = 700.0  # more than ten minutes, and less than the hour for which it is watched
            place.supervisor.look([], {})
            await place.until(lambda fleet: {replica.state for replica in fleet.values()} == {ASLEEP})
            place.supervisor.look([waits("embed")], {})
            fleet = await place.until(lambda fleet: sorted(portions(fleet).values()) == [0.1, 1.0])
            assert {replica.portion: replica.context for replica in fleet.values()} == {1.0: 128, 0.1: 100}

    asyncio.run(play())


def test_without_room_for_two_the_new_version_takes_all_and_that_is_said(folder):
    only = EMBED | {"rollout": LONG, "memory": "300MiB"}

    async def play():
        async with community(folder, narrow("400MiB", embed=only)) as place:
            await place.all_up("embed-0")
            await place.supervisor.apply(narrow("400MiB", embed=only | NEXT))
            assert why(place) == "there is no room for two versions, so the new one takes all without a canary"
            fleet = await place.all_up("embed-0", generation=1)
            assert (fleet["embed-0"].context, fleet["embed-0"].portion) == (100, 1.0)

    asyncio.run(play())


def test_of_several_replicas_one_is_tried_and_then_all_follow(folder):
    async def play():
        async with trying(folder, LONG, replicas=2) as place:
            assert portions(place.fleets[-1]) == {"embed-0": 1.0, "embed-1": 1.0, "embed-0-b": 0.1}
            assert {replica.context for name, replica in place.fleets[-1].items() if name != "embed-0-b"} == {128}
            place.supervisor.answered(ended("embed-0-b", Outcome.FAILED))
            place.supervisor.answered(ended("embed-0-b", Outcome.FAILED))
            fleet = await place.all_up("embed-0", "embed-1")
            assert {replica.context for replica in fleet.values()} == {128}
            await place.supervisor.apply(version(SHORT, replicas=2, **NEXT))
            fleet = await place.all_up("embed-0-b", "embed-1")
            await place.until(lambda fleet: {(r.context, r.portion, r.state) for r in fleet.values()} == {(100, 1.0, UP)})

    asyncio.run(play())
