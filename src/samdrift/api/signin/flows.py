"""Somebody on their way in: what was asked of their browser, and how far they have come.

It travels with the browser as a sealed cookie, so that a flood of visitors fills nothing here. What may be done only once is
noted in `holding_back.Spent` until its flow would have ended anyway.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from samdrift.api.signin.sealing import Seal

LASTS = 900.0
"""Seconds that somebody may take from one step to the next."""


class Stage(StrEnum):
    """How far somebody has come."""

    OPEN = "open"  # nothing is known of them
    AWAY = "away"  # they are at their own login
    SECOND = "second"  # the password was right
    ENROL = "enrol"  # they are to set up a second factor


@dataclass(frozen=True, slots=True)
class Flow:
    """One way in. `person` is who they are known to be; `next` is where they wanted to go; `challenge` is what a passkey or a
    login must answer to; `verifier` is PKCE's; `seed` is that of one-time codes being set up; `session` says that somebody who is
    signed in adds a second factor, instead of somebody who needs one to come in. `proof` stands for the password that was right:
    with another one, the way in ends."""

    id: str
    stage: Stage
    ends_at: float
    next: str
    person: str = ""
    provider: str = ""
    challenge: str = ""
    verifier: str = ""
    seed: str = ""
    session: bool = False
    proof: str = ""

    @property
    def form_token(self) -> str:
        """What a form of this flow must bring along: other sites can make a browser send a form, but cannot read this."""
        return _derived("form", self.id)

    @property
    def state(self) -> str:
        """What a login must bring back: it shows that the answer belongs to this browser."""
        return _derived("state", self.id)


def new_flow(stage: Stage, now: float, next_: str, **fields: Any) -> Flow:
    """A flow that begins now."""
    return Flow(random_text(), stage, now + LASTS, next_, **fields)


def random_text(size: int = 32) -> str:
    """So many random bytes as text for URLs and cookies."""
    return base64.urlsafe_b64encode(os.urandom(size)).decode().rstrip("=")


def sealed_flow(seal: Seal, flow: Flow) -> str:
    """The flow as it travels."""
    return seal.seal_json(dataclasses.asdict(flow))


def opened_flow(seal: Seal, text: str, now: float) -> Flow | None:
    """The flow in such a text, if it is ours and has not ended."""
    found = seal.open_json(text)
    if found is None:
        return None
    try:
        flow = Flow(**{**found, "stage": Stage(found["stage"])})
    except (TypeError, KeyError, ValueError):
        return None  # another version of this program made it
    return flow if now < flow.ends_at else None


def proof_of(password: str | None) -> str:
    """What stands for a password's hash in a flow."""
    return hashlib.sha256(f"samdrift proof {password}".encode()).hexdigest()[:32]


def _derived(what: str, secret: str) -> str:
    made = hmac.digest(secret.encode(), f"samdrift {what}".encode(), "sha256")
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def session_token(secret: str) -> str:
    """What a form, or a script, of a session must bring along. It follows from what the browser holds, one way only."""
    return _derived("csrf", secret)
