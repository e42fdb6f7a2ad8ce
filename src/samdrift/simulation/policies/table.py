"""All policies by name: ours first, then what it is compared with."""

from __future__ import annotations

from functools import partial

from samdrift.simulation.playing import MakePolicy
from samdrift.simulation.policies.first_come import FirstCome, PerMinute
from samdrift.simulation.policies.gate import gated
from samdrift.simulation.policies.history import DecayedUsage, LeastAttained
from samdrift.simulation.policies.partition import Partition
from samdrift.simulation.policies.production import Production
from samdrift.simulation.policies.round_robin import RoundRobin
from samdrift.simulation.policies.token_counter import Foresight, TokenCounter

OURS = "samdrift"
POLICIES: dict[str, MakePolicy] = {
    OURS: Production,
    "fcfs": gated(FirstCome),
    **{f"rpm-{limit}": gated(partial(PerMinute, limit=limit)) for limit in (5, 10, 15, 20, 30, 60)},
    "round-robin": gated(RoundRobin),
    "las-60s": gated(LeastAttained),
    "lcf": gated(partial(TokenCounter, lift=False)),
    "vtc": gated(TokenCounter),
    "vtc-weighted": gated(partial(TokenCounter, weighted=True)),
    "vtc-predict": gated(partial(TokenCounter, foresight=Foresight.MEAN_OF_FIVE)),
    "vtc-oracle": gated(partial(TokenCounter, foresight=Foresight.ORACLE)),
    "decayed-300s": gated(partial(DecayedUsage, half_life=300.0)),
    "decayed-168h": gated(partial(DecayedUsage, half_life=168 * 3600.0)),
    "partition": gated(Partition),
}
"""`rpm-N` are N requests per minute and member; `las` llm-d's program-aware plugin; `decayed` Kueue's admission
fair sharing with that half-life."""
