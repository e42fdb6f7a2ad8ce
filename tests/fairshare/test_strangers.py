"""What is believed of organisations, projects and priorities of which no request has ended yet."""

from __future__ import annotations

import pytest

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 128), (16, 16), (128, 128), (300, 300), (512, 512), (513, 128), (4096, 128)]
)
def test_a_small_limit_of_a_stranger_is_taken_at_its_word_and_a_large_one_is_not(stage, limit, expected):
    s = stage({"a": 1.0})
    s.arrives("a", "first", input=100, output=limit)
    s.finishes("first", input=100, output=1)
    assert s.charges["first"].charged == 100 + 2 * expected


def test_a_limit_says_nothing_any_more_once_answers_have_ended(stage):
    s = stage({"a": 1.0}, seats=2)
    s.arrives("a", "first", output=500)
    s.finishes("first", output=40)
    s.arrives("a", "second", output=500)
    s.finishes("second", output=40)
    assert s.charges["second"].charged == 100 + 2 * 40


def test_a_stranger_whose_answers_are_long_does_not_begin_with_more_than_its_share(stage):
    """Long answers of a stranger, all of them begun before the first has ended: were they believed to be short, it would
    have twice as many seats as its share, and others would wait for that until they end."""
    s = stage({"long": 1.0, "short": 1.0}, seats=40, waits=LONG, lease=1e6, guarantee_window=0.0)
    held = [s.arrives("short", input=500, output=12) for _ in range(40)]
    for _ in range(60):
        s.arrives("long", input=12, output=512)
        s.arrives("short", input=500, output=12)
    for ticket in held:
        s.finishes(ticket, input=500, output=12)
    began = [ticket for ticket in s.admitted if ticket not in held]
    charged = {"long": 12 + 2 * 512, "short": 500 + 2 * 12}
    taken = {name: sum(t.startswith(name) for t in began) * cost for name, cost in charged.items()}
    assert len(began) == 40
    assert taken["long"] == pytest.approx(taken["short"], abs=2 * max(charged.values()))


def test_progress_does_not_make_a_stranger_shorter_than_its_limit(stage):
    s = stage({"a": 1.0}, seats=3)
    s.arrives("a", "first", output=400)
    s.progresses("first", 200)
    s.arrives("a", "second", output=400)
    s.finishes("second", output=400)
    assert s.charges["second"].charged == 100 + 2 * 400
