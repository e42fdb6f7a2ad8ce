"""Sign-in with the whole program behind it: the ledger's people, the document in force, the machine's authorities."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from samdrift.access.roles import Actor
from samdrift.api.signin.app import SignInApp
from samdrift.api.signin.hall import House
from samdrift.api.signin.outcomes import CrossSite
from samdrift.api.signin.passwords import Passwords
from samdrift.api.signin.providers import Providers
from samdrift.api.signin.sealing import KEY_BYTES
from samdrift.api.signin.signin import SignIn
from samdrift.api.signin.store import StoreAway
from samdrift.api.v1.door import PREFIX, Asking
from samdrift.api.v1.problems import Denied, Kind
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.reading import secret_of
from samdrift.runtime.clock import wall
from samdrift.runtime.key_files import made_once
from samdrift.spec.document import Spec
from samdrift.spec.secret_references import MissingReference
from samdrift.spec.signin import Provider

T = TypeVar("T")

_CROSS_SITE = Denied(Kind.FORBIDDEN, "A browser that is signed in sends the header `x-csrf-token` with what changes anything, "
    "from a page of this site. `GET /api/v1/signin/session` tells the token.")  # fmt: skip
_AWAY = Denied(Kind.UNAVAILABLE, "Sessions cannot be looked up at the moment.", headers={"retry-after": "5"})


class SigningIn:
    """Sign-in of one running community, whose document is at `document`. Raises OSError if its key cannot be read or made."""

    def __init__(self, ledger: Ledger, data: Path, document: Path, spec: Callable[[], Spec]) -> None:
        key = signing_in_key(data)
        house = House(spec, ledger.people, ledger.attempts, ledger.audit.note, offload, partial(_secret, document=document),
            wall, key)  # fmt: skip
        self._signin = SignIn(house, Providers(fetching), Passwords())
        self.app = SignInApp(self._signin, key)
        """The pages and what they send."""
        self.rooms = {"/signin": self.app, f"{PREFIX}/signin": self.app}
        """Where the app answers."""

    async def by_session(self, asking: Asking) -> Actor | Denied | None:
        """Who asks the administrative API by a session; None: nobody is signed in."""
        try:
            found = await self._signin.who(asking.method, asking.headers, asking.address)
        except StoreAway:
            return _AWAY
        return _CROSS_SITE if isinstance(found, CrossSite) else found


async def offload(call: Callable[..., T], /, *args: Any, **named: Any) -> T:
    """Run a call of the ledger in a thread. Raises StoreAway where the ledger cannot be used."""
    try:
        return await asyncio.to_thread(call, *args, **named)
    except LedgerUnavailable as error:
        raise StoreAway(str(error)) from error


def fetching(provider: Provider) -> httpx.AsyncClient:
    """A client for a login: it trusts the authorities that the document names, or this machine's, and heeds no proxy that the
    environment names, since nobody but the document says where this goes."""
    return httpx.AsyncClient(verify=_trusting(provider.authority), trust_env=False, timeout=5.0, follow_redirects=False)


@lru_cache(maxsize=256)
def _trusting(authority: str) -> ssl.SSLContext:
    """Reading a machine's authorities takes tens of milliseconds; they are read once, until the service is started again."""
    return ssl.create_default_context(cafile=authority or None)


def signing_in_key(data: Path) -> bytes:
    """The key that seals what browsers carry and the seeds of one-time codes: `signin.key` in the data folder, mode 0600, made if
    there is none. Whoever loses it loses the seeds: people then come in with a passkey or a recovery code, or are invited anew.

    Raises OSError.
    """
    path = data / "signin.key"
    key = made_once(path, lambda: os.urandom(KEY_BYTES))
    if len(key) != KEY_BYTES:
        raise OSError(f"{path} is not a key of {KEY_BYTES} bytes; put it back from a backup, or remove it")
    return key


def _secret(text: str, document: Path) -> str:
    try:
        return secret_of(text, document)
    except MissingReference as error:
        raise StoreAway(f"the secret of a login: {error}") from error
