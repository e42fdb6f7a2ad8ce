"""Refusing tokens (JWT), and accepting them again: from the administrative API and from the command line alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdrift.access import refused_tokens
from samdrift.access.pseudonyms import pseudonym
from samdrift.access.roles import Actor
from samdrift.api.v1.keys import instant
from samdrift.api.v1.members import unknown_organisation
from samdrift.api.v1.problems import Denied, Kind
from samdrift.api.v1.refused_tokens import RefusalWanted, RefusedToken, unknown_refusal
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.pseudonyms import user_key
from samdrift.runtime.revising import unavailable
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

HOLDS = 30 * 86_400.0
"""Seconds that a refusal holds where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Refusing:
    """Refuses tokens by the ledger and the key of a data folder. Raises LedgerUnavailable, OSError or ValueError."""

    ledger: Ledger
    data: Path

    def refuse(self, actor: Actor, organisation: str, wanted: RefusalWanted) -> refused_tokens.RefusedToken:
        """Refuse tokens from now on. It is told in the audit trail, without the user's name."""
        now = wall()
        by: refused_tokens.By = "user" if wanted.user is not None else "token"
        named = wanted.token_id or pseudonym(user_key(self.data), organisation, wanted.user or "")
        made = refused_tokens.RefusedToken("r" + secrets.token_hex(8), organisation, by, named,
            now if by == "user" and not wanted.later_ones else None,
            now + HOLDS if wanted.until is None else wanted.until.timestamp(), now, wanted.reason)  # fmt: skip
        self.ledger.refused_tokens.add(made, _event(actor, made, now, wanted.reason, after=_facts(made)))
        return made

    def accept(self, actor: Actor, organisation: str, refusal: str) -> refused_tokens.RefusedToken | None:
        """Take a refusal back. None: there is no such one in force."""
        now = wall()
        found = next((one for one in self.ledger.refused_tokens.in_force(now, organisation) if one.id == refusal), None)
        if found is None:
            return None
        event = _event(actor, found, now, "", before=_facts(found))
        return found if self.ledger.refused_tokens.take_back(organisation, refusal, event) else None


class LedgerRefusedTokens:
    """What the administrative API does with refused tokens."""

    def __init__(self, ledger: Ledger, data: Path, spec: Callable[[], Spec]) -> None:
        self._ledger, self._refusing, self._spec = ledger, Refusing(ledger, data), spec

    async def refused_tokens(self, organisation: str) -> list[RefusedToken] | Denied:
        """Those in force, oldest first."""
        try:
            found = await asyncio.to_thread(self._ledger.refused_tokens.in_force, wall(), organisation)
        except LedgerUnavailable as error:
            return unavailable(error)
        if not found and organisation not in self._spec().organisations:
            return unknown_organisation(organisation)
        return [shown(one) for one in found]

    async def refuse_token(self, actor: Actor, organisation: str, wanted: RefusalWanted) -> RefusedToken | Denied:
        """Refuse tokens from now on."""
        if organisation not in self._spec().organisations:
            return unknown_organisation(organisation)
        try:
            return shown(await asyncio.to_thread(self._refusing.refuse, actor, organisation, wanted))
        except LedgerUnavailable as error:
            return unavailable(error)
        except ValueError as error:
            kind = Kind.CONFLICT if "already" in str(error) else Kind.INVALID
            return Denied(kind, f"{str(error)[0].upper()}{str(error)[1:]}.")

    async def accept_token(self, actor: Actor, organisation: str, refusal: str) -> RefusedToken | Denied:
        """Take a refusal back."""
        try:
            found = await asyncio.to_thread(self._refusing.accept, actor, organisation, refusal)
        except LedgerUnavailable as error:
            return unavailable(error)
        return unknown_refusal(organisation) if found is None else shown(found)


def shown(refused: refused_tokens.RefusedToken) -> RefusedToken:
    """As the API shows it."""
    return RefusedToken(id=refused.id, organisation=refused.organisation, by=refused.by,
        token_id=refused.named if refused.by == "token" else None, user_hash=refused.named if refused.by == "user" else None,
        issued_before=instant(refused.issued_before), until=instant(refused.until), created_at=instant(refused.created_at),
        reason=refused.reason)  # fmt: skip


def _event(
    actor: Actor, refused: refused_tokens.RefusedToken, at: float, reason: str, *, before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEvent:  # fmt: skip
    return AuditEvent(at, actor.kind, actor.id, "keys.refuse", f"refused-token/{refused.id}", "done", refused.organisation,
        actor.address, reason, before or {}, after or {})  # fmt: skip


def _facts(refused: refused_tokens.RefusedToken) -> dict[str, Any]:
    return {"by": refused.by, "named": refused.named, "issued_before": refused.issued_before, "until": refused.until}
