"""Claims about the Ray engine, on clusters of two one-core nodes on 127.0.0.1: `make ray`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.store import Store
from indexer.build import build_index
from indexer.corpus import build_corpus
from indexer.engine import LocalEngine
from tests.indexer.killed_builds import corpus_settings, settings, write_sources

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path) -> dict[str, Any]:
    """What a run of `ray_runs` tells, which must be all that it prints."""
    command = [sys.executable, "-m", "tests.indexer.ray_runs", name, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(line)
    return told


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One with a corpus `c` and an index `local` of it."""
    store = Store(tmp_path / "artifacts")
    first, _ = write_sources(tmp_path / "sources")
    build_corpus(store, "c", [str(first)], corpus_settings())
    build_index(store, "local", "c", settings("lexical"), engine=LocalEngine(2, processes=False))
    return store


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("calls", tmp_path_factory.mktemp("ray") / "folder")


def test_results_come_in_order_from_both_nodes(told: dict[str, Any]) -> None:
    assert told["workers"] == 2
    assert told["squares"] == [number * number for number in range(30)]
    assert told["processes"] == 2
    assert told["ordered"] == [3, 0, 7, 5, 1, 6]
    assert told["with_memory"] == [7, 8]


def test_a_killed_worker_costs_its_shard_only(told: dict[str, Any]) -> None:
    assert told["deaths"] == list(range(8))
    assert told["attempts"] == 3


def test_a_shard_that_kills_every_worker_ends_with_a_sentence(told: dict[str, Any]) -> None:
    kind, message = told["lost"]
    assert kind == "WorkerLost"
    assert message.startswith("A shard was given to Ray 5 times and its node or worker was lost each time")


def test_errors_come_back_whole(told: dict[str, Any]) -> None:
    assert told["errors"] == [
        ["BadInput", "Expected this, found that"],
        ["OSError", "[Errno 28] No space left on device: 'somewhere'"],
        ["RuntimeError", "OddError: one"],
    ]


def test_a_lost_node_costs_its_shards_only(told: dict[str, Any]) -> None:
    assert told["after_loss"] == list(range(30))


def test_a_node_that_does_not_see_the_folder_is_named(told: dict[str, Any]) -> None:
    kind, message = told["unseen"]
    assert kind == "BadInput"
    assert "does not see the artifacts folder: expected" in message
    assert told["left"] == 0, "the probe is gone"


def test_a_ray_that_is_started_here_listens_on_the_loopback_only(tmp_path: Path) -> None:
    told = run("alone", tmp_path)
    assert told["squares"] == [number * number for number in range(10)]
    assert told["addresses"] == ["127.0.0.1"]
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert told["listening"]
    assert {*told["listening"]} <= loopback


def test_ray_makes_the_index_that_this_machine_makes_whatever_dies(store: Store) -> None:
    told = run("builds", store.root)
    expected = build_index(store, "local", "c", settings("lexical")).id
    assert told["undisturbed"] == told["worker_killed"] == told["node_removed"] == expected
    assert told["killed"] >= 1
    assert told["removed"] == 1
    assert told["bulk"], "its nodes find what one search finds"


@pytest.mark.slow
def test_twenty_kills_of_a_ray_run_change_nothing(store: Store) -> None:
    told = run("kills", store.root)
    assert told["ids"] == [build_index(store, "local", "c", settings("lexical")).id]
    assert told["killed"] == 20
    assert told["faults"] == told["left"] == []
