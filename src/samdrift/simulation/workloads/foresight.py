"""The same overload for a scheduler that foresees outputs and for one that errs by half.

Outputs vary by ±50 % around 256 tokens. `surprised` is what one meets in the field: the mean of the last few
requests is all that is known. For `foreseen`, each length is a project of its own and the limit is exact, so that
after the first few requests the production scheduler's own prediction is right: an oracle, without touching it.
"""

from __future__ import annotations

from dataclasses import replace

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import A10G_7B
from samdrift.simulation.workload import Request, Workload, numbered

_LENGTHS = tuple(range(128, 385, 16))


def surprised(seed: int) -> Workload:
    """Two clients ask for more than their half; nobody says how long the answers will be."""
    requests = []
    for who, rate in (("client-1", 1.5), ("client-2", 3.0)):
        draws = Draws(seed).fork(who)
        requests += [Request(0, who, at, 256, draws.pick(_LENGTHS)) for at in draws.poisson_times(rate, 0.0, 600.0)]
    weights = {"client-1": 1.0, "client-2": 1.0}
    return Workload(
        "surprised", weights, numbered(requests), A10G_7B, 600.0, (30.0, 600.0), contenders=("client-1", "client-2"))  # fmt: skip


def foreseen(seed: int) -> Workload:
    """The very same requests, and all is known."""
    workload = surprised(seed)
    requests = tuple(
        replace(request, project=f"length-{request.output}", max_output=request.output)
        for request in workload.requests
    )
    return replace(workload, name="foreseen", requests=requests)
