"""What Envoy Gateway has no words for: changes to what it makes for Envoy, by their places in there (EnvoyPatchPolicy).

A patch that finds no place is left out, and Envoy Gateway goes on: so nothing may depend on one without seeing that it is there.
Routes to engines ask for the header that the first one sets. The others change how soon Envoy reports, and how much it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import DOOR, GATEWAY, GATEWAY_API, Place

DECIDED = "x-samdrift-decided"
"""The header with the name of the model that the desk decided on, set where that was written into the body, too."""
LISTENER = "tcp-443"
"""What Envoy Gateway calls Envoy's listener, with XDSNameSchemeV2."""
REPORTS = "0.02s"
"""After which time Envoy tells what has ended: a seat is free that soon."""
AS_DECIDED = files(__package__).joinpath("as_decided.lua").read_text()
"""What Envoy runs to put into a body what the desk has decided (Lua)."""
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"


def patches(place: Place) -> Iterator[Manifest]:
    """One object with all of them."""
    behind_the_desk = "$..http_filters[?(@.name=='envoy.filters.http.buffer')]"
    receipts = "$..access_log[?(@.name=='envoy.access_loggers.http_grpc')].typed_config.common_config"
    connections = "$..filters[?(@.name=='envoy.filters.network.http_connection_manager')].typed_config"
    filtered = {
        "name": "samdrift.as_decided",
        "typed_config": {"@type": _LUA, "default_source_code": {"inline_string": AS_DECIDED}},
    }
    most = max(1, place.spec.gateway.max_headers // 1024)
    yield manifest(
        "EnvoyPatchPolicy",
        GATEWAY,
        place.own,
        why=("gateway",),
        file=DOOR,
        spec={
            "targetRef": {"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY},
            "type": "JSONPatch",
            "jsonPatches": [
                _patch(behind_the_desk, filtered),
                _patch(receipts, REPORTS, "/buffer_flush_interval"),
                _patch(connections, most, "/max_request_headers_kb"),
            ],
        },
    )


def _patch(found: str, value: Json | str | int, path: str = "") -> Json:
    """`value` in front of the element at this place, or as the member `path` of it."""
    operation: Json = {"op": "add", "jsonPath": found, **({"path": path} if path else {}), "value": value}
    return {"type": _LISTENERS, "name": LISTENER, "operation": operation}
