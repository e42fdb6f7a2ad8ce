"""Text Generation Inference: `text-generation-launcher`, on a port of its own loopback behind our relay, for it knows no Unix
sockets.

Its options, fields, paths and numbers are those documented for 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import GIB, Complaint, Family, Format, Needs, Planned, Precision, Said, parted, visible
from samdrift.engines.gauges import read_gauges, said_by
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.engines.relaying import PORT, relayed
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {"generate": ("/v1/chat/completions", "/v1/completions"), "embed": (), "rerank": ()}
_OVERHEAD = 2 * GIB
_PAYLOAD = GIB


class Tgi:
    """Driver for Text Generation Inference.

    Prompt caches: it knows no salt, so its cache of prompts is off. Counts: a stream is counted by the usage at its end, so
    of one that breaks off only the estimate is known.
    """

    starts = True
    needs_loopback = True
    image = "ghcr.io/huggingface/text-generation-inference:3.3.7"
    families: frozenset[Family] = frozenset({"nvidia", "amd"})
    sleeps: frozenset[Family] = frozenset()
    precisions: frozenset[Precision] = frozenset({"bf16", "fp16", "fp8", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"safetensors"})
    reserved = frozenset({"adapter_id"})  # what runs in a seat
    stripped = frozenset({"x-compute-type"})
    salted = False
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = False
    adapts = False
    idle = 60.0
    grace = 90.0
    metrics = "/metrics"

    def endpoints(self, task: Task) -> tuple[str, ...]:
        """The paths at which a replica with this task answers."""
        return _ENDPOINTS[task]

    def fields(self, task: Task) -> Mapping[Literal["plain", "stream"], str]:
        """JSON text without braces to put in front of a body, by kind of request."""
        return {"plain": "", "stream": '"stream_options":{"include_usage":true}' if task == "generate" else ""}

    def adapted(self, name: str, number: int | None) -> str:  # noqa: ARG002 - the protocol's
        """It serves none."""
        return ""

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """Weights, a cache in which every seat can be full, and what a batch takes."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _OVERHEAD)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`: `text-generation-launcher` as it is found on the path of programs."""
        argv = ("text-generation-launcher", "--model-id", str(replica.weights), "--hostname", "127.0.0.1", "--port", PORT,
            "--num-shard", str(max(1, len(replica.devices))),
            # It refuses whatever comes beyond the first; the desk sends no more than there are seats, so this only bounds.
            "--max-concurrent-requests", str(2 * replica.seats + 2), "--max-batch-size", str(replica.seats),
            "--max-total-tokens", str(replica.context), "--max-input-tokens", str(replica.context - 1),
            "--max-batch-total-tokens", str(replica.seats * replica.context),
            "--payload-limit", str(_PAYLOAD),  # the gateway's own limit comes first
            "--usage-stats", "off")  # fmt: skip
        env = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PREFIX_CACHING": "0", "LOG_LEVEL": "warn"}
        env |= visible(replica)
        return Program(replica.name, relayed(replica.address, argv), replica.log, env=env, owner="engines")

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` has loaded its model and answers."""
        return await answers_ok(address, "/health")

    async def sleep(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It gives nothing back but by ending."""
        return False

    async def wake(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It never sleeps."""
        return False

    def heard(self, text: str) -> Said | None:
        """Prometheus' form. Of its cache it says nothing."""
        return said_by(read_gauges(text), running="tgi_batch_current_size", waiting="tgi_queue_size")

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": "Input validation error: …", "error_type": "validation"}`."""
        return complaint_of(status, body, {"overloaded": "overloaded", "unhealthy": "engine"})
