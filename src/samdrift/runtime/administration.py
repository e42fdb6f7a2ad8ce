"""The administrative API with the whole program behind it: who asks, what each resource is, who hears of refusals."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from collections.abc import Awaitable, Callable, Generator
from itertools import islice
from pathlib import Path

from samdrift.access.admin_tokens import AdminToken, token_id_of
from samdrift.access.exporting import Head, lines
from samdrift.access.keys import KEY_PATTERN
from samdrift.access.roles import Actor, local_actor
from samdrift.api.local import StatusSource
from samdrift.api.v1.application import House, application
from samdrift.api.v1.door import Asking, Door
from samdrift.api.v1.problems import Denied, Kind
from samdrift.api.v1.repeating import Repeats
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.auditing import KeyUnreadable, Seals, note
from samdrift.runtime.clock import wall
from samdrift.runtime.credentials import LedgerKeys, LedgerTokens
from samdrift.runtime.model_events import ModelEvents
from samdrift.runtime.people import LedgerPeople
from samdrift.runtime.privacy import LedgerPrivacy
from samdrift.runtime.refusing import LedgerRefusedTokens
from samdrift.runtime.remembering import Remembering
from samdrift.runtime.revising import Revising, unavailable
from samdrift.runtime.signing_in import signing_in_key
from samdrift.runtime.views import AuditView, DocumentView, UsageView
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.fleet import Fleet

_log = logging.getLogger(__name__)

BySession = Callable[[Asking], Awaitable[Actor | Denied | None]]
"""Who asks by a session; None: nobody is signed in."""

_LONGEST = 512  # characters of an Authorization header that are looked at
_AT_ONCE = 500  # lines of an export that are fetched in one go
_CHALLENGE = {"www-authenticate": 'Bearer realm="samdrift administration"'}
_NOBODY = Denied(Kind.UNAUTHENTICATED, "Sign in, or send a token in the header `Authorization: Bearer sdadm-…`.",
    headers=_CHALLENGE)  # fmt: skip
_NO_TOKEN = Denied(Kind.UNAUTHENTICATED, "This is no administrative token that is good here: it may have been copied wrongly, "
    "revoked, or have expired.", headers=_CHALLENGE)  # fmt: skip
_API_KEY = Denied(Kind.UNAUTHENTICATED, "This is an API key, which is for models only. Administration takes tokens that begin "
    "with `sdadm-`.", headers=_CHALLENGE)  # fmt: skip


class Administration:
    """The administrative API of one running community. `by_session` is who knows sessions, where there is anybody; `confined`
    says whether engines are kept from the network, where it is known. Raises OSError if the key that sign-in shares with it
    cannot be read or made."""

    def __init__(self, ledger: Ledger, data: Path, spec: Callable[[], Spec], fleet: Callable[[], Fleet], revising: Revising,
        status: StatusSource, by_session: BySession | None = None, events: ModelEvents | None = None,
        confined: Callable[[], bool | None] = lambda: None) -> None:  # fmt: skip
        self._ledger, self._data, self._spec, self._by_session = ledger, data, spec, by_session
        document, people = DocumentView(spec, fleet), LedgerPeople(ledger.people, spec)
        if events is None:
            events = ModelEvents(spec, fleet)
            events.close()
        self._app = application(House(members=document, models=document, followed=events, keys=LedgerKeys(ledger, spec),
            refused_tokens=LedgerRefusedTokens(ledger, data, spec), privacy=LedgerPrivacy(ledger, data, spec, confined),
            usage=UsageView(ledger), people=people, sessions=people, tokens=LedgerTokens(ledger, spec), revisions=revising,
            audit=AuditView(ledger, self._export, self._note), status=status, refused=self._refused))  # fmt: skip
        repeats = Repeats(Remembering(ledger.answers), signing_in_key(data), wall)
        self.entrance = Door(self._app, self.who, repeats)
        """For those who come through the gateway."""
        self.local = Door(self._app, self._local, repeats)
        """For whoever runs the service, on its own machine."""

    async def who(self, asking: Asking) -> Actor | Denied:
        """Who asks, by a token or a session. Never both: a token that is no good is not made good by a session."""
        authorization = asking.headers.get("authorization")
        if authorization is not None:
            return await self._by_token(authorization, asking.address)
        found = None if self._by_session is None else await self._by_session(asking)
        return _NOBODY if found is None else found

    async def _by_token(self, authorization: str, address: str) -> Actor | Denied:
        scheme, *rest = (authorization.split() if len(authorization) <= _LONGEST else ()) or ("",)
        if scheme.lower() != "bearer" or len(rest) != 1:
            return _NOBODY
        token_id = token_id_of(rest[0])
        if token_id is None:
            return _API_KEY if rest[0].startswith(KEY_PATTERN[:3]) else _NO_TOKEN
        try:
            token = await asyncio.to_thread(self._ledger.admin_tokens.find, token_id)
        except LedgerUnavailable as error:
            return unavailable(error)
        now = wall()
        if token is None or not token.good(rest[0], now):
            await self._note(AuditEvent(now, "token", "unknown" if token is None else token_id, "tokens.use", "token", "refused",
                address=address, reason="not known, revoked or expired"))  # fmt: skip
            return _NO_TOKEN
        return self._in_force(token, address)

    def _in_force(self, token: AdminToken, address: str) -> Actor:
        """With what it holds over organisations that are still there: one that comes back later is another one, perhaps."""
        organisations = self._spec().organisations
        actor = token.actor(address)
        held = tuple(g for g in actor.grants if g.organisation is None or g.organisation in organisations)
        return Actor(actor.kind, actor.id, actor.name, held, actor.address)

    async def _local(self, _asking: Asking) -> Actor | Denied:
        return local_actor(system_user())

    async def _refused(self, actor: Actor, action: str, subject: str, organisation: str | None) -> None:
        known = organisation if organisation in self._spec().organisations else None
        await self._note(AuditEvent(wall(), actor.kind, actor.id, action, subject, "refused", known, actor.address,
            "the roles do not allow it"))  # fmt: skip

    async def _note(self, event: AuditEvent) -> None:
        await note(self._ledger.audit, event)

    def _export(self, organisation: str | None) -> Generator[bytes, None, None]:
        try:
            keys = Seals.of(self._data).public_keys()
        except KeyUnreadable as error:
            _log.error("public keys of the audit trail cannot be read", exc_info=error)
            keys = ()
        head = Head(self._spec().community.name, organisation, wall(), keys)
        trail = self._ledger.audit
        written = lines(head, trail.checkpoints(), trail.links(organisation=organisation))
        while piece := b"".join(islice(written, _AT_ONCE)):
            yield piece


def system_user() -> str:
    """The name of the system's user who runs this, by the account and not by what the environment says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
