"""The index: built whole or on from where it stopped, the same by any path, and what it finds obeys the laws."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contract.draft import planned
from contract.errors import BadInput, CorruptArtifact, NameTaken, NotFound
from contract.removal import MADE_FROM
from contract.schemas import CORPUS
from contract.store import Store
from indexer import build as build_module
from indexer.build import build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.index import IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.conftest import make_corpus, sentences

ROOT = Path(__file__).parents[2]
QUERIES = ["play some jazz", "weather in paris", "zzzz", "an alarm for seven tomorrow"]
LEXICAL = IndexSettings(retrievers=("lexical",))


def both(model: Path, **settings) -> IndexSettings:
    dense = DenseSettings(encoder=EncoderSettings(str(model), dtype="float32"), shard_rows=32)
    return IndexSettings(dense=dense, **({"fusion_depth": 50} | settings))


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_model):
    """One index with everything, for the tests that only read."""
    folder = tmp_path_factory.mktemp("built")
    store = Store(folder / "artifacts")
    make_corpus(store, folder, sentences(120))
    build_index(store, "i", "c", both(tiny_model))
    return store


@pytest.fixture
def index(built):
    return open_index(built, "i")


def test_an_index_says_what_it_can_do(index, built):
    assert index.retrievers == ("lexical", "dense", "hybrid", "random")
    build_index(built, "lexical-only", "c", LEXICAL)
    only = open_index(built, "lexical-only")
    assert only.retrievers == ("lexical", "random")
    assert only.encoder is None
    with pytest.raises(BadInput, match="it has lexical, random"):
        only.search(QUERIES, 3, "hybrid")


@pytest.mark.parametrize("retriever", ["lexical", "dense", "hybrid", "random"])
def test_every_retriever_gives_min_k_rows_hits_and_prefixes(index, retriever):
    """Law 5, for queries that match and for one that matches nothing."""
    most = index.search(QUERIES, 50, retriever)
    assert most.rows.dtype == np.int64
    assert most.scores.dtype == np.float32
    for k in (1, 10, 50):
        hits = index.search(QUERIES, k, retriever)
        assert hits.rows.shape == hits.scores.shape == (4, k)
        assert all(len(set(query)) == k for query in hits.rows.tolist())
        assert (hits.rows == most.rows[:, :k]).all()
        assert (np.diff(hits.scores, axis=1) <= 0).all()
        for name in ("lexical_rank", "lexical_score", "dense_rank", "dense_score"):
            array = getattr(hits, name)
            assert array is None or array.shape == (4, k)
    if retriever != "hybrid":
        assert index.search(QUERIES, 1000, retriever).rows.shape == (4, index.rows)


@pytest.mark.parametrize("retriever", ["lexical", "dense", "hybrid", "random"])
def test_a_query_finds_the_same_alone_and_in_a_batch(index, retriever):
    together = index.search(QUERIES, 10, retriever, seed=3)
    for number, query in enumerate(QUERIES):
        assert (index.search([query], 10, retriever, seed=3).rows[0] == together.rows[number]).all()


def test_hybrid_says_where_each_hit_stood(index):
    hits = index.search(QUERIES, 50, "hybrid")
    lexical, dense = (index.search(QUERIES, 50, retriever) for retriever in ("lexical", "dense"))
    for query in range(len(QUERIES)):
        for place, row in enumerate(hits.rows[query].tolist()):
            in_lexical = [n for n in np.flatnonzero(lexical.rows[query] == row) if lexical.scores[query, n] != 0]
            in_dense = np.flatnonzero(dense.rows[query] == row).tolist()
            assert hits.lexical_rank[query, place] == (in_lexical[0] if in_lexical else -1)
            assert hits.dense_rank[query, place] == (in_dense[0] if in_dense else -1)
            ranks = [rank for rank in (hits.lexical_rank[query, place], hits.dense_rank[query, place]) if rank >= 0]
            assert hits.scores[query, place] == pytest.approx(sum(1 / (61 + rank) for rank in ranks))
            assert np.isnan(hits.lexical_score[query, place]) == (hits.lexical_rank[query, place] < 0)
            assert np.isnan(hits.dense_score[query, place]) == (hits.dense_rank[query, place] < 0)


def test_a_query_that_matches_no_word_is_ranked_by_vectors_alone(index):
    hits, dense = (index.search(["zzzz"], 20, retriever) for retriever in ("hybrid", "dense"))
    assert (hits.rows == dense.rows).all()
    assert (hits.lexical_rank == -1).all()


def test_a_passage_is_the_nearest_to_itself(index):
    rows = np.arange(0, index.rows, 7)
    texts = index.passages(rows)["text"].to_pylist()
    assert index.search(texts, 1, "dense").rows[:, 0].tolist() == rows.tolist()
    assert index.search(texts, 1, "lexical").rows[:, 0].tolist() == rows.tolist()


def test_passages_are_the_corpus_rows_in_the_order_asked_for(index):
    whole = pa.Table.from_batches(index.corpus.batches(), CORPUS)
    rows = np.random.default_rng(0).integers(0, index.rows, 500)
    assert index.passages(rows).equals(whole.take(pa.array(rows)))
    assert index.passages(np.array([], np.int64)).equals(whole.slice(0, 0))


@pytest.mark.parametrize("row", [-1, 120])
def test_a_row_that_is_not_there_is_refused(index, row):
    with pytest.raises(BadInput, match="0 to 119"):
        index.passages(np.array([0, row]))


def test_bad_questions_are_sentences(index):
    with pytest.raises(BadInput, match="k of at least 1"):
        index.search(QUERIES, 0, "lexical")
    with pytest.raises(BadInput, match=r"first 50 hits.*k = 51"):
        index.search(QUERIES, 51, "hybrid")
    with pytest.raises(BadInput, match="'bm25'"):
        index.search(QUERIES, 1, "bm25")


def test_facts_tell_what_was_built(index):
    facts = index.artifact.manifest.facts
    assert facts["dense"]["structure"] == "flat"
    assert facts["lexical"]["rows"] == facts["dense"]["rows"] == index.rows
    assert index.artifact.manifest.params["retrievers"] == ["dense", "lexical"]


def test_the_id_knows_no_place(built, tmp_path, tiny_model):
    """The model copied elsewhere, the corpus under another name, another folder of artifacts: the same index."""
    model = shutil.copytree(tiny_model, tmp_path / "elsewhere" / tiny_model.name)
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path, sentences(120), name="other")
    index = build_index(store, "j", "other", both(model))
    assert index.id == open_index(built, "i").artifact.id
    assert "/" not in json.dumps(dict(index.manifest.params))


def test_settings_of_what_is_not_built_are_no_part_of_the_id(built, tiny_model):
    other = replace(both(tiny_model, fusion_depth=7), retrievers=("lexical",))
    ids = {build_index(built, name, "c", settings).id for name, settings in (("l1", LEXICAL), ("l2", other))}
    assert len(ids) == 1


def test_other_settings_are_another_index(built, tiny_model):
    okapi = IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(variant="okapi", k1=1.5))
    assert build_index(built, "l3", "c", LEXICAL).id != build_index(built, "l4", "c", okapi).id
    with pytest.raises(NameTaken, match="k1"):
        build_index(built, "l3", "c", okapi)
    settings = both(tiny_model)
    encoder = replace(settings.dense.encoder, query_prompt="q ")
    with pytest.raises(NameTaken, match="query_prompt"):
        build_index(built, "i", "c", replace(settings, dense=replace(settings.dense, encoder=encoder)))


def test_a_restart_keeps_the_dtype_it_began_with(store, tmp_path, tiny_model, monkeypatch):
    make_corpus(store, tmp_path, sentences(60))
    automatic = DenseSettings(encoder=EncoderSettings(str(tiny_model), dtype="auto"), shard_rows=32)
    settings = IndexSettings(retrievers=("dense",), dense=automatic)

    def stop(stage, done, total):
        if stage == "embed passages":
            raise InterruptedError

    for measured in ("bfloat16", "float32"):
        monkeypatch.setattr("indexer.encoder.measured_dtype", lambda directory, measured=measured: measured)
        with pytest.raises(InterruptedError):
            build_index(store, "i", "c", settings, progress=stop)
        assert planned(store.path("index", "i")).params["dense"]["encoder"]["dtype"] == "bfloat16"
    index = build_index(store, "i", "c", settings)
    assert index.manifest.params["dense"]["encoder"]["dtype"] == "bfloat16"
    assert build_index(store, "i", "c", settings).id == index.id
    assert open_index(store, "i").encoder.settings.dtype == "bfloat16"


def test_a_build_stopped_in_any_part_goes_on_to_the_same_id(built, tmp_path, tiny_model):
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path, sentences(120))
    calls, allowed = 0, 0

    def stop(stage, done, total):
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise InterruptedError

    for _ in range(40):
        calls, allowed = 0, allowed + 1
        try:
            index = build_index(store, "i", "c", both(tiny_model), progress=stop)
            break
        except InterruptedError:
            assert store.names("index") == []
    assert allowed > 5
    assert index.id == open_index(built, "i").artifact.id


def test_kill_minus_nine_midway_then_the_same_build_gives_the_same_id(tmp_path):
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path, sentences(4000))
    settings = IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=50))
    code = (
        "import sys; from pathlib import Path; from contract.store import Store;"
        "from indexer.build import build_index; from indexer.index import IndexSettings;"
        "from indexer.lexical import LexicalSettings;"
        "s = IndexSettings(retrievers=('lexical',), lexical=LexicalSettings(shard_rows=50));"
        "build_index(Store(Path(sys.argv[1])), 'i', 'c', s)"
    )
    arguments = [sys.executable, "-c", code, str(store.root)]
    killed = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    draft = store.path("index", "i") / ".draft"
    while killed.poll() is None and len(list(draft.glob("lexical-*.json"))) < 3:
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert draft.exists(), "it was to be killed midway"
    assert build_index(store, "i", "c", settings).id == build_index(store, "whole", "c", settings).id


def test_an_index_refuses_a_corpus_that_is_not_the_one_it_was_made_from(store, tmp_path):
    make_corpus(store, tmp_path, sentences(20))
    build_index(store, "i", "c", LEXICAL)
    shutil.rmtree(store.path("corpus", "c"))
    with pytest.raises(NotFound, match="Index i was made from corpus c"):
        open_index(store, "i")
    make_corpus(store, tmp_path, sentences(21))
    with pytest.raises(BadInput, match=r"now has id .* build the index again"):
        open_index(store, "i")


def test_an_index_refuses_an_encoder_that_is_not_the_one_it_was_built_with(store, tmp_path, tiny_model):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    make_corpus(store, tmp_path, sentences(20))
    build_index(store, "i", "c", replace(both(model), retrievers=("dense",)))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    with pytest.raises(BadInput, match=r"built with encoder model of fingerprint .* build the index again"):
        open_index(store, "i").search(QUERIES, 3, "dense")
    shutil.rmtree(model)
    with pytest.raises(NotFound, match="encoder"):
        open_index(store, "i").search(QUERIES, 3, "dense")


@pytest.mark.parametrize("name", ["texts-00000.arrow", MADE_FROM, "lexical-vocabulary.arrow"])
def test_a_changed_file_is_refused_when_it_is_read(store, tmp_path, name):
    make_corpus(store, tmp_path, sentences(20))
    path = build_index(store, "i", "c", LEXICAL).directory / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    def read_all() -> None:
        index = open_index(store, "i")
        index.search(QUERIES, 3, "lexical")
        index.passages(np.array([0]))

    with pytest.raises(CorruptArtifact, match=name):
        read_all()


@pytest.mark.parametrize("retrievers", [("lexical",), ("dense",), ("lexical", "dense"), ("lexical", "on-demand")])
def test_the_settings_of_an_index_build_it_again(store, tmp_path, tiny_model, retrievers):
    """Nothing that made it is missing from them, and nothing is left open."""
    make_corpus(store, tmp_path, sentences(40))
    encoder = EncoderSettings(str(tiny_model), max_length=9, query_prompt="q ", passage_prompt="p ")
    settings = IndexSettings(
        retrievers=retrievers,
        lexical=LexicalSettings(k1=1.7, b=0.3, language="none", stop_words=("the",), shard_rows=16),
        dense=DenseSettings(encoder=encoder, shard_rows=16, exact_rows=20, seed=4),
        fusion_depth=17,
    )
    built = build_index(store, "i", "c", settings)
    opened = open_index(store, "i")
    again = opened.settings
    assert {*again.retrievers} == {*retrievers}
    if opened.encoder is not None:
        assert again.dense.encoder == replace(opened.encoder.settings, model=tiny_model.name)
        assert "auto" not in vars(again.dense.encoder).values()
        here = replace(again.dense.encoder, model=str(tiny_model))
        again = replace(again, dense=replace(again.dense, encoder=here))
    assert build_index(store, "j", "c", again).id == built.id


@pytest.mark.parametrize("retrievers", [(), ("lexical", "lexical"), ("bm25",), ("hybrid",)])
def test_retrievers_that_make_no_sense_are_refused(retrievers):
    with pytest.raises(BadInput, match="lexical and dense or on-demand"):
        IndexSettings(retrievers=retrievers)


def test_a_corpus_that_is_not_there_is_a_sentence(store):
    with pytest.raises(NotFound, match="no corpus"):
        build_index(store, "i", "c", LEXICAL)


def test_searching_reads_nothing_of_what_builds(built):
    """Opening an index and asking BM25 needs no torch, no FAISS, no sentence-transformers."""
    code = (
        "import sys; from pathlib import Path; from contract.store import Store; from indexer.index import open_index;"
        "i = open_index(Store(Path(sys.argv[1])), 'i'); i.passages(i.search(['jazz'], 3, 'lexical').rows[0]);"
        "assert not {'torch', 'faiss', 'sentence_transformers', 'transformers'} & set(sys.modules), sys.modules.keys()"
    )
    arguments = [sys.executable, "-c", code, str(built.root)]
    subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_the_build_file_names_the_parts_in_the_order_they_are_made():
    source = Path(build_module.__file__).read_text()
    names = (
        "open_corpus(",
        "_encoder(settings",
        "drafting(",
        "write_texts(",
        "build_lexical(",
        "build_dense(",
        ".finish(",
    )
    places = [source.index(name, source.index("def build_index")) for name in names]
    assert places == sorted(places)
