"""The app: every resource in one list, and the OpenAPI document made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from samdrift import __version__
from samdrift.api.local import StatusSource
from samdrift.api.v1 import (
    audit,
    keys,
    me,
    members,
    model_events,
    models,
    people,
    privacy,
    revisions,
    sessions,
    status,
    tokens,
    usage,
)
from samdrift.api.v1 import refused_tokens as refused
from samdrift.api.v1.door import OPENAPI, PREFIX
from samdrift.api.v1.guarding import NoteRefusal, needs_of
from samdrift.api.v1.problems import Denied, Kind, Problem, Refused, documented, rendered

ROUTERS = (me.router, members.router, models.router, model_events.router, keys.router, refused.router, usage.router,
    people.router, sessions.router, tokens.router, revisions.router, audit.router,
    privacy.router, status.router)  # fmt: skip
"""Every resource."""


@dataclass(frozen=True, slots=True)
class House:
    """What the runtime hands in: one part for each resource, and who hears of refused attempts."""

    members: members.Members
    models: models.Models
    followed: model_events.Followed
    keys: keys.Keys
    refused_tokens: refused.RefusedTokens
    privacy: privacy.Privacy
    usage: usage.UsageSums
    people: people.People
    sessions: sessions.Sessions
    tokens: tokens.Tokens
    revisions: revisions.DocumentRevisions
    audit: audit.Audit
    status: StatusSource
    refused: NoteRefusal


def application(house: House | None) -> FastAPI:
    """The app, to be put behind a `Door`. Without a house it can tell its OpenAPI document and nothing else.

    Raises TypeError if a route asks for no permission: whatever is forgotten is not built.
    """
    app = FastAPI(title="Samdrift administration", version=__version__, summary="Many organisations, one pool, fair shares.",
        docs_url=None, redoc_url=None, openapi_url=OPENAPI, redirect_slashes=False, strict_content_type=False)  # fmt: skip
    app.state.house = house
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, responses=documented(400, 401, 403, 413, 415, 422))
    for path, route in routes():
        if needs_of(route) is None:
            raise TypeError(f"the route {path} does not say which permission it needs")
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _by_the_framework)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # how the framework wants it replaced
    return app


def routes() -> list[tuple[str, APIRoute]]:
    """The routes of all resources, by path."""
    return [(PREFIX + route.path, route) for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return rendered(error.denied)


async def _invalid(_request: Request, error: Exception) -> Response:
    """What was wrong, and where. What was given is not repeated: it may be a secret, or no text at all."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return rendered(Denied(Kind.MALFORMED, "The body is not JSON."))
    places = tuple({"path": ".".join(_plain(part) for part in one["loc"]), "sentence": _plain(one["msg"])} for one in found[:20])
    return rendered(Denied(Kind.INVALID, "Mend what `errors` names, and ask again.", places))


def _plain(part: object) -> str:
    return str(part)[:200].encode("utf-8", "replace").decode()


async def _by_the_framework(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    known = {404: (Kind.NOT_FOUND, "See the OpenAPI document at /api/v1/openapi.json for what there is."),
        405: (Kind.WRONG_METHOD, "See the header `Allow`.")}  # fmt: skip
    kind, detail = known.get(error.status_code, (Kind.MALFORMED, "The body cannot be read as JSON."))
    return rendered(Denied(kind, detail, headers=error.headers or {}))


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, as it is published in the reference."""
    return application(None).openapi()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes,
            description="Everything that `samdrift` commands do, over HTTP. Answers that are no are problem details (RFC 9457). "
            "Lists come in pages; follow `next`. A POST with an `Idempotency-Key` may be repeated for an hour. GET answers have "
            "an `ETag`; PATCH and DELETE take `If-Match`.")  # fmt: skip
        components = made.setdefault("components", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(problem.pop("$defs", {}), Problem=problem)
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "An administrative token: `sdadm-…`."},
            "session": {"type": "apiKey", "in": "cookie", "name": "__Host-samdrift", "description": "Somebody who signed in."},
        }
        made["security"] = [{"token": []}, {"session": []}]
        for path, route in routes():
            needs = needs_of(route)
            for method in route.methods or ():
                operation = made["paths"][path][method.lower()]
                if needs is not None and needs.permission is not None:
                    operation["x-permission"] = {"name": needs.permission.value, "over": needs.over.value}
                if method == "POST":
                    operation.setdefault("parameters", []).append(_IDEMPOTENCY)
                    operation["responses"] |= {"409": documented(409)[409]}
                if method in ("PATCH", "DELETE"):
                    operation.setdefault("parameters", []).append(_IF_MATCH)
                    operation["responses"] |= {"412": documented(412)[412]}
        app.openapi_schema = made
    return app.openapi_schema


_IDEMPOTENCY = {"name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same for a request that is repeated, so that it is done once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"}}  # fmt: skip
_IF_MATCH = {"name": "If-Match", "in": "header", "required": False,
    "description": "The `ETag` that was read; if it is another one by now, nothing is changed.",
    "schema": {"type": "string", "pattern": "^[ -~]{1,200}$"}}  # fmt: skip
