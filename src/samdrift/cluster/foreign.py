"""Manifests as somebody wrote them, ours or not: found by kind, and read without trusting that anything is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from samdrift.cluster.manifests import Json, key_of

MOST_OBJECTS = 20_000
_CONFIGURATIONS = ("config.kueue.x-k8s.io", "kind: EnvoyGateway\n")
"""By which a ConfigMap is known that holds a controller's configuration, as it is installed."""


class Unreadable(Exception):  # noqa: N818 - the name says what happened
    """A file is no YAML of objects. Its text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object and the file it stands in."""

    body: Json
    file: str

    @property
    def kind(self) -> str:
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        return key_of(self.body)[2]

    @property
    def namespace(self) -> str:
        return key_of(self.body)[1]

    def at(self, path: str, otherwise: Any = None) -> Any:
        """What stands at a path such as `spec.router.scheduler`; `otherwise` where there is nothing."""
        return at(self.body, path, otherwise)


class Objects:
    """All of them, in the order of their files."""

    def __init__(self, found: Iterable[Found]) -> None:
        self.all = tuple(found)
        self._by_kind: dict[str, list[Found]] = {}
        for one in self.all:
            self._by_kind.setdefault(one.kind, []).append(one)

    def of(self, *kinds: str) -> Iterator[Found]:
        """Those of these kinds."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    def named(self, kind: str, name: str, namespace: str | None = None) -> Found | None:
        """The one of that name; in any namespace where none is given."""
        return next((o for o in self.of(kind) if o.name == name and namespace in (None, o.namespace)), None)


def at(value: Any, path: str, otherwise: Any = None) -> Any:
    """What stands at a path of plain values; `otherwise` where there is nothing, or not the list or mapping looked for."""
    for part in path.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            return otherwise
        value = value[part]
    fits = not isinstance(otherwise, dict | list) or isinstance(value, type(otherwise))
    return value if fits else otherwise


def items(value: Any) -> list[Any]:
    """The objects in a list; none where there is no list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def read(texts: Mapping[str, str]) -> Objects:
    """Objects from files, by name. A `List` counts as what is in it, and what is no object of Kubernetes (values of a chart) as
    nothing. Raises Unreadable."""
    found: list[Found] = []
    for file, text in texts.items():
        try:
            for body in yaml.load_all(text, Loader=yaml.CSafeLoader):
                found += _objects(body, file)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise Unreadable(
                f"{file}{f':{mark.line + 1}' if mark else ''} is no YAML. Is it a template? Render it first."
            ) from error
        except RecursionError as error:
            raise Unreadable(f"{file} is nested too deeply.") from error
        if len(found) > MOST_OBJECTS:
            raise Unreadable(f"There are more than {MOST_OBJECTS:,} objects. Is it the right folder?")
    return Objects(found)


def _objects(body: Any, file: str) -> list[Found]:
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str) or not isinstance(body.get("apiVersion"), str):
        return []
    if body["kind"].endswith("List") and isinstance(body.get("items"), list):
        return [one for item in body["items"] for one in _objects(item, file)]
    if body["kind"] == "ConfigMap":
        inner = at(body, "data", {})
        texts = [text for text in inner.values() if isinstance(text, str) and any(word in text for word in _CONFIGURATIONS)]
        return [Found(body, file), *(one for text in texts for one in _objects(yaml.safe_load(text), file))]
    return [Found(body, file)]
