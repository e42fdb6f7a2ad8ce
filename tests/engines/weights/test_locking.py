"""The lock beside the document: what it pins is served, or nothing is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from samdrift.engines.weights import WeightsError, prepare
from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.listing import Item, Listing
from samdrift.engines.weights.locking import merged, read_lock, write_lock
from samdrift.engines.weights.obtaining import look_up

NAME = "hf:org/model"


@pytest.fixture
def lock(folders, means):
    def locked():
        listing = look_up(NAME, cache=Cache(folders[1]), step=lambda *_: None, licence="", means=means())
        write_lock(folders[0] / "weights.lock", [listing])
        return listing

    return locked


@pytest.fixture
def fetch(folders, means):
    def fetched(**more):
        return prepare(NAME, base=folders[0], cache=folders[1], step=lambda *_: None, means=means(**more))

    return fetched


def test_a_lock_pins_a_revision_and_is_read_as_it_was_written(lock, folders, hub, make_gguf):
    hub.has("org/model", {"a.gguf": make_gguf()})
    listing = lock()
    assert listing.pinned
    assert read_lock(folders[0] / "weights.lock") == {NAME: listing}
    said = json.loads((folders[0] / "weights.lock").read_text())
    assert said["weights"][NAME]["files"]["a.gguf"]["size"] == len(make_gguf())
    assert not (folders[1] / "blobs").exists(), "a hub that tells checksums need not be read"


def test_small_files_are_read_for_the_lock(lock, hub, make_gguf, server):
    hub.has("org/model", {"a.gguf": make_gguf(100)}, small=("a.gguf",))
    assert lock().pinned
    assert server.fetched()


def test_what_is_locked_is_served_though_the_branch_has_moved_on(lock, fetch, folders, hub, make_gguf):
    old, new = make_gguf(), make_gguf(seed=1)
    hub.has("org/model", {"a.gguf": old})
    lock()
    hub.has("org/model", {"a.gguf": new}, commit="d" * 40)
    assert fetch().path.read_bytes() == old
    lock()
    assert fetch().path.read_bytes() == new


def test_without_a_lock_a_restart_serves_what_was_served_before(fetch, hub, make_gguf):
    old = make_gguf()
    hub.has("org/model", {"a.gguf": old})
    fetch()
    hub.has("org/model", {"a.gguf": make_gguf(seed=1)}, commit="d" * 40)
    assert fetch().path.read_bytes() == old


def test_an_origin_that_offers_other_bytes_than_the_lock_is_refused(lock, fetch, folders, hub, make_gguf, server):
    hub.has("org/model", {"a.gguf": make_gguf()})
    lock()
    server.files = {path: make_gguf(seed=1) for path in server.files}
    with pytest.raises(WeightsError, match="run `samdrift models lock`"):
        fetch()


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "damaged at the file"),
    ('{"lock": 2, "weights": {}}', "damaged at lock"),
    ('{"lock": 1, "weights": {"hf:org/model": {"origin": "", "revision": "", "licence": "", "files": {"../a": {"size": 1, '
     '"sha256": "' + "0" * 64 + '"}}}}}', "may not be made"),
])  # fmt: skip
def test_a_damaged_lock_is_not_passed_over(fetch, folders, hub, make_gguf, text, sentence):
    hub.has("org/model", {"a.gguf": make_gguf()})
    (folders[0] / "weights.lock").write_text(text)
    with pytest.raises(WeightsError, match=sentence):
        fetch()


def test_models_that_are_fetched_at_the_same_time_are_all_remembered(tmp_path):
    path = tmp_path / "weights.lock"
    listings = [Listing(f"hf:org/{n}", "hub", "r", "mit", (Item("a.gguf", 1, f"{n:064x}"),)) for n in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda one: merged(path, {one.reference: one}), listings))
    assert read_lock(path) == {one.reference: one for one in listings}
