"""Weights from a model hub that speaks the interface of the Hugging Face Hub: `hf:ORG/NAME[@REVISION][/FILE]`.

Two calls are used: `GET /api/models/ORG/NAME/revision/REVISION?blobs=true` (the commit, the licence, and each file with its size
and checksum) and `GET /ORG/NAME/resolve/COMMIT/FILE`. See the hub's own documentation, "Hub API Endpoints".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from samdrift.engines.weights.asking import ask
from samdrift.engines.weights.listing import MOST_FILES, Asked, Item, Listing, chosen, safe_name
from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import Hub

_MAIN = "main"


class FromHub:
    """One model of a hub."""

    def __init__(self, asked: Asked, settings: Hub, http: httpx.Client) -> None:
        self._asked, self._http = asked, http
        self._endpoint = (settings.endpoint or asked.environment("HF_ENDPOINT")).rstrip("/")
        if not self._endpoint:
            raise WeightsError(f"{asked.text} cannot be fetched: nobody said which hub is meant. "
                "Set HF_ENDPOINT to its address, or write `weights: {hf: {endpoint: https://…}}`.")  # fmt: skip
        token = asked.secret(settings.token)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def listing(self) -> Listing:
        """The files of the model at its revision, as the hub lists them now."""
        asked = self._asked.reference
        revision = asked.revision or _MAIN
        url = f"{self._endpoint}/api/models/{asked.place}/revision/{quote(revision, safe='')}?blobs=true"
        answer = ask(self._http, url, self._headers, what=f"Looking for {self._asked.text}")
        said = self._read(answer)
        items = tuple(_items(said.get("siblings")))
        commit = said.get("sha")
        if not isinstance(commit, str) or not commit.isalnum():
            raise WeightsError(f"{self._asked.text} cannot be fetched: {self._endpoint} names no commit. Is it a model hub?")
        return Listing(self._asked.text, f"{self._endpoint}/{asked.place}", commit, _licence(said),
            chosen(self._asked.text, asked.file, items))  # fmt: skip

    def request(self, listing: Listing, item: Item) -> tuple[str, dict[str, str]]:
        """Where a file of the listing is fetched."""
        place = self._asked.reference.place
        return f"{self._endpoint}/{place}/resolve/{listing.revision}/{quote(item.name)}", dict(self._headers)

    def renew(self) -> bool:
        """A token stays as it is."""
        return False

    def _read(self, answer: httpx.Response) -> Mapping[str, Any]:
        if answer.status_code in (401, 403):
            raise WeightsError(f"{self._asked.text} cannot be fetched: {self._endpoint} answers {answer.status_code}. The model "
                "is not there, or not open to all: accept its conditions at the hub, and name a token under `weights.hf.token`."
            )  # fmt: skip
        if answer.status_code == 404:
            raise WeightsError(f"{self._asked.text} does not exist: {self._endpoint} knows no such model or revision.")
        try:
            said = json.loads(answer.content) if answer.status_code == 200 else None
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise WeightsError(f"{self._asked.text} cannot be fetched: {self._endpoint} gives answer {answer.status_code}, which "
                "is not a model hub's. Check `weights.hf.endpoint`, or HF_ENDPOINT.")  # fmt: skip
        return said


def _items(siblings: object) -> Iterator[Item]:
    for entry in siblings[:MOST_FILES] if isinstance(siblings, list) else ():
        match entry:
            case {"rfilename": str(name), "size": int(size), "lfs": {"sha256": str(sha256)}} if len(sha256) == 64:
                found = Item(name, size, sha256=sha256)
            case {"rfilename": str(name), "size": int(size), "blobId": str(blob)} if len(blob) == 40:
                found = Item(name, size, git=blob)
            case _:
                continue
        if safe_name(found.name) and found.size >= 0:
            yield found


def _licence(said: Mapping[str, Any]) -> str:
    """As the model's card names it; of `other` its own name."""
    card = said.get("cardData")
    card = card if isinstance(card, dict) else {}
    tags = said.get("tags")
    tagged = [tag[8:] for tag in tags if isinstance(tag, str) and tag.startswith("license:")] if isinstance(tags, list) else []
    name = card.get("license") or (tagged[0] if tagged else "")
    if name == "other" and isinstance(card.get("license_name"), str):
        name = card["license_name"]
    return name[:100] if isinstance(name, str) else ""
