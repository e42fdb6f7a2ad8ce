"""What one neighbour can do to the others: floods, bursts, and a share that was borrowed.

The community has eight modest members (weights 4, 4, 2, 2, 2, 1, 1, 1; at 60 % of what they are due, chatting), one
of weight 2 that comes back from idling with sixteen requests at once, and one of weight 1 that may attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import A10G_7B, H100_CLASS
from samdrift.simulation.workload import Request, Workload, numbered
from samdrift.spec.document import Priority

VICTIMS = tuple(f"member-{number}" for number in range(1, 9))
RETURNING, AGGRESSOR = "returning", "aggressor"
WEIGHTS = {
    **dict(zip(VICTIMS, (4.0, 4.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0), strict=True)), RETURNING: 2.0, AGGRESSOR: 1.0,
}  # fmt: skip
ATTACK, END = 60.0, 600.0
"""Seconds: when the attack begins, and when everybody stops asking."""
_CAPACITY = 10_200.0
"""Weighted tokens per second that a full pool does with a mix of chat and flood."""
_DUE, _BURST, _EVERY = 0.6, 16, 45.0
WAITS: dict[Priority, float] = {"interactive": 20.0, "standard": 60.0, "batch": 900.0}
"""The document's defaults, in seconds."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Sizes of a chat: lognormal, in tokens."""

    read: float = 300.0
    read_sigma: float = 0.9
    written: float = 180.0
    written_sigma: float = 0.8

    def request(self, who: str, at: float, draws: Draws, priority: Priority = "interactive") -> Request:
        """One turn of a conversation; its limit of output is what applications commonly set."""
        read = draws.tokens(self.read, self.read_sigma, 8, 8000)
        written = draws.tokens(self.written, self.written_sigma, 4, 1500)
        return Request(0, who, at, read, written, 2048, priority)

    @property
    def mean_cost(self) -> float:
        """Weighted tokens of a request (946, as these are cut)."""
        return 946.0


CHAT = Chat()


def modest(seed: int, end: float = END) -> list[Request]:
    """The eight members who ask for 60 % of what they are due, and the one who comes back."""
    requests = []
    total = sum(WEIGHTS.values())
    for who in VICTIMS:
        draws = Draws(seed).fork(who)
        rate = WEIGHTS[who] / total * _CAPACITY * _DUE / CHAT.mean_cost
        requests += [CHAT.request(who, at, draws) for at in draws.poisson_times(rate, 0.0, end)]
    draws = Draws(seed).fork(RETURNING)
    at = ATTACK + draws.between(20.0, 20.0 + _EVERY)
    while at < end:
        requests += [CHAT.request(RETURNING, at + 0.001 * n, draws) for n in range(_BURST)]
        at += _EVERY * draws.between(0.8, 1.2)
    return requests


def community(name: str, requests: Iterable[Request], **settings: object) -> Workload:
    """These requests on an H100-class replica, watched until every modest member has been answered."""
    return Workload(
        name, WEIGHTS, numbered(list(requests)), H100_CLASS, END, (ATTACK, END), watched=(*VICTIMS, RETURNING), modest=VICTIMS,
        waits=WAITS, max_queue=1_000, **settings,  # type: ignore[arg-type] # for outages and the like
    )  # fmt: skip


def peace(seed: int) -> Workload:
    """The modest members alone."""
    return community("peace", modest(seed))


def _flood(seed: int, rate: float, read: int, written: int, priority: Priority, limit: int | None = None) -> list[Request]:
    draws = Draws(seed).fork(AGGRESSOR)
    return [Request(0, AGGRESSOR, at, read, written, limit, priority) for at in draws.poisson_times(rate, ATTACK, END)]


def flood_batch(seed: int) -> Workload:
    """The aggressor sends 14 batch requests a second, 1 500 tokens in and 600 out: almost four times the pool."""
    return community("flood-batch", modest(seed) + _flood(seed, 14.0, 1500, 600, "batch", 600))


def flood_interactive(seed: int) -> Workload:
    """The same, and it says that all of it is urgent."""
    return community("flood-interactive", modest(seed) + _flood(seed, 14.0, 1500, 600, "interactive", 600))


def long_outputs(seed: int) -> Workload:
    """Few requests that each write 8 000 tokens."""
    return community("long-outputs", modest(seed) + _flood(seed, 2.0, 200, 8000, "interactive", 8000))


def giant_prompts(seed: int) -> Workload:
    """Requests of 24 000 tokens to read and 50 to write."""
    return community("giant-prompts", modest(seed) + _flood(seed, 1.5, 24_000, 50, "interactive", 50))


def lying_limits(seed: int) -> Workload:
    """The aggressor's limits lie: most say 16 tokens, and are cut there; every tenth says 16 000 and takes 600."""
    honest = _flood(seed, 36.0, 300, 600, "interactive", 16)
    greedy = _flood(seed + 1, 4.0, 300, 600, "interactive", 16_000)
    return community("lying-limits", modest(seed) + honest + greedy)


def many_users(seed: int) -> Workload:
    """The flood comes from a thousand users in fifty projects, to look like many."""
    draws = Draws(seed).fork("sybil")
    requests = [
        replace(request, project=f"project-{draws.whole(0, 49)}", key=f"key-{draws.whole(0, 999)}")
        for request in _flood(seed, 14.0, 1500, 600, "interactive", 600)
    ]
    return community("many-users", modest(seed) + requests)


def pulses(seed: int) -> Workload:
    """The aggressor asks for 30 s as much as it can and is silent for 30 s, again and again."""
    requests = _flood(seed, 28.0, 1500, 600, "interactive", 600)
    return community("pulses", modest(seed) + [r for r in requests if int(r.at // 30.0) % 2 == 0])


def cancel_storm(seed: int) -> Workload:
    """Callers of the aggressor hang up after a second and a half of waiting, and others come."""
    requests = [replace(request, patience=1.5) for request in _flood(seed, 40.0, 1500, 600, "interactive", 600)]
    return community("cancel-storm", modest(seed) + requests)


def borrowed(seed: int) -> Workload:
    """One member has all for five minutes, since nobody else wants it; then an equal comes back, and both want all.
    What is the first one's part from then on?"""
    draws = Draws(seed)
    requests = [Request(0, "first", at, 256, 256, 256) for at in draws.fork("first").poisson_times(2.5, 0.0, 500.0)]
    requests += [Request(0, "second", at, 256, 256, 256) for at in draws.fork("second").poisson_times(2.5, 300.0, 500.0)]
    weights = {"first": 1.0, "second": 1.0}
    return Workload(
        "borrowed", weights, numbered(requests), A10G_7B, 500.0, (300.0, 500.0), contenders=("first", "second"), drain=False
    )  # fmt: skip


def two_doors(seed: int) -> Workload:
    """Three members each ask for more than all of two small replicas: for a pool whose admission is doubled. The
    outputs can be foreseen (each length is a project of its own), so that what is seen is the gossip and not an error
    of prediction; they differ, so that the seats do not come free in waves."""
    requests = []
    members = ("first", "second", "third")
    for who in members:
        draws = Draws(seed).fork(who)
        for at in draws.poisson_times(12.0, 0.0, 300.0):
            written = 24 * draws.whole(1, 16)
            requests.append(Request(0, who, at, draws.whole(100, 500), written, written, project=f"length-{written}"))
    half = replace(H100_CLASS, name="half an H100-class", seats=40)
    return Workload(
        "two-doors", dict.fromkeys(members, 1.0), numbered(requests), half, 300.0, (30.0, 300.0), replicas=2,
        contenders=members, drain=False,
    )  # fmt: skip


def alone(seed: int) -> Workload:
    """One member asks for more than all, and nobody else for anything. What it gets is what the pool can do."""
    draws = Draws(seed).fork("alone")
    requests = [CHAT.request(VICTIMS[0], at, draws) for at in draws.poisson_times(16.0, 0.0, 300.0)]
    return Workload("alone", WEIGHTS, numbered(requests), H100_CLASS, 300.0, (30.0, 300.0), contenders=(), drain=False)


def night(seed: int) -> Workload:
    """Everybody has batch work, together for more than all, and nobody is at a screen."""
    requests = []
    for who in WEIGHTS:
        draws = Draws(seed).fork(who)
        requests += [CHAT.request(who, at, draws, "batch") for at in draws.poisson_times(1.6, 0.0, 300.0)]
    return Workload("night", WEIGHTS, numbered(requests), H100_CLASS, 300.0, (30.0, 300.0), drain=False)


ADVERSARIES: dict[str, Callable[[int], Workload]] = {
    "peace": peace, "flood-batch": flood_batch, "flood-interactive": flood_interactive, "long-outputs": long_outputs,
    "giant-prompts": giant_prompts, "lying-limits": lying_limits, "many-users": many_users, "pulses": pulses,
    "cancel-storm": cancel_storm,
}  # fmt: skip
QUIET: dict[str, Callable[[int], Workload]] = {"borrowed": borrowed, "alone": alone, "night": night}
