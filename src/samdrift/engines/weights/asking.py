"""The HTTP client that weights are fetched with, and short questions to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import httpx

from samdrift.engines.weights.troubles import Unreachable, WeightsError

_LONGEST_ANSWER = 32 * 2**20
_TRIES = 3
_LOOPBACK_NAMES = ("localhost",)
_OF_THE_WAY = ("content-encoding", "transfer-encoding", "content-length")  # headers about the way here, which is behind us


def client(silence: float) -> httpx.Client:
    """A client that follows a few redirects, never from encrypted to plain, and bears `silence` seconds of it. Credentials go
    to the host they are for only: httpx drops them when it is sent elsewhere."""

    def no_way_down(answer: httpx.Response) -> None:
        following = answer.next_request
        if following is not None and answer.request.url.scheme == "https" and following.url.scheme != "https":
            raise WeightsError(f"{answer.request.url.host} sends us to an address without encryption. It was not followed.")

    return httpx.Client(follow_redirects=True, max_redirects=5, timeout=httpx.Timeout(silence, connect=min(10.0, silence)),
        headers={"user-agent": "samdrift"}, event_hooks={"response": [no_way_down]},
        limits=httpx.Limits(max_connections=64))  # fmt: skip


def ask(http: httpx.Client, url: str, headers: Mapping[str, str], *, what: str) -> httpx.Response:
    """A short answer to GET, of at most 32 MiB; what cannot be reached is asked a few times.

    Raises Unreachable if nobody answers or the server is broken. Whatever else it answers is for the caller.
    """
    trouble = ""
    for _ in range(_TRIES):
        try:
            with http.stream("GET", url, headers=dict(headers)) as answer:
                if answer.status_code >= 500 or answer.status_code == 429:
                    trouble = f"the server answers {answer.status_code}"
                    continue
                content = bytearray()
                for block in answer.iter_bytes():
                    content += block
                    if len(content) > _LONGEST_ANSWER:
                        raise WeightsError(f"{what} failed: the answer of {answer.url.host} is too long to be one.")
                said = [(name, value) for name, value in answer.headers.items() if name not in _OF_THE_WAY]
                return httpx.Response(answer.status_code, headers=said, content=bytes(content), request=answer.request)
        except httpx.TransportError as error:
            trouble = str(error) or type(error).__name__
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WeightsError(f"{what} failed: {error}.") from error
    raise Unreachable(f"{what} failed: {trouble}. Check the address, the network, and whether a proxy is needed (`HTTPS_PROXY`).")


def is_loopback(host: str) -> bool:
    """Is it this machine, by a name or address that cannot be another?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES
