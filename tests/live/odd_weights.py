"""Weights that are whole and that no engine can load."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_odd_weights(path: Path) -> None:
    """A GGUF file of an architecture that does not exist."""
    writer = gguf.GGUFWriter(path, "no-such-architecture")
    writer.add_tensor("a", np.zeros(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
