"""What if: whole days of requests played through a scheduler and a model of the engines, in virtual time.

A `Workload` says who asks for what and when; an `EngineModel` says how long a step of a replica takes and what
fits in its memory; a `Policy` says whose turn it is: the production scheduler, unforked, or one of those that
others ship. `play` lets them meet, `metrics` measures what came of it, `targets` compares it with what we
promise.

Pure: no clock, no files, no randomness but a generator that is a value (`Draws`). It knows `fairshare`, which it
tests, and `spec`; nobody on its own floor or above. It never decides anything in a running service.
"""
