"""Every engine that a document can name."""

from __future__ import annotations

from samdrift.engines.drivers import Driver, Loading
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.drivers.openai_compatible import OpenAiCompatible
from samdrift.engines.drivers.sglang import Sglang
from samdrift.engines.drivers.tensorrt_llm import TensorRtLlm
from samdrift.engines.drivers.text_generation_webui import TextGenerationWebui
from samdrift.engines.drivers.tgi import Tgi
from samdrift.engines.drivers.vllm import Vllm

DRIVERS: dict[str, Driver] = {
    "llamacpp": LlamaCpp(),
    "vllm": Vllm(),
    "sglang": Sglang(),
    "tensorrt-llm": TensorRtLlm(),
    "tgi": Tgi(),
    "text-generation-webui": TextGenerationWebui(),
    "openai-compatible": OpenAiCompatible(),
}
"""By the name that stands in the document."""

LOADING: dict[str, Loading] = {"vllm": Vllm()}
"""Those that take adapters while they run."""
