"""Traps of caches of prompts: engines that several share remember what was asked before, and answer it sooner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap
from samdrift.cluster.traps_entrance import targets
from samdrift.cluster.traps_patches import luas_of

_FIELDS = "x-samdrift-fields"
"""What the desk wants to stand in a body, in its answer."""
_RANKS = {"ext_authz": 6, "jwt_authn": 10, "buffer": 12, "lua": 13}
"""The order in which Envoy Gateway puts these filters if it is told nothing."""


@dataclass(frozen=True, slots=True)
class _Cache:
    """An engine's cache of prompts: by which word its container is known, what shuts it, and the field by which bodies say whose
    a prompt is, "" where the engine listens to none."""

    known_by: str
    shut: str
    field: str


_CACHES = (
    _Cache("vllm", "--no-enable-prefix-caching", "cache_salt"),
    _Cache("sglang", "--disable-radix-cache", "cache_salt"),
    _Cache("llama.cpp", "--no-cache-prompt", "cache_prompt"),
    _Cache("text-generation-inference", "PREFIX_CACHING=0", ""),
)


def prompts_are_kept_apart(objects: Objects) -> Iterator[Trap]:
    """Who asks the same as somebody else before, and is answered sooner, knows what the other asked."""
    if not any(objects.of("AIGatewayRoute")):
        return
    written = "".join(text for one in objects.of("EnvoyExtensionPolicy", "EnvoyPatchPolicy") for text in luas_of(one))
    decided = f'"{_FIELDS}"' in written  # the desk knows which engine wants which
    for one in objects.of("LLMInferenceService", "ServingRuntime"):
        cache = _cache_of(one)
        if cache is None or cache.shut in _said(one) or (cache.field and (decided or f'"{cache.field}":' in written)):
            continue
        salted = f"Write `{cache.field}` into bodies, or start" if cache.field else "Start"
        yield trap(
            one,
            "shared-prompts",
            "It remembers prompts: who asks what somebody else has asked is answered sooner, and can tell.",
            f"{salted} it with `{cache.shut}`.",
        )


def what_is_written_into_bodies_arrives(objects: Objects) -> Iterator[Trap]:
    """Envoy AI Gateway reads a body where it stands, and for streams sends engines what it has read."""
    if not any(objects.of("AIGatewayRoute")):
        return
    buffered = {
        (policy.namespace, target.get("name"))
        for policy in objects.of("BackendTrafficPolicy")
        if policy.at("spec.requestBuffer")
        for target in targets(policy)
        if target.get("kind") == "Gateway" and not target.get("sectionName")
    }
    for policy in objects.of("EnvoyExtensionPolicy", "EnvoyPatchPolicy"):
        if not any(":setBytes(" in text for text in luas_of(policy)):
            continue
        proxies = [proxy for proxy in objects.of("EnvoyProxy") if proxy.namespace == policy.namespace]
        before = "lua" if policy.kind == "EnvoyExtensionPolicy" else "ext_authz"
        behind = all(_stands_before(proxy, before, "buffer") for proxy in proxies)
        for gateway in dict.fromkeys((policy.namespace, t.get("name")) for t in targets(policy) if t.get("kind") == "Gateway"):
            if gateway not in buffered or not behind:
                yield trap(
                    policy,
                    "overwritten-body",
                    f"At Gateway `{gateway[1]}` Envoy AI Gateway reads bodies before this, and sends engines what it has read.",
                    "Write `requestBuffer` in a BackendTrafficPolicy for it, and in `filterOrder` of its EnvoyProxy "
                    f"envoy.filters.http.{before} before envoy.filters.http.buffer: Envoy AI Gateway stands behind that.",
                )


def what_is_asked_about_is_read_before(objects: Objects) -> Iterator[Trap]:
    """By default Envoy Gateway asks before Lua has read a body: the desk is told nothing of it, and refuses everything."""
    for policy in objects.of("EnvoyExtensionPolicy"):
        if any('"x-samdrift-facts"' in text for text in luas_of(policy)):
            for proxy in objects.of("EnvoyProxy"):
                if proxy.namespace == policy.namespace and not _stands_before(proxy, "lua", "ext_authz"):
                    yield trap(
                        proxy,
                        "asked-too-early",
                        f"The desk is asked before `{policy.name}` has read what it must know of a body, and refuses everything.",
                        "Write into `filterOrder`: envoy.filters.http.lua before envoy.filters.http.ext_authz.",
                    )


def _containers(one: Found) -> list[Any]:
    return items(one.at("spec.containers" if one.kind == "ServingRuntime" else "spec.template.containers", []))


def _cache_of(one: Found) -> _Cache | None:
    if one.kind == "LLMInferenceService":
        return _CACHES[0]
    words = " ".join(str(c.get(key)) for c in _containers(one) for key in ("image", "command", "args")).lower()
    return next((cache for cache in _CACHES if cache.known_by in words), None)


def _said(one: Found) -> set[str]:
    """The arguments and the variables that an engine starts with."""
    found: set[str] = set()
    for container in _containers(one):
        for words in (at(container, "command", []), at(container, "args", [])):
            found |= {str(word) for word in words}
        found |= {f"{variable.get('name')}={variable.get('value')}" for variable in items(container.get("env"))}
    return found


def _stands_before(proxy: Found, first: str, second: str) -> bool:
    """Moves filters as Envoy Gateway does: a kind as a whole, before the first or after the last of another."""
    order = sorted(_RANKS, key=lambda name: _RANKS[name])
    for move in items(proxy.at("spec.filterOrder", [])):
        name, before, after = (str(move.get(key, "")).removeprefix("envoy.filters.http.") for key in ("name", "before", "after"))
        other = before or after
        if name in order and other in order and name != other:
            order.remove(name)
            order.insert(order.index(other) + bool(after), name)
    return order.index(first) < order.index(second)


CACHE_RULES: tuple[Rule, ...] = (
    prompts_are_kept_apart,
    what_is_written_into_bodies_arrives,
    what_is_asked_about_is_read_before,
)
