"""What engines answer, as their documentation and sources show it (vLLM 0.32, SGLang 0.5.23, TensorRT-LLM 1.2, TGI 3.3,
text-generation-webui 4, llama.cpp): a fake of each is made of these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdrift.engines.drivers import Complaint, Said

MOST = 100_000


def openai_error(message: str, **more: Any) -> str:
    return json.dumps({"error": {"message": message, "param": None, **more}})


def flat_error(message: str, **more: Any) -> str:
    return json.dumps({"object": "error", "message": message, "param": None, **more})


@dataclass(frozen=True)
class Engine:
    """`healthy` is the path that tells it is ready; `sleeps` and `wakes` what is asked of it for that, "" if it cannot."""

    healthy: str
    metrics: str = ""
    said: Said | None = None
    errors: tuple[tuple[int, str, Complaint], ...] = ()
    sleeps: str = ""
    wakes: str = ""


ANSWERS = {
    "llamacpp": Engine(
        healthy="/health",
        metrics="# HELP llamacpp:requests_processing Number of requests processing.\n"
        "# TYPE llamacpp:requests_processing gauge\n"
        "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:prompt_tokens_total 120\n",
        said=Said(2, 1),
        errors=(
            (400, openai_error("request (300 tokens) exceeds the available context size (256 tokens), try increasing it",
                code=400, type="exceed_context_size_error", n_prompt_tokens=300, n_ctx=256), "context"),
            (400, openai_error("Failed to parse messages", code=400, type="invalid_request_error"), "request"),
            (503, openai_error("Loading model", code=503, type="unavailable_error"), "overloaded"),
            (500, openai_error("decode failed", code=500, type="server_error"), "engine"),
        )),
    "vllm": Engine(
        healthy="/health",
        metrics='# HELP vllm:num_requests_running Number of requests in model execution batches.\n'
        '# TYPE vllm:num_requests_running gauge\n'
        'vllm:num_requests_running{engine="0",model_name="chat"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="chat"} 2.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="chat"} 1.0\n'
        'vllm:num_requests_waiting{engine="1",model_name="chat"} 0.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",model_name="chat",reason="capacity"} 1.0\n'
        'vllm:kv_cache_usage_perc{engine="0",model_name="chat"} 0.25\n'
        'vllm:kv_cache_usage_perc{engine="1",model_name="chat"} 0.75\n'
        'vllm:num_preemptions_total{engine="0",model_name="chat"} 4.0\n'
        'vllm:num_preemptions_total{engine="1",model_name="chat"} 0.0\n'
        'vllm:num_preemptions_created{engine="0",model_name="chat"} 1.795320512e+09\n',
        said=Said(5, 1, 0.75, 4),
        errors=(
            (400, openai_error("This model's maximum context length is 256 tokens. However, your prompt contains at least 257 "
                "input tokens, which exceeds this limit even without any output tokens.",
                type="BadRequestError", code=400), "context"),
            (404, openai_error("The model `nope` does not exist.", type="NotFoundError", code=404), "model"),
            (400, openai_error("temperature must be non-negative", type="BadRequestError", code=400), "request"),
            (500, openai_error("EngineCore encountered an issue", type="InternalServerError", code=500), "engine"),
            (503, openai_error("the server is asleep", type="ServiceUnavailableError", code=503), "overloaded"),
        ),
        sleeps="/sleep?level=1&mode=wait", wakes="/wake_up"),
    "sglang": Engine(
        healthy="/health",
        metrics='sglang:num_running_reqs{engine_type="unified",model_name="chat",tp_rank="0"} 7.0\n'
        'sglang:num_queue_reqs{engine_type="unified",model_name="chat",tp_rank="0"} 2.0\n'
        'sglang:num_grammar_queue_reqs{engine_type="unified",model_name="chat",tp_rank="0"} 9.0\n'
        'sglang:token_usage{engine_type="unified",model_name="chat",tp_rank="0"} 0.5\n'
        'sglang:num_retracted_requests_total{model_name="chat"} 3.0\n',
        said=Said(7, 2, 0.5, 3),
        errors=(
            (400, flat_error("Requested token count exceeds the model's maximum context length of 256 tokens.",
                type="BadRequestError", code=400), "context"),
            (400, flat_error("messages must not be empty", type="BadRequestError", code=400), "request"),
            (500, flat_error("CUDA out of memory. Tried to allocate 2.00 GiB", type="InternalServerError", code=500), "memory"),
            (503, flat_error("The request queue is full.", type="ServiceUnavailableError", code=503), "overloaded"),
        ),
        sleeps="/release_memory_occupation", wakes="/resume_memory_occupation"),
    "tensorrt-llm": Engine(
        healthy="/health",
        metrics=json.dumps([
            {"iter": 1, "numActiveRequests": 9, "numQueuedRequests": 9,
                "kvCacheStats": {"maxNumBlocks": 100, "usedNumBlocks": 1}},
            {"iter": 2, "numActiveRequests": 4, "numQueuedRequests": 1,
                "kvCacheStats": {"maxNumBlocks": 100, "usedNumBlocks": 40}},
        ]),
        said=Said(4, 1, 0.4),
        errors=(
            (400, flat_error("The sum of prompt length (300) and query length (0) max_tokens should not exceed max_seq_len (256)",
                type="BadRequestError", code=400), "context"),
            (400, flat_error("Extra inputs are not permitted", type="BadRequestError", code=400), "request"),
            (500, flat_error("the executor has shut down", type="InternalServerError", code=500), "engine"),
        )),
    "tgi": Engine(
        healthy="/health",
        metrics="# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size 6\n# TYPE tgi_queue_size gauge\ntgi_queue_size 2\n"
        'tgi_request_queue_duration{quantile="0.5"} 0.01\n',
        said=Said(6, 2),
        errors=(
            (422, json.dumps({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 256. Given: 300 "
                "`inputs` tokens and 20 `max_new_tokens`", "error_type": "validation"}), "context"),
            (422, json.dumps({"error": "Input validation error: `temperature` must be strictly positive",
                "error_type": "validation"}), "request"),
            (429, json.dumps({"error": "Model is overloaded", "error_type": "overloaded"}), "overloaded"),
            (424, json.dumps({"error": "Request failed during generation: out of memory", "error_type": "generation"}), "memory"),
            (503, json.dumps({"error": "unhealthy", "error_type": "healthcheck"}), "overloaded"),
        )),
    "text-generation-webui": Engine(
        healthy="/v1/internal/health",
        errors=(
            (400, openai_error("Invalid parameter: mode", code=400, type="InvalidRequestError"), "request"),
            (503, openai_error("No model loaded", code=503, type="ServiceUnavailableError"), "overloaded"),
            (401, json.dumps({"detail": "Unauthorized"}), "request"),
        )),
    "openai-compatible": Engine(
        healthy="/v1/models",
        errors=(
            (400, openai_error("This model's maximum context length is 8192 tokens.", type="invalid_request_error",
                code="context_length_exceeded"), "context"),
            (404, openai_error("The model does not exist", type="invalid_request_error", code="model_not_found"), "model"),
            (429, openai_error("Rate limit reached", type="requests", code="rate_limit_exceeded"), "overloaded"),
            (500, openai_error("The server had an error", type="server_error"), "engine"),
        )),
}  # fmt: skip


@dataclass
class Fake:
    """An engine on a Unix socket: it answers 200 at the paths in `good` and 404 elsewhere, and remembers what was asked."""

    good: dict[str, str]
    status: int = 200
    asked: list[str] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.asked.append(f"{method} {path}")
        body = self.good.get(path, "{}").encode()
        status = self.status if path in self.good else 404
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(fake: Fake, at: Path) -> AsyncIterator[str]:
    """The address at which the fake answers, in the block."""
    server = await asyncio.start_unix_server(fake, at)
    try:
        yield str(at)
    finally:
        server.close()
        await server.wait_closed()
