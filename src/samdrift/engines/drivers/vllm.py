"""vLLM: `vllm serve`, on a Unix socket.

Its options, fields, paths and numbers are those of 0.32; `tests/engines/drivers/test_command_lines.py` looks for the options
where its own parser declares them, and `make test-vllm-cpu` runs the real one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import (
    GIB,
    AdapterAtHand,
    Complaint,
    Family,
    Format,
    Needs,
    Planned,
    Precision,
    Said,
    parted,
    visible,
)
from samdrift.engines.gauges import read_gauges, said_by
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.engines.speaking import answers, speak
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {
    "generate": ("/v1/chat/completions", "/v1/completions"),
    "embed": ("/v1/embeddings",),
    "rerank": ("/v1/rerank",),
}
_OVERHEAD = 2 * GIB
"""Activations of one batch and captured graphs, where nothing was measured yet."""
_ASLEEP = 60.0  # seconds; weights are copied to the machine's memory and back
_LORAS = 8
"""Adapters at work at once, for each of which memory of the devices is set aside; the others wait in the machine's."""
_FEW = 4
"""Adapters for which there is room at least, where there are any."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def _rank(adapters: Sequence[AdapterAtHand]) -> int:
    """The smallest of the ranks that it knows in which all of them find room; 64 for those that do not say theirs."""
    most = max(64 if adapter.rank is None else adapter.rank for adapter in adapters)
    return next((rank for rank in _RANKS if rank >= most), _RANKS[-1])


def _module(adapter: AdapterAtHand) -> str:
    return json.dumps({"name": adapter.name, "path": str(adapter.weights)})


class Vllm:
    """Driver for vLLM.

    Prompt caches: it finds the beginning of a prompt again whoever sends it, unless the body has another `cache_salt`; the
    platform sets one for each organisation, so the cache stays on and tells nobody anything. Counts: with
    `continuous_usage_stats` each chunk of a stream carries exact counts so far; clients do not see what they did not ask for.
    """

    starts = True
    needs_loopback = True  # its processes meet on it, even where there is one
    image = "vllm/vllm-openai:v0.32.0"
    families: frozenset[Family] = frozenset({"cpu", "nvidia", "amd"})
    sleeps: frozenset[Family] = frozenset({"nvidia", "amd"})
    precisions: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16", "fp8", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"safetensors"})
    reserved = frozenset({
        "priority", "request_id",  # whose turn it is, and what it is called, is ours to say
        "kv_transfer_params", "ec_transfer_params", "vllm_xargs",  # reach other engines, and what their plugins make of it
        "use_beam_search",  # runs several sequences in one seat
    })  # fmt: skip
    stripped = frozenset({"x-data-parallel-rank", "x-session-id"})
    salted = True
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = True
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

    def adapted(self, name: str, number: int | None) -> str:  # noqa: ARG002 - the protocol's
        """An adapter is a model to it: the body's `model` says it."""
        return ""

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """Weights, a cache in which every seat can be full, and what a batch takes."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _OVERHEAD)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`: `vllm` as it is found on the path of programs."""
        argv = ["vllm", "serve", str(replica.weights),
            "--served-model-name", replica.model, "--uds", replica.address,
            "--max-num-seqs", str(replica.seats), "--max-model-len", str(replica.context),
            "--enable-prompt-tokens-details",  # or cached tokens would not be counted
            "--disable-uvicorn-access-log", "--disable-fastapi-docs",
            "--generation-config", "vllm"]  # fmt: skip  # what clients leave out is vLLM's to fill in, not the weights'
        env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "VLLM_LOGGING_LEVEL": "WARNING"}  # fmt: skip  # lines about single requests begin below that
        if replica.task != "generate":
            argv += ["--runner", "pooling"]
        if replica.images and not replica.shared:
            # Or what one has shown would be ready sooner for the next who shows it. Only without both caches are images called by
            # their requests, and not by what is in them; a salt does not reach the cache of what was made of them.
            argv += ["--mm-processor-cache-gb", "0", "--no-enable-prefix-caching"]
        loose: tuple[str, ...] = ()
        if replica.adapters:
            # Room for some more than there are: then the next one can be loaded while it runs. Envoy lets nobody else do that.
            many = max(_FEW, 2 ** (len(replica.adapters) - 1).bit_length())
            argv += ["--enable-lora", "--max-loras", str(min(many, replica.seats, _LORAS)), "--max-cpu-loras", str(many),
                "--max-lora-rank", str(_rank(replica.adapters))]  # fmt: skip
            env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
            loose = ("--lora-modules", *map(_module, replica.adapters))
        if replica.family == "cpu":
            # Its threads would be bound to cores that other engines use, too.
            env |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(replica.asked_threads or replica.threads)}
            if replica.kv_memory is not None:
                env["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, math.ceil(replica.kv_memory / GIB)))
        else:
            many = max(1, len(replica.devices))
            argv += ["--tensor-parallel-size", str(many), "--enable-sleep-mode"]
            env["VLLM_SERVER_DEV_MODE"] = "1"  # without it there is no /sleep; Envoy lets nobody else come to these paths
            env |= visible(replica)
            if replica.kv_memory is not None:
                argv += ["--kv-cache-memory-bytes", str(replica.kv_memory // many)]  # of each device
        # It does not start where less than this is free, whatever it needs: the default is all but a little.
        share = () if replica.family == "cpu" or replica.share is None else (
            "--gpu-memory-utilization", f"{min(0.98, replica.share):.3f}")  # fmt: skip
        return Program(replica.name, tuple(argv), replica.log, env=env, owner="engines", loose=(*share, *loose))

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` has loaded its model and answers."""
        return await answers_ok(address, "/health")

    async def sleep(self, address: str) -> bool:
        """Weights go to the machine's memory, the cache is dropped."""
        return await answers(address, "/sleep?level=1&mode=wait", method="POST", timeout=_ASLEEP)

    async def wake(self, address: str) -> bool:
        """Weights come back to the devices."""
        return await answers(address, "/wake_up", method="POST", timeout=_ASLEEP)

    async def adapters_in(self, address: str, model: str) -> frozenset[str] | None:
        """It lists them beside the model."""
        said = await speak(address, "/v1/models")
        try:
            names = frozenset(str(entry["id"]) for entry in json.loads(said[1])["data"]) if said and said[0] == 200 else None
        except (ValueError, KeyError, TypeError):
            return None
        return None if names is None else names - {model}

    async def load_adapter(self, address: str, adapter: AdapterAtHand) -> bool:
        """Onto its devices it comes when it is first asked for."""
        wanted = {"lora_name": adapter.name, "lora_path": str(adapter.weights)}
        return await answers(address, "/v1/load_lora_adapter", method="POST", json=wanted, timeout=_ASLEEP)

    async def unload_adapter(self, address: str, name: str) -> bool:
        """It forgets the name; what runs goes on."""
        return await answers(address, "/v1/unload_lora_adapter", method="POST", json={"lora_name": name}, timeout=_ASLEEP)

    def heard(self, text: str) -> Said | None:
        """Prometheus' form; parallel ranks have a line each."""
        return said_by(read_gauges(text), running="vllm:num_requests_running", waiting="vllm:num_requests_waiting",
            kv_used="vllm:kv_cache_usage_perc", preemptions="vllm:num_preemptions_total")  # fmt: skip

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": {"message": …, "type": "BadRequestError", "param": null, "code": 400}}`."""
        return complaint_of(status, body, {"NotFoundError": "model", "ServiceUnavailableError": "overloaded"})
