"""SGLang: `python -m sglang.launch_server`, on a port of its own loopback behind our relay, for it knows no Unix sockets.

Its options, fields, paths and numbers are those of 0.5.23; `tests/engines/drivers/test_command_lines.py` looks for the options
where its own parser declares them.
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
from samdrift.engines.speaking import answers
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {
    "generate": ("/v1/chat/completions", "/v1/completions"),
    "embed": ("/v1/embeddings",),
    "rerank": (),  # it answers, and does not say what it took
}
_OVERHEAD = 2 * GIB
_ASLEEP = 60.0  # seconds
_LORAS = 8
"""Adapters at work at once, the model without any among them."""


class Sglang:
    """Driver for SGLang.

    Prompt caches: its tree of prompts is kept apart by `cache_salt`, as vLLM's is. Counts: `continuous_usage_stats` as there.
    """

    starts = True
    needs_loopback = True
    image = "lmsysorg/sglang:v0.5.23"
    families: frozenset[Family] = frozenset({"nvidia", "amd"})
    sleeps: frozenset[Family] = frozenset({"nvidia", "amd"})
    precisions: frozenset[Precision] = frozenset({"bf16", "fp16", "fp8", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"safetensors"})
    reserved = frozenset({
        "priority", "rid", "extra_key",  # whose turn it is, what it is called, whose cache it uses
        "data_parallel_rank", "routed_dp_rank", "bootstrap_host", "bootstrap_port", "bootstrap_room",  # reach other engines
        "session_params", "lora_path", "custom_logit_processor",  # reach what others left in it; code to be run
    })  # fmt: skip
    stripped = frozenset({"x-data-parallel-rank", "x-smg-routing-key"})
    salted = True
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = False
    adapts = True
    idle = 5.0
    grace = 30.0
    metrics = "/metrics"

    def endpoints(self, task: Task) -> tuple[str, ...]:
        """The paths at which a replica with this task answers."""
        return _ENDPOINTS[task]

    def fields(self, task: Task) -> Mapping[Literal["plain", "stream"], str]:
        """JSON text without braces to put in front of a body, by kind of request."""
        counted = '"stream_options":{"include_usage":true,"continuous_usage_stats":true}'
        return {"plain": "", "stream": counted if task == "generate" else ""}

    def adapted(self, name: str, number: int | None) -> str:
        """Adapters go by their names, in a field of their own."""
        return "" if number is None else f'"lora_path":"{name}"'

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """Weights, a cache in which every seat can be full, and what a batch takes."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _OVERHEAD)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`, with the Python in which SGLang is found on the path of programs."""
        argv = ["python3", "-m", "sglang.launch_server", "--model-path", str(replica.weights),
            "--host", "127.0.0.1", "--port", PORT, "--served-model-name", replica.model,
            "--max-running-requests", str(replica.seats), "--context-length", str(replica.context),
            "--max-total-tokens", str(replica.seats * replica.context),  # all seats full, and nothing beyond
            "--tp-size", str(max(1, len(replica.devices))), "--enable-metrics",
            "--enable-cache-report",  # or cached tokens would not be counted
            "--enable-memory-saver", "--log-level", "warning"]  # fmt: skip
        if replica.task == "embed":
            argv.append("--is-embedding")
        if replica.adapters:
            argv += ["--enable-lora", "--max-loras-per-batch", str(min(len(replica.adapters) + 1, replica.seats, _LORAS)),
                "--lora-paths", *(f"{adapter.name}={adapter.weights}" for adapter in replica.adapters)]  # fmt: skip
        env = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if replica.images and not replica.shared:
            env["SGLANG_VLM_CACHE_SIZE_MB"] = "0"  # it calls images by what is in them, whoever shows them
        env |= visible(replica)
        return Program(replica.name, relayed(replica.address, argv), replica.log, env=env, owner="engines")

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` has loaded its model and answers."""
        return await answers_ok(address, "/health")

    async def sleep(self, address: str) -> bool:
        """Weights go to the machine's memory, the cache is dropped."""
        return await answers(address, "/release_memory_occupation", method="POST", json={}, timeout=_ASLEEP)

    async def wake(self, address: str) -> bool:
        """Weights come back to the devices."""
        return await answers(address, "/resume_memory_occupation", method="POST", json={}, timeout=_ASLEEP)

    def heard(self, text: str) -> Said | None:
        """Prometheus' form; parallel ranks have a line each. A retracted request is one that was put off."""
        return said_by(read_gauges(text), running="sglang:num_running_reqs", waiting="sglang:num_queue_reqs",
            kv_used="sglang:token_usage", preemptions="sglang:num_retracted_requests_total")  # fmt: skip

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"object": "error", "message": …, "type": "BadRequestError", "code": 400}`, without an outer object."""
        return complaint_of(status, body, {"NotFoundError": "model", "ServiceUnavailableError": "overloaded"})
