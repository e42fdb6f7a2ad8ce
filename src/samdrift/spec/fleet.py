"""The fleet: which replicas of which model are up, where, with how many seats.

The one value that `engines` makes and `gateway` reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplicaState(StrEnum):
    """Where a replica is in its life. Only `UP` takes new requests; `DRAINING` finishes what it has. One that is `ASLEEP` has no
    memory of devices, and mostly no process; it starts, or is woken, when its model is asked for."""

    ASLEEP = "asleep"
    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Replica:
    """One running engine of a model.

    `name` is unique and stable over restarts (`chat-small-0`); it is also Envoy's cluster name. `address` is a
    path of a Unix socket (begins with `/`) or `host:port` on loopback. `seats` is how many sequences it runs at once;
    `context` is the number of tokens that one seat holds. `fields` is JSON text without braces that is put
    in front of a body for this engine, by kind of request: `plain` or `stream`. `generation` counts restarts: a new
    process is a new generation of the same replica, and what was in flight on the old one is lost. `kv_tokens` is how many
    tokens its cache holds for all seats together; None where every seat has its own, so that seats are all that counts.
    `salted` says that its engine keeps prompts apart by a salt in the body. `again` is the same two texts, `plain` and
    `stream`, for a request that may use what its seat remembers of the one before; None for an engine that cannot be told which
    seat to take. `checks_names` says that its engine answers only to the name of the model or adapter itself. `adapters`
    are those that it has, and the model itself beside them, each with what stands in front of a body that asks for it;
    `coming` are the names of those that it will have, or another one in its stead. `followed` says of one that drains that
    another one comes in its stead when it has gone. `portion` is the part of new requests that it may take while another
    replica of its model is up: less than 1 while a new version is tried.
    """

    name: str
    model: str
    address: str
    seats: int
    context: int
    state: ReplicaState = ReplicaState.UP
    generation: int = 0
    fields_plain: str = ""
    fields_stream: str = ""
    kv_tokens: int | None = None
    salted: bool = False
    portion: float = 1.0
    again: tuple[str, str] | None = None
    checks_names: bool = False
    adapters: tuple[tuple[str, str], ...] = ()
    coming: tuple[str, ...] = ()
    followed: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """All replicas, in order of their names."""

    replicas: tuple[Replica, ...] = ()
