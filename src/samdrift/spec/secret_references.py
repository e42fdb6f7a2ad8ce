"""References to secrets: `${env:NAME}` and `${file:PATH}`.

A `Spec` keeps the reference and never the secret, so that dumps, differences, revisions and errors cannot
show one. Who needs the secret (the runtime, when it opens the ledger) calls `resolve` at that moment and
keeps the result to itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from samdrift.spec.findings import clip

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class MissingReference(Exception):  # noqa: N818 - the name says what happened
    """A reference that leads nowhere. Its text names the reference, never a value."""


def has_reference(text: str) -> bool:
    """Is there anything in the text that is, or tries to be, a reference?"""
    return "${" in text


def is_one_reference(text: str) -> bool:
    """Is the text a reference and nothing else, so that showing it shows no secret?"""
    return _REFERENCE.fullmatch(text) is not None


def faults(
    text: str, environment: Mapping[str, str], read_secret: Callable[[str], str | None] | None
) -> list[tuple[str, str]]:
    """Sentence and remedy for each reference in `text` that is malformed or missing.

    `read_secret` gives the text of a file, or None if there is none; without it, files are not looked for.
    """
    found: list[tuple[str, str]] = []
    if "${" in _REFERENCE.sub("", text):
        found.append(("A `${` has no `}` behind it.", "Write `${env:NAME}` or `${file:PATH}`."))
    for match in _REFERENCE.finditer(text):
        kind, _, name = match[1].partition(":")
        if kind == "env" and _ENV.fullmatch(name):
            if not environment.get(name):
                found.append((f"The environment variable {name} is not set.", f"Set {name} before starting Samdrift."))
        elif kind == "file" and name and "\n" not in name:
            if read_secret is not None and not read_secret(name):
                found.append(
                    (
                        f"The file of the secret `{clip(name)}` cannot be read or is empty.",
                        "Create it, readable by whoever runs Samdrift; the path is relative to the document.",
                    )
                )
        else:
            found.append((f"`${{{clip(match[1])}}}` is no reference.", "Write `${env:NAME}` or `${file:PATH}`."))
    return found


def with_files_at(text: str, place: Callable[[str], str]) -> str:
    """The text with the path of each `${file:…}` put through `place`, as when a document's paths are made absolute."""

    def placed(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(":")
        where = place(name)
        # A folder with a brace in its name cannot stand in a reference; its path stays relative.
        return match[0] if kind != "file" or set("{}") & set(where) else f"${{file:{where}}}"

    return _REFERENCE.sub(placed, text)


def resolve(text: str, environment: Mapping[str, str], read_secret: Callable[[str], str | None]) -> str:
    """The text with its secrets in place; one line end after the secret of a file is dropped.

    Raises MissingReference.
    """

    def value(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(":")
        secret = environment.get(name) if kind == "env" else read_secret(name) if kind == "file" else None
        if not secret:
            raise MissingReference(f"the reference ${{{match[1]}}} leads to nothing")
        return secret.removesuffix("\n").removesuffix("\r")

    return _REFERENCE.sub(value, text)
