"""Names that stand for models, models that stand in for others, and models that sleep: at the desk, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from tests.gateway.plays import ONE_SEAT, Play, answer_of, document, play

from samdrift.gateway.account import Account
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.problems import Reason

NEW = Replica("new-0", "new", "run/new-0.sock", 1, 2048)
NOBODY = Fleet()


def chain(**changes: Any) -> Spec:
    """`new` is answered by `chat` where it has no engine; `latest` is another name of `new`."""
    models = {name: {"weights": "file:x", "pool": "here", "seats": 1} for name in ("chat", "other")}
    new = {"weights": "file:x", "pool": "here", "fallback": ["chat", "other"]}
    return document(models={"new": new, **models, "embed": {"weights": "file:x", "task": "embed", "pool": "here"}},
        aliases={"latest": "new"}, **changes)  # fmt: skip


def model_of(allowed: Allow) -> str:
    return Account.of(allowed.account).model


@play
async def test_a_name_that_stands_for_a_model_is_the_model() -> None:
    p = Play(chain(), Fleet((NEW,)))
    assert model_of(p.admit("t1", model="latest")) == "new"
    assert p.deny("t2", model="latest", path="/v1/embeddings").named["model"] == "new"


@play
async def test_a_model_without_an_engine_is_answered_by_the_first_that_stands_in_and_the_row_says_which() -> None:
    p = Play(chain(), Fleet((ONE_SEAT,)))
    allowed = p.admit("t1", model="latest")
    assert (model_of(allowed), allowed.replica) == ("chat", "chat-0")
    p.finish(allowed)
    assert p.witness.rows[0].model == "chat"
    assert p.witness.refusals == []


@play
async def test_who_stands_in_for_another_is_waited_for_as_if_it_had_been_asked() -> None:
    p = Play(chain(), Fleet((ONE_SEAT,)))
    first = p.admit("t1", model="chat")
    waiting = p.wait("t2", model="new")
    p.finish(first)
    assert answer_of(waiting).replica == "chat-0"


@play
async def test_only_models_that_the_organisation_may_use_stand_in() -> None:
    organisations = {"aarhus": {"models": ["new", "other"]}, "viborg": {"models": ["new"]}, "samsoe": {"models": ["embed"]}}
    p = Play(chain(organisations=organisations), Fleet((ONE_SEAT, dataclasses.replace(NEW, name="other-0", model="other"))))
    assert model_of(p.admit("t1", model="new")) == "other"
    assert p.deny("t2", "viborg", model="new").reason is Reason.NO_REPLICA


@play
async def test_if_nobody_can_stand_in_the_answer_is_that_no_engine_is_up() -> None:
    p = Play(chain(), NOBODY)
    assert p.deny("t1", model="latest").reason is Reason.NO_REPLICA
    assert p.desk.waiting == 0


@play
async def test_whoever_waits_for_a_model_that_sleeps_wakes_it_and_is_told_what_is_left_if_in_vain() -> None:
    asleep = Fleet((dataclasses.replace(ONE_SEAT, state=ReplicaState.ASLEEP),))
    p, held = Play(document(), asleep), []
    spec = document(fairness={"wait": {"interactive": "5s", "cold": "5s"}})
    p.desk = Desk(spec, p.roster(), p.witness, p.clock, p.clock, held=held.append, hope=lambda _: 42.0)
    p.desk.fleet_changed(asleep)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(p.desk.run())
        answer = await p.wait("t1")
        running.cancel()
    assert held == ["chat"]
    assert isinstance(answer, Deny)
    assert (answer.reason, answer.retry_after, answer.waited) == (Reason.NO_REPLICA, 42.0, 5.0)


@play
async def test_the_desk_says_what_runs_on_which_replica_and_when_it_was_last_used() -> None:
    p = Play()
    assert p.desk.used() == {}
    began, allowed = p.desk.now, p.admit("t1")
    await asyncio.sleep(3)
    assert p.desk.used() == {"chat-0": (1, began + 3)}
    p.finish(allowed)
    await asyncio.sleep(4)
    assert p.desk.used() == {"chat-0": (0, began + 3)}
