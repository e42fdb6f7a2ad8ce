"""Adapters, engines of one organisation and aliases at the desk, as plays: what an engine is told, who pays, who sees what."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.plays import CHAT, KEYS, ONE_SEAT, Play, answer_of, document, play
from tests.gateway.virtual import played

from samdrift.fairshare.invariants import violations
from samdrift.gateway.account import Account
from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.problems import Reason, render_problem

ADAPTERS = (("chat", '"lora":[]'), ("brev", '"lora":[0]'), ("sag", '"lora":[1]'))
HAS_BOTH = dataclasses.replace(ONE_SEAT, adapters=ADAPTERS)
STRICT = dataclasses.replace(ONE_SEAT, checks_names=True, adapters=(("brev", ""), ("sag", "")))


def spec_of(**changes: Any) -> Any:
    models = {
        "chat": {"weights": "file:x", "pool": "here", "seats": 1, "fallback": ["spare"], "adapters": {
            "brev": {"weights": "file:b", "organisation": "aarhus"}, "sag": {"weights": "file:s"}}},
        "spare": {"weights": "file:x", "pool": "here", "seats": 1},
        "dedicated": {"weights": "file:x", "pool": "here", "seats": 1, "organisation": "aarhus"},
        "embed": {"weights": "file:x", "task": "embed", "pool": "here"},
    }  # fmt: skip
    organisations = {"aarhus": {"aliases": {"own": "dedicated"}}, "viborg": {}, "samsoe": {"models": ["embed"]}}
    return document(models=models, organisations=organisations, aliases={"standard": "chat"}, **changes)


def told(allowed: Allow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(f"{{{allowed.fields}}}")
    return found


@play
async def test_an_engine_is_told_which_adapter_and_the_row_bears_its_name() -> None:
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    allowed = p.admit("t1", model="sag")
    assert told(allowed) == {"lora": [1], "plain": 1}
    account = Account.of(allowed.account)
    assert account is not None
    assert (account.model, account.base, account.served_by) == ("sag", "chat", "chat")
    p.finish(allowed)
    assert [row.model for row in p.witness.rows] == ["sag"]


@play
async def test_the_engine_is_told_so_where_the_model_itself_is_asked_for() -> None:
    assert told(Play(spec_of(), Fleet((HAS_BOTH,))).admit("t1")) == {"lora": [], "plain": 1}


@play
async def test_an_adapter_takes_its_turn_in_the_line_of_its_base() -> None:
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    running = p.admit("t1", "viborg")
    waiting = p.wait("t2", "aarhus", model="brev")
    assert p.desk.scheduler.waiting("chat") == 1
    p.finish(running)
    admitted = answer_of(waiting)
    assert isinstance(admitted, Allow)
    assert told(admitted)["lora"] == [0]
    assert violations(p.desk.scheduler) == []


@play
async def test_what_an_adapter_takes_counts_against_the_share_of_its_base() -> None:
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    p.finish(p.admit("t1", model="brev"))
    assert p.desk.shares.used("chat", "aarhus", p.clock()) == 1.0


@play
async def test_an_adapter_of_another_does_not_exist() -> None:
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    for name in ("brev", "dedicated"):
        denied, invented = p.deny("t1", "viborg", model=name), p.deny("t2", "viborg", model="nothing")
        assert (denied.reason, denied.named) == (Reason.UNKNOWN_MODEL, {"model": name})
        status, body = render_problem(invented.reason, **invented.named)
        assert render_problem(denied.reason, **denied.named) == (status, body.replace(b"nothing", name.encode()))
    other = p.deny("t3", "viborg", model="own")
    assert (other.reason, other.named) == (Reason.UNKNOWN_MODEL, {"model": "own"}), "nor does the name that leads to it"


@play
async def test_an_engine_that_minds_is_given_the_name_itself_where_the_client_used_another() -> None:
    p = Play(spec_of(), Fleet((dataclasses.replace(STRICT, seats=3),)))
    assert told(p.admit("t1", model="standard")) == {"model": "chat", "plain": 1}
    assert told(p.admit("t2", model="chat")) == {"plain": 1}
    assert told(p.admit("t3", model="sag")) == {"plain": 1}


@play
async def test_one_that_stands_in_is_given_its_own_name_too() -> None:
    spare = Replica("spare-0", "spare", "run/spare-0.sock", 1, 2048, checks_names=True)
    p = Play(spec_of(), Fleet((dataclasses.replace(HAS_BOTH, state=ReplicaState.DOWN), spare)))
    allowed = p.admit("t1", model="standard")
    assert (allowed.replica, told(allowed)) == ("spare-0", {"model": "spare"})


@play
async def test_nothing_stands_in_for_an_adapter() -> None:
    spare = Replica("spare-0", "spare", "run/spare-0.sock", 1, 2048)
    p = Play(spec_of(), Fleet((dataclasses.replace(HAS_BOTH, state=ReplicaState.DOWN), spare)))
    assert p.deny("t1", model="sag").reason is Reason.NO_REPLICA


@play
async def test_an_adapter_that_no_engine_has_yet_is_not_answered_by_the_model_without_it() -> None:
    p = Play(spec_of(), Fleet((ONE_SEAT,)))
    denied = p.deny("t1", model="sag")
    assert (denied.reason, denied.named["model"]) == (Reason.NO_REPLICA, "sag")
    p.desk.fleet_changed(Fleet((HAS_BOTH,)))
    assert told(p.admit("t2", model="sag"))["lora"] == [1]


@play
async def test_whoever_asks_for_one_that_is_on_its_way_waits_for_it_and_no_other_waits_for_him() -> None:
    p = Play(spec_of(), Fleet((dataclasses.replace(ONE_SEAT, coming=("sag",)),)))
    waiting = p.wait("t1", "viborg", model="sag")
    p.finish(p.admit("t2", "aarhus", model="chat"))
    p.desk.fleet_changed(Fleet((HAS_BOTH,)))
    allowed = answer_of(waiting)
    assert isinstance(allowed, Allow)
    assert told(allowed)["lora"] == [1]


@play
async def test_of_several_replicas_one_that_is_still_to_be_replaced_answers_nobody_who_asks_for_the_adapter() -> None:
    old = dataclasses.replace(ONE_SEAT, name="chat-0", seats=2)
    new = dataclasses.replace(HAS_BOTH, name="chat-1", seats=1)
    p = Play(spec_of(), Fleet((old, new)))
    first = p.admit("t1", model="sag")
    assert first.replica == "chat-1"
    waiting = p.wait("t2", model="sag")
    assert p.admit("t3", "viborg", model="chat").replica == "chat-0"
    p.finish(first)
    second = answer_of(waiting)
    assert isinstance(second, Allow)
    assert (second.replica, told(second)["lora"]) == ("chat-1", [1])
    assert violations(p.desk.scheduler) == []


@play
async def test_a_request_waits_for_the_engines_of_an_adapter_that_are_asleep() -> None:
    p = Play(spec_of(), Fleet((dataclasses.replace(ONE_SEAT, state=ReplicaState.ASLEEP),)))
    waiting = p.wait("t1", model="sag")
    p.desk.fleet_changed(Fleet((HAS_BOTH,)))
    allowed = answer_of(waiting)
    assert isinstance(allowed, Allow)
    assert told(allowed)["lora"] == [1]


@play
async def test_a_ticket_of_an_earlier_life_holds_its_seat_at_the_base() -> None:
    before = Play(spec_of(), Fleet((HAS_BOTH,)))
    before.admit("t1", model="sag")
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    (opened,) = before.desk.open_tickets
    p.desk.resume(opened)
    assert p.seats == (1, 1)


@play
async def test_a_new_name_of_its_own_holds_from_the_next_request_on() -> None:
    p = Play(spec_of(), Fleet((HAS_BOTH,)))
    changed = spec_of()
    aarhus = changed.organisations["aarhus"].model_copy(update={"aliases": {"chat": "sag"}})
    changed = changed.model_copy(update={"organisations": {**changed.organisations, "aarhus": aarhus}})
    p.desk.reshape(changed, p.roster(changed))
    assert told(p.admit("t1", model="chat"))["lora"] == [1]


NAMES = ("chat", "brev", "sag", "dedicated", "own", "standard", "spare", "embed")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.sampled_from(NAMES), st.booleans()), max_size=30))
def test_whatever_is_asked_of_whatever_engines_nobody_gets_what_is_anothers(asked: list[tuple[str, str, bool]]) -> None:
    async def run() -> None:
        fleet = Fleet((dataclasses.replace(HAS_BOTH, seats=2), Replica("dedicated-0", "dedicated", "run/d.sock", 2, 2048),
            Replica("embed-0", "embed", "run/e.sock", 2, 2048)))  # fmt: skip
        p = Play(spec_of(), fleet)
        for n, (who, name, ends) in enumerate(asked):
            answer = p.ask(f"t{n}", who, model=name, path=CHAT if name != "embed" else "/v1/embeddings")
            if isinstance(answer, Allow):
                account = Account.of(answer.account)
                assert account is not None
                mine = {"aarhus": set(NAMES), "viborg": {"chat", "sag", "spare", "embed"}, "samsoe": {"embed"}}[who]
                assert account.model in mine
                assert told(answer).get("lora") == {"chat": [], "brev": [0], "sag": [1]}.get(account.model)
                assert answer.replica.startswith(f"{account.served_by}-")
                if ends:
                    p.finish(answer)
            elif isinstance(answer, Deny) and who == "viborg" and name in ("brev", "dedicated", "own"):
                assert answer.reason is Reason.UNKNOWN_MODEL
        assert violations(p.desk.scheduler) == []

    played(run())
