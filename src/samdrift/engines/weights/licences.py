"""Under which licence weights may be used here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import is_open, parse_reference, same_licence

if TYPE_CHECKING:  # it loads numpy
    from samdrift.engines.ggufs import Head

_CARD = re.compile(r"^license:\s*[\"']?([\w.+-]{1,100})[\"']?\s*$", re.MULTILINE)
_NAME = re.compile(r"^license_name:\s*[\"']?([\w.+-]{1,100})[\"']?\s*$", re.MULTILINE)


def accept(reference: str, said: str, accepted: str) -> None:
    """May weights with the licence that their source `said` be used by a document that names `accepted`?

    Raises WeightsError if the licence is not an open one and the document does not name it, or if a hub names none: without a
    licence there is no permission. What lies in a store or file of one's own and names none is its owner's to know.
    """
    if is_open(said) or same_licence(said, accepted):
        return
    if said:
        raise WeightsError(f"{reference} is under the licence `{said}`, which is not an open one. Read it; if you accept it, "
            f"write `licence: {said}` at the model.")  # fmt: skip
    parts = parse_reference(reference)
    if not accepted.strip() and getattr(parts, "kind", "") == "hf":
        raise WeightsError(f"{reference} names no licence. Find out under which it may be used, "
            "and write `licence: NAME` at the model.")  # fmt: skip


def licence_of(head: Head) -> str:
    """The licence that a GGUF file names, or nothing."""
    name = str(head.fields.get("general.license", ""))
    return str(head.fields.get("general.license.name", name)) if name == "other" else name


def licence_in(folder: Path) -> str:
    """The licence that the model's card in a folder names, or nothing."""
    try:
        with (folder / "README.md").open("rb") as file:
            text = file.read(16_384).decode("utf-8", "replace")
    except OSError:
        return ""
    card = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = _CARD.search(card)
    name = found[1] if found else ""
    other = _NAME.search(card) if name == "other" else None
    return other[1] if other else name
