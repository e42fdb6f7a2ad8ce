"""Several files, one document: mappings merge, anything else may be said once."""

from __future__ import annotations

from collections.abc import Iterable

from samdrift.spec.findings import MAX_FINDINGS, Finding, Path
from samdrift.spec.strict_yaml import Node


def merged(roots: Iterable[Node]) -> tuple[Node, tuple[Finding, ...]]:
    """One tree out of the trees of several files, and what two files both say.

    The same mapping in two files is merged, to any depth. A value or list that two files give is a finding
    that names both, even when they agree; only `samdrift: 1` may stand in each file. The order of the files
    makes no difference but to which of two contradicting values the search for further faults goes on with.
    """
    findings: list[Finding] = []
    whole = Node({}, "")
    for root in roots:
        whole = _merge(whole, root, (), findings)
    return whole, tuple(findings[:MAX_FINDINGS])


def _merge(first: Node, second: Node, path: Path, findings: list[Finding]) -> Node:
    if isinstance(first.value, dict) and isinstance(second.value, dict):
        children = dict(first.value)
        for key, child in second.value.items():
            known = children.get(key)
            children[key] = child if known is None else _merge(known, child, (*path, key), findings)
        return Node(children, first.where or second.where)
    if not (path == ("samdrift",) and first.value == second.value and type(first.value) is type(second.value)):
        findings.append(
            Finding(
                path,
                f"This is given twice; the other place is {first.where}.",
                "Keep one of them; only mappings are merged.",
                second.where,
            )
        )
    return first
