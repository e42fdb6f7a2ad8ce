"""How many engines of a model there are: always the same number, or as many as are asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from samdrift.spec.noun import Noun
from samdrift.spec.units import Duration, Whole

MOST = 64


class Scale(Noun):
    """How many engines serve a model. A plain number means that many, always."""

    min: Annotated[Whole, Field(ge=0, le=MOST)] = 1
    """At least so many, loaded whether anybody asks or not. 0: the model is loaded when somebody asks for it, and whoever asked
    waits until it is up."""
    max: Annotated[Whole, Field(gt=0, le=MOST)] = 1
    """At most so many. More than `min` are loaded while requests within their organisation's share wait for so long that it is
    worth it, where there is room."""
    idle: Duration = 900.0
    """For how long nobody has asked one beyond `min` before it is let go, even if nobody else needs its room."""

    @property
    def fixed(self) -> bool:
        """Are there always as many?"""
        return self.min == self.max

    def __str__(self) -> str:
        return str(self.max) if self.fixed else f"{self.min}-{self.max}"


def _scale_of(value: object) -> object:
    """A plain number is the same number always."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if value < 1:
        raise PydanticKnownError("greater_than", {"gt": 0})
    if value > MOST:
        raise PydanticKnownError("less_than_equal", {"le": MOST})
    return {"min": value, "max": value}


Replicas = Annotated[Scale, BeforeValidator(_scale_of, json_schema_input_type=Annotated[int, Field(gt=0, le=MOST)] | Scale)]
"""A `Scale`, or a number."""
