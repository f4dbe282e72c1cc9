"""The vector cache: what is found is what was kept, after any kill, damage or crowd; the rest is not found."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer import vector_cache as cache_module
from indexer.vector_cache import FOLDER, VectorCache, checks_of, empty_caches, keys_of, list_caches

ROOT = Path(__file__).parents[2]
DIM = 12


def made(names):
    """Keys and vectors; a vector follows from its name, so that any process knows what it must be."""
    keys = keys_of([str(name) for name in names])
    vectors = [np.random.default_rng([int(first), int(second)]).normal(size=DIM) for first, second in keys]
    return keys, np.array(vectors, np.float16).reshape(len(keys), DIM)


def found_right(cache, names):
    """Which of the names the cache has; every vector it gives is the right one."""
    keys, vectors = made(names)
    found, given_back = cache.find(keys)
    assert given_back.dtype == np.float16
    assert (given_back[found] == vectors[found]).all()
    assert (given_back[~found] == 0).all()
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / FOLDER / "encoder"


@pytest.fixture
def cache(folder):
    return VectorCache(folder, DIM)


def test_what_was_kept_is_found_and_nothing_else(cache, folder):
    assert not found_right(cache, range(10)).any()
    cache.add(*made(range(0, 10, 2)))
    cache.add(*made([]))
    for reader in (cache, VectorCache(folder, DIM)):
        assert found_right(reader, range(10)).tolist() == [True, False] * 5
    assert found_right(cache, []).shape == (0,)


def test_what_another_process_keeps_is_found_at_once(cache, folder):
    other = VectorCache(folder, DIM)
    for name in range(5):
        other.add(*made([name]))
        assert found_right(cache, [name]).all()


def test_equal_texts_have_equal_keys_and_others_others():
    assert keys_of(["a", "b", "a", "é"]).shape == (4, 2)
    assert len(np.unique(keys_of(["a", "b", "a", "é"]), axis=0)) == 3
    assert keys_of([]).shape == (0, 2)


def test_a_check_knows_its_key_and_every_byte_of_its_vector():
    keys, vectors = made([1, 2])
    assert checks_of(keys, vectors)[0] != checks_of(keys[::-1], vectors)[0]
    for byte in range(2 * DIM):
        changed = vectors.copy()
        changed.view(np.uint8)[0, byte] ^= 1
        assert checks_of(keys, changed)[0] != checks_of(keys, vectors)[0]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_anywhere_is_not_believed_and_not_fatal(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "encoder"
    VectorCache(folder, DIM).add(*made(range(6)))
    (path,) = folder.glob("*.vectors")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    cache = VectorCache(folder, DIM)
    found = found_right(cache, range(6))
    assert not found.all()
    cache.add(*made(np.flatnonzero(~found)))
    assert found_right(VectorCache(folder, DIM), np.flatnonzero(~found)).all()


@pytest.mark.parametrize("content", [b"", b"junk", b"junk" * 100, None], ids=["empty", "short", "junk", "cut"])
def test_what_is_no_whole_file_of_vectors_is_removed(cache, folder, content):
    cache.add(*made(range(6)))
    (path,) = folder.glob("*.vectors")
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    assert not found_right(VectorCache(folder, DIM), range(6)).any()
    assert not path.exists()


def test_vectors_of_another_dimension_are_not_found(cache, folder):
    cache.add(*made(range(6)))
    assert not VectorCache(folder, DIM + 4).find(keys_of(["1"]))[0].any()


def test_a_file_that_goes_while_it_is_open_is_still_read(cache, folder):
    cache.add(*made(range(6)))
    assert found_right(cache, range(6)).all()
    files = cache._files
    for path in folder.glob("*.vectors"):
        path.unlink()
    assert all((checks_of(file.keys, file.vectors) == file.checks).all() for file in files.values())
    assert not found_right(cache, range(6)).any()


def test_many_small_files_become_few_and_nothing_is_lost(cache, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "_MANY", 4)
    for name in range(40):
        cache.add(*made([name, name // 2]))
    assert len(list(folder.glob("*.vectors"))) <= 5
    assert found_right(cache, range(40)).all()
    assert list_caches(folder.parents[1])[0].vectors <= 44


def test_a_damaged_vector_is_not_carried_into_another_file(cache, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "_MANY", 1)
    cache.add(*made([1, 2]))
    (path,) = folder.glob("*.vectors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    fresh = VectorCache(folder, DIM)
    for name in (3, 4, 5):
        fresh.add(*made([name]))
    assert not path.exists()
    assert found_right(fresh, [1, 2, 3, 4, 5]).tolist() == [True, False, True, True, True]


def test_the_disk_it_takes_is_bounded_and_the_oldest_go(folder):
    one_file = 24 + 10 * (16 + 8 + 2 * DIM)
    cache = VectorCache(folder, DIM, max_bytes=3 * one_file)
    for first in range(0, 80, 10):
        cache.add(*made(range(first, first + 10)))
        for path in folder.glob("*.vectors"):  # clocks of file systems are coarse
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 1_000_000_000))
        assert sum(path.stat().st_size for path in folder.glob("*.vectors")) <= 3 * one_file
        assert found_right(cache, range(first, first + 10)).all()
    assert not found_right(cache, range(10)).any()


def test_the_bound_is_of_all_encoders_together(folder):
    other = folder.with_name("other")
    VectorCache(other, DIM).add(*made(range(10)))
    VectorCache(folder, DIM, max_bytes=1000).add(*made(range(10, 20)))
    assert not list(other.glob("*.vectors"))


def test_with_no_room_at_all_nothing_is_kept(folder):
    cache = VectorCache(folder, DIM, max_bytes=0)
    cache.add(*made(range(10)))
    assert not found_right(cache, range(10)).any()
    assert not folder.exists()


def test_where_nothing_can_be_written_the_search_goes_on_and_the_log_says_so_once(folder, caplog, monkeypatch):
    monkeypatch.setattr(cache_module.log, "disabled", False)  # import-linter, run by another test, disables loggers
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    cache = VectorCache(folder, DIM)
    for name in range(3):
        cache.add(*made([name]))
        assert not found_right(cache, [name]).any()
    assert len(caplog.records) == 1


def test_caches_are_listed_and_emptied(cache, folder):
    cache.add(*made(range(6)))
    (listed,) = list_caches(folder.parents[1])
    assert (listed.name, listed.vectors) == ("encoder", 6)
    assert listed.bytes == 24 + 6 * (16 + 8 + 2 * DIM)
    empty_caches(folder.parents[1])
    assert not found_right(cache, range(6)).any()
    assert list_caches(folder.parents[1])[0].vectors == 0
    assert list_caches(folder / "nowhere") == []


WRITER = """
import sys
from pathlib import Path
from indexer.vector_cache import VectorCache
from tests.indexer.test_vector_cache import DIM, made
cache = VectorCache(Path(sys.argv[1]), DIM)
for first in range(int(sys.argv[2]), 10**6, 7):
    cache.add(*made(range(first, first + 7)))
    print(first, flush=True)
"""


def start_writer(folder, first):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first)], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_kill_minus_nine_at_any_moment_leaves_what_was_kept(folder, monkeypatch):
    """Two writers at once, killed at moments of their own; every name a writer had said is there, and is right."""
    draw = np.random.default_rng(0)
    writers = [start_writer(folder, first) for first in (0, 500_000)]
    for writer in writers:
        writer.stdout.readline()
    time.sleep(float(draw.random()) * 0.2)
    said = []
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        writer.stdout.close()
    assert len(said) > 2
    cache = VectorCache(folder, DIM)
    assert found_right(cache, [name for first in said for name in range(first, first + 7)]).all()
    monkeypatch.setattr(cache_module, "_STALE_S", -1)
    cache.add(*made([-1]))
    assert not list(folder.glob(".*.partial"))


def test_threads_with_a_cache_each_keep_all(folder, monkeypatch):
    monkeypatch.setattr(cache_module, "_MANY", 3)

    def keep(first):
        mine = VectorCache(folder, DIM)
        for name in range(first, first + 20):
            mine.add(*made([name]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(0, 80, 20)))
    assert found_right(VectorCache(folder, DIM), range(80)).all()
