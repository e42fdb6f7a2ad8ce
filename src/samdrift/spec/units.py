"""Human units: `8GiB`, `20s`, `90d`, `1M` become plain numbers.

Sizes are bytes (int), durations are seconds (float), counts are ints.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SIZES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([A-Za-z]{0,3})")


def _quantity(value: object, units: dict[str, int] | dict[str, float], example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"write a number with a unit, such as {example}")  # noqa: TRY004 - pydantic wants ValueError
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None or match[2] not in units:
        known = ", ".join(u for u in units if u)
        raise ValueError(f"write a number with one of the units {known}, such as {example}")
    return float(match[1]) * units[match[2]]


def parse_size(value: object) -> int:
    """Bytes from `8GiB`, `20MB` or a plain number. Raises ValueError with a sentence."""
    return round(_quantity(value, _SIZES, "8GiB"))


def parse_duration(value: object) -> float:
    """Seconds from `250ms`, `20s`, `15m`, `2h`, `90d` or a plain number of seconds. Raises ValueError with a sentence."""
    return _quantity(value, _DURATIONS, "20s")


def parse_count(value: object) -> int:
    """A whole number from `4`, `10k`, `1M`. Raises ValueError with a sentence."""
    number = _quantity(value, _COUNTS, "10k")
    if not number.is_integer():
        raise ValueError("write a whole number, such as 10k")
    return int(number)


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
