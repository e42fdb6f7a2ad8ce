"""What a step of signing in comes to."""

from __future__ import annotations

from dataclasses import dataclass

from samdrift.access.people import FactorKind
from samdrift.api.signin.flows import Flow


@dataclass(frozen=True, slots=True)
class SignedIn:
    """They are in: with this secret for their browser, until then at the latest, and to there. `login` is the name of a local
    account, if they came with one."""

    secret: str
    next: str
    expires_at: float
    login: str = ""


@dataclass(frozen=True, slots=True)
class Second:
    """They show a second factor, one of these kinds."""

    flow: Flow
    kinds: frozenset[FactorKind]


@dataclass(frozen=True, slots=True)
class Enrol:
    """They set up a second factor first: a role of theirs demands one."""

    flow: Flow


@dataclass(frozen=True, slots=True)
class Wrong:
    """What they showed is not right. Nobody is told in which way."""


@dataclass(frozen=True, slots=True)
class Wait:
    """There were too many attempts; the next may be made in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Too many sign in at this moment."""


@dataclass(frozen=True, slots=True)
class Weak:
    """The password they chose will not do: `short`, `long` or `plain`."""

    why: str


@dataclass(frozen=True, slots=True)
class NoRole:
    """They are who they say, and there is nothing here for them."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Their own login did not do its part: `away`, `denied`, `wrong`, `weak` (no second factor), `unasked` or `unknown`."""

    kind: str


@dataclass(frozen=True, slots=True)
class CrossSite:
    """A browser was made to ask by another site."""


Outcome = SignedIn | Second | Enrol | Wrong | Wait | Busy | Weak | NoRole | Failed
