"""An endpoint picker that knows one endpoint: what Envoy asks where an InferencePool says so (external processing, version 3, in
full duplex). It holds bodies until they are whole, and sends them on as they are.

    python -m tests.cluster.picker ADDRESS CERTIFICATE KEY ENDPOINT
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as wire
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc

CHOSEN = "x-gateway-destination-endpoint"


class Picking(external_processor_pb2_grpc.ExternalProcessorServicer):
    def __init__(self, endpoint):
        header = base_pb2.HeaderValue(key=CHOSEN, raw_value=endpoint.encode())
        option = base_pb2.HeaderValueOption(header=header, append_action="OVERWRITE_IF_EXISTS_OR_ADD")
        self._chosen = wire.CommonResponse(clear_route_cache=True, header_mutation=wire.HeaderMutation(set_headers=[option]))

    def Process(self, messages, context):  # noqa: N802 - the name that the protocol gives
        held = b""
        for message in messages:
            kind = message.WhichOneof("request")
            if kind == "request_headers" and message.request_headers.end_of_stream:
                yield wire.ProcessingResponse(request_headers=wire.HeadersResponse(response=self._chosen))
            elif kind == "request_body":
                held += message.request_body.body
                if message.request_body.end_of_stream:
                    yield wire.ProcessingResponse(request_headers=wire.HeadersResponse(response=self._chosen))
                    yield wire.ProcessingResponse(request_body=_on(held, True))
            elif kind == "response_headers":
                yield wire.ProcessingResponse(response_headers=wire.HeadersResponse())
            elif kind == "response_body":
                part = message.response_body
                yield wire.ProcessingResponse(response_body=_on(part.body, part.end_of_stream))
            elif kind in ("request_trailers", "response_trailers"):
                yield wire.ProcessingResponse(**{kind: wire.TrailersResponse()})


def _on(body, last):
    streamed = wire.StreamedBodyResponse(body=body, end_of_stream=last)
    return wire.BodyResponse(response=wire.CommonResponse(body_mutation=wire.BodyMutation(streamed_response=streamed)))


def main(address, certificate, key, endpoint):
    server = grpc.server(ThreadPoolExecutor(8))
    external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(Picking(endpoint), server)
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
