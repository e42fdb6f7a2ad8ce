"""What every part of the document is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


class Noun(BaseModel):
    """A part of the document: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class SecretMark:
    """Stands in the metadata of a field whose text may hold references (`${env:NAME}`, `${file:PATH}`)."""


Secret = Annotated[str, SecretMark()]
"""Text that may hold references to secrets.

The value keeps the references; `spec.secret_references` resolves them where used.
"""
