"""A model of one replica of an engine: continuous batching, chunked prefill, a KV cache of so many tokens.

Within a run of steps in which nobody joins and nobody ends all steps take equally long: they are one event. So
a play costs a few microseconds per request, not per token.

**Memory.** A sequence starts when the *staircase* fits: with all sequences in order of what they still have to
write, the longest first, max over k of (what the first k hold now + k · what the k-th still writes) ≤ memory. This
is what the VTC artifact's engine (and LightLLM before it) computes from the clients' limits. What is admitted and
does not fit waits in the engine's own queue, first come first served, as vLLM's does.

**How close it is.** Profile A10G-7B against the runs that the VTC artifact recorded (record → model, seed 1). Overload
under first-come-first-served: 876 → 904 tokens/s, largest windowed difference 447 → 464; under VTC: 893 → 904 tokens/s,
193 → 193, accumulated gap 9 050 → 8 754 by their formula. Eight clients under VTC: largest 322 → 299, mean 162 → 175.
Proportional under VTC, first client's time to first token, mean and p99: 4.8 and 10.5 s → 5.2 and 10.1 s. Short and
long under VTC: 1 445 → 1 444 tokens/s. The arena, whose requests are drawn anew: FCFS largest, mean, tokens/s 760, 433,
777 → 774, 419, 835; VTC 368, 252, 779 → 423, 217, 844. So: throughput within 4 % where the requests are theirs and 9 %
where they are drawn, differences within 8 % and 15 %. It also shows what the record shows when all requests are alike:
they start and end in waves, and who comes in between waits for the next one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from math import floor, inf

from samdrift.simulation.profile import Profile
from samdrift.simulation.workload import Request

_EPSILON = 1e-9


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on a replica. `unread` is what is left of its prompt; `ends` the replica's step in which its last
    token is written, once it is read."""

    request: Request
    unread: int
    ends: int = 0
    first: float | None = None


class EngineModel:
    """See the module. `wake` is when to call `turn` next, inf while it is idle; `running` are in the KV cache, by
    the number of their request; `waiting` were admitted and do not fit: the engine's own queue."""

    __slots__ = (
        "_ending", "_reading", "_reported", "_segment_at", "_segment_steps", "_step", "_step_time", "_taken",
        "_writing_by", "profile", "running", "up", "waiting", "wake",
    )  # fmt: skip

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.up = True
        self.clear()

    def clear(self) -> None:
        """Nothing runs here and nothing is remembered."""
        self.running: dict[int, Sequence] = {}
        self.waiting: deque[Sequence] = deque()
        self.wake = inf
        self._reading: deque[Sequence] = deque()  # in the cache, their prompts not read to the end
        self._taken: list[Sequence] = []  # those that will have been read at the end of this step
        self._ending: list[tuple[int, int]] = []  # of those that write: their last step, and number
        self._writing_by: dict[str, int] = {}
        self._step = 0  # steps done before the segment: a run of steps that are all alike
        self._segment_at = self._step_time = 0.0
        self._segment_steps = 0
        self._reported = 0  # steps of the segment that `fresh` has told of

    # -- what fits -----------------------------------------------------------------------------------------

    @property
    def load(self) -> int:
        """Sequences here, running or waiting."""
        return len(self.running) + len(self.waiting)

    def fits(self, request: Request, now: float) -> bool:
        """Whether `request` could start now: a seat, and the staircase."""
        if not self.up or self.waiting or len(self.running) >= self.profile.seats:
            return False
        return self._staircase(request, now) <= self.profile.memory

    def _staircase(self, request: Request, now: float) -> int:
        done = self._step + self._steps_by(now)
        steps = [(request.written, request.input)]
        for sequence in self.running.values():
            asked = sequence.request
            if sequence.first is None:
                steps.append((asked.written, asked.input))
            else:
                left = sequence.ends - done
                steps.append((left, asked.input + asked.written - left))
        steps.sort(reverse=True)
        held = peak = 0
        for count, (left, holds) in enumerate(steps, start=1):
            held += holds
            peak = max(peak, held + count * left)
        return peak

    # -- what happens --------------------------------------------------------------------------------------

    def admit(self, request: Request, now: float) -> None:
        """`request` is sent here: it is read from the next step on, or waits until it fits."""
        sequence = Sequence(request, request.input)
        if self.fits(request, now):
            self._start(sequence)
        else:
            self.waiting.append(sequence)
        if self.wake == inf:
            self._plan(now)
        else:
            self._cut(now)

    def turn(self, now: float) -> list[Sequence]:
        """The steps planned are done: those whose last token has been written. Their times of first token are
        set."""
        steps = self._segment_steps
        self._step += steps
        self._reported -= steps
        for sequence in self._taken:
            sequence.first = now
            sequence.ends = self._step + sequence.request.written - 1
            who = sequence.request.organisation
            self._writing_by[who] = self._writing_by.get(who, 0) + 1
            heappush(self._ending, (sequence.ends, sequence.request.number))
        self._taken = []
        ended = []
        while self._ending and self._ending[0][0] <= self._step:
            _, number = heappop(self._ending)
            sequence = self.running.pop(number)
            self._writing_by[sequence.request.organisation] -= 1
            ended.append(sequence)
        self._segment_at, self._segment_steps = now, 0
        while self.waiting and self._next_fits(now):
            self._start(self.waiting.popleft())
        self._plan(now)
        return ended

    def fail(self) -> list[Request]:
        """The replica is lost: what was on it."""
        lost = [s.request for s in self.running.values()] + [s.request for s in self.waiting]
        self.clear()
        self.up = False
        return lost

    def written(self, request: Request, now: float) -> int:
        """Tokens written for a request that runs here."""
        sequence = self.running.get(request.number)
        if sequence is None or sequence.first is None:
            return 0
        return request.written - (sequence.ends - self._step - self._steps_by(now))

    def held(self, now: float) -> int:
        """Tokens in the cache."""
        return sum(s.request.input - s.unread + self.written(s.request, now) for s in self.running.values())

    def first_token(self, request: Request) -> float | None:
        """When the first token of a request that runs here was written."""
        sequence = self.running.get(request.number)
        return None if sequence is None else sequence.first

    def fresh(self, now: float) -> list[tuple[str, int]]:
        """Tokens written since this was last asked, by organisation: for policies that count tokens. (A
        sequence's first token is part of its reading and comes with the end of it.)"""
        done = self._steps_by(now) - self._reported
        if done <= 0:
            return []
        self._reported += done
        return [(who, count * done) for who, count in self._writing_by.items() if count]

    # -- steps ---------------------------------------------------------------------------------------------

    def _next_fits(self, now: float) -> bool:
        if len(self.running) >= self.profile.seats:
            return False
        return not self.running or self._staircase(self.waiting[0].request, now) <= self.profile.memory

    def _start(self, sequence: Sequence) -> None:
        self.running[sequence.request.number] = sequence
        self._reading.append(sequence)

    def _plan(self, now: float) -> None:
        """The next steps, from now: one if something is to be read, else as many as are alike."""
        writing = len(self._ending)
        if self._reading:
            left = self.profile.chunk
            while self._reading and left:
                sequence = self._reading[0]
                part = min(left, sequence.unread)
                sequence.unread -= part
                left -= part
                if sequence.unread:
                    break
                self._taken.append(self._reading.popleft())
            steps, read = 1, self.profile.chunk - left
        elif writing:
            steps, read = self._ending[0][0] - self._step, 0
        else:
            self.wake = inf
            return
        self._segment_at, self._segment_steps = now, steps
        self._step_time = self.profile.step_time(writing + len(self._taken), read)
        self.wake = now + steps * self._step_time

    def _steps_by(self, now: float) -> int:
        """Whole steps of the planned ones that are done by now."""
        if self._segment_steps == 0 or self._step_time == 0.0:
            return 0
        return min(self._segment_steps, floor((now - self._segment_at) / self._step_time + _EPSILON))

    def _cut(self, now: float) -> None:
        """Somebody joined: the planned steps end with the one under way."""
        if self._segment_steps > 1:
            steps = min(self._segment_steps, self._steps_by(now) + 1)
            self._segment_steps = steps
            self.wake = self._segment_at + steps * self._step_time
