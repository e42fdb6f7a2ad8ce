"""What pydantic says about a document, said plainly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import ErrorDetails

from samdrift.spec.findings import Path, clip, did_you_mean, listed
from samdrift.spec.shape import Kind, Shape, settings_of, shape_at

_NAME_RULE = "Use small letters, digits, and `.`, `_` or `-` between them; at most 63 characters."
_AMOUNTS = {
    "greater_than": ("gt", "small", "more than"),
    "greater_than_equal": ("ge", "small", "at least"),
    "less_than": ("lt", "large", "less than"),
    "less_than_equal": ("le", "large", "at most"),
}


def path_of(error: ErrorDetails) -> Path:
    """The document's path of an error; a bad key of a mapping stands at its own entry."""
    return tuple(part for part in error["loc"] if part != "[key]")


def translate(error: ErrorDetails) -> tuple[str, str]:
    """Sentence and remedy for one error."""
    path, context = path_of(error), error.get("ctx", {})
    shape = shape_at(path)
    given = error["input"]
    if "[key]" in error["loc"]:
        return f"The name `{clip(str(path[-1]))}` cannot be used.", _NAME_RULE
    if error["type"] == "missing":
        return _missing(path, shape)
    if error["type"] == "extra_forbidden":
        return _unknown(path)
    if error["type"] in _AMOUNTS:
        bound, size, must_be = _AMOUNTS[error["type"]]
        limit = _number(context[bound], shape)
        return f"{_capital(_said(given, shape))} is too {size}.", f"Write {must_be} {limit}."
    if error["type"] == "value_error" and shape is not None and shape.unit is not None:
        return (
            f"This is {_said(given, shape)}, which is no {shape.unit.noun}.",
            f"{_capital(str(context['error']))}.",
        )
    if error["type"] == "string_pattern_mismatch":
        return f"This is {_said(given, shape)}, which cannot be used as a name.", _NAME_RULE
    if error["type"] == "string_too_long":
        return f"This is longer than {context['max_length']} characters.", "Shorten it."
    if error["type"] in ("string_too_short", "too_short"):
        return "This is empty.", f"Write {_wanted(shape)}."
    return f"This is {_said(given, shape)}, where {_wanted(shape)} belongs.", _remedy(given, shape)


def _missing(path: Path, shape: Shape | None) -> tuple[str, str]:
    about = " ".join((shape.field.description or "").split()) if shape is not None and shape.field else ""
    return f"`{path[-1]}` is missing.", f"Add it: {about or 'it is needed.'}"


def _unknown(path: Path) -> tuple[str, str]:
    parent = shape_at(path[:-1])
    known = list(settings_of(parent.of)) if parent is not None and parent.kind is Kind.NOUN else []
    word = str(path[-1])
    return f"There is no setting `{clip(word)}` here.", did_you_mean(word, known, f"The settings here are {listed(known)}.")


def _wanted(shape: Shape | None) -> str:
    if shape is None:
        return "another value"
    if shape.unit is not None:
        return f"a {shape.unit.noun} such as {shape.unit.example}"
    if shape.kind is Kind.CHOICE:
        return listed(shape.of, last="or") if isinstance(shape.of[0], str) else f"the number {shape.of[0]}"
    if shape.kind is Kind.LIST:
        return "a list of names" if shape.of.kind is Kind.TEXT else f"a list, each entry {_wanted(shape.of)}"
    if shape.kind is Kind.NOUN:
        # Where a number may stand for a mapping, the noun says so by how it reads one.
        number = "a whole number, or " if any(isinstance(m, BeforeValidator) for m in shape.metadata) else ""
        return f"{number}a mapping with {listed(settings_of(shape.of))}"
    words = {
        Kind.MAPPING: "a mapping from names to their settings",
        Kind.TEXT: "text",
        Kind.NUMBER: "a number",
        Kind.TRUTH: "`true` or `false`",
    }
    return words.get(shape.kind, "a whole number")


def _remedy(given: Any, shape: Shape | None) -> str:
    if shape is None:
        return "Remove it."
    if isinstance(given, str) and shape.kind in (Kind.WHOLE, Kind.NUMBER):
        return "Write it as a plain decimal number, without quotes, spaces or a unit."
    if isinstance(given, str) and shape.kind is Kind.CHOICE:
        close = [c for c in shape.of if isinstance(c, str)]
        return did_you_mean(given, close, f"Write {_wanted(shape)}.")
    if isinstance(given, str) and shape.kind is Kind.LIST and shape.of.kind is Kind.TEXT:
        return f"Write it as a list: `[{clip(given)}]`."
    if isinstance(given, list) and shape.kind in (Kind.NOUN, Kind.MAPPING):
        return "Write `name: value` for each entry, without dashes or brackets around the whole."
    if given is None and shape.kind in (Kind.NOUN, Kind.MAPPING):
        return "Write `{}` if nothing is to be set, or check the indentation of the lines below."
    if shape.kind is Kind.TEXT and isinstance(given, bool | int | float):
        return "Put it in quotes to make it text."
    return f"Write {_wanted(shape)}."


def _said(given: Any, shape: Shape | None) -> str:
    """What was written, for people; never the text of a secret."""
    if given is None:
        return "empty"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int | float):
        return f"the number {_number(given, shape)}"
    if isinstance(given, str):
        return "text" if shape is not None and shape.secret else f"the text `{clip(given)}`"
    return "a mapping" if isinstance(given, Mapping) else "a list"


def _number(number: float, shape: Shape | None) -> str:
    whole = float(number).is_integer()
    if shape is not None and shape.unit is not None and number > 0 and (whole or shape.kind is Kind.NUMBER):
        return shape.unit.spell(number)
    return str(int(number)) if whole else str(number)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
