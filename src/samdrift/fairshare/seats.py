"""The seats of one model: which replicas may take a request, and which one takes it."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from samdrift.fairshare.cost import COLD_INPUT, COLD_OUTPUT
from samdrift.fairshare.memory import Memory, Need
from samdrift.fairshare.portions import Portions, is_part, seats_of
from samdrift.fairshare.tickets import Running
from samdrift.spec.fleet import Replica, ReplicaState

COMEBACK = 30.0
"""Seconds for which a model is still hoped for after its last replica went: restarts are shorter than that.
Also the guess that a caller is given when no replica is up."""
_AT_HOME, _FREE = 0.6, 0.4  # what counts in the choice of a replica: that it knows the session, and how free it is
_SOUGHT, _NOWHERE = 2.0, -2.0  # and that others may need it more than this one, which comes before both
_EVERY = 1.0  # seconds
_HOPEFUL = frozenset({ReplicaState.UP, ReplicaState.STARTING, ReplicaState.ASLEEP})


class Berth:
    """One replica and what runs on it. `known` is False for a replica that only a resumed ticket has told of. `memory` is
    None where seats are all that counts."""

    __slots__ = (
        "_corrected_at", "_put_off", "_waited", "adapters", "known", "memory", "offered", "replica", "running", "seats",
        "shut_until",
    )  # fmt: skip

    def __init__(self, replica: Replica, *, known: bool = True) -> None:
        self.replica = replica
        self.known = known
        self.adapters = frozenset(name for name, _ in replica.adapters)
        self.running: dict[str, Running] = {}
        self.offered = max(0, replica.seats) if replica.state is ReplicaState.UP else 0
        """Seats that it has: none unless it is up."""
        self.seats = self.offered
        """Seats that new requests may take: fewer while its engine says that these are too many."""
        self.memory = Memory(float(replica.kv_tokens)) if replica.kv_tokens and replica.kv_tokens > 0 else None
        self.shut_until = float("-inf")
        """Nothing is sent there until then: not for ever, should its engine fall silent."""
        self._waited = self._put_off = 0
        self._corrected_at = float("-inf")

    @property
    def free(self) -> int:
        """Seats that are free now."""
        return max(0, self.seats - len(self.running))

    @property
    def at_once(self) -> float:
        """How many requests such as strangers send it could work on."""
        return self.offered if self.memory is None else min(self.offered, self.tokens / (COLD_INPUT + COLD_OUTPUT))

    @property
    def tokens(self) -> float:
        """What its cache holds, as far as requests get there: one that is tried has the part of it that goes with its seats."""
        if self.memory is None:
            return 0.0
        return self.memory.tokens * min(1.0, self.offered / self.replica.seats) if self.replica.seats > 0 else self.memory.tokens

    def go_on_from(self, before: Berth) -> None:
        """It is the same engine as before: what ran on it runs on, what was learnt holds."""
        self.running = before.running
        for running in self.running.values():
            running.berth = self
        if before.known:
            self.seats = max(0, self.offered - max(0, before.offered - before.seats))
            self._waited, self._put_off, self._corrected_at = before._waited, before._put_off, before._corrected_at
            if before.memory is not None and self.memory is not None:
                before.memory.tokens, self.memory = self.memory.tokens, before.memory

    def hear(self, waiting: int, preemptions: int, at: float) -> None:
        """Its engine has spoken. While more than one request waits inside it nothing is sent there, for the order would be
        lost. If it put off a running request, or if requests wait inside it twice in a row, less is sent to it from now
        on: a smaller part of the cache, or where seats are all that counts, one seat in twenty less. Else a little more,
        up to what it has; at most once a second each way."""
        self.shut_until = at + _EVERY if waiting > 1 else at
        self._waited = self._waited + 1 if waiting > 0 else 0
        crowded = self._waited > 1 or preemptions > self._put_off
        # An engine that counts from 0 again has been restarted.
        self._put_off = max(0, preemptions)
        if at - self._corrected_at < _EVERY or (waiting > 0 and not crowded):
            return
        self._corrected_at = at
        if self.memory is not None:
            self.memory.correct(crowded=crowded)
        elif crowded:
            self.seats = max(min(1, self.offered), self.seats - max(1, self.seats // 20))
        elif self.seats < self.offered:
            self.seats += 1


class Seats:
    """See the module. `free` and `total` count the seats of replicas that are up."""

    __slots__ = (
        "_adapters", "_all_have", "_berths", "_coming", "_portions", "_tried", "_untried", "free", "hope_ends", "memory",
        "offered", "total", "up",
    )  # fmt: skip

    def __init__(self) -> None:
        self._berths: dict[str, Berth] = {}
        # Those that take only a part of what comes, for others are up; and whose turn it is.
        self._tried: tuple[Berth, ...] = ()
        self._portions = Portions()
        # Adapters: those that some replica has that is up, that all of these have, that some have that are not just tried, and
        # those that some will have.
        self._adapters = self._all_have = self._untried = self._coming = frozenset[str]()
        self.free = 0
        self.total = 0
        self.offered = 0.0
        """How many requests all that are up could work on at once, if their engines had nothing to say: by seats, and by
        what caches hold of requests such as strangers send."""
        self.up = 0
        """How many replicas are up."""
        self.memory = 0.0
        """Tokens that all caches hold together; 0 if any has no bound."""
        self.hope_ends: float | None = float("-inf")
        """When hope ends that a seat will come; None while a replica is up, starting, asleep until it is asked for, or drains
        so that another can take its place; -inf if none ever was."""

    @property
    def berths(self) -> Iterable[Berth]:
        """All replicas, in order of their names."""
        return self._berths.values()

    @property
    def reserved(self) -> float:
        """Tokens that those in flight will hold at their ends, over all caches. O(replicas)."""
        return sum(berth.memory.reserved for berth in self._berths.values() if berth.memory is not None)

    def place(
        self, need: Need | None, now: float, pace: float, *, session: str | None = None, fenced: Berth | None = None,
        spare: float = 0.0, adapter: str | None = None,
    ) -> Berth | None:  # fmt: skip
        """Where a request goes, of the replicas with a free seat and, for what it needs, room in their cache: where its
        session is at home, if that is not much fuller than the others; else the one with the largest part of its seats
        free, the first by name among equals. None if nowhere. One that is tried takes it if it is its turn, and never else.
        One that asks for an `adapter` goes where that is had, to one that is tried also out of its turn if nobody else has it;
        and those that any replica can serve leave alone, if they can, those replicas that have what others have not.
        `fenced` is kept for somebody else. O(replicas of the model), of which there are a few."""
        best, most = None, _NOWHERE
        if not self.free:
            return None
        home = self._home(session) if session else None
        anywhere = adapter is None or adapter in self._all_have
        for berth in self._berths.values():
            free = berth.free
            if not free or berth is fenced or now < berth.shut_until or not (adapter is None or adapter in berth.adapters):
                continue
            if self._tried and berth in self._tried:
                turn = self._portions.turn(berth.replica.name) or not (anywhere or adapter in self._untried)
                if turn and (berth.memory is None or need is None or berth.memory.fits(need, now, pace, spare)):
                    return berth
                continue
            score = _FREE * free / berth.seats + (_AT_HOME if berth is home else 0.0)
            if anywhere and len(berth.adapters) > len(self._all_have):
                score -= _SOUGHT
            if score > most and (berth.memory is None or need is None or berth.memory.fits(need, now, pace, spare)):
                best, most = berth, score
        return best

    def serves(self, adapter: str | None) -> bool:
        """Whether a request for this adapter is to stand in line: a replica that is up has it, or none is up."""
        return adapter is None or not self.up or adapter in self._adapters

    def hopes_for(self, adapter: str | None) -> bool:
        """Whether a replica has this adapter, or will."""
        return adapter is None or self.serves(adapter) or adapter in self._coming

    def has_seat(self, adapter: str, fenced: Berth | None = None) -> bool:
        """Whether a seat is free where this adapter is had, on another replica than `fenced`. O(replicas of the model)."""
        return any(berth.free and adapter in berth.adapters and berth is not fenced for berth in self._berths.values())

    def roomiest(self, adapter: str | None = None) -> Berth | None:
        """The replica where a request (for this adapter) that fits nowhere will fit first, as far as one can tell: the least
        reserved."""
        up = [berth for berth in self._open() if berth.memory is not None and (adapter is None or adapter in berth.adapters)]
        return min(up, key=_part_reserved, default=None)

    def find(self, replica: str, model: str) -> Berth:
        """The replica of this name; one without seats is made up if it is not known (yet)."""
        berth = self._berths.get(replica)
        if berth is None:
            made_up = Replica(replica, model, address="", seats=0, context=0, state=ReplicaState.DOWN)
            berth = Berth(made_up, known=False)
            self._berths = dict(sorted([*self._berths.items(), (replica, berth)]))
        return berth

    def known(self, replica: str) -> Berth | None:
        """The replica of this name, if there is one."""
        return self._berths.get(replica)

    def take(self, berth: Berth, running: Running, now: float) -> None:
        """`running` sits down."""
        before = berth.free
        berth.running[running.lease.ticket] = running
        self.free += berth.free - before
        if self._tried and running.rank is not None:  # one that nobody knows any more had its turn in an earlier life
            self._portions.placed(berth.replica.name)
        if berth.memory is not None and running.need is not None:
            berth.memory.hold(running.lease.ticket, running.need, now)

    def give_back(self, running: Running) -> None:
        """`running` gets up."""
        berth = running.berth
        before = berth.free
        del berth.running[running.lease.ticket]
        self.free += berth.free - before
        if berth.memory is not None:
            berth.memory.release(running.lease.ticket)

    def count(self) -> None:
        """Some replica has more or fewer seats than before."""
        self.total = sum(b.seats for b in self._berths.values())
        self.free = sum(b.free for b in self._berths.values())
        self.offered = sum(b.at_once for b in self._berths.values())
        up = [b for b in self._berths.values() if b.seats]
        self.up = len(up)
        self.memory = sum(b.tokens for b in up) if all(b.memory for b in up) else 0.0

    def update(self, replicas: Iterable[Replica], now: float) -> list[Running]:
        """The fleet changed; these are the replicas of this model now. Returns what ran on those that are
        gone, down or of a new generation: it is lost, and sits nowhere any more."""
        old, self._berths = self._berths, {}
        hoped = self.hope_ends is None
        for replica in sorted(replicas, key=lambda r: r.name):
            self._berths[replica.name] = Berth(replica)
        self._try()
        for name, berth in self._berths.items():
            before = old.get(name)
            if before is not None and _same_life(before, berth.replica):
                berth.go_on_from(before)
                del old[name]
        self.count()
        if any(b.replica.state in _HOPEFUL or b.replica.followed for b in self._berths.values()):
            self.hope_ends = None
        elif hoped:
            self.hope_ends = now + COMEBACK
        self._survey()
        lost = [running for berth in old.values() for running in berth.running.values()]
        for berth in old.values():
            berth.running = {}
        return lost

    def _try(self) -> None:
        """Find out who is tried: who is to take a part only while somebody who takes all is up. They have been made just now."""
        up = [berth for berth in self._berths.values() if berth.offered]
        others = sum(berth.offered for berth in up if not is_part(berth.replica.portion))
        self._tried = tuple(berth for berth in up if is_part(berth.replica.portion)) if others else ()
        for berth in self._tried:
            berth.offered = berth.seats = seats_of(berth.replica.portion, others, berth.offered)
        self._portions.tried({berth.replica.name: berth.replica.portion for berth in self._tried})

    def _survey(self) -> None:
        """Find out which adapters are had, and which will be."""
        up = [berth for berth in self._berths.values() if berth.offered]
        self._adapters = frozenset[str]().union(*(berth.adapters for berth in up))
        self._all_have = up[0].adapters.intersection(*(berth.adapters for berth in up)) if up else frozenset()
        self._untried = frozenset[str]().union(*(berth.adapters for berth in up if berth not in self._tried))
        hopeful = [berth for berth in self._berths.values() if berth.replica.state in _HOPEFUL]
        self._coming = frozenset[str]().union(*(berth.replica.coming for berth in self._berths.values()),
            *(berth.adapters for berth in hopeful))  # fmt: skip

    def _open(self) -> list[Berth]:
        """The replicas that are up and not just tried."""
        return [berth for berth in self._berths.values() if berth.seats and berth not in self._tried]

    def _home(self, session: str) -> Berth | None:
        """Where a session is at home: rendezvous hashing, so that a replica that comes or goes moves few sessions."""
        up = self._open()
        return max(up, key=lambda berth: crc32(f"{session}\0{berth.replica.name}".encode("utf-8", "replace")), default=None)


def _part_reserved(berth: Berth) -> float:
    return berth.memory.reserved / berth.memory.tokens if berth.memory is not None else 0.0


def _same_life(before: Berth, now: Replica) -> bool:
    if now.state is ReplicaState.DOWN:
        return False
    return not before.known or before.replica.generation == now.generation
