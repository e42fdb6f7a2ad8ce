"""The reference of the document: one table per noun, made from the fields that read the document."""

from __future__ import annotations

import inspect
from typing import Any

from samdrift.spec.document import Spec
from samdrift.spec.noun import Noun
from samdrift.spec.shape import Kind, Shape, settings_of

_HEAD = """\
# The document: reference

Every setting of the document, by part. This page is made from the program's own types; do not edit it by
hand.

- **Sizes** are bytes: `20MiB`, `8GB`, or a plain number. **Durations** are `250ms`, `20s`, `15m`, `2h`,
  `90d`, or plain seconds. **Counts** are `10000` or `10k`.
- **Names** (of organisations, projects, pools, models) have small letters, digits, and `.`, `_` or `-`
  between them, at most 63 characters.
- Secrets never stand in the document. Settings of type *secret text* take references instead:
  `${env:NAME}` is an environment variable, `${file:PATH}` a file. Paths are relative to the document.
- YAML is read strictly: a key given twice is refused, and only `true`, `false`, `null` and decimal numbers
  have a type of their own (`no`, `on`, `017` and dates are text).
- A folder is one document: all its `*.yaml` and `*.yml` files, in sub-folders too, merge. Mappings merge to
  any depth; anything else may be given once. Names that begin with a dot are passed over.
"""


def document_reference() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for noun in nouns():
        parts.append(f"\n## {noun.__name__}\n\n{inspect.cleandoc(noun.__doc__ or '')}\n")
        parts.append("\n| setting | type | default | what for |\n|---|---|---|---|\n")
        for name, shape in settings_of(noun).items():
            about = _cell(description_of(shape))
            parts.append(f"| `{name}` | {_cell(_type(shape))} | {_default(shape)} | {about} |\n")
    return "".join(parts)


def nouns() -> tuple[type[Noun], ...]:
    """Every noun of the document, each before those that stand in it."""
    found: list[type[Noun]] = [Spec]
    for noun in found:  # grows while it is read: breadth first
        for shape in settings_of(noun).values():
            inner = shape
            while inner.kind in (Kind.MAPPING, Kind.LIST):
                inner = inner.of
            if inner.kind is Kind.NOUN and inner.of not in found:
                found.append(inner.of)
    return tuple(found)


def description_of(shape: Shape) -> str:
    """What a setting is for, on one line."""
    return " ".join((shape.field.description or "").split()) if shape.field is not None else ""


def spelled_default(shape: Shape) -> Any:
    """The default as one writes it in a document: with its unit. None if it is absent or a whole part."""
    default = None if shape.field is None or shape.required else shape.field.default
    if default is None or isinstance(default, Noun | dict | tuple):
        return None
    return shape.unit.spell(default) if shape.unit is not None else default


def _type(shape: Shape) -> str:
    if shape.unit is not None:
        return shape.unit.noun
    match shape.kind:
        case Kind.NOUN:
            return f"[{shape.of.__name__}](#{shape.of.__name__.lower()})"
        case Kind.MAPPING:
            return f"name → {_type(shape.of)}"
        case Kind.LIST:
            return f"list of {_type(shape.of)}"
        case Kind.CHOICE:
            return " or ".join(f"`{c}`" for c in shape.of)
        case Kind.TEXT if any(getattr(m, "pattern", None) for m in shape.metadata):
            return "name"
        case Kind.TEXT:
            return "secret text" if shape.secret else "text"
        case Kind.NUMBER | Kind.WHOLE | Kind.TRUTH:
            return f"{shape.kind.value}{_bounds(shape)}"


def _bounds(shape: Shape) -> str:
    said = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [f"{sign} {getattr(m, name):,}" for m in shape.metadata for name, sign in said.items() if hasattr(m, name)]
    return f", {', '.join(bounds)}" if bounds else ""


def _default(shape: Shape) -> str:
    if shape.required:
        return "required"
    default = spelled_default(shape)
    if default is None or default == "":
        return "–"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{int(default) if isinstance(default, float) and default.is_integer() else default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
