"""`samdrift certs`, as somebody uses it who tries mutual TLS out."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from samdrift.access.certificates import revoked_in, serial_of
from samdrift.cli.certs import certs_group


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run("authority", tmp_path / "tls").exit_code == 0
    return tmp_path / "tls"


def run(*words: object) -> Result:
    return CliRunner().invoke(certs_group, [str(word) for word in words], catch_exceptions=False)


def read(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def test_a_whole_community_is_made_and_only_its_owner_reads_the_keys(folder: Path) -> None:
    assert run("server", folder, "--host", "ai.test", "--host", "192.0.2.1").exit_code == 0
    made = run("member", folder, "aarhus", "--san", "URI:spiffe://aarhus.dk/ai", "--days", "7")
    assert 'san: "URI:spiffe://aarhus.dk/ai"' in made.stdout
    authority = read(folder, "ca")
    for name in ("server", "aarhus"):
        read(folder, name).verify_directly_issued_by(authority)
        assert stat.S_IMODE((folder / f"{name}.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    assert read(folder, "aarhus").not_valid_after_utc - datetime.now(UTC) < timedelta(days=7)
    assert revoked_in((folder / "revoked.pem").read_bytes()) == frozenset()


def test_a_revoked_certificate_stands_in_the_list_and_the_others_do_not(folder: Path) -> None:
    for name in ("aarhus", "viborg", "odense"):
        run("member", folder, name, "--san", f"DNS:{name}.test")
    assert run("revoke", folder, "aarhus").stdout == "Revoked aarhus.\n"
    assert run("revoke", folder, "viborg").exit_code == 0
    assert "already" in run("revoke", folder, "aarhus").stdout
    found = revoked_in((folder / "revoked.pem").read_bytes())
    assert found == {serial_of(read(folder, "aarhus")), serial_of(read(folder, "viborg"))}


def test_nothing_is_written_over(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = run("authority", folder)
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(("words", "code", "sentence"), [
    (["member", "aarhus", "--san", "aarhus.dk"], 2, "URI:spiffe"),
    (["member", "aarhus", "--san", "OID:1.2"], 2, "no kind of name"),
    (["member", "../up", "--san", "DNS:a.dk"], 2, "small letters"),
    (["member", "ca", "--san", "DNS:a.dk"], 2, "small letters"),
    (["member", "aarhus"], 2, "--san"),
    (["revoke", "nobody"], 1, "There is no"),
    (["revoke", "../../etc/passwd"], 2, "no name of a certificate"),
])  # fmt: skip
def test_used_wrongly_it_says_how_and_makes_nothing(folder: Path, words: list[str], code: int, sentence: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    done = run(words[0], folder, *words[1:])
    assert (done.exit_code, sentence in done.stderr) == (code, True), done.stderr
    assert sorted(folder.parent.rglob("*")) == before


def test_without_an_authority_it_says_how_to_make_one(tmp_path: Path) -> None:
    done = run("server", tmp_path / "none")
    assert (done.exit_code, "samdrift certs authority" in done.stderr) == (1, True)
