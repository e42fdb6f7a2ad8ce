"""Weights from a registry of artifacts: `oci:HOST/REPOSITORY[:TAG][@DIGEST]`.

Each layer is one file, named by the annotation `org.opencontainers.image.title` (as ORAS writes it) or by the model format's
`org.cncf.model.filepath`. Images whose layers are archives of a file system are not unpacked. See the OCI distribution
specification, "Pull", and the token authentication of registries.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from samdrift.engines.weights.asking import ask, is_loopback
from samdrift.engines.weights.listing import MOST_FILES, Asked, Item, Listing, chosen, safe_name
from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import Registry

_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class FromRegistry:
    """One artifact of a registry."""

    def __init__(self, asked: Asked, settings: Registry, http: httpx.Client) -> None:
        self._asked, self._http = asked, http
        self._host, _, self._repository = asked.reference.place.partition("/")
        scheme = "http" if is_loopback(urlsplit(f"//{self._host}").hostname or "") else "https"
        self._endpoint = f"{scheme}://{self._host}/v2/{self._repository}"
        self._login = ""
        if settings.user:
            pair = f"{settings.user}:{asked.secret(settings.password)}"
            self._login = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        self._authorization = ""
        self._challenge: dict[str, str] = {}
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """The layers of the artifact that the tag or digest names now."""
        reference = self._asked.reference.revision or "latest"
        answer = self._manifest(reference)
        digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
        if reference.startswith("sha256:") and reference != digest:
            raise WeightsError(f"{self._asked.text} cannot be fetched: {self._host} answers with something of another digest.")
        try:
            said = json.loads(answer.content)
        except ValueError:
            said = None
        if not isinstance(said, dict) or not isinstance(said.get("layers"), list):
            raise WeightsError(f"{self._asked.text} is no artifact with files: it has no layers. "
                "Of an index, name one manifest by its digest.")  # fmt: skip
        annotations = said.get("annotations")
        annotations = annotations if isinstance(annotations, dict) else {}
        licence = annotations.get("org.opencontainers.image.licenses", "")
        items = tuple(_items(said["layers"]))
        if not items:
            raise WeightsError(f"{self._asked.text} has no layer that is a file with a name. Push the model's files one by one, "
                "as with `oras push`; layers that are archives are not unpacked.")  # fmt: skip
        return Listing(self._asked.text, f"{self._host}/{self._repository}", digest,
            licence[:100] if isinstance(licence, str) else "", chosen(self._asked.text, "", items))  # fmt: skip

    def request(self, listing: Listing, item: Item) -> tuple[str, dict[str, str]]:  # noqa: ARG002 - a source's shape
        """Where a layer is fetched."""
        return f"{self._endpoint}/blobs/sha256:{item.sha256}", self._headers()

    def renew(self) -> bool:
        """Tokens of registries live for minutes: ask for a new one."""
        if not self._challenge:
            url = f"{self._endpoint.partition('/v2/')[0]}/v2/"
            self._challenge = _challenge(ask(self._http, url, {}, what=f"Logging in for {self._asked.text}")
                .headers.get("www-authenticate", ""))  # fmt: skip
        return self._authorize()

    def _headers(self) -> dict[str, str]:
        return {"authorization": self._authorization} if self._authorization else {}

    def _manifest(self, reference: str) -> httpx.Response:
        url = f"{self._endpoint}/manifests/{quote(reference, safe=':')}"
        for attempt in range(2):
            answer = ask(self._http, url, {"accept": _ACCEPT, **self._headers()}, what=f"Looking for {self._asked.text}")
            if answer.status_code == 200:
                return answer
            if answer.status_code == 401 and attempt == 0:
                self._challenge = _challenge(answer.headers.get("www-authenticate", ""))
                if self._authorize():
                    continue
            break
        if answer.status_code == 404:
            raise WeightsError(f"{self._asked.text} does not exist: {self._host} knows no such artifact.")
        raise WeightsError(f"{self._asked.text} cannot be fetched: {self._host} answers {answer.status_code}. "
            "Check its name, and `weights.oci` in the document.")  # fmt: skip

    def _authorize(self) -> bool:
        """Do what the registry's challenge says. Is there now something to show?"""
        with self._lock:
            if self._challenge.get("scheme") == "basic" and self._login:
                self._authorization = self._login
                return True
            realm = urlsplit(self._challenge.get("realm", ""))
            if self._challenge.get("scheme") != "bearer" or not realm.hostname:
                return False
            if realm.scheme != "https" and not is_loopback(realm.hostname):
                raise WeightsError(f"{self._host} wants us to log in at {realm.hostname} without encryption. It was not done.")
            scope = self._challenge.get("scope") or f"repository:{self._repository}:pull"
            query = f"service={quote(self._challenge.get('service', ''), safe='')}&scope={quote(scope, safe='')}"
            answer = ask(self._http, f"{realm.geturl()}{'&' if realm.query else '?'}{query}",
                {"authorization": self._login} if self._login else {}, what=f"Logging in for {self._asked.text}")  # fmt: skip
            try:
                said = json.loads(answer.content) if answer.status_code == 200 else {}
            except ValueError:
                said = {}
            token = said.get("token") or said.get("access_token") if isinstance(said, dict) else None
            self._authorization = f"Bearer {token}" if isinstance(token, str) and token.isprintable() else ""
            return bool(self._authorization)


def _challenge(header: str) -> dict[str, str]:
    scheme, _, rest = header.strip().partition(" ")
    return {**dict(_CHALLENGE.findall(rest)), "scheme": scheme.lower()}


def _items(layers: list[Any]) -> Iterator[Item]:
    for layer in layers[:MOST_FILES]:
        match layer:
            case {"digest": str(digest), "size": int(size), "annotations": dict(annotations)} if size >= 0:
                named = _name(annotations)
                match_ = _DIGEST.fullmatch(digest)
                if named and safe_name(named) and match_ is not None and not _archive(str(layer.get("mediaType", ""))):
                    yield Item(named, size, sha256=match_[1])
            case _:
                continue


def _name(annotations: Mapping[str, Any]) -> str:
    return next((str(annotations[name]) for name in _NAMES if annotations.get(name)), "")


def _archive(media: str) -> bool:
    return media.endswith((".tar", "+gzip", "+zstd", ".tar.gzip"))
