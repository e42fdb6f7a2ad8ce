"""Record and replay: stimuli as lines of JSON, and what a scheduler does with them.

So an incident, or last month, can be played again on a laptop, with other weights. A line holds who asked,
for which model, how large, and when; never what. Pure: lines are strings, whoever calls opens the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from samdrift.fairshare.scheduler import NO_FLEET, Scheduler
from samdrift.fairshare.stimuli import (
    Arrived,
    Effect,
    EngineSaid,
    Finished,
    FleetChanged,
    Left,
    Progress,
    Reshaped,
    Restored,
    Resumed,
    Stimulus,
    Ticked,
    Tree,
)
from samdrift.spec.fleet import Fleet


class BadRecording(ValueError):  # noqa: N818 - it reads as what it is
    """A line is not a stimulus. Says which line and why."""


class _Line(BaseModel):
    """One line: the one field that is set says what happened."""

    # Infinity and NaN survive a recording, so that a replay meets what the scheduler met.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    arrived: Arrived | None = None
    left: Left | None = None
    finished: Finished | None = None
    ticked: Ticked | None = None
    fleet_changed: FleetChanged | None = None
    reshaped: Reshaped | None = None
    resumed: Resumed | None = None
    progress: Progress | None = None
    engine_said: EngineSaid | None = None
    restored: Restored | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> _Line:
        if len(self.model_fields_set) != 1 or self.stimulus is None:
            raise ValueError("a line says one thing that happened")
        return self

    @property
    def stimulus(self) -> Stimulus | None:
        """What happened."""
        return (
            self.arrived or self.left or self.finished or self.ticked
            or self.fleet_changed or self.reshaped or self.resumed
            or self.progress or self.engine_said or self.restored
        )  # fmt: skip


_FIELDS = {
    Arrived: "arrived", Left: "left", Finished: "finished", Ticked: "ticked", FleetChanged: "fleet_changed",
    Reshaped: "reshaped", Resumed: "resumed", Progress: "progress", EngineSaid: "engine_said", Restored: "restored",
}  # fmt: skip


def line_of(stimulus: Stimulus) -> str:
    """The stimulus as one line of JSON, without its end."""
    return _Line.model_validate({_FIELDS[type(stimulus)]: stimulus}).model_dump_json(exclude_unset=True)


def stimuli_of(lines: Iterable[str]) -> Iterator[Stimulus]:
    """The stimuli of recorded lines; empty lines are passed over. Raises `BadRecording`."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            stimulus = _Line.model_validate_json(line).stimulus
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BadRecording(f"line {number}: {place or 'the line'}: {first['msg']}") from error
        if stimulus is not None:
            yield stimulus


Step = tuple[Stimulus, list[Effect]]
"""What happened, and what was done about it."""


def replay(tree: Tree, lines: Iterable[str], fleet: Fleet = NO_FLEET) -> Iterator[Step]:
    """What a new scheduler with this tree (and, if the recording does not begin with one, this fleet) does
    with what was recorded: each stimulus with its effects."""
    scheduler: Scheduler | None = None
    for stimulus in stimuli_of(lines):
        if scheduler is None:
            scheduler = Scheduler(tree, fleet, stimulus.at)
        yield stimulus, scheduler.handle(stimulus)
