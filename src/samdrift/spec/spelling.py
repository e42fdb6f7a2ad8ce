"""Several files as one text: what is kept of a document that is a folder.

Comments, anchors and the division into files are lost; every value is read back as it was. A text that one of YAML's versions
might take for a number, a time or a truth is put in quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from samdrift.spec.findings import Finding, Rejected
from samdrift.spec.merging import merged
from samdrift.spec.strict_yaml import Node, plain, read_yaml, resolve_plain


def merged_text(files: Mapping[str, str]) -> str | Rejected:
    """One YAML text that says what `files` (name to text) say together, or what keeps them from being merged."""
    roots: list[Node] = []
    faults: list[Finding] = []
    for name, text in files.items():
        root, found = read_yaml(text, name)
        faults += found
        if root is not None and isinstance(root.value, dict):
            roots.append(root)
        elif root is not None and root.value is not None:
            sentence = "The file does not hold a mapping."
            faults.append(Finding((), sentence, "Begin with settings such as `community:`.", root.where))
    if faults:
        return Rejected(tuple(faults))
    if not roots:
        return Rejected((Finding((), "The document is empty.", "Begin with `samdrift: 1` and `community:`."),))
    whole, twice = merged(roots)
    return Rejected(twice) if twice else yaml.dump(plain(whole), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1000)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = resolve_plain(text) != text or not text.isprintable()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _text)
