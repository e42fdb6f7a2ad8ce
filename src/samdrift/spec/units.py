"""Human units: `8GiB`, `20s`, `90d`, `1M` become plain numbers, and back.

Sizes are bytes (int), durations are seconds (float), counts are ints. Reading is exact (decimal arithmetic):
`parse_size(spell_size(n)) == n`, and likewise for the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema

_SIZES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_MILLISECONDS = {"": 1_000, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_QUANTITY = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,24})?)\s?([A-Za-z]{0,3})")

LARGEST_SIZE = 2**53
"""Bytes. Every JSON reader holds whole numbers up to here exactly."""
LONGEST_DURATION = 10 * 365 * 86_400.0
"""Seconds: ten years. Beyond it somebody means "never", and nothing here waits for ever."""
LARGEST_COUNT = 10**12


@dataclass(frozen=True, slots=True)
class Unit:
    """What a quantity is called, an example of it, and how to write one. Stands in a field's metadata."""

    noun: str
    example: str
    spell: Callable[[float], str]


def _quantity(value: object, units: Mapping[str, int], example: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"write a number with a unit, such as {example}")  # noqa: TRY004 - pydantic wants ValueError
    if not isinstance(value, str):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"write a number that is not negative, such as {example}")
        return Decimal(repr(value)) * units[""]
    match = _QUANTITY.fullmatch(value.strip())
    if match is None or match[2] not in units:
        known = ", ".join(u for u in units if u)
        raise ValueError(f"write a number with one of the units {known}, such as {example}")
    return Decimal(match[1]) * units[match[2]]


def parse_size(value: object) -> int:
    """Bytes from `8GiB`, `20MB` or a plain number, rounded to a whole byte.

    Raises ValueError with a sentence.
    """
    return round(_quantity(value, _SIZES, "8GiB"))


def parse_duration(value: object) -> float:
    """Seconds from `250ms`, `20s`, `15m`, `2h`, `90d` or a plain number of seconds.

    Raises ValueError with a sentence.
    """
    return float(_quantity(value, _MILLISECONDS, "20s") / 1000)


def parse_count(value: object) -> int:
    """A whole number from `4`, `10k`, `1M`. Raises ValueError with a sentence."""
    number = _quantity(value, _COUNTS, "10k")
    if number != number.to_integral_value():
        raise ValueError("write a whole number, such as 10k")
    return int(number)


def spell_size(size: float) -> str:
    """`20MiB` for 20 * 2**20: the largest binary or decimal unit that needs no fraction."""
    return _spell(int(size), _SIZES, "B")


def spell_duration(seconds: float) -> str:
    """`15m` for 900.0: the largest unit that needs no fraction; finer than 1 ms as a plain number."""
    exact = Decimal(repr(float(seconds))) * 1000
    if exact != exact.to_integral_value():
        return f"{Decimal(repr(float(seconds))):f}"
    return _spell(int(exact), _MILLISECONDS, "s")


def spell_count(count: float) -> str:
    """`10k` for 10 000: the largest unit that needs no fraction."""
    return _spell(int(count), _COUNTS, "")


def _spell(number: int, units: Mapping[str, int], zero: str) -> str:
    if number == 0:
        return f"0{zero}"
    fitting = [(number // factor, name) for name, factor in units.items() if name and number % factor == 0]
    amount, name = min(fitting, default=(number, ""))
    return f"{amount}{name}"


def _schema(kind: str, units: Mapping[str, int], largest: float) -> WithJsonSchema:
    names = "|".join(u for u in units if u)
    number = {"type": kind, "exclusiveMinimum": 0, "maximum": largest}
    text = {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s?({names})?\s*$"}
    return WithJsonSchema({"anyOf": [number, text]})


SIZE = Unit("size", "8GiB", spell_size)
DURATION = Unit("duration", "20s", spell_duration)
COUNT = Unit("count", "10k", spell_count)

Size = Annotated[int, SIZE, BeforeValidator(parse_size), Field(gt=0, le=LARGEST_SIZE),
    _schema("integer", _SIZES, LARGEST_SIZE)]  # fmt: skip
Duration = Annotated[float, DURATION, BeforeValidator(parse_duration), Field(ge=0.001, le=LONGEST_DURATION),
    _schema("number", _MILLISECONDS, LONGEST_DURATION)]  # fmt: skip
Count = Annotated[int, COUNT, BeforeValidator(parse_count), Field(gt=0, le=LARGEST_COUNT),
    _schema("integer", _COUNTS, LARGEST_COUNT)]  # fmt: skip
Whole = Annotated[int, Strict()]
"""A whole number written as one: neither `"4"` nor `true`."""
Number = Annotated[float, Strict()]
"""A number written as one: neither `"0.5"` nor `true`."""
YesNo = Annotated[bool, Strict()]
"""`true` or `false`, and no word that somebody might take for one of them."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""An identifier: small letters, digits, and `.`, `_`, `-` inside; at most 63 characters."""
