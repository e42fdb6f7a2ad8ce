"""Signing in: its ways in, each as steps from what somebody sends to what is to be done with them.

The steps decide and write; pages and cookies are made of their outcomes in `app`.
"""

from __future__ import annotations

from collections.abc import Mapping

from samdrift.access.roles import Actor
from samdrift.api.signin.accounts import Accounts
from samdrift.api.signin.factors import SecondFactors
from samdrift.api.signin.hall import Hall, House
from samdrift.api.signin.logins import Logins
from samdrift.api.signin.outcomes import CrossSite
from samdrift.api.signin.passwords import Passwords
from samdrift.api.signin.providers import Providers


class SignIn:
    """All ways in of one community, around the hall that they lead to."""

    def __init__(self, house: House, providers: Providers, passwords: Passwords) -> None:
        self.hall = Hall(house)
        self.accounts = Accounts(self.hall, passwords)
        self.logins = Logins(self.hall, providers)
        self.factors = SecondFactors(self.hall)

    async def who(self, method: str, headers: Mapping[str, str], address: str) -> Actor | CrossSite | None:
        """Who asks the administrative API by a session: see `Hall.who`. Raises StoreAway."""
        return await self.hall.who(method, headers, address)
