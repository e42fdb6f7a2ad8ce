"""Who goes next: a scheduler of requests, as a pure function of what happened.

Stimuli in (`Arrived`, `Finished`, …), effects out (`Admit`, `Refuse`, `Charge`). No clock, no randomness, no log, no I/O:
time is an argument and always monotonic seconds. It knows `spec` and nobody else.

From the door inwards: `scheduler` (what time, fleet and document ask), `floor` (what happens to one ticket), `room` (how
long and in how long a queue one waits), `pool` (one model: `turns` in its `tree`, its `seats`, its `drain`). `invariants`
says what must be true at any time, `replay` plays a recording again.
"""
