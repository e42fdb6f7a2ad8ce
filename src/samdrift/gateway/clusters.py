"""Clusters: the ways from Envoy to our own sockets and to engines, here and on other machines. Pure."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from samdrift.gateway.listener import Json, typed
from samdrift.spec.fleet import Replica

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def versioned(resources: list[Json]) -> Json:
    """Resources as a file that Envoy watches, under a version that changes with them."""
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": resources}


def http1(*, idle: str, requests: int | None = None) -> Json:
    """HTTP/1.1 upstream. A connection is given up by us (after `idle`, after `requests`) before the other side
    does, so that no request is written into a connection that is being closed."""
    common: Json = {"idle_timeout": idle}
    if requests is not None:
        common["max_requests_per_connection"] = requests
    return {"http_protocol_options": {}, "common": common}


def cluster(name: str, address: Json, protocol: Json, most: int, connections: int | None = None) -> Json:
    """A cluster at one address. `most` requests run and wait, over so many `connections`."""
    protocol = dict(protocol)
    common = protocol.pop("common", {})
    limits = {"max_connections": connections or most, "max_pending_requests": most, "max_requests": most, "max_retries": 100}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return typed("envoy.config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout="2s",
        circuit_breakers={"thresholds": [limits]},
        typed_extension_protocol_options={_HTTP: typed(_HTTP,
            common_http_protocol_options=common, explicit_http_config=protocol)},
        load_assignment={"cluster_name": name, "endpoints": [endpoint]})  # fmt: skip


def pipe(path: str) -> Json:
    """The address of a Unix socket."""
    return {"pipe": {"path": path}}


def engine_cluster(replica: Replica, authorities: str, credential: str) -> Json:
    """The way to one replica. `credential` is the path of a file with what it wants to see (an SDS secret), "" if nothing."""
    # Each open connection takes a thread of llama.cpp, which has 2 · seats + 8 of them; and it closes one after 100
    # requests, after 5 s, and after a stream although it announced to keep it (the router tries such a request again).
    protocol = http1(idle="3s", requests=90)
    way = cluster(replica.name, engine_address(replica), protocol, replica.seats + 1000, 2 * replica.seats)
    if replica.address.startswith("https://"):
        host = urlsplit(replica.address).hostname or ""
        common = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}, "alpn_protocols": ["http/1.1"],
            "validation_context": {"trusted_ca": {"filename": authorities},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}]}}  # fmt: skip
        # A name is looked up by Envoy, which follows it; and the server is told the name that it was found by. A name that
        # nobody knows must not keep Envoy from all else that it is told.
        way |= {
            "type": "LOGICAL_DNS", "dns_lookup_family": "ALL", "wait_for_warm_on_init": False, "connect_timeout": "5s",
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": typed(
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", sni=host,
                common_tls_context=common)}}  # fmt: skip
        way["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] = urlsplit(replica.address).netloc
    if credential:
        way["typed_extension_protocol_options"][_HTTP]["http_filters"] = [_injected(credential), {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": typed("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")}]  # fmt: skip
    return way


def _injected(credential: str) -> Json:
    """Puts a secret into `authorization`. Envoy reads it from its file, again when that changes, and shows it nowhere; without it
    no request goes out."""
    secret = {"name": "credential", "sds_config": {"resource_api_version": "V3", "path_config_source": {
        "path": credential, "watched_directory": {"path": credential.rpartition("/")[0]}}}}  # fmt: skip
    return {"name": "envoy.filters.http.credential_injector", "typed_config": typed(
        "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential={"name": "envoy.http.injected_credentials.generic", "typed_config": typed(
            "envoy.extensions.http.injected_credentials.generic.v3.Generic", credential=secret)})}  # fmt: skip


def credential_file(secret: str) -> Json:
    """What stands in the file of a credential: the secret as the header that it becomes."""
    return versioned([typed("envoy.extensions.transport_sockets.tls.v3.Secret", name="credential",
        generic_secret={"secret": {"inline_string": f"Bearer {secret}"}})])  # fmt: skip


def engine_address(replica: Replica) -> Json:
    """Where a replica listens, as Envoy's address."""
    if replica.address.startswith("https://"):
        url = urlsplit(replica.address)
        return {"socket_address": {"address": url.hostname or "", "port_value": url.port or 443}}
    if "/" in replica.address:
        return pipe(replica.address)
    host, _, port = replica.address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
