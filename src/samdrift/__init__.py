"""Samdrift: many organisations run language models as one commons.

The program is laid out as a house of rooms; `docs/architecture.md` draws it. Imports go down the
stairs, never up, and each world outside has exactly one door.
"""

__version__ = "0.1.0"
