"""What it costs to know who asks: microseconds of `Roster.decide` for a key, a token, a certificate, and for those that are
refused.

Run `python -m bench.identity`. 4,000 keys of 400 organisations, 1,000 tokens and 1,000 certificates that are all in use; each
is asked for in an order that no cache of the processor foresees. Times are processor time of one call, with the garbage
collector on. What is not on the path of a request (reading a new token or certificate, once each) is printed below, without a
target.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from urllib.parse import quote

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from samdrift.access.certificates import Certificates
from samdrift.access.keys import mint_key
from samdrift.access.keysets import KeySet, key_set_of
from samdrift.access.principal import KeyRecord, Principal
from samdrift.access.roster import Roster
from samdrift.access.tokens import Tokens
from samdrift.spec.document import Spec

ORGANISATIONS, KEYS, TOKENS, CERTIFICATES = 400, 4_000, 1_000, 1_000
ISSUER, AUDIENCE = "https://idp.example.dk", "samdrift"
TARGETS = {"key": ("a key", 15.0), "token": ("a token that was seen before", 30.0)}
"""Microseconds of p50 that the design allows."""
OTHERS = {
    "previous": "a key by its old secret",
    "wrong": "a key with a wrong secret",
    "certificate": "a certificate that was seen before",
    "both": "a key and a certificate",
    "new_rs256": "a new token, RS256",
    "new_es256": "a new token, ES256",
    "new_certificate": "a new certificate",
    "forged": "a forged token, RS256",
}

Ask = tuple[str | None, str | None]
"""The `Authorization` header, and Envoy's about the certificate."""


class Community:
    """Keys, tokens and certificates of many organisations. `now` is real: certificates are made for it."""

    def __init__(self, seed: int) -> None:
        self.chance, self.now = random.Random(seed), datetime.now(UTC).timestamp()
        self.signers = {"RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1())}  # fmt: skip
        self.names = [f"org{number:03d}" for number in range(ORGANISATIONS)]
        self.spec = self._spec()
        made = [self._key(number) for number in range(KEYS)]
        self.records = [record for record, _, _ in made]
        self.keys: list[Ask] = [(f"Bearer {text}", None) for _, text, _ in made]
        self.previous: list[Ask] = [(f"Bearer {text}", None) for _, _, text in made]
        texts = [text for _, text, _ in made]
        self.wrong: list[Ask] = [(f"Bearer {text[:15]}{texts[number - 1][15:]}", None) for number, text in enumerate(texts)]
        self.certificates: list[Ask] = list(self._certificates())
        self.roster = self.fresh()

    def _spec(self) -> Spec:
        members = {
            name: {"identity": [{"mtls": {"san": f"URI:spiffe://{name}.dk/ai"}},
                {"jwt": {"issuer": "idp", "claim": "org", "equals": name}}]}
            for name in self.names
        }  # fmt: skip
        return Spec.model_validate({
            "samdrift": 1,
            "community": {"name": "Bench"},
            "issuers": {"idp": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "file:keys.json"}},
            "organisations": members,
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "models": {"chat": {"weights": "file:chat.gguf", "pool": "here"}},
        })  # fmt: skip

    def fresh(self) -> Roster:
        """A roster that has seen no token and no certificate yet."""
        return Roster.of(self.spec, self.records, Tokens(self.spec, {"idp": self._key_set()}), Certificates(self.spec))

    def _key_set(self) -> KeySet:
        rsa_key = RSAAlgorithm.to_jwk(self.signers["RS256"].public_key(), as_dict=True) | {"kid": "RS256"}
        ec_key = ECAlgorithm.to_jwk(self.signers["ES256"].public_key(), as_dict=True) | {"kid": "ES256"}
        return key_set_of(json.dumps({"keys": [rsa_key, ec_key]}).encode())

    def _key(self, number: int) -> tuple[KeyRecord, str, str]:
        name = self.names[number % ORGANISATIONS]
        old, text_before = mint_key(name, "default", "", secret_bytes=self.chance.randbytes(32),
            id_bytes=number.to_bytes(8, "big"), now=1.0)  # fmt: skip
        new, text = mint_key(name, "default", "", secret_bytes=self.chance.randbytes(32),
            id_bytes=number.to_bytes(8, "big"), now=1.0)  # fmt: skip
        record = dataclasses.replace(new, previous=old.digest, previous_until=self.now + 1e6)
        return record, text, text_before

    def tokens(self, algorithm: str, count: int, *, forged: bool = False) -> list[Ask]:
        """Tokens of that many people, good for an hour; forged ones are signed by somebody else."""
        signer = rsa.generate_private_key(public_exponent=65537, key_size=2048) if forged else self.signers[algorithm]
        said = {"iss": ISSUER, "aud": AUDIENCE, "exp": self.now + 3600, "iat": self.now - 1, "scope": "openid profile email"}
        return [
            ("Bearer " + jwt.encode(said | {"org": self.chance.choice(self.names), "sub": f"{number:032x}"}, signer,
                algorithm, {"kid": algorithm}), None)
            for number in range(count)
        ]  # fmt: skip

    def _certificates(self) -> Iterator[Ask]:
        signer = ec.generate_private_key(ec.SECP256R1())
        at, issuer = datetime.fromtimestamp(self.now, UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench")])
        for number in range(CERTIFICATES):
            name = x509.UniformResourceIdentifier(f"spiffe://{self.names[number % ORGANISATIONS]}.dk/ai")
            made = (
                x509.CertificateBuilder().subject_name(issuer).issuer_name(issuer).public_key(signer.public_key())
                .serial_number(number + 1).not_valid_before(at - timedelta(hours=1)).not_valid_after(at + timedelta(hours=1))
                .add_extension(x509.SubjectAlternativeName([name]), critical=False).sign(signer, hashes.SHA256())
            )  # fmt: skip
            text = quote(made.public_bytes(serialization.Encoding.PEM).decode())
            yield None, f'Hash={number:064x};Cert="{text}"'


def _times(roster: Roster, asks: list[Ask], calls: int, now: float, chance: random.Random, *, good: bool) -> list[float]:
    order = chance.sample(asks, len(asks))
    taken = []
    for (authorization, certificate), _ in zip(cycle(order), range(calls), strict=False):
        began = time.perf_counter_ns()
        who = roster.decide(authorization, now, certificate)
        taken.append((time.perf_counter_ns() - began) / 1000)
        if isinstance(who, Principal) is not good:
            raise AssertionError(who)
    return taken


def measure(calls: int = 20_000, seed: int = 1) -> dict[str, float]:
    """p50 and p99 in microseconds, over `calls` calls each, of what `TARGETS` and `OTHERS` name."""
    community = Community(seed)
    roster, tokens = community.roster, community.tokens("RS256", TOKENS)
    both: list[Ask] = [(key, shown) for (key, _), (_, shown) in zip(community.keys, community.certificates, strict=False)]
    result: dict[str, float] = {}

    def take(
        what: str, asks: list[Ask], *, on: Callable[[], Roster] = lambda: roster, once: bool = False, good: bool = True
    ) -> None:
        house = on()
        if not once:
            _times(house, asks, len(asks), community.now, community.chance, good=good)  # from now on each was seen before
        taken = sorted(_times(house, asks, len(asks) if once else calls, community.now, community.chance, good=good))
        for name, part in (("p50", 0.5), ("p99", 0.99)):
            result[f"{what}_{name}"] = taken[int(part * (len(taken) - 1))]

    take("key", community.keys)
    take("previous", community.previous)
    take("wrong", community.wrong, good=False)
    take("token", tokens)
    take("certificate", community.certificates)
    take("both", both)
    take("new_rs256", tokens, on=community.fresh, once=True)
    take("new_es256", community.tokens("ES256", TOKENS), on=community.fresh, once=True)
    take("new_certificate", community.certificates, on=community.fresh, once=True)
    take("forged", community.tokens("RS256", TOKENS, forged=True), on=community.fresh, once=True, good=False)
    return result


def main() -> None:
    """Prints the table. Exit code 1 if a target is missed."""
    result = measure()
    print(f"{KEYS} keys, {TOKENS} tokens, {CERTIFICATES} certificates of {ORGANISATIONS} organisations")
    print(f"{'µs':<38}{'p50':>7}{'target':>8}{'p99':>8}")
    for what, (words, most) in TARGETS.items():
        print(f"{words:<38}{result[f'{what}_p50']:>7.1f}{most:>8.0f}{result[f'{what}_p99']:>8.1f}")
    for what, words in OTHERS.items():
        print(f"{words:<38}{result[f'{what}_p50']:>7.1f}{'':>8}{result[f'{what}_p99']:>8.1f}")
    sys.exit(any(result[f"{what}_p50"] > most for what, (_, most) in TARGETS.items()))


if __name__ == "__main__":
    main()
