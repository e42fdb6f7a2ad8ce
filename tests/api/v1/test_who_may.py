"""Who may do what: every route, asked by every role, about its own organisation and another one.

What is expected stands here by hand, route by route, and not in the words of the program's own table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.api.v1.conftest import LOCAL, House, text_of

from samdrift.access.keys import mint_key
from samdrift.access.permissions import RULES, Permission, may, reach
from samdrift.access.roles import OVER_ALL, Actor, Grant, Role
from samdrift.api.v1 import application
from samdrift.api.v1.application import routes
from samdrift.api.v1.guarding import Over, needs_of
from samdrift.api.v1.refused_tokens import RefusalWanted
from samdrift.runtime.refusing import Refusing

LETTERS = {"O": Role.OPERATOR, "U": Role.AUDITOR, "A": Role.ADMINISTRATOR, "D": Role.DEVELOPER, "F": Role.FINANCE,
    "V": Role.VIEWER}  # fmt: skip
OWN, FOREIGN = "aarhus", "odense"
_numbers = itertools.count()

Made = tuple[str, dict[str, Any]]
"""What stands in the place of the path's last name, and the body."""


def nothing(_house: House, _about: str) -> Made:
    return "", {}


def a_key(house: House, about: str) -> Made:
    number = next(_numbers)
    secret, name = number.to_bytes(32, "big"), number.to_bytes(8, "big")
    record, _ = mint_key(about, "default", "", secret_bytes=secret, id_bytes=name, now=1.0)
    house.ledger.add_key(record)
    return record.key_id, {"json": {}}


def a_refusal(house: House, about: str) -> Made:
    made = Refusing(house.ledger, house.data).refuse(LOCAL, about, RefusalWanted(token_id="t", reason="leaked"))
    return made.id, {}


def anna(_house: House, _about: str) -> Made:
    return "", {"json": {"user": "anna@aarhus.dk", "reason": "her request"}}


def a_person(house: House, about: str) -> Made:
    person = house.person(f"Anna{next(_numbers)}", Grant(Role.VIEWER, about))
    return person.id, {}


def a_person_to_promote(house: House, about: str) -> Made:
    return a_person(house, about)[0], {"json": {"roles": [{"role": "developer", "organisation": about}]}}


def a_token(house: House, about: str) -> Made:
    return house.token(Grant(Role.VIEWER, about)).split("-")[1], {}


def a_ticket(house: House, about: str) -> Made:
    house.tickets[f"t-{about}"] = {"ticket": f"t-{about}", "organisation": about}
    return f"t-{about}", {}


def changed(_house: House, _about: str) -> Made:
    organisations = {"aarhus": {}, "odense": {}, "viborg": {"name": f"Viborg {next(_numbers)}"}}
    return "1", {"json": {"text": text_of(organisations=organisations), "reason": "a test"}}


@dataclass(frozen=True)
class Case:
    """`roles`: by letter, who may in their own organisation, or at all. `foreign`: what the others get about another one."""

    roles: str
    make: Callable[[House, str], Made] = nothing
    foreign: int = 403


SINCE = {"params": {"since": "2026-01-01T00:00:00Z"}}
CASES = {
    "GET /me": Case("OUADFV"),
    "GET /members": Case("OUADFV"),
    "GET /members/{organisation}": Case("OUADFV"),
    "GET /members/{organisation}/projects": Case("OUADFV"),
    "GET /members/{organisation}/projects/{project}": Case("OUADFV", lambda _h, _a: ("default", {})),
    "GET /models": Case("OUADFV"),
    "GET /models/{model}/events": Case("OUADFV", lambda _h, _a: ("chat", {})),
    "GET /members/{organisation}/models": Case("OUADFV"),
    "GET /usage": Case("OUADFV", lambda _h, _a: ("", SINCE)),
    "GET /members/{organisation}/usage": Case("OUADFV", lambda _h, _a: ("", SINCE)),
    "GET /tickets/{ticket}": Case("OUAD", a_ticket, 404),
    "GET /status": Case("OU"),
    "GET /members/{organisation}/keys": Case("OUAD"),
    "POST /members/{organisation}/keys": Case("OAD", lambda _h, _a: ("", {"json": {}})),
    "GET /members/{organisation}/keys/{key_id}": Case("OUAD", lambda h, a: (a_key(h, a)[0], {})),
    "DELETE /members/{organisation}/keys/{key_id}": Case("OAD", lambda h, a: (a_key(h, a)[0], {})),
    "POST /members/{organisation}/keys/{key_id}/rotate": Case("OAD", a_key),
    "GET /members/{organisation}/refused-tokens": Case("OUAD"),
    "POST /members/{organisation}/refused-tokens": Case("OAD", lambda _h, _a: ("", {"json": {"token_id": "t", "reason": "a"}})),
    "GET /members/{organisation}/refused-tokens/{refusal}": Case("OUAD", lambda h, a: (a_refusal(h, a)[0], {})),
    "DELETE /members/{organisation}/refused-tokens/{refusal}": Case("OAD", lambda h, a: (a_refusal(h, a)[0], {})),
    "GET /people": Case("OUA"),
    "POST /people": Case("OA", lambda _h, a: ("", {"json": {"login": f"bo{next(_numbers)}",
        "roles": [{"role": "viewer", "organisation": a}]}})),
    "GET /people/{person}": Case("OUA", a_person, 404),
    "PATCH /people/{person}": Case("OA", a_person_to_promote, 404),
    "POST /people/{person}/disable": Case("OA", a_person, 404),
    "POST /people/{person}/enable": Case("OA", a_person, 404),
    "POST /people/{person}/invitation": Case("OA", a_person, 404),
    "DELETE /people/{person}": Case("OA", a_person, 404),
    "GET /people/{person}/sessions": Case("OUA", a_person, 404),
    "DELETE /people/{person}/sessions": Case("OA", a_person, 404),
    "GET /tokens": Case("OUA"),
    "POST /tokens": Case("OA", lambda _h, a: ("", {"json": {"roles": [{"role": "viewer", "organisation": a}]}})),
    "GET /tokens/{token_id}": Case("OUA", a_token, 404),
    "DELETE /tokens/{token_id}": Case("OA", a_token, 404),
    "GET /revisions": Case("OU"),
    "GET /revisions/current": Case("OU"),
    "GET /revisions/{number}": Case("OU", lambda _h, _a: ("1", {})),
    "GET /revisions/{number}/diff": Case("OU", lambda _h, _a: ("1", {})),
    "POST /revisions/plan": Case("O", lambda _h, _a: ("", {"json": {"text": text_of()}})),
    "POST /revisions": Case("O", changed),
    "POST /revisions/{number}/roll-back": Case("O", lambda _h, _a: ("1", {"json": {"reason": "a test"}})),
    "GET /privacy/report": Case("OU"),
    "POST /members/{organisation}/privacy/export": Case("OA", anna),
    "POST /members/{organisation}/privacy/erase": Case("OA", anna),
    "GET /audit": Case("OU"),
    "GET /audit/export": Case("OU"),
    "GET /members/{organisation}/audit": Case("OUA"),
    "GET /members/{organisation}/audit/export": Case("OUA"),
}  # fmt: skip


def asked(house: House, route: str, case: Case, about: str, **how: Any) -> httpx.Response:
    method, path = route.split(" ")
    last, more = case.make(house, about)
    path = path.replace("{organisation}", about)
    for name in ("project", "model", "ticket", "key_id", "refusal", "person", "token_id", "number"):
        path = path.replace(f"{{{name}}}", last)
    return house.ask(method, path, **how, **more)


def test_every_route_is_in_the_table_and_none_that_is_not_there() -> None:
    there = {f"{method} {path.removeprefix('/api/v1')}" for path, route in routes() for method in route.methods or ()}
    assert there == set(CASES)


@pytest.mark.parametrize("route", CASES)
def test_each_role_may_exactly_what_the_table_says(house: House, route: str) -> None:
    case = CASES[route]
    about_somebody = any(name in route for name in ("{organisation}", "{person}", "{token_id}", "{ticket}")) or route in (
        "POST /people", "POST /tokens")  # fmt: skip
    for letter, role in LETTERS.items():
        answer = asked(house, route, case, OWN, role=role)
        expected = letter in case.roles
        assert (answer.status_code < 300) == expected, (route, role, answer.status_code, answer.text)
        assert expected or answer.status_code == 403, (route, role, answer.text)
        if about_somebody:
            answer = asked(house, route, case, FOREIGN, role=role)
            if role in OVER_ALL and expected:
                assert answer.status_code < 300, (route, role, answer.text)
            else:
                assert answer.status_code == (case.foreign if expected else 403), (route, role, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", CASES)
def test_without_a_token_nobody_learns_anything(house: House, route: str) -> None:
    for token in (None, "sdadm-nonsense", "sd-aaaaaaaaaaa-" + "a" * 49):
        answer = asked(house, route, CASES[route], OWN, token=token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", CASES)
def test_whoever_runs_the_service_may_do_everything_by_its_socket(house: House, route: str) -> None:
    assert asked(house, route, CASES[route], OWN, local=True).status_code < 300


@pytest.mark.parametrize("route", CASES)
def test_somebody_without_any_role_may_do_nothing(house: House, route: str) -> None:
    token = house.token(Grant(Role.ADMINISTRATOR, "gone"))  # the organisation is not in the document
    answer = asked(house, route, CASES[route], OWN, token=token)
    assert answer.status_code == (200 if route == "GET /me" else 403), answer.text


def test_an_organisation_that_is_not_there_answers_as_one_that_is_not_ones_own(house: House) -> None:
    others = ("odense", "nowhere", "AARHUS", "%E2%80%AEx")
    answers = [house.ask("GET", f"/members/{about}/keys", role=Role.ADMINISTRATOR) for about in others]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text for answer in answers}) == 1


def test_refused_attempts_are_in_the_audit_with_who_and_what(house: House) -> None:
    house.ask("POST", "/members/odense/keys", role=Role.DEVELOPER, json={}, headers={"x-samdrift-address": "192.0.2.7"})
    (event,) = house.audited("keys.create")
    assert (event.outcome, event.organisation, event.address) == ("refused", "odense", "192.0.2.7")
    assert event.actor_kind == "token"
    assert event.subject == "POST /api/v1/members/odense/keys"


@pytest.mark.parametrize(("path", "make"), [("/people/", a_person), ("/tokens/", a_token), ("/tickets/", a_ticket)])
def test_whoever_reaches_for_what_is_not_theirs_is_told_there_is_none_and_it_is_noted(
    house: House, path: str, make: Callable[[House, str], Made]
) -> None:
    there = house.ask("GET", path + (name := make(house, "odense")[0]), role=Role.ADMINISTRATOR)
    nothing = house.ask("GET", path + "unheard0of0", role=Role.ADMINISTRATOR)
    assert (there.status_code, there.text) == (nothing.status_code, nothing.text)
    refused = [noted.event for noted in house.ledger.audit.events(limit=50) if noted.event.outcome == "refused"]
    assert [event.subject.split("/")[1] for event in refused] == [name]


def test_a_key_of_another_organisation_is_not_there(house: House) -> None:
    foreign, _ = a_key(house, "odense")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = house.ask(method, f"/members/aarhus/keys/{foreign}{path}", role=Role.ADMINISTRATOR,
            **({"json": {}} if method == "POST" else {}))  # fmt: skip
        assert answer.status_code == 404
    record = house.ledger.key(foreign)
    assert record is not None
    assert (record.revoked_at, record.rotated_at) == (None, None)


def test_lists_show_what_is_within_reach_and_no_more(house: House) -> None:
    house.use("t-1", "aarhus")
    house.use("t-2", "odense")
    for about in (OWN, FOREIGN):
        a_person(house, about)
        a_token(house, about)
    both = house.person("Both", Grant(Role.VIEWER, "aarhus"), Grant(Role.FINANCE, "odense"))

    def items(path: str, role: Role) -> list[dict[str, Any]]:
        answer = house.ask("GET", path, role=role, params={"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"}
            if path == "/usage" else {})  # fmt: skip
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    assert [row["organisation"] for row in items("/members", Role.VIEWER)] == ["aarhus"]
    assert [row["organisation"] for row in items("/usage", Role.FINANCE)] == ["aarhus"]
    assert {row["organisation"] for row in items("/usage", Role.AUDITOR)} == {"aarhus", "odense"}
    assert {role["organisation"] for row in items("/people", Role.ADMINISTRATOR) for role in row["roles"]} == {"aarhus"}
    assert both.id in {row["id"] for row in items("/people", Role.ADMINISTRATOR)}
    assert {role["organisation"] for row in items("/tokens", Role.ADMINISTRATOR) for role in row["roles"]} == {"aarhus"}
    models = house.ask("GET", "/models", role=Role.VIEWER, organisation="odense").json()["items"]
    assert [row["model"] for row in models] == ["embed"]


def test_nobody_gives_away_what_he_does_not_hold(house: House) -> None:
    """An administrator of one organisation cannot make an operator, nor anybody of another organisation, nor take over who is."""
    too_much = [
        [{"role": "operator"}],
        [{"role": "auditor", "organisation": None}],
        [{"role": "viewer", "organisation": "odense"}],
        [{"role": "viewer", "organisation": "aarhus"}, {"role": "administrator", "organisation": "odense"}],
    ]
    colleague = house.person("Colleague", Grant(Role.VIEWER, "aarhus"))
    for roles in too_much:
        for method, path, body in (
            ("POST", "/tokens", {"roles": roles}),
            ("POST", "/people", {"login": "eve", "roles": roles}),
            ("PATCH", f"/people/{colleague.id}", {"roles": roles}),
        ):
            assert house.ask(method, path, role=Role.ADMINISTRATOR, json=body).status_code == 403
    operator = house.person("Operator", Grant(Role.OPERATOR), Grant(Role.VIEWER, "aarhus"))
    for action in ("disable", "invitation"):
        assert house.ask("POST", f"/people/{operator.id}/{action}", role=Role.ADMINISTRATOR).status_code == 403
    kept = house.ask("PATCH", f"/people/{operator.id}", role=Role.ADMINISTRATOR, json={"roles": []})
    assert kept.status_code == 200  # what is within reach is taken, and only that
    found = house.ledger.people.find(operator.id)
    assert found is not None
    assert [held.grant for held in found.grants] == [Grant(Role.OPERATOR)]


def test_a_role_does_not_reach_by_its_spelling() -> None:
    actor = Actor("token", "t", "t", (Grant(Role.ADMINISTRATOR, "aarhus"),))
    for other in ("Aarhus", "aarhus ", "ａarhus", "aarhus/../odense", "", None):
        assert not may(actor, Permission.KEYS_CREATE, other)
    assert may(actor, Permission.KEYS_CREATE, "aarhus")


def test_every_permission_has_a_rule_and_some_route_or_is_asked_by_one() -> None:
    assert set(RULES) == set(Permission)
    used = {needs.permission for _, route in routes() if (needs := needs_of(route)) is not None}
    assert used - {None} == set(Permission)


def test_a_route_that_names_no_permission_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import APIRouter

    router = APIRouter()

    @router.get("/forgotten")
    async def forgotten() -> None: ...

    monkeypatch.setattr(application, "ROUTERS", (*application.ROUTERS, router))
    assert isinstance(router.routes[0], APIRoute)
    with pytest.raises(TypeError, match="forgotten"):
        application.application(None)


def test_routes_about_an_organisation_ask_for_it_and_no_other_does() -> None:
    for path, route in routes():
        needs = needs_of(route)
        assert needs is not None
        assert (needs.over is Over.ORGANISATION) == ("{organisation}" in path)


def test_an_operator_holds_nothing_by_a_grant_over_one_organisation() -> None:
    with pytest.raises(ValueError, match="held over"):
        Grant(Role.OPERATOR, "aarhus")
    assert not reach(Actor("token", "t", "t"), Permission.MEMBERS_READ)
