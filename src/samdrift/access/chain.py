"""The audit's chain: what its hashes are made of, and who finds out that somebody has been at it.

An event becomes a *content*: a flat JSON object with a random salt in it. Then

    digest = SHA-256(canonical JSON of the content)
    hash   = SHA-256("samdrift audit 1" + NUL + number as 8 bytes, big endian + hash of the row before + digest)

and the row before the first has 32 zero bytes for its hash. Canonical JSON is UTF-8 without blanks, keys sorted, numbers as
Python's `json` writes them. So a row that is forgotten keeps its number, digest and hash as a *stub*, and everything after it
still verifies; the salt goes with the content, so that nobody can try out what a stub may have said.

A *checkpoint* is a signature (Ed25519) over a number and the hash of that row. Who can write to the database but has not the
key can make up a new chain, but not the checkpoints over it.

The construction follows Schneier and Kelsey, "Secure Audit Logs to Support Computer Forensics" (1999), without its evolving
keys: the signing key lies with the control plane and not in the database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

GENESIS = bytes(32)
"""The hash before the first row."""
PURGE = "retention.purge"
"""The action of the event that says which rows were forgotten. Its subject is `audit`, its `after` holds `first` and `last`."""

_LINK = b"samdrift audit 1\0"
_CHECKPOINT = b"samdrift audit checkpoint 1\0"


@dataclass(frozen=True, slots=True)
class Link:
    """One row of the chain. `content` is None for a stub, or where it is withheld from whom it does not concern."""

    seq: int
    previous: bytes
    digest: bytes
    hash: bytes
    content: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The row `seq` had this hash when `key` (a public key, 32 bytes) signed it, at `at`, Unix seconds."""

    seq: int
    hash: bytes
    at: float
    key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong with the chain: at which row, what kind of thing, and a sentence."""

    seq: int
    kind: str
    sentence: str


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value. Raises ValueError for what JSON does not know, such as NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(content: Mapping[str, Any]) -> bytes:
    """The digest of an event's content, its salt included."""
    return hashlib.sha256(canonical(content)).digest()


def hash_of(seq: int, previous: bytes, digest: bytes) -> bytes:
    """The hash of a row."""
    return hashlib.sha256(_LINK + seq.to_bytes(8, "big") + previous + digest).digest()


def link(seq: int, previous: bytes, content: Mapping[str, Any]) -> Link:
    """A new row behind the one whose hash is `previous`."""
    digest = digest_of(content)
    return Link(seq, previous, digest, hash_of(seq, previous, digest), content)


def public_key_of(key: Ed25519PrivateKey) -> bytes:
    """The public half of a signing key: 32 bytes."""
    return key.public_key().public_bytes_raw()


def sign(seq: int, hash_: bytes, at: float, key: Ed25519PrivateKey) -> Checkpoint:
    """A checkpoint over a row. Ed25519 is deterministic: no randomness is needed."""
    return Checkpoint(seq, hash_, at, public_key_of(key), key.sign(_signed(seq, hash_, at)))


def is_signed(checkpoint: Checkpoint) -> bool:
    """Was it signed by the key that it names? Whether that key is to be trusted is another question."""
    try:
        Ed25519PublicKey.from_public_bytes(checkpoint.key).verify(
            checkpoint.signature, _signed(checkpoint.seq, checkpoint.hash, checkpoint.at)
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed(seq: int, hash_: bytes, at: float) -> bytes:
    return _CHECKPOINT + seq.to_bytes(8, "big") + hash_ + canonical({"at": at})


@dataclass(slots=True)
class Verdict:
    """What verification found. `sealed` is the newest row under a good checkpoint; later ones are only linked."""

    rows: int = 0
    stubs: int = 0
    checkpoints: int = 0
    sealed: int = 0
    last: int = 0
    findings: tuple[Finding, ...] = ()


def verify(
    links: Iterable[Link], checkpoints: Sequence[Checkpoint], trusted: Sequence[bytes], *, partial: bool = False
) -> Verdict:
    """Look at every row and every checkpoint. `links` come as they are stored, in order of their numbers, or of lines.

    `trusted` are the public keys that may sign. `partial` is an export for one organisation: its rows without content are
    withheld and need no purge that accounts for them. Findings are bounded: after 1,000 the rest is only counted.
    """
    walk = _Walk(partial)
    hashes = {checkpoint.seq: b"" for checkpoint in checkpoints}
    for row in links:
        walk.step(row)
        if row.seq in hashes:
            hashes[row.seq] = row.hash
    verdict = Verdict(walk.rows, walk.stubs, len(checkpoints), 0, walk.last)
    found = walk.findings
    found += walk.unaccounted()
    for checkpoint in sorted(checkpoints, key=lambda c: (c.seq, c.at)):
        wrong = _wrong(checkpoint, hashes[checkpoint.seq], walk, trusted)
        if wrong is not None:
            found.append(Finding(checkpoint.seq, *wrong))
        else:
            verdict.sealed = max(verdict.sealed, checkpoint.seq)
    found.sort(key=lambda f: f.seq)
    verdict.findings = tuple(found[:1_000])
    if len(found) > len(verdict.findings):
        more = len(found) - len(verdict.findings)
        verdict.findings += (Finding(found[-1].seq, "more", f"{more} more findings are not listed"),)
    return verdict


def _wrong(checkpoint: Checkpoint, hash_: bytes, walk: _Walk, trusted: Sequence[bytes]) -> tuple[str, str] | None:
    if not is_signed(checkpoint):
        return "forged checkpoint", f"the checkpoint over row {checkpoint.seq} has a wrong signature"
    if checkpoint.key not in trusted:
        return "unknown key", f"the checkpoint over row {checkpoint.seq} is signed by an unknown key, {checkpoint.key.hex()}"
    if checkpoint.seq > walk.last:
        return "cut off", f"row {checkpoint.seq} was there when it was signed; now the rows end at {walk.last}"
    if hash_ and hash_ != checkpoint.hash:
        return "rewritten", f"rows up to {checkpoint.seq} are not those that were signed: somebody has made up a new chain"
    if not hash_:
        return "removed", f"row {checkpoint.seq} was there when it was signed, and is gone"
    return None


class _Walk:
    """Going through the rows once, in order, remembering only what is needed."""

    def __init__(self, partial: bool) -> None:
        self.rows = self.stubs = self.last = 0
        self.findings: list[Finding] = []
        self._partial = partial
        self._hash: bytes | None = GENESIS  # None: the row before is missing, nothing to compare with
        self._runs: list[tuple[int, int]] = []  # of stubs, first and last
        self._purges: list[tuple[int, int, int]] = []  # first, last, the purge's own number

    def _find(self, seq: int, kind: str, sentence: str) -> None:
        self.findings.append(Finding(seq, kind, sentence))

    def step(self, row: Link) -> None:
        """The next row as it is stored."""
        self.rows += 1
        if row.seq <= self.last:
            twin = row.seq == self.last
            self._find(row.seq, "doubled" if twin else "reordered",
                f"row {row.seq} is there twice" if twin else f"row {row.seq} stands behind row {self.last}")  # fmt: skip
            return
        if row.seq > self.last + 1:
            gone = f"row {row.seq - 1} is" if row.seq == self.last + 2 else f"rows {self.last + 1} to {row.seq - 1} are"
            self._find(self.last + 1, "removed", f"{gone} missing")
            self._hash = None
        if self._hash is not None and row.previous != self._hash:
            self._find(row.seq, "unlinked", f"row {row.seq} does not follow row {row.seq - 1}: one of them was replaced")
        if row.hash != hash_of(row.seq, row.previous, row.digest):
            self._find(row.seq, "changed", f"row {row.seq} was changed: its hash does not fit its number, digest and predecessor")
        if row.content is None:
            self._stub(row.seq)
        elif digest_of(row.content) != row.digest:
            self._find(row.seq, "changed", f"row {row.seq} was changed: what it says is not what was written")
        else:
            self._note_purge(row.seq, row.content)
        self.last, self._hash = row.seq, row.hash

    def _stub(self, seq: int) -> None:
        self.stubs += 1
        if self._runs and self._runs[-1][1] == seq - 1:
            self._runs[-1] = (self._runs[-1][0], seq)
        else:
            self._runs.append((seq, seq))

    def _note_purge(self, seq: int, content: Mapping[str, Any]) -> None:
        after = content.get("after")
        if content.get("action") != PURGE or content.get("subject") != "audit" or not isinstance(after, Mapping):
            return
        first, last = after.get("first"), after.get("last")
        if content.get("outcome") == "done" and isinstance(first, int) and isinstance(last, int) and last < seq:
            self._purges.append((first, last, seq))

    def unaccounted(self) -> Iterator[Finding]:
        """Stubs that no purge accounts for: somebody emptied them to hide what they said."""
        if self._partial:
            return
        covered = max((last for first, last, _ in self._purges if first <= 1), default=0)
        for first, last in self._runs:
            start = max(first, covered + 1)
            if start <= last:
                rows = f"row {start} is" if start == last else f"rows {start} to {last} are"
                yield Finding(start, "emptied", f"{rows} empty, and no purge by retention accounts for it")
