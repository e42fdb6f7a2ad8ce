"""Recordings: what is written is what is read, and a bad line is named."""

from __future__ import annotations

import pytest

from samdrift.fairshare.replay import BadRecording, line_of, replay, stimuli_of
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Estimate,
    Finished,
    FleetChanged,
    Left,
    Reshaped,
    Resumed,
    Ticked,
    Tokens,
)
from samdrift.spec.fleet import Fleet

ARRIVED = Arrived("t", "chat", "århus", "default", "k", Estimate(12, None), "batch", 3.25)


def test_every_stimulus_survives_being_written(tree, engine):
    told = [
        FleetChanged(Fleet((engine("chat-0", 3),)), 0.0),
        Reshaped(tree({"a": 1.5}), 0.5),
        ARRIVED,
        Left("t", 4.0),
        Finished("t", Tokens(1, 2, 3), 5.0),
        Finished("u", None, float("inf")),
        Ticked(6.0),
        Resumed("v", "chat", "a", "default", "k", "chat-0", 7.5, 8.0),
    ]
    assert list(stimuli_of(line_of(stimulus) for stimulus in told)) == told


def test_a_day_replays_under_another_document(tree, engine):
    lines = [line_of(FleetChanged(Fleet((engine("chat-0", 1),)), 0.0)), line_of(ARRIVED), "\n"]
    effects = [effect for _, effects in replay(tree({"århus": 2.0}), lines) for effect in effects]
    assert effects == [Admit("t", "chat-0", 0.0, 268.0, band=1)]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}",
        '{"ticked": null}',
        '{"ticked": {"at": 1.0}, "left": {"ticket": "t", "at": 1.0}}',
        '{"ticked": {"at": "soon"}}',
        '{"ticked": {"at": 1.0, "prompt": "hello"}}',
        '{"arrived": {"ticket": "t"}}',
    ],
)
def test_a_line_that_is_no_stimulus_is_named(line):
    with pytest.raises(BadRecording, match="line 2: "):
        list(stimuli_of(['{"ticked": {"at": 1.0}}', line]))
