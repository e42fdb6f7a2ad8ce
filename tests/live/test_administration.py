"""Administering a community that runs: by its socket and from elsewhere, with the document as something that has a history."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.live.communities import CHAT_WEIGHTS, PATIENCE, SAMDRIFT, Community, Json, document, until


@pytest.fixture(scope="module")
def town(somewhere: Path) -> Iterator[Community]:
    models = {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 2, "context": 512}}
    with Community(somewhere / "town", document(models=models, organisations={"aarhus": {}, "viborg": {}})) as running:
        yield running


def with_organisation(town: Community, name: str) -> Path:
    """A document beside the one that the service was started with, in which there is one more organisation."""
    changed = copy.deepcopy(town.described)
    changed["organisations"] |= {name: {}}
    path = town.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(changed, sort_keys=False))
    return path


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def history(town: Community) -> list[Json]:
    found: list[Json] = json.loads(said(town.command("history", "--json")))
    return found


def remotely(town: Community, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on some other machine: it knows the address and a token, and no data folder."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run([*SAMDRIFT, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=town.folder,
        env={**clean, "SAMDRIFT_SERVER": town.url, "SAMDRIFT_TOKEN": token})  # fmt: skip


def test_a_document_is_planned_applied_and_rolled_back_under_a_running_stream(town: Community) -> None:
    document = with_organisation(town, "ribe")
    assert [row["origin"] for row in history(town)] == ["started"]
    assert "+ organisations.ribe: {}" in said(town.command("plan", str(document)))
    with town.stream() as stream:
        stream.read(2)
        assert "Revision 2 is in force" in said(town.command("apply", str(document), "--reason", "Ribe joins", "--yes"))
        key = said(town.command("keys", "create", "ribe")).strip()
        until(lambda: town.lets_in(key), "a key of the new organisation works")
        read = stream.pieces
        stream.read(read + 2)
        assert "Revision 3 is in force" in said(town.command("rollback", "1", "--reason", "too early", "--yes"))
        until(lambda: not town.lets_in(key), "it is let in no more")
        read = stream.pieces
        stream.read(read + 2)
    assert [(row["number"], row["origin"], row["reason"]) for row in history(town)][:2] == [
        (3, "rolled back", "too early"), (2, "applied", "Ribe joins")]  # fmt: skip
    trail = json.loads(said(town.command("audit", "list", "--action", "document.*", "--json")))
    assert [event["action"] for event in trail][:2] == ["document.roll_back", "document.apply"]
    assert said(town.command("history", "2", "--text")) == document.read_text()


def test_from_elsewhere_a_token_does_what_its_roles_allow(town: Community) -> None:
    operator = said(town.command("tokens", "create", "--role", "operator", "--name", "deployment")).strip()
    viewer = said(town.command("tokens", "create", "--role", "viewer:aarhus")).strip()
    document = with_organisation(town, "skagen")
    assert "+ organisations.skagen: {}" in said(remotely(town, operator, "plan", str(document)))
    assert "is in force" in said(remotely(town, operator, "apply", str(document), "--reason", "Skagen joins", "--yes"))
    assert [row["organisation"] for row in json.loads(said(remotely(town, viewer, "members", "--json")))] == ["aarhus"]
    refused = remotely(town, viewer, "plan", str(document))
    assert refused.returncode == 1
    assert "document.plan" in refused.stderr
    trail = json.loads(said(town.command("audit", "list", "--outcome", "refused", "--json")))
    assert (trail[0]["action"], trail[0]["address"]) == ("document.plan", "127.0.0.1")
    assert remotely(town, "sdadm-nonsense", "members").returncode == 1


def test_from_elsewhere_it_is_seen_how_all_stands_and_what_was_used(town: Community) -> None:
    auditor = said(town.command("tokens", "create", "--role", "auditor")).strip()
    with town.stream(max_tokens=3) as stream:
        stream.rest()
        town.usage(stream.ticket)
    assert json.loads(said(remotely(town, auditor, "status", "--json")))["ready"]
    (used,) = json.loads(said(remotely(town, auditor, "usage", "aarhus", "--json")))
    assert (used["organisation"], used["model"]) == ("aarhus", "chat")
    assert used["requests"] >= 1
    assert "for project default of aarhus" in said(remotely(town, auditor, "why", stream.ticket))
    other = said(town.command("tokens", "create", "--role", "developer:viborg")).strip()
    assert remotely(town, other, "why", stream.ticket).returncode == 1
    assert remotely(town, other, "usage", "aarhus").returncode == 1


def test_from_elsewhere_keys_are_made_rotated_and_revoked(town: Community) -> None:
    administrator = said(town.command("tokens", "create", "--role", "administrator:aarhus")).strip()
    made = json.loads(said(remotely(town, administrator, "keys", "create", "aarhus", "--expires", "90d", "--json")))
    until(lambda: town.lets_in(made["key"]), "the new key is known")
    rotated = said(remotely(town, administrator, "keys", "rotate", made["key_id"], "--grace", "0s")).strip()
    until(lambda: town.lets_in(rotated) and not town.lets_in(made["key"]), "the new secret took the place of the old one")
    listed = json.loads(said(remotely(town, administrator, "keys", "list", "--json")))
    assert {row["organisation"] for row in listed} == {"aarhus"}
    assert made["key_id"] in {row["key_id"] for row in listed}
    assert "Revoked" in said(remotely(town, administrator, "keys", "revoke", made["key_id"]))
    until(lambda: not town.lets_in(rotated), "it is revoked")
    assert remotely(town, administrator, "keys", "create", "viborg").returncode == 1


def test_at_the_front_door_identity_headers_are_not_believed(town: Community) -> None:
    viewer = said(town.command("tokens", "create", "--role", "viewer:aarhus")).strip()
    with town.http() as http:
        forged = {"x-samdrift-actor": "local", "x-samdrift-address": "10.0.0.1", "x-forwarded-for": "10.0.0.1"}
        assert http.get("/api/v1/me", headers=forged).status_code == 401
        http.get("/api/v1/status", headers=forged | {"authorization": f"Bearer {viewer}"})
        with_key = http.get("/api/v1/me", headers={"authorization": f"Bearer {town.key()}"})
        assert (with_key.status_code, with_key.headers["content-type"]) == (401, "application/problem+json")
        for path in ("/api/v1/../v1/me", "/api/v1/%2e%2e/v1/status", "//api/v1/status", "/api/v1/me/../status"):
            assert http.get(path).status_code in (401, 404)
        assert http.get("/api/v1x/me").status_code == 404
        assert http.get("/v1/models", headers={"authorization": f"Bearer {viewer}"}).status_code == 401
    trail = json.loads(said(town.command("audit", "list", "--action", "status.read", "--json")))
    assert trail[0]["address"] == "127.0.0.1"


def test_a_large_document_gets_through_the_front_door_and_one_too_large_does_not(town: Community) -> None:
    operator = said(town.command("tokens", "create", "--role", "operator")).strip()
    text = town.document.read_text()
    with town.http(operator) as http:
        large = http.post("/api/v1/revisions/plan", json={"text": text + "# " + "x" * 2_000_000})
        assert large.status_code == 200
        assert http.post("/api/v1/revisions/plan", json={"text": "x" * 5_000_000}).status_code == 422
        assert http.post("/api/v1/revisions/plan", json={"text": "x" * 10_000_000}).status_code == 413


def test_a_control_plane_that_is_killed_goes_on_with_what_was_applied(town: Community) -> None:
    document = with_organisation(town, "lemvig")
    said(town.command("apply", str(document), "--reason", "Lemvig joins", "--yes"))
    before, number = town.control, history(town)[0]["number"]
    os.kill(before, signal.SIGKILL)
    until(lambda: town.command("members", "lemvig").returncode == 0, "it is back with what was applied")
    assert town.control != before
    assert history(town)[0]["number"] == number


def test_started_without_a_document_it_goes_on_where_it_stopped(town: Community) -> None:
    said(town.command("apply", str(with_organisation(town, "thisted")), "--reason", "Thisted joins", "--yes"))
    number = history(town)[0]["number"]
    town.stop()
    with town.said_file.open("ab") as out:
        town.process = subprocess.Popen([*SAMDRIFT, "up", "--data", str(town.data)], stdin=subprocess.DEVNULL, stdout=out,
            stderr=out, start_new_session=True)  # fmt: skip
    until(lambda: town.command("members", "thisted").returncode == 0, "it is up with what was applied", 60)
    assert history(town)[0]["number"] == number
