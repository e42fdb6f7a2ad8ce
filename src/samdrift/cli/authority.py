"""A small certificate authority in a folder, for trying mutual TLS out: `samdrift certs`.

Its key lies unprotected beside its certificates. That is right for a laptop and wrong for members' real certificates: those
come from the authority that they trust already. ECDSA on P-256 throughout, SHA-256.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY, REVOKED = "ca", "revoked.pem"
_EARLIER = timedelta(minutes=5)  # for clocks that differ

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def make_authority(folder: Path, name: str, now: datetime, days: int) -> x509.Certificate:
    """A new authority: `ca.crt`, `ca.key` and an empty `revoked.pem`. Raises FileExistsError if the folder has one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    builder = _builder(subject, subject, key, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    made = builder.sign(key, hashes.SHA256())
    _write(folder, AUTHORITY, made, key)
    _list(folder, (made, key), [], now)
    return made


def issue(folder: Path, file: str, name: str, sans: list[x509.GeneralName], now: datetime, days: int, *, server: bool) -> Pair:
    """A certificate of the folder's authority, in `FILE.crt` and `FILE.key`. Raises FileNotFoundError if the folder has no
    authority, FileExistsError if it has such a certificate."""
    authority, its_key = load_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    role = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    made = (
        _builder(_named(name), authority.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([role]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(its_key.public_key()), critical=False)
        .sign(its_key, hashes.SHA256())
    )
    _write(folder, file, made, key)
    return made, key


def revoke(folder: Path, certificate: x509.Certificate, now: datetime) -> bool:
    """Add a certificate to `revoked.pem`. False if it stands there already. Raises FileNotFoundError if the folder has no
    authority, ValueError if the certificate is not one of its own."""
    pair = load_authority(folder)
    if certificate.issuer != pair[0].subject:
        raise ValueError("this certificate is of another authority")
    before = x509.load_pem_x509_crl((folder / REVOKED).read_bytes())
    if before.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        return False
    entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
    _list(folder, pair, [*before, entry], now)
    return True


def load_authority(folder: Path) -> Pair:
    """The folder's authority. Raises FileNotFoundError."""
    certificate = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{AUTHORITY}.key was not made by this program")  # noqa: TRY004 - the file is wrong, not the type
    return certificate, key


def general_name(text: str) -> x509.GeneralName:
    """`URI:…`, `DNS:…`, `EMAIL:…` or `IP:…` as a name in a certificate. Raises ValueError with a sentence."""
    kind, colon, name = text.partition(":")
    if not (colon and name and name.isascii() and name.isprintable()):
        raise ValueError("write it as URI:spiffe://aarhus.dk/ai, DNS:ai.aarhus.dk, EMAIL:ai@aarhus.dk or IP:127.0.0.1")
    match kind:
        case "URI":
            return x509.UniformResourceIdentifier(name)
        case "DNS":
            return x509.DNSName(name)
        case "EMAIL":
            return x509.RFC822Name(name)
        case "IP":
            return x509.IPAddress(ipaddress.ip_address(name))
    raise ValueError(f"{kind} is no kind of name; the kinds are URI, DNS, EMAIL and IP")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False)  # fmt: skip


def _list(folder: Path, authority: Pair, revoked: list[x509.RevokedCertificate], now: datetime) -> None:
    """Write the revocation list. It is moved into place: whoever reads it finds the old one or the new, and never a half."""
    certificate, key = authority
    builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.subject).last_update(now - _EARLIER)
    builder = builder.next_update(certificate.not_valid_after_utc)
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    beside = folder / f".{REVOKED}.new"
    beside.write_bytes(made)
    beside.replace(folder / REVOKED)


def _write(folder: Path, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Certificate and key, side by side; nothing is written over."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / f"{file}.crt").exists():
        raise FileExistsError(folder / f"{file}.crt")
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    handle = os.open(folder / f"{file}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secret)
    (folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
