"""The one table of problems: what a caller is told when the answer is no.

Every reason has its HTTP status, the `type` and `code` that OpenAI's client libraries know, a sentence for
people and an anchor in `docs/reference/problems.md`. The reason itself is the metric label. Gateway, API,
ledger and docs all read this table, so that they cannot disagree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a request was refused. The value is stable: it is a metric label, a code and a docs anchor."""

    MISSING_KEY = "missing_key"
    INVALID_KEY = "invalid_key"
    REVOKED_KEY = "revoked_key"
    EXPIRED_KEY = "expired_key"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a reason
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a reason
    REFUSED_TOKEN = "refused_token"  # noqa: S105 - a reason
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    INVALID_CERTIFICATE = "invalid_certificate"
    UNKNOWN_IDENTITY = "unknown_identity"
    AMBIGUOUS_IDENTITY = "ambiguous_identity"
    CONFLICTING_IDENTITY = "conflicting_identity"
    OUTSIDE_SCOPE = "outside_scope"
    UNKNOWN_MODEL = "unknown_model"
    FORBIDDEN_MODEL = "forbidden_model"
    WRONG_ENDPOINT = "wrong_endpoint"
    UNKNOWN_ROUTE = "unknown_route"
    WRONG_METHOD = "wrong_method"
    INVALID_BODY = "invalid_body"
    DUPLICATE_FIELD = "duplicate_field"
    ESCAPED_FIELD = "escaped_field"
    TOO_DEEP = "too_deep"
    MISSING_MODEL = "missing_model"
    INVALID_FIELD = "invalid_field"
    RESERVED_FIELD = "reserved_field"
    REMOTE_IMAGE = "remote_image"
    UNSUPPORTED_PART = "unsupported_part"
    IMAGE_TOO_LARGE = "image_too_large"
    NO_IMAGES = "no_images"
    UNSUPPORTED_MEDIA = "unsupported_media"
    BODY_TOO_LARGE = "body_too_large"
    CONTEXT_EXCEEDED = "context_exceeded"
    QUEUE_FULL = "queue_full"
    WAITED_TOO_LONG = "waited_too_long"
    NO_REPLICA = "no_replica"
    SHUTTING_DOWN = "shutting_down"
    CONTROL_UNAVAILABLE = "control_unavailable"
    TOO_COMPLEX = "too_complex"
    BAD_PROTOCOL = "bad_protocol"
    REQUEST_TIMEOUT = "request_timeout"
    HEADERS_TOO_LARGE = "headers_too_large"
    ENGINE_FAILED = "engine_failed"
    ENGINE_TIMEOUT = "engine_timeout"
    OVERLOADED = "overloaded"
    UNKNOWN_TICKET = "unknown_ticket"


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the table. `sentence` may hold `{named}` places that `render_problem` fills."""

    reason: Reason
    status: int
    type: str
    code: str | None
    sentence: str
    remedy: str
    param: str | None = None

    @property
    def anchor(self) -> str:
        """Where the documentation explains it."""
        return f"docs/reference/problems.md#{self.reason.value}"


_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"
_DOWN = "service_unavailable_error"

PROBLEMS: dict[Reason, Problem] = {
    p.reason: p
    for p in (
        Problem(Reason.MISSING_KEY, 401, _INVALID, "missing_api_key",
            "No API key was given.", "Send it in the header `Authorization: Bearer sd-…`."),
        Problem(Reason.INVALID_KEY, 401, _INVALID, "invalid_api_key",
            "This API key is not known here.", "Check that it was copied whole, or ask your organisation for a new one."),
        Problem(Reason.REVOKED_KEY, 401, _INVALID, "invalid_api_key",
            "This API key has been revoked.", "Ask your organisation for a new one."),
        Problem(Reason.EXPIRED_KEY, 401, _INVALID, "invalid_api_key",
            "This API key has expired.", "Ask your organisation for a new one."),
        Problem(Reason.INVALID_TOKEN, 401, _INVALID, "invalid_token",
            "This token cannot be accepted: {why}.", "Ask its issuer for one that is meant for this service."),
        Problem(Reason.EXPIRED_TOKEN, 401, _INVALID, "invalid_token",
            "This token has expired.", "Ask its issuer for a new one."),
        Problem(Reason.REFUSED_TOKEN, 401, _INVALID, "invalid_token",
            "This token is refused here, although it has not expired.",
            "Ask its issuer for a new one, or whoever administers your organisation why."),
        Problem(Reason.ISSUER_UNAVAILABLE, 503, _DOWN, "issuer_unavailable",
            "Tokens of {issuer} cannot be verified right now: its keys could not be fetched.",
            "Wait as long as Retry-After says, then try again; an API key works meanwhile."),
        Problem(Reason.INVALID_CERTIFICATE, 401, _INVALID, "invalid_certificate",
            "The certificate of this connection {why}.", "Connect again with one that is good."),
        Problem(Reason.UNKNOWN_IDENTITY, 403, _INVALID, "unknown_identity",
            "The {credential} is good, but {why}.",
            "Whoever keeps the document can declare it under `organisations`, in `identity`."),
        Problem(Reason.AMBIGUOUS_IDENTITY, 403, _INVALID, "ambiguous_identity",
            "The {credential} speaks for more than one organisation or project here, and so for none.",
            "Use one that says one thing only."),
        Problem(Reason.CONFLICTING_IDENTITY, 403, _INVALID, "conflicting_identity",
            "The {credential} and the certificate of this connection do not belong to the same organisation and project.",
            "Send the two that belong together, or only one of them."),
        Problem(Reason.OUTSIDE_SCOPE, 403, _INVALID, "outside_scope",
            "This API key may not be used for {what}.",
            "Use another key, or ask your organisation for one with a wider scope."),
        Problem(Reason.UNKNOWN_MODEL, 404, _INVALID, "model_not_found",
            "The model {model} does not exist here.", "`GET /v1/models` lists what this key may use.", "model"),
        Problem(Reason.FORBIDDEN_MODEL, 403, _INVALID, "model_forbidden",
            "Your organisation may not use the model {model}.",
            "`GET /v1/models` lists what this key may use.", "model"),
        Problem(Reason.WRONG_ENDPOINT, 400, _INVALID, "endpoint_not_supported",
            "The model {model} does not answer at {path}.",
            "`GET /v1/models` says which endpoints each model has.", "model"),
        Problem(Reason.UNKNOWN_ROUTE, 404, _INVALID, "unknown_url",
            "There is nothing at {path}.", "The API lives under /v1; `GET /v1/models` says which endpoints each model has."),
        Problem(Reason.WRONG_METHOD, 405, _INVALID, "method_not_allowed",
            "{path} does not take this HTTP method.", "Use POST for completions and embeddings, GET for models."),
        Problem(Reason.INVALID_BODY, 400, _INVALID, "invalid_json",
            "The body is not a JSON object.", "Send one JSON object, in UTF-8, with content-type application/json."),
        Problem(Reason.DUPLICATE_FIELD, 400, _INVALID, "duplicate_field",
            "The body names one field twice.", "Send each field once: two readers might pick different ones.", ),
        Problem(Reason.ESCAPED_FIELD, 400, _INVALID, "escaped_field",
            "A field name in the body is written with escapes.", "Write the names of fields in plain letters."),
        Problem(Reason.TOO_DEEP, 400, _INVALID, "too_deep",
            "The body is nested too deep.", "Send JSON with at most {limit} levels."),
        Problem(Reason.MISSING_MODEL, 400, _INVALID, "missing_model",
            "The body names no model.", "Add the field `model`; `GET /v1/models` lists what this key may use.", "model"),
        Problem(Reason.INVALID_FIELD, 400, _INVALID, "invalid_field",
            "A field of the body has a value that cannot be used: {field}.",
            "`n` and `best_of` may be 1 only, there may be one `prompt`, and `max_tokens` is a whole number from 1; the rest is "
            "as in OpenAI's API."),
        Problem(Reason.RESERVED_FIELD, 400, _INVALID, "reserved_field",
            "The field {field} is set by the platform, not by clients.", "Leave it out of the body."),
        Problem(Reason.REMOTE_IMAGE, 400, _INVALID, "remote_image",
            "An image is given by an address, and nothing is fetched here.",
            "Send the image itself: `data:image/png;base64,…` as the `url` of its `image_url`.", "messages"),
        Problem(Reason.UNSUPPORTED_PART, 400, _INVALID, "unsupported_part",
            "A message has a part that is not taken here: {field}.",
            "Send text (`text`), and images (`image_url`) to models that take them.", "messages"),
        Problem(Reason.IMAGE_TOO_LARGE, 400, _INVALID, "image_too_large",
            "The images of this request have more pixels than are unpacked here.",
            "Send them smaller: models see no more of a large one. All together may have 64 million pixels.", "messages"),
        Problem(Reason.NO_IMAGES, 400, _INVALID, "images_not_supported",
            "The model {model} takes no images.", "{others} `GET /v1/models` says what each model takes.", "messages"),
        Problem(Reason.UNSUPPORTED_MEDIA, 415, _INVALID, "unsupported_media_type",
            "The body is not declared as JSON.", "Send the header `Content-Type: application/json`."),
        Problem(Reason.BODY_TOO_LARGE, 413, _INVALID, "body_too_large",
            "The body is larger than this gateway takes.", "Send at most {limit}."),
        Problem(Reason.CONTEXT_EXCEEDED, 400, _INVALID, "context_length_exceeded",
            "The request needs more tokens than a seat of {model} holds ({limit}).",
            "Shorten the prompt or lower max_tokens.", "messages"),
        Problem(Reason.QUEUE_FULL, 429, _LIMIT, "queue_full",
            "Your organisation is due {share} of {model} and had {used} of it in the last five minutes; {ahead} ahead (a wait "
            "of about {expected}), and no more may wait.",
            "Wait as long as Retry-After says, then try again."),
        Problem(Reason.WAITED_TOO_LONG, 429, _LIMIT, "waited_too_long",
            "No turn came in {waited}. Your organisation is due {share} of {model} and had {used} of it in the last five "
            "minutes; {ahead} ahead (a wait of about {expected}).",
            "Wait as long as Retry-After says, then try again."),
        Problem(Reason.NO_REPLICA, 503, _DOWN, "no_replica",
            "No engine that serves {model} is up at the moment.", "Wait as long as Retry-After says, then try again."),
        Problem(Reason.SHUTTING_DOWN, 503, _DOWN, "shutting_down",
            "The service is shutting down.", "Try again in a moment."),
        Problem(Reason.CONTROL_UNAVAILABLE, 503, _DOWN, "control_unavailable",
            "The service cannot decide on requests right now.", "Wait as long as Retry-After says, then try again."),
        Problem(Reason.TOO_COMPLEX, 400, _INVALID, "too_complex",
            "The body has more parts than this gateway reads.", "Send fewer messages, inputs or fields at once."),
        Problem(Reason.BAD_PROTOCOL, 400, _INVALID, "bad_protocol",
            "The request is not valid HTTP.", "Check the client, and any proxy between it and this gateway."),
        Problem(Reason.REQUEST_TIMEOUT, 408, _INVALID, "request_timeout",
            "The request did not arrive whole in time.", "Send headers and body without long pauses."),
        Problem(Reason.HEADERS_TOO_LARGE, 431, _INVALID, "headers_too_large",
            "The headers are larger or more than this gateway takes.", "Send fewer or shorter headers."),
        Problem(Reason.ENGINE_FAILED, 503, _DOWN, "engine_failed",
            "The engine broke before it answered.", "Try again; the engine is restarted by itself."),
        Problem(Reason.ENGINE_TIMEOUT, 504, _DOWN, "engine_timeout",
            "The engine did not finish in time.", "Ask for fewer tokens (max_tokens), or stream the answer."),
        Problem(Reason.OVERLOADED, 503, _DOWN, "overloaded",
            "The gateway is out of memory for more requests.", "Wait as long as Retry-After says, then try again."),
        Problem(Reason.UNKNOWN_TICKET, 404, _INVALID, "ticket_not_found",
            "Nothing is known of a ticket {ticket}.",
            "Copy it whole from `x-samdrift-ticket`; a request that was refused is remembered for a while only."),
    )
}


def render_problem(reason: Reason, **named: str) -> tuple[int, bytes]:
    """The HTTP status and the JSON body, in OpenAI's error form, that answer a refusal.

    `named` fills the places of the sentence and the remedy; a place without a value reads "?". Values that
    come from a client (a model's name, a path) are shown at most 80 characters long.
    """
    problem = PROBLEMS[reason]
    error = {"message": sentence_of(reason, **named), "type": problem.type, "param": problem.param, "code": problem.code}
    return problem.status, json.dumps({"error": error}, ensure_ascii=False).encode()


def sentence_of(reason: Reason, **named: str) -> str:
    """What people are told, and what they can do: the sentence and the remedy, with their places filled as above."""
    problem = PROBLEMS[reason]
    shown = _Shown({k: v if len(v) <= 80 else v[:79] + "…" for k, v in named.items()})
    return f"{problem.sentence.format_map(shown)} {problem.remedy.format_map(shown)}"


class _Shown(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"
