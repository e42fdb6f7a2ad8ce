"""Signing in by Dex, an OpenID provider that many run. `make test-signin-dex` builds it and runs this."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.ports import free_ports
from playwright.sync_api import expect
from tests.signin.people_live import People, chromium, running, somebody

BUILT = Path(__file__).parents[2] / "build/dex"


@pytest.fixture(scope="module")
def community() -> Iterator[People]:
    if not (BUILT / "dex").exists():
        pytest.skip("Dex is not built: run tests/install-dex, or make test-signin-dex")
    folder = Path(tempfile.mkdtemp(prefix="sd-dex-"))
    (port,) = free_ports(1)
    issuer = f"http://127.0.0.1:{port}/dex"
    (folder / "secret").write_text("a secret: with/signs\n")
    login = {"name": "Dex", "issuer": issuer, "client_id": "samdrift", "client_secret": "${file:secret}",
        "scopes": ["openid", "profile", "email", "groups"],
        "grants": [{"claim": "groups", "equals": "authors", "role": "viewer", "organisation": "aarhus"}]}  # fmt: skip
    described = People(folder, providers={"dex": login}, accounts="none")
    redirect = f"{described.origin}/api/v1/signin/callback/dex"
    command = [str(BUILT / "dex"), issuer, f"127.0.0.1:{port}", "samdrift", "a secret: with/signs", redirect]
    with running(command, {"DEX_WEB": str(BUILT / "web")}, f"{issuer}/.well-known/openid-configuration"), described:
        yield described
    shutil.rmtree(folder, ignore_errors=True)


def test_somebody_comes_in_by_dex_with_the_roles_of_their_groups(community) -> None:
    with chromium() as browser, somebody(browser) as page:
        page.goto(f"{community.origin}/signin")
        expect(page.get_by_label("Password")).to_have_count(0)
        page.get_by_role("link", name="Sign in with Dex").click()
        expect(page.get_by_text("Kilgore Trout")).to_be_visible()
        expect(page.get_by_text("viewer of aarhus")).to_be_visible()
        assert page.url == f"{community.origin}/signin/account"
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("link", name="Sign in with Dex").click()
        expect(page.get_by_text("Kilgore Trout")).to_be_visible()
    (person,) = community.ledger.people.all()
    assert (person.provider, person.login) == ("dex", None)
