"""Logins that people use already: OpenID Connect, authorization code with PKCE (S256), state and nonce.

What a provider says is believed only as far as its signature by a key at its own address reaches. Everything is fetched with
a deadline and a bound on its size, follows no redirect, and comes over TLS unless it is this machine.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import jwt
from jwt.exceptions import PyJWTError

from samdrift.access.people import same_text
from samdrift.api.signin.flows import Flow
from samdrift.spec.checking_signin import LOOPBACK
from samdrift.spec.signin import Provider

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that a public key verifies, and none by a shared secret."""
_KEEP, _REFETCH = 3600.0, 30.0  # seconds
_LARGEST = 512 * 1024
_PATIENCE = 8.0  # seconds for each question
_SKEW = 60.0
_LONGEST_TOKEN = 64 * 1024
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,65536}=*")  # RFC 6750, 2.1
_ABOUT_THE_SIGN_IN = frozenset({"iss", "aud", "exp", "iat", "nbf", "nonce", "azp", "acr", "amr", "auth_time"})
_log = logging.getLogger(__name__)

Fetching = Callable[[Provider], httpx.AsyncClient]
"""Makes a client for a provider, in a thread: it knows which authorities are trusted."""


class ProviderFailed(Exception):  # noqa: N818 - the name says what happened
    """The login did not do its part. `kind` is `away` (try again), `denied` (it says no) or `wrong` (what it said cannot be
    believed). The text is for logs: it holds no token and no secret."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


_Key = tuple[Any, str | None]
"""A public key, and the one algorithm that it is for, if it says so."""


@dataclass(slots=True)
class _Known:
    """What is known of one provider, and since when."""

    metadata: dict[str, Any]
    fetched_at: float
    keys: dict[str, _Key] = field(default_factory=dict)
    keys_at: float = float("-inf")


class Providers:
    """All providers of a document. Times are seconds of the caller's clock, Unix time."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._known: dict[tuple[str, str, str], _Known] = {}
        self._turn = asyncio.Lock()

    async def leave(self, provider: Provider, flow: Flow, redirect: str, now: float) -> str:
        """Where to send somebody. Raises ProviderFailed."""
        known = await self._about(provider, now)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).decode().rstrip("=")
        asked = {"response_type": "code", "client_id": provider.client_id, "redirect_uri": redirect,
            "scope": " ".join(provider.scopes), "state": flow.state, "nonce": flow.challenge, "code_challenge": challenge,
            "code_challenge_method": "S256"}  # fmt: skip
        if provider.second_factor.acr:
            asked["acr_values"] = " ".join(provider.second_factor.acr)
        endpoint: str = known.metadata["authorization_endpoint"]
        return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(asked)

    async def back(
        self, provider: Provider, secret: str, flow: Flow, redirect: str, said: dict[str, str], now: float
    ) -> dict[str, Any]:
        """The claims about whoever comes back with `said`, the parameters of the address. Raises ProviderFailed."""
        if "error" in said:  # some leave the state out of it; nobody is let in by it either way
            raise ProviderFailed("denied", f"the login says {said['error'][:60]!r}")
        if not same_text(said.get("state", ""), flow.state):
            raise ProviderFailed("wrong", "the state is not the one that was sent")
        if "iss" in said and said["iss"] != provider.issuer:  # RFC 9207
            raise ProviderFailed("wrong", "another login answered")
        code = said.get("code", "")
        if not 0 < len(code) <= 4096:
            raise ProviderFailed("wrong", "no code came back")
        known = await self._about(provider, now)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": flow.verifier}
        answer = await self._exchange(provider, known, secret, form)
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > _LONGEST_TOKEN:
            raise ProviderFailed("wrong", "no id_token came back")
        claims = await self._claims(provider, known, token, now)
        if not isinstance(claims.get("nonce"), str) or not same_text(claims["nonce"], flow.challenge):
            raise ProviderFailed("wrong", "the token was made for another sign-in")
        return claims if provider.claims_from == "token" else await self._and_userinfo(provider, known, answer, claims)

    async def _and_userinfo(
        self, provider: Provider, known: _Known, answer: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims of a token, and what the login says of the same person at its userinfo address (OpenID Connect Core, 5.3).
        That is not signed, so it adds and replaces nothing, least of all how somebody has signed in."""
        url, access = known.metadata.get("userinfo_endpoint"), answer.get("access_token")
        if not _is_safe(url):
            raise ProviderFailed("wrong", "its userinfo_endpoint is no address that can be trusted")
        if not isinstance(access, str) or not _BEARER.fullmatch(access):
            raise ProviderFailed("wrong", "no access_token came back to ask for the person's claims with")
        headers = {"accept": "application/json", "authorization": f"Bearer {access}"}
        said = await self._ask(provider, "GET", str(url), headers, None)
        if said.get("sub") != claims["sub"]:  # 5.3.2: else it could be a stranger's token, put in place of theirs
            raise ProviderFailed("wrong", "its userinfo address tells of somebody else")
        return {name: value for name, value in said.items() if name not in _ABOUT_THE_SIGN_IN} | claims

    async def _exchange(self, provider: Provider, known: _Known, secret: str, form: dict[str, str]) -> dict[str, Any]:
        methods = known.metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        headers = {"accept": "application/json"}
        if not secret:
            form |= {"client_id": provider.client_id}
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote(provider.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, 2.3.1
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": provider.client_id, "client_secret": secret}
        return await self._ask(provider, "POST", known.metadata["token_endpoint"], headers, form)

    async def _claims(self, provider: Provider, known: _Known, token: str, now: float) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except PyJWTError as error:
            raise ProviderFailed("wrong", "the token cannot be read") from error
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise ProviderFailed("wrong", f"the token is signed by {str(algorithm)[:20]!r}, which is not accepted")
        key, only = await self._key(provider, known, header.get("kid"), now)
        if only not in (None, algorithm):
            raise ProviderFailed("wrong", "the token is signed in another way than its key is for")
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[algorithm], audience=provider.client_id, issuer=provider.issuer,
                # Times are looked at below, by the clock that is handed in.
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False, "verify_iat": False,
                    "verify_nbf": False})  # fmt: skip
        except (PyJWTError, TypeError, ValueError) as error:
            raise ProviderFailed("wrong", f"the token is not good: {type(error).__name__}") from error
        for name, earliest, latest in (("exp", now - _SKEW, inf), ("iat", -inf, now + _SKEW), ("nbf", -inf, now + _SKEW)):
            at = claims.get(name, now)
            if not isinstance(at, int | float) or not earliest < at <= latest:
                raise ProviderFailed("wrong", f"the token is not of now, by its {name}")
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != provider.client_id:
            raise ProviderFailed("wrong", "the token is for several, and not made for us")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255 or not claims["sub"].isprintable():
            raise ProviderFailed("wrong", "the token names nobody")
        return claims

    async def _key(self, provider: Provider, known: _Known, kid: Any, now: float) -> _Key:
        """The key by that name. One that is not known has the keys fetched again, at most twice a minute."""
        name = kid if isinstance(kid, str) else ""
        if name not in known.keys and now - known.keys_at >= _REFETCH:
            known.keys_at = now
            known.keys = _read_keys(await self._ask(provider, "GET", known.metadata["jwks_uri"], {}, None))
        if name in known.keys:
            return known.keys[name]
        if kid is None and len(known.keys) == 1:
            return next(iter(known.keys.values()))
        raise ProviderFailed("wrong", "the token is signed by a key that the login does not show")

    async def _about(self, provider: Provider, now: float) -> _Known:
        about = (provider.issuer, provider.client_id, provider.authority)
        async with self._turn:  # everybody who comes at once waits for one answer
            known = self._known.get(about)
            if known is None or now - known.fetched_at >= _KEEP:
                metadata = await self._discover(provider)
                if len(self._known) > 1000:  # documents changed a thousand times
                    self._known.clear()
                known = self._known[about] = _Known(metadata, now)
            return known

    async def _discover(self, provider: Provider) -> dict[str, Any]:
        url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata = await self._ask(provider, "GET", url, {}, None)
        if metadata.get("issuer") != provider.issuer:
            raise ProviderFailed("wrong", "the login calls itself by another name than `issuer`")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not _is_safe(metadata.get(name)):
                raise ProviderFailed("wrong", f"its {name} is no address that can be trusted")
        return metadata

    async def _ask(
        self, provider: Provider, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None
    ) -> dict[str, Any]:
        body = bytearray()
        try:
            client = await asyncio.to_thread(self._fetching, provider)  # it may read certificates
            async with asyncio.timeout(_PATIENCE), client:
                request = client.stream(method, url, headers=headers, data=form, follow_redirects=False)
                async with request as answer:
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > _LARGEST:
                            raise ProviderFailed("wrong", "its answer is too large")
                    status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise ProviderFailed("away", f"{urlsplit(url).netloc} did not answer: {type(error).__name__}") from error
        if status != 200:
            kind = "denied" if 400 <= status < 500 and method == "POST" else "away"
            raise ProviderFailed(kind, f"{urlsplit(url).netloc} answered {status}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProviderFailed("wrong", "its answer is no JSON") from error
        if not isinstance(found, dict):
            raise ProviderFailed("wrong", "its answer is no JSON object")
        return found


def _read_keys(jwks: dict[str, Any]) -> dict[str, _Key]:
    keys: dict[str, _Key] = {}
    listed = jwks.get("keys")
    for entry in listed[:100] if isinstance(listed, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            keys[str(entry.get("kid", ""))] = jwt.PyJWK(entry).key, entry.get("alg")
        except PyJWTError:
            _log.info("a key of a login cannot be used")
    return keys


def _is_safe(url: Any) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
