"""Who is who: the issuers whose tokens are believed, and which token or certificate speaks for an organisation.

Keys are not here: they are made with `samdrift keys` and live in the ledger.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdrift.spec.noun import Noun
from samdrift.spec.units import Duration, Name

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures that a public key verifies. None by a shared secret (HMAC): whoever can check such a token could make one."""

SAN_KINDS = ("URI", "DNS", "EMAIL")
"""The kinds of names in certificates that can speak for an organisation."""

Text = Annotated[str, Field(min_length=1, max_length=500)]


class Issuer(Noun):
    """Somebody whose signed tokens (JWT) are believed: a municipality's identity provider, say."""

    issuer: Text
    """What its tokens say in `iss`, to the letter."""
    audience: Text
    """What its tokens must say in `aud`: the name under which it knows this community. A token for somebody else is refused."""
    jwks: Text
    """Where its public keys are: `https://…`, or `file:PATH` relative to the document. They are fetched beforehand and again and
    again, never while a request waits."""
    authority: str = ""
    """Path of the authorities (PEM) by which the address of `jwks` is trusted; default: those of this machine."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    """The signatures that are accepted."""
    skew: Duration = 30.0
    """How far its clock and ours may differ."""
    refresh: Duration = 600.0
    """How often its keys are fetched. A token with a key that is not known has them fetched sooner, but at most every 10 s."""
    keep: Duration = 86_400.0
    """For how long the keys that are known stay good while it cannot be reached; then its tokens are refused with 503."""
    user: str = "sub"
    """The claim that says which person or program asks; empty: none."""
    project: str = ""
    """The claim that names the project, where an organisation's identity does not; default: the project `default`."""


class TokenIdentity(Noun):
    """Tokens that speak for an organisation."""

    issuer: Name
    """One of `issuers`."""
    claim: Text
    """The claim that is looked at; `realm.org` is also found as `org` inside of `realm`."""
    equals: Text
    """What it must say, to the letter; of a list, one entry."""
    project: Name | None = None
    """The project they act for; default: what the issuer's `project` claim says, else `default`."""


class CertificateIdentity(Noun):
    """A client's certificate that speaks for an organisation. It must be of an authority in `gateway.tls.client_ca`."""

    san: Annotated[str, Field(min_length=1, max_length=200)]
    """A subject alternative name of the certificate, with its kind: `URI:spiffe://…`, `DNS:…` or `EMAIL:…`."""
    project: Name | None = None
    """The project it acts for; default: that of the key or token that comes with it, else `default`."""


class Identity(Noun):
    """One way, beside API keys, in which an organisation's applications are known: by `mtls` or by `jwt`."""

    mtls: CertificateIdentity | None = None
    """By the client's certificate."""
    jwt: TokenIdentity | None = None
    """By a signed token."""


def canonical_san(name: str) -> str:
    """A name of a certificate, with its kind, as it is compared: to the letter, but for DNS, which knows no capitals."""
    return f"DNS:{name[4:].lower()}" if name.startswith("DNS:") else name
