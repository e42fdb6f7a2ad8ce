"""The listener: limits, the filters a request passes, the routes. Pure.

The order of the filters is the way of a request: hold the body, scan it (Lua), parse it (Envoy's JSON parser), ask
the desk once, add the desk's fields (Lua), route. On the way back the counts of tokens are read from the answer.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any, cast

from samdrift.gateway.local_replies import local_replies
from samdrift.gateway.receipts import OPTIONS, access_logs
from samdrift.spec.abilities import ENDPOINTS
from samdrift.spec.document import Spec, Tls

Json = dict[str, Any]

MAX_DEPTH = 64
"""How deep the JSON of a body may be nested."""

MAX_PIXELS = 64_000_000
"""How many pixels the images of one request may have together. Unpacked, each takes three bytes and more of an engine's room."""

PLATFORM_FIELDS = frozenset({"cache_salt"})
"""Fields that no client may set, whichever engine serves it."""

AUTHZ = "envoy.filters.http.ext_authz"
BODY, USAGE = "samdrift.body", "samdrift.usage"
"""Namespaces of Envoy's dynamic metadata: what was read of the body, what was counted in the answer."""

_COUNTS = {
    "prompt_tokens": ("usage", "prompt_tokens"),
    "cached_tokens": ("usage", "prompt_tokens_details", "cached_tokens"),
    "completion_tokens": ("usage", "completion_tokens"),
    "total_tokens": ("usage", "total_tokens"),
    "prompt_n": ("timings", "prompt_n"),
    "cache_n": ("timings", "cache_n"),
    "predicted_n": ("timings", "predicted_n"),
    "prompt_ms": ("timings", "prompt_ms"),
}
_JSON_MEDIA = r"(?i)application/json\s*(;.*)?"
SECRETS = ("authorization", "cookie", "x-api-key", "proxy-authorization", "x-forwarded-client-cert", "x-forwarded-for",
    "x-envoy-external-address")  # fmt: skip
"""Headers that no engine is handed: what callers show for themselves, and where they are."""
_FOR_PEOPLE = ("/api/v1", "/signin", "/console")
"""Where browsers come; nothing else is handed their cookies, and engines least of all."""
_SOURCES = {name: files(__package__).joinpath(name).read_text()
    for name in ("read_body.lua", "image_size.lua", "write_body.lua", "strip_usage.lua")}  # fmt: skip


def typed(name: str, /, **fields: Any) -> Json:
    """A protobuf message of Envoy's, by its full name."""
    return {"@type": f"type.googleapis.com/{name}", **fields}


def seconds(value: float) -> str:
    """A duration as protobuf's JSON writes it."""
    return f"{value:.3f}s"


def listener(
    spec: Spec, journal: str, reserved: frozenset[str], stripped: frozenset[str], certificates: str = "", *, hides: bool = False
) -> Json:  # fmt: skip
    """The entrance, as `envoy.config.listener.v3.Listener`. `hides` says that some engine counts in streams for us alone, which
    clients are not to see. `certificates` is any text that changes when the files of
    `gateway.tls` do: Envoy then reads them again, and lets go of connections that were opened under the old ones."""
    gateway = spec.gateway
    host, _, port = gateway.listen.rpartition(":")
    chain: Json = {"filters": [_filter("envoy.filters.network.http_connection_manager",
        _connection_manager(spec, journal, reserved, stripped, hides=hides))]}  # fmt: skip
    if gateway.tls is not None:
        chain["transport_socket"] = _filter("envoy.transport_sockets.tls", typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{"certificate_chain": {"filename": gateway.tls.certificate},
                    "private_key": {"filename": gateway.tls.key}}],
                **_clients(gateway.tls)},
            # A session that is resumed is not looked at again: no list of what was revoked meanwhile would be asked.
            **({"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}
                if gateway.tls.client_ca else {})))  # fmt: skip
        chain["transport_socket_connect_timeout"] = seconds(gateway.timeouts.headers)
    return typed("envoy.config.listener.v3.Listener",
        name="entrance",
        address={"socket_address": {"address": host.strip("[]"), "port_value": int(port)}},
        per_connection_buffer_limit_bytes=1024 * 1024,
        filter_chains=[chain],
        **({"metadata": {"filter_metadata": {"samdrift": {"certificates": certificates}}}} if certificates else {}))  # fmt: skip


def _clients(tls: Tls) -> Json:
    """Which certificates clients may show. None need be shown: keys and tokens are good without."""
    if not tls.client_ca:
        return {}
    context: Json = {"trusted_ca": {"filename": tls.client_ca}}
    if tls.crl:
        # The lists are of the authorities that give certificates to clients; who revokes authorities takes them out of
        # `client_ca`.
        context |= {"crl": {"filename": tls.crl}, "only_verify_leaf_cert_crl": True}
    return {"validation_context": context}


def _filter(name: str, config: Json) -> Json:
    return {"name": name, "typed_config": config}


def _connection_manager(
    spec: Spec, journal: str, reserved: frozenset[str], stripped: frozenset[str], *, hides: bool
) -> Json:
    gateway, times = spec.gateway, spec.gateway.timeouts
    longest_wait = max(spec.fairness.wait.interactive, spec.fairness.wait.standard, spec.fairness.wait.batch)
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        # One reading of a path and of the framing, or none: what could be read in two ways is refused.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        common_http_protocol_options={
            "idle_timeout": seconds(times.idle), "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST"},
        http_protocol_options={"allow_chunked_length": False},
        http2_protocol_options={"max_concurrent_streams": 256,
            "initial_stream_window_size": 256 * 1024, "initial_connection_window_size": 1024 * 1024},
        max_request_headers_kb=max(1, gateway.max_headers // 1024),
        request_headers_timeout=seconds(times.headers),
        request_timeout=seconds(times.headers + times.body),
        stream_idle_timeout=seconds(longest_wait + times.idle),
        delayed_close_timeout="1s",
        drain_timeout="5s",
        use_remote_address=True,
        # The header that says whose certificate it is comes from here alone; what a client writes into it is removed.
        **({"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"cert": True}}
            if gateway.tls is not None and gateway.tls.client_ca else {"forward_client_cert_details": "SANITIZE"}),
        skip_xff_append=True,
        server_name="samdrift",
        # The ticket is Envoy's request id: made here for every request, never taken from a client.
        generate_request_id=True,
        early_header_mutation_extensions=[_filter("envoy.http.early_header_mutation.header_mutation", typed(
            "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[{"remove": "x-request-id"}, *({"remove_on_match": {"key_matcher": {"prefix": prefix}}}
                # Envoy obeys x-envoy-* (timeouts, retries) from addresses that it takes for internal. It takes none for
                # that as we set it up; this does not depend on it.
                for prefix in ("x-samdrift-", "x-envoy-"))]))],
        http_filters=_filters(spec, reserved, hides=hides),
        route_config=_routes(spec, stripped, hides=hides),
        access_log=access_logs(journal),
        access_log_options=OPTIONS,
        local_reply_config=local_replies(spec),
    )  # fmt: skip
    if spec.observe.traces:
        manager["tracing"] = {
            "random_sampling": {"value": spec.observe.trace_fraction * 100},
            "client_sampling": {"value": 0},
            "spawn_upstream_span": False,
            "max_path_tag_length": 0,  # a client may write into its path whatever it likes
            "provider": _filter("envoy.tracers.opentelemetry", typed(
                "envoy.config.trace.v3.OpenTelemetryConfig",
                service_name="samdrift-gateway",
                http_service={"http_uri": {"uri": f"{spec.observe.traces.rstrip('/')}/v1/traces",
                    "cluster": "samdrift.traces", "timeout": "2s"}}))}  # fmt: skip
    return manager


def read_body(reserved: frozenset[str]) -> str:
    """What Envoy runs to read facts of a body (Lua), where clients may not send the fields in `reserved`."""
    names = ", ".join(f'["{name}"] = true' for name in sorted(reserved | PLATFORM_FIELDS))
    filled = {"@MAX_DEPTH@": str(MAX_DEPTH), "@MAX_PIXELS@": str(MAX_PIXELS), "@RESERVED@": names,
        "@PIXELS@": _SOURCES["image_size.lua"]}  # fmt: skip
    return re.sub("@[A-Z_]+@", lambda place: filled[place[0]], _SOURCES["read_body.lua"])


def _filters(spec: Spec, reserved: frozenset[str], *, hides: bool) -> list[Json]:
    longest_wait = max(spec.fairness.wait.interactive, spec.fairness.wait.standard, spec.fairness.wait.batch)
    reading = read_body(reserved)
    sound = _rule(BODY, "model", ("model",)) | {
        "on_error": {"metadata_namespace": BODY, "key": "broken", "value": "true"}}
    counts = [_rule(USAGE, key, path) for key, path in _COUNTS.items()]
    return [
        # First on the way in is last on the way out.
        _filter("buffer", typed("envoy.extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=spec.gateway.max_body)),
        # Before the readers of usage here, and so behind them on the way out.
        *([_lua("strip_usage", _SOURCES["strip_usage.lua"])] if hides else ()),
        _filter("envoy.filters.http.sse_to_metadata", typed(
            "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
            response_rules={"content_parser": _filter("envoy.content_parsers.json", typed(
                "envoy.extensions.content_parsers.json.v3.JsonContentParser",
                rules=[{"rule": rule} for rule in counts]))})),
        _lua("read_body", reading),
        _filter("envoy.filters.http.json_to_metadata", typed(
            "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
            request_rules={"rules": [sound], "allow_content_types_regex": {"regex": _JSON_MEDIA}},
            response_rules={"rules": counts, "allow_content_types_regex": {"regex": _JSON_MEDIA}})),
        _filter("body_verdict", typed("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"append": {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                "header": {"key": "x-samdrift-broken", "value": f"%DYNAMIC_METADATA({BODY}:broken)%"}}}]})),
        _filter(AUTHZ, _question(longest_wait)),
        _lua("write_body", _SOURCES["write_body.lua"]),
        _filter("envoy.filters.http.router", typed("envoy.extensions.filters.http.router.v3.Router",
            suppress_envoy_headers=True)),
    ]  # fmt: skip


def _lua(name: str, source: str) -> Json:
    return _filter(name, typed("envoy.extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": source}))


def _rule(namespace: str, key: str, path: tuple[str, ...]) -> Json:
    return {"selectors": [{"key": part} for part in path],
        "on_present": {"metadata_namespace": namespace, "key": key}}  # fmt: skip


def _question(longest_wait: float) -> Json:
    """The one question to the desk. It may be held open as long as the longest wait."""
    def exactly(*names: str) -> Json:
        return {"patterns": [{"exact": name} for name in names]}

    asked = exactly("x-request-id", "x-samdrift-model", "x-samdrift-facts", "x-samdrift-broken", "traceparent",
        "x-forwarded-client-cert")  # fmt: skip
    return typed("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        failure_mode_allow=False,
        # A status of its own tells "the desk is away" from the desk's own answers; local_replies makes it a 503.
        status_on_error={"code": "NetworkAuthenticationRequired"},
        clear_route_cache=True,  # the route reads the replica from a header that the desk has just given
        allowed_headers=asked,
        http_service={
            "server_uri": {"uri": "http://desk", "cluster": "samdrift.ask", "timeout": seconds(longest_wait + 30)},
            "authorization_response": {
                "allowed_upstream_headers": exactly("x-samdrift-replica"),
                "dynamic_metadata_from_headers": exactly("x-samdrift-account", "x-samdrift-fields"),
                "allowed_client_headers_on_success": exactly("x-samdrift-ticket", "x-samdrift-waited"),
                "allowed_client_headers": exactly("content-type", "retry-after", "www-authenticate", "allow",
                    "x-samdrift-ticket", "x-samdrift-waited", "x-samdrift-share", "x-samdrift-ahead",
                    "x-should-retry")}})  # fmt: skip


def _routes(spec: Spec, stripped: frozenset[str], *, hides: bool) -> Json:
    times = spec.gateway.timeouts
    unasked = {name: typed("envoy.config.route.v3.FilterConfig", disabled=True)
        for name in ("buffer", "envoy.filters.http.json_to_metadata", "envoy.filters.http.sse_to_metadata",
            "read_body", "body_verdict", AUTHZ, "write_body", *(("strip_usage",) if hides else ()))}  # fmt: skip
    post = [{"name": ":method", "string_match": {"exact": "POST"}}]
    answered = [
        {
            "name": path,
            "match": {"path": path, "headers": post},
            "route": {
                "cluster_header": "x-samdrift-replica",
                "auto_host_rewrite": True,  # for engines that have a name; those on this machine have none
                "timeout": seconds(times.request),
                # Before the first byte of an answer only: a kept connection may just have been closed by the engine.
                "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 2},
            },
                # `x-samdrift-facts` stays: the access log asks for it, and it tells an engine nothing it does not know.
            "request_headers_to_remove": [*SECRETS, *sorted(stripped), "x-samdrift-replica", "x-samdrift-model",
                "x-samdrift-broken", "accept-encoding"],  # what is compressed cannot be counted
            "response_headers_to_remove": ["access-control-allow-origin", "access-control-allow-credentials",
                "access-control-allow-headers", "access-control-allow-methods", "x-accel-buffering", "set-cookie"],
        }
        for path in ENDPOINTS
    ]  # fmt: skip
    rest = {
        "route": {"cluster": "samdrift.api", "timeout": "30s"},
        "typed_per_filter_config": unasked,
        # Who signs in, and who administers, is written down with the address that the connection came from. What a client writes
        # into this header was removed before.
        "request_headers_to_add": [{"append_action": "OVERWRITE_IF_EXISTS_OR_ADD", "header": {
            "key": "x-samdrift-address", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}],
    }  # fmt: skip
    people = [{"name": "people", "match": {"path_separated_prefix": path}, **rest} for path in _FOR_PEOPLE]
    others = {"name": "rest", "match": {"prefix": "/"}, **rest, "request_headers_to_remove": ["cookie"]}
    return {"name": "all", "virtual_hosts": [
        {"name": "all", "domains": ["*"], "routes": cast("list[Json]", [*answered, *people, others])}]}  # fmt: skip
