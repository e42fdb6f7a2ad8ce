"""What differs between two sets of manifests: what is applied, and what the document says now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samdrift.cluster.foreign import Objects
from samdrift.cluster.manifests import MANAGED_BY, Manifest, key_of, yaml_of

_FILLED = (
    "status",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    "metadata.managedFields",
)
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One object, or one field of one. `before` and `after` are as written; None where there is or was nothing."""

    kind: str
    namespace: str
    name: str
    path: str = ""
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        whose = f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"
        if not self.path:
            return f"+ {whose}" if self.before is None else f"- {whose}"
        return f"~ {whose} {self.path}: {self.before or '(nothing)'} → {self.after or '(nothing)'}"


def differences(applied: Objects, wanted: tuple[Manifest, ...]) -> tuple[Difference, ...]:
    """What would change, in the order of what is wanted; what is to go comes last.

    Of an object that is applied only the fields that we write are looked at, since the cluster fills in others. So a field that
    we no longer write is not told; server-side apply takes it out. Only objects that say they are ours are to go.
    """
    there = {key_of(one.body): one.body for one in applied.all}
    found: list[Difference] = []
    for one in wanted:
        before = there.pop(one.key, None)
        if before is None:
            found.append(Difference(*one.key, after=yaml_of(one.body)))
        else:
            found += (Difference(*one.key, path, old, new) for path, old, new in _between(before, one.body, ""))
    for key, body in there.items():
        labels = (body.get("metadata") or {}).get("labels") or {}
        if MANAGED_BY.items() <= labels.items():
            found.append(Difference(*key, before=yaml_of(body)))
    return tuple(found)


def _between(before: Any, after: Any, path: str) -> Iterator[tuple[str, str | None, str | None]]:
    if path in _FILLED:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in after.items():
            yield from _between(before.get(name), value, f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _between(one, other, f"{path}[{position}]")
    elif not _same(before, after):
        yield path, _written(before), _written(after)


def _same(before: Any, after: Any) -> bool:
    # Quantities and ports come back as text or numbers, whichever way they were written; an empty part may be left out.
    return (
        before == after
        or (before is None and after in ({}, [], ""))
        or (isinstance(before, str | int) and isinstance(after, str | int) and str(before) == str(after))
    )


def _written(value: Any) -> str | None:
    if value is None:
        return None
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
