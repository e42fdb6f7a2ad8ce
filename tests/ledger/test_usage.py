"""Usage in the ledger: each ticket counts once, with the best counts known of it."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samdrift.ledger.appending import is_exact
from samdrift.spec.usage import Outcome

_DATABASES = itertools.count()


def test_a_row_is_read_back_as_it_was_given(ledger, used):
    rows = [used("t-1"), used("t-2", outcome=Outcome.LEFT, first_byte=None, status=0, estimated=True)]
    assert ledger.append_usage(rows) == 2
    assert [ledger.usage_of(row.ticket) for row in rows] == rows
    assert ledger.usage_of("t-none") is None


def test_a_receipt_that_comes_twice_counts_once(ledger, used):
    row = used("t-1")
    assert ledger.append_usage([row, row]) == 1
    assert ledger.append_usage([row, used("t-2")]) == 1
    assert [(t.requests, t.output_tokens) for t in ledger.totals(0, 9e9)] == [(2, 100)]


def test_a_late_exact_receipt_replaces_a_lapsed_row_once(ledger, used):
    lapsed = used("t-1", outcome=Outcome.LAPSED, estimated=True, output_tokens=400)
    exact, again = used("t-1", output_tokens=51), used("t-1", output_tokens=9_999)
    ledger.append_usage([lapsed])
    assert ledger.append_usage([exact]) == 0
    ledger.append_usage([again])
    ledger.append_usage([lapsed])
    assert ledger.usage_of("t-1") == exact


def test_an_estimate_never_replaces_anything(ledger, used):
    first, second = (used("t-1", estimated=True, output_tokens=n) for n in (5, 6))
    ledger.append_usage([first])
    ledger.append_usage([second])
    assert ledger.usage_of("t-1") == first


def test_a_batch_of_any_size_is_written_whole(ledger, used):
    tickets = (f"t-{n}" for n in itertools.count())
    for size in (1, 3, 4, 19, 20, 21, 124, 500, 501, 1_250):
        assert ledger.append_usage([used(next(tickets)) for _ in range(size)]) == size
    assert ledger.totals(0, 9e9, group_by=())[0].requests == sum((1, 3, 4, 19, 20, 21, 124, 500, 501, 1_250))
    assert ledger.append_usage([]) == 0


@pytest.mark.parametrize("change", [{"input_tokens": 2**70}, {"model": "\udcff"}, {"at": None}])
def test_a_row_no_database_takes_is_refused_with_its_batch(ledger, used, change):
    with pytest.raises(ValueError, match="could not write usage"):
        ledger.append_usage([used("t-1"), used("t-2", **change)])
    assert ledger.usage_of("t-1") is None


def test_totals_split_by_what_is_asked_and_by_outcome(ledger, used):
    ledger.append_usage([
        used("t-1"),
        used("t-2", outcome=Outcome.LEFT, estimated=True, output_tokens=7),
        used("t-3", organisation="odense", model="embed", output_tokens=0),
        used("t-4", organisation="odense", at=2_000.0),
    ])  # fmt: skip
    aarhus, odense = ledger.totals(0, 2_000.0)
    assert aarhus.group == ("aarhus", "chat-small")
    assert (aarhus.requests, aarhus.input_tokens, aarhus.cached_tokens) == (2, 200, 20)
    assert aarhus.output_tokens == 57
    assert aarhus.outcomes == {o: int(o in {Outcome.COMPLETED, Outcome.LEFT}) for o in Outcome}
    assert aarhus.estimated == 1
    assert odense.group == ("odense", "embed")
    (later,) = ledger.totals(2_000.0, 9e9, "odense", group_by=("priority", "key", "project", "endpoint"))
    assert later.group == ("interactive", "k1a2b3c4", "default", "/v1/chat/completions")
    assert ledger.totals(0, 9e9, "nobody") == ()
    (nothing,) = ledger.totals(0, 9e9, "nobody", group_by=())
    assert (nothing.requests, nothing.input_tokens, nothing.estimated) == (0, 0, 0)


def test_usage_cannot_be_grouped_by_what_is_no_dimension(ledger):
    with pytest.raises(ValueError, match="cannot be grouped"):
        ledger.totals(0, 1, group_by=("ticket",))


def test_writers_side_by_side_neither_lose_nor_double_a_ticket(open_ledger, used):
    first, second = open_ledger(), open_ledger()
    new: list[int] = []

    def write(ledger, order):
        new.extend(ledger.append_usage([used(f"t-{n}") for n in order]) for _ in range(3))

    threads = [
        threading.Thread(target=write, args=(ledger, order))
        for ledger, order in ((first, range(300)), (second, range(299, -1, -1)), (first, range(100, 400)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(new) == 400
    assert first.totals(0, 9e9, group_by=())[0].requests == 400


_VARIED = ("organisation", "outcome", "estimated", "input_tokens", "output_tokens")
_counts = st.integers(0, 10**6)
_entries = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d", "e"]),
            st.sampled_from(["aarhus", "odense"]),
            st.sampled_from(list(Outcome)),
            st.booleans(),
            _counts,
            _counts,
        ),
        max_size=12,
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=_entries)
def test_any_sequence_of_batches_leaves_one_row_per_ticket_and_true_totals(ledger, used, batches):
    example = next(_DATABASES)  # tickets of their own for each example, in the one database
    model = {}
    for batch in batches:
        rows = [
            used(f"{example}-{ticket}", at=example, **dict(zip(_VARIED, values, strict=True)))
            for ticket, *values in batch
        ]
        fresh = len({row.ticket for row in rows} - model.keys())
        for row in rows:
            there = model.get(row.ticket)
            if there is None or (is_exact(row) and not is_exact(there)):
                model[row.ticket] = row
        assert ledger.append_usage(rows) == fresh
    for ticket, row in model.items():
        assert ledger.usage_of(ticket) == row
    found = {t.group[0]: t for t in ledger.totals(example, example + 1, group_by=("organisation",))}
    for organisation in ("aarhus", "odense"):
        mine = [row for row in model.values() if row.organisation == organisation]
        assert (organisation in found) == bool(mine)
        if mine:
            total = found[organisation]
            assert total.requests == len(mine) == sum(total.outcomes.values())
            assert total.input_tokens == sum(row.input_tokens for row in mine)
            assert total.output_tokens == sum(row.output_tokens for row in mine)
            assert total.outcomes == {o: sum(row.outcome is o for row in mine) for o in Outcome}
