"""What a process of its own is told by its environment: where the document, the ledger and its ports are.

    SAMDRIFT_DOCUMENT   the document, a file or a folder
    SAMDRIFT_LEDGER     the URL of the ledger in PostgreSQL; default: what the document says
    SAMDRIFT_SEED       64 or more hexadecimal digits that all processes of a community share, and nobody else knows
    SAMDRIFT_METRICS    host:port of /metrics, /livez and /readyz; default 127.0.0.1:9464
    SAMDRIFT_ASK        host:port where Envoy Gateway asks the desk (gRPC); default 127.0.0.1:9001, empty: nowhere
    SAMDRIFT_ASK_HTTP   host:port where an Envoy of our own asks the desk (HTTP); default: nowhere
    SAMDRIFT_TELL       host:port where Envoy tells the desk what has ended (gRPC); default 127.0.0.1:9002
    SAMDRIFT_LISTEN     host:port of the API; default 127.0.0.1:8080
    SAMDRIFT_DESK       where the API asks how all stands: URLs of the desks' metrics, parted by commas
    SAMDRIFT_ENGINES    `kubernetes`: engines are found by EndpointSlices (usual in a pod); `document`: by `address`
    SAMDRIFT_POD        what this process is called in logs and in the audit trail
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

_SEED = re.compile(r"(?:[0-9a-fA-F]{2}){32,}")
_ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_WAYS = ("kubernetes", "document")


class Misconfigured(Exception):  # noqa: N818 - it is a state of the world
    """The environment lacks something, or says nonsense. The text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Environment:
    """See the module. `seed` is None where none is given; `scratch` is a folder that may vanish with the process."""

    document: Path
    ledger: str
    seed: bytes | None
    scratch: Path
    metrics: str
    ask: str
    ask_http: str
    tell: str
    listen: str
    desk: str
    engines: Literal["kubernetes", "document"]
    pod: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Environment:
        """From environment variables. Raises Misconfigured."""
        given = environment.get("SAMDRIFT_DOCUMENT", "")
        if not given:
            raise Misconfigured("SAMDRIFT_DOCUMENT is not set: it names the document, a file or a folder.")
        seed = environment.get("SAMDRIFT_SEED", "").strip()
        if seed and not _SEED.fullmatch(seed):
            raise Misconfigured("SAMDRIFT_SEED must be 64 or more hexadecimal digits: `openssl rand -hex 32` makes one.")
        way = environment.get("SAMDRIFT_ENGINES") or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in environment else "document")
        if way not in _WAYS:
            raise Misconfigured(f"SAMDRIFT_ENGINES is {way!r}; it can be `kubernetes` or `document`.")
        scratch = environment.get("SAMDRIFT_SCRATCH")
        return cls(
            document=Path(given).absolute(),
            ledger=environment.get("SAMDRIFT_LEDGER", ""),
            seed=bytes.fromhex(seed) if seed else None,
            scratch=Path(scratch) if scratch else Path(tempfile.mkdtemp(prefix="samdrift-")),
            metrics=_address(environment, "SAMDRIFT_METRICS", "127.0.0.1:9464"),
            ask=_address(environment, "SAMDRIFT_ASK", "127.0.0.1:9001"),
            ask_http=_address(environment, "SAMDRIFT_ASK_HTTP", ""),
            tell=_address(environment, "SAMDRIFT_TELL", "127.0.0.1:9002"),
            listen=_address(environment, "SAMDRIFT_LISTEN", "127.0.0.1:8080"),
            desk=environment.get("SAMDRIFT_DESK", "").rstrip("/"),
            engines=cast("Literal['kubernetes', 'document']", way),
            pod=environment.get("SAMDRIFT_POD", "samdrift"),
        )


def _address(environment: Mapping[str, str], name: str, usual: str) -> str:
    given = environment.get(name, usual)
    if given and not _ADDRESS.fullmatch(given):
        raise Misconfigured(f"{name} is {given!r}; it must be HOST:PORT.")
    return given
