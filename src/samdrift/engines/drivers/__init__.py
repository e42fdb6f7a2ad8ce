"""What the rest asks of an engine's driver: how one kind of engine is started, asked how it is, and spoken to.

One module of this package implements the protocol for each engine, and they do not know each other. A driver holds no state and
decides nothing: it knows words. `samdrift.engines.repertoire` lists them all by the names that stand in documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from samdrift.engines.processes import Program
from samdrift.spec.abilities import Task

Family = Literal["cpu", "nvidia", "amd"]
"""Whose device it is: the part of a device's `kind` before the first hyphen."""
Precision = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
Format = Literal["gguf", "safetensors"]
"""How weights lie on a disk: in one GGUF file, or in a folder with safetensors and what stands beside them."""

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class AdapterAtHand:
    """A LoRA adapter with its weights at hand: a GGUF file, or a folder with safetensors. `rank` is the number of its columns,
    None where it does not say; `size` is in bytes."""

    name: str
    weights: Path
    rank: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """A replica as the document wants it, with its weights at hand.

    `seats` is how many requests it runs at once, `context` how many tokens one seat holds. `address` is the
    path of the Unix socket that it must listen on. `pooled` says that the weights say themselves how an
    embedding is pooled. `threads` is how many processor threads it may use: `asked_threads` if the document
    says so, else a share that depends on the other models. A change of that share alone is no reason to
    replace a replica: it would let a change to one model restart all others.

    `images` says that it takes images in chats, and `projector` is the file through which llama.cpp does. Unless it is `shared`,
    by one organisation whose keys may profit from each other, what an engine has made of one's image is kept for nobody.

    `adapters` are what it serves beside the model, in the order in which the engine counts them.

    `family` is the kind of device it stands on and `devices` their numbers there (none for a processor): it is cut over as many
    as there are. `kv_memory` is how many bytes on all of them together its cache may take, None where the engine decides. `share`
    is which part of each of them it is reckoned to take with all it has, None where nobody knows; what is measured changes it.
    """

    name: str
    model: str
    engine: str
    task: Task
    weights: Path
    pooled: bool
    seats: int
    context: int
    address: str
    log: Path
    asked_threads: int | None
    threads: int = field(compare=False)
    family: Family = "cpu"
    devices: tuple[int, ...] = ()
    kv_memory: int | None = None
    share: float | None = field(default=None, compare=False)
    images: bool = False
    shared: bool = False
    projector: Path | None = None
    adapters: tuple[AdapterAtHand, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What an engine needs to serve some weights: bytes of memory on each of its devices, before anything was measured."""

    memory: int


def parted(whole: int, devices: int) -> int:
    """What of so many bytes is on each of so many devices, where a model is cut over them; rounded up."""
    return -(-whole // devices)


def visible(replica: Planned) -> dict[str, str]:
    """The variables by which an engine sees its own devices and no others, by the numbers that NVML and AMD SMI give them."""
    numbers = ",".join(map(str, replica.devices))
    if not numbers:
        return {}
    if replica.family == "amd":  # ROCm's programs read either, and some want both to say the same
        return {"HIP_VISIBLE_DEVICES": numbers, "CUDA_VISIBLE_DEVICES": numbers}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": numbers}


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine says of itself: how many requests it works on and how many wait inside it, which part of its cache is in
    use (None: it does not say), and how often it has put off a running request since it started."""

    running: int
    waiting: int
    kv_used: float | None = None
    preemptions: int = 0


Complaint = Literal["context", "overloaded", "memory", "request", "model", "engine"]
"""What an engine means by an error: the prompt is too long; it has too much to do; it ran out of memory; the request is wrong; it
does not know the model; it is broken."""


class Driver(Protocol):
    """How one kind of engine is started, asked for its health, and spoken to."""

    starts: bool
    """Whether it can be started here. If not, `program` raises: somebody else keeps it."""

    needs_loopback: bool
    """Whether it needs a loopback interface, if only to speak to itself."""

    image: str
    """The container image that a cluster runs it from; "" if there is none."""

    families: frozenset[Family]
    """The devices that it runs on."""

    sleeps: frozenset[Family]
    """The devices whose memory it can give back while it lives on, with its weights in the machine's memory (`sleep`)."""

    precisions: frozenset[Precision]
    """The precisions of weights that it serves."""

    formats: frozenset[Format]
    """How weights must lie for it; empty for one that has its own."""

    reserved: frozenset[str]
    """Top-level fields of a body that clients must not send to this engine: they would change what the
    platform counts, or reach what other organisations left in the engine."""

    stripped: frozenset[str]
    """Request headers (lower case) that must not reach this engine."""

    salted: bool
    """Whether it keeps prompts apart by a field `cache_salt`. One that does not must not keep them from one request to the next,
    or they are kept for all alike."""

    again: Mapping[Literal["plain", "stream"], str] | None
    """As `fields` of a model that generates, for a request that may use what its seat remembers of the one before; None for an
    engine that does not let a request choose its seat by a field `id_slot`."""

    checks_names: bool
    """Whether it answers only where the body's `model` is the name of the model, or of an adapter, itself."""

    adapts: bool
    """Whether it serves LoRA adapters beside the model."""

    own_user: bool
    """Whether it can run as a user of its own, who has no home, no groups, and a limit to what it may allocate."""

    idle: float
    """Seconds after which the engine closes a connection that nobody uses; a proxy must give it up sooner."""

    grace: float
    """Seconds that it may take to go after SIGTERM, with nothing running on it."""

    metrics: str
    """Where it says how it fares: a path for `heard`, "" if it does not."""

    def endpoints(self, task: Task) -> tuple[str, ...]:
        """The paths at which a replica with this task answers; none if it cannot do it, or does not say what it took."""

    def fields(self, task: Task) -> Mapping[Literal["plain", "stream"], str]:
        """JSON text without braces to put in front of a body, by kind of request."""

    def adapted(self, name: str, number: int | None) -> str:
        """JSON text without braces in front of a body for the adapter of this name, the engine's `number`th; for None, the model
        itself where it has adapters. "" where the body's `model` says it."""

    def needs(self, *, weights: int, kv_per_token: int, seats: int, context: int, devices: int = 1) -> Needs:
        """What it needs for weights of so many bytes, whose cache takes so many bytes for a token, on each of as many `devices`
        as it is cut over."""

    def program(self, replica: Planned) -> Program:
        """The process that serves `replica`. Raises ValueError for an engine that is not ours to start."""

    async def healthy(self, address: str) -> bool:
        """Whether the engine at `address` is ready for requests. False at any doubt; it never raises."""

    async def sleep(self, address: str) -> bool:
        """Ask it to give back the memory of its devices and live on; nothing runs on it. False if it cannot or did not: then
        it is to be stopped instead. It never raises."""

    async def wake(self, address: str) -> bool:
        """Ask one that sleeps to take its memory again. False if it cannot or did not. It never raises."""

    def heard(self, text: str) -> Said | None:
        """What the text at `metrics` means; None if it does not say. Any text is borne."""

    def complaint(self, status: int, body: bytes) -> Complaint:
        """What an error of this engine means. Any status of 400 and above, any body."""


class Loading(Protocol):
    """An engine that takes adapters while it runs. None of this raises."""

    async def adapters_in(self, address: str, model: str) -> frozenset[str] | None:
        """The adapters that it has beside `model`; None if it does not say."""

    async def load_adapter(self, address: str, adapter: AdapterAtHand) -> bool:
        """Give it an adapter. False if it would not take it."""

    async def unload_adapter(self, address: str, name: str) -> bool:
        """Take an adapter from it; what runs with it goes on."""
