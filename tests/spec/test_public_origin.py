"""Where people's browsers find a community: as they write it themselves."""

from __future__ import annotations

import pytest

from samdrift.spec.checking_signin import public_origin
from samdrift.spec.document import Spec


@pytest.mark.parametrize(("gateway", "url", "origin"), [
    ({}, "", "http://localhost:8080"),
    ({"listen": "[::1]:9000"}, "", "http://localhost:9000"),
    ({"listen": "127.0.0.1:8443", "tls": {"certificate": "a", "key": "b"}}, "", "https://localhost:8443"),
    ({"listen": "0.0.0.0:8443", "tls": {"certificate": "a", "key": "b"}}, "", None),
    ({"listen": "nonsense"}, "", None),
    ({}, "https://LLM.Example.dk/", "https://llm.example.dk"),
    ({}, "https://llm.example.dk:443", "https://llm.example.dk"),
    ({}, "https://llm.example.dk:8443", "https://llm.example.dk:8443"),
    ({}, "http://localhost:80", "http://localhost"),
])  # fmt: skip
def test_an_origin_is_spelled_as_browsers_do(gateway, url, origin) -> None:
    spec = Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"}, "gateway": gateway, "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "package:pack/chat.gguf", "pool": "here"}}, "signin": {"url": url},
    })  # fmt: skip
    assert public_origin(spec) == origin
