"""What the administrative API does about privacy: the report, and what is kept of one person."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from samdrift.access.roles import Actor
from samdrift.api.v1.members import unknown_organisation
from samdrift.api.v1.privacy import Erased, PersonAsked, Report
from samdrift.api.v1.problems import Denied, Kind
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.canary import last_result
from samdrift.runtime.clock import wall
from samdrift.runtime.forgetting import Person
from samdrift.runtime.privacy_report import markdown, picture
from samdrift.runtime.revising import unavailable
from samdrift.spec.document import Spec
from samdrift.spec.usage import Usage

T = TypeVar("T")
_log = logging.getLogger(__name__)
_AT_ONCE = 200  # rows in a piece of an export
_KEYLESS = Denied(Kind.UNAVAILABLE, "The key under which users are hashed cannot be read here; the service's log says why.")


class LedgerPrivacy:
    """See the module. `confined` says whether engines are kept from the network here; None where nobody looks."""

    def __init__(self, ledger: Ledger, data: Path, spec: Callable[[], Spec], confined: Callable[[], bool | None]) -> None:
        self._ledger, self._data, self._spec, self._confined = ledger, data, spec, confined

    async def report(self) -> Report:
        """The report of the document in force."""
        return await asyncio.to_thread(self._report)

    def _report(self) -> Report:
        spec, confined = self._spec(), self._confined()
        said = markdown(spec, last_result(self._data), confined=confined, picture="privacy.svg")
        return Report(markdown=said, svg=picture(spec, confined=confined))

    async def export_person(self, actor: Actor, organisation: str, asked: PersonAsked) -> AsyncIterator[bytes] | Denied:
        """Everything that is kept of one person."""
        found = await self._about(organisation, asked, lambda person: person.export(actor, asked.reason, wall()))
        return found if isinstance(found, Denied) else _lines(found)

    async def erase_person(self, actor: Actor, organisation: str, asked: PersonAsked) -> Erased | Denied:
        """Erase it."""
        zone = ZoneInfo(self._spec().retention.timezone)
        found = await self._about(organisation, asked, lambda person: person.erase(actor, zone, asked.reason, wall()))
        return found if isinstance(found, Denied) else Erased(rows=found[0], swept=found[1])

    async def _about(self, organisation: str, asked: PersonAsked, do: Callable[[Person], T]) -> T | Denied:
        if organisation not in self._spec().organisations:
            return unknown_organisation(organisation)
        try:
            return await asyncio.to_thread(do, Person(self._ledger, self._data, organisation, asked.user))
        except LedgerUnavailable as error:
            return unavailable(error)
        except (OSError, ValueError) as error:
            _log.error("users' key cannot be read", exc_info=error)
            return _KEYLESS


async def _lines(rows: Sequence[Usage]) -> AsyncIterator[bytes]:
    for start in range(0, len(rows), _AT_ONCE):
        piece = rows[start : start + _AT_ONCE]
        yield "".join(f"{json.dumps(dataclasses.asdict(row), ensure_ascii=False)}\n" for row in piece).encode()
