"""Any server that answers as OpenAI's does, and that somebody else keeps: on this machine, or elsewhere over TLS.

Nothing is presumed of it beyond the published interface: chat, completions and embeddings, and `stream_options.include_usage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from samdrift.engines.complaints import complaint_of
from samdrift.engines.drivers import Complaint, Family, Format, Needs, Planned, Precision, Said
from samdrift.engines.processes import Program
from samdrift.engines.speaking import speak
from samdrift.spec.abilities import Task

_ENDPOINTS: dict[Task, tuple[str, ...]] = {
    "generate": ("/v1/chat/completions", "/v1/completions"),
    "embed": ("/v1/embeddings",),
    "rerank": ("/v1/rerank",),
}
_FAR = 5.0  # seconds; it may be on another continent


class OpenAiCompatible:
    """Driver for a server that is not ours.

    Prompt caches: how it keeps prompts is its own affair; all that come through here look like one customer to it. Counts: a
    stream is counted by the usage at its end, so of one that breaks off only the estimate is known.
    """

    starts = False
    needs_loopback = False
    image = ""
    families: frozenset[Family] = frozenset()
    sleeps: frozenset[Family] = frozenset()
    precisions: frozenset[Precision] = frozenset()
    formats: frozenset[Format] = frozenset()
    reserved = frozenset({
        "service_tier", "background",  # what it would charge; work that outlives the request
    })  # fmt: skip
    stripped = frozenset({"openai-organization", "openai-project", "idempotency-key"})
    salted = False
    again: Mapping[Literal["plain", "stream"], str] | None = None
    own_user = False
    checks_names = True
    adapts = False
    idle = 5.0
    grace = 0.0
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

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:  # noqa: ARG002
        """Nothing of ours."""
        return Needs(0)

    def program(self, replica: Planned) -> Program:
        """It is not ours to start."""
        raise ValueError(f"{replica.name}: a server that somebody else keeps is not started here")

    async def healthy(self, address: str) -> bool:
        """Whether it answers. That it wants to know who asks is an answer, too: the credential is Envoy's and not known here."""
        said = await speak(address, "/v1/models", timeout=_FAR)
        return said is not None and said[0] < 500

    async def sleep(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It is not ours to put to sleep."""
        return False

    async def wake(self, address: str) -> bool:  # noqa: ARG002 - the protocol's
        """It is not ours to wake."""
        return False

    def heard(self, text: str) -> Said | None:  # noqa: ARG002 - the protocol's
        """It does not say."""
        return None

    def complaint(self, status: int, body: bytes) -> Complaint:
        """`{"error": {"message": …, "type": …, "code": "context_length_exceeded"}}`."""
        return complaint_of(status, body, {"context_length_exceeded": "context", "model_not_found": "model",
            "rate_limit_exceeded": "overloaded", "insufficient_quota": "overloaded"})  # fmt: skip
