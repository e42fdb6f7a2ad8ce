"""The soak's checks can fail: each finds the one thing that is wrong in an otherwise sound account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from bench.soak.asking import Ask, HangUp
from bench.soak.clients import Seen
from bench.soak.engine import Made
from bench.soak.kills import Kill, Look
from bench.soak.place import Member, Row
from bench.soak.verdict import Facts, judge

MEMBER = Member("k1", "sd-x", "aarhus", "default")
KILLED, BACK = 10.0, 11.0


def ask(hang_up: HangUp | None = None) -> Ask:
    return Ask(1, MEMBER, stream=True, given=7, wanted=20, hang_up=hang_up, wire=b"")


def row(ticket: str, outcome: str = "completed", status: int = 200, given: int = 7, made: int = 20, **more: Any) -> Row:
    return Row(ticket, "aarhus", "default", "k1", outcome, status, given, made, estimated=outcome == "lapsed", **more)


WHOLE = Seen(ask(), 1.0, 2.0, "whole", 200, "whole", counted=20)
LEFT = Seen(ask(HangUp(None, 5, hard=False)), 3.0, 4.0, "hung up", 200, "left", counted=5)
CUT = Seen(ask(), 9.0, 10.1, "broken", 200, "cut", counted=3)
REFUSED = Seen(ask(), 9.5, 10.2, "refused", 503, "refused", "2")
SOUND = Facts(
    requests=4,
    seen=(WHOLE, LEFT, CUT, REFUSED),
    rows=(row("whole"), row("left", "left", made=6), row("cut", "lapsed", 0, 0, 0)),
    made=(Made("whole", True, 7, 20), Made("left", False, 7, 6), Made("cut", False, 7, 4)),
    kills=(Kill("envoy", 2, KILLED, BACK),),
    looks=tuple(Look(target, 1, at / 4, 100 << 20, 90) for target in ("control", "envoy") for at in range(120)),
    metrics={"samdrift_seats_in_use": 0, "samdrift_waiting_requests": 0, "samdrift_ledger_queued_rows": 0},
    open_tickets=(), troubles=(), seats=16)  # fmt: skip


def seen(facts: Facts, of: Seen, **changes: Any) -> Facts:
    return replace(facts, seen=tuple(replace(s, **changes) if s is of else s for s in facts.seen))


def rows(facts: Facts, ticket: str, **changes: Any) -> Facts:
    return replace(facts, rows=tuple(replace(r, **changes) if r.ticket == ticket else r for r in facts.rows))


def made(facts: Facts, ticket: str, **changes: Any) -> Facts:
    return replace(facts, made=tuple(replace(m, **changes) if m.ticket == ticket else m for m in facts.made))


def metric(name: str) -> Callable[[Facts], Facts]:
    return lambda f: replace(f, metrics={**f.metrics, name: 1})


def growing(of: str, by: int) -> Callable[[Facts], Facts]:
    return lambda f: replace(f, looks=tuple(replace(k, **{of: getattr(k, of) + by * (k.at > 20)}) for k in f.looks))


WRONG: dict[str, tuple[Callable[[Facts], Facts], str]] = {
    "a seat stays taken": (metric("samdrift_seats_in_use"), "no seat is taken"),
    "somebody waits for ever": (metric("samdrift_waiting_requests"), "nobody waits"),
    "a row is not written": (metric("samdrift_ledger_queued_rows"), "no row waits"),
    "the metrics are silent": (lambda f: replace(f, metrics={}), "no seat is taken"),
    "a ticket stays open": (lambda f: replace(f, open_tickets=("t",)), "no ticket is open"),
    "the control plane broke": (lambda f: replace(f, troubles=("Traceback",)), "no trouble"),
    "a request vanished": (lambda f: replace(f, requests=5), "every request is accounted for"),
    "a client was never answered": (lambda f: seen(f, CUT, end="silent"), "nobody was left without an answer"),
    "a refusal of 500": (lambda f: seen(f, REFUSED, status=500), "refusals are 429 or 503"),
    "a refusal without Retry-After": (lambda f: seen(f, REFUSED, retry_after=""), "refusals are 429 or 503"),
    "503 in peace": (lambda f: seen(f, REFUSED, ended=8.0), "503 only where"),
    "an answer torn in peace": (lambda f: seen(f, CUT, ended=8.0), "answers broke only"),
    "an answer torn by the control plane's death": (
        lambda f: replace(f, kills=(Kill("control", 2, KILLED, BACK),)), "answers broke only"),
    "two rows for one ticket": (lambda f: replace(f, rows=(*f.rows, row("whole"))), "no ticket has two rows"),
    "one ticket served twice": (lambda f: replace(f, made=(*f.made, f.made[0])), "no ticket was served twice"),
    "one ticket shown twice": (lambda f: seen(f, CUT, ticket="whole"), "no two clients saw one ticket"),
    "served and not booked": (lambda f: replace(f, rows=f.rows[1:]), "all that the engine served has a row"),
    "begun and not booked": (lambda f: replace(f, rows=f.rows[1:], made=f.made[1:]), "all that a client saw begin"),
    "booked on another's account": (lambda f: rows(f, "whole", organisation="viborg"), "each row is on the right account"),
    "booked on another key": (lambda f: rows(f, "whole", key="k2"), "each row is on the right account"),
    "a row from nowhere": (lambda f: replace(f, rows=(*f.rows, row("x", "left"))), "no row from nowhere"),
    "a token too few in the ledger": (lambda f: rows(f, "whole", output_tokens=19), "whole answers: ledger"),
    "a token too many read": (lambda f: rows(f, "whole", input_tokens=8), "their sums"),
    "a token lost on the way to the client": (lambda f: seen(f, WHOLE, counted=19), "whole answers: ledger"),
    "a whole answer booked as left": (lambda f: rows(f, "whole", outcome="left"), "whole answers: ledger"),
    "a lapse in peace": (lambda f: rows(f, "whole", outcome="lapsed", estimated=True), "whole answers: ledger"),
    "more lapses than seats": (lambda f: replace(f, seats=0), "receipts lost with Envoy"),
    "a hang-up that pays for more than was made": (lambda f: rows(f, "left", output_tokens=7), "hung up mid-answer"),
    "a hang-up that pays for less than was read": (lambda f: rows(f, "left", output_tokens=4), "hung up mid-answer"),
    "a hang-up taken for a failure in peace": (lambda f: rows(f, "left", outcome="failed"), "hung up mid-answer"),
    "a torn answer booked as completed": (lambda f: rows(f, "cut", outcome="completed"), "broken off"),
    "completed without an engine": (lambda f: replace(f, made=f.made[1:]), "nothing counted as completed"),
    "an engine that ended less": (lambda f: made(f, "whole", made=18), "whole answers: ledger"),
    "back too late": (lambda f: replace(f, kills=(Kill("envoy", 2, KILLED, KILLED + 6),)), "back after the envoy"),
    "never back": (lambda f: replace(f, kills=(Kill("envoy", 2, KILLED, 0.0),)), "back after the envoy"),
    "memory that grows": (growing("memory", 7 << 20), "memory flat"),
    "descriptors that leak": (growing("files", 17), "descriptors flat"),
}  # fmt: skip


def test_a_sound_account_passes() -> None:
    assert [check for check in judge(SOUND) if check.ok is not True] == []


@pytest.mark.parametrize(("spoil", "name"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(spoil: Callable[[Facts], Facts], name: str) -> None:
    failed = [check.name for check in judge(spoil(SOUND)) if check.ok is False]
    assert any(one.startswith(name) for one in failed), failed


def test_a_run_too_short_to_judge_says_so() -> None:
    checks = judge(replace(SOUND, looks=SOUND.looks[:10]))
    assert [check.ok for check in checks if "flat" in check.name] == [None, None]
