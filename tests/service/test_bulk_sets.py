"""Claims about transfer sets whose neighbours a cluster found: they are the sets that one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.store import Store
from indexer.build import build_index
from indexer.engine import LocalEngine
from indexer.engines.bulk import open_bulk_index
from indexer.index import IndexSettings
from indexer.lexical import LexicalSettings
from service.candidates import Work
from service.transfer_set import build_transfer_set, read_request
from tests.indexer.conftest import make_corpus, sentences
from tests.service.tasks_for_tests import write_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path / "sources", sentences(400))
    build_index(store, "i", "c", IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=60)))
    return store


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path, [{"text": text, "split": "train"} for text in sentences(15, seed=5)])


def test_parts_and_larger_steps_make_the_same_set(store: Store, task: Path) -> None:
    request = read_request({"task": task, "index": "i", "k": 12})
    alone = build_transfer_set(store, "alone", request, work=Work(utterances=3))
    engine = LocalEngine(4, processes=False)
    spread = build_transfer_set(store, "spread", request, opener=lambda s, name: open_bulk_index(s, name, engine))
    assert spread.id == alone.id
    assert spread.manifest.counts["neighbours"].rows_out > 20


@pytest.mark.ray
def test_the_command_makes_the_same_set_with_ray(store: Store, task: Path) -> None:
    told = [run(store, task, "alone"), run(store, task, "rayed", "--engine", "ray")]
    assert told[0]["id"] == told[1]["id"]


def run(store: Store, task: Path, name: str, *options: str) -> dict[str, str]:
    arguments = ["build", "--task", str(task), "--index", "i", "--k", "12", "--name", name, *options]
    command = [sys.executable, "-m", "service", *arguments, "--artifacts", str(store.root), "--json"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found
