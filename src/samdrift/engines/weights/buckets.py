"""Weights from a store of objects that speaks S3: `s3:BUCKET/PATH`, where PATH is a file or a folder that holds one model.

The bucket stands in the path of the address, as stores of one's own want it. Used are ListObjectsV2 and GetObject with a range.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote

import httpx

from samdrift.engines.weights.asking import ask
from samdrift.engines.weights.listing import MOST_FILES, Asked, Item, Listing, chosen, safe_name
from samdrift.engines.weights.signing import AccessKey, signed
from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import Store

# The answer is flat and from a stranger: looking for its few elements needs no XML parser with entities and namespaces.
_OBJECT = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_NEXT = re.compile(r"<NextContinuationToken>(.*?)</NextContinuationToken>", re.DOTALL)
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_PAGES = 20


class FromBucket:
    """One file, or one folder, of a bucket."""

    def __init__(self, asked: Asked, settings: Store, http: httpx.Client) -> None:
        self._asked, self._http = asked, http
        there = asked.environment
        self._endpoint = (settings.endpoint or there("AWS_ENDPOINT_URL_S3") or there("AWS_ENDPOINT_URL")).rstrip("/")
        if not self._endpoint:
            raise WeightsError(f"{asked.text} cannot be fetched: nobody said which store is meant. "
                "Set AWS_ENDPOINT_URL_S3 to its address, or write `weights: {s3: {endpoint: https://…}}`.")  # fmt: skip
        self._region = settings.region or there("AWS_REGION") or "us-east-1"
        self._key = AccessKey(asked.secret(settings.key), asked.secret(settings.secret), there("AWS_SESSION_TOKEN")) \
            if settings.key else None  # fmt: skip

    def listing(self) -> Listing:
        """The files there are now. Their checksums are not told, so the first fetch finds them out."""
        reference = self._asked.reference
        start, name = self._start()
        # Of a file in parts, the parts are listed; of any other file, itself.
        found = self._objects(start + name.partition("-00001-of-")[0])
        inside = {key[len(start) :]: size for key, size in found.items() if key.startswith(start)}
        if not inside:
            raise WeightsError(f"{self._asked.text} does not exist: there is nothing of this name in the bucket.")
        items = [Item(key, size) for key, size in inside.items() if safe_name(key)]
        return Listing(self._asked.text, f"{self._endpoint}/{reference.place}", "", "", chosen(self._asked.text, name, items))

    def request(self, listing: Listing, item: Item) -> tuple[str, dict[str, str]]:  # noqa: ARG002 - a source's shape
        """Where a file is fetched, signed for now."""
        return self._signed(f"{self._endpoint}/{self._asked.reference.place}/{quote(self._start()[0] + item.name, safe='/-_.~')}")

    def renew(self) -> bool:
        """Each request is signed anew as it is."""
        return False

    def _start(self) -> tuple[str, str]:
        """What the keys of all files begin with, and the name of the file that is asked for, if it is one."""
        path = self._asked.reference.file
        if not path.endswith(".gguf"):
            return path + "/", ""
        folder, slash, name = path.rpartition("/")
        return folder + slash, name

    def _objects(self, prefix: str) -> dict[str, int]:
        """Keys and sizes of all objects whose key begins so."""
        found: dict[str, int] = {}
        after = ""
        for _ in range(_PAGES):
            query = f"list-type=2&prefix={quote(prefix, safe='')}"
            query += f"&continuation-token={quote(after, safe='')}" if after else ""
            url, headers = self._signed(f"{self._endpoint}/{self._asked.reference.place}?{query}")
            answer = ask(self._http, url, headers, what=f"Looking for {self._asked.text}")
            text = self._read(answer)
            for match in _OBJECT.finditer(text):
                key, size = _element(match[1], "Key"), _element(match[1], "Size")
                if key and size.isdigit():
                    found[key] = int(size)
            more = _NEXT.search(text)
            if more is None:
                return found
            after = unescape(more[1])
            if len(found) > MOST_FILES:
                break
        raise WeightsError(f"{self._asked.text} names a place with more than {len(found)} files. Name the folder of one model.")

    def _signed(self, url: str) -> tuple[str, dict[str, str]]:
        return url, signed(url, {}, self._key, region=self._region, at=datetime.now(UTC)) if self._key else {}

    def _read(self, answer: httpx.Response) -> str:
        if answer.status_code == 200:
            return answer.content.decode("utf-8", "replace")
        code = _CODE.search(answer.content[:10_000].decode("utf-8", "replace"))
        raise WeightsError(f"{self._asked.text} cannot be fetched: {self._endpoint} answers {answer.status_code}"
            f"{f' ({code[1]})' if code else ''}. Check the bucket's name, and `weights.s3` in the document.")  # fmt: skip


def _element(text: str, name: str) -> str:
    match = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return unescape(match[1]) if match else ""
