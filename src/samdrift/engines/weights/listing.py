"""What a reference stands for today: which files, how large, with which checksums, under which licence. It is what the lock
keeps."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.findings import listed
from samdrift.spec.weights import PICKLES, Reference

MOST_FILES = 10_000
_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf")
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md")
"""What stands beside safetensors: configuration, vocabulary, templates, the model's card. Never a program."""
_NOT_NEEDED = ("onnx/", "openvino/", "original/", "metal/", ".git", "runs/")


@dataclass(frozen=True, slots=True)
class Item:
    """One file: its path among the others, its size in bytes, and what is known of its content beforehand: SHA-256, or the
    name that Git gives it (SHA-1 over a head and the content)."""

    name: str
    size: int
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a reference stands for. `origin` is where it was asked, without credentials; `revision` the commit or digest, where
    there is one; `licence` as the origin names it, empty where it names none."""

    reference: str
    origin: str
    revision: str
    licence: str
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)

    @property
    def pinned(self) -> bool:
        """Is the content of each file known?"""
        return all(item.sha256 for item in self.items)

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files: the same for the same bytes, wherever they come from."""
        lines = sorted(f"{item.sha256} {item.name}\n" for item in self.items)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def with_sums(self, sums: dict[str, str]) -> Listing:
        """The same with SHA-256 sums, by name."""
        return replace(self, items=tuple(replace(item, sha256=sums.get(item.name, item.sha256)) for item in self.items))


class Source(Protocol):
    """One place that weights are fetched from. It is used by several threads."""

    def listing(self) -> Listing:
        """Ask what the reference stands for now. Raises WeightsError."""

    def request(self, listing: Listing, item: Item) -> tuple[str, dict[str, str]]:
        """URL and headers to fetch a file with; made anew for each request, because they may be signed for a moment."""

    def renew(self) -> bool:
        """After a 401: is it worth asking again, because the source gives a new token?"""


def chosen(reference: str, asked: str, items: Iterable[Item]) -> tuple[Item, ...]:
    """The files that are needed of those that are there: the one `asked` for with its parts, else a whole model in safetensors,
    else the only GGUF file. Raises WeightsError with a sentence that names what there is."""
    there = {item.name: item for item in items}
    if asked:
        if asked not in there:
            near = [name for name in there if name.endswith(asked.rpartition(".")[2])]
            raise WeightsError(f"{reference} does not exist: there is no file {asked}. {_there(near)}")
        return tuple(_part_of(reference, there, name) for name in parts_of(asked))
    if any(name.endswith(".safetensors") for name in there):
        return tuple(item for name, item in sorted(there.items()) if _wanted(name))
    ggufs = sorted(name for name in there if name.endswith(".gguf"))
    firsts = [name for name in ggufs if (match := _PART.fullmatch(name)) is None or int(match[2]) == 1]
    if len(firsts) == 1:
        return tuple(_part_of(reference, there, name) for name in parts_of(firsts[0]))
    if ggufs:
        raise WeightsError(f"{reference} has several GGUF files. Name one of them behind it, as in {reference}/{firsts[0]}. "
            f"{_there(firsts)}")  # fmt: skip
    if any(name.endswith(PICKLES) for name in there):
        raise WeightsError(f"{reference} holds its weights only as pickle files, which may carry a program. "
            "Take a copy of the model as GGUF or safetensors.")  # fmt: skip
    raise WeightsError(f"{reference} holds neither GGUF nor safetensors files. {_there(list(there))}")


def parts_of(name: str) -> tuple[str, ...]:
    """The names of all parts of a GGUF file: of one that ends in `-00001-of-00003.gguf`, three."""
    match = _PART.fullmatch(name)
    if match is None:
        return (name,)
    return tuple(f"{match[1]}-{number:05}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1))


def _part_of(reference: str, there: dict[str, Item], name: str) -> Item:
    if name not in there:
        raise WeightsError(f"{reference} is not whole: the part {name} is missing.")
    return there[name]


def _wanted(name: str) -> bool:
    return not name.startswith(_NOT_NEEDED) and name.endswith((".safetensors", *_BESIDE))


def _there(names: list[str]) -> str:
    return f"There are: {listed(sorted(names)[:20])}{', …' if len(names) > 20 else ''}." if names else ""


def safe_name(name: str) -> bool:
    """May a file of this name be made inside a folder? Names come from strangers."""
    parts = name.split("/")
    return (
        0 < len(name) <= 500 and "\\" not in name and name.isprintable()
        and all(part not in ("", ".", "..") and len(part.encode()) <= 250 for part in parts)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a source is asked, and how. `secret` gives a setting's text with its references followed."""

    text: str
    reference: Reference
    secret: Callable[[str], str]
    environment: Callable[[str], str]
