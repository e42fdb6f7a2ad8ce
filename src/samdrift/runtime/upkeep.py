"""The upkeep of a ledger, once in each community: the audit trail is sealed, and what is too old is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from samdrift.runtime.auditing import Seals, keep_sealed, noted_life
from samdrift.runtime.forgetting import Forgetting
from samdrift.runtime.ground import Ground
from samdrift.runtime.serving import running


async def keep_up(house: AsyncExitStack, ground: Ground, seals: Seals, complain: Callable[[str], None]) -> None:
    """Keep the ledger up until the house closes. `complain` is told when the trail is not the one that was sealed."""
    trail = ground.ledger.audit
    await house.enter_async_context(running(keep_sealed(trail, seals, complain), "audit seals"))
    await house.enter_async_context(noted_life(trail))
    await house.enter_async_context(running(Forgetting(ground.ledger, ground.current).run(), "retention"))
