"""The seats of one model: which replicas may take a request, and which one takes it."""

from __future__ import annotations

from collections.abc import Iterable

from samdrift.fairshare.tickets import Running
from samdrift.spec.fleet import Replica, ReplicaState

COMEBACK = 30.0
"""Seconds for which a model is still hoped for after its last replica went: restarts are shorter than that.
Also the guess that a caller is given when no replica is up."""


class Berth:
    """One replica and what runs on it. `known` is False for a replica that only a resumed ticket has told
    of."""

    __slots__ = ("known", "replica", "running", "seats")

    def __init__(self, replica: Replica, *, known: bool = True) -> None:
        self.replica = replica
        self.known = known
        self.running: dict[str, Running] = {}
        self.seats = max(0, replica.seats) if replica.state is ReplicaState.UP else 0
        """Seats that new requests may take: none unless the replica is up."""

    @property
    def free(self) -> int:
        """Seats that are free now."""
        return max(0, self.seats - len(self.running))


class Seats:
    """See the module. `free` and `total` count the seats of replicas that are up."""

    __slots__ = ("_berths", "free", "hope_ends", "total")

    def __init__(self) -> None:
        self._berths: dict[str, Berth] = {}
        self.free = 0
        self.total = 0
        self.hope_ends: float | None = float("-inf")
        """When hope ends that a seat will come; None while a replica is up or starting, -inf if none ever
        was."""

    @property
    def berths(self) -> Iterable[Berth]:
        """All replicas, in order of their names."""
        return self._berths.values()

    def place(self) -> Berth | None:
        """The replica with the largest part of its seats free, the first by name among equals; None if all
        are taken. O(replicas of the model), of which there are a few. What a request needs beyond a seat is
        looked at here, one day."""
        best, most = None, 0.0
        if self.free:
            for berth in self._berths.values():
                free = berth.free
                if free and free / berth.seats > most:
                    best, most = berth, free / berth.seats
        return best

    def find(self, replica: str, model: str) -> Berth:
        """The replica of this name; one without seats is made up if it is not known (yet)."""
        berth = self._berths.get(replica)
        if berth is None:
            made_up = Replica(replica, model, address="", seats=0, context=0, state=ReplicaState.DOWN)
            berth = Berth(made_up, known=False)
            self._berths = dict(sorted([*self._berths.items(), (replica, berth)]))
        return berth

    def take(self, berth: Berth, running: Running) -> None:
        """`running` sits down."""
        before = berth.free
        berth.running[running.lease.ticket] = running
        self.free += berth.free - before

    def give_back(self, running: Running) -> None:
        """`running` gets up."""
        berth = running.berth
        before = berth.free
        del berth.running[running.lease.ticket]
        self.free += berth.free - before

    def update(self, replicas: Iterable[Replica], now: float) -> list[Running]:
        """The fleet changed; these are the replicas of this model now. Returns what ran on those that are
        gone, down or of a new generation: it is lost, and sits nowhere any more."""
        old, self._berths = self._berths, {}
        hoped = self.hope_ends is None
        for replica in sorted(replicas, key=lambda r: r.name):
            berth = self._berths[replica.name] = Berth(replica)
            before = old.get(replica.name)
            if before is not None and _same_life(before, replica):
                berth.running = before.running
                for running in berth.running.values():
                    running.berth = berth
                del old[replica.name]
        self.total = sum(b.seats for b in self._berths.values())
        self.free = sum(b.free for b in self._berths.values())
        if any(b.replica.state in (ReplicaState.UP, ReplicaState.STARTING) for b in self._berths.values()):
            self.hope_ends = None
        elif hoped:
            self.hope_ends = now + COMEBACK
        lost = [running for berth in old.values() for running in berth.running.values()]
        for berth in old.values():
            berth.running = {}
        return lost


def _same_life(before: Berth, now: Replica) -> bool:
    if now.state is ReplicaState.DOWN:
        return False
    return not before.known or before.replica.generation == now.generation
