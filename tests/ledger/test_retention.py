"""Retention: what is forgotten is gone from the files too, and statements stay right."""

from __future__ import annotations

import dataclasses
import random
import threading
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from samdrift.ledger.ledger import Ledger
from samdrift.ledger.retention import day_of
from samdrift.spec.usage import Outcome

DENMARK = ZoneInfo("Europe/Copenhagen")
DAY = 86_400.0


def instant(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=DENMARK).timestamp()


MARCH, APRIL, MAY = instant("2026-03-01"), instant("2026-04-01"), instant("2026-05-01")


@pytest.fixture
def busy(ledger, used):
    """Two months of two organisations, by several people, keys, models and outcomes."""
    draw = random.Random(7)
    rows = [
        used(f"t-{n}", organisation=draw.choice(["aarhus", "odense"]), key=draw.choice(["k-one", "k-two"]),
            model=draw.choice(["chat", "embed"]), outcome=draw.choice(list(Outcome)), estimated=draw.random() < 0.1,
            input_tokens=draw.randrange(1_000), output_tokens=draw.randrange(1_000), at=draw.uniform(MARCH, MAY),
            user=draw.choice(["", "anna-hash", "bo-hash"]))
        for n in range(600)
    ]  # fmt: skip
    ledger.append_usage(rows)
    return ledger


def test_totals_over_days_and_months_are_the_same_after_rows_were_forgotten(busy):
    spans = [(MARCH, MAY), (MARCH, APRIL), (APRIL, MAY), (instant("2026-03-29"), instant("2026-03-30"))]
    ways = [("organisation", "model"), ("organisation", "key"), ("organisation", "project", "endpoint", "priority"), ()]

    def said():
        return [busy.totals(*span, who, way) for span in spans for who in (None, "aarhus") for way in ways]

    before = said()
    forgotten = busy.retention.forget("aarhus", instant("2026-04-16"), DENMARK)
    assert forgotten.rows > 150
    assert forgotten.days == 46
    assert said() == before
    busy.retention.forget("odense", MAY, DENMARK)
    assert said() == before


def test_only_whole_days_of_the_organisation_that_asked_are_forgotten(ledger, used):
    noon = instant("2026-04-16") + 43_200
    other = used("other", organisation="odense", at=MARCH)
    ledger.append_usage([used("early", at=noon - DAY), used("same-day", at=noon - 3_600), other])
    assert ledger.retention.forget("aarhus", noon, DENMARK).rows == 1
    assert ledger.usage_of("early") is None
    assert ledger.usage_of("same-day") is not None
    assert ledger.usage_of("other") is not None
    assert ledger.retention.organisations() == ("aarhus", "odense")


def test_forgetting_twice_forgets_nothing_more_and_rows_that_come_late_are_added(ledger, used):
    ledger.append_usage([used("t-1", at=MARCH + 5)])
    ledger.retention.forget("aarhus", APRIL, DENMARK)
    assert ledger.retention.forget("aarhus", APRIL, DENMARK).rows == 0
    ledger.append_usage([used("t-2", at=MARCH + 6)])
    ledger.retention.forget("aarhus", APRIL, DENMARK)
    assert [(t.requests, t.output_tokens) for t in ledger.totals(MARCH, APRIL)] == [(2, 100)]


def test_sums_too_have_their_time(busy):
    busy.retention.forget("aarhus", MAY, DENMARK)
    assert busy.retention.forget_sums(APRIL) > 20
    assert busy.totals(MARCH, APRIL, "aarhus") == ()
    assert busy.totals(APRIL, MAY, "aarhus") != ()


def test_a_persons_rows_are_given_out_and_erased_and_statements_stay_right(busy):
    before = busy.totals(MARCH, MAY)
    anna = busy.retention.rows_of("aarhus", ("anna-hash", ""))
    assert {(row.organisation, row.user) for row in anna} == {("aarhus", "anna-hash")}
    others = len(busy.retention.rows_of("odense", ("anna-hash",))), len(busy.retention.rows_of("aarhus", ("bo-hash",)))
    assert busy.retention.erase("aarhus", ("anna-hash", ""), DENMARK) == len(anna) > 50
    assert busy.retention.rows_of("aarhus", ("anna-hash",)) == ()
    assert (len(busy.retention.rows_of("odense", ("anna-hash",))), len(busy.retention.rows_of("aarhus", ("bo-hash",)))) == others
    assert busy.totals(MARCH, MAY) == before
    assert all(busy.usage_of(row.ticket) is None for row in anna)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_a_day_is_as_long_as_the_clocks_say(day, hours):
    begins, ends = day_of(instant(day) + 7_200, DENMARK)
    assert begins == instant(day)
    assert ends - begins == hours * 3_600


def test_the_files_hold_nothing_of_what_was_forgotten(tmp_path, used):
    """Tickets and users of forgotten rows are looked for as bytes, in the database and its log; those that stay are found."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(f"sqlite:///{path}")
    draw = random.Random(11)
    old = [used(f"GONE-{n:05}", user=f"PERSON-{n % 97:05}", at=draw.uniform(MARCH, APRIL)) for n in range(5_000)]
    new = [used(f"STAY-{n:05}", user=f"PERSON-{n % 97 + 500:05}", at=draw.uniform(APRIL, MAY)) for n in range(5_000)]
    rows = old + new
    draw.shuffle(rows)
    for start in range(0, len(rows), 500):
        ledger.append_usage(rows[start : start + 500])

    def held(what):
        return sum(file.read_bytes().count(what) for file in tmp_path.iterdir())

    assert held(b"GONE-") >= 5_000
    assert held(b"PERSON-00050") > 0
    ledger.retention.forget("aarhus", APRIL, DENMARK)
    ledger.retention.erase("aarhus", ("PERSON-00550",), DENMARK)
    assert ledger.retention.sweep()
    assert held(b"GONE-") == 0
    assert [n for n in range(97) if held(f"PERSON-{n:05}".encode())] == []
    assert held(b"PERSON-00550") == 0
    assert held(b"STAY-") >= 4_900
    ledger.close()
    assert held(b"GONE-") == 0


def test_a_reader_of_an_older_state_puts_the_sweep_off_and_is_not_disturbed(tmp_path, used):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", patience=0.05)
    ledger.append_usage([used("t-1", at=MARCH)])
    with ledger._engine.connect() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM usage").scalar() == 1
        ledger.retention.forget("aarhus", APRIL, DENMARK)
        assert not ledger.retention.sweep()
        assert reader.exec_driver_sql("SELECT count(*) FROM usage").scalar() == 1
    assert ledger.retention.sweep()
    ledger.close()


def test_the_audit_trail_forgets_in_the_file_too(tmp_path):
    from samdrift.access.chain import PURGE, verify
    from samdrift.spec.events import AuditEvent

    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    for n in range(500):
        ledger.audit.note(AuditEvent(1_000.0 + n, "person", f"WHO-{n:04}", "keys.create", f"key/{n}", "done", "aarhus"))
    ledger.audit.forget(1_400.0, AuditEvent(9_000.0, "service", "samdrift", PURGE, "audit", "done"))
    assert ledger.retention.sweep()
    held = (tmp_path / "ledger.sqlite").read_bytes()
    assert [n for n in range(400) if f"WHO-{n:04}".encode() in held] == []
    assert b"WHO-0450" in held
    assert verify(ledger.audit.links(), (), ()).findings == ()
    ledger.close()


def test_a_row_says_who_asked(ledger, used):
    row = used("t-1", user="b7c9")
    ledger.append_usage([row])
    assert ledger.usage_of("t-1") == row
    assert ledger.append_usage([dataclasses.replace(row, user="other")]) == 0
    assert day_of(0.0, ZoneInfo("UTC")) == (0.0, datetime(1970, 1, 2, tzinfo=UTC).timestamp())


def test_the_ledger_is_searched_for_a_word_and_swept_on_either_database(ledger, used):
    ledger.append_usage([used("t-needle_1", at=MARCH), used("t-needleX1", at=MAY)])
    assert ledger.retention.places_of("needle_1") == ("usage.ticket",), "`_` stands for itself"
    assert ledger.retention.places_of("nothing like it") == ()
    ledger.retention.forget("aarhus", APRIL, DENMARK)
    assert ledger.retention.sweep()
    assert ledger.retention.places_of("needle_1") == ()


def test_two_control_planes_that_forget_at_once_count_nothing_twice(open_ledger, used):
    first = open_ledger(patience=30)
    first.append_usage([used(f"t-{n}", at=MARCH + n * DAY / 8) for n in range(160)])
    start = threading.Barrier(2)

    def forget(ledger):
        start.wait(10)
        ledger.retention.forget("aarhus", APRIL, DENMARK)

    threads = [threading.Thread(target=forget, args=(ledger,)) for ledger in (first, open_ledger(patience=30))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(t.requests, t.output_tokens) for t in first.totals(MARCH, APRIL)] == [(160, 160 * 50)]


def test_rows_that_are_written_while_a_day_is_forgotten_are_counted_once(open_ledger, used):
    writer, forgetter = open_ledger(patience=30), open_ledger(patience=30)
    over = threading.Event()

    def write():
        for n in range(60):
            writer.append_usage([used(f"t-{n}-{m}", at=MARCH + m) for m in range(10)])
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not over.is_set():
        forgetter.retention.forget("aarhus", APRIL, DENMARK)
    thread.join(60)
    assert [(t.requests, t.output_tokens) for t in writer.totals(MARCH, APRIL)] == [(600, 600 * 50)]
