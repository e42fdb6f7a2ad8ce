"""What the planner of placement decides, as plays and as properties of random weeks."""

from __future__ import annotations

import dataclasses
import random
import time
from dataclasses import dataclass, field

import pytest
from bench.placement import large
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.engines.placement import CROWD, MOST_TURN, TURN, never_fits, plan
from samdrift.engines.residents import Device, Load, Release, Resident, Want
from samdrift.spec.demand import Demand

GIB = 2**30


def want(model, need=1, **more):
    return dataclasses.replace(Want(model, "here", need * GIB, least=0, most=1, idle=600.0, load=2.0), **more)


def up(model, *, need=1, device="cpu", since=0.0, used=0.0, running=0, number=0, state="up"):
    return Resident(f"{model}-{number}", model, (device,), need * GIB, state, since, used, running)


def waits(model, *, urgent=0, patient=0, since=0.0, organisation="aarhus"):
    return Demand(model, organisation, urgent, since if urgent else None, patient, since if patient else None)


def room(gib, name="cpu"):
    return Device(name, "here", gib * GIB)


# -- plays -------------------------------------------------------------------------------------------------------------


def test_what_always_stands_is_loaded_though_nobody_asks():
    found = plan([room(4)], [want("a", least=2, most=2), want("b")], [], [], 0.0)
    assert [(s.name, s.devices) for s in found.steps] == [("a-0", ("cpu",)), ("a-1", ("cpu",))]


def test_a_sleeping_model_is_woken_by_who_asks_and_the_reason_says_who():
    found = plan([room(4)], [want("a")], [], [waits("a", urgent=2), waits("a", urgent=1, organisation="samsoe")], 1.5)
    assert found.steps == (Load("a-0", "a", ("cpu",), "3 requests wait of 2 organisations, the longest for 1.5 s"),)


def test_without_a_word_about_memory_everything_fits():
    asks = [waits("a", urgent=1), waits("b", urgent=1)]
    found = plan([Device("cpu", "here", None)], [want("a", 900), want("b", 900)], [], asks, 0.0)
    assert {s.name for s in found.steps} == {"a-0", "b-0"}


def test_an_idle_model_goes_only_when_its_time_is_over():
    a = up("a", used=0.0)
    before = plan([room(4)], [want("a")], [a], [], 599.0)
    assert (before.steps, before.again) == ((), 600.0)
    assert plan([room(4)], [want("a")], [a], [], 600.0).steps == (
        Release("a-0", "a", None, "nobody has asked for it in 600 s"),)  # fmt: skip


def test_what_always_stands_does_not_go_and_nothing_that_runs_goes():
    assert plan([room(4)], [want("a", least=1)], [up("a")], [], 1e6).steps == ()
    assert plan([room(4)], [want("a")], [up("a", running=1)], [], 1e6).steps == ()


def test_room_is_taken_from_who_was_used_least_lately():
    residents = [up("a", used=50.0), up("b", used=10.0)]
    found = plan([room(2)], [want("a"), want("b"), want("c")], residents, [waits("c", urgent=1, since=99.0)], 100.0)
    assert [s.name for s in found.steps] == ["b-0"]
    assert "b-0" in found.waits["c"]
    gone = [residents[0], dataclasses.replace(residents[1], state="leaving")]
    assert plan([room(2)], [want("a"), want("b"), want("c")], gone, [waits("c", urgent=1, since=99.0)], 100.0).steps == ()
    found = plan([room(2)], [want("a"), want("b"), want("c")], gone[:1], [waits("c", urgent=1, since=99.0)], 100.0)
    assert [s.name for s in found.steps] == ["c-0"]


def test_a_model_that_is_used_keeps_its_place_for_its_turn_and_no_longer():
    wants = [want("a"), want("b")]
    a, asks = up("a", since=100.0, used=111.0, running=3), [waits("b", urgent=1, since=104.0)]
    early = plan([room(1)], wants, [a], asks, 111.0)
    assert (early.steps, early.again) == ((), 100.0 + TURN * 4.0)
    assert early.waits["b"] == "it gets the room of a-0 in 1.0 s at the latest"
    late = plan([room(1)], wants, [a], asks, 112.0)
    assert [s.name for s in late.steps] == ["a-0"]
    assert late.steps[0].why.startswith("its turn of 12 s is over")


def test_many_who_wait_keep_a_model_longer_but_not_for_ever():
    wants, a = [want("a"), want("b")], up("a", since=0.0, used=20.0, running=3)
    asks = [waits("a", urgent=50, since=5.0), waits("b", urgent=1, since=4.0)]
    assert plan([room(1)], wants, [a], asks, 20.0).steps == ()
    assert [s.name for s in plan([room(1)], wants, [a], asks, MOST_TURN * TURN * 4.0).steps] == ["a-0"]


def test_a_model_that_nobody_uses_goes_when_it_has_been_idle_for_as_long_as_loading_it_takes():
    wants, asks = [want("a"), want("b")], [waits("b", urgent=1, since=101.0)]
    assert plan([room(1)], wants, [up("a", since=100.0, used=100.0)], asks, 101.0).steps == ()
    assert [s.name for s in plan([room(1)], wants, [up("a", since=100.0, used=100.0)], asks, 102.0).steps] == ["a-0"]


def test_batch_and_borrowers_take_only_room_that_is_free_or_long_idle():
    wants, asks = [want("a"), want("b")], [waits("b", patient=40, since=0.0)]
    busy = plan([room(1)], wants, [up("a", used=400.0)], asks, 500.0)
    assert busy.steps == ()
    assert "only urgent requests take it" in busy.waits["b"]
    assert [s.name for s in plan([room(1)], wants, [up("a", used=400.0)], asks, 1000.0).steps] == ["a-0"]
    assert [s.name for s in plan([room(2)], wants, [up("a", used=400.0)], asks, 500.0).steps] == ["b-0"]


def test_borrowed_and_batch_backlog_alone_never_buys_a_second_replica():
    many = want("a", most=3)
    assert plan([room(9)], [many], [up("a", running=4)], [waits("a", patient=500, since=0.0)], 100.0).steps == ()
    found = plan([room(9)], [many], [up("a", running=4)], [waits("a", urgent=1, since=97.0)], 100.0)
    assert [s.name for s in found.steps] == ["a-1"]


def test_a_second_replica_waits_until_it_is_worth_its_loading_and_takes_no_place_that_is_used():
    many, b = want("a", most=3), up("b", running=1)
    assert plan([room(9)], [many], [up("a")], [waits("a", urgent=1, since=99.0)], 100.0).again == 101.0
    found = plan([room(2)], [many, want("b")], [up("a"), b], [waits("a", urgent=9, since=0.0)], 100.0)
    assert found.steps == ()


def test_room_that_somebody_waits_for_is_not_given_to_who_came_later():
    wants = [want("big", 3), want("small", 1), want("x", 3)]
    x = up("x", need=3, since=99.0, used=100.0, running=1)
    asks = [waits("big", urgent=1, since=50.0), waits("small", urgent=1, since=99.5)]
    assert plan([room(4)], wants, [x], asks, 100.0).steps[0].name == "small-0"  # 1 of 4 GiB is over beside the promise
    wants[1] = want("small", 2)
    assert plan([room(5)], wants, [x], asks, 100.0).steps[0].name == "small-0"
    assert plan([room(4)], [want("big", 4), want("small", 1), want("x", 3)], [x], asks, 100.0).steps == ()


def test_a_crowd_that_came_late_does_not_pass_one_who_has_waited_long():
    asks = [waits("a", urgent=500, since=99.0), waits("b", urgent=1, since=80.0)]
    assert [s.name for s in plan([room(1)], [want("a"), want("b")], [], asks, 100.0).steps] == ["b-0"]
    asks[1] = waits("b", urgent=1, since=99.0 - CROWD / 2)  # but one who came about when it did
    assert [s.name for s in plan([room(1)], [want("a"), want("b")], [], asks, 100.0).steps] == ["a-0"]


def test_what_is_dear_to_load_lets_what_is_cheap_go_first_but_not_for_ever():
    wants, asks = [want("dear", load=30.0), want("cheap", load=1.0)], [waits("dear", urgent=1, since=0.0)]
    asks.append(waits("cheap", urgent=1, since=9.0))
    assert [s.name for s in plan([room(1)], wants, [], asks, 10.0).steps] == ["cheap-0"]
    asks[1] = waits("cheap", urgent=1, since=39.0)
    assert [s.name for s in plan([room(1)], wants, [], asks, 40.0).steps] == ["dear-0"]


def test_nobody_who_waits_takes_the_room_of_what_always_stands():
    found = plan([room(1)], [want("a", least=1), want("b")], [up("a", used=0.0)], [waits("b", urgent=9, since=0.0)], 1e5)
    assert found.steps == ()
    assert found.waits["b"] == "there is no room: what stands is always wanted, or promised to others"


def test_nothing_is_let_go_while_it_loads():
    wants = [want("a"), want("b")]
    loading = up("a", state="loading", since=0.0)
    assert plan([room(1)], wants, [loading], [waits("b", urgent=9, since=0.0)], 1e5).steps == ()


def test_a_replica_that_does_not_come_up_makes_room_for_who_waits():
    found = plan([room(1)], [want("a"), want("b")], [up("a", state="down")], [waits("b", urgent=1)], 1.0)
    assert [(s.name, s.why.split(";")[0]) for s in found.steps] == [("a-0", "it does not come up")]


def test_a_model_over_several_devices_takes_a_part_of_each():
    devices = [room(4, "gpu0"), room(4, "gpu1"), room(4, "gpu2")]
    found = plan(devices, [want("large", 3, devices=2)], [], [waits("large", urgent=1)], 0.0)
    assert found.steps[0].devices == ("gpu0", "gpu1")


def gpu(gib, kind, number):
    return Device(f"{kind}-{number}", "here", gib * GIB, kind, number)


def test_a_model_over_several_devices_stands_on_devices_of_one_kind():
    devices = [gpu(4, "nvidia-l40s", 0), gpu(8, "nvidia-b200", 1), gpu(8, "nvidia-b200", 2)]
    cut = want("large", 3, devices=2, family="nvidia")
    assert plan(devices, [cut], [], [waits("large", urgent=1)], 0.0).steps[0].devices == ("nvidia-b200-1", "nvidia-b200-2")
    assert "there are 2" in never_fits(devices, [dataclasses.replace(cut, devices=3)])["large"]
    alone = dataclasses.replace(cut, devices=1)
    assert plan(devices, [alone], [], [waits("large", urgent=1)], 0.0).steps[0].devices == ("nvidia-l40s-0",)


def test_a_model_over_several_devices_waits_until_all_of_them_are_free_and_nobody_takes_one_meanwhile():
    devices = [gpu(4, "nvidia-l40s", 0), gpu(4, "nvidia-l40s", 1)]
    wants = [want("large", 3, devices=2, family="nvidia"), want("a", 2, family="nvidia"), want("late", 2, family="nvidia")]
    a = up("a", need=2, device="nvidia-l40s-0", used=50.0)
    asks = [waits("large", urgent=1, since=90.0), waits("late", urgent=1, since=99.0)]
    found = plan(devices, wants, [a], asks, 100.0)
    assert [s.name for s in found.steps] == ["a-0"], "the free one is promised, too"
    found = plan(devices, wants, [], asks, 101.0)
    assert [(s.name, s.devices) for s in found.steps] == [("large-0", ("nvidia-l40s-0", "nvidia-l40s-1"))]


def test_a_model_stands_on_devices_that_its_engine_runs_on_and_on_no_others():
    devices = [room(4), gpu(4, "nvidia-l40s", 0)]
    wants = [want("a", family="nvidia"), want("b"), want("c", family="amd")]
    found = plan(devices, wants, [], [waits(m, urgent=1) for m in "ab"], 0.0)
    assert {s.name: s.devices for s in found.steps} == {"a-0": ("nvidia-l40s-0",), "b-0": ("cpu",)}
    assert never_fits(devices, wants) == {
        "c": "it needs 1.0 GiB, and of the devices of pool `here` there are none that its engine runs on"}  # fmt: skip


def test_one_that_sleeps_is_woken_where_it_is_rather_than_another_loaded():
    devices = [gpu(8, "nvidia-l40s", 0), gpu(6, "nvidia-l40s", 1)]
    wants = [want("a", 6, family="nvidia", most=2)]
    sleeper = up("a", need=1, device="nvidia-l40s-0", number=1, state="asleep")
    found = plan(devices, wants, [sleeper], [waits("a", urgent=1)], 1.0)
    assert [(s.name, s.devices) for s in found.steps] == [("a-1", ("nvidia-l40s-0",))]
    devices[0] = gpu(6, "nvidia-l40s", 0)  # what it still has counts for what it takes when it is woken
    assert plan(devices, wants, [sleeper], [waits("a", urgent=1)], 1.0).steps[0].devices == ("nvidia-l40s-0",)


def test_one_that_sleeps_goes_when_the_little_that_it_has_is_needed_and_is_loaded_elsewhere():
    devices = [gpu(8, "nvidia-l40s", 0), gpu(8, "nvidia-l40s", 1)]
    wants = [want("a", 6, family="nvidia"), want("b", 8, family="nvidia"), want("c", 3, family="nvidia")]
    sleeper, c = up("a", need=1, device="nvidia-l40s-0", state="asleep"), up("c", need=3, device="nvidia-l40s-1", running=1)
    found = plan(devices, wants, [sleeper, c], [waits("b", urgent=1)], 1.0)
    assert [s.name for s in found.steps] == ["a-0"]
    assert found.steps[0].why.startswith("it sleeps, and the little that it still has is needed; b: 1 request waits")
    other = dataclasses.replace(c, devices=("nvidia-l40s-0",))
    found = plan(devices, wants, [sleeper, other], [waits("a", urgent=1)], 1.0)
    assert [(s.name, s.devices) for s in found.steps] == [("a-0", ("nvidia-l40s-1",))]


def test_what_can_never_fit_is_told_with_numbers():
    told = never_fits([room(4)], [want("a", 5), want("b", 3, least=1), want("c", 2), want("d", 1)])
    assert set(told) == {"a", "c"}
    assert told["a"] == "it needs 5.0 GiB, and of the devices of pool `here` the largest has 4.0 GiB"
    assert told["c"] == "it needs 2.0 GiB and what always stands in pool `here` 3.0 GiB, of 4.0 GiB"
    assert never_fits([room(4)], [want("a", 3, devices=2)]) == {
        "a": "it needs 3.0 GiB on each of 2 devices of one kind, and of the devices of pool `here` there are 1"}  # fmt: skip


# -- properties --------------------------------------------------------------------------------------------------------


@dataclass
class Waiting:
    at: float
    urgent: bool
    takes: float


@dataclass
class World:
    """Devices, models and requests; it does what plans say, and complains of what they may not say."""

    devices: list[Device]
    wants: dict[str, Want]
    sleeps: frozenset[str] = frozenset()
    now: float = 0.0
    residents: dict[str, Resident] = field(default_factory=dict)
    ends: dict[str, list[float]] = field(default_factory=dict)
    lines: dict[str, list[Waiting]] = field(default_factory=dict)
    swaps: list[tuple[float, str]] = field(default_factory=list)
    longest: float = 0.0

    def step(self) -> None:
        self._pass_time()
        for _ in range(50):
            made = plan(self.devices, self.wants.values(), self.residents.values(), self._demands(), self.now)
            shuffled = list(self.residents.values())
            random.Random(self.now).shuffle(shuffled)
            assert plan(self.devices, list(self.wants.values())[::-1], shuffled, self._demands()[::-1], self.now) == made
            for step in made.steps:
                self._carry_out(step)
            self._within_memory()
            if not made.steps:
                return
        pytest.fail("it never comes to rest")

    def _carry_out(self, step: Load | Release) -> None:
        if isinstance(step, Load):
            want = self.wants[step.model]
            before = self.residents.pop(step.name, None)
            assert before is None or before.state == "asleep"
            self.residents[step.name] = Resident(step.name, step.model, step.devices, want.need, "loading", self.now, self.now)
        else:
            old = self.residents[step.name]
            if old.state == "asleep":
                del self.residents[step.name]
                return
            assert old.state in ("up", "down"), "nothing is let go while it loads"
            standing = [r for r in self.residents.values() if r.model == step.model and r.state not in ("leaving", "asleep")]
            assert len(standing) > self.wants[step.model].least, "what always stands was let go"
            self.residents[step.name] = dataclasses.replace(old, state="leaving")
            self.swaps.append((self.now, step.model))

    def _within_memory(self) -> None:
        for device in self.devices:
            held = sum(r.need for r in self.residents.values() if device.name in r.devices)
            assert device.memory is None or held <= device.memory

    def _pass_time(self) -> None:
        for name, resident in list(self.residents.items()):
            ends = self.ends.setdefault(name, [])
            done = [end for end in ends if end <= self.now]
            if done:
                ends[:] = [end for end in ends if end > self.now]
                resident = dataclasses.replace(resident, used=max(done))
            if resident.state == "loading" and resident.since + self.wants[resident.model].load <= self.now:
                resident = dataclasses.replace(resident, state="up", since=self.now, used=self.now)
            line = self.lines.setdefault(resident.model, [])
            while resident.state == "up" and line and len(ends) < 2:
                first = line.pop(0)
                self.longest = max(self.longest, self.now - first.at)
                ends.append(self.now + first.takes)
                resident = dataclasses.replace(resident, used=self.now)
            resident = dataclasses.replace(resident, running=len(ends))
            self.residents[name] = resident
            if resident.state == "leaving" and not ends:
                del self.residents[name]
                if resident.model in self.sleeps:
                    self.residents[name] = dataclasses.replace(resident, state="asleep", need=GIB // 4)

    def _demands(self) -> list[Demand]:
        found = []
        for model, line in self.lines.items():
            urgent, patient = [w.at for w in line if w.urgent], [w.at for w in line if not w.urgent]
            if line:
                found.append(Demand(model, "aarhus", len(urgent), min(urgent, default=None), len(patient),
                    min(patient, default=None)))  # fmt: skip
        return found


@st.composite
def worlds(draw):
    count = draw(st.integers(1, 3))
    devices = [Device(f"d{n}", "here", draw(st.integers(4, 8)) * GIB) for n in range(count)]
    wants = {}
    for n in range(draw(st.integers(2, 6))):
        least = 1 if n == 0 and draw(st.booleans()) else 0
        parts = 1 if least else draw(st.integers(1, count))
        # What is cut leaves room beside what always stands, wherever that is: what never fits is tried elsewhere.
        need = GIB if least else draw(st.integers(1, 3 if parts > 1 else 4)) * GIB
        wants[f"m{n}"] = Want(f"m{n}", "here", need, least, draw(st.integers(1, 3)), draw(st.sampled_from([5.0, 600.0])),
            draw(st.sampled_from([0.5, 2.0, 8.0])), parts)  # fmt: skip
    return World(devices, wants, frozenset(draw(st.sets(st.sampled_from(sorted(wants))))))


arrivals = st.lists(st.tuples(st.floats(0.0, 6.0), st.integers(0, 5), st.booleans(), st.floats(0.1, 4.0)), max_size=80)


@settings(deadline=None, max_examples=60)
@given(world=worlds(), coming=arrivals)
def test_whatever_comes_memory_holds_nothing_in_use_goes_and_nobody_starves(world, coming):
    times = []
    for after, model, urgent, takes in coming:
        times.append(((times[-1][0] if times else 0.0) + after, f"m{model}", urgent, takes))
    end = (times[-1][0] if times else 0.0) + 2500.0
    while world.now < end and (times or any(world.lines.values()) or world.now < 5):
        while times and times[0][0] <= world.now:
            at, model, urgent, takes = times.pop(0)
            if model in world.wants:
                world.lines.setdefault(model, []).append(Waiting(at, urgent, takes))
        world.step()
        world.now += 0.25
    fit = {m for m in world.wants if m not in never_fits(world.devices, world.wants.values())}
    left = {model for model, line in world.lines.items() if any(w.urgent for w in line)}
    assert not left & fit, "somebody within its share starved"


@settings(deadline=None, max_examples=20)
@given(period=st.sampled_from([0.2, 0.5, 1.0, 3.0]), load=st.sampled_from([1.0, 4.0]), streams=st.integers(1, 5))
def test_requests_that_alternate_are_served_in_turns_with_bounded_swaps_and_waits(period, load, streams):
    world = World([room(1)], {m: want(m, load=load) for m in "ab"})
    turn, number = TURN * 2 * load, 0
    while world.now < 300.0:
        while number * period <= world.now:
            world.lines.setdefault("ab"[number % 2], []).append(Waiting(world.now, True, 0.2))
            number += 1
        world.step()
        world.now += 0.1
    # Unused for a load, or a whole turn: never sooner. So at most a part of the time goes into swaps.
    assert len(world.swaps) <= 300.0 / (2 * load) + 1
    assert world.longest <= 2 * (MOST_TURN * turn + load) + CROWD
    if period * 2 < load:  # each is asked for all the time
        assert len(world.swaps) <= 300.0 / (turn + load) + 1


def test_four_hundred_models_on_sixty_four_devices_are_planned_at_once():
    devices, wants, residents, demands = large()
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = plan(devices, wants, residents, demands, 1000.0)
        took.append(time.perf_counter() - began)
    assert found.steps
    assert min(took) < 0.2, "four times what it may take; `make bench` measures it"
