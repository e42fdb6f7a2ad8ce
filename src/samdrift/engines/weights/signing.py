"""Signing a request for a store of objects: AWS Signature Version 4, for GET without a body. Pure: time comes in.

Source: the AWS documentation, "Create a signed AWS API request"; tested with its own published example.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class AccessKey:
    """An access key: its id, its secret, and the token of a session that it belongs to, if any. It has no repr, lest it be
    logged."""

    id: str
    secret: str
    session: str = ""


def signed(url: str, headers: dict[str, str], key: AccessKey, *, region: str, at: datetime) -> dict[str, str]:
    """The headers with which GET `url` is signed at `at` (UTC): `headers` and those of the signature."""
    service = "s3"
    parts = urlsplit(url)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    day = stamp[:8]
    mine = {name.lower(): value for name, value in headers.items()} | {
        "host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}  # fmt: skip
    if key.session:
        mine["x-amz-security-token"] = key.session
    names = ";".join(sorted(mine))
    query = "&".join(sorted(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}"
        for n, v in parse_qsl(parts.query, keep_blank_values=True)))  # fmt: skip
    lines = "".join(f"{name}:{' '.join(mine[name].split())}\n" for name in sorted(mine))
    canonical = f"GET\n{parts.path or '/'}\n{query}\n{lines}\n{names}\n{_EMPTY}"
    scope = f"{day}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = f"AWS4{key.secret}".encode()
    for word in (day, region, service, "aws4_request"):
        secret = hmac.digest(secret, word.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    mine["authorization"] = f"AWS4-HMAC-SHA256 Credential={key.id}/{scope},SignedHeaders={names},Signature={signature}"
    del mine["host"]
    return mine
