"""Traps of patches and of Envoy Gateway's own configuration: what it leaves out, and goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.patches import DECIDED
from samdrift.cluster.traps import Rule, Trap, trap

_SWITCHES = (
    ("EnvoyPatchPolicy", "enableEnvoyPatchPolicy"),
    ("EnvoyExtensionPolicy", "enableLua"),
    ("Backend", "enableBackend"),
)


def luas_of(one: Found) -> list[str]:
    """What this object has Envoy run, without what is said about it: of a policy of extensions, or of patches."""
    if one.kind == "EnvoyExtensionPolicy":
        found = [lua.get("inline") for lua in items(one.at("spec.lua", []))]
    else:
        values = [at(patch, "operation.value") for patch in items(one.at("spec.jsonPatches", []))]
        found = [at(value, "typed_config.default_source_code.inline_string") for value in values]
    return [re.sub(r"--[^\n]*", "", text) for text in found if isinstance(text, str)]


def envoy_gateway_is_told(objects: Objects) -> Iterator[Trap]:
    """What it is not told to read, it accepts and leaves out."""
    for config in objects.of("EnvoyGateway"):
        for kind, switch in _SWITCHES:
            read = [one for one in objects.of(kind) if kind != "EnvoyExtensionPolicy" or one.at("spec.lua")]
            if read and config.at(f"extensionApis.{switch}") is not True:
                yield trap(
                    config,
                    "switched-off",
                    f"{kind} `{read[0].name}` does nothing without `extensionApis.{switch}`, which is off by default.",
                    f"Write `{switch}: true`.",
                )
        by_port = "XDSNameSchemeV2" in config.at("runtimeFlags.enabled", [])
        for policy in objects.of("EnvoyPatchPolicy"):
            for name in dict.fromkeys(str(p.get("name")) for p in items(policy.at("spec.jsonPatches", [])) if _of_listener(p)):
                if bool(re.fullmatch(r"(tcp|udp)-[0-9]+", name)) is not by_port:
                    yield trap(
                        policy,
                        "patch-of-nothing",
                        f"Envoy Gateway does not call any listener `{name}`: this patch is left out.",
                        "With the flag XDSNameSchemeV2 write `tcp-PORT`, without it `NAMESPACE/GATEWAY/LISTENER`.",
                    )


def engines_get_what_was_decided(objects: Objects) -> Iterator[Trap]:
    """A patch may be left out, so whether it ran must be seen by who comes after it."""
    luas = [text for one in objects.of("EnvoyPatchPolicy", "EnvoyExtensionPolicy") for text in luas_of(one)]
    written = any(f'"{DECIDED}"' in text for text in luas)
    for route in objects.of("AIGatewayRoute"):
        matches = [match for rule in items(route.at("spec.rules", [])) for match in _alternatives(rule)]
        asking = [any(h.get("name") == DECIDED for h in items(match.get("headers"))) for match in matches]
        if written and not all(asking):
            yield trap(
                route,
                "undecided-body",
                "A request comes to an engine also where what the desk decided is not in its body.",
                f"Let every match ask for `{DECIDED}`, with the model's name.",
            )
        if any(asking) and not written and any(objects.of("Gateway")):
            yield trap(
                route,
                "never-decided",
                f"Nothing sets `{DECIDED}`: no request ever comes to an engine.",
                "Add the EnvoyPatchPolicy that `samdrift render kubernetes` writes.",
            )


def _alternatives(rule: Any) -> list[Any]:
    """A rule without matches is for everything."""
    return items(rule.get("matches")) or [{}]


def _of_listener(patch: Any) -> bool:
    return str(patch.get("type")).endswith(".Listener")


PATCH_RULES: tuple[Rule, ...] = (envoy_gateway_is_told, engines_get_what_was_decided)
