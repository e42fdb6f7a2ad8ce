"""Models, as far as somebody may see them: those that his organisations may use."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation, unknown_organisation
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, paged
from samdrift.api.v1.problems import documented, given

router = APIRouter(tags=["models"])


class ModelInView(BaseModel):
    """A model, without anything about who uses it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"model": "chat-small", "task": "generate", "context": 2048, "replicas": 2, "up": 2, "seats": 8}]})  # fmt: skip
    model: str
    task: Annotated[str, Field(description="`generate`, `embed` or `rerank`.")]
    context: Annotated[int, Field(description="Tokens that one request may have in all.")]
    replicas: Annotated[int, Field(description="How many engines of it the document wants.")]
    up: Annotated[int, Field(description="How many of them answer now.")]
    seats: Annotated[int, Field(description="How many requests they serve at once.")]


class Models(Protocol):
    """What the routes need."""

    def models(self, organisation: str | None) -> list[ModelInView] | None:
        """What the organisation may use, or all models for None; None for an unknown organisation."""
        ...


House = Annotated[Models, part("models")]


@router.get("/models")
async def list_models(
    asker: Annotated[Asker, needs(Permission.MODELS_READ, Over.REACH)], house: House, limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ModelInView]:  # fmt: skip
    """The models that any organisation within your reach may use."""
    seen = [None] if asker.reach.everybody else sorted(asker.reach.organisations)
    rows = {row.model: row for organisation in seen for row in house.models(organisation) or ()}
    return paged([rows[name] for name in sorted(rows)], lambda row: (row.model,), key_of(cursor, str), limit, lambda row: row)


@router.get("/members/{organisation}/models", responses=documented(404))
async def list_models_of(
    _asker: Annotated[Asker, needs(Permission.MODELS_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
    limit: Limit = 50, cursor: Cursor = None,
) -> Page[ModelInView]:  # fmt: skip
    """The models that an organisation may use."""
    found = house.models(organisation)
    rows = given(unknown_organisation(organisation) if found is None else found)
    return paged(sorted(rows, key=lambda row: row.model), lambda row: (row.model,), key_of(cursor, str), limit, lambda row: row)
