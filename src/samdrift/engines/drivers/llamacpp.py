"""llama.cpp, through the package `xllamacpp`: one process per replica, on a Unix socket.

What is relied on is tested against the real engine in `tests/engines/test_llamacpp_facts.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import GIB, Complaint, Family, Format, Needs, Planned, Precision, Said, parted
from samdrift.engines.gauges import read_gauges, said_by
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.spec.abilities import Task

_BUFFERS = GIB // 4
_ENDPOINTS: dict[Task, tuple[str, ...]] = {
    "generate": ("/v1/chat/completions", "/v1/completions"),
    "embed": ("/v1/embeddings",),
    "rerank": ("/v1/rerank",),
}


class LlamaCpp:
    """Driver for llama.cpp.

    Prompt caches: a seat of llama.cpp keeps the last prompt it saw and would reuse it for the next one that
    begins alike, whoever sends it; the saved time and `cached_tokens` would tell one organisation what
    another has asked. The cache is therefore off at the start and again in every body (the last word is the
    body's, hence `cache_prompt` and `id_slot` are reserved), but for bodies that are told a seat in which
    lies nobody else's: whose that is, the desk knows. Counts: with `timings_per_token` each chunk of a stream carries
    exact counts so far.
    """

    starts = True
    needs_loopback = False
    image = "ghcr.io/ggml-org/llama.cpp:server"
    families: frozenset[Family] = frozenset({"cpu"})
    sleeps: frozenset[Family] = frozenset()
    precisions: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"gguf"})
    salted = False
    again: Mapping[Literal["plain", "stream"], str] | None = {
        "plain": '"cache_prompt":true', "stream": '"cache_prompt":true,"timings_per_token":true',
    }  # fmt: skip
    own_user = True
    grace = 1.0
    metrics = ""  # closed: its seats are all there is, and the desk knows those
    reserved = frozenset({
        "cache_prompt", "timings_per_token", "return_progress",  # set by the platform
        "id_slot", "n_cache_reuse", "lora", "n_cmpl",  # chooses or takes seats, or what runs in them
        "verbose", "return_tokens", "response_fields",  # changes the shape that counts are read from
    })  # fmt: skip
    # With this header the engine keeps generating after the client has gone, and keeps the answer for others
    # to fetch.
    stripped = frozenset({"x-conversation-id"})
    checks_names = False
    adapts = True
    idle = 5.0

    def endpoints(self, task: Task) -> tuple[str, ...]:
        """The paths at which a replica with this task answers."""
        return _ENDPOINTS[task]

    def fields(self, task: Task) -> Mapping[Literal["plain", "stream"], str]:
        """JSON text without braces to put in front of a body, by kind of request."""
        if task != "generate":
            return {"plain": "", "stream": ""}
        return {"plain": '"cache_prompt":false', "stream": '"cache_prompt":false,"timings_per_token":true'}

    def adapted(self, name: str, number: int | None) -> str:  # noqa: ARG002 - the protocol's
        """Adapters go by their numbers; what a body does not name is not applied. One that names none would be answered from what
        its seat remembers of an adapter: the engine forgets that only where a body names another."""
        return f'"lora":[{{"id":{number or 0},"scale":{0.0 if number is None else 1.0}}}]'

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """Weights as they lie in the file, every seat's own part of the cache, and buffers for one batch."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _BUFFERS)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`: this Python with `llamacpp_child`."""
        # -P: nothing is imported from the folder that it happens to be started in.
        argv = (sys.executable, "-P", "-m", "samdrift.engines.llamacpp_child",
            "--weights", str(replica.weights), "--name", replica.model, "--task", replica.task,
            "--listen", replica.address, "--seats", str(replica.seats), "--context", str(replica.context),
            *(word for adapter in replica.adapters for word in ("--adapter", str(adapter.weights))),
            *(("--pool-mean",) if replica.task == "embed" and not replica.pooled else ()),
            *(("--projector", str(replica.projector)) if replica.projector else ()))  # fmt: skip
        threads = ("--threads", str(replica.threads))
        if replica.asked_threads is None:
            return Program(replica.name, argv, replica.log, owner="engines", loose=threads)
        return Program(replica.name, (*argv, *threads), replica.log, owner="engines")

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
        """Busy slots, and requests that wait for one."""
        return said_by(read_gauges(text), running="llamacpp:requests_processing", waiting="llamacpp:requests_deferred")

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": {"code": 400, "type": "exceed_context_size_error", "message": …}}`."""
        return complaint_of(status, body, {"exceed_context_size_error": "context", "unavailable_error": "overloaded"})
