"""How Envoy reports a request that has ended: over gRPC at once, and into the journal for when nobody listened. Pure.

Both carry the same few facts; `settlement` reads both into the same `Receipt`. No content: no path's query, no body,
no header that a client chose.

Over gRPC Envoy also reports, every few seconds, how far a stream is that still runs: a periodic receipt. It carries what
`sse_to_metadata` has counted by then. Only what has a count is sent, so that requests which wait, or are answered whole, cost
nobody anything; none of it is in the journal, because it is worth nothing later.
"""

from __future__ import annotations

from typing import Any

from samdrift.fairshare.stimuli import PROGRESS_EVERY

Json = dict[str, Any]

FLUSH = 0.02
"""Seconds that Envoy may gather receipts before it sends them. A seat is free when its receipt has come, so
this is short; batches under load come from here, too."""


OPTIONS: Json = {"access_log_flush_interval": f"{PROGRESS_EVERY}s"}
"""The connection manager's `access_log_options`: how often it reports what still runs, counted from when the request came."""

RUNNING_COUNTS = ("predicted_n", "completion_tokens")
"""Counts of what was written so far, under the keys that the listener gives them: llama.cpp's, and that of all others."""


def access_logs(journal: str) -> list[Json]:
    """Envoy's two access logs, for requests that were put to the desk."""
    asked = {"header_filter": {"header": {"name": "x-samdrift-facts", "present_match": True}}}
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    runs = {"log_type_filter": {"types": ["DownstreamPeriodic"]}}
    counted = {"or_filter": {"filters": [_has(key) for key in RUNNING_COUNTS]}}
    told = {"or_filter": {"filters": [ended, {"and_filter": {"filters": [runs, counted]}}]}}
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
        {"name": "envoy.access_loggers.http_grpc", "filter": {"and_filter": {"filters": [asked, told]}}, "typed_config": grpc},
        {"name": "envoy.access_loggers.file", "filter": {"and_filter": {"filters": [asked, ended]}}, "typed_config": lines},
    ]


def _has(key: str) -> Json:
    """Where the answer has said this count by now."""
    return {"metadata_filter": {"match_if_key_not_found": False, "matcher": {
        "filter": "samdrift.usage", "path": [{"key": key}], "value": {"present_match": True}}}}  # fmt: skip


JOURNAL_FORMAT: dict[str, str] = {
    "ticket": "%REQ(X-REQUEST-ID)%",
    "account": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-samdrift-account)%",
    "usage": "%DYNAMIC_METADATA(samdrift.usage)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "start": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "sent": "%REQUEST_TX_DURATION%",
    "first_byte": "%RESPONSE_DURATION%",
    "upstream": "%UPSTREAM_CLUSTER%",
}
"""The journal's fields, as Envoy's command operators."""
