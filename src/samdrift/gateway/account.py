"""On whose account a request runs: what the desk hands to Envoy and Envoy hands back with the receipt. Pure.

Because the receipt carries it, a receipt can be settled by a desk that never saw the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast, get_args

from samdrift.spec.document import Priority

_FIELDS = 9  # and a tenth where somebody is named
_USER = re.compile(r"[0-9A-Za-z._~%-]{1,600}")
_PRIORITIES = get_args(Priority)


@dataclass(frozen=True, slots=True)
class Account:
    """Who is charged for a ticket, and where it runs. `waited` is in seconds, `asked` in bytes of the body. `user`
    is who asked within the organisation, as its retention says, in characters that a URL takes. `model` is what was asked for;
    where that is an adapter, `base` is the model whose engines serve it."""

    organisation: str
    project: str
    key: str
    model: str
    replica: str
    endpoint: str
    priority: Priority
    waited: float
    asked: int
    user: str = ""
    base: str = ""

    @property
    def served_by(self) -> str:
        """The model whose engines serve it, and in whose turns it takes part."""
        return self.base or self.model

    def text(self) -> str:
        """As one header value. Identifiers hold neither semicolon nor `@`: the document's grammar of names forbids it."""
        model = f"{self.model}@{self.base}" if self.base else self.model
        return (
            f"{self.organisation};{self.project};{self.key};{model};{self.replica};{self.endpoint};"
            f"{self.priority};{self.waited:.6f};{self.asked}" + (f";{self.user}" if self.user else "")
        )

    @classmethod
    def of(cls, text: str) -> Account | None:
        """Back from the header value; None if it is not one of ours."""
        parts = text.split(";")
        user = parts.pop() if len(parts) == _FIELDS + 1 else None
        if len(parts) != _FIELDS or parts[6] not in _PRIORITIES or not (user is None or _USER.fullmatch(user)):
            return None
        try:
            waited, asked = float(parts[7]), int(parts[8])
        except ValueError:
            return None
        organisation, project, key, named, replica, endpoint = parts[:6]
        model, _, base = named.partition("@")
        priority = cast("Priority", parts[6])
        return cls(organisation, project, key, model, replica, endpoint, priority, waited, asked, user or "", base)
