"""Passkeys (WebAuthn): made and shown with their owner's finger, face or PIN, so that one is a second factor in itself.

Only what this site asked for just now is taken: the challenge is in the flow that the browser carries, sealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json_dict, parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from samdrift.access.people import Factor

_TIMEOUT = 120_000  # ms that a browser waits for its owner


@dataclass(frozen=True, slots=True)
class Made:
    """A passkey that was just made: its credential id, its public key (COSE), and its count."""

    handle: bytes
    key: bytes
    count: int


def making(origin: str, community: str, person: str, login: str, name: str, known: tuple[Factor, ...], challenge: bytes) -> Any:
    """What a browser needs to make a passkey, as a JSON value."""
    return options_to_json_dict(
        webauthn.generate_registration_options(
            rp_id=site_of(origin),
            rp_name=community,
            user_id=person.encode(),
            user_name=login,
            user_display_name=name or login,
            challenge=challenge,
            timeout=_TIMEOUT,
            exclude_credentials=[PublicKeyCredentialDescriptor(id=factor.handle) for factor in known],
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
        )
    )


def made(answer: dict[str, Any], origin: str, challenge: bytes) -> Made | None:
    """The passkey that a browser says it made; None if it did not answer what was asked."""
    try:
        verified = webauthn.verify_registration_response(
            credential=answer, expected_challenge=challenge, expected_rp_id=site_of(origin), expected_origin=origin,
            require_user_verification=True)  # fmt: skip
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None
    return Made(verified.credential_id, verified.credential_public_key, verified.sign_count)


def showing(origin: str, known: tuple[Factor, ...], challenge: bytes) -> Any:
    """What a browser needs to show one of these passkeys, or any that it has for this site, as a JSON value."""
    return options_to_json_dict(
        webauthn.generate_authentication_options(
            rp_id=site_of(origin),
            challenge=challenge,
            timeout=_TIMEOUT,
            allow_credentials=[PublicKeyCredentialDescriptor(id=factor.handle) for factor in known],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def handle_of(answer: dict[str, Any]) -> tuple[bytes, str | None] | None:
    """Which passkey an answer is of, and whose it says to be; None if it cannot be read."""
    try:
        credential = parse_authentication_credential_json(answer)
        user = credential.response.user_handle
        return credential.raw_id, None if not user else user.decode()
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None


def shown(answer: dict[str, Any], factor: Factor, origin: str, challenge: bytes) -> int | None:
    """The authenticator's count, if the answer is of this passkey and to this challenge; None otherwise."""
    try:
        verified = webauthn.verify_authentication_response(
            credential=answer, expected_challenge=challenge, expected_rp_id=site_of(origin), expected_origin=origin,
            credential_public_key=factor.secret, credential_current_sign_count=max(0, factor.counter),
            require_user_verification=True)  # fmt: skip
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None
    return verified.new_sign_count


def site_of(origin: str) -> str:
    """The name that passkeys are bound to: the host of the site."""
    return urlsplit(origin).hostname or ""


def challenge_of(text: str) -> bytes:
    """A challenge from its text in a flow."""
    return base64url_to_bytes(text)
