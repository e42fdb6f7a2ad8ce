"""The process of one llama.cpp replica: `python -m samdrift.engines.llamacpp_child --help`.

It listens on a Unix socket and serves until SIGTERM, which ends it at once: the desk has seen to it that
nothing runs on it any more. What llama.cpp prints goes through `saying`, so that no prompt reaches a log.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from samdrift.engines.fencing import fence, parts_of
from samdrift.engines.saying import say_only_harmless
from samdrift.spec.abilities import TASKS

_VERBOSITY = 2
"""llama.cpp's warnings and errors. Its `info` adds a few lines per request, its `debug` whole prompts."""

_BATCH = 65_536
"""Tokens of one text that an embedding engine looks at before it says that the text is too long."""


def main(argv: list[str] | None = None) -> int:
    """Serve one model until told to stop. Returns 1 if it cannot start."""
    arguments = _arguments(argv)
    os.umask(0o077)  # the socket is for this user only
    with contextlib.suppress(FileNotFoundError):
        Path(arguments.listen).unlink()  # of an earlier life, which the supervisor knows to be over
    # Before there is a second thread, and before anything is read that somebody else has made.
    with contextlib.suppress(OSError):
        files = [arguments.weights, *arguments.adapter, *([arguments.projector] if arguments.projector else [])]
        fence([part for file in files for part in parts_of(file)], Path(arguments.listen).parent)
    say_only_harmless()
    try:
        server = _serve(arguments)
    except Exception as error:  # noqa: BLE001 - the foreign library raises what it likes; any of it means "cannot start"
        print(f"samdrift: the engine did not start ({type(error).__name__})", file=sys.stderr, flush=True)  # noqa: T201 - its log
        return 1
    # llama.cpp installs handlers that stop its own loop but not this process; the default action ends both,
    # at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the control plane, which stops us in order
    print("samdrift: the engine is up", file=sys.stderr, flush=True)  # noqa: T201 - its log
    while server is not None:
        signal.pause()
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m samdrift.engines.llamacpp_child",
        description="Serve one model with llama.cpp on a Unix socket.")  # fmt: skip
    parser.add_argument("--weights", required=True, help="a GGUF file")
    parser.add_argument("--name", required=True, help="what answers call the model")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--listen", required=True, help="path of the Unix socket, ending in .sock")
    parser.add_argument("--seats", type=int, required=True, help="requests at once")
    parser.add_argument("--context", type=int, required=True, help="tokens per seat")
    parser.add_argument("--threads", type=int, required=True, help="processor threads")
    parser.add_argument("--pool-mean", action="store_true", help="embeddings: the mean over all tokens")
    parser.add_argument("--adapter", action="append", default=[], help="a GGUF file with a LoRA adapter; may be given again")
    parser.add_argument("--projector", help="chats: a GGUF file that makes images into what the model reads")
    return parser.parse_args(argv)


def _serve(arguments: argparse.Namespace) -> object:
    import xllamacpp  # after the log is in place: it prints while it is imported on some machines

    params = xllamacpp.CommonParams()
    params.model.path = arguments.weights
    params.model_alias = {arguments.name}
    params.hostnames = [arguments.listen]
    params.n_parallel = arguments.seats
    params.n_ctx = arguments.seats * arguments.context
    params.kv_unified = False  # each seat has its own part: a long neighbour cannot push a request out
    params.ctx_shift = False  # at the end of the context an answer ends, rather than forgetting its beginning
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    # Its HTTP server has a thread per open connection, used or idle, and is slow to add threads in a rush:
    # enough for each seat twice, and some for health checks.
    params.n_threads_http = 2 * arguments.seats + 8
    params.fit_params = False  # the document says what a seat holds; nothing is to shrink it silently
    params.cache_prompt = params.cache_idle_slots = False
    params.cache_ram_mib, params.slot_prompt_similarity = 0, 0.0
    params.n_ctx_checkpoints = 0  # states of earlier prompts that a seat would go back to
    # Their scale is that of requests that name none. It is 1 by default, also where they are loaded "without being applied".
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in arguments.adapter]
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    params.verbosity = _VERBOSITY
    if arguments.projector:
        params.mmproj.path, params.mmproj_use_gpu = arguments.projector, False
    if arguments.task != "generate":
        params.embedding = True
        # A text is pooled in one piece, so a batch must hold the longest one. Texts beyond the context get a
        # 400 that says so, texts beyond the batch a 500: hence a batch that is larger than any sensible text.
        # It costs no memory, for the engine reserves by the context.
        params.n_batch = params.n_ubatch = max(_BATCH, arguments.context)
        kinds = xllamacpp.llama_pooling_type
        if arguments.task == "rerank":
            params.pooling_type = kinds.LLAMA_POOLING_TYPE_RANK
        elif arguments.pool_mean:
            params.pooling_type = kinds.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


if __name__ == "__main__":
    sys.exit(main())
