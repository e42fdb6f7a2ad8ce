"""The question to the desk: what is read of a body before, who a caller is taken for, and how long an answer may take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files

from samdrift.cluster.manifests import Json, Manifest, manifest, span
from samdrift.cluster.places import ASK, DOOR, GATEWAY, GATEWAY_API, Place
from samdrift.spec.identity import Issuer
from samdrift.spec.problems import Reason, render_problem

_UNREAD = files(__package__).joinpath("unread.lua").read_text()
MARGIN = 30.0
"""Seconds by which Envoy waits longer for the desk than the desk lets anybody wait."""


def questions(place: Place) -> Iterator[Manifest]:
    """What is read of a body, and the question, at each listener where it is put."""
    yield _reading(place)
    yield _question(place, "samdrift-desk", "entrance", None)
    if place.cluster.token_host:
        yield _question(place, "samdrift-desk-tokens", "tokens", list(place.spec.issuers.items()))


def _reading(place: Place) -> Manifest:
    away = json.dumps(render_problem(Reason.CONTROL_UNAVAILABLE)[1].decode(), ensure_ascii=False)
    return manifest(
        "EnvoyExtensionPolicy",
        GATEWAY,
        place.own,
        why=("gateway",),
        file=DOOR,
        spec={
            "targetRefs": [
                {"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY, "sectionName": name} for name in place.asking
            ],
            "lua": [
                {"type": "Inline", "inline": place.reading or "function envoy_on_request(handle) end\n"},
                {"type": "Inline", "inline": _UNREAD.replace("@AWAY@", away)},
            ],
        },
    )


def _question(place: Place, name: str, listener: str, issuers: list[tuple[str, Issuer]] | None) -> Manifest:
    """Everything is put to the desk; if it does not answer, nothing passes. A policy for a listener replaces the one for its
    gateway, so each listener has all of it."""
    health = {
        "type": "GRPC",
        "interval": "1s",
        "timeout": "1s",
        "unhealthyThreshold": 1,
        "healthyThreshold": 1,
        "grpc": {"service": "samdrift.desk"},
    }
    spec: Json = {
        "targetRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY, "sectionName": listener}],
        "extAuth": {
            "failOpen": False,
            "statusOnError": 503,
            # Of two desks one is active. Both are ready as pods; only the active one says so when Envoy asks.
            "grpc": {
                "backendRefs": [{"kind": "Service", "name": "samdrift-desk", "port": ASK}],
                "backendSettings": {
                    "healthCheck": {"active": health, "panicThreshold": 0},
                    "circuitBreaker": {
                        "maxParallelRequests": place.spec.gateway.max_waiting * 2,
                        "maxPendingRequests": 1024,
                        "maxParallelRetries": 1,
                    },
                },
            },
            "timeout": span(place.longest_wait + MARGIN),
            "recomputeRoute": True,
        },
    }
    if issuers:
        spec["jwt"] = {"providers": [_provider(key, issuer) for key, issuer in issuers]}
    return manifest(
        "SecurityPolicy", name, place.own, why=("issuers",) if issuers else ("fairness", "wait"), file=DOOR, spec=spec
    )


def _provider(name: str, issuer: Issuer) -> Json:
    return {
        "name": name,
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "remoteJWKS": {"uri": issuer.jwks, "cacheDuration": span(issuer.refresh)},
    }
