"""Who goes next: a scheduler of requests, as a pure function of what happened.

Stimuli in (`Arrived`, `Finished`, …), effects out (`Admit`, `Refuse`, `Charge`). No clock, no randomness, no
log, no I/O: time is an argument and always monotonic seconds. It knows `spec` and nobody else.
"""
