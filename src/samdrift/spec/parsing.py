"""Text becomes a `Spec`, or everything that is wrong with it at once.

Files are read as strict YAML, merged, checked for references, validated into nouns, and checked for sense. A
fault in one step does not hide those of the next: where a value cannot be used, the search goes on with a
stand-in, and whatever is found about the stand-in is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from samdrift.spec import secret_references
from samdrift.spec.checking import check
from samdrift.spec.document import Spec
from samdrift.spec.findings import MAX_FINDINGS, Finding, Path, Rejected
from samdrift.spec.merging import merged
from samdrift.spec.shape import Kind, shape_at, stand_in
from samdrift.spec.strict_yaml import MAX_BYTES, Node, plain, read_yaml
from samdrift.spec.translating import path_of, translate


def parse_document(
    files: Mapping[str, str],
    *,
    environment: Mapping[str, str],
    read_secret: Callable[[str], str | None] | None = None,
) -> Spec | Rejected:
    """The document that `files` (name to text) make together. Never raises, whatever the text.

    `environment` and `read_secret` (a file's text, or None if there is none) only tell whether references
    lead somewhere; the `Spec` keeps the references. Without `read_secret`, files of secrets are not looked
    for.
    """
    if sum(len(text) for text in files.values()) > MAX_BYTES:
        sentence = f"The document is larger than {MAX_BYTES // 2**20} MiB in all."
        return Rejected((Finding((), sentence, "Check that no other file is among them."),))
    roots: list[Node] = []
    faults: list[Finding] = []
    for name, text in files.items():
        root, found = read_yaml(text, name)
        faults += found
        if root is None:
            continue
        if isinstance(root.value, dict):
            roots.append(root)
        elif root.value is not None:  # a file of comments says nothing, and that is fine
            faults.append(
                Finding(
                    (),
                    "The file does not hold a mapping.",
                    "Begin with settings such as `community:`.",
                    root.where,
                )
            )
    if faults:
        return Rejected(tuple(faults))
    if not roots:
        return Rejected((Finding((), "The document is empty.", "Begin with `samdrift: 1` and `community:`."),))
    whole, twice = merged(roots)
    data = plain(whole)
    found = (*twice, *_references(data, environment, read_secret), *_nouns(data))
    if found:
        placed = [f if f.where else replace(f, where=_place(whole, f.path)) for f in dict.fromkeys(found)]
        return Rejected(tuple(_bounded(sorted(placed, key=_line))))
    return Spec.model_validate(data)


def _bounded(findings: list[Finding]) -> Iterable[Finding]:
    if len(findings) <= MAX_FINDINGS:
        return findings
    return (*findings[:MAX_FINDINGS], _more(len(findings) - MAX_FINDINGS))


def _more(count: int) -> Finding:
    return Finding((), f"There are at least {count} more findings.", "Mend the others first.")


def _line(finding: Finding) -> tuple[str, int]:
    file, _, line = finding.where.rpartition(":")
    return file, int(line or 0)


def _references(
    data: Any, environment: Mapping[str, str], read_secret: Callable[[str], str | None] | None
) -> Iterator[Finding]:
    for path, text in _texts(data, ()):
        if not secret_references.has_reference(text):
            continue
        shape = shape_at(path)
        if shape is not None and shape.secret:
            for sentence, remedy in secret_references.faults(text, environment, read_secret):
                yield Finding(path, sentence, remedy)
        elif shape is not None:
            yield Finding(
                path,
                "A reference to a secret (`${…}`) stands here, where none is resolved.",
                "Write the value itself.",
            )


def _texts(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, dict):
        for key, child in data.items():
            yield from _texts(child, (*path, key))
    elif isinstance(data, list):
        for position, child in enumerate(data):
            yield from _texts(child, (*path, position))
    elif isinstance(data, str):
        yield path, data


def _nouns(data: Any) -> Iterator[Finding]:
    """What types and checks say. What cannot be used is mended, so that the checks see the rest."""
    mended: list[Path] = []
    for _ in range(4):  # mending one fault can show another only a level deeper; nouns are four deep
        try:
            spec = Spec.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            fresh = [path_of(detail) for detail in details[:MAX_FINDINGS]]
            for path, detail in zip(fresh, details, strict=False):
                if not _touches(path, mended):
                    yield Finding(path, *translate(detail))
            if len(details) > MAX_FINDINGS:  # mending so many would take long and help nobody
                yield _more(len(details) - MAX_FINDINGS)
                return
            mended += fresh
            for detail in details:
                data = _mend(data, path_of(detail), bad_key="[key]" in detail["loc"])
        else:
            if all(len(path) > 1 for path in mended):  # a whole section made up would make everything about it untrue
                yield from (f for f in check(spec) if not _touches(f.path, mended))
            return


def _mend(data: Any, path: Path, *, bad_key: bool) -> Any:
    """The data with a stand-in at `path`, or with nothing there where a default can step in.

    An entry of a mapping or list gets a stand-in, so that its name or place is still known to others.
    """
    shape = shape_at(path)
    if shape is None or bad_key:
        return _with(data, path, _GONE)
    has_default = shape.field is not None and not shape.required and shape.kind is not Kind.NOUN
    return _with(data, path, _GONE if has_default else stand_in(shape))


_GONE = object()


def _with(data: Any, path: Path, value: Any) -> Any:
    first, rest = path[0], path[1:]
    inner = value
    if isinstance(data, dict):
        if rest:
            inner = _with(data.get(first), rest, value)
        return {k: v for k, v in data.items() if k != first} | ({} if inner is _GONE else {first: inner})
    if isinstance(data, list) and isinstance(first, int) and first < len(data):
        if rest:
            inner = _with(data[first], rest, value)
        return [*data[:first], *([] if inner is _GONE else [inner]), *data[first + 1 :]]
    return data  # already mended higher up


def _touches(path: Path, others: Iterable[Path]) -> bool:
    return any(path[: len(other)] == other or other[: len(path)] == path for other in others)


def _place(root: Node, path: Path) -> str:
    """The line of the deepest part of the path that is written down."""
    node = root
    for part in path:
        children: Any = node.value
        try:
            node = children[part]
        except (KeyError, IndexError, TypeError):
            break
    return node.where
