"""How people sign in: their municipality's own login, and local accounts. Who holds which role by which claim."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdrift.spec.noun import Noun, Secret
from samdrift.spec.units import Duration, Name

RoleName = Literal["operator", "auditor", "administrator", "developer", "finance", "viewer"]
"""What somebody may be here for; `docs/reference/administration.md` says what each may do."""

Text = Annotated[str, Field(min_length=1, max_length=500)]


class ClaimGrant(Noun):
    """A role for whoever a login says something of."""

    claim: Text
    """The claim that is looked at; `realm.groups` is also found as `groups` inside of `realm`."""
    equals: Text
    """What it must say, to the letter; of a list, one entry."""
    role: RoleName
    """The role."""
    organisation: Name | None = None
    """The organisation it is held over. `operator` and `auditor` are held over the whole community, and name none."""


class Assurance(Noun):
    """What a login must say for it to count as one with a second factor. Either is enough."""

    acr: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    """The levels (`acr`) that count. They are asked for, too (`acr_values`)."""
    amr: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    """The methods (`amr`) that count: `mfa`, `otp`, `hwk`, …"""


class Provider(Noun):
    """A login that people use already, by OpenID Connect (authorization code with PKCE)."""

    name: str = ""
    """What stands on its button; default: its identifier."""
    issuer: Text
    """Its address, as it calls itself: `https://login.aarhus.dk`. What else there is to know is found under it
    (`/.well-known/openid-configuration`)."""
    client_id: Text
    """The name under which it knows this community. Its redirect address is `URL/api/v1/signin/callback/IDENTIFIER`."""
    client_secret: Secret = ""
    """The secret that it gave with the name, as a reference such as `${env:AARHUS_LOGIN}`; empty: none, only PKCE."""
    scopes: Annotated[tuple[Text, ...], Field(max_length=20)] = ("openid", "profile", "email")
    """What is asked for. `openid` must be among them."""
    authority: str = ""
    """Path of the authorities (PEM) by which its address is trusted; default: those of this machine."""
    claims_from: Literal["token", "userinfo"] = "token"
    """Where it says who has which role: in its signed `token`, or also at its `userinfo` address, which then is asked at each
    sign-in. For a login that gives groups nowhere else; what the token says counts first, and `acr` and `amr` there only."""
    second_factor: Assurance = Assurance()
    """What it must say for its login to count as one with a second factor; default: nothing counts."""
    grants: Annotated[tuple[ClaimGrant, ...], Field(max_length=1000)] = ()
    """Roles by claims. Whoever gets none of them, and was given none here, is not let in."""


class SessionSettings(Noun):
    """How long people stay signed in."""

    idle: Duration = 1800.0
    """A session ends when it was not used for so long."""
    longest: Duration = 43_200.0
    """A session ends so long after signing in, used or not."""


class SignInSettings(Noun):
    """How people sign in to administer: at `/signin`."""

    url: str = ""
    """The address that people have in their browsers: `https://llm.example.dk`, without a path. Default: `localhost` and the
    gateway's port, where the gateway listens on this machine only; elsewhere nobody can sign in without it."""
    accounts: Literal["allowed", "none"] = "allowed"
    """Local accounts with passwords and passkeys, for the first administrator and for emergencies: `allowed` or `none`."""
    second_factor: Annotated[tuple[RoleName, ...], Field(max_length=6)] = ("operator", "auditor", "administrator")
    """The roles that nobody holds without a second factor: a one-time code, a passkey, or what a provider vouches for."""
    session: SessionSettings = SessionSettings()
    """How long people stay signed in."""
    providers: Annotated[dict[Name, Provider], Field(max_length=200)] = {}
    """The logins that people use already, by a name of yours."""
