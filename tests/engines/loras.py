"""LoRA adapters that tests make: small ones, over a real model, that change its answers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import numpy as np

from samdrift.engines.ggufs import read_layout

_OVER = ("attn_q.weight", "ffn_down.weight")


def write_lora(path: Path, model: Path, *, seed: int, rank: int = 8, strength: float = 0.14, architecture: str | None = None,
    wider: int = 0) -> Path:  # fmt: skip
    """A GGUF file with an adapter of random numbers over the model in the file `model`. `wider`: as for another model."""
    layout = read_layout(model)
    writer = gguf.GGUFWriter(path, architecture or layout.head.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    numbers = np.random.default_rng(seed)
    for tensor in layout.tensors:
        if tensor.name.endswith(_OVER):
            across, down = tensor.shape[0] + wider, tensor.shape[1]
            for half, shape in (("lora_a", (rank, across)), ("lora_b", (down, rank))):
                writer.add_tensor(f"{tensor.name}.{half}", (numbers.standard_normal(shape) * strength).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_peft(folder: Path, **config: object) -> Path:
    """A folder as PEFT writes it, with one small tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16} | config))
    head = json.dumps({"q.lora_A.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(16))
    return folder


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file."""
    head, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.astype(np.float32).tobytes()
        head[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_llama(folder: Path) -> None:
    """Random weights for the small Llama whose config.json is in this folder, large enough that words differ in likelihood."""
    said = json.loads((folder / "config.json").read_text())
    wide, inner, words = said["hidden_size"], said["intermediate_size"], said["vocab_size"]
    numbers = np.random.default_rng(7)
    shapes = {"self_attn.q_proj": (wide, wide), "self_attn.k_proj": (wide, wide), "self_attn.v_proj": (wide, wide),
        "self_attn.o_proj": (wide, wide), "mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide),
        "mlp.down_proj": (wide, inner)}  # fmt: skip
    tensors = {name: numbers.standard_normal((words, wide)) * 0.2 for name in ("model.embed_tokens.weight", "lm_head.weight")}
    tensors["model.norm.weight"] = np.ones(wide)
    for layer in range(said["num_hidden_layers"]):
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = numbers.standard_normal(shape) * 0.1
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = np.ones(wide)
    write_tensors(folder / "model.safetensors", tensors)


def write_peft_over(folder: Path, *modules: str, sizes: tuple[tuple[int, int], ...], rank: int = 8, seed: int = 1) -> Path:
    """A folder as PEFT writes it, of random numbers over these modules of a model, each from so many numbers to so many."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"peft_type": "LORA", "r": rank, "lora_alpha": 4 * rank, "lora_dropout": 0.0, "bias": "none",
        "task_type": "CAUSAL_LM", "base_model_name_or_path": "none",
        "target_modules": sorted({module.rpartition(".")[2] for module in modules})}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(said))
    numbers = np.random.default_rng(seed)
    write_tensors(folder / "adapter_model.safetensors", {
        f"base_model.model.{module}.{half}.weight": numbers.standard_normal(shape) * 0.2
        for module, (across, down) in zip(modules, sizes, strict=True)
        for half, shape in (("lora_A", (rank, across)), ("lora_B", (down, rank)))})  # fmt: skip
    return folder
