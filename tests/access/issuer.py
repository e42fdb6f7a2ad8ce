"""An issuer for tests: its keys, its tokens, and all the ways in which somebody might forge one."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = 1_800_000_000.0
ISSUER = "https://idp.example.dk"
AUDIENCE = "samdrift"

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public(key: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """A public key as an issuer publishes it."""
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm, ed25519.Ed25519PrivateKey: OKPAlgorithm}
    algorithm = next(found for kind, found in kinds.items() if isinstance(key, kind))
    entry = algorithm.to_jwk(key.public_key(), as_dict=True)
    return entry | ({} if kid is None else {"kid": kid}) | more


def published(*entries: dict[str, Any]) -> bytes:
    """A whole set."""
    return json.dumps({"keys": list(entries)}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are good now; None removes one."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW - 10, "nbf": NOW - 10, "org": "aarhus", "sub": "anna"}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def token(
    key: Any = RSA, algorithm: str = "RS256", kid: str | None = "one", header: dict[str, Any] | None = None, **said: Any
) -> str:
    """A signed token; its claims as in `claims`."""
    named = ({} if kid is None else {"kid": kid}) | (header or {})
    return jwt.encode(claims(**said), key, algorithm=algorithm, headers=named)


def forged(header: dict[str, Any], signature: bytes = b"", **said: Any) -> str:
    """A token with this header and signature, whatever they say."""
    return ".".join(map(_b64, (json.dumps(header).encode(), json.dumps(claims(**said)).encode(), signature)))


def pem(key: Any) -> bytes:
    """The public key as text that a forger would use as a shared secret."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
