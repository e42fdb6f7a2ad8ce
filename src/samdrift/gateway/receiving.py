"""The door by which Envoy reports: its access log service over gRPC, on a Unix socket, or on a port in a cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from samdrift.gateway.settlement import Receipt, receipt_of_entry


class Receiving(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]  # generated code has no types
    """Hears receipts; `told` is called for each. What is lost on the way, the journal has."""

    def __init__(self, told: Callable[[Receipt], None]) -> None:
        self._told = told

    async def StreamAccessLogs(  # noqa: N802 - the name that the protocol gives
        self, messages: AsyncIterator[Any], context: Any  # noqa: ARG002
    ) -> Any:
        """One stream of one Envoy worker."""
        async for message in messages:
            for entry in message.http_logs.log_entry:
                self._told(receipt_of_entry(entry))
        return als_pb2.StreamAccessLogsResponse()


async def listen(service: Receiving, socket: str) -> grpc.aio.Server:
    """A started server on this Unix socket (a path relative to the working directory, or absolute). Stop it with
    `await server.stop(grace)`."""
    server = _server(service)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    os.chmod(socket, 0o600)  # noqa: PTH101 - at once, in an event loop
    return server


async def listen_at(service: Receiving, address: str) -> grpc.aio.Server:
    """A started server at `host:port`. Raises OSError if it cannot be had."""
    server = _server(service)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"receipts cannot be taken at {address}: {error}") from error
    await server.start()
    return server


def _server(service: Receiving) -> grpc.aio.Server:
    # Two processes on one port would each get some of the receipts.
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * 1024 * 1024), ("grpc.so_reuseport", 0)])
    als_pb2_grpc.add_AccessLogServiceServicer_to_server(service, server)
    return server
