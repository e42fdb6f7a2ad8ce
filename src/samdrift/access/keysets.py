"""The public keys of an issuer, as it publishes them: JSON Web Key Sets (RFC 7517). Pure.

What is unfit is passed over and not repaired: keys for encryption, shared secrets (`oct`), private keys that somebody published
by mistake, RSA below 2048 bits, curves we do not verify. A key is bound to the algorithms that fit its kind, so that a token
cannot choose to be verified in another way than its key is meant for (RFC 8725, 3.1).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MOST_BYTES = 256 * 1024
"""A larger set is not read."""
MOST_KEYS = 100
LONGEST_KID = 256
LEAST_RSA_BITS = 2048

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"}), "secp521r1": frozenset({"ES512"})}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One public key, and the algorithms it verifies."""

    key: PublicKey
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """An issuer's keys: those with an identifier (`kid`), and those without."""

    named: Mapping[str, VerifyingKey]
    unnamed: tuple[VerifyingKey, ...] = ()

    def __len__(self) -> int:
        return len(self.named) + len(self.unnamed)

    def knows(self, kid: str | None) -> bool:
        """Is there any key that a token with this identifier could mean?"""
        return len(self) > 0 if kid is None else kid in self.named

    def find(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        """The key a token means. Without a `kid` it must be the only one that fits the algorithm: nothing is tried out."""
        if kid is not None:
            found = self.named.get(kid)
            return found if found is not None and algorithm in found.algorithms else None
        fit = [one for one in (*self.named.values(), *self.unnamed) if algorithm in one.algorithms]
        return fit[0] if len(fit) == 1 else None


class UnfitKeySet(ValueError):  # noqa: N818 - the name says what is so
    """This is no key set, or there is no key in it that could verify a token. The text says which."""


def key_set_of(text: bytes) -> KeySet:
    """Read a published set. Raises UnfitKeySet."""
    if len(text) > MOST_BYTES:
        raise UnfitKeySet(f"it is larger than {MOST_BYTES} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UnfitKeySet("it is not JSON") from None
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list):
        raise UnfitKeySet("it has no list `keys`")
    if len(keys) > MOST_KEYS:
        raise UnfitKeySet(f"it has more than {MOST_KEYS} keys")
    fit = [(entry.get("kid"), key) for entry in keys if (key := _key_of(entry)) is not None]
    # Which of two by one name is meant, nobody could say.
    once = {kid for kid, times in Counter(kid for kid, _ in fit if _is_kid(kid)).items() if times == 1}
    found = KeySet({kid: key for kid, key in fit if _is_kid(kid) and kid in once}, tuple(key for kid, key in fit if kid is None))
    if not found:
        raise UnfitKeySet("no key in it can verify a token")
    return found


def _is_kid(kid: Any) -> bool:
    return isinstance(kid, str) and len(kid) <= LONGEST_KID


def _key_of(entry: Any) -> VerifyingKey | None:
    if not isinstance(entry, dict) or _PRIVATE & entry.keys():
        return None
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        return None
    try:
        found = _public_key(entry)
    except Exception:  # noqa: BLE001 - a stranger's numbers; the libraries raise what they like
        return None
    if found is None:
        return None
    key, algorithms = found
    declared = entry.get("alg")
    if declared is not None:
        algorithms &= {declared}
    return VerifyingKey(key, algorithms) if algorithms else None


def _public_key(entry: dict[str, Any]) -> tuple[PublicKey, frozenset[str]] | None:
    match entry.get("kty"):
        case "RSA":
            rsa_key = RSAAlgorithm.from_jwk(entry)
            if isinstance(rsa_key, rsa.RSAPublicKey) and rsa_key.key_size >= LEAST_RSA_BITS:
                return rsa_key, _RSA
        case "EC":
            ec_key = ECAlgorithm.from_jwk(entry)
            if isinstance(ec_key, ec.EllipticCurvePublicKey) and ec_key.curve.name in _CURVES:
                return ec_key, _CURVES[ec_key.curve.name]
        case "OKP":
            ed_key = OKPAlgorithm.from_jwk(entry)
            if isinstance(ed_key, ed25519.Ed25519PublicKey):
                return ed_key, frozenset({"EdDSA"})
    return None
