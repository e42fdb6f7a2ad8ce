"""`--server`: people, the audit trail, privacy and refused tokens of another machine, over HTTP, with a token."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench.ports import free_port
from click.testing import CliRunner, Result
from tests.api.v1.conftest import House

from samdrift.access.people import Session, digest_of
from samdrift.access.pseudonyms import pseudonym
from samdrift.access.roles import Role
from samdrift.cli import main
from samdrift.runtime.auditing import Seals
from samdrift.runtime.clock import wall
from samdrift.runtime.pseudonyms import user_key
from samdrift.runtime.serving import serving, tcp_socket
from samdrift.spec.events import AuditEvent

Run = Callable[..., Result]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def server(house: House) -> Iterator[str]:
    up, over, loop, port = threading.Event(), asyncio.Event(), asyncio.new_event_loop(), free_port()

    async def serve() -> None:
        async with serving(house.administration.entrance, tcp_socket(f"127.0.0.1:{port}", "a test"), "api"):
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert up.wait(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def run(house: House, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command on some other machine: it knows the address and a token, and no data folder."""
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def run(*words: str, role: Role = Role.OPERATOR) -> Result:
        environment = {"SAMDRIFT_SERVER": server, "SAMDRIFT_TOKEN": house.as_role(role)}
        return CliRunner().invoke(main, list(words), env=environment, catch_exceptions=False)

    return run


def good(done: Result) -> Result:
    assert done.exit_code == 0, done.output
    return done


# -- people


def test_somebody_is_invited_from_elsewhere(run: Run, house: House, server: str) -> None:
    done = good(run("people", "create", "Kirsten", "--name", "Kirsten Holm", "--role", "operator", "--lasts", "8h"))
    link = done.stdout.strip()
    assert link.startswith(f"{server}/signin/welcome#")
    person = house.ledger.people.invited(digest_of(link.partition("#")[2]), wall())
    assert person is not None
    assert (person.login, person.name) == ("kirsten", "Kirsten Holm")
    assert house.ledger.people.invited(digest_of(link.partition("#")[2]), wall() + 8.1 * 3600) is None
    (row,) = json.loads(good(run("people", "list", "--json")).stdout)
    assert (row["login"], row["state"], row["grants"], row["second_factors"]) == ("kirsten", "invited", ["operator of all"], 0)
    again = good(run("people", "invite", "kirsten")).stdout.strip()
    assert house.ledger.people.invited(digest_of(link.partition("#")[2]), wall()) is None
    assert house.ledger.people.invited(digest_of(again.partition("#")[2]), wall()) is not None
    assert [event.action for event in house.audited("people.reset")] == []
    good(run("people", "invite", "kirsten", "--anew"))
    assert len(house.audited("people.reset")) == 1


def test_a_link_is_drawn_for_a_phone_and_the_output_is_the_link_alone(run: Run) -> None:
    done = good(run("people", "create", "kirsten", "--role", "operator", "--qr"))
    assert done.stdout.count("\n") == 1
    assert "█" in done.stderr


def test_roles_are_given_and_taken_from_elsewhere(run: Run) -> None:
    good(run("people", "create", "kirsten", "--role", "viewer:aarhus"))
    assert "is now finance of odense" in good(run("people", "grant", "kirsten", "finance:odense")).output
    assert "was already finance of odense" in good(run("people", "grant", "kirsten", "finance:odense")).output
    assert "is no longer viewer of aarhus" in good(run("people", "withdraw", "KIRSTEN", "viewer:aarhus")).output
    lost = run("people", "withdraw", "kirsten", "viewer:aarhus")
    assert (lost.exit_code, "was not given viewer of aarhus" in lost.output) == (1, True)
    assert "finance of odense" in good(run("people", "list")).output


def test_somebody_is_shut_out_and_forgotten_from_elsewhere(run: Run, house: House) -> None:
    good(run("people", "create", "kirsten", "--role", "operator"))
    person = house.ledger.people.by_login("kirsten")
    assert person is not None
    now = wall()
    session = Session(bytes(32), "s1", person.id, "account", True, now, now, now + 3600, "192.0.2.1", "Firefox")
    house.ledger.people.sessions.begin(session, AuditEvent(now, "person", person.id, "signin.in", "x", "done"))
    assert "192.0.2.1" in good(run("people", "sessions", "kirsten")).output
    assert "Ended 1 sessions" in good(run("people", "sessions", "kirsten", "--end")).output
    assert "signed in nowhere" in good(run("people", "sessions", "kirsten")).output
    assert "is disabled" in good(run("people", "disable", "kirsten")).output
    assert "was disabled already" in good(run("people", "disable", "kirsten")).output
    assert "may sign in again" in good(run("people", "enable", "kirsten")).output
    assert "is forgotten" in good(run("people", "remove", "kirsten")).output
    assert house.ledger.people.all() == ()
    actions = [noted.event.action for noted in house.ledger.audit.events() if noted.event.actor_kind == "token"]
    assert actions[:2] == ["people.remove", "people.disable"]


def test_an_administrator_does_from_elsewhere_what_the_roles_allow_and_no_more(run: Run, house: House) -> None:
    good(run("people", "create", "kirsten", "--role", "operator"))
    good(run("people", "create", "anna", "--role", "viewer:aarhus", role=Role.ADMINISTRATOR))
    for words in (("remove", "kirsten"), ("disable", "kirsten"), ("sessions", "kirsten"), ("invite", "kirsten")):
        done = run("people", *words, role=Role.ADMINISTRATOR)
        assert (done.exit_code, "You can see nobody of this name" in done.output) == (1, True)
    good(run("people", "grant", "kirsten", "viewer:aarhus"))
    for words in (("remove", "kirsten"), ("sessions", "kirsten", "--end"), ("sessions", "kirsten")):
        done = run("people", *words, role=Role.ADMINISTRATOR)
        assert (done.exit_code, "ask a platform operator" in done.output) == (1, True), done.output
    assert run("people", "create", "eve", "--role", "operator", role=Role.ADMINISTRATOR).exit_code == 1
    assert {person.login for person in house.ledger.people.all()} == {"kirsten", "anna"}


# -- the audit trail


def test_the_trail_of_a_server_is_listed_exported_and_verified_here(run: Run, house: House, tmp_path: Path) -> None:
    good(run("keys", "create", "aarhus"))
    good(run("keys", "create", "odense"))
    seals = Seals.of(house.data)
    seals.seal(house.ledger.audit, wall())
    (key,) = seals.public_keys()
    listed = json.loads(good(run("audit", "list", "--action", "keys.*", "--since", "1h", "--json")).stdout)
    assert [(row["action"], row["organisation"]) for row in listed] == [("keys.create", "odense"), ("keys.create", "aarhus")]
    assert "keys.create" in good(run("audit", "list", "--organisation", "aarhus", role=Role.ADMINISTRATOR)).output
    assert run("audit", "list", role=Role.ADMINISTRATOR).exit_code == 1
    assert good(run("audit", "key")).stdout.strip() == key.hex()
    assert "as it was written" in good(run("audit", "verify", "--key", key.hex())).output
    own = good(run("audit", "verify", "--organisation", "aarhus", "--key", key.hex(), role=Role.ADMINISTRATOR))
    assert "made for aarhus" in own.output
    good(run("audit", "export", "-o", "audit.jsonl"))
    assert '"odense"' in Path("audit.jsonl").read_text()


def test_a_trail_that_was_tampered_with_is_noticed_from_elsewhere(run: Run, house: House) -> None:
    import sqlite3

    good(run("keys", "create", "aarhus"))
    seals = Seals.of(house.data)
    seals.seal(house.ledger.audit, wall())
    with sqlite3.connect(house.data / "ledger.sqlite") as database:
        database.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 1")
    database.close()
    done = run("audit", "verify", "--key", seals.public_keys()[0].hex())
    assert done.exit_code == 1
    assert "✗" in done.output


# -- privacy


def test_one_persons_rows_are_taken_out_and_erased_from_elsewhere(run: Run, house: House) -> None:
    import dataclasses

    hashed = pseudonym(user_key(house.data), "aarhus", "anna@aarhus.dk")
    house.use("t-other", "aarhus")
    row = house.ledger.usage_of("t-other")
    assert row is not None
    house.ledger.append_usage([dataclasses.replace(row, ticket="t-anna", user=hashed)])
    about = ("aarhus", "anna@aarhus.dk", "--reason", "her request")
    rows = json.loads(good(run("privacy", "export", *about, role=Role.ADMINISTRATOR)).stdout)
    assert [one["ticket"] for one in rows] == ["t-anna"]
    assert run("privacy", "export", *about, role=Role.VIEWER).exit_code == 1
    assert run("privacy", "export", "odense", *about[1:], role=Role.ADMINISTRATOR).exit_code == 1
    assert "1 rows were erased" in good(run("privacy", "erase", *about, "--yes", role=Role.ADMINISTRATOR)).output
    assert json.loads(good(run("privacy", "export", *about)).stdout) == []
    assert house.ledger.usage_of("t-other") is not None
    (event,) = house.audited("privacy.erase")
    assert (event.actor_kind, event.subject, event.reason, event.after) == ("token", f"user/{hashed}", "her request", {"rows": 1})


def test_the_report_of_a_server_is_written_here(run: Run) -> None:
    assert good(run("privacy", "report")).stdout.startswith("# What Test does with data")
    good(run("privacy", "report", "-o", "out"))
    assert Path("out/privacy.svg").read_text().startswith("<svg")
    assert run("privacy", "report", role=Role.ADMINISTRATOR).exit_code == 1


# -- refused tokens


def test_a_token_is_refused_and_accepted_again_from_elsewhere(run: Run, house: House) -> None:
    done = good(run("keys", "refuse", "aarhus", "--token-id", "jti-1", "--reason", "in a log", role=Role.DEVELOPER))
    assert "aarhus refuses the token jti-1" in done.output
    good(run("keys", "refuse", "aarhus", "--user", "anna@aarhus.dk", "--later-ones", "--lasts", "90d", "--reason", "has left"))
    rows = json.loads(good(run("keys", "refused", "aarhus", "--json")).stdout)
    hashed = pseudonym(user_key(house.data), "aarhus", "anna@aarhus.dk")
    assert [(r["by"], r["token_id"], r["user_hash"], r["issued_before"]) for r in rows] == [
        ("token", "jti-1", None, None), ("user", None, hashed, None)]
    assert "anna" not in json.dumps([str(noted) for noted in house.ledger.audit.events()])
    assert run("keys", "refuse", "odense", "--token-id", "x", "--reason", "r", role=Role.DEVELOPER).exit_code == 1
    assert run("keys", "accept", "odense", rows[0]["id"], role=Role.OPERATOR).exit_code == 1
    assert "no longer refuses the token jti-1" in good(run("keys", "accept", "aarhus", rows[0]["id"])).output
    assert "jti-1" not in good(run("keys", "refused", "aarhus")).output


@pytest.mark.parametrize(("words", "sentence"), [
    (("people", "grant", "nobody", "operator"), "You can see nobody of this name"),
    (("people", "create", "kir sten", "--role", "operator"), "an account's name has small letters"),
    (("people", "create", "kirsten", "--role", "viewer:nowhere"), "The document has no organisation nowhere"),
    (("people", "create", "kirsten", "--role", "operator", "--lasts", "90d"), "body.lasts"),
    (("keys", "refuse", "nowhere", "--token-id", "x", "--reason", "r"), "The document has no organisation nowhere"),
    (("privacy", "export", "nowhere", "anna", "--reason", "r"), "The document has no organisation nowhere"),
])  # fmt: skip
def test_what_cannot_be_is_said(run: Run, house: House, words: tuple[str, ...], sentence: str) -> None:
    done = run(*words)
    assert done.exit_code in (1, 2)
    assert sentence in done.output
    assert house.ledger.people.all() == ()


def test_a_server_that_is_not_there_is_said_to_be_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("people", "list"), ("audit", "export"), ("privacy", "report")):
        done = CliRunner().invoke(main, [*words, "--server", "http://127.0.0.1:1", "--token", "sdadm-x"])
        assert (done.exit_code, "did not answer" in done.output) == (1, True), done.output
        done = CliRunner().invoke(main, [*words, "--server", "http://ai.example.dk", "--token", "sdadm-x"])
        assert (done.exit_code, "must not cross a network in the clear" in done.output) == (2, True)


def test_where_a_servers_authority_is_not_known_it_says_how_to_name_it(tmp_path: Path) -> None:
    for words in (("authority",), ("server", "--host", "127.0.0.1")):
        made = CliRunner().invoke(main, ["certs", words[0], str(tmp_path / "tls"), *words[1:]])
        assert made.exit_code == 0, made.output
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls/server.crt", tmp_path / "tls/server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            words = ("audit", "list", "--server", f"https://127.0.0.1:{server.server_address[1]}", "--token", "sdadm-x")
            done = CliRunner().invoke(main, words)
        finally:
            server.shutdown()
            thread.join(10)
    assert (done.exit_code, "SSL_CERT_FILE" in done.output) == (1, True), done.output
