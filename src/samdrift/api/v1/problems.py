"""When the answer is no: problem details as RFC 9457 describes them, from one table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

MEDIA = "application/problem+json"
_URN = "urn:samdrift:problem:"
T = TypeVar("T")


class Kind(StrEnum):
    """What kind of no it is. The value is stable: `type` of the answer ends in it."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    WRONG_METHOD = "wrong-method"
    CONFLICT = "conflict"
    NEEDS_RESTART = "needs-restart"
    IN_PROGRESS = "in-progress"
    CHANGED_MEANWHILE = "changed-meanwhile"
    TOO_LARGE = "too-large"
    WRONG_MEDIA = "wrong-media"
    INVALID = "invalid"
    REJECTED_DOCUMENT = "rejected-document"
    REUSED_KEY = "reused-idempotency-key"
    UNAVAILABLE = "unavailable"


TITLES: dict[Kind, tuple[int, str]] = {
    Kind.MALFORMED: (400, "The request cannot be read."),
    Kind.UNAUTHENTICATED: (401, "Nobody is signed in."),
    Kind.FORBIDDEN: (403, "Your roles do not allow this."),
    Kind.NOT_FOUND: (404, "There is no such thing."),
    Kind.WRONG_METHOD: (405, "This does not take that HTTP method."),
    Kind.CONFLICT: (409, "This does not fit what there is."),
    Kind.NEEDS_RESTART: (409, "Settings were changed that a running service cannot take up."),
    Kind.IN_PROGRESS: (409, "A request with this Idempotency-Key is being answered."),
    Kind.CHANGED_MEANWHILE: (412, "Somebody else changed it meanwhile."),
    Kind.TOO_LARGE: (413, "The body is too large."),
    Kind.WRONG_MEDIA: (415, "The body is not declared as JSON."),
    Kind.INVALID: (422, "Something in the request cannot be used."),
    Kind.REJECTED_DOCUMENT: (422, "The document cannot be used."),
    Kind.REUSED_KEY: (422, "This Idempotency-Key was used for another request."),
    Kind.UNAVAILABLE: (503, "The service cannot do this at the moment."),
}


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why. `detail` tells people what to do; `errors` names places; `headers` go with the answer."""

    kind: Kind
    detail: str
    errors: tuple[Mapping[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - no mistake in the program: how a route ends early in the framework's terms
    """Carries a `Denied` out of a route. It is raised in this package and ends in its door."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.detail)
        self.denied = denied


def given(answer: T | Denied) -> T:
    """The answer, where it is one. Raises Refused."""
    if isinstance(answer, Denied):
        raise Refused(answer)
    return answer


def done(answer: Denied | None) -> None:
    """Go on, if it was done. Raises Refused."""
    if answer is not None:
        raise Refused(answer)


class Place(BaseModel):
    """One place of a request or document at which something is wrong."""

    model_config = ConfigDict(extra="forbid")
    path: Annotated[str, Field(description="Where: in the request or in the document.", examples=["organisations.aarhus.share"])]
    sentence: Annotated[str, Field(description="What is wrong.")]
    remedy: Annotated[str, Field(description="What to do.")] = ""
    where: Annotated[str, Field(description="File and line, where there is one.")] = ""


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"type": _URN + "forbidden", "title": TITLES[Kind.FORBIDDEN][1], "status": 403,
            "detail": "This needs the permission keys.create for odense."}]})  # fmt: skip
    type: Annotated[str, Field(description="The kind of problem; stable.")]
    title: Annotated[str, Field(description="The kind in words.")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What happened here, and what to do.")]
    errors: Annotated[list[Place] | None, Field(description="Each place, where there are several.")] = None


def rendered(denied: Denied) -> Response:
    """The answer over HTTP."""
    status, title = TITLES[denied.kind]
    body: dict[str, Any] = {"type": _URN + denied.kind, "title": title, "status": status, "detail": denied.detail}
    if denied.errors:
        body["errors"] = [dict(error) for error in denied.errors]
    return Response(json.dumps(body, ensure_ascii=False), status, dict(denied.headers), MEDIA)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides success, for the OpenAPI document."""
    return {
        status: {
            "description": " ".join(title for code, title in TITLES.values() if code == status),
            "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(statuses)
    }
