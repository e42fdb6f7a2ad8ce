"""What changes between two documents: for people who decide, and for the program that carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samdrift.spec.document import Spec
from samdrift.spec.findings import Path, spell_path
from samdrift.spec.noun import Noun
from samdrift.spec.secret_references import is_one_reference
from samdrift.spec.shape import Kind, Shape, settings_of

LIVE = frozenset({
    "aliases", "cluster", "community", "fairness", "issuers", "models", "organisations", "pools", "retention", "signin",
})  # fmt: skip
"""Sections that a running community takes up at once. A change anywhere else needs a restart; a new section
does too, until it is shown not to."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs. `before` and `after` are written as in the document, secrets masked; None
    where the setting was or is not there. `restart` says that a running community takes it up only after a
    restart."""

    path: Path
    before: str | None
    after: str | None
    restart: bool

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {spell_path(self.path)}: {self.after}"
        if self.after is None:
            return f"- {spell_path(self.path)}: {self.before}"
        return f"~ {spell_path(self.path)}: {self.before} → {self.after}"


def differences(old: Spec, new: Spec) -> tuple[Change, ...]:
    """Every setting whose value differs, in the order of the document; defaults count as if they were
    written.

    An entry of a mapping that comes or goes (an organisation, a model) is one change, not one for each of its
    settings.
    """
    return tuple(_between(old, new, ()))


def _between(old: Noun, new: Noun, path: Path) -> list[Change]:
    changes: list[Change] = []
    for name, shape in settings_of(type(old)).items():
        changes += _differ(getattr(old, name), getattr(new, name), shape, (*path, name))
    return changes


def _differ(old: Any, new: Any, shape: Shape, path: Path) -> list[Change]:
    if old == new:
        return []
    if isinstance(old, Noun) and isinstance(new, Noun):
        return _between(old, new, path)
    if shape.kind is Kind.MAPPING:
        changes: list[Change] = []
        for key in (*old, *(k for k in new if k not in old)):
            if key not in new or key not in old:
                changes.append(_change(path, key, old.get(key), new.get(key), shape.of))
            else:
                changes += _differ(old[key], new[key], shape.of, (*path, key))
        return changes
    return [_change(path[:-1], path[-1], old, new, shape)]


def _change(path: Path, key: str | int, old: Any, new: Any, shape: Shape) -> Change:
    def written(value: Any) -> str | None:
        return None if value is None else _spelled(value, shape)

    return Change((*path, key), written(old), written(new), restart=(*path, key)[0] not in LIVE)


def _spelled(value: Any, shape: Shape) -> str:
    if shape.secret:
        return value if not value or is_one_reference(value) else "(secret)"
    if isinstance(value, Noun):
        # What was not given is not worth a reader's time.
        return "{" + ", ".join(f"{setting}: {said}" for setting, said in _given(value).items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_spelled(v, shape.of) for v in value) + "]"
    if shape.unit is not None:
        return shape.unit.spell(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _given(noun: Noun, path: Path = ()) -> dict[str, str]:
    """What was written down, and no defaults: by path below the noun."""
    said: dict[str, str] = {}
    for name, shape in settings_of(type(noun)).items():
        if name in noun.model_fields_set:
            said |= _given_in(getattr(noun, name), shape, (*path, name))
    return said


def _given_in(value: Any, shape: Shape, path: Path) -> dict[str, str]:
    if isinstance(value, Noun):
        return _given(value, path)
    if isinstance(value, dict):
        inner = (
            _given_in(child, shape.of, (*path, key)) or {spell_path((*path, key)): "{}"} for key, child in value.items()
        )
        return {setting: text for child in inner for setting, text in child.items()}
    return {} if value is None else {spell_path(path): _spelled(value, shape)}
