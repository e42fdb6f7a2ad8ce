"""A running community that people sign in to, a login of theirs, and a browser: all real, all on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.ports import free_ports
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright
from tests.live.communities import Community, document, until

CHROMIUM = Path("/usr/bin/chromium")


class People(Community):
    """A community without an engine: nobody asks it anything here, and it starts in a moment."""

    def __init__(self, folder: Path, **signin: Any) -> None:
        (port,) = free_ports(1)
        self.origin = f"http://localhost:{port}"
        models = {"chat": {"address": "127.0.0.1:9", "pool": "here"}}
        super().__init__(folder, document(gateway={"listen": f"127.0.0.1:{port}"}, models=models, signin=signin))

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self.said}"
        with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False) as http:
            return http.get(f"{self.url}/signin").status_code == 303
        return False

    def invite(self, login: str, *roles: str) -> str:
        """Make an account as an operator does, and give back the link that its owner gets."""
        done = self.command("people", "create", login, *(word for role in roles for word in ("--role", role)))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def trail(self) -> list[tuple[str, str]]:
        """What the audit trail says was done about signing in, oldest first."""
        events = [noted.event for noted in self.ledger.audit.events(limit=1000)]
        return [(event.action, event.outcome) for event in reversed(events) if event.action.startswith("signin.")]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless; skips where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: run tests/install-chromium as root")
    # As root, and inside many containers, Chromium's sandbox cannot be set up; it sees pages of ours only.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as played:
        browser = played.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def somebody(browser: Browser, language: str = "en") -> Iterator[Page]:
    """A person with a browser of their own. Whatever their browser complains of fails the test."""
    context: BrowserContext = browser.new_context(locale=language)
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    try:
        yield page
        assert complaints == []
    finally:
        context.close()


def with_authenticator(page: Page) -> CDPSession:
    """Give a browser an authenticator, as a laptop has one, whose owner is there and says yes."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools


@contextlib.contextmanager
def openid_provider(*people: dict[str, Any]) -> Iterator[str]:
    """An OpenID provider in a process of its own, which lets these people in with a click. Gives its issuer."""
    (port,) = free_ports(1)
    issuer = f"http://localhost:{port}"
    users = [word for person in people for word in ("--user-claims", json.dumps(person))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), "--host", "localhost", *users]
    with running(command, {"AUTHLIB_INSECURE_TRANSPORT": "1"}, f"{issuer}/.well-known/openid-configuration"):
        yield issuer


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], url: str) -> Iterator[None]:
    """A program that answers at `url` inside the block."""
    process = subprocess.Popen(command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, f"{command[0]} ended: {process.stdout.read() if process.stdout else b''!r}"
        with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False) as http:
            return http.get(url).status_code == 200
        return False

    try:
        until(answers, f"{command[0]} answers")
        yield
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
