"""TensorRT-LLM: `trtllm-serve`, on a port of its own loopback behind our relay, for it knows no Unix sockets.

Its options, fields and paths are those documented for 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import GIB, Complaint, Family, Format, Needs, Planned, Precision, Said, parted, visible
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.engines.relaying import PORT, SETTINGS, relayed
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {"generate": ("/v1/chat/completions", "/v1/completions"), "embed": (), "rerank": ()}
_OVERHEAD = 3 * GIB
_MOST = 10**9


class TensorRtLlm:
    """Driver for TensorRT-LLM.

    Prompt caches: chats know a salt and completions do not, so nothing is found again. Counts: `continuous_usage_stats` as in
    vLLM.
    """

    starts = True
    needs_loopback = True
    image = "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
    families: frozenset[Family] = frozenset({"nvidia"})
    sleeps: frozenset[Family] = frozenset()
    precisions: frozenset[Precision] = frozenset({"bf16", "fp16", "fp8", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"safetensors"})
    reserved = frozenset({
        "disaggregated_params", "conversation_params",  # reach other engines
        "priority", "agent_hierarchy",  # whose turn it is, is ours to say
        "lora_request", "use_beam_search",  # what runs in a seat, and how many
    })  # fmt: skip
    stripped: frozenset[str] = frozenset()
    salted = False
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = False
    adapts = False
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

    def adapted(self, name: str, number: int | None) -> str:  # noqa: ARG002 - the protocol's
        """It serves none."""
        return ""

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """Weights, a cache in which every seat can be full, and what a batch and the runtime take."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _OVERHEAD)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`: `trtllm-serve` as it is found on the path of programs."""
        argv = ("trtllm-serve", str(replica.weights), "--host", "127.0.0.1", "--port", PORT, "--backend", "pytorch",
            "--max_batch_size", str(replica.seats), "--max_seq_len", str(replica.context),
            "--tp_size", str(max(1, len(replica.devices))), "--log_level", "warning",
            "--extra_llm_api_options", SETTINGS)  # fmt: skip
        settings = json.dumps({
            "kv_cache_config": {"enable_block_reuse": False, "max_tokens": replica.seats * replica.context},
            "enable_iter_perf_stats": True,  # or it would not say how it fares
        })  # fmt: skip
        env = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRTLLM_NO_USAGE_STATS": "1"}
        env |= visible(replica)
        return Program(replica.name, relayed(replica.address, argv, settings=settings), replica.log, env=env, owner="engines")

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
        """A list of JSON objects, one for each step since it was last asked; the last one counts."""
        try:
            steps: Any = json.loads(text)
            last = steps[-1]
            cache = last.get("kvCacheStats") or {}
            blocks = float(cache.get("maxNumBlocks") or 0)
            used = float(cache["usedNumBlocks"]) / blocks if blocks > 0 else None
            running, waiting = int(last["numActiveRequests"]), int(last.get("numQueuedRequests") or 0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            return None
        if not (0 <= running < _MOST and 0 <= waiting < _MOST):
            return None
        return Said(running, waiting, None if used is None else min(1.0, max(0.0, used)))

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"object": "error", "message": …, "type": "BadRequestError", "code": 400}`, without an outer object."""
        return complaint_of(status, body, {"NotFoundError": "model", "ServiceUnavailableError": "overloaded"})
