"""How Envoy reports a request that has ended: over gRPC at once, and into the journal for when nobody listened. Pure.

Both carry the same few facts; `settlement` reads both into the same `Receipt`. No content: no path's query, no body,
no header that a client chose.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

FLUSH = 0.02
"""Seconds that Envoy may gather receipts before it sends them. A seat is free when its receipt has come, so
this is short; batches under load come from here, too."""


def access_logs(journal: str) -> list[Json]:
    """Envoy's two access logs, for requests that were put to the desk."""
    asked = {"header_filter": {"header": {"name": "x-samdrift-facts", "present_match": True}}}
    grpc = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "receipts",
            "transport_api_version": "V3",
            "buffer_flush_interval": f"{FLUSH}s",
            "buffer_size_bytes": 65536,
            "grpc_service": {"envoy_grpc": {"cluster_name": "samdrift.receipts"}},
        },
    }
    lines = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": journal,
        "log_format": {"json_format": JOURNAL_FORMAT},
    }
    return [
        {"name": "envoy.access_loggers.http_grpc", "filter": asked, "typed_config": grpc},
        {"name": "envoy.access_loggers.file", "filter": asked, "typed_config": lines},
    ]


JOURNAL_FORMAT: dict[str, str] = {
    "ticket": "%REQ(X-REQUEST-ID)%",
    "account": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-samdrift-account)%",
    "usage": "%DYNAMIC_METADATA(samdrift.usage)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "start": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "first_byte": "%RESPONSE_DURATION%",
    "upstream": "%UPSTREAM_CLUSTER%",
}
"""The journal's fields, as Envoy's command operators."""
