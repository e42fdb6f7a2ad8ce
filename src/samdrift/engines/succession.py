"""Succession: how what stands follows the document.

A new version of a model's only replica comes up beside the old one, answers a request of ours, and takes over. With a canary it
first takes a part of the requests, and is watched: if more fail on it than chance explains, or more are rejected, or it is
slower, it is let go, and the old one serves on. So it is for one of several replicas, and when that one has done no worse, for
the others without more ado. A model that the document gives other devices comes up on those beside the old one in the same way,
one replica after the other. Where there is no room for both versions, and without a canary where a model has several replicas,
they are replaced in their places, one after the other, and no further than the first that does not come up.

While a new version comes up or is watched, and once it was refused, the model is held at the old one: what starts, starts that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from samdrift.engines.adapting import is_the_same_but_for_adapters
from samdrift.engines.comparing import AT_ONCE, AT_THE_END, ENOUGH, WARMING, Pace, Tally, did_worse, slower
from samdrift.engines.drivers import Planned
from samdrift.engines.holding import Holding
from samdrift.engines.housing import Housing
from samdrift.engines.places import Part, Place
from samdrift.engines.planning import other_name
from samdrift.engines.quarters import Quarters
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.standings import News, Progress, Trial
from samdrift.engines.trying import fault_of
from samdrift.spec.document import Spec
from samdrift.spec.rollout import Rollout
from samdrift.spec.units import spell_duration
from samdrift.spec.usage import Outcome, Usage

_NOTE = 15.0  # seconds; how long a version was watched is written down at least so often
NO_ROOM = "there is no room for both, so that the old one goes first, and requests wait until the new one is up"


class Settling(Protocol):
    """Lets a replica of a slot live in a place."""

    def __call__(self, slot: str, name: str, devices: tuple[str, ...], *, part: Part = "serving") -> None: ...


@dataclass(slots=True, eq=False)
class _Watch:
    """A new version that takes a part of the requests until a time."""

    place: Place
    rollout: Rollout
    began: float
    until: float
    tried: Tally = field(default_factory=Tally)
    others: Tally = field(default_factory=Tally)
    pace: Pace = field(default_factory=lambda: Pace(WARMING))
    others_pace: Pace = field(default_factory=Pace)
    slow: str = ""
    stirred: asyncio.Event = field(default_factory=asyncio.Event)


class Succession:
    """See the module. `settle_in` lets a replica live in a place, `changed` hears that the fleet may be another, `clock` is
    monotonic seconds."""

    def __init__(
        self, quarters: Quarters, housing: Housing, holding: Holding, news: News, *, settle_in: Settling,
        changed: Callable[[], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._quarters, self._housing, self._holding, self._news = quarters, housing, holding, news
        self._settle_in, self._changed, self._clock = settle_in, changed, clock
        self._spec: Spec | None = None
        self._watches: dict[str, _Watch] = {}
        # By model, the version that was watched and found good: its other replicas need not be.
        self._proven: dict[str, Planned] = {}

    # -- what is wanted --------------------------------------------------------------------------------------------

    def furnish(self, spec: Spec, *, again: bool) -> None:
        """This document holds, and the quarters know it. With `again`, what was refused is tried once more."""
        self._spec = spec
        for model in self._holding.models():
            held, new = self._holding.of(model), self._document(model)
            if model not in spec.models or (held is not None and new is not None and self._same(held.old, new)
                and not self._moves(model)):  # fmt: skip
                self._holding.let_go(model)
            elif held is not None and new is not None and (again or not self._same(held.new, new)):
                self._holding.hold(model, held.old, new)
        for model, watch in self._watches.items():
            self._adjust(watch, self._rollout(model))
        self._proven = {model: proven for model, proven in self._proven.items()
            if (new := self._document(model)) is not None and self._same(proven, new)}  # fmt: skip

    def _adjust(self, watch: _Watch, rollout: Rollout | None) -> None:
        """The document says something else of a trial that goes on: another part, another time, or that it is over."""
        if rollout is None:
            watch.until = self._clock()
        else:
            watch.rollout, watch.until, watch.place.portion = rollout, watch.began + rollout.watch, rollout.part
        watch.stirred.set()

    def target(self, slot: str) -> Planned:
        """What serves for this slot when it is started: the document's version, or the one that its model is held at."""
        planned = self._quarters.slots[slot]
        held = self._holding.of(planned.model)
        if held is not None and not held.old.weights.exists():
            self._holding.let_go(planned.model)  # nobody can start it any more
            held = None
        return planned if held is None else self._quarters.named(held.old, slot)

    def refuses(self, model: str) -> bool:
        """Whether this model's new version was tried and is not used."""
        return self._holding.refused(model) != ""

    def awaits(self, model: str) -> bool:
        """Whether a new version of this model is to come up beside the old one, or has."""
        return self._holding.of(model) is not None and not self._holding.refused(model)

    def follow_all(self) -> None:
        """Everything that stands follows the document. Replicas that are up go first: a new version comes up beside one of them,
        if it can."""
        for place in sorted(self._quarters.places.values(), key=lambda place: place.kept.state != "up"):
            self.follow(place)

    def follow(self, place: Place) -> None:
        """What stands in this place follows the document."""
        planned = self._quarters.slots.get(place.slot)
        if planned is None or planned.model in self._housing.misfits:
            place.want(None)
        elif not self._housing.may_stay(planned.model, place.devices):
            self._move(place, planned)
        elif place.resting or place.asleep:
            if place.wanted != self._quarters.named(self.target(place.slot), place.name):
                place.want(None)  # nobody misses it
        elif place.part != "serving":
            self._follow_new(place, planned)
        elif not place.leaving:
            self._follow_old(place, planned)

    def _follow_new(self, place: Place, planned: Planned) -> None:
        """A new version that does not serve yet: the document may say something else by now, or what serves already."""
        serving = self._quarters.serving(place.slot)
        unchanged = (serving is not None and serving.shown == self._quarters.named(planned, serving.name)
            and self._housing.may_stay(planned.model, serving.devices))  # fmt: skip
        wanted = self._quarters.named(planned, place.name)
        if not unchanged and not place.leaving and place.wanted != wanted:
            place.part, place.portion = "coming", 1.0  # it has to be tried anew
        place.want(None if unchanged or place.leaving else wanted)

    def _moves(self, model: str) -> bool:
        """Whether a replica of it serves on devices that the document does not give it any more."""
        return any(place.part == "serving" and not self._housing.may_stay(model, place.devices)
            for place in self._quarters.of_model(model))  # fmt: skip

    def _move(self, place: Place, planned: Planned) -> None:
        """The document gives its model other devices than these. It comes up there beside this one; where there is no room for
        both, this one goes first, and requests wait."""
        model, mine = planned.model, self._quarters.of_model(planned.model)
        if place.part != "serving":
            place.want(None)
            return
        if place.leaving or place.resting or place.asleep or place.kept.state != "up":
            self._holding.let_go(model)
            place.want(None)
            return
        name = other_name(place.slot, place.name)
        if self._holding.refused(model) or name in self._quarters.places:
            return  # this one serves on; or somebody leaves there, and we are looked at when it has gone
        if any(other.part != "serving" and not other.leaving for other in mine):
            return  # one after the other
        devices = self._housing.room_for(model, self._quarters.places.values())
        if devices is not None:
            self._holding.hold(model, self._quarters.named(place.shown, place.slot), planned)
            self._settle_in(place.slot, name, devices, part="coming")
        elif sum(other.open and not other.leaving for other in mine) >= self._housing.least(model):
            self._holding.let_go(model)
            self._news.say(model, "leaving", f"it moves to other devices; {NO_ROOM}")
            place.want(None)

    def _follow_old(self, place: Place, planned: Planned) -> None:
        wanted = self._quarters.named(planned, place.name)
        if place.wanted == wanted:
            return
        if place.kept.state == "up" and not place.outdated() and is_the_same_but_for_adapters(place.shown, wanted):
            place.shown = place.wanted = wanted  # whoever looks after adapters sees to it
            return
        if place.shown == wanted or not self._beside(place, planned):
            self._holding.let_go(planned.model)
            place.want(wanted)

    def _beside(self, old: Place, planned: Planned) -> bool:
        """See to it that a new version comes up beside what stands, unless it was refused. False if what stands in this place is
        to be replaced there: it is not up itself, there is no room, or others of its model stand and nobody wants a canary."""
        model, mine = planned.model, self._quarters.of_model(planned.model)
        if self._holding.refused(model):
            return True
        if any(place.part != "serving" and not place.leaving for place in mine):
            return True  # it has been told
        if sum(slot.model == model for slot in self._quarters.slots.values()) > 1 and not self._to_be_watched(planned):
            return False
        if old.kept.state != "up" or old.outdated():
            # One that is held and starts, as after a restart of ours, is looked at when it is up.
            return self.awaits(model) and old.kept.state == "starting" and not old.failing
        name = other_name(old.slot, old.name)
        if name in self._quarters.places:
            return True  # somebody is leaving there, and we are looked at when it has gone
        if not self._housing.has_room_beside(old, self._quarters.places.values()):
            if self._rollout(model) is not None:
                self._news.why[model] = "there is no room for two versions, so the new one takes all without a canary"
            return False
        self._holding.hold(model, self._quarters.named(old.shown, old.slot), planned)
        self._settle_in(old.slot, name, old.devices, part="coming")
        return True

    def _to_be_watched(self, planned: Planned) -> bool:
        proven = self._proven.get(planned.model)
        return self._rollout(planned.model) is not None and (proven is None or not self._same(proven, planned))

    def _rollout(self, model: str) -> Rollout | None:
        found = None if self._spec is None else self._spec.models.get(model)
        return None if found is None else found.rollout

    def _document(self, model: str) -> Planned | None:
        """What the document wants of this model, in one of its slots; None if its weights are not at hand."""
        return next((planned for planned in self._quarters.slots.values() if planned.model == model), None)

    def _same(self, one: Planned, other: Planned) -> bool:
        """Whether these are the same version, wherever they stand."""
        return self._quarters.named(one, other.name) == other

    # -- what comes ------------------------------------------------------------------------------------------------

    async def take_over(self, new: Place) -> None:
        """The new version is up. If it answers a request of ours, and does no worse than the old one while it is watched, it
        takes over; else the old one serves on."""
        planned = new.shown
        if new.part == "canary":
            return  # it is back after it ended: whoever watches it knows
        self._news.say(planned.model, "trying", f"the new version {planned.name} is up, and answers a request of ours first")
        fault = await fault_of(DRIVERS[planned.engine], planned)
        if _is_over(new) or new.kept.state != "up" or new.part != "coming":
            return  # or it ended, came up again, and was asked a second time meanwhile
        rollout, after = self._rollout(planned.model), ""
        beside = self._to_be_watched(planned) and self._quarters.serving(new.slot) is not None
        if fault is None and rollout is not None and beside:
            held = self._holding.of(planned.model)
            now = self._clock() - (0.0 if held is None else held.watched)
            watch = _Watch(new, rollout, now, now + rollout.watch)
            if held is not None:
                watch.tried, watch.others = held.tried, held.others
            fault = await self._watched(watch)
            if _is_over(new):
                return
            after = f"; while it was watched it {_counts(watch)}"
        if fault is not None:
            self._holding.refuse(planned.model, fault)
            self._news.say(planned.model, "trying", self.sentence(planned.model))
            new.want(None)
            self._changed()
            return
        self._enthrone(new, after)

    def _enthrone(self, new: Place, after: str) -> None:
        planned, old = new.shown, self._quarters.serving(new.slot)
        self._proven[planned.model] = planned
        self._holding.let_go(planned.model)
        new.part, new.portion = "serving", 1.0
        if old is not None:
            old.draining = True
            old.want(None)
        self._news.why[planned.model] = sentence = f"{planned.name} has taken over{after}"
        self._news.step(Progress(planned.model, "up", 1.0, sentence))
        for place in self._quarters.of_model(planned.model):
            self.follow(place)
        self._changed()

    async def _watched(self, watch: _Watch) -> str | None:
        """Let it take its part and watch it. None if it did no worse than the old one, or is not wanted any more; else what is
        wrong with it, as the end of a sentence."""
        new, model = watch.place, watch.place.shown.model
        self._watches[model] = watch
        new.part, new.portion = "canary", watch.rollout.part
        generation = new.kept.generation
        self._news.say(model, "trying", self.sentence(model))
        self._changed()
        try:
            while (left := watch.until - self._clock()) > 0:
                if _is_over(new):
                    return None
                if new.kept.state != "up" or new.kept.generation != generation:
                    return f"ended while it was tried{f' ({new.kept.reason})' if new.kept.reason else ''}"
                if watch.slow or did_worse(watch.tried, watch.others, AT_ONCE):
                    return watch.slow or _counts(watch)
                self._holding.watch(model, self._clock() - watch.began, watch.tried, watch.others)
                watch.stirred.clear()
                try:
                    async with asyncio.timeout(min(left, _NOTE)):
                        await watch.stirred.wait()
                except TimeoutError:
                    continue
            if did_worse(watch.tried, watch.others, AT_THE_END):
                return _counts(watch)
            return slower(watch.pace, watch.others_pace, watch.rollout.bearable) or None
        finally:
            del self._watches[model]

    # -- what is heard and told ------------------------------------------------------------------------------------

    def heard(self, place: Place) -> None:
        """What serves in this place has come up or gone down. Whatever waited for that follows the document."""
        model = place.shown.model
        if self.awaits(model):
            self.follow(place)
        if place.kept.state == "up":
            for other in self._quarters.of_model(model):
                if other is not place and other.slot in self._quarters.slots and not self._housing.may_stay(model, other.devices):
                    self.follow(other)

    def stir(self) -> None:
        """Something has changed in some place. Returns at once."""
        for watch in self._watches.values():
            watch.stirred.set()

    def answered(self, usage: Usage) -> None:
        """A request has ended on a replica. Returns at once."""
        place = self._quarters.places.get(usage.replica)
        watch = None if place is None else self._watches.get(place.shown.model)
        if watch is None:
            return
        if place is watch.place:
            watch.tried = watch.tried.with_one(usage.outcome)
            watch.pace.add(usage)
            if watch.tried.ended % ENOUGH == 0:
                watch.slow = slower(watch.pace, watch.others_pace, watch.rollout.bearable)
            if watch.slow or usage.outcome in (Outcome.FAILED, Outcome.REJECTED):
                watch.stirred.set()
        else:
            watch.others = watch.others.with_one(usage.outcome)
            watch.others_pace.add(usage)

    def trial(self, model: str) -> Trial | None:
        """How its new version does that is watched, if one is."""
        watch = self._watches.get(model)
        if watch is None:
            return None
        return Trial(watch.place.name, watch.rollout.part, max(0.0, round(watch.until - self._clock(), 1)),
            watch.tried.ended, watch.tried.failed, watch.others.ended, watch.others.failed, watch.tried.rejected,
            watch.others.rejected)  # fmt: skip

    def sentence(self, model: str) -> str:
        """What people are told of its new version, "" if there is nothing to say."""
        if (refused := self._holding.refused(model)) != "":
            return f"the new version is not used, for it {refused}; the old one serves on"
        watch = self._watches.get(model)
        if watch is None:
            return ""
        return (f"the new version {watch.place.name} takes {watch.rollout.canary} of new requests and is watched for "
            f"{spell_duration(watch.rollout.watch)}")  # fmt: skip


def _is_over(new: Place) -> bool:
    """Whether it has gone, or something else is wanted by now."""
    return new.leaving or new.outdated()


def _counts(watch: _Watch) -> str:
    """For people, as the end of a sentence."""
    tried, others = watch.tried, watch.others
    requests = "request" if tried.ended == 1 else "requests"
    if tried.rejected and not tried.failed:
        return f"rejected {tried.rejected} of {tried.ended} {requests}, and the old one {others.rejected} of {others.ended}"
    return f"failed {tried.failed} of {tried.ended} {requests}, and the old one {others.failed} of {others.ended}"
