"""Encryption at the entrance: real Envoy, a certificate of our own."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.gateway.http2 import exchange, request, usual
from tests.gateway.standins import Entrance

from samdrift.spec.document import Spec

BODY = b'{"model":"chat"}'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `server.crt` and `server.key`, good for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", folder / "server.key", "-out", folder / "server.crt"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def encrypted(document: Callable[..., Spec], certificate: Path) -> Iterator[Entrance]:
    tls = {"certificate": str(certificate / "server.crt"), "key": str(certificate / "server.key")}
    with Entrance(document(tls=tls, timeouts={"headers": "400ms"})) as opened:
        yield opened


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate / "server.crt"))


def connected(entrance: Entrance, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", entrance.port), 10)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http_2_is_spoken_over_tls(encrypted: Entrance, trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with connected(encrypted, trusting) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == version.name.replace("_", ".")
        heard = exchange(connection, request(usual(BODY), BODY))
    assert heard.ok
    assert json.loads(heard.body)["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("offers", [["http/1.1"], None])
def test_http_1_is_spoken_to_who_knows_no_other(
    encrypted: Entrance, trusting: ssl.SSLContext, offers: list[str] | None
) -> None:
    if offers:
        trusting.set_alpn_protocols(offers)
    with connected(encrypted, trusting) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        heard = b""
        while part := connection.recv(65536):
            heard += part
    assert heard.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(encrypted: Entrance, trusting: ssl.SSLContext, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        trusting.maximum_version = trusting.minimum_version = ssl.TLSVersion[name]
    trusting.set_ciphers("ALL:@SECLEVEL=0")  # or our own side would refuse
    with pytest.raises(ssl.SSLError, match=r"ALERT_PROTOCOL_VERSION"):
        connected(encrypted, trusting)


def test_nothing_is_said_to_who_does_not_encrypt(encrypted: Entrance) -> None:
    heard = encrypted.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert b"HTTP" not in heard


def test_who_opens_a_connection_and_does_not_go_on_is_let_go(encrypted: Entrance) -> None:
    with socket.create_connection(("127.0.0.1", encrypted.port), 10) as connection:
        assert connection.recv(1) == b""
