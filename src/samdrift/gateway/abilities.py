"""Whether a model can do what is asked of it, and how much that is believed to take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from samdrift.access.refusal import Refusal
from samdrift.fairshare.stimuli import Estimate
from samdrift.gateway.questions import Question
from samdrift.spec.abilities import ENDPOINTS
from samdrift.spec.document import Model, Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason

_BYTES_PER_TOKEN = 4  # a first guess, wrong by a factor of two at most for the languages in use; settled exactly later
_TOKENS_PER_IMAGE = 768
"""A first guess, too: projectors in use make 64 to some thousands of one image, most between 256 and 1500."""


def unable(question: Question, asked: Named, spec: Spec, theirs: Callable[[], Mapping[str, Named]]) -> Refusal | None:
    """Why the model that is asked for cannot do it; None if it can. `theirs` gives all that the caller may use, by name."""
    model = spec.models[asked.model]
    if ENDPOINTS.get(question.path) != model.task:
        return Refusal(Reason.WRONG_ENDPOINT, {"model": asked.name, "path": question.path})
    if question.images and not model.sees:
        seeing = [name for name, found in theirs().items() if spec.models[found.model].sees]
        others = f"Of yours, {', '.join(seeing)} {'does' if len(seeing) == 1 else 'do'}." if seeing else "None of yours does."
        return Refusal(Reason.NO_IMAGES, {"model": asked.name, "others": others})
    return None


def estimate_of(question: Question, model: Model) -> Estimate:
    """What the request is believed to take: images are counted one by one, for their bytes say little of it."""
    text = question.size if question.text is None else question.text
    tokens = text // _BYTES_PER_TOKEN + 1 + question.images * _TOKENS_PER_IMAGE
    if model.task != "generate":
        return Estimate(tokens, 0)
    return Estimate(tokens, model.context if question.max_output is None else min(question.max_output, model.context))
