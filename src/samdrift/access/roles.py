"""Roles: what each may do. One table; deny by default.

A *grant* gives a person or a token one role, over one organisation or over all of them. Whoever holds several grants may do
what any of them allows. Nobody reads content, whatever the role: there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is here for. `operator` and `auditor` are over the whole community, the others over one organisation."""

    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    DEVELOPER = "developer"
    FINANCE = "finance"
    VIEWER = "viewer"


OVER_ALL = frozenset({Role.OPERATOR, Role.AUDITOR})
"""The roles that are held over the whole community and over no single organisation."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One role. `organisation` is None for those over the whole community, and for no others.

    Raises ValueError where role and organisation do not fit.
    """

    role: Role
    organisation: str | None = None

    def __post_init__(self) -> None:
        if (self.role in OVER_ALL) != (self.organisation is None):
            raise ValueError(f"{self.role.value} is held over {'all' if self.role in OVER_ALL else 'one organisation'}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something administrative: a person who signed in, a token, or whoever runs the service on its own machine.

    `id` is stable and unique within its `kind`; `name` is what people see. `address` is where it came from, if over the network.
    """

    kind: str
    id: str
    name: str
    grants: tuple[Grant, ...] = ()
    address: str = ""


LOCAL = "local"
"""The kind of actors that come by the socket in the data folder, or work on the ledger itself: its file mode is their key."""


def local_actor(user: str) -> Actor:
    """Whoever runs the service on its own machine, by the name of the system's user."""
    return Actor(LOCAL, user, user, (Grant(Role.OPERATOR), Grant(Role.AUDITOR)))
