"""A sign-in with a real ledger behind it, a clock of the test's own, and browsers that behave as browsers do."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

import pyotp
from argon2 import PasswordHasher

from samdrift.access.people import HeldGrant, Person, digest_of
from samdrift.access.roles import Grant, Role
from samdrift.api.signin.app import SignInApp
from samdrift.api.signin.flows import random_text
from samdrift.api.signin.hall import House
from samdrift.api.signin.passwords import Passwords
from samdrift.api.signin.providers import Providers
from samdrift.api.signin.signin import SignIn
from samdrift.ledger.audit import Wanted
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.signing_in import fetching, offload
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

ORIGIN = "http://localhost:8080"
GOOD = "correct horse battery staple"
NOON = 1_800_000_000.0


def document(**signin: Any) -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test & Co"},
        "organisations": {"aarhus": {}, "odense": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "package:pack/chat.gguf", "pool": "here"}},
        "signin": signin,
    })  # fmt: skip


@dataclass
class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def token(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.text) or re.search(r'data-csrf="([^"]+)"', self.text)
        assert found, self.text
        return unescape(found[1])


@dataclass
class Browser:
    """Keeps cookies, sends `Origin` with what changes anything, and follows no redirect by itself."""

    house: Community
    address: str = "192.0.2.1"
    origin: str = ORIGIN
    jar: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, b"", headers)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        usual = {"origin": self.origin, "content-type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, urlencode(form or {}).encode(), {**usual, **headers})

    def script(self, path: str, value: Any, token: str) -> Answer:
        headers = {"origin": self.origin, "content-type": "application/json", "x-csrf-token": token}
        return self.send("POST", path, json.dumps(value).encode(), headers)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        parts = urlsplit(path)
        cookie = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        told = {"host": "localhost:8080", "x-samdrift-address": self.address, "user-agent": "Test/1", **headers}
        told = {name.replace("_", "-"): value for name, value in told.items()}
        if cookie:
            told = {"cookie": cookie, **told}
        scope = {"type": "http", "method": method, "path": parts.path, "query_string": parts.query.encode(),
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in told.items() if v]}  # fmt: skip
        answer = self.house.answer(scope, body)
        for name, value in answer.headers:
            if name == "set-cookie":
                for morsel in SimpleCookie(value).values():
                    if morsel["max-age"] == "0":
                        self.jar.pop(morsel.key, None)
                    else:
                        self.jar[morsel.key] = morsel.value
        return answer

    # What people do

    def try_password(self, login: str, password: str, next_: str = "") -> Answer:
        page = self.get("/signin" + (f"?{urlencode({'next': next_})}" if next_ else ""))
        return self.post("/api/v1/signin/password", {"csrf": page.token, "login": login, "password": password})

    def try_code(self, code: str) -> Answer:
        return self.post("/api/v1/signin/code", {"csrf": self.get("/signin/second").token, "code": code})

    @property
    def session(self) -> dict[str, Any] | None:
        answer = self.get("/api/v1/signin/session")
        return answer.json if answer.status == 200 else None


class Community:
    """Sign-in of a community, and what a test does behind its back."""

    def __init__(self, ledger: Ledger, spec: Spec, fetch: Any = fetching) -> None:
        self.ledger, self.spec, self.clock = ledger, spec, Clock()
        self._loop = asyncio.Runner()
        house = House(lambda: self.spec, ledger.people, ledger.attempts, ledger.audit.note, offload, lambda text: text,
            self.clock, bytes(32))  # fmt: skip
        cheap = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.signin = SignIn(house, Providers(fetch), cheap)
        self.app = SignInApp(self.signin, bytes(32))
        self.cheap, self._ids = cheap, itertools.count()

    def close(self) -> None:
        self._loop.close()

    def run(self, coroutine: Any) -> Any:
        return self._loop.run(coroutine)

    def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self.run(self.app(scope, receive, send))
        headers = [(n.decode(), v.decode("latin-1")) for n, v in sent[0]["headers"]]
        return Answer(sent[0]["status"], headers, sent[1]["body"].decode())

    def browser(self, **settings: Any) -> Browser:
        return Browser(self, **settings)

    def account(self, login: str = "ane", *grants: Grant, password: str | None = GOOD) -> Person:
        """Somebody with a local account, viewer of Aarhus unless said otherwise, who has chosen a password already."""
        hashed = None if password is None else self.run(self.cheap.hash(password))
        held = tuple(HeldGrant(g) for g in grants or (Grant(Role.VIEWER, "aarhus"),))
        person = Person(f"p{next(self._ids)}", login.title(), self.clock.now, login=login, password=hashed, grants=held)
        self.ledger.people.add(person, self.event("people.create"))
        return person

    def invite(self, person: Person, lasts: float = 3600.0) -> str:
        secret = random_text()
        event = self.event("people.invite")
        assert self.ledger.people.invite(person.id, digest_of(secret), self.clock.now + lasts, event)
        return secret

    def event(self, action: str) -> AuditEvent:
        return AuditEvent(self.clock.now, "local", "test", action, "test", "done")

    def set_up_codes(self, browser: Browser) -> pyotp.TOTP:
        """Somebody on the page for second factors takes an app with codes."""
        page = browser.get("/signin/enrol")
        assert page.status == 200, page.text
        seed = re.search(r"class='seed'>([^<]+)<", page.text)
        assert seed
        totp = pyotp.TOTP(seed[1].replace(" ", ""))
        code = totp.at(int(self.clock.now))
        done = browser.post("/api/v1/signin/factors/codes", {"csrf": page.token, "code": code})
        assert done.status == 303, done.text
        return totp

    def told(self) -> list[tuple[str, str, str]]:
        """The audit trail: action, outcome, reason."""
        events = [noted.event for noted in self.ledger.audit.events(Wanted(), limit=1000)]
        return [(event.action, event.outcome, event.reason) for event in reversed(events)]
