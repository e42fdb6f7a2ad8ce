"""What types cannot say about sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from samdrift.spec.addresses import parse_address
from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Path, did_you_mean, listed
from samdrift.spec.units import spell_duration

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OVER_ALL = ("operator", "auditor")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


def public_origin(spec: Spec) -> str | None:
    """Where people's browsers find this community, such as `https://llm.example.dk`; None where nobody has said."""
    if spec.signin.url:
        # As browsers write it in `Origin`: in small letters, without the port that goes without saying.
        url = spec.signin.url.rstrip("/").lower()
        scheme = url.partition(":")[0]
        return url.removesuffix(":443" if scheme == "https" else ":80" if scheme == "http" else "/")
    try:
        address = parse_address(spec.gateway.listen)
    except ValueError:
        return None
    scheme = "https" if spec.gateway.tls else "http"
    return f"{scheme}://localhost:{address.port}" if address.is_loopback else None


def signin_has_an_address(spec: Spec) -> Iterator[Finding]:
    path: Path = ("signin", "url")
    if not spec.signin.url:
        if spec.signin.providers and public_origin(spec) is None:
            yield Finding(path, "Logins cannot send people back: nothing says where this community is.",
                "Write the address that people have in their browsers, such as https://llm.example.dk.")  # fmt: skip
        return
    parts = _parts(spec.signin.url)
    if parts is None or parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc or "?" in spec.signin.url:
        yield Finding(path, "This is no address of a community.", "Write scheme, name and port only: https://llm.example.dk.")
    elif not _safe(parts):
        yield Finding(path, "Passwords and sessions would cross the network in the clear.",
            "Begin it with https://; plain http is for localhost.")  # fmt: skip


def logins_can_be_used(spec: Spec) -> Iterator[Finding]:
    for name, provider in spec.signin.providers.items():
        path: Path = ("signin", "providers", name)
        parts = _parts(provider.issuer)
        if parts is None or parts.query or parts.fragment:
            yield Finding((*path, "issuer"), "This is no address of a login.", "Write it like https://login.example.dk.")
        elif not _safe(parts):
            yield Finding((*path, "issuer"), "What this login says could be changed on its way.",
                "Begin it with https://; plain http is for localhost.")  # fmt: skip
        if "openid" not in provider.scopes:
            yield Finding((*path, "scopes"), "Without the scope `openid` no login says who somebody is.", "Add `openid`.")
        for position, grant in enumerate(provider.grants):
            yield from _grant(spec, (*path, "grants", position), grant.role, grant.organisation)


def sessions_end(spec: Spec) -> Iterator[Finding]:
    session = spec.signin.session
    if session.idle > session.longest:
        yield Finding(("signin", "session", "idle"),
            f"A session would end after {spell_duration(session.longest)}, before it could be idle for "
            f"{spell_duration(session.idle)}.", "Make `idle` at most as long as `longest`.")  # fmt: skip


def _grant(spec: Spec, path: Path, role: str, organisation: str | None) -> Iterator[Finding]:
    if role in _OVER_ALL:
        if organisation is not None:
            yield Finding((*path, "role"), f"`{role}` is held over the whole community.", "Leave `organisation` out.")
    elif organisation is None:
        yield Finding((*path, "role"), f"`{role}` is held over one organisation.", "Add `organisation`.")
    elif organisation not in spec.organisations:
        remedy = did_you_mean(organisation, spec.organisations, f"The organisations are {listed(spec.organisations)}.")
        yield Finding((*path, "organisation"), f"There is no organisation `{organisation}`.", remedy)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    named = parts.hostname is not None and (parts.hostname in LOOPBACK or _HOST.fullmatch(parts.hostname) is not None)
    return parts if parts.scheme in ("http", "https") and named and port != 0 and url.isascii() else None


def _safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or parts.hostname in LOOPBACK
