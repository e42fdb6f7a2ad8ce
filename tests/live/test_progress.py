"""A long stream is charged for what it takes while it runs, and not only when it has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.communities import CHAT_WEIGHTS, Community, document, until
from tests.live.test_hangups import holding_its_breath

from samdrift.fairshare.replay import stimuli_of
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import Arrived, Finished, Progress, Stimulus
from samdrift.spec.document import Spec
from samdrift.spec.usage import Outcome

EXPECTED = 128  # tokens of output that a stranger with so large a limit is charged for when it begins


@pytest.fixture
def recorded(somewhere: Path) -> Iterator[Community]:
    """A community that records what its scheduler is told."""
    models = {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 1, "context": 2048}}
    with Community(somewhere / "progress", document(observe={"record": {"what": "requests"}}, models=models)) as running:
        yield running


def told(community: Community) -> list[Stimulus]:
    """What the scheduler has been told so far, as far as it is on disk."""
    text = "".join(path.read_text() for path in sorted((community.data / "record").glob("*.jsonl")))
    return list(stimuli_of(text.splitlines()[: text.count("\n")]))


def charged(community: Community, stimuli: list[Stimulus]) -> list[float]:
    """What a scheduler that is told the same has charged for those who run then, in weighted tokens."""
    scheduler = Scheduler(tree_of(Spec.model_validate(community.described)), at=stimuli[0].at)
    for stimulus in stimuli:
        scheduler.handle(stimulus)
    return [lease.charged for lease in scheduler.snapshot().leases]


def test_what_a_stream_has_taken_is_charged_before_it_ends(recorded: Community) -> None:
    with recorded.stream("Count from one to two hundred in words.") as stream:
        stream.read(EXPECTED + 40)
        with holding_its_breath(recorded):
            stream.what_is_left()
            made = stream.counted
            until(lambda: made in {s.output for s in told(recorded) if isinstance(s, Progress)}, "the scheduler is told of it")
            heard = told(recorded)
            assert recorded.row(stream.ticket) is None, "it has not ended"
        stream.hang_up()
    row = recorded.usage(stream.ticket)
    assert (row.outcome, row.output_tokens >= made) == (Outcome.LEFT, True)
    until(lambda: any(isinstance(s, Finished) for s in told(recorded)), "its end is recorded")
    assert recorded.rows() == 1

    assert not any(isinstance(stimulus, Finished) for stimulus in heard)
    begun = [stimulus for stimulus in heard if not isinstance(stimulus, Progress)]
    (at_first,), (by_then,) = charged(recorded, begun), charged(recorded, heard)
    (arrived,) = (stimulus for stimulus in heard if isinstance(stimulus, Arrived))
    asked = arrived.estimate.input
    assert at_first == asked + 2.0 * EXPECTED
    # Of the input no more is counted before the receipt than what it costs if all of it was known already.
    assert by_then == pytest.approx(0.1 * asked + 2.0 * made)
    assert by_then > at_first
    lines = [json.loads(line) for line in (recorded.data / "journal").glob("*") for line in line.read_text().splitlines()]
    assert len(lines) == 1, "the journal knows ends only"
