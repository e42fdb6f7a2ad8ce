"""What is kept on disk: up to a limit, never at the cost of what is in use, and whole."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys

import pytest

from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.troubles import NoRoom

HOUR = 3600 * 10**9


def put(cache, content, hours_ago):
    digest = hashlib.sha256(content).hexdigest()
    cache.partial.mkdir(parents=True, exist_ok=True)
    file = cache.partial / digest
    file.write_bytes(content)
    path = cache.add(file, digest)
    os.utime(path, ns=(path.stat().st_atime_ns - hours_ago * HOUR, 0))
    return digest


def digests(cache):
    return {entry.digest for entry in cache.entries()}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 1000)


def test_the_longest_unused_goes_first_and_no_more_than_must(cache):
    old, middle, new = (put(cache, bytes([n]) * 300, hours) for n, hours in ((1, 3), (2, 2), (3, 1)))
    cache.make_room(100)
    assert digests(cache) == {old, middle, new}
    cache.find(old)
    cache.make_room(300)
    assert digests(cache) == {old, new}


def test_what_the_document_names_goes_after_what_it_does_not_however_long_it_slept(cache, caplog):
    slept, unnamed, woken = (put(cache, bytes([n]) * 300, hours) for n, hours in ((1, 9), (2, 1), (3, 2)))
    cache.note_needed([slept, woken])
    assert cache.make_room(300) == []
    assert digests(cache) == {slept, woken}
    assert "names were removed" not in caplog.text
    assert [entry.digest for entry in cache.make_room(500)] == [slept]
    assert digests(cache) == {woken}
    assert "weights that the document names were removed" in caplog.text
    assert unnamed not in digests(cache)


def test_what_is_noted_as_needed_outlives_the_process_and_a_damaged_note_is_none(cache, tmp_path):
    cache.note_needed(["a" * 64, "b" * 64])
    assert Cache(tmp_path / "cache", 1000).needed() == {"a" * 64, "b" * 64}
    (cache.folder / "needed").write_bytes(b"\xff no digests")
    assert cache.needed() == frozenset()


def test_what_a_process_has_mapped_stays_however_old_it_is(cache):
    old, new = put(cache, b"a" * 500, 9), put(cache, b"b" * 400, 1)
    code = ("import mmap, sys; file = open(sys.argv[1], 'rb'); held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); "
        "file.close(); print('up', flush=True); sys.stdin.read()")  # fmt: skip
    path = cache.find(old)
    os.utime(path, ns=(0, 0))
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        assert engine.stdout.readline() == b"up\n"
        assert {entry.digest for entry in cache.entries() if entry.loaded} == {old}
        cache.make_room(400)
        assert digests(cache) == {old}
        with pytest.raises(NoRoom, match="in it are in use"):
            cache.make_room(600)
        assert cache.remove({old})[1][0].digest == old
        engine.stdin.close()
        engine.wait(10)
    os.utime(path, ns=(0, 0))  # it was used, after all
    cache.make_room(600)
    assert digests(cache) == set()
    assert new not in digests(cache)


def test_what_is_being_loaded_or_belongs_to_the_same_model_stays(cache):
    fresh, spared = put(cache, b"a" * 500, 0), put(cache, b"b" * 400, 5)
    with pytest.raises(NoRoom):
        cache.make_room(600, {spared})
    assert digests(cache) == {fresh, spared}


def test_what_this_process_reads_is_in_use_too(cache):
    old = put(cache, b"a" * 900, 5)
    path = cache.entries()[0].path
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), pytest.raises(NoRoom):
        cache.make_room(600)
    assert digests(cache) == {old}


def test_a_set_of_which_a_file_is_gone_goes_too(cache, tmp_path):
    one, two = put(cache, b"a" * 500, 5), put(cache, b"b" * 400, 1)
    folder = cache.arrange("f" * 64, [("model/one", one), ("two", two)])
    assert [(folder / name).stat().st_size for name in ("model/one", "two")] == [500, 400]
    cache.make_room(400)
    assert digests(cache) == {two}
    assert not folder.exists()


def test_a_file_that_was_written_to_is_read_again_before_it_is_used(cache):
    good, bad = put(cache, b"good", 1), put(cache, b"badly", 1)
    blobs = cache.folder / "blobs"
    for digest, content in ((good, b"good"), (bad, b"worse")):
        (blobs / digest).chmod(0o600)
        (blobs / digest).write_bytes(content)
    assert cache.find(good) == blobs / good
    assert cache.find(bad) is None
    assert not (blobs / bad).exists()


def test_rot_that_nobody_wrote_is_found_when_all_is_read(cache):
    good, bad = put(cache, b"good", 1), put(cache, b"badly", 1)
    path = cache.folder / "blobs" / bad
    path.chmod(0o600)
    path.write_bytes(b"rot..")
    os.utime(path, ns=(0, 0))
    assert cache.find(bad)
    assert {entry.digest: cache.damaged(entry) for entry in cache.entries()} == {good: False, bad: True}
