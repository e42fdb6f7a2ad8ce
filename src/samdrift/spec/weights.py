"""Weights in the document: where a model's come from, how they are fetched and kept, under which licence.

A reference says where weights are: `package:NAME/PATH`, `file:PATH`, `hf:ORG/NAME[@REVISION][/FILE]`, `s3:BUCKET/PATH`,
`oci:HOST/REPOSITORY[:TAG][@DIGEST]`. Nothing here asks whether they are there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from samdrift.spec.findings import clip
from samdrift.spec.noun import Noun, Secret
from samdrift.spec.units import Size, Whole

Precision = Literal["fp16", "int8"]
"""What weights are made into before they are served: 16-bit floats, or 8-bit integers in blocks of 32 with a scale each."""

Origin = Literal["package", "file", "hf", "s3", "oci"]
FETCHED: tuple[Origin, ...] = ("hf", "s3", "oci")
"""Kinds of weights that come over a network."""

LOCK = "weights.lock"
"""The file beside the document that says which bytes its references are."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras")
"""Ends of names of files that may carry a program, which whoever loads them would run."""

WAYS = "`package:NAME/PATH`, `file:PATH`, `hf:ORG/NAME[@REVISION][/FILE]`, `s3:BUCKET/PATH` or `oci:HOST/REPOSITORY[:TAG]`"

_WORD = r"[A-Za-z0-9][\w.-]{0,95}"
_HUB = re.compile(rf"({_WORD}/{_WORD})(?:@([\w.-]{{1,120}}))?(?:/(.+))?", re.ASCII)
_BUCKET = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")
_IMAGE = re.compile(
    r"((?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?/[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?",
    re.ASCII,
)

OPEN_LICENCES = frozenset({
    "0bsd", "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "blueoak-1.0.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "ecl-2.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "gpl-2.0", "gpl-3.0",
    "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "mulanpsl-2.0", "ncsa", "odc-by", "odbl", "ofl-1.1", "osl-3.0",
    "pddl", "postgresql", "unlicense", "upl-1.0", "zlib",
})  # fmt: skip
"""Licences under which everybody may use, study, change and pass on, for every purpose, by their SPDX names in small letters.
What restricts uses or users (OpenRAIL, Llama, Gemma, non-commercial ones) is not among them."""


def is_open(licence: str) -> bool:
    """May everybody use it for everything under this licence? An expression with `OR` is as open as one of its parts, one with
    `AND` as the least open."""
    plain = licence.strip().strip("()").lower()
    if " or " in plain:
        return any(is_open(part) for part in plain.split(" or "))
    if " and " in plain:
        return all(is_open(part) for part in plain.split(" and "))
    return plain.removesuffix("-only").removesuffix("-or-later") in OPEN_LICENCES


def same_licence(one: str, other: str) -> bool:
    """Do two texts name the same licence?"""
    return bool(one.strip()) and one.strip().lower() == other.strip().lower()


@dataclass(frozen=True, slots=True)
class Reference:
    """Where weights are, taken apart. `place` is the package, the path, the repository or the bucket; `file` the path inside of
    it; `revision` a branch, tag, commit or digest. What was not said is empty."""

    kind: Origin
    place: str
    file: str = ""
    revision: str = ""

    @property
    def fetched(self) -> bool:
        """Do they come over a network?"""
        return self.kind in FETCHED

    @property
    def fixed(self) -> bool:
        """Does the reference itself say which bytes are meant, today and in a year?"""
        long = re.fullmatch(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}", self.revision)
        return self.kind in ("hf", "oci") and long is not None


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A text that names no weights: what is wrong with it, and what to write."""

    sentence: str
    remedy: str


def parse_reference(text: str) -> Reference | Misnamed:
    """A reference from its text."""
    kind, colon, rest = text.partition(":")
    ways = {"package": _package, "file": _file, "hf": _hub, "s3": _bucket, "oci": _image}
    if not colon or kind not in ways:
        return Misnamed(f"`{clip(text)}` does not say where the weights come from.", f"Write {WAYS}.")
    found = ways[kind](text, rest)
    name = (found.file or found.place).lower() if isinstance(found, Reference) else ""
    if name.endswith(PICKLES):
        return Misnamed(
            f"`{clip(text)}` may carry a program, which would run when it is loaded.",
            "Take the model as GGUF or safetensors instead.",
        )
    return found


def _package(text: str, rest: str) -> Reference | Misnamed:
    package, slash, inside = rest.partition("/")
    if not slash or not _inside(inside) or not all(word.isidentifier() for word in package.split(".")):
        return Misnamed(f"`{clip(text)}` names no file in a Python package.",
            "Write `package:NAME/PATH`, with the package's import name and a path inside of it.")  # fmt: skip
    return Reference("package", package, inside)


def _file(_text: str, rest: str) -> Reference | Misnamed:
    if not rest.strip():
        return Misnamed("`file:` names no file.", "Write `file:PATH`, relative to the document.")
    return Reference("file", rest)


def _hub(text: str, rest: str) -> Reference | Misnamed:
    match = _HUB.fullmatch(rest)
    if match is None or (match[3] is not None and not _inside(match[3])):
        return Misnamed(f"`{clip(text)}` names no model of a hub.",
            "Write `hf:ORG/NAME`, `hf:ORG/NAME@REVISION` or `hf:ORG/NAME@REVISION/FILE`.")  # fmt: skip
    return Reference("hf", match[1], match[3] or "", match[2] or "")


def _bucket(text: str, rest: str) -> Reference | Misnamed:
    match = _BUCKET.fullmatch(rest)
    if match is None or not _inside(match[2].removesuffix("/")):
        return Misnamed(f"`{clip(text)}` names nothing in a bucket.",
            "Write `s3:BUCKET/PATH`: a file, or a folder that holds one model.")  # fmt: skip
    return Reference("s3", match[1], match[2].removesuffix("/"))


def _image(text: str, rest: str) -> Reference | Misnamed:
    match = _IMAGE.fullmatch(rest)
    if match is None:
        return Misnamed(f"`{clip(text)}` names no artifact of a registry.",
            "Write `oci:HOST/REPOSITORY:TAG` or `oci:HOST/REPOSITORY@sha256:…`.")  # fmt: skip
    return Reference("oci", match[1], "", match[3] or match[2] or "")


def _inside(path: str) -> bool:
    return "\\" not in path and path.isprintable() and all(part not in ("", ".", "..") for part in path.split("/"))


class Hub(Noun):
    """A model hub that speaks the interface of the Hugging Face Hub."""

    endpoint: str = ""
    """Its address; default: the environment's `HF_ENDPOINT`."""
    token: Secret = ""
    """A reference to a token for models that are not open to all, such as `${env:HF_TOKEN}`; default: none is shown."""


class Store(Noun):
    """A store of objects that speaks S3."""

    endpoint: str = ""
    """Its address, such as `https://s3.example.dk`; default: the environment's `AWS_ENDPOINT_URL_S3`, then
    `AWS_ENDPOINT_URL`. The bucket follows in the path."""
    region: str = ""
    """Its region; default: the environment's `AWS_REGION`, then `us-east-1`, which most stores of one's own expect."""
    key: Secret = ""
    """A reference to the access key's id, such as `${env:AWS_ACCESS_KEY_ID}`; default: requests are not signed."""
    secret: Secret = ""
    """A reference to the access key's secret."""


class Registry(Noun):
    """Who we are to registries of artifacts. A reference names its registry itself."""

    user: str = ""
    """The user; default: anonymous."""
    password: Secret = ""
    """A reference to the password or token, such as `${file:secrets/registry}`."""


class WeightsSettings(Noun):
    """How weights are fetched and kept."""

    cache: Size | None = None
    """How large the fetched and converted weights may be together; what was not used for longest goes first, and never what an
    engine has loaded. Default: as much as the disk holds."""
    network: Literal["allowed", "none"] = "allowed"
    """`none`: nothing is fetched; what is not there yet cannot be served."""
    parallel: Annotated[Whole, Field(ge=1, le=32)] = 4
    """How many parts of files are fetched at once."""
    hf: Hub = Hub()
    """The hub that `hf:` means."""
    s3: Store = Store()
    """The store that `s3:` means."""
    oci: Registry = Registry()
    """Who we are to the registries that `oci:` names."""
