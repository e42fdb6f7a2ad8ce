"""Certificates for tests of the entrance, and a client that shows one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509

from samdrift.cli.authority import general_name, issue, make_authority

PATIENCE = 10.0


class Authority:
    """An authority in a folder, which gives certificates to whoever a test names."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        self.folder = folder
        make_authority(folder, name, datetime.now(UTC), 10)

    @property
    def certificate(self) -> str:
        return str(self.folder / "ca.crt")

    @property
    def revoked(self) -> str:
        return str(self.folder / "revoked.pem")

    def server(self, *names: str) -> dict[str, str]:
        """The settings of `gateway.tls` for a gateway on this machine."""
        if not (self.folder / "server.crt").exists():
            found = [general_name(name) for name in names or ("DNS:localhost", "IP:127.0.0.1")]
            issue(self.folder, "server", "localhost", found, datetime.now(UTC), 5, server=True)
        return {"certificate": str(self.folder / "server.crt"), "key": str(self.folder / "server.key")}

    def member(self, name: str, *sans: str | x509.GeneralName, ago: timedelta = timedelta()) -> Path:
        """A certificate with these names; where its file begins."""
        names = [general_name(san) if isinstance(san, str) else san for san in sans]
        issue(self.folder, name, name, names, datetime.now(UTC) - ago, 5, server=False)
        return self.folder / name

    def context(self, shows: Path | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows a certificate."""
        made = ssl.create_default_context(cafile=self.certificate)
        if shows is not None:
            made.load_cert_chain(f"{shows}.crt", f"{shows}.key")
        return made


def client(port: int, context: ssl.SSLContext, **settings: object) -> httpx.Client:
    """A client of the entrance that trusts nothing of this machine's settings."""
    return httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=PATIENCE, trust_env=False, **settings)
