"""How a model fares, as a stream of events: asleep, waiting for room, loading, up, and how long it will take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.models import Models
from samdrift.api.v1.problems import Denied, Kind, documented, given

router = APIRouter(tags=["models"])

STREAM = "text/event-stream"


class ModelState(BaseModel):
    """How a model stands at a moment."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"model": "chat-small", "state": "loading", "up": 0, "expected": 2.4, "left": 1.1, "memory": 251658240,
            "why": None}]})  # fmt: skip
    model: str
    state: Annotated[Literal["up", "loading", "waiting", "leaving", "asleep", "down"], Field(description="`up`: it answers. "
        "`loading`: an engine starts. `waiting`: it is asked for, and waits for room. `leaving`: its engine finishes what it "
        "has. `asleep`: it is loaded when somebody asks. `down`: it does not come up.")]  # fmt: skip
    up: Annotated[int, Field(description="How many engines of it answer.")]
    expected: Annotated[float | None, Field(description="Seconds that loading it is believed to take.")]
    left: Annotated[float | None, Field(description="Seconds until it is believed to be up; null if it is, or nobody can tell.")]
    memory: Annotated[int | None, Field(description="Bytes of memory that one engine is believed to need.")]
    why: Annotated[str | None, Field(description="What was last decided of it, or went wrong. It may name other models, and "
        "so is told only to those who may see all of them.")]  # fmt: skip


class Followed(Protocol):
    """What the route needs."""

    def follow(self, model: str) -> AsyncIterator[ModelState | None] | None:
        """How it stands now, and each time that changes; None now and then, where nothing did. None for an unknown model."""
        ...


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events: one `state` at once, and one for each change.",
        "content": {STREAM: {"schema": {}}}}, **documented(404)}  # fmt: skip


@router.get("/models/{model}/events", responses=_EVENTS, response_class=StreamingResponse)
async def follow_model(
    asker: Annotated[Asker, needs(Permission.MODELS_READ, Over.REACH)], models: Annotated[Models, part("models")],
    followed: Annotated[Followed, part("followed")], model: Annotated[str, Path(max_length=63, examples=["chat-small"])],
) -> StreamingResponse:  # fmt: skip
    """Follow how a model within your reach stands, until you hang up. The data of each event is an object with `model`, `state`,
    `up`, `expected`, `left`, `memory` and `why`."""
    seen = [None] if asker.reach.everybody else sorted(asker.reach.organisations)
    unknown = Denied(Kind.NOT_FOUND, "There is no such model that an organisation of yours may use.")
    known = any(row.model == model for organisation in seen for row in models.models(organisation) or ())
    states = given((followed.follow(model) if known else None) or unknown)
    return StreamingResponse(_events(states, whole=asker.reach.everybody), media_type=STREAM)


async def _events(states: AsyncIterator[ModelState | None], *, whole: bool) -> AsyncIterator[bytes]:
    async for state in states:
        if state is None:
            yield b": still there\n\n"
        else:
            shown = state if whole else state.model_copy(update={"why": None})
            yield b"event: state\ndata: " + shown.model_dump_json().encode() + b"\n\n"
