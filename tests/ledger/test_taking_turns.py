"""What two desks share in the database: who is active, whose term it is, which tickets are open."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from tests.ledger.postgres import Cluster

from samdrift.ledger.lease import AdvisoryLease
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.open_tickets import Open, TermOver
from samdrift.ledger.troubles import LedgerUnavailable


def an(ticket: str, at: float = 1_000.0) -> Open:
    return Open(ticket, "aarhus;default;k;chat;chat-0;/v1/chat/completions;standard;0.1;10", 12.5, at)


def test_whoever_takes_over_sees_what_was_admitted_and_not_settled(ledger: Ledger, used):
    tickets = ledger.open_tickets
    term = tickets.begin()
    tickets.add([an("b", 2.0), an("a", 1.0), an("settled")], term)
    ledger.append_usage([used("settled")])
    assert tickets.begin() == term + 1
    assert tickets.unsettled() == (an("a", 1.0), an("b", 2.0))
    assert tickets.sweep() == 1
    tickets.remove(["a"])
    assert tickets.unsettled() == (an("b", 2.0),)


def test_a_desk_whose_term_is_over_can_write_nothing_down(ledger: Ledger):
    tickets = ledger.open_tickets
    first = tickets.begin()
    second = tickets.begin()
    with pytest.raises(TermOver):
        tickets.add([an("too-late")], first)
    tickets.add([an("in-time")], second)
    assert [one.ticket for one in tickets.unsettled()] == ["in-time"]


def test_a_term_waits_for_who_is_writing_and_then_sees_it(open_ledger):
    """The one race that matters: whatever is admitted while another takes over is either seen by it or refused."""
    writer, other = open_ledger(), open_ledger()
    term, admitted, over = writer.open_tickets.begin(), [], threading.Event()

    def write() -> None:
        for number in range(10_000):
            try:
                writer.open_tickets.add([an(f"t{number}")], term)
            except TermOver:
                break
            admitted.append(f"t{number}")
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while len(admitted) < 5:
        assert not over.is_set()
        time.sleep(0.001)
    other.open_tickets.begin()
    seen = {one.ticket for one in other.open_tickets.unsettled()}
    thread.join(20)
    assert seen == set(admitted)


@pytest.fixture
def database(cluster: Cluster) -> str:
    return cluster.make_database()


def test_one_of_two_has_the_lease_and_the_other_gets_it_next(database: str):
    first, second = AdvisoryLease(database), AdvisoryLease(database)
    assert first.take()
    assert not second.take()
    first.renew()
    first.release()
    assert second.take()
    assert not first.take()
    first.release()
    second.release()


def test_a_session_that_ends_ends_the_lease(database: str):
    first, second = AdvisoryLease(database), AdvisoryLease(database)
    assert first.take()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'samdrift desk'")
    with pytest.raises(LedgerUnavailable):
        first.renew()
    with pytest.raises(LedgerUnavailable, match="not held"):
        first.renew()
    assert second.take()
    second.release()


def test_whoever_is_silent_too_long_loses_it_whatever_became_of_them(database: str):
    silent, second = AdvisoryLease(database, silence=0.3), AdvisoryLease(database)
    assert silent.take()
    began = time.monotonic()
    while not second.take():
        assert time.monotonic() - began < 5, "the silent one still has it"
        time.sleep(0.02)
    assert time.monotonic() - began > 0.25
    with pytest.raises(LedgerUnavailable):
        silent.renew()
    second.release()


def test_a_ledger_on_one_machine_has_no_lease(tmp_path):
    with pytest.raises(ValueError, match="PostgreSQL only"):
        AdvisoryLease(f"sqlite:///{tmp_path}/ledger.sqlite")
