"""What people write for sizes, durations and counts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from samdrift.spec import units
from samdrift.spec.units import (
    LARGEST_COUNT,
    LARGEST_SIZE,
    LONGEST_DURATION,
    parse_count,
    parse_duration,
    parse_size,
    spell_count,
    spell_duration,
    spell_size,
)


@given(st.integers(0, LARGEST_SIZE))
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(spell_size(size)) == size


@given(st.floats(0.001, LONGEST_DURATION))
def test_a_duration_reads_back_as_it_was_written(seconds: float) -> None:
    assert parse_duration(spell_duration(seconds)) == seconds


@given(st.integers(0, LARGEST_COUNT))
def test_a_count_reads_back_as_it_was_written(count: int) -> None:
    assert parse_count(spell_count(count)) == count


def test_units_are_written_the_way_people_do() -> None:
    assert [spell_size(n) for n in (0, 1, 1000, 1024, 20 * 2**20, 1500)] == [
        "0B",
        "1B",
        "1kB",
        "1KiB",
        "20MiB",
        "1500B",
    ]
    assert [spell_duration(n) for n in (0.25, 90.0, 900.0, 86400.0)] == ["250ms", "90s", "15m", "1d"]
    assert [spell_count(n) for n in (7, 10_000, 3_000_000)] == ["7", "10k", "3M"]


def test_units_are_read_the_way_people_write_them() -> None:
    assert [parse_size(t) for t in ("8GiB", "20 MB", "1.5kB", 512)] == [8 * 2**30, 20_000_000, 1500, 512]
    assert [parse_duration(t) for t in ("250ms", "0.1s", "1.5h", 20, 0.3)] == [0.25, 0.1, 5400.0, 20.0, 0.3]
    assert [parse_count(t) for t in ("10k", "1.5M", 4, 4.0)] == [10_000, 1_500_000, 4, 4]


@pytest.mark.parametrize(
    "text",
    [
        "8 gib",
        "8Gb",
        "8GiBs",
        "eight",
        "",
        "-1s",
        "1e3",
        "0x10",
        "1 000",
        "٣s",
        "1s2",
        True,
        None,
        [],
        float("nan"),
    ],
)
def test_what_is_no_quantity_is_refused_with_an_example(text: object) -> None:
    for parse in (parse_size, parse_duration, parse_count):
        with pytest.raises(ValueError, match="such as"):
            parse(text)


@given(st.one_of(st.integers(1, LARGEST_SIZE).map(spell_size), st.text(max_size=8)))
def test_an_editor_accepts_no_text_that_the_reader_does_not(text: str) -> None:
    (pattern,) = (s["pattern"] for s in TypeAdapter(units.Size).json_schema()["anyOf"] if "pattern" in s)
    assert len(text) > 16 or not re.search(pattern, text, re.ASCII) or parse_size(text) >= 0
