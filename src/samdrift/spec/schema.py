"""The JSON Schema of the document (draft 2020-12), for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from samdrift.spec.document import Spec
from samdrift.spec.reference import description_of, nouns, spelled_default
from samdrift.spec.shape import settings_of


def document_schema() -> dict[str, Any]:
    """The schema as plain JSON values.

    It is looser than `samdrift check`: it cannot say what parts must fit together.
    """
    schema = Spec.model_json_schema(schema_generator=_Schema, mode="validation")
    for noun in nouns():
        properties = schema["properties"] if noun is Spec else schema["$defs"][noun.__name__]["properties"]
        for name, shape in settings_of(noun).items():
            properties[name].pop("default", None)
            properties[name]["description"] = description_of(shape)
            default = spelled_default(shape)
            if default is not None and default != "":
                properties[name]["default"] = default
    return schema


class _Schema(GenerateJsonSchema):
    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
        made = super().generate(schema, mode)
        return {"$schema": self.schema_dialect, **made, "title": "Samdrift document"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the titles repeat the names
        return False
