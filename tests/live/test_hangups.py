"""Whoever hangs up leaves no seat taken and no ticket open, and pays for exactly what was made for them."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.live.communities import Community, Stream, until

from samdrift.spec.usage import Outcome


@contextmanager
def holding_its_breath(community: Community, replica: str = "chat-0") -> Iterator[None]:
    """The engine makes nothing meanwhile: what has come is then all that was made."""
    pid = community.processes()[replica]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_hanging_up_while_waiting_takes_no_seat_and_the_next_one_is_served(busy: Community, taker: Stream) -> None:
    patient, rows = busy.key("aarhus", "--project", "patient"), busy.rows("aarhus")
    with busy.stream(key=patient) as first:
        until(lambda: busy.metric("samdrift_waiting_requests", organisation="aarhus") == 1, "the first waits")
        with busy.stream(key=patient, max_tokens=2) as second:
            until(lambda: busy.metric("samdrift_waiting_requests", organisation="aarhus") == 2, "the second waits")
            first.hang_up()
            until(lambda: busy.metric("samdrift_waiting_requests", organisation="aarhus") == 1, "the first has left")
            taker.hang_up()
            second.rest()
            assert second.done
            assert busy.usage(second.ticket).outcome is Outcome.COMPLETED
    busy.at_rest()
    assert busy.rows("aarhus") == rows + 1, "who left while waiting has no row"


def test_hanging_up_mid_stream_is_charged_to_the_token(community: Community) -> None:
    with community.stream() as stream:
        stream.read(5)
        with holding_its_breath(community):
            stream.what_is_left()
            stream.hang_up()
            row = community.usage(stream.ticket)
    assert (row.outcome, row.output_tokens) == (Outcome.LEFT, stream.counted)
    assert stream.pieces == stream.counted, "each token of this answer came in a piece of its own"
    assert row.input_tokens > 0
    assert not row.estimated


def test_hanging_up_before_the_first_token_frees_the_seat_at_once(community: Community) -> None:
    community.at_rest()
    before = community.rows()
    with community.stream("Once upon a time in a small town. " * 45):  # some seconds of reading
        until(lambda: community.metric("samdrift_seats_in_use"), "it runs")
    until(lambda: not community.metric("samdrift_seats_in_use"), "its seat is free", 2)
    until(lambda: community.rows() == before + 1, "its row")
    left = community.metric("samdrift_requests_total", outcome="left")
    assert left >= 1


def test_hanging_up_on_an_answer_that_does_not_stream_stops_the_engine(community: Community) -> None:
    community.at_rest()
    left = community.metric("samdrift_requests_total", outcome="left")
    with community.stream("Tell me a long story.", stream=False):
        until(lambda: community.metric("samdrift_seats_in_use"), "it runs")
    until(lambda: community.metric("samdrift_requests_total", outcome="left") == left + 1, "it is settled", 2)
    community.at_rest()


def test_many_who_hang_up_at_random_leave_nothing_behind(community: Community) -> None:
    chance = random.Random(20260213)
    keys = [community.key("aarhus"), community.key("samsoe")]
    community.at_rest()
    rows = community.rows()
    read: dict[str, int] = {}
    unseen = 0
    for _ in range(4):
        with ExitStack() as stack:
            streams = [stack.enter_context(community.stream(key=chance.choice(keys))) for _ in range(6)]
            pieces = [0, 0, 0, 1, 2, 3]  # seats for four: those who read nothing may have waited
            chance.shuffle(pieces)
            for stream, most in sorted(zip(streams, pieces, strict=True), key=lambda pair: pair[1]):
                if most:
                    stream.read(most)
                    while stream.pull(0):
                        pass
                if most and not stream.done:
                    read[stream.ticket] = stream.counted
                else:
                    unseen += 1
                stream.hang_up()
    community.at_rest()
    for ticket, counted in read.items():
        row = community.usage(ticket)
        # The engine may have made one more while our goodbye was on its way.
        assert row.outcome is Outcome.LEFT
        assert counted <= row.output_tokens <= counted + 1, (row, counted)
    # Of those who went before they saw anything, some had been admitted and some had not.
    assert len(read) <= community.rows() - rows <= len(read) + unseen
    assert community.chat().status_code == 200
