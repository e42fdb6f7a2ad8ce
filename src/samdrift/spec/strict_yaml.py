"""Text to a tree of plain values, each knowing the line it stands on.

Built from the parser's events instead of PyYAML's constructors, for four reasons: a key given twice is a
finding and not the last one silently; every value keeps its line; depth and size are bounded while reading,
before anything is built (an alias counts as large as what it stands for); and plain words keep their type.
Only `true`, `false`, `null` and decimal numbers have a type of their own, as in YAML 1.2: `no`, `on`, `017`,
`0x1F`, `1_000`, `12:30` and `2026-01-01` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import yaml

from samdrift.spec.findings import MAX_FINDINGS, Finding, clip

MAX_BYTES = 4 * 1024 * 1024
"""The whole document, all files together."""
MAX_VALUES = 200_000
"""Values in one file, aliases counted as often as they are used."""
MAX_DEPTH = 32
"""Levels of nesting."""
Scalar = None | bool | int | float | str

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,3})?")
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_PLAINLY = {
    "found character that cannot start any token": (
        "There is a tab or a special character where YAML allows none.",
        "Indent with spaces, and put a value that begins with @, ` or % in quotes.",
    ),
    "found undefined alias": (
        "An alias names an anchor that stands nowhere before it.",
        "Write the value itself, or the anchor (`&name`) earlier in the same file.",
    ),
    "mapping values are not allowed in this context": (
        "There is a colon where none can be.",
        "Check the indentation of this line and the one before, and put text with `: ` in it in quotes.",
    ),
    "did not find expected key": (
        "The indentation does not fit the lines above.",
        "Align it with its neighbours.",
    ),
    "did not find expected ',' or": (
        "A bracket is not closed, or a comma is missing.",
        "Close it on this line or the one before.",
    ),
    "could not find expected ':'": (
        "A key has no colon behind it.",
        "Write `key: value`, with a space after the colon.",
    ),
    "found unexpected end of stream": ("The file ends inside a quoted text.", "Close the quotes."),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. `values` counts itself and all below; `height` is the levels below."""

    value: Scalar | dict[str, Node] | list[Node]
    where: str
    values: int = 1
    height: int = 0


class _Stop(Exception):  # noqa: N818 - not an error of ours: it carries the finding that ends this file
    def __init__(self, sentence: str, remedy: str, line: int) -> None:
        super().__init__(sentence)
        self.sentence, self.remedy, self.line = sentence, remedy, line


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    line: int
    anchor: str | None
    entries: dict[str, Node] | None  # of a mapping
    items: list[Node] | None  # of a list
    key: str | None = None
    key_line: int = 0
    values: int = 1
    height: int = 0


def read_yaml(text: str, file: str) -> tuple[Node | None, tuple[Finding, ...]]:
    """The tree in `text`, and what is wrong with it as YAML.

    No tree if it cannot be read at all; an empty file is a null.
    """
    reader = _Reader(file)
    try:
        _refuse_unfit(text)
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except _Stop as stop:
        reader.find(stop.sentence, stop.remedy, stop.line)
        return None, tuple(reader.findings)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence, remedy = _plainly(error.problem or "")
        reader.find(sentence, remedy, mark.line + 1 if mark else 1)
        return None, tuple(reader.findings)
    except (yaml.YAMLError, UnicodeError):
        reader.find("This is no text that can be read as YAML.", "Save the file as UTF-8 text.", 1)
        return None, tuple(reader.findings)
    return reader.root or Node(None, f"{file}:1"), tuple(reader.findings)


def plain(node: Node) -> Any:
    """The values of a tree without their lines."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def resolve_plain(text: str) -> Scalar:
    """What an unquoted word means: true, false, null, a decimal number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


class _Reader:
    """Takes events in their order and builds the tree; recursion would leave the depth to the stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.findings: list[Finding] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def find(self, sentence: str, remedy: str, line: int) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(self._path(), sentence, remedy, f"{self.file}:{line}"))

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _Stop("A second YAML document begins here.", "Keep one per file; leave `---` out.", line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                value = done.items if done.entries is None else done.entries
                self._put(
                    Node(cast("dict[str, Node]", value), f"{self.file}:{done.line}", done.values, done.height),
                    done.anchor,
                    done.line,
                )
            case yaml.ScalarEvent():
                self._refuse_tag(event, line)
                if self._is_key():
                    self._key(event.value, line)
                else:
                    word = resolve_plain(event.value) if event.implicit[0] else event.value
                    self._put(Node(word, f"{self.file}:{line}"), event.anchor, line)
            case yaml.AliasEvent():
                if self._is_key():
                    raise _Stop("An alias stands where a key should be.", "Write the key itself.", line)
                target = self._anchors.get(str(event.anchor))
                if target is None:
                    raise _Stop(
                        f"The alias `*{clip(str(event.anchor))}` names no anchor before it.",
                        "Write the value itself, or the anchor (`&name`) earlier in the same file.",
                        line,
                    )
                self._put(target, None, line)

    def _begin(self, event: Any, line: int) -> None:
        self._refuse_tag(event, line)
        if self._is_key():
            raise _Stop("A list or mapping stands where a key should be.", "Write a plain word as key.", line)
        if len(self._open) >= MAX_DEPTH:
            raise _too_deep(line)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Open(line, event.anchor, {} if mapping else None, None if mapping else []))

    def _is_key(self) -> bool:
        return bool(self._open) and self._open[-1].entries is not None and self._open[-1].key is None

    def _key(self, key: str, line: int) -> None:
        if key == "<<":
            raise _Stop("A merge key (`<<`) stands here.", "Write the settings out; merging is not supported.", line)
        self._open[-1].key, self._open[-1].key_line = key, line

    def _put(self, node: Node, anchor: str | None, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.values += node.values
        parent.height = max(parent.height, node.height + 1)
        if parent.values > MAX_VALUES:
            raise _Stop(
                f"There are more than {MAX_VALUES:,} values in this file.",
                "Split it into files of one folder, and do not repeat large parts with aliases.",
                line,
            )
        if len(self._open) + parent.height > MAX_DEPTH + 1:
            raise _too_deep(line)
        if parent.items is not None:
            parent.items.append(node)
        elif parent.entries is not None and parent.key is not None:
            key, parent.key = parent.key, None
            if key in parent.entries:
                parent.key = key  # for the path of the finding
                first = parent.entries[key].where
                self.find(
                    f"This key stands here twice; the first time at {first}.",
                    "Keep one of them.",
                    parent.key_line,
                )
                parent.key = None
            else:
                # The line of its key is what people look for; a block value begins one line later.
                parent.entries[key] = replace(node, where=f"{self.file}:{parent.key_line}")

    def _refuse_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            raise _Stop(
                f"The tag `{clip(str(event.tag))}` stands here.",
                "Leave tags out; put a value in quotes to make it text.",
                line,
            )

    def _path(self) -> tuple[str | int, ...]:
        path: list[str | int] = []
        for level in self._open:
            if level.items is not None:
                path.append(len(level.items))
            elif level.key is not None:
                path.append(level.key)
        return tuple(path)


def _refuse_unfit(text: str) -> None:
    if unfit := _UNFIT.search(text):
        line = text.count("\n", 0, unfit.start()) + 1
        raise _Stop(f"The character U+{ord(unfit[0]):04X} cannot stand in a document.", "Remove it.", line)


def _too_deep(line: int) -> _Stop:
    return _Stop(
        f"The nesting is deeper than {MAX_DEPTH} levels.",
        "No setting lies that deep; check the brackets.",
        line,
    )


def _plainly(problem: str) -> tuple[str, str]:
    for known, answer in _PLAINLY.items():
        if known in problem:
            return answer
    return (
        f"This cannot be read as YAML ({clip(problem)}).",
        "Check indentation, quotes and brackets on this line.",
    )
