"""Weights: from what the document says (`package:`, `file:`, `hf:`, `s3:`, `oci:`) to files that an engine can load.

It finds, fetches, compares, converts and keeps them. It never runs what is in them: files that may carry a program are refused.
It never decides which model is loaded, and knows nobody who asks for one.
"""

from samdrift.engines.weights.adapters import RANK, prepare_adapter, refuse_adapter
from samdrift.engines.weights.facts import Facts, facts_of
from samdrift.engines.weights.locating import locate
from samdrift.engines.weights.means import Doing, Means, Patience, Step
from samdrift.engines.weights.preparing import Wanted, Weights, prepare
from samdrift.engines.weights.projectors import prepare_projector, refuse_projector
from samdrift.engines.weights.rerankers import makes_scores, refuse_scoreless
from samdrift.engines.weights.troubles import NoRoom, Unreachable, WeightsError

__all__ = ["RANK", "Doing", "Facts", "Means", "NoRoom", "Patience", "Step", "Unreachable", "Wanted", "Weights", "WeightsError",
    "facts_of", "locate", "makes_scores", "prepare", "prepare_adapter", "prepare_projector", "refuse_adapter", "refuse_projector",
    "refuse_scoreless"]  # fmt: skip
