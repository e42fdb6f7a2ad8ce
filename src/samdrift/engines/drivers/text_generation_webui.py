"""text-generation-webui (oobabooga), its API without the pages, on a port of its own loopback behind our relay.

Its options, fields and paths are those of version 4. It is started by a command `text-generation-webui`, which whoever
installs it puts on the path of programs: it comes without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import GIB, Complaint, Family, Format, Needs, Planned, Precision, Said, parted, visible
from samdrift.engines.probing import answers_ok
from samdrift.engines.processes import Program
from samdrift.engines.relaying import PORT, relayed
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {"generate": ("/v1/chat/completions", "/v1/completions"), "embed": (), "rerank": ()}
_OVERHEAD = GIB


class TextGenerationWebui:
    """Driver for text-generation-webui with its llama.cpp loader.

    Prompt caches: it reuses whatever prompt a slot has seen last, and cannot be told not to, so its model should belong to one
    organisation. Counts: a stream is counted by the usage at its end, so of one that breaks off only the estimate is known.
    """

    starts = True
    needs_loopback = True
    image = ""
    families: frozenset[Family] = frozenset({"cpu", "nvidia", "amd"})
    sleeps: frozenset[Family] = frozenset()
    precisions: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16", "int8", "int4"})
    formats: frozenset[Format] = frozenset({"gguf"})
    reserved = frozenset({
        "character", "preset", "instruction_template",  # files of the machine that it would read
        "instruction_template_str", "chat_template_str",  # templates are programs
        "negative_prompt", "guidance_scale",  # a second sequence in one seat
    })  # fmt: skip
    stripped: frozenset[str] = frozenset()
    salted = False
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = False
    adapts = False
    idle = 5.0
    grace = 10.0
    metrics = ""

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
        """Weights as they lie in the file, every seat's own part of the cache, and itself."""
        return Needs(parted(weights + seats * context * kv_per_token, devices) + _OVERHEAD)

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`."""
        argv = ("text-generation-webui", "--nowebui", "--api", "--api-port", PORT, "--loader", "llama.cpp",
            "--model-dir", str(replica.weights.parent), "--model", replica.weights.name,
            "--parallel", str(replica.seats), "--ctx-size", str(replica.seats * replica.context),
            "--threads", str(replica.asked_threads or replica.threads),
            "--gpu-layers", "-1" if replica.devices else "0")  # fmt: skip
        env = {"HF_HUB_OFFLINE": "1"}
        env |= visible(replica)
        return Program(replica.name, relayed(replica.address, argv), replica.log, env=env, owner="engines")

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` answers; it does so only once its model is loaded."""
        return await answers_ok(address, "/v1/internal/health")

    async def sleep(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It gives nothing back but by ending."""
        return False

    async def wake(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It never sleeps."""
        return False

    def heard(self, text: str) -> Said | None:  # noqa: ARG002 - the protocol's
        """It does not say."""
        return None

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": {"message": …, "code": …, "type": "InvalidRequestError"}}`, or `{"detail": …}`."""
        return complaint_of(status, body, {"InvalidRequestError": "request", "ServiceUnavailableError": "overloaded"})
