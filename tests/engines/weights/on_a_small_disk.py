"""Run in a mount namespace of its own: fetch onto a disk with too little room, then with enough. Prints what came of both."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from samdrift.engines.weights import Means, NoRoom, prepare
from samdrift.spec.weights import Hub, WeightsSettings

folder, url = Path(sys.argv[1]), sys.argv[2]
cache = folder / "small"
cache.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=17m", "tmpfs", cache], check=True)
(cache / "somebody-elses").write_bytes(bytes(2**20))
means = Means(WeightsSettings(hf=Hub(endpoint=url)))


def fetch() -> Path:
    return prepare("hf:org/model/a.gguf", base=folder, cache=cache, step=lambda _what, _share: None, means=means).path


try:
    fetch()
except NoRoom as error:
    print(error)
(cache / "somebody-elses").unlink()
print(hashlib.sha256(fetch().read_bytes()).hexdigest())
