"""What is read of a client's certificate, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.certificates import Certificates, Holder, presented_in, revoked_in, serial_of
from samdrift.access.refusal import Refusal
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

BEGINS, ENDS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
SIGNER = ec.generate_private_key(ec.SECP256R1())
US = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ours")])
AARHUS = x509.UniformResourceIdentifier("spiffe://aarhus.dk/ai")


def spec() -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"},
        "gateway": {"tls": {"certificate": "a", "key": "b", "client_ca": "c"}},
        "organisations": {
            "aarhus": {"identity": [{"mtls": {"san": "URI:spiffe://aarhus.dk/ai"}}, {"mtls": {"san": "EMAIL:ai@aarhus.dk"}}]},
            "viborg": {"projects": {"chat": {}}, "identity": [{"mtls": {"san": "DNS:AI.viborg.dk", "project": "chat"}}]}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:x", "pool": "here"}},
    })  # fmt: skip


def certificate(*names: x509.GeneralName, serial: int = 7) -> x509.Certificate:
    made = x509.CertificateBuilder().subject_name(US).issuer_name(US).public_key(SIGNER.public_key()).serial_number(serial)
    made = made.not_valid_before(BEGINS).not_valid_after(ENDS)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(SIGNER, hashes.SHA256())


def header(*names: x509.GeneralName, serial: int = 7) -> str:
    pem = certificate(*names, serial=serial).public_bytes(serialization.Encoding.PEM).decode()
    return f'Hash={"0" * 64};Cert="{quote(pem, safe="")}"'


def holder(text: str, now: float = NOW, certificates: Certificates | None = None) -> Holder:
    found = (certificates or Certificates(spec())).decide(text, now)
    assert isinstance(found, Holder), found
    return found


def reason(text: str, now: float = NOW, certificates: Certificates | None = None) -> Reason:
    found = (certificates or Certificates(spec())).decide(text, now)
    assert isinstance(found, Refusal), found
    return found.reason


@pytest.mark.parametrize(("name", "organisation", "project"), [
    (AARHUS, "aarhus", "default"), (x509.RFC822Name("ai@aarhus.dk"), "aarhus", "default"),
    (x509.DNSName("ai.Viborg.dk"), "viborg", "chat"),
])  # fmt: skip
def test_a_declared_name_says_whose_it_is(name: x509.GeneralName, organisation: str, project: str) -> None:
    who = holder(header(x509.DNSName("other.dk"), name)).principal
    assert (who.organisation, who.project, who.how) == (organisation, project, "mtls")


@pytest.mark.parametrize("names", [
    (), (x509.DNSName("spiffe://aarhus.dk/ai"),), (x509.UniformResourceIdentifier("ai.viborg.dk"),),
    (x509.RFC822Name("AI@aarhus.dk"),), (x509.DNSName("*.viborg.dk"),), (x509.DirectoryName(US),),
])  # fmt: skip
def test_any_other_name_is_nobodys(names: tuple[x509.GeneralName, ...]) -> None:
    assert Certificates(spec()).decide(header(*names), NOW) is None


def test_two_declared_names_are_one_too_many_even_of_one_organisation() -> None:
    assert reason(header(AARHUS, x509.DNSName("ai.viborg.dk"))) is Reason.AMBIGUOUS_IDENTITY
    assert reason(header(AARHUS, x509.RFC822Name("ai@aarhus.dk"))) is Reason.AMBIGUOUS_IDENTITY


def test_it_is_good_from_its_first_second_to_its_last() -> None:
    for now in (BEGINS.timestamp(), ENDS.timestamp() - 1):
        assert holder(header(AARHUS), now).principal.organisation == "aarhus"
    for now in (BEGINS.timestamp() - 1, ENDS.timestamp()):
        assert reason(header(AARHUS), now) is Reason.INVALID_CERTIFICATE


def test_a_revoked_one_is_refused_also_where_its_name_is_nobodys() -> None:
    certificates = Certificates(spec(), [serial_of(certificate(serial=7))])
    assert reason(header(AARHUS), certificates=certificates) is Reason.INVALID_CERTIFICATE
    assert reason(header(), certificates=certificates) is Reason.INVALID_CERTIFICATE
    assert holder(header(AARHUS, serial=8), certificates=certificates).principal.organisation == "aarhus"


def test_only_one_certificate_can_be_meant() -> None:
    one, other = header(AARHUS), header(x509.DNSName("ai.viborg.dk"))
    for text in (f"{one},{other}", f"{one};{other}", f"{one};{one}", one.replace('"', ""), "", "Hash=00", 'Cert=""', 'Cert="x"',
        "URI=spiffe://aarhus.dk/ai", one[:-40] + '"'):  # fmt: skip
        assert reason(text) is Reason.INVALID_CERTIFICATE


def test_what_is_remembered_is_bounded() -> None:
    certificates = Certificates(spec(), most=3)
    for serial in range(1, 8):
        assert holder(header(AARHUS, serial=serial), certificates=certificates)
    assert certificates.remembered == 3


@given(st.text() | st.text().map(lambda text: f'Cert="{quote(text)}"') | st.binary().map(lambda data: f'Cert="{quote(data)}"'))
def test_no_header_makes_the_reader_fall_over(text: str) -> None:
    assert presented_in(text) is None
    assert isinstance(Certificates(spec()).decide(text, NOW), Refusal)


def test_lists_of_two_authorities_stand_in_one_file(tmp_path: Path) -> None:
    def revoking(name: str, serial: int) -> bytes:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(BEGINS).build()
        made = x509.CertificateRevocationListBuilder().issuer_name(issuer)
        made = made.last_update(BEGINS).next_update(BEGINS + timedelta(days=9))
        return made.add_revoked_certificate(entry).sign(SIGNER, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    found = revoked_in(b"# ours\n" + revoking("Ours", 7) + b"\n# theirs\n" + revoking("Theirs", 7))
    assert len(found) == 2
    assert serial_of(certificate(serial=7)) in found
    for text in (b"", b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"):
        with pytest.raises(ValueError, match=r"."):
            revoked_in(text)
