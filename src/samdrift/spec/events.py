"""What happened, for the audit: a change, or an attempt that was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which thing.

    `action` is a permission's name such as `keys.create`, or of what the service did itself (`retention.purge`). `subject`
    names what it was done to (`key/0kXv3QmZp1a`, `organisation/aarhus`, `person/…`, `document`). `before` and `after` are
    small JSON objects of what is different, and never hold a secret or content. `at` is Unix seconds. `organisation` is
    whose matter it is; None: the community's.
    """

    at: float
    actor_kind: str
    actor: str
    action: str
    subject: str
    outcome: Literal["done", "refused", "failed"]
    organisation: str | None = None
    address: str = ""
    reason: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
