"""The door by which Envoy reports: its access log service over gRPC, on a Unix socket, or on a port in a cluster.

Envoy says of each record of what kind it is: of a request that has ended, or of a stream that still runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from samdrift.gateway.settlement import Receipt, progress_of_entry, receipt_of_entry

_ENDED = frozenset({accesslog_pb2.NotSet, accesslog_pb2.DownstreamEnd})
_RUNS = accesslog_pb2.DownstreamPeriodic


class Receiving(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]  # generated code has no types
    """Hears receipts; `told` is called for each. What is lost on the way, the journal has. `runs` is called with the ticket of a
    stream that goes on, and how many tokens of output it has by now; what is lost of that, the next one has. Records of any other
    kind are nobody's end and are passed over."""

    def __init__(self, told: Callable[[Receipt], None], runs: Callable[[str, int], None]) -> None:
        self._told, self._runs = told, runs

    async def StreamAccessLogs(  # noqa: N802 - the name that the protocol gives
        self, messages: AsyncIterator[Any], context: Any  # noqa: ARG002
    ) -> Any:
        """One stream of one Envoy worker."""
        async for message in messages:
            for entry in message.http_logs.log_entry:
                kind = entry.common_properties.access_log_type
                if kind in _ENDED:
                    self._told(receipt_of_entry(entry))
                elif kind == _RUNS and (progress := progress_of_entry(entry)) is not None:
                    self._runs(*progress)
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
