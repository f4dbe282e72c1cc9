"""Adding to an index: the next version is what a build from scratch would make, and the old one stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.artifact import Artifact
from contract.errors import BadInput, NotFound
from contract.store import Store
from indexer import texts
from indexer.build import add_to_index, build_index
from indexer.corpus import CorpusSettings, add_to_corpus, build_corpus, open_corpus
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.engine import LocalEngine
from indexer.index import IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.conftest import sentences

CORPUS = CorpusSettings(min_words=1, shard_passages=40)


def settings(model: Path, *retrievers: str) -> IndexSettings:
    return IndexSettings(
        retrievers=retrievers or ("lexical", "dense"),
        lexical=LexicalSettings(shard_rows=32),
        dense=DenseSettings(encoder=EncoderSettings(str(model), dtype="float32"), shard_rows=32),
        fusion_depth=50,
    )


def add(store: Store, sources: list[str]) -> Artifact:
    """Add in this process: what is small needs no others."""
    return add_to_index(store, "i", sources, engine=LocalEngine(processes=False))


def build(store: Store, sources: list[str], settings: IndexSettings) -> Artifact:
    build_corpus(store, "c", sources, CORPUS)
    return build_index(store, "i", "c", settings, engine=LocalEngine(processes=False))


def write(folder: Path, name: str, lines: list[str]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return str(folder / name)


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Three files; the later ones repeat passages of the earlier."""
    said = sentences(150)
    return [
        write(tmp_path / "sources", "a.jsonl", said[:70]),
        write(tmp_path / "sources", "b.jsonl", said[60:75]),
        write(tmp_path / "sources", "c.jsonl", said[75:150] + said[:3]),
    ]


@pytest.fixture(autouse=True)
def small_text_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "SHARD_ROWS", 48)


def content(artifact: Artifact) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in artifact.manifest.files}


def test_an_index_that_was_added_to_equals_one_built_from_scratch(tmp_path, tiny_model, sources):
    grown, whole = Store(tmp_path / "grown"), Store(tmp_path / "whole")
    build(grown, sources[:1], settings(tiny_model))
    add(grown, sources[1:2])
    added = add(grown, sources[2:])
    scratch = build(whole, sources, settings(tiny_model))
    assert added.directory.name == "i@3"
    assert content(added) == content(scratch)
    assert added.id == scratch.id


def test_the_version_before_is_kept_and_can_be_asked_for(tmp_path, tiny_model, sources):
    store = Store(tmp_path / "artifacts")
    first = build(store, sources[:1], settings(tiny_model, "lexical"))
    before = open_index(store, "i").search(["play some jazz"], 20, "lexical")
    add(store, sources[2:])
    old, new = open_index(store, "i@1"), open_index(store, "i")
    assert (old.artifact.id, old.rows, new.rows) == (first.id, 70, 145)
    assert (old.corpus_name, new.corpus_name) == ("c@1", "c@2")
    assert (old.search(["play some jazz"], 20, "lexical").rows == before.rows).all()
    assert old.artifact.verify() == new.artifact.verify() == []


def test_what_was_encoded_is_not_encoded_again_but_for_the_last_block(tmp_path, tiny_model, sources, monkeypatch):
    from indexer.encoder import Encoder

    store = Store(tmp_path / "artifacts")
    build(store, sources[:1], settings(tiny_model, "dense"))
    seen: list[str] = []
    encode = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, some, *, kind: seen.extend(some) or encode(self, some, kind=kind)
    )
    add(store, sources[2:])
    old = set(open_index(store, "i@1").passages(np.arange(70))["text"].to_pylist())
    assert len(seen) >= 75
    assert len(old & set(seen)) == 70 % 32


def test_adding_what_is_there_already_changes_nothing(tmp_path, tiny_model, sources):
    store = Store(tmp_path / "artifacts")
    first = build(store, sources[:2], settings(tiny_model, "lexical"))
    assert add(store, sources[1:2]).id == first.id
    assert store.versions("index", "i") == [1]


def test_an_index_follows_its_corpus_without_a_source(tmp_path, tiny_model, sources):
    store = Store(tmp_path / "artifacts")
    build(store, sources[:1], settings(tiny_model, "lexical"))
    add_to_corpus(store, "c", sources[2:])
    assert open_index(store, "i").rows == 70
    add(store, [])
    assert open_index(store, "i").rows == 145 == open_corpus(store, "c").rows


def test_an_addition_that_crashed_goes_on_and_is_not_seen_before_it_is_finished(
    tmp_path, tiny_model, sources, monkeypatch
):
    from indexer import build as build_module

    store, whole = Store(tmp_path / "artifacts"), Store(tmp_path / "whole")
    build(store, sources[:1], settings(tiny_model))

    def crash(*_: object, **__: object) -> None:
        raise InterruptedError("the machine went away")

    with monkeypatch.context() as broken:
        broken.setattr(build_module, "build_dense", crash)
        with pytest.raises(InterruptedError):
            add(store, sources[2:])
    assert open_index(store, "i").rows == 70
    added = add(store, sources[2:])
    assert added.id == build(whole, [sources[0], sources[2]], settings(tiny_model)).id


def test_an_index_that_is_not_there_or_a_source_that_is_none_is_a_sentence(tmp_path, tiny_model, sources):
    store = Store(tmp_path / "artifacts")
    with pytest.raises(NotFound):
        add(store, sources)
    build(store, sources[:1], settings(tiny_model, "lexical"))
    with pytest.raises((NotFound, BadInput)):
        add(store, [str(tmp_path / "nothing.jsonl")])
    assert store.versions("corpus", "c") == [1]
