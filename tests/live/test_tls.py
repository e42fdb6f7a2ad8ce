"""Encryption at the front door: which protocols are spoken, and that OpenAI's client is content with it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from tests.live.communities import PATIENCE, Community, document
from tests.live.frames import DATA, HEADERS, request_over_http2


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def authority(somewhere: Path) -> Path:
    """A folder with an authority of our own (`ca.crt`) and a certificate of it for this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with the command `openssl`, which is not installed")
    folder = somewhere / "tls"
    folder.mkdir()
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl("req", "-x509", *curve, "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"),
        "-days", "2", "-subj", "/CN=Samdrift test authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    _openssl("req", *curve, "-keyout", str(folder / "server.key"), "-out", str(folder / "server.csr"), "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl("x509", "-req", "-in", str(folder / "server.csr"), "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"),
        "-CAcreateserial", "-out", str(folder / "server.crt"), "-days", "1", "-extfile", str(folder / "names"))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def secure(authority: Path) -> Iterator[Community]:
    described = document(gateway={"tls": {"certificate": "server.crt", "key": "server.key"}})
    community = Community(authority, described)
    community.trust = trusting(authority)
    with community as running:
        yield running




def trusting(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


def connected(secure: Community, context: ssl.SSLContext) -> ssl.SSLSocket:
    port = int(secure.url.rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_the_protocol_is_agreed_on_by_alpn(
    secure: Community, authority: Path, offered: list[str], chosen: str | None
) -> None:
    context = trusting(authority)
    if offered:
        context.set_alpn_protocols(offered)
    with connected(secure, context) as channel:
        assert channel.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(secure: Community, authority: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    with connected(secure, context) as channel:
        assert channel.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(secure: Community, authority: Path) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError) as refused:
        connected(secure, context)
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION", "the other side said why"


def test_without_tls_nothing_is_said(secure: Community) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.get(secure.url.replace("https", "http") + "/v1/models", trust_env=False)


def test_a_client_that_does_not_trust_the_authority_does_not_talk(secure: Community) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(secure.url + "/v1/models", trust_env=False)


def test_openais_client_works_with_the_authority(secure: Community, authority: Path) -> None:
    with (
        openai.DefaultHttpxClient(verify=trusting(authority)) as http,
        openai.OpenAI(api_key=secure.key(), base_url=f"{secure.url}/v1", http_client=http, max_retries=0) as client,
    ):
        asked = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
        assert asked.choices[0].message.content
        streamed = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "Hi"}], max_tokens=2, stream=True)  # fmt: skip
        assert [chunk for chunk in streamed if chunk.choices[0].finish_reason]


def test_an_answer_streams_over_http_2(secure: Community, authority: Path) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2"])
    body = b'{"model":"chat","stream":true,"max_tokens":3,"messages":[{"role":"user","content":"Hi"}]}'
    with connected(secure, context) as channel:
        frames = request_over_http2(channel, "/v1/chat/completions", body, authorization=f"Bearer {secure.key()}")
    data = b"".join(payload for kind, payload in frames if kind == DATA)
    assert [kind for kind, _ in frames].count(DATA) > 1
    assert frames[0][0] == HEADERS
    assert data.endswith(b"data: [DONE]\n\n")
