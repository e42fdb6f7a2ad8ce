"""The shape of the document: which noun or setting stands at which path.

Everything that must know the fields (references, findings, differences, JSON Schema, the reference page) asks
here, so that a new setting is known everywhere once it stands in `spec.document`.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from samdrift.spec.document import Spec
from samdrift.spec.findings import Path
from samdrift.spec.noun import Noun, SecretMark
from samdrift.spec.units import Unit


class Kind(Enum):
    """What a setting is made of."""

    NOUN = "noun"
    MAPPING = "mapping"  # from names to something
    LIST = "list"
    CHOICE = "choice"
    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole number"
    TRUTH = "true or false"


@dataclass(frozen=True, slots=True)
class Shape:
    """One setting. `of` is the noun, the choices' values, or the shape of what a list or mapping holds."""

    kind: Kind
    of: Any = None
    metadata: tuple[Any, ...] = ()
    field: FieldInfo | None = None

    @property
    def secret(self) -> bool:
        """May its text hold references?"""
        return any(isinstance(m, SecretMark) for m in self.metadata)

    @property
    def unit(self) -> Unit | None:
        """The unit people write it in, if any."""
        return next((m for m in self.metadata if isinstance(m, Unit)), None)

    @property
    def required(self) -> bool:
        """Must it be given?"""
        return self.field is not None and self.field.is_required()


def settings_of(noun: type[Noun]) -> dict[str, Shape]:
    """The settings of a noun, in their order."""
    return {name: _shape(f.annotation, tuple(f.metadata), f) for name, f in noun.model_fields.items()}


def shape_at(path: Path) -> Shape | None:
    """The shape at a path, or None where the document has nothing."""
    shape: Shape | None = Shape(Kind.NOUN, Spec)
    for part in path:
        if shape is None:
            return None
        if shape.kind is Kind.NOUN:
            shape = settings_of(shape.of).get(str(part))
        elif shape.kind is (Kind.LIST if isinstance(part, int) else Kind.MAPPING):
            shape = shape.of
        else:
            return None
    return shape


def stand_in(shape: Shape) -> Any:
    """A value that is valid for this shape, to let the search for faults go on behind one that was found."""
    match shape.kind:
        case Kind.NOUN:
            return {name: stand_in(s) for name, s in settings_of(shape.of).items() if s.required}
        case Kind.MAPPING:
            return {"stand-in": stand_in(shape.of)}
        case Kind.LIST:
            return [stand_in(shape.of)]
        case Kind.CHOICE:
            return shape.of[0]
        case Kind.TEXT:
            return "stand-in"
        case Kind.NUMBER | Kind.WHOLE:
            return 1
        case Kind.TRUTH:
            return False


def leaves(noun: Noun, path: Path = ()) -> Iterator[tuple[Path, Any, Shape]]:
    """Every setting below a noun that holds no further noun:

    its path, value and shape, in the document's order.
    """
    for name, shape in settings_of(type(noun)).items():
        yield from _leaves(getattr(noun, name), shape, (*path, name))


def _leaves(value: Any, shape: Shape, path: Path) -> Iterator[tuple[Path, Any, Shape]]:
    if isinstance(value, Noun):
        yield from leaves(value, path)
    elif isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, shape.of, (*path, key))
    elif isinstance(value, tuple) and value and isinstance(value[0], Noun):
        for position, child in enumerate(value):
            yield from _leaves(child, shape.of, (*path, position))
    else:
        yield path, value, shape


def _shape(annotation: Any, metadata: tuple[Any, ...], field: FieldInfo | None = None) -> Shape:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        extra = tuple(m for part in args[1:] for m in (part.metadata if isinstance(part, FieldInfo) else (part,)))
        return _shape(args[0], metadata + extra, field)
    if origin in (Union, types.UnionType):
        (only,) = (a for a in args if a is not type(None))  # a setting is one thing or absent, never one of several
        return _shape(only, metadata, field)
    if origin is Literal:
        return Shape(Kind.CHOICE, args, metadata, field)
    if origin is dict:
        return Shape(Kind.MAPPING, _shape(args[1], ()), metadata, field)
    if origin is tuple:
        return Shape(Kind.LIST, _shape(args[0], ()), metadata, field)
    if isinstance(annotation, type) and issubclass(annotation, Noun):
        return Shape(Kind.NOUN, annotation, metadata, field)
    kinds = {str: Kind.TEXT, int: Kind.WHOLE, float: Kind.NUMBER, bool: Kind.TRUTH}
    return Shape(kinds[annotation], None, metadata, field)
