"""A QR code on a terminal, for a phone that is at hand."""

from __future__ import annotations

import sys

import segno


def show_code(text: str) -> None:
    """Draw `text` on the error output, with the light border that scanners want."""
    segno.make(text, error="l", micro=False).terminal(out=sys.stderr, compact=True)
