"""The wire of the question where Envoy Gateway asks: Envoy's authorization service over gRPC, and gRPC's own health service.

Envoy Gateway takes metadata (the account, which comes back with the receipt) from a gRPC service only. The same question and the
same answer as in `asking`, in other words; it costs more, so that our own Envoy asks over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf import struct_pb2
from google.rpc import status_pb2

from samdrift.gateway.admission import question_of, response_of
from samdrift.gateway.asking import Answers
from samdrift.gateway.listener import SECRETS
from samdrift.gateway.questions import Allow, Answer, Deny
from samdrift.spec.problems import PROBLEMS, Reason

HEALTH = "samdrift.desk"
"""The service whose health is asked for: whether this desk is the active one."""

_OF_ENVOY = frozenset({b"x-samdrift-account", b"x-samdrift-fields"})
"""What is for Envoy's metadata."""
_FOR_ENGINES = frozenset({b"x-samdrift-replica"})
_DENIED = 7  # PERMISSION_DENIED
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse: one enumeration in field 1


class Authorizing(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]  # generated code has no types
    """`timed` is told the seconds that each decision took, waiting not counted."""

    def __init__(self, desk: Answers, clock: Callable[[], float], timed: Callable[[float], None]) -> None:
        self._desk, self._clock, self._timed = desk, clock, timed

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the name that the protocol gives
        """One question. When the caller hangs up, Envoy cancels it."""
        http = request.attributes.request.http
        began = self._clock()
        headers = [(_bytes(name), _bytes(value)) for name, value in http.headers.items()]
        question = question_of(http.path.partition("?")[0], headers)
        if question is None:
            return check_response(Deny("", Reason.BAD_PROTOCOL, {}))
        answer = self._desk.ask(question)
        self._timed(self._clock() - began)
        if isinstance(answer, asyncio.Future):
            try:
                return check_response(await answer)
            except asyncio.CancelledError:
                # A turn that has just come stays open: Envoy's receipt will say that nobody took it.
                if not answer.done() or answer.cancelled():
                    self._desk.leave(question.ticket)
                raise
        return check_response(answer)


def check_response(answer: Answer) -> Any:
    """An answer as a `CheckResponse`."""
    _, headers, body = response_of(answer)
    if isinstance(answer, Allow):
        metadata = struct_pb2.Struct()
        metadata.update({name.decode(): value.decode("latin-1") for name, value in headers if name in _OF_ENVOY})
        return external_auth_pb2.CheckResponse(
            status=status_pb2.Status(code=0),
            dynamic_metadata=metadata,
            ok_response=external_auth_pb2.OkHttpResponse(
                # Whoever has been let in needs show nothing to whoever is next: on one machine our own routes take these off.
                headers_to_remove=SECRETS,
                headers=[_option(n, v) for n, v in headers if n in _FOR_ENGINES],
                response_headers_to_add=[_option(n, v) for n, v in headers if n in (b"x-samdrift-ticket", b"x-samdrift-waited")],
            ),
        )
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=_DENIED),
        denied_response=external_auth_pb2.DeniedHttpResponse(
            # The plain status: over gRPC a 503 of ours is not taken for a desk that is away.
            status=http_status_pb2.HttpStatus(code=PROBLEMS[answer.reason].status),
            headers=[_option(name, value) for name, value in headers if name != b"content-length"],
            body=body.decode(),
        ),
    )


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _option(name: bytes, value: bytes) -> Any:
    header = base_pb2.HeaderValue(key=name.decode("latin-1"), value=value.decode("latin-1"))
    return base_pb2.HeaderValueOption(header=header, append_action="OVERWRITE_IF_EXISTS_OR_ADD")


async def authorize_at(address: str, service: Authorizing, healthy: Callable[[], bool]) -> grpc.aio.Server:
    """A started server at `host:port`. `healthy` says whether this is the desk to ask. Raises OSError if the address cannot be
    had."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(service, server)

    async def check(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if request not in (b"", b"\x0a" + bytes([len(HEALTH)]) + HEALTH.encode()):  # field 1: the name of a service
            await context.abort(grpc.StatusCode.NOT_FOUND, "only the desk's health is known here")
        return _SERVING if healthy() else _NOT_SERVING

    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}),
    ))  # fmt: skip
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"questions cannot be taken at {address}: {error}") from error
    await server.start()
    return server
