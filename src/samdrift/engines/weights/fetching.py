"""Fetching the files of a model: several parts at once, continued where a fetch was cut, and compared when they are here.

Servers may cut, stall, redirect, ignore ranges, change the file in between, or lie; what comes out
has the size and checksum that were promised, or it is not kept. See RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.listing import Item, Listing, Source
from samdrift.engines.weights.means import Patience, Step
from samdrift.engines.weights.partials import Partial, opened, reserve
from samdrift.engines.weights.troubles import NoRoom, Unreachable, WeightsError, disk_trouble

_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")
_LATER = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0


class Stopped(WeightsError):  # noqa: N818 - the name says what happened
    """Somebody ended the fetch. What was fetched is kept."""


class _Again(Exception):  # noqa: N818 - it says what to do
    """Worth another try, after `pause` seconds if the server named some."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class Fetch:
    """One fetch of a listing into a cache. `http` is closed by whoever opened it."""

    def __init__(self, listing: Listing, source: Source, cache: Cache, http: httpx.Client, *, step: Step, parallel: int = 4,
        patience: Patience | None = None, stop: threading.Event | None = None) -> None:  # fmt: skip
        self._listing, self._source, self._cache, self._http = listing, source, cache, http
        self._step, self._parallel = step, parallel
        self._patience = patience or Patience()
        self._stop, self._broken = stop or threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._fetched, self._said = 0, -1.0
        self._doing = f"Fetching {listing.reference}"

    def run(self) -> Listing:
        """Fetch what is missing. Returns the listing with the checksums of all files, which are in the cache then.

        Raises WeightsError; what was fetched is kept for the next try, unless the disk is full."""
        sums = {item.name: item.sha256 for item in self._listing.items if item.sha256 and self._cache.find(item.sha256)}
        missing = [item for item in self._listing.items if item.name not in sums]
        if not missing:
            return self._listing
        try:
            with contextlib.ExitStack() as held:
                parts = [
                    held.enter_context(opened(self._cache.partial, key, item, self._patience.piece, lambda: self._pause(0.2)))
                    for key, item in self._unique(missing).items()
                ]
                # Another process may have fetched the same while we waited for it.
                left = [part for part in parts if not (part.item.sha256 and self._cache.find(part.item.sha256))]
                need = sum(part.item.size - part.path.stat().st_blocks * 512 for part in left)
                self._cache.make_room(max(0, need), {item.sha256 for item in self._listing.items})
                reserve(left)
                self._fetched = self._listing.size - sum(part.item.size - part.here for part in left)
                self._all(left)
                for part in left:
                    sums[part.item.name] = self._taken(part)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self._doing} failed: {_said(error)}.") from error
        except OSError as error:
            trouble = disk_trouble(error, self._doing)
            if isinstance(trouble, NoRoom):
                self._cache.drop_leftovers()
            raise trouble from error
        return self._listing.with_sums(sums)

    def _unique(self, items: Iterable[Item]) -> dict[str, Item]:
        """One item of each content, by a key that is the same for the same bytes; in one order for all who may wait for each
        other's files."""
        of = f"{self._listing.reference} {self._listing.revision}"
        by_key = {item.sha256 or f"{of} {item.name} {item.size} {item.git}": item for item in items}
        return {key: by_key[key] for key in sorted(by_key)}

    def _taken(self, part: Partial) -> str:
        """Compare a file that is here and move it into the cache. Returns its SHA-256."""
        found = part.compared(self._compared)
        if found is None and part.resumed:  # some of it is of another day
            with self._lock:
                self._fetched -= part.item.size
            part.forget()
            self._all([part])
            found = part.compared(self._compared)
        if found is None:
            part.drop()
            raise WeightsError(f"{self._doing} brought another file than was promised: the checksum of {part.item.name} differs. "
                "It was not kept. Try again; if the origin has changed it, look at the change, then run `samdrift models lock`."
            )  # fmt: skip
        os.fsync(part.handle)
        self._cache.add(part.path, found)
        part.moved()
        return found

    def _compared(self, share: float) -> None:
        self._look()
        self._step("checking", share)

    def _all(self, parts: list[Partial]) -> None:
        while not all(part.complete for part in parts):
            self._fetch(parts)

    # -- pieces ----------------------------------------------------------------------------------------------------

    def _fetch(self, parts: list[Partial]) -> None:
        work = deque((part, number) for part in parts for number in range(part.pieces)
            if number not in part.done)  # fmt: skip
        self._tell(0)
        self._broken.clear()

        def worker() -> None:
            try:
                while not self._broken.is_set():
                    try:
                        part, number = work.popleft()
                    except IndexError:
                        return
                    self._patiently(part, number)
            except BaseException:
                self._broken.set()
                raise

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="fetch") as pool:
            ends = [pool.submit(worker) for _ in range(min(self._parallel, len(work)))]
        errors = [error for end in ends if (error := end.exception()) is not None]
        # The others stopped because of the first; what they say then is that they were stopped.
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error

    def _patiently(self, part: Partial, number: int) -> None:
        """Fetch one piece, again and again while it comes nearer."""
        begin, end = part.bounds(number)
        at, tries = begin, 0
        renewed = False
        while at < end and not part.whole and number not in part.done:
            self._look()
            start = at
            try:
                for reached in self._bytes_of(part, number, start, end):
                    at, tries = reached, 0
            except (_Again, httpx.TransportError) as error:
                if isinstance(error, _Again) and str(error) == "401":
                    if renewed or not self._source.renew():
                        raise WeightsError(f"{self._doing} is not allowed: {self._listing.origin} answers 401. "
                            "Check the credentials under `weights` in the document.") from error  # fmt: skip
                    renewed = True
                    continue
                tries = 1 if at > start else tries + 1
                if tries >= self._patience.tries:
                    raise Unreachable(f"{self._doing} failed after {tries} tries: {_said(error)}.") from error
                named = error.pause if isinstance(error, _Again) else None
                self._pause(named if named is not None else min(_LONGEST_PAUSE, self._patience.pause * 2 ** (tries - 1)))

    def _bytes_of(self, part: Partial, number: int, at: int, end: int) -> Iterator[int]:
        """Ask for the bytes from `at` to `end` and write what comes. Yields how far it is."""
        url, headers = self._source.request(self._listing, part.item)
        headers = {**headers, "range": f"bytes={at}-{end - 1}", "accept-encoding": "identity"}
        if part.etag:
            headers["if-range"] = part.etag
        with self._http.stream("GET", url, headers=headers) as answer:
            self._refuse(answer)
            if answer.status_code == 206:
                start, limit = self._promised(part, answer, at), end
            else:
                with self._lock:
                    if part.whole:
                        return
                    part.whole = True
                    self._fetched -= part.here + (at - part.bounds(number)[0])
                    part.done.clear()
                start, limit = 0, part.item.size
            if answer.status_code == 206:
                yield from self._written(part, answer, start, limit)
                return
            try:  # to begin at the start again is no progress, hence no word of it before the end
                for _ in self._written(part, answer, start, limit):
                    pass
            finally:
                part.whole = False
            yield end

    def _written(self, part: Partial, answer: httpx.Response, at: int, end: int) -> Iterator[int]:
        first = at
        for block in answer.iter_raw():  # as it comes: a slow server must not keep us from stopping
            self._look()
            if at + len(block) > end:
                raise WeightsError(f"{self._doing} failed: the server sends more of {part.item.name} than it has.")
            os.pwrite(part.handle, block, at)
            at += len(block)
            self._tell(len(block))
            with self._lock:
                if part.written(first, at):
                    part.remember()
            yield at
        if at < end:
            with self._lock:
                if answer.status_code != 206:  # from the start again, for the server has no ranges
                    self._fetched -= part.here
                    part.done.clear()
            raise _Again(f"the connection ended after {at} of {part.item.size} bytes")

    def _promised(self, part: Partial, answer: httpx.Response, at: int) -> int:
        """Where the answer begins. Raises WeightsError if it is of another file than was listed."""
        match = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        if match is None or int(match[1]) != at or (match[3] != "*" and int(match[3]) != part.item.size):
            said = answer.headers.get("content-range", "")[:80]
            raise WeightsError(f"{self._doing} failed: the server was asked for byte {at} of {part.item.size} of "
                f"{part.item.name} and answers `{said}`. If it was changed there, run `samdrift models lock`.")  # fmt: skip
        etag = answer.headers.get("etag", "")
        if etag and not etag.startswith("W/"):
            part.etag = etag
        return at

    def _refuse(self, answer: httpx.Response) -> None:
        code = answer.status_code
        if code == 401:
            raise _Again("401")
        if code in _LATER:
            raise _Again(f"the server answers {code}", _seconds(answer.headers.get("retry-after")))
        if code in (403, 404, 410):
            raise WeightsError(f"{self._doing} failed: {self._listing.origin} answers {code}. It is gone, or is not for us: "
                "check the name, and the credentials under `weights` in the document.")  # fmt: skip
        if code not in (200, 206) or answer.headers.get("content-encoding", "identity") != "identity":
            raise WeightsError(f"{self._doing} failed: {self._listing.origin} answers {code}, which is no answer to that.")

    # -- time and progress -----------------------------------------------------------------------------------------

    def _tell(self, new: int) -> None:
        with self._lock:
            self._fetched += new
            share = min(1.0, max(0.0, self._fetched / (self._listing.size or 1)))
            if abs(share - self._said) < 0.002 and share < 1:
                return
            self._said = share
            self._step("fetching", share)

    def _look(self) -> None:
        if self._stop.is_set() or self._broken.is_set():
            raise Stopped(f"{self._doing} was stopped. What was fetched is kept for the next time.")

    def _pause(self, seconds: float) -> None:
        end = seconds
        while end > 0 and not self._broken.is_set() and not self._stop.wait(min(0.2, end)):
            end -= 0.2
        self._look()


def _seconds(text: str | None) -> float | None:
    return min(_LONGEST_PAUSE, float(text)) if text is not None and text.isascii() and text.isdigit() else None


def _said(error: Exception) -> str:
    if isinstance(error, httpx.ReadTimeout):
        return "the server has fallen silent"
    return str(error) or type(error).__name__
