"""Plays about what organisations may borrow, lend and are guaranteed."""

from __future__ import annotations

import random

import pytest

from samdrift.fairshare.share import dues
from samdrift.fairshare.stimuli import Admit, OrganisationShare
from samdrift.spec.portion import Portion

NONE = Portion()


def _limited(**of):
    return {name: OrganisationShare(1.0, borrow=borrow, lend=lend) for name, (borrow, lend) in of.items()}


def test_without_limits_one_alone_uses_everything(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=4)
    for _ in range(4):
        s.arrives("a")
    assert len(s.admitted) == 4


def test_who_may_not_borrow_stays_within_its_seats_and_the_others_go_on(stage):
    s = stage(_limited(a=(NONE, None), b=(None, None)), seats=4)
    for n in range(4):
        s.arrives("a", f"a{n}")
    assert s.admitted == ["a0", "a1"]
    s.arrives("b", "b0")
    assert s.admitted[-1] == "b0", "a waits, and is in nobody's way"
    s.finishes("a0")
    assert s.admitted[-1] == "a2"


def test_half_more_may_be_borrowed(stage):
    s = stage(_limited(a=(Portion(part=0.5), None), b=(None, None)), seats=4)
    for n in range(6):
        s.arrives("a", f"a{n}")
    assert len(s.admitted) == 3


def test_what_is_not_lent_is_free_at_once_when_it_is_needed(stage):
    s = stage(_limited(a=(None, None), proud=(None, NONE)), seats=4)
    for n in range(6):
        s.arrives("a", f"a{n}")
    assert len(s.admitted) == 2
    s.arrives("proud", "p0")
    s.arrives("proud", "p1")
    assert s.admitted[2:] == ["p0", "p1"]
    s.arrives("proud", "p2")
    s.finishes("a0")
    assert s.admitted[-1] in ("p2", "a2")
    s.finishes("p0")
    assert "p2" in s.admitted, "what is kept goes back to who keeps it"


def test_what_is_kept_is_found_behind_a_crowd_that_may_not_have_it(stage):
    others = {f"o{n}": OrganisationShare(1.0) for n in range(12)}
    s = stage({**others, "proud": OrganisationShare(4.0, lend=NONE)}, seats=8)
    s.arrives("proud", "p0", input=5000)
    for name in others:
        s.arrives(name)
        s.arrives(name)
    s.arrives("proud", "p1", input=5000)
    s.arrives("proud", "p2", input=5000)
    assert sum(ticket.startswith("o") for ticket in s.admitted) == 6
    s.finishes("p0", input=5000)
    assert "p2" in s.admitted


def test_who_has_nothing_in_flight_may_always_have_one(stage):
    s = stage({"large": OrganisationShare(99.0), "small": OrganisationShare(1.0, borrow=NONE)}, seats=2)
    assert s.arrives("small") in s.admitted


def test_having_been_blocked_earns_no_credit(stage):
    s = stage(_limited(a=(NONE, None), b=(None, None)), seats=2)
    s.arrives("a", "a0", input=10, output=0)
    for n in range(12):
        s.arrives("a", f"a{n + 1}")
    for n in range(12):
        s.arrives("b", f"b{n}")
    for n in range(8):
        s.finishes(f"b{n}")
    before = len(s.admitted)
    s.finishes("a0", input=10, output=0)
    for _ in range(6):
        s.finishes(next(t for t in reversed(s.admitted) if t not in s.charges))
    assert 2 <= sum(ticket.startswith("a") for ticket in s.admitted[before:]) <= 5


def test_limits_hold_after_every_admission_whatever_happens(stage):
    """Where the document does not change and no seat is lost, nobody holds more than they may."""
    pick = random.Random(5)
    shares = {
        "a": OrganisationShare(1.0, borrow=NONE),
        "b": OrganisationShare(2.0, borrow=Portion(seats=1), lend=Portion(part=0.5)),
        "c": OrganisationShare(1.0, lend=NONE),
        "d": OrganisationShare(3.0),
    }
    s = stage(shares, seats=9)
    due = dues(s.scheduler.tree, "chat", 9)
    running = []
    for _ in range(3000):
        if pick.random() < 0.6 or not running:
            s.arrives(pick.choice("abcd"), priority=pick.choice(("interactive", "batch")))
        else:
            s.finishes(running.pop(pick.randrange(len(running))), input=pick.randint(0, 300))
        running = [ticket for ticket in s.admitted if ticket not in s.charges]
        for name, of in due.items():
            held = sum(ticket.startswith(name) for ticket in running)
            assert of.most is None or held <= of.most
            assert held == s.pool.stock.held(name)
            others = len(running) - held
            assert others <= 9 - of.kept


def test_dues_say_who_is_due_what(tree):
    share = OrganisationShare
    due = dues(tree({"city": share(6.0, borrow=Portion(part=0.5)), "town": share(2.0, lend=NONE), "isle": share(1.0)}), "chat", 9)
    assert {name: (d.part, d.own, d.most, d.kept) for name, d in due.items()} == {
        "city": (pytest.approx(6 / 9), 6, 9, 0),
        "town": (pytest.approx(2 / 9), 2, None, 2),
        "isle": (pytest.approx(1 / 9), 1, None, 0),
    }


def test_a_guarantee_raises_a_share_and_the_others_keep_their_proportions(tree):
    share = OrganisationShare
    due = dues(tree({"isle": share(1.0, guarantee=Portion(part=0.25)), "city": share(10.0), "town": share(5.0)}), "chat", 8)
    assert due["isle"].part == pytest.approx(0.25)
    assert due["city"].part == pytest.approx(0.5)
    assert due["town"].part == pytest.approx(0.25)


def test_a_guarantee_below_the_share_changes_nothing(tree):
    share = OrganisationShare
    due = dues(tree({"a": share(1.0, guarantee=Portion(seats=1)), "b": share(1.0)}), "chat", 8)
    assert due["a"].part == 0.5


def test_guarantees_that_a_smaller_fleet_cannot_keep_are_cut_alike(tree):
    share = OrganisationShare
    four = Portion(seats=4)
    due = dues(tree({"a": share(1.0, guarantee=four), "b": share(1.0, guarantee=four), "c": share(1.0)}), "chat", 4)
    assert due["a"].part == pytest.approx(due["b"].part)
    assert due["c"].part == pytest.approx(0.05)
    assert sum(d.part for d in due.values()) == pytest.approx(1.0)


def test_a_guarantee_is_kept_when_everybody_wants_everything(stage, simulation):
    shares = {"isle": OrganisationShare(1.0, guarantee=Portion(part=0.4)), "city": OrganisationShare(9.0)}
    served = simulation(stage(shares, seats=5, watch=False), {"isle": (300, 200), "city": (300, 200)}).run(2500)
    assert served["isle"] / sum(served.values()) == pytest.approx(0.4, rel=0.03)


def test_models_an_organisation_may_not_use_leave_its_share_there_to_the_others(tree):
    shares = {"a": OrganisationShare(1.0, models=("embed",)), "b": OrganisationShare(1.0), "c": OrganisationShare(1.0)}
    due = dues(tree(shares, models=("chat", "embed")), "chat", 4)
    assert set(due) == {"b", "c"}
    assert due["b"].part == 0.5


def test_a_limit_that_is_lifted_lets_whoever_waits_go_on(stage):
    s = stage(_limited(a=(NONE, None), b=(None, None)), seats=4)
    for n in range(4):
        s.arrives("a", f"a{n}")
    effects = s.document_is(_limited(a=(None, None), b=(None, None)))
    assert [effect.ticket for effect in effects if isinstance(effect, Admit)] == ["a2", "a3"]
