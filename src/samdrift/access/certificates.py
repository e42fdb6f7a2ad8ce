"""Clients' certificates: whose they are. Pure but for a cache.

Envoy has verified the certificate (its chain, its time, the revocation list) when the connection was opened, and puts it whole
into the header that it writes itself and takes from nobody (`x-forwarded-client-cert`). We read its names from the certificate
and not from Envoy's list of them, in which a name that holds a `;` could pass for two. What may have changed since the
connection was opened is looked at again here: has it expired, was it revoked?
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from cryptography import x509

from samdrift.access.principal import ANYTHING, Principal
from samdrift.access.refusal import Refusal
from samdrift.spec.document import Spec
from samdrift.spec.identity import canonical_san
from samdrift.spec.problems import Reason

REMEMBERED = 10_000
"""Certificates that are remembered as they were read; beyond it the oldest is forgotten."""
DEFAULT_PROJECT = "default"

Serial = tuple[bytes, int]
"""Which certificate a revocation list means: the name of its authority (DER), and its serial number."""

_CERT = re.compile(r'(?:^|;)Cert="([A-Za-z0-9%._~/+=-]{1,32768})"')
_KINDS: tuple[tuple[type[x509.UniformResourceIdentifier | x509.DNSName | x509.RFC822Name], str], ...] = (
    (x509.UniformResourceIdentifier, "URI"), (x509.DNSName, "DNS"), (x509.RFC822Name, "EMAIL"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate, as far as it matters here. Times are Unix seconds."""

    names: frozenset[str]
    serial: Serial
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificate it is. `declared` says whether the document names its project, rather than leaving it open."""

    principal: Principal
    declared: bool


class Certificates:
    """The certificates that speak for organisations of a document, but for those that are `revoked`."""

    def __init__(self, spec: Spec, revoked: Iterable[Serial] = (), *, most: int = REMEMBERED) -> None:
        self._revoked, self._most = frozenset(revoked), most
        self._holders = {
            canonical_san(one.mtls.san): _holder(organisation, one.mtls.san, one.mtls.project)
            for organisation, member in spec.organisations.items()
            for one in member.identity
            if one.mtls is not None
        }
        self._read: dict[bytes, Presented | None] = {}

    @property
    def remembered(self) -> int:
        """How many certificates are remembered."""
        return len(self._read)

    def decide(self, header: str, now: float) -> Holder | Refusal | None:
        """Whose connection it is, from the header that Envoy wrote: None if the certificate speaks for nobody. Never raises."""
        presented = self._presented(header)
        if presented is None:
            return _bad("cannot be read")
        if presented.serial in self._revoked:
            return _bad("has been revoked")
        if not presented.begins <= now < presented.ends:
            return _bad("has expired" if now >= presented.ends else "is not in force yet")
        found = {self._holders[name] for name in presented.names if name in self._holders}
        if len(found) > 1:
            return Refusal(Reason.AMBIGUOUS_IDENTITY, {"credential": "certificate"})
        return found.pop() if found else None

    def _presented(self, header: str) -> Presented | None:
        digest = hashlib.sha256(header.encode("utf-8", "surrogatepass")).digest()
        if digest in self._read:
            return self._read[digest]
        if len(self._read) >= self._most:
            del self._read[next(iter(self._read))]
        found = self._read[digest] = presented_in(header)
        return found


def presented_in(header: str) -> Presented | None:
    """The certificate in Envoy's header; None if there is none that can be read."""
    found = _CERT.findall(header)
    if len(found) != 1:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(unquote_to_bytes(found[0]))
        return Presented(_names(certificate), serial_of(certificate),
            certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())  # fmt: skip
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def serial_of(certificate: x509.Certificate) -> Serial:
    """How a revocation list would name it."""
    return certificate.issuer.public_bytes(), certificate.serial_number


def revoked_in(text: bytes) -> frozenset[Serial]:
    """All that revocation lists (PEM, one after the other) name. Raises ValueError if that is none."""
    end = b"-----END X509 CRL-----"
    lists = [x509.load_pem_x509_crl(part + end + b"\n") for part in text.split(end)[:-1]]
    if not lists:
        raise ValueError("there is no revocation list (`BEGIN X509 CRL`) in it")
    return frozenset((one.issuer.public_bytes(), entry.serial_number) for one in lists for entry in one)


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(canonical_san(f"{kind}:{value}") for form, kind in _KINDS for value in names.get_values_for_type(form))


def _holder(organisation: str, san: str, project: str | None) -> Holder:
    who = Principal(organisation, project or DEFAULT_PROJECT, f"mtls:{san}", "", "mtls", ANYTHING)
    return Holder(who, project is not None)


def _bad(why: str) -> Refusal:
    return Refusal(Reason.INVALID_CERTIFICATE, {"why": why})
