"""Text that people write: on one line, and nothing in it that cannot be seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from samdrift.spec.revision import LONGEST_REASON


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("write it on one line, in letters that can be seen")
    return text.strip()


def _something(text: str) -> str:
    if not text:
        raise ValueError("write something")
    return text


Label = Annotated[str, AfterValidator(_printable), Field(max_length=100)]
"""What people call something. Printable, on one line."""

Why = Annotated[str, AfterValidator(_printable), AfterValidator(_something), Field(min_length=1, max_length=LONGEST_REASON,
    description="Why, in one line, for those who read the audit later.", examples=["Viborg joins"])]  # fmt: skip
"""A reason."""
