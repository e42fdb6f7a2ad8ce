"""Every setting is explained, strict, and known to the schema and the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from samdrift.spec.document import Spec
from samdrift.spec.reference import document_reference, nouns
from samdrift.spec.schema import document_schema
from samdrift.spec.shape import Kind, Shape, leaves, settings_of, shape_at, stand_in

DOCS = Path(__file__).parents[2] / "docs" / "reference"
SETTINGS = [(noun, name, shape) for noun in nouns() for name, shape in settings_of(noun).items()]


@pytest.mark.parametrize(
    ("noun", "name", "shape"), SETTINGS, ids=lambda x: getattr(x, "__name__", x if isinstance(x, str) else "")
)
def test_every_setting_says_what_it_is_for(noun: type, name: str, shape: Shape) -> None:
    about = shape.field.description if shape.field else None
    assert about, f"{noun.__name__}.{name} has no docstring"
    assert about.endswith((".", "…"))


@pytest.mark.parametrize(("noun", "name", "shape"), [s for s in SETTINGS if s[2].kind in (Kind.WHOLE, Kind.NUMBER)])
def test_no_number_may_be_written_as_something_else(noun: type, name: str, shape: Shape) -> None:
    quantity = shape.unit is not None  # may be text: that is how its unit is written
    for value in (True, "four") if quantity else (True, "4", "0.5"):
        with pytest.raises(ValidationError):
            noun.model_validate({**stand_in(Shape(Kind.NOUN, noun)), name: value})


def test_a_stand_in_passes_for_a_document() -> None:
    assert len(list(leaves(Spec.model_validate(stand_in(Shape(Kind.NOUN, Spec)))))) >= 40


def test_what_stands_where_is_known() -> None:
    assert shape_at(("models", "llama-3.1", "seats")) == settings_of(settings_of(Spec)["models"].of.of)["seats"]
    for nowhere in (
        ("model",),
        ("models", "chat", "seat"),
        ("models", "chat", "seats", "x"),
        ("pools", "here", "devices", "0"),
    ):
        assert shape_at(nowhere) is None


def test_the_schema_explains_and_restrains() -> None:
    schema = document_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    gateway = schema["$defs"]["Gateway"]
    assert gateway["additionalProperties"] is False
    assert gateway["properties"]["max_body"]["default"] == "20MiB"
    assert {s["type"] for s in gateway["properties"]["max_body"]["anyOf"]} == {"integer", "string"}
    assert "413" in gateway["properties"]["max_body"]["description"]
    assert schema["required"] == ["samdrift", "community", "organisations", "pools", "models"]


def test_the_published_schema_is_current() -> None:
    written = (DOCS / "document.schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == document_schema(), "run: samdrift schema > docs/reference/document.schema.json"


def test_the_published_reference_is_current() -> None:
    written = (DOCS / "document.md").read_text(encoding="utf-8")
    assert written == document_reference(), (
        "write samdrift.spec.reference.document_reference() to docs/reference/document.md"
    )
