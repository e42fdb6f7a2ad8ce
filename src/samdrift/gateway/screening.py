"""What is decided of a question before it needs a turn: who asks, is the body sound, may they. Pure.

In this order, so that a stranger learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.gateway.abilities import unable
from samdrift.gateway.listener import MAX_DEPTH
from samdrift.gateway.questions import Question
from samdrift.spec.document import Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason

_ISSUER_BACK = 5.0  # seconds; an issuer that is away is asked again within these


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a question gets no turn. `principal` is None for a stranger; `retry_after` is in seconds, None where trying again does
    not help."""

    reason: Reason
    named: dict[str, str]
    principal: Principal | None = None
    retry_after: float | None = None


def screen(question: Question, roster: Roster, spec: Spec, at: float) -> tuple[Principal, Named] | Objection:
    """Who asks and for what, or why they may not. `at` is in Unix seconds."""
    principal = roster.decide(question.authorization, at, question.certificate)
    if isinstance(principal, Refusal):
        again = _ISSUER_BACK if principal.reason is Reason.ISSUER_UNAVAILABLE else None
        return Objection(principal.reason, dict(principal.named), retry_after=again)
    if question.fault is not None:
        named = {"field": question.detail, "limit": str(MAX_DEPTH), "path": question.path}
        return Objection(question.fault, named, principal)
    found = roster.find(principal, question.model)
    if isinstance(found, Refusal):
        return Objection(found.reason, dict(found.named), principal)
    refusal = roster.may_ask_at(principal, question.path)
    if refusal is None:
        refusal = unable(question, found, spec, lambda: roster.listing(principal))
    return (principal, found) if refusal is None else Objection(refusal.reason, dict(refusal.named), principal)
