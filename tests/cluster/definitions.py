"""Custom resource definitions, and what an API server does with an object of one: defaults, the structural schema, CEL rules.

SAMDRIFT_CRDS says where they lie, the projects' own files, a folder for each; else they are looked for beside this project.
"""

from __future__ import annotations

import copy
import functools
import ipaddress
import os
import re
from pathlib import Path

import pytest
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

FOLDER = Path(os.environ.get("SAMDRIFT_CRDS", Path(__file__).parents[3] / "shared" / "crds"))


def folder():
    """Where the definitions are; skips the test where there are none."""
    if not FOLDER.is_dir():
        pytest.skip(f"no custom resource definitions at {FOLDER}: set SAMDRIFT_CRDS to a folder of them")
    return FOLDER


@functools.cache
def definitions():
    """(apiVersion, kind) → (schema, is it of a namespace, is the version deprecated)."""
    found = {}
    for file in sorted(folder().glob("*/*.yaml")):
        for one in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            if one and one.get("kind") == "CustomResourceDefinition":
                spec = one["spec"]
                for version in spec["versions"]:
                    if version["served"]:
                        key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                        deprecated = version.get("deprecated", False)
                        found[key] = (version["schema"]["openAPIV3Schema"], spec["scope"] == "Namespaced", deprecated)
    return found


def faults(body):
    """Everything that is wrong with an object of a custom resource, as an API server would say it."""
    key = (body["apiVersion"], body["kind"])
    if key not in definitions():
        return [f"nothing is known of {key}"]
    schema, namespaced, deprecated = definitions()[key]
    found = [f"{key} is deprecated"] if deprecated else []
    if namespaced != ("namespace" in body["metadata"]):
        found.append("metadata.namespace: " + ("missing" if namespaced else "not for the whole cluster"))
    whole = copy.deepcopy(body)
    fill_defaults(whole, schema)
    found += structural(whole, schema, "", root=True)
    return found or rules(whole, schema, "", whole)


def fill_defaults(value, schema):
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                fill_defaults(value[name], inner)
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for inner in value.values():
                fill_defaults(inner, more)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for inner in value:
            fill_defaults(inner, schema["items"])


_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "number or text": (int, str),
}


def structural(value, schema, path, root=False):
    if value is None:
        return [] if schema.get("nullable") or not schema.get("type") else [f"{path}: null"]
    kind = "number or text" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{path}: {value!r} is no {kind}"]
    return [*_values(value, schema, path), *_inside(value, schema, path, root), *_combined(value, schema, path)]


def _values(value, schema, path):
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    match value:
        case str():
            yield from _bounded(len(value), schema, "Length", path, "letters")
            if "pattern" in schema and not re.search(schema["pattern"].replace(r"\x60", "`"), value):
                yield f"{path}: {value!r} is not like {schema['pattern']}"
        case list():
            yield from _bounded(len(value), schema, "Items", path, "items")
            yield from _distinct(value, schema, path)
        case dict():
            yield from _bounded(len(value), schema, "Properties", path, "entries")
            yield from (f"{path}.{name}: missing" for name in schema.get("required", ()) if name not in value)
        case int() | float() if not isinstance(value, bool):
            yield from _bounded(value, schema, "imum", path, "")


def _bounded(count, schema, word, path, what):
    if not schema.get(f"min{word}", count) <= count <= schema.get(f"max{word}", count):
        yield f"{path}: {count} {what} is out of bounds"


def _distinct(value, schema, path):
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    told = [tuple(str(item.get(k)) for k in keys) if kind == "map" else str(item) for item in value]
    if kind in ("map", "set") and len(set(told)) != len(told):
        yield f"{path}: two items that are the same"


def _inside(value, schema, path, root):
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for position, item in enumerate(value):
            yield from structural(item, schema["items"], f"{path}[{position}]")
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        open_ended = more or schema.get("x-kubernetes-preserve-unknown-fields") or not schema.get("type")
        for name, item in value.items():
            if root and name == "metadata":
                continue
            if name in known:
                yield from structural(item, known[name], f"{path}.{name}")
            elif isinstance(more, dict):
                yield from structural(item, more, f"{path}[{name}]")
            elif not open_ended:
                yield f"{path}.{name}: unknown field"


def _combined(value, schema, path):
    """`anyOf`, `oneOf`, `allOf`, `not` hold values only in a structural schema: their own faults are what matters."""
    for inner in schema.get("allOf", ()):
        yield from structural(value, _loose(inner), path)
    for word, least, most in (("anyOf", 1, 1 << 30), ("oneOf", 1, 1)):
        if word in schema and not schema.get("x-kubernetes-int-or-string"):
            fitting = sum(not structural(value, _loose(inner), path) for inner in schema[word])
            if not least <= fitting <= most:
                yield f"{path}: {fitting} of {word} fit"
    if "not" in schema and not structural(value, _loose(schema["not"]), path):
        yield f"{path}: is what it must not be"


def _loose(schema):
    return {"x-kubernetes-preserve-unknown-fields": True, **schema}


def _ip(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_IS_IP = cel.FunctionDecl("isIP", [cel.Overload("is_ip", return_type=cel.Type.BOOL, parameters=[cel.Type.STRING], impl=_ip)])


@functools.cache
def _environment():
    return cel.NewEnv(
        variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()], functions=[_IS_IP]
    )


@functools.cache
def compiled(rule):
    return _environment().compile(rule)


def rules(value, schema, path, whole):
    """CEL rules that an object breaks. Rules about changes (`oldSelf`) are not asked of a new object."""
    found = []
    for one in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" in one["rule"]:
            continue
        answer = compiled(one["rule"]).eval(data={"self": _escaped(value)}).value()
        if answer is not True:
            found.append(f"{path}: {one.get('message', one['rule'])} ({answer!r})")
    if isinstance(value, dict):
        more = schema.get("additionalProperties")
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name) or (more if isinstance(more, dict) else None)
            if inner and item is not None:
                found += rules(item, inner, f"{path}.{name}", whole)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for position, item in enumerate(value):
            found += rules(item, schema["items"], f"{path}[{position}]", whole)
    return found


_RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


def _escaped(value):
    """Fields whose names CEL keeps for itself are called `__name__` in rules."""
    if isinstance(value, dict):
        return {(f"__{k}__" if k in _RESERVED else k): _escaped(v) for k, v in value.items()}
    return [_escaped(v) for v in value] if isinstance(value, list) else value
