"""Kinds of engines: how long a step takes, and what fits.

A step reads at most `chunk` tokens of waiting prompts and writes one token for each sequence that has been read; it
takes T₀ + B·sequences + P·prompt tokens. That is a straight line through what engines with continuous batching and
chunked prefill do while memory bandwidth is the limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """See the module. Times in seconds; `memory` is the KV cache in tokens, `seats` the most sequences at once,
    `context` the most tokens of one sequence."""

    name: str
    step: float
    per_sequence: float
    per_prompt_token: float
    memory: int
    seats: int
    chunk: int = 2048
    context: int = 8192

    def step_time(self, sequences: int, prompt_tokens: int) -> float:
        """Seconds of one step."""
        return self.step + self.per_sequence * sequences + self.per_prompt_token * prompt_tokens


A10G_7B = Profile("A10G-7B", 0.0345, 0.00018, 0.00030, memory=10_000, seats=256, context=4096)
"""Fitted to the published runs of the VTC artifact (Llama-2-7B on one A10G, a KV pool of 10 000 tokens): limited
by memory, so `seats` is out of reach."""
H100_CLASS = Profile("H100-class", 0.018, 0.00012, 0.00004, memory=260_000, seats=80, context=32_768)
"""Assumed, not fitted: a mid-size model on one H100-class device, limited by seats (a time per token that people
still like to read at)."""

PROFILES = {profile.name: profile for profile in (A10G_7B, H100_CLASS)}
