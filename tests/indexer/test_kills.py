"""Claims about index builds that are killed, raced or damaged: same id, nothing twice, nothing missing or unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.artifact import Artifact
from contract.errors import Busy, CorruptArtifact
from contract.manifest import MANIFEST
from contract.store import Store
from indexer.build import build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.index import IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.conftest import make_corpus, sentences
from tests.indexer.killed_builds import FIRST, MORE

ROOT = Path(__file__).parents[2]
Life = dict[str, Any]


def lives(folder: Path, kind: str, kills: int, parts: str = "lexical,dense", seed: int = 0) -> list[Life]:
    """What became of an undisturbed build, and of so many that were killed."""
    arguments = [str(folder), kind, str(kills), str(seed), parts]
    command = [sys.executable, "-m", "tests.indexer.killed_builds", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[Life], rows: int, kills: int) -> None:
    """Same id, nothing twice, nothing missing, whatever was killed."""
    undisturbed = found[0]
    for life in found:
        assert (life["id"], life["corpus"]) == (undisturbed["id"], undisturbed["corpus"]), life
        assert (life["rows"], life["distinct"]) == (rows, rows), life
        assert not life["faults"], life
        assert not life["left"], "nothing of the making is left"
        assert not life["made_again"], "what had a receipt stays"
    assert sum(life["was_killed"] for life in found) == kills


def test_three_kills_of_a_build_change_nothing(tmp_path: Path) -> None:
    check(lives(tmp_path, "build", 3, "lexical", seed=1), FIRST, 3)


@pytest.mark.slow
def test_twenty_kills_of_a_build_change_nothing(tmp_path: Path) -> None:
    check(lives(tmp_path, "build", 20), FIRST, 20)


@pytest.mark.slow
def test_twenty_kills_of_an_add_change_nothing(tmp_path: Path) -> None:
    found = lives(tmp_path / "add", "add", 20)
    check(found, FIRST + MORE, 20)
    (reference,) = lives(tmp_path / "all", "reference", 0)
    assert {key: found[0][key] for key in reference} == reference, "what a build from scratch makes"
    assert {life["directory"] for life in found} == {"i@2"}


@pytest.fixture
def built(store: Store, tmp_path: Path, tiny_model: Path) -> Artifact:
    make_corpus(store, tmp_path / "sources", sentences(90))
    dense = DenseSettings(encoder=EncoderSettings(str(tiny_model), dtype="float32"), shard_rows=40)
    settings = IndexSettings(lexical=LexicalSettings(shard_rows=50), dense=dense, fusion_depth=20)
    return build_index(store, "i", "c", settings)


def ask_everything(store: Store) -> None:
    """Open the index and use every part of it."""
    index = open_index(store, "i")
    for retriever in index.retrievers:
        index.search(["play some jazz", "weather"], 10, retriever)
    index.passages(np.arange(index.rows))


def test_a_flipped_byte_in_any_file_is_found_by_verifying_and_by_asking(store: Store, built: Artifact) -> None:
    entries = (*built.manifest.files, *built.manifest.attachments)
    assert len(entries) > 10
    draw = np.random.default_rng(0)
    ask_everything(store)
    for entry in entries:
        path = built.directory / entry.name
        content = path.read_bytes()
        assert content, f"{entry.name} has no byte to flip"
        for at in {0, len(content) - 1, int(draw.integers(len(content)))}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << int(draw.integers(8))]) + content[at + 1 :])
            faults = built.verify()
            assert len(faults) == 1, (entry.name, at)
            assert entry.name in faults[0]
            with pytest.raises(CorruptArtifact, match=entry.name):
                ask_everything(store)
        path.write_bytes(content)
    ask_everything(store)


def test_a_flipped_byte_of_the_manifest_is_found_when_the_index_is_opened(store: Store, built: Artifact) -> None:
    path = built.directory / MANIFEST
    content = path.read_bytes()
    made = content.index(b'"made"')  # when and by which version: no part of what the index is
    for at in np.random.default_rng(0).integers(made, size=60).tolist():
        if content[at : at + 1].isspace():
            continue  # between values: it would still say the same
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(CorruptArtifact):
            open_index(store, "i")


def test_of_two_builders_of_one_index_one_wins_and_the_other_says_so(store: Store, tmp_path: Path) -> None:
    make_corpus(store, tmp_path / "sources", sentences(90))
    settings = IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=10))
    is_building, may_go_on = threading.Event(), threading.Event()
    built: list[Artifact] = []

    def pause(stage: str, done: int, total: int | None) -> None:
        is_building.set()
        assert may_go_on.wait(30)

    first = threading.Thread(target=lambda: built.append(build_index(store, "i", "c", settings, progress=pause)))
    first.start()
    try:
        assert is_building.wait(30)
        for attempt in (in_this_process(store, settings), by_command(store)):
            assert "Another process is building" in attempt()
    finally:
        may_go_on.set()
        first.join()
    assert build_index(store, "i", "c", settings).id == built[0].id


def in_this_process(store: Store, settings: IndexSettings) -> Callable[[], str]:
    def attempt() -> str:
        with pytest.raises(Busy) as busy:
            build_index(store, "i", "c", settings)
        return busy.value.message

    return attempt


def by_command(store: Store) -> Callable[[], str]:
    def attempt() -> str:
        arguments = ["index", "build", "--corpus", "c", "--name", "i", "--retrievers", "lexical"]
        command = [sys.executable, "-m", "indexer", *arguments, "--artifacts", str(store.root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        return done.stderr

    return attempt
