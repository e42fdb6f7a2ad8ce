"""A login that a test can make lie: an OpenID provider as an ASGI app, reached without a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from samdrift.spec.signin import Provider

ISSUER = "https://login.aarhus.dk"
KEYS = {name: rsa.generate_private_key(65537, 2048) for name in ("k1", "k2", "strange")}
CURVE = ec.generate_private_key(ec.SECP256R1())


def public(kid: str, **more: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


@dataclass
class Login:
    """What it says. Each `change` is called with the claims of a token before it is signed."""

    now: Callable[[], float]
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    granted: dict[str, Any] = field(default_factory=dict)
    jwks: list[dict[str, Any]] = field(default_factory=lambda: [public("k1")])
    sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(claims, KEYS["k1"], "RS256", {"kid": "k1"})
    status: dict[str, int] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def fetch(self, _provider: Provider) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self))

    def signs_in(self, address: str) -> dict[str, str]:
        """What a browser brings back that was sent to this address."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        code = f"code{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, body = scope["path"], b""
        while scope["method"] == "POST":
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        form = dict(parse_qsl(body.decode()))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((path, {**form, "authorization": headers.get("authorization", "")}))
        status, value = self._answer(path, form)
        said = self.raw.get(path, json.dumps(value).encode())
        await send({"type": "http.response.start", "status": self.status.get(path, status),
            "headers": [(b"content-type", b"application/json"), (b"location", b"https://evil.example/")]})  # fmt: skip
        await send({"type": "http.response.body", "body": said})

    def _answer(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize", "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys", **self.metadata}  # fmt: skip
        if path == "/keys":
            return 200, {"keys": self.jwks}
        if path == "/userinfo":
            return 200, {"sub": "ane-1", **self.userinfo}
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        claims = {"iss": ISSUER, "aud": asked["client_id"], "sub": "ane-1", "iat": int(self.now()), "exp": int(self.now()) + 300,
            "nonce": asked["nonce"], "name": "Ane Å", "groups": ["staff"], **self.claims}  # fmt: skip
        return 200, {"id_token": self.sign({n: v for n, v in claims.items() if v is not None}), "token_type": "Bearer",
            "access_token": "acc.ess-1", **self.granted}  # fmt: skip


def by_curve() -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True), "kid": "curve", "use": "sig"}
