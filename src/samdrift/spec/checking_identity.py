"""What types cannot say of identities: whether each can be told from all others, and verified."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from samdrift.spec.document import Organisation, Spec
from samdrift.spec.findings import Finding, Path, clip, did_you_mean, listed
from samdrift.spec.identity import SAN_KINDS, CertificateIdentity, Issuer, TokenIdentity, canonical_san
from samdrift.spec.units import spell_duration

_SKEW = 300.0
_REFRESH = 10.0
_FORBIDDEN = frozenset(';,"\\ ')


def issuers_can_be_believed(spec: Spec) -> Iterator[Finding]:
    """Each issuer has an address for its keys, and a name in its tokens that no other has."""
    said: dict[str, str] = {}
    for name, issuer in spec.issuers.items():
        path: Path = ("issuers", name)
        if issuer.issuer in said:
            yield Finding((*path, "issuer"), f"The issuer `{said[issuer.issuer]}` says the same in its tokens.",
                "Each issuer needs its own `iss`; declare it once.")  # fmt: skip
        said.setdefault(issuer.issuer, name)
        yield from _keys_of_an_issuer(issuer, path)
        yield from _times_of_an_issuer(issuer, path)


def _keys_of_an_issuer(issuer: Issuer, path: Path) -> Iterator[Finding]:
    if issuer.jwks.startswith("file:"):
        if not issuer.jwks.removeprefix("file:").strip():
            yield Finding((*path, "jwks"), "`file:` names no file.", "Write `file:PATH`, relative to the document.")
        if issuer.authority:
            yield Finding((*path, "authority"), "A file needs no authority.", "Leave `authority` out.")
    elif not _is_https(issuer.jwks):
        yield Finding((*path, "jwks"), "This is no address that keys can be trusted from.",
            "Write `https://HOST/PATH` without a login, or `file:PATH`.")  # fmt: skip
    if not issuer.algorithms:
        yield Finding((*path, "algorithms"), "No signature would be accepted.", "Leave it out, or name one or more.")
    if len(set(issuer.algorithms)) < len(issuer.algorithms):
        yield Finding((*path, "algorithms"), "An algorithm is named twice.", "Name each once.")


def _times_of_an_issuer(issuer: Issuer, path: Path) -> Iterator[Finding]:
    if issuer.skew > _SKEW:
        yield Finding((*path, "skew"), f"Tokens would be good {spell_duration(issuer.skew)} after they expire.",
            f"Write at most {spell_duration(_SKEW)}, and mend the clocks.")  # fmt: skip
    if issuer.refresh < _REFRESH:
        yield Finding((*path, "refresh"), "The issuer would be asked all the time.",
            f"Write at least {spell_duration(_REFRESH)}.")  # fmt: skip
    if issuer.keep < issuer.refresh:
        yield Finding((*path, "keep"), "Its keys would be forgotten before they are fetched again.",
            "Make `keep` at least as long as `refresh`.")  # fmt: skip


def _is_https(text: str) -> bool:
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    plain = text.isascii() and " " not in text and "@" not in parts.netloc and not parts.fragment
    return parts.scheme == "https" and named and plain


def identities_mean_one_organisation(spec: Spec) -> Iterator[Finding]:
    """What speaks for one organisation speaks for no other, can be verified, and names projects that exist."""
    whose: dict[object, str] = {}
    for name, organisation in spec.organisations.items():
        for position, identity in enumerate(organisation.identity):
            path: Path = ("organisations", name, "identity", position)
            if identity.mtls is not None and identity.jwt is None:
                yield from _certificate(spec, identity.mtls, (*path, "mtls"))
                said: object = canonical_san(identity.mtls.san)
                one: CertificateIdentity | TokenIdentity = identity.mtls
            elif identity.jwt is not None and identity.mtls is None:
                yield from _token(spec, identity.jwt, (*path, "jwt"))
                said = (identity.jwt.issuer, identity.jwt.claim, identity.jwt.equals)
                one = identity.jwt
            else:
                yield Finding(path, "An identity is one thing, by `mtls` or by `jwt`.", "Write one of the two in each entry.")
                continue
            yield from _project(organisation, one, path)
            if said in whose:
                yield Finding(path, f"This speaks for `{whose[said]}` already.",
                    "Declare it once: nobody could tell whose it is.")  # fmt: skip
            whose.setdefault(said, name)


def _project(organisation: Organisation, one: CertificateIdentity | TokenIdentity, path: Path) -> Iterator[Finding]:
    known = [*organisation.projects, "default"]
    if one.project is not None and one.project not in known:
        kind = "mtls" if isinstance(one, CertificateIdentity) else "jwt"
        yield Finding((*path, kind, "project"), f"There is no project `{one.project}`.",
            did_you_mean(one.project, known, f"The projects are {listed(known)}."))  # fmt: skip


def _token(spec: Spec, one: TokenIdentity, path: Path) -> Iterator[Finding]:
    if one.issuer not in spec.issuers:
        known = f"The issuers are {listed(spec.issuers)}." if spec.issuers else "Declare it under `issuers`."
        yield Finding((*path, "issuer"), f"There is no issuer `{one.issuer}`.", did_you_mean(one.issuer, spec.issuers, known))


def _certificate(spec: Spec, one: CertificateIdentity, path: Path) -> Iterator[Finding]:
    tls = spec.gateway.tls
    if tls is None or not tls.client_ca:
        yield Finding(path, "Nobody says whose certificates are believed.", "Add `gateway.tls.client_ca`.")
    kind, colon, name = one.san.partition(":")
    if not colon or kind not in SAN_KINDS or not name:
        yield Finding((*path, "san"), f"`{clip(one.san)}` is no name of a certificate.",
            "Write its kind before it: `URI:spiffe://aarhus.dk/ai`, `DNS:ai.aarhus.dk` or `EMAIL:ai@aarhus.dk`.")  # fmt: skip
    elif not name.isascii() or _FORBIDDEN & set(name):
        yield Finding((*path, "san"), "There is a space, a comma, a semicolon, a quote or a foreign letter in this name.",
            "Give the certificate a plainer one; a host in foreign letters is written `xn--…`.")  # fmt: skip
    elif "*" in name:
        yield Finding((*path, "san"), "A `*` would be compared to the letter.", "Write one name, in full.")


def revocation_lists_have_their_authorities(spec: Spec) -> Iterator[Finding]:
    """A list of revoked certificates is of an authority whose certificates are believed."""
    tls = spec.gateway.tls
    if tls is not None and tls.crl and not tls.client_ca:
        yield Finding(("gateway", "tls", "crl"), "No certificates of clients are believed, so none can be revoked.",
            "Add `client_ca`, or leave `crl` out.")  # fmt: skip


def certificates_are_named_by_path(spec: Spec) -> Iterator[Finding]:
    """Where a document takes a path, `file:` would be part of it, and no file be found under it."""
    tls = spec.gateway.tls
    paths: list[tuple[Path, str]] = [] if tls is None else [(("gateway", "tls", name), getattr(tls, name))
        for name in ("certificate", "key", "client_ca", "crl")]  # fmt: skip
    paths += [(("issuers", name, "authority"), one.authority) for name, one in spec.issuers.items()]
    paths += [(("signin", "providers", name, "authority"), one.authority) for name, one in spec.signin.providers.items()]
    for path, value in paths:
        if value.startswith("file:"):
            yield Finding(path, "A path stands here without `file:` before it.", f"Write `{clip(value.removeprefix('file:'))}`.")


IDENTITY_CHECKS = (issuers_can_be_believed, identities_mean_one_organisation, revocation_lists_have_their_authorities,
    certificates_are_named_by_path)  # fmt: skip
"""What `checking` asks of identities."""
