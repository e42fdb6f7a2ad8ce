"""Traps of two desks, of which one is active: a rollout that waits for the other, and receipts that it does not hear."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap
from samdrift.cluster.traps_queues import quantity


def rollouts_do_not_wait_for_the_active_desk(objects: Objects) -> Iterator[Trap]:
    """By `/readyz` only one desk is ever ready."""
    for desks in _several_desks(objects):
        for container in items(desks.at("spec.template.spec.containers", [])):
            if at(container, "readinessProbe.httpGet.path") == "/readyz":
                yield trap(
                    desks,
                    "waits-for-the-active-desk",
                    "`/readyz` is true on the active desk alone: the others never become ready, and a rollout waits for ever.",
                    "Ask `/standbyz`.",
                )


def every_desk_hears_what_has_ended(objects: Objects) -> Iterator[Trap]:
    """A Service before all desks tells one of them; each needs a sink of its own."""
    desks = {d.namespace: int(quantity(d.at("spec.replicas", 1))) for d in _several_desks(objects)}
    for proxy in objects.of("EnvoyProxy"):
        told = {
            (ref.get("kind", "Service"), ref.get("namespace", proxy.namespace), ref.get("name"))
            for setting in items(proxy.at("spec.telemetry.accessLog.settings", []))
            for sink in items(setting.get("sinks"))
            if at(sink, "als.logName") == "receipts"
            for ref in items(at(sink, "als.backendRefs"))
        }
        wanted = desks.get(proxy.namespace, 0)
        if len(told) < wanted:
            yield trap(
                proxy,
                "one-desk-hears",
                f"Of {wanted} desks only {len(told)} hear what has ended: what they have not written down when they die is lost.",
                "Give each desk a sink of its own, by its own name.",
            )


def _several_desks(objects: Objects) -> Iterator[Found]:
    for one in objects.of("StatefulSet", "Deployment"):
        containers = items(one.at("spec.template.spec.containers", []))
        are_desks = any(c.get("name") == "samdrift" and c.get("args") == ["desk"] for c in containers)
        if are_desks and quantity(one.at("spec.replicas", 1)) > 1:
            yield one


DESK_RULES: tuple[Rule, ...] = (rollouts_do_not_wait_for_the_active_desk, every_desk_hears_what_has_ended)
