"""What went wrong at the bottom, where parts that run beside each other end each other."""

from __future__ import annotations


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group of groups, in order. Each part of a community runs in a task group of its own, so the one
    that says why lies under as many groups as there are parts: a printed trace does not reach it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
