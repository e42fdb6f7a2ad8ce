"""The administrative API on a real ledger, with a document in force that can be changed, and somebody of every role."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from samdrift.access.admin_tokens import mint_token
from samdrift.access.people import HeldGrant, Person
from samdrift.access.roles import Actor, Grant, Role, local_actor
from samdrift.api.local import StatusSource
from samdrift.engines.standings import WeightsProblems
from samdrift.ledger.ledger import Ledger
from samdrift.reading import read_text
from samdrift.runtime.administration import Administration
from samdrift.runtime.revising import Append, Revising
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.fleet import Fleet
from samdrift.spec.usage import Outcome, Usage

LOCAL = local_actor("tester")
T0 = 1_800_000_000.0

DOCUMENT: dict[str, Any] = {
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {
        "aarhus": {"name": "Aarhus Kommune", "projects": {"borger-chat": {"priority": "batch"}}},
        "odense": {"models": ["embed"]},
        "viborg": {},
    },
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {
        "chat": {"weights": "file:chat.gguf", "pool": "here", "seats": 4},
        "embed": {"weights": "file:embed.gguf", "pool": "here", "task": "embed"},
    },
}


def text_of(**changes: Any) -> str:
    """The document with these sections in place of its own."""
    return yaml.safe_dump({**DOCUMENT, **changes}, sort_keys=False)


class House:
    """A community without engines: its document is in force by being said so."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.document = folder / "community.yaml"
        self.document.write_text(text_of())
        self.spec: Spec = read_text(text_of(), folder)
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
        self.weights: str | None = None
        """Why the weights of the next document cannot be used."""
        self.revising = Revising(self.ledger.revisions, self.document, folder, lambda: self.spec, self._carry_out)
        asyncio.run(self.revising.started(text_of(), LOCAL))
        self.tickets: dict[str, dict[str, Any]] = {"t-aarhus": {"ticket": "t-aarhus", "organisation": "aarhus"}}
        self.administration = Administration(self.ledger, folder, lambda: self.spec, Fleet, self.revising,
            StatusSource(lambda: {"community": "Test", "ready": True}, self._ticket))  # fmt: skip
        self.secrets: dict[str, str] = {}

    async def _carry_out(self, spec: Spec, append: Append) -> None:
        if self.weights is not None:
            raise WeightsProblems({"chat": self.weights})
        await append()
        self.spec = spec

    async def _ticket(self, ticket: str) -> dict[str, Any] | None:
        return self.tickets.get(ticket)

    def token(self, *grants: Grant, **more: Any) -> str:
        """A token that holds these."""
        token, text = mint_token("test", grants, created_by="local/tester", secret_bytes=secrets.token_bytes(32),
            id_bytes=secrets.token_bytes(8), now=T0 - 10, **more)  # fmt: skip
        self.ledger.admin_tokens.add(token, AuditEvent(T0, "local", "tester", "tokens.create", "token", "done"))
        return text

    def as_role(self, role: Role, organisation: str = "aarhus") -> str:
        """A token of one role, over `organisation` where it is held over one."""
        grant = Grant(role, None if role in (Role.OPERATOR, Role.AUDITOR) else organisation)
        name = f"{role}:{grant.organisation}"
        if name not in self.secrets:
            self.secrets[name] = self.token(grant)
        return self.secrets[name]

    def ask(self, method: str, path: str, token: str | None = None, *, role: Role | None = None, organisation: str = "aarhus",
        local: bool = False, **more: Any) -> httpx.Response:  # fmt: skip
        """One request, as a role, with a token, or by the local socket."""
        headers = dict(more.pop("headers", {}))
        token = self.as_role(role, organisation) if role is not None else token
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        door = self.administration.local if local else self.administration.entrance

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://samdrift") as http:
                return await http.request(method, f"/api/v1{path}", headers=headers, **more)

        return asyncio.run(asked())

    def person(self, name: str, *grants: Grant) -> Person:
        """Somebody with a local account."""
        person = Person(f"p{secrets.token_hex(4)}", name, T0, login=name.lower(), grants=tuple(map(HeldGrant, grants)))
        self.ledger.people.add(person, AuditEvent(T0, "local", "tester", "people.create", f"person/{person.id}", "done"))
        return person

    def use(self, ticket: str, organisation: str) -> None:
        """Somebody asked a model."""
        self.ledger.append_usage([Usage(ticket=ticket, organisation=organisation, project="default", key="k", model="chat",
            replica="chat-0", endpoint="/v1/chat/completions", priority="interactive", outcome=Outcome.COMPLETED, status=200,
            input_tokens=10, cached_tokens=0, output_tokens=5, estimated=False, at=T0, waited=0.0, first_byte=0.1,
            duration=1.0)])  # fmt: skip

    def audited(self, action: str) -> list[AuditEvent]:
        """What the trail holds of an action, newest first."""
        return [noted.event for noted in self.ledger.audit.events(limit=1000) if noted.event.action == action]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.ledger.close()


def with_grants(actor: Actor, *grants: Grant) -> Actor:
    """The same actor with these."""
    return dataclasses.replace(actor, grants=grants)
