"""What the design promises about shares, checked on random plays."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import Admit, Arrived, Charge, Estimate, Finished, Left, OrganisationShare, Refuse, Tokens
from samdrift.spec.fleet import Fleet

seeds = st.integers(0, 2**32)
some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Play:
    """A random play against one scheduler, with the true costs known beforehand: who waits, who runs, and Λ, Ĉ and Ē as the
    bound wants them, from the beginning. Each organisation keeps to one class; `window` is in seconds."""

    def __init__(self, tree, engine, seed, members, window=30.0, classes=("interactive",)):
        self.random = random.Random(seed)
        self.classes = {f"o{n}": self.random.choice(classes) for n in range(members)}
        self.weights = {f"o{n}": float(self.random.choice((1, 1, 2, 5, 0.5))) for n in range(members)}
        seats = self.random.choice((1, 2, 5, 20))
        self.output_unit = self.random.choice((0, 1, 3))
        self.scheduler = Scheduler(
            tree(self.weights, waits={"interactive": 1e9, "batch": 1e9}, lease=1e9, max_queue=10**6,
                max_waiting=10**6, cost_output=float(self.output_unit), guarantee_window=window),
            Fleet((engine("chat-0", seats),)),
        )  # fmt: skip
        self.true, self.owner, self.running, self.waiting = {}, {}, {}, []
        self.largest_charge = self.largest_error = self.largest_lag = 0.0
        self.now, self.count = 0.0, 0

    def arrives(self, name):
        self.count += 1
        ticket, pick = f"t{self.count}", self.random
        # Estimates may be far off in either direction, and some requests are huge.
        true = Tokens(pick.randint(1, 1000), 0, pick.choice((0, 10, 100, 5000)))
        told = Estimate(int(true.input * pick.choice((0, 0.5, 1, 3))), pick.choice((None, 0, true.output, 50)))
        self.true[ticket], self.owner[ticket] = true, name
        self.waiting.append(ticket)
        key, priority = f"k{pick.randint(0, 3)}", self.classes[name]
        self.tell(Arrived(ticket, "chat", name, "default", key, told, priority, self.now))

    def one_ends(self):
        ticket = self.random.choice(sorted(self.running))
        if self.random.random() < 0.05:
            self.true[ticket] = Tokens()
            self.tell(Left(ticket, self.now))
        else:
            self.tell(Finished(ticket, self.true[ticket], self.now))

    def one_hangs_up(self):
        self.tell(Left(self.waiting.pop(self.random.randrange(len(self.waiting))), self.now))

    def cost(self, ticket):
        tokens = self.true[ticket]
        return tokens.input + self.output_unit * tokens.output

    @property
    def pool(self):
        return self.scheduler.floor.pools["chat"]

    def tell(self, stimulus):
        self.largest_lag = max(self.largest_lag, self.pool.nominal.beta)
        effects = self.scheduler.handle(stimulus)
        self.largest_lag = max(self.largest_lag, self.pool.nominal.beta)
        for effect in effects:
            if isinstance(effect, Admit):
                self.waiting.remove(effect.ticket)
                self.running[effect.ticket] = effect.charged
            elif isinstance(effect, Charge):
                del self.running[effect.ticket]
        for ticket, charged in self.running.items():
            self.largest_charge = max(self.largest_charge, charged / self.weights[self.owner[ticket]])
        for name, weight in self.weights.items():
            # A ticket that will leave is refunded whole, which is a larger error than that of its true cost.
            errors = (max(abs(self.cost(t) - c), c) for t, c in self.running.items() if self.owner[t] == name)
            self.largest_error = max(self.largest_error, sum(errors) / weight)

    def gap(self):
        gaps = [0.0]
        for lane in (0, 1):
            tags = [member.u for member in self.pool.turns.root.children.values() if member.backlog[lane]]
            gaps.append(max(tags, default=0.0) - min(tags, default=0.0))
        return max(gaps)

    @property
    def bound(self):
        return self.largest_lag + self.largest_charge + 2 * self.largest_error


@some
@given(seed=seeds, members=st.integers(2, 5), returning=st.booleans(), window=st.sampled_from([0.0, 0.5, 5.0, 30.0]),
    classes=st.sampled_from([("interactive",), ("batch",), ("interactive", "batch")]))  # fmt: skip
def test_the_gap_between_any_two_who_wait_is_bounded(tree, engine, seed, members, returning, window, classes):
    """|u_f − u_g| ≤ Λ + Ĉ + 2Ē, at every step; with `returning`, organisations come and go, so that the lift is at work."""
    play = Play(tree, engine, seed, members, window, classes)
    names = list(play.weights)
    for _ in range(400):
        chance = play.random.random()
        if not returning:
            waiting = Counter(play.owner[ticket] for ticket in play.waiting)
            for name in names:
                while waiting[name] < 2:
                    play.arrives(name)
                    waiting[name] += 1
        elif chance < 0.5:
            for _ in range(play.random.choice((1, 1, 8))):
                play.arrives(play.random.choice(names))
        if play.waiting and chance > 0.97:
            play.one_hangs_up()
        elif play.running:
            play.one_ends()
        play.now += play.random.choice((0.0, 0.1, 1.0))
        assert play.gap() <= play.bound * (1 + 1e-9) + 1e-6


@some
@given(seed=seeds, members=st.integers(2, 5), window=st.sampled_from([0.0, 5.0, 30.0]))
def test_whoever_always_waits_is_served_their_part_of_all_that_is_served(tree, engine, seed, members, window):
    """A_f ≥ φ_f·X − w_f·K over every span of time, K = Λ + 2Ĉ + 4Ē, whatever the others do."""
    play = Play(tree, engine, seed, members, window)
    part = play.weights["o0"] / sum(play.weights.values())
    best = None
    for _ in range(500):
        while sum(play.owner[ticket] == "o0" for ticket in play.waiting) < 2:
            play.arrives("o0")
        if play.random.random() < 0.4:
            name = play.random.choice(list(play.weights))
            for _ in range(play.random.choice((1, 1, 20))):
                play.arrives(name)
        if play.running and play.random.random() < 0.8:
            play.one_ends()
        play.now += play.random.choice((0.0, 0.1, 1.0))
        root = play.pool.turns.root
        ahead = root.children["o0"].served - part * root.served
        best = ahead if best is None else max(best, ahead)
        allowed = play.weights["o0"] * (play.largest_lag + 2 * play.largest_charge + 4 * play.largest_error)
        assert best - ahead <= allowed * (1 + 1e-9) + 1e-6


def test_shares_follow_weights_within_three_percent(stage, simulation):
    weights = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}
    sizes = {"one": (400, 300), "two": (2000, 50), "three": (100, 100), "four": (1000, 200)}
    served = simulation(stage(weights, seats=8, watch=False), sizes).run(6000)
    total = sum(served.values())
    for name, weight in weights.items():
        assert served[name] / total == pytest.approx(weight / 10, rel=0.03)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(weight=st.floats(0.2, 5.0), more=st.floats(1.2, 4.0), large=st.sampled_from([(2000, 50), (50, 500), (300, 300)]))
def test_a_larger_share_is_never_served_less(stage, simulation, weight, more, large):
    """But for what one request may make a difference."""
    sizes = {"raised": large, "other": (400, 300), "third": (100, 100)}
    part = []
    for w in (weight, weight * more):
        served = simulation(stage({"raised": w, "other": 1.0, "third": 2.0}, seats=6, watch=False), sizes).run(1500)
        part.append(served["raised"] / sum(served.values()))
    assert part[1] >= part[0] * 0.97


def test_an_idle_neighbour_changes_nothing_between_the_others(stage, simulation):
    sizes = {"a": (400, 300), "b": (100, 100)}
    alone = simulation(stage({"a": 1.0, "b": 2.0}, seats=4, watch=False), sizes).run(4000)
    beside = simulation(stage({"a": 1.0, "b": 2.0, "idle": 50.0}, seats=4, watch=False), sizes).run(4000)
    for served in (alone, beside):
        assert served["b"] / served["a"] == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("keys", [2, 50, 1000])
def test_splitting_over_many_keys_gains_nothing(stage, simulation, keys):
    sizes = {"honest": (500, 200), "split": (500, 200)}
    s = stage({"honest": 1.0, "split": 1.0}, seats=4, watch=False)
    served = simulation(s, sizes, depth=6, keys={"honest": 1, "split": keys}).run(3000)
    assert served["split"] / sum(served.values()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("alone_for", [10, 3000])
def test_a_newcomer_gets_its_half_at_once_however_long_the_other_was_alone(stage, simulation, alone_for):
    s = stage({"old": 1.0, "new": 1.0}, seats=4, watch=False)
    sim = simulation(s, {"old": (500, 200), "new": (500, 200)})
    sim.present = {"old"}
    sim.run(alone_for)
    before = dict(sim.served)
    sim.present = {"old", "new"}
    sim.run(200)
    gained = {name: sim.served[name] - before[name] for name in before}
    assert gained["new"] / sum(gained.values()) == pytest.approx(0.5, abs=0.05)


def _play(tree, engine, seed, *, names="abc", cost=1.0, weight=1.0, weights=(1.0, 2.0, 4.0), seats=3):
    """The order of admission in one random play, the same for the same seed but for what is varied. Tickets tell the
    member by its place in `names`."""
    pick = random.Random(seed)
    shares = {name: OrganisationShare(w * weight) for name, w in zip(names, weights, strict=True)}
    scheduler = Scheduler(
        tree(shares, waits={"interactive": 1e9}, cost_input=cost, cost_output=2 * cost),
        Fleet((engine("chat-0", seats),)),
    )
    running, order = [], []
    for n in range(300):
        if pick.random() < 0.6 or not running:
            place = pick.randrange(3)
            estimate = Estimate(pick.randint(20, 900), pick.randint(1, 200))
            stimulus = Arrived(f"{place}:{n}", "chat", names[place], "default", "k", estimate, "interactive", float(n))
        else:
            ticket = running.pop(pick.randrange(len(running)))
            stimulus = Finished(ticket, Tokens(pick.randint(1, 900), 0, pick.randint(1, 200)), float(n))
        for effect in scheduler.handle(stimulus):
            if isinstance(effect, Admit):
                running.append(effect.ticket)
                order.append(effect.ticket)
    return order


@some
@given(seed=seeds, power=st.integers(-6, 6))
def test_only_proportions_of_costs_and_weights_matter(tree, engine, seed, power):
    order = _play(tree, engine, seed)
    # A power of two, so that floats scale without rounding.
    if power >= 0:
        assert _play(tree, engine, seed, cost=2.0**power) == order
    assert _play(tree, engine, seed, weight=2.0**power) == order


@some
@given(seed=seeds, names=st.permutations("abc"))
def test_names_do_not_matter(tree, engine, seed, names):
    assert _play(tree, engine, seed, names="".join(names)) == _play(tree, engine, seed)


def test_a_free_turn_is_charged_all_the_same(stage):
    """Where tokens cost nothing, turns do: else whoever asks for nothing would always be next."""
    s = stage({"a": 1.0, "b": 1.0}, cost_input=0.0, cost_output=0.0)
    s.arrives("a", "a")
    for n in range(20):
        s.arrives("a", f"a{n}")
        s.arrives("b", f"b{n}")
    for _ in range(20):
        s.finishes(s.admitted[-1])
    assert 9 <= sum(ticket.startswith("b") for ticket in s.admitted) <= 12


def test_a_flood_of_requests_that_the_engine_turns_down_does_not_starve_anybody(stage):
    s = stage({"flood": 1.0, "calm": 1.0})
    s.arrives("flood", "f")
    for n in range(5):
        s.arrives("calm", f"c{n}", input=10, output=0)
    for n in range(60):
        s.arrives("flood", f"f{n}", input=0, output=0)
        size = 10 if s.admitted[-1].startswith("c") else 0
        s.finishes(s.admitted[-1], input=size, output=0)
    assert sum(ticket.startswith("c") for ticket in s.admitted) >= 4


def test_whoever_returns_is_never_behind_virtual_time(stage):
    pick = random.Random(3)
    s = stage({"a": 1.0, "b": 3.0, "c": 1.0}, seats=2)
    root = s.scheduler.floor.pools["chat"].turns.root
    running, lifted, highest = [], 0, 0.0
    for _ in range(1500):
        before = {name: member.waiting for name, member in root.children.items()}
        if pick.random() < 0.55 or not running:
            name = pick.choice("aabc")
            virtual = root.v
            ticket = s.arrives(name, input=pick.randint(1, 900), priority="batch")
            if ticket not in s.admitted and not before.get(name):
                lifted += 1
                assert root.children[name].u >= virtual
        else:
            s.finishes(running.pop(pick.randrange(len(running))), input=pick.randint(1, 900))
        running = [ticket for ticket in s.admitted if ticket not in s.charges]
        assert root.v >= highest or not root.busy, "virtual time never goes back while anybody waits or runs"
        highest = root.v if root.busy else 0.0
    assert lifted > 20


def test_memory_is_bounded_under_a_flood_of_fresh_keys(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=2, watch=False)
    s.arrives("b", "b", key="steady")
    largest = 0
    for n in range(5000):
        s.arrives("a", f"t{n}", key=f"fresh{n}")
        s.arrives("a", f"u{n}", key=f"other{n}")
        s.leaves(f"u{n}")
        if n:
            s.finishes(f"t{n - 1}")
        member = s.scheduler.floor.pools["chat"].turns.root.children["a"]
        largest = max(largest, *(len(p.children) + p.shelved_children for p in member.children.values()))
    assert largest < 1100
    s.finishes("t4999")
    assert not member.children, "an organisation that has nothing in line or running starts level when it returns"


def test_lapsed_tickets_are_remembered_up_to_a_bound(stage):
    s = stage({"a": 1.0}, seats=100, lease=1.0, watch=False)
    for n in range(12_000):
        s.arrives("a", f"t{n}")
        s.now += 0.1
    s.passes(10)
    assert len(s.scheduler.floor.lapsed) == 10_000
    assert s.finishes("t0") == []
    assert s.finishes("t11999") == [Charge("t11999", 300.0, 300.0)]


def test_virtual_time_is_set_back_before_floats_lose_sight_of_small_costs(stage):
    s = stage({"a": 1.0, "b": 1.0}, cost_input=1e6)
    s.arrives("a", "first")
    for n in range(300):
        s.arrives("a", f"a{n}", input=10**7)
        s.arrives("b", f"b{n}", input=10**7)
        s.finishes(s.admitted[-1], input=10**7)
    root = s.scheduler.floor.pools["chat"].turns.root
    assert max(root.v, *(member.u for member in root.children.values())) < 2.0**45
    turns = Counter(ticket[0] for ticket in s.admitted)
    assert abs(turns["a"] - turns["b"]) <= 3


def test_absurd_amounts_leave_everything_finite(stage):
    nan, inf = float("nan"), float("inf")
    s = stage({"a": nan, "b": inf, "c": 0.0, "d": -1.0}, seats=1, cost_output=nan, cost_cached=inf, lease=nan,
        waits={"interactive": inf})  # fmt: skip
    absurd = [nan, inf, -inf, -5, 2**63, 10**400, 0]
    for n, amount in enumerate(absurd):
        for name in "abcd":
            s.arrives(name, f"{name}{n}", input=amount, output=amount)
    for ticket in list(s.admitted):
        for amount in absurd:
            s.finishes(ticket, input=amount, output=amount, cached=amount)
    while len(s.charges) < len(s.admitted):
        s.finishes(next(t for t in s.admitted if t not in s.charges and t not in s.lapsed), *[2**63] * 2)
        if set(s.admitted) <= set(s.charges) | set(s.lapsed):
            break
    assert all(isinstance(r, Refuse) for r in s.refused.values())
