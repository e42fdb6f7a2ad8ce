"""Tokens (JWT) that an organisation refuses although they are good: one that has leaked, or those of somebody who has left. Pure.

We did not issue them, so we cannot revoke them; but we need not take them. A refusal concerns tokens that speak for its own
organisation only, whoever issued them: where two share an issuer, neither can shut out the other's people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from samdrift.access.pseudonyms import pseudonym

By = Literal["token", "user"]
"""What a refused token is known by: its id (`jti`), or its user as the issuer's claim names them."""
LONGEST = 366 * 86_400.0
"""Seconds that a refusal may last at most."""
LONGEST_TOKEN_ID = 256
"""Characters of a token's id."""


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A refusal. `named` is the token's `jti`, or the user as a keyed hash (`access.pseudonyms`): who it is, is kept nowhere.

    `issued_before` is the time before which a token must have been issued (`iat`) to be refused; None: whenever it was. It holds
    until `until`. Times are Unix seconds.
    """

    id: str
    organisation: str
    by: By
    named: str
    issued_before: float | None
    until: float
    created_at: float
    reason: str


def check_refused_token(refused: RefusedToken) -> None:
    """Raises ValueError, with a sentence, for one that can never be stored."""
    if refused.by not in get_args(By):
        raise ValueError("a token is refused by its id or by its user")
    if not 0 < len(refused.named) <= LONGEST_TOKEN_ID or not refused.named.isprintable():
        raise ValueError(f"a token's id has 1 to {LONGEST_TOKEN_ID} characters, all of them printable")
    if not refused.created_at < refused.until <= refused.created_at + LONGEST + 60.0:
        raise ValueError(f"a refusal ends in the future, and within {LONGEST // 86_400:.0f} days")


class RefusedTokens:
    """All refusals that are in force. `key` is the one under which users are hashed."""

    def __init__(self, refused: Iterable[RefusedToken] = (), key: bytes = b"") -> None:
        self._key = key
        self._refused: dict[tuple[str, By, str], list[RefusedToken]] = {}
        for one in refused:
            self._refused.setdefault((one.organisation, one.by, one.named), []).append(one)
        self._by_user = frozenset(organisation for organisation, by, _ in self._refused if by == "user")

    def refuses(self, organisation: str, claims: Mapping[str, Any], user: str, skew: float, now: float) -> bool:
        """Whether a token that speaks for this organisation is refused. `claims` are verified; `user` is empty where nobody is
        named; `skew` is how far the issuer's clock and ours may differ."""
        token_id = claims.get("jti")
        if isinstance(token_id, str) and self._hits((organisation, "token", token_id), claims, skew, now):
            return True
        if not user or organisation not in self._by_user:
            return False
        return self._hits((organisation, "user", pseudonym(self._key, organisation, user)), claims, skew, now)

    def _hits(self, name: tuple[str, By, str], claims: Mapping[str, Any], skew: float, now: float) -> bool:
        issued = claims.get("iat")
        # A token that does not say when it was issued may have been issued before.
        at = float(issued) if isinstance(issued, int | float) else float("-inf")
        return any(now < one.until and (one.issued_before is None or at < one.issued_before + skew)
            for one in self._refused.get(name, ()))  # fmt: skip
