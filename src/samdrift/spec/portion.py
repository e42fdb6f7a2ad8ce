"""Portions: how much an organisation may borrow, lends, or is guaranteed, as people write it.

`unlimited`, `none`, a part (`50%`), or a number of seats (`2 seats`, `1 seat`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from samdrift.spec.units import Unit

_SEATS = re.compile(r"([0-9]{1,6})(?: seats?)?")
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?%")
_WRITE = "a part such as 50%, or a number of seats such as 2 seats"
UNLIMITED, NONE = "unlimited", "none"
MOST_GUARANTEED = 0.95
"""The part of a model that may be guaranteed to some, where others are to share the rest."""


@dataclass(frozen=True, slots=True)
class Portion:
    """`part` of something (1 is all of it) and so many `seats`; one of the two is 0."""

    part: float = 0.0
    seats: float = 0.0


def portion_of(text: str) -> Portion | None:
    """The portion that a text in its plain form says; None for `unlimited`."""
    if text == UNLIMITED:
        return None
    if text == NONE:
        return Portion()
    number, percent, _ = text.partition("%")
    return Portion(part=float(number) / 100) if percent else Portion(seats=float(number.split()[0]))


def parse_limit(value: object) -> str:
    """A limit in its plain form (`unlimited`, `none`, `50%`, `2 seats`). Raises ValueError with a sentence."""
    if value in (UNLIMITED, NONE):
        return str(value)
    return _amount(value, f"write {UNLIMITED}, {NONE}, {_WRITE}")


def parse_guarantee(value: object) -> str:
    """A guarantee in its plain form (`none`, `50%`, `2 seats`). Raises ValueError with a sentence."""
    if value == NONE:
        return NONE
    text = _amount(value, f"write {NONE}, {_WRITE}")
    if text.endswith("%") and float(text[:-1]) > 100:
        raise ValueError("nobody can be guaranteed more than all: write a part of at most 100%")
    return text


def _amount(value: object, how: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(how)  # noqa: TRY004 - pydantic wants ValueError
    text = str(value).strip()
    if match := _SEATS.fullmatch(text):
        seats = int(match[1])
        return NONE if not seats else f"{seats} seat" if seats == 1 else f"{seats} seats"
    if match := _PERCENT.fullmatch(text):
        percent = float(match[1])
        return NONE if not percent else f"{percent:g}%"
    raise ValueError(how)


def _schema(*words: str) -> WithJsonSchema:
    pattern = rf"^({'|'.join(words)}|[0-9]{{1,6}}( seats?)?|[0-9]{{1,4}}(\.[0-9]{{1,6}})? ?%)$"
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}]})


def _as_written(value: float | str) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


LIMIT = Unit("limit", "50%", _as_written)
GUARANTEE = Unit("guarantee", "25%", _as_written)

Limit = Annotated[str, LIMIT, BeforeValidator(parse_limit), _schema(UNLIMITED, NONE)]
"""`unlimited`, `none`, `50%` or `2 seats`."""
Guarantee = Annotated[str, GUARANTEE, BeforeValidator(parse_guarantee), _schema(NONE)]
"""`none`, `50%` or `2 seats`."""
