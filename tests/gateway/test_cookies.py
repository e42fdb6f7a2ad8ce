"""Who sees a browser's cookies: the pages for people, and nobody else. Where somebody comes from: real Envoy."""

from __future__ import annotations

import pytest
from tests.gateway.standins import CHAT, Entrance


def came(entrance: Entrance, path: str, **headers: str) -> dict[str, str]:
    with entrance.http() as http:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        assert http.get(path, headers={"cookie": "samdrift=secret", **told}).json() == {"api": True}
    return dict(entrance.api.came.all[-1].headers)


@pytest.mark.parametrize("path", ["/signin", "/signin/account?lang=da", "/api/v1/me", "/api/v1/signin/session", "/console/keys"])
def test_pages_for_people_see_cookies(entrance: Entrance, path: str) -> None:
    assert came(entrance, path)["cookie"] == "samdrift=secret"


@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/healthz", "/signinx", "/api/v1x", "/api/v2/me", "/apiv1", "/v1/signin", "/Signin"]
)
def test_nothing_else_sees_them(entrance: Entrance, path: str) -> None:
    assert "cookie" not in came(entrance, path)


@pytest.mark.parametrize("path", ["/signin/../v1/models", "/api/v1/../../v1/models", "/signin/.././v1/models"])
def test_a_path_is_read_as_it_will_be_answered_before_it_is_decided_who_sees_them(entrance: Entrance, path: str) -> None:
    told = came(entrance, path)
    assert "cookie" not in told
    assert entrance.api.came.all[-1].path == "/v1/models"


def test_an_engine_sees_no_cookie(entrance: Entrance) -> None:
    with entrance.http() as http:
        answer = http.post(CHAT, json={"model": "chat"}, headers={"cookie": "samdrift=secret"})
    ticket = answer.headers["x-samdrift-ticket"]
    assert "cookie" not in entrance.engine.served.first(lambda served: served.ticket == ticket).names


@pytest.mark.parametrize("path", ["/signin", "/v1/models"])
def test_where_somebody_comes_from_is_what_the_connection_says_and_not_the_client(entrance: Entrance, path: str) -> None:
    told = came(entrance, path, x_samdrift_address="6.6.6.6", x_forwarded_for="6.6.6.6", x_real_ip="6.6.6.6")
    assert told["x-samdrift-address"] == "127.0.0.1"
