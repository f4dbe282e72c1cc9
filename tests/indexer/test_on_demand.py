"""Dense on demand: hybrid search over an index without vectors, the same whatever was encoded before."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contract.errors import BadInput
from contract.store import Store
from indexer import on_demand as on_demand_module
from indexer.build import add_to_index, build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.fusion import reciprocal_rank_fusion
from indexer.index import IndexSettings, open_index
from indexer.on_demand import LIMIT, OnDemand
from indexer.texts import Texts
from indexer.vector_cache import FOLDER, VectorCache, list_caches
from tests.indexer.conftest import HashingEncoder, make_corpus, sentences

ROOT = Path(__file__).parents[2]
QUERIES = ["play some jazz", "weather in paris", "zzzz", "an alarm for seven tomorrow", "7"]
DEPTH = 30
ROWS = 300


def lexical_and(model: Path, **others) -> IndexSettings:
    encoder = EncoderSettings(str(model), dtype="float32", query_prompt="book ", passage_prompt="play ")
    dense = DenseSettings(encoder=encoder)
    return IndexSettings(**({"retrievers": ("lexical", "on-demand"), "dense": dense, "fusion_depth": DEPTH} | others))


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("built")
    store = Store(folder / "artifacts")
    make_corpus(store, folder, sentences(ROWS))
    build_index(store, "i", "c", lexical_and(tiny_model))
    return store


@pytest.fixture
def store(built, tmp_path):
    """The same index without a cache beside it."""
    without = shutil.ignore_patterns(FOLDER)
    return Store(shutil.copytree(built.root, tmp_path / "artifacts", ignore=without))


@pytest.fixture
def index(store):
    return open_index(store, "i")


def cached(store) -> int:
    return sum(cache.vectors for cache in list_caches(store.root / "indexes"))


def bits(hits) -> list[bytes]:
    arrays = (hits.rows, hits.scores, hits.lexical_rank, hits.lexical_score, hits.dense_rank, hits.dense_score)
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


def test_nothing_is_embedded_at_the_build(built):
    index = open_index(built, "i")
    assert index.retrievers == ("lexical", "hybrid", "random")
    assert not [entry.name for entry in index.artifact.manifest.files if "dense" in entry.name]
    assert "dense" not in index.artifact.manifest.facts
    with pytest.raises(BadInput, match="it has lexical, hybrid, random"):
        index.search(QUERIES, 3, "dense")


def test_it_is_the_fusion_of_bm25_with_the_cosines_of_what_bm25_found(index):
    """The reference: every candidate encoded alone, ranked by brute force."""
    hits = index.search(QUERIES, DEPTH, "hybrid")
    lexical = index.search(QUERIES, DEPTH, "lexical")
    queries = index.encoder.encode(QUERIES, kind="query").astype(np.float64)
    for number in range(len(QUERIES)):
        found = lexical.rows[number][lexical.scores[number] != 0]
        texts = index.passages(found)["text"].to_pylist()
        vectors = np.array([index.encoder.encode([text], kind="passage")[0] for text in texts], np.float16)
        wide = vectors.reshape(len(found), index.encoder.dim).astype(np.float64)
        cosines = (wide @ queries[number]).astype(np.float32)
        order, width = np.lexsort((found, -cosines)), len(found)
        fused = reciprocal_rank_fusion(found[None], found[order][None], width)
        assert hits.rows[number, :width].tolist() == fused.rows[0].tolist()
        assert hits.scores[number, :width].tolist() == fused.scores[0].tolist()
        assert hits.dense_rank[number, :width].tolist() == fused.second_rank[0].tolist()
        assert hits.dense_score[number, :width].tolist() == cosines[order][fused.second_rank[0]].tolist()
        assert hits.lexical_rank[number, :width].tolist() == fused.first_rank[0].tolist()


def test_a_passage_without_a_word_of_the_query_stands_last_and_in_no_ranking(index):
    hits, lexical = (index.search(["zzzz", "7"], DEPTH, retriever) for retriever in ("hybrid", "lexical"))
    assert hits.rows[0].tolist() == lexical.rows[0].tolist() == list(range(DEPTH))
    for number in range(2):
        matched = int((lexical.scores[number] != 0).sum())
        assert matched < DEPTH
        assert hits.rows[number, matched:].tolist() == lexical.rows[number, matched:].tolist()
        assert (hits.scores[number, matched:] == 0).all()
        for rank, score in ((hits.lexical_rank, hits.lexical_score), (hits.dense_rank, hits.dense_score)):
            assert (rank[number, matched:] == -1).all()
            assert np.isnan(score[number, matched:]).all()
            assert (rank[number, :matched] >= 0).all()


def test_ten_hits_are_the_first_of_thirty(index):
    most = index.search(QUERIES, DEPTH, "hybrid")
    for k in (1, 10, DEPTH):
        hits = index.search(QUERIES, k, "hybrid")
        assert hits.rows.shape == (len(QUERIES), k)
        assert (hits.rows == most.rows[:, :k]).all()
        assert (hits.scores == most.scores[:, :k]).all()
        assert (np.diff(hits.scores, axis=1) <= 0).all()
        assert all(len(set(query)) == k for query in hits.rows.tolist())


def test_a_query_finds_the_same_to_the_bit_alone_and_in_a_batch_cached_or_not(index, store, monkeypatch):
    """Law 5 of a cache: what was there before, and in which company it was encoded, leaves no trace."""
    together = index.search(QUERIES, 10, "hybrid")
    warm = index.search(QUERIES, 10, "hybrid")
    other_process = open_index(store, "i").search(QUERIES, 10, "hybrid")
    shutil.rmtree(store.root / "indexes" / FOLDER)
    monkeypatch.setattr(on_demand_module, "_TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(on_demand_module, "_CANDIDATES_AT_ONCE", 2 * DEPTH)
    in_pieces = open_index(store, "i").search(QUERIES, 10, "hybrid")
    assert bits(together) == bits(warm) == bits(other_process) == bits(in_pieces)
    for number in reversed(range(len(QUERIES))):
        shutil.rmtree(store.root / "indexes" / FOLDER, ignore_errors=True)
        alone = open_index(store, "i").search([QUERIES[number]], 10, "hybrid")
        assert alone.rows[0].tolist() == together.rows[number].tolist()
        assert alone.dense_score[0].tobytes() == together.dense_score[number].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoder_of_either_dtype_leaves_no_trace_of_company(built, tmp_path, tiny_model, dtype):
    store = Store(shutil.copytree(built.root, tmp_path / "artifacts", ignore=shutil.ignore_patterns(FOLDER)))
    settings = lexical_and(tiny_model)
    settings = replace(settings, dense=DenseSettings(encoder=EncoderSettings(str(tiny_model), dtype=dtype)))
    build_index(store, "j", "c", settings)
    queries = sentences(60, seed=3)
    together = open_index(store, "j").search(queries, 10, "hybrid")
    shutil.rmtree(store.root / "indexes" / FOLDER)
    index = open_index(store, "j")
    for number in (59, 3, 17):
        alone = index.search([queries[number]], 10, "hybrid")
        assert alone.dense_score[0].tobytes() == together.dense_score[number].tobytes()
        assert alone.rows[0].tolist() == together.rows[number].tolist()


class CountingEncoder(HashingEncoder):
    """It remembers what it was asked for; `fail_after` calls it goes away."""

    def __init__(self, fail_after=None):
        super().__init__(fail_after)
        self.asked = []

    def encode(self, texts, *, kind):
        vectors = super().encode(texts, kind=kind)
        self.asked += texts
        return vectors


def ranking(store, encoder, folder) -> OnDemand:
    texts = Texts.open(open_index(store, "i").artifact)
    return OnDemand(encoder, texts, VectorCache(folder, encoder.dim))


def test_each_candidate_is_encoded_once_the_longest_first(store, tmp_path):
    encoder = CountingEncoder()
    queries = encoder.encode(QUERIES, kind="query")
    candidates = np.array([[5, 9, -1], [9, 5, 7], [-1, -1, -1], [7, 9, 5], [200, -1, 5]])
    encoder.asked.clear()
    wanted = open_index(store, "i").passages(np.array([5, 7, 9, 200]))["text"].to_pylist()
    first = ranking(store, encoder, tmp_path / "cache").rank(queries, candidates)
    assert sorted(encoder.asked) == sorted(wanted)
    assert [len(text) for text in encoder.asked] == sorted(map(len, wanted), reverse=True)
    again = ranking(store, encoder, tmp_path / "cache").rank(queries, candidates)
    assert len(encoder.asked) == 4
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert (first[1] == -1).sum() == (candidates == -1).sum()


class EqualTexts:
    """Passages of which every two are the same text."""

    def take(self, rows):
        return pa.table({"text": [f"jazz {row // 2}" for row in rows.tolist()]})


def test_equal_texts_are_encoded_once_and_each_has_its_vector(tmp_path):
    encoder = CountingEncoder()
    query, candidates = encoder.encode(["jazz 1"], kind="query"), np.arange(6)[None]
    encoder.asked.clear()
    scores, rows = OnDemand(encoder, EqualTexts(), VectorCache(tmp_path / "cache", 16)).rank(query, candidates)
    assert sorted(encoder.asked) == ["jazz 0", "jazz 1", "jazz 2"]
    assert rows[0, :2].tolist() == [2, 3]
    np.testing.assert_allclose(scores[0, :2], 1, atol=1e-3)
    assert scores[0, 2] == scores[0, 3] < 0.9


def test_no_queries_and_no_candidates_are_no_work(store, tmp_path):
    encoder = CountingEncoder()
    on_demand = ranking(store, encoder, tmp_path / "cache")
    assert on_demand.rank(np.zeros((0, 16), np.float32), np.zeros((0, 5), np.int64))[0].shape == (0, 5)
    assert on_demand.rank(np.zeros((2, 16), np.float32), np.full((2, 5), -1))[1].tolist() == [[-1] * 5] * 2
    assert not encoder.asked


def test_equal_vectors_stand_in_the_order_of_rows(store, tmp_path):
    encoder = CountingEncoder()
    candidates = np.array([[30, 4, 11, 20]])
    scores, rows = ranking(store, encoder, tmp_path / "cache").rank(np.zeros((1, 16), np.float32), candidates)
    assert rows.tolist() == [[4, 11, 20, 30]]
    assert scores.tolist() == [[0, 0, 0, 0]]


def test_what_was_encoded_before_it_stopped_is_not_encoded_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(on_demand_module, "_TEXTS_AT_ONCE", 5)
    candidates = np.arange(20)[None]
    query = CountingEncoder().encode(["jazz"], kind="query")
    stopped, after, whole = CountingEncoder(fail_after=2), CountingEncoder(), CountingEncoder()
    with pytest.raises(InterruptedError):
        ranking(store, stopped, tmp_path / "cache").rank(query, candidates)
    resumed = ranking(store, after, tmp_path / "cache").rank(query, candidates)
    assert (len(stopped.asked), len(after.asked)) == (10, 10)
    assert not set(stopped.asked) & set(after.asked)
    expected = ranking(store, whole, tmp_path / "other").rank(query, candidates)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(resumed, expected, strict=True))


def test_searches_from_many_threads_find_the_same(store, index):
    queries = sentences(40, seed=5)
    expected = open_index(store, "i").search(queries, 10, "hybrid").rows.tolist()
    shutil.rmtree(store.root / "indexes" / FOLDER)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda query: index.search([query], 10, "hybrid").rows[0].tolist(), queries))
    assert found == expected


SEARCH = """
import sys
from pathlib import Path
from contract.store import Store
from indexer import on_demand
from indexer.index import open_index
from tests.indexer.conftest import sentences
on_demand._TEXTS_AT_ONCE = 4
index = open_index(Store(Path(sys.argv[1])), "s")
print("begun", flush=True)
for _ in range(1000):
    for cache in (Path(sys.argv[1]) / "indexes" / ".vectors").glob("*/*.vectors"):
        cache.unlink(missing_ok=True)
    index.search(sentences(40, seed=5), 10, "hybrid")
"""


def test_kill_minus_nine_while_it_encodes_changes_nothing(store, tiny_model):
    build_index(store, "s", "c", lexical_and(f"static:{tiny_model}"))
    queries = sentences(40, seed=5)
    expected = open_index(store, "s").search(queries, 10, "hybrid")
    shutil.rmtree(store.root / "indexes" / FOLDER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(store.root)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout.readline() == "begun\n"
    while killed.poll() is None and not cached(store):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert bits(open_index(store, "s").search(queries, 10, "hybrid")) == bits(expected)


def test_a_damaged_cache_changes_nothing(store, index):
    expected = bits(index.search(QUERIES, 10, "hybrid"))
    for path in (store.root / "indexes" / FOLDER).glob("*/*.vectors"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :: 50] = bytes(255 - byte for byte in content[len(content) // 2 :: 50])
        path.write_bytes(content)
    assert bits(open_index(store, "i").search(QUERIES, 10, "hybrid")) == expected


def test_the_cache_lies_beside_the_indexes_and_the_artifact_stays_as_it_was(store, index):
    index.search(QUERIES, 10, "hybrid")
    assert not index.artifact.verify()
    assert cached(store) > 0
    (folder,) = (store.root / "indexes" / FOLDER).iterdir()
    assert folder.name.startswith(index.encoder.fingerprint)
    assert store.names("index") == ["i"]


def test_indexes_of_one_encoder_share_what_they_encoded(store, tiny_model):
    settings = lexical_and(tiny_model, fusion_depth=DEPTH - 1)
    build_index(store, "j", "c", settings)
    open_index(store, "i").search(QUERIES, 10, "hybrid")
    before = cached(store)
    open_index(store, "j").search(QUERIES, 10, "hybrid")
    assert cached(store) == before


@pytest.mark.parametrize(
    "change", [{"passage_prompt": "p "}, {"max_length": 5}, {"dtype": "bfloat16"}], ids=["prompt", "length", "dtype"]
)
def test_another_encoder_does_not_believe_the_cache(store, tiny_model, change):
    open_index(store, "i").search(QUERIES, 10, "hybrid")
    before = cached(store)
    settings = lexical_and(tiny_model)
    encoder = replace(settings.dense.encoder, **change)
    build_index(store, "j", "c", replace(settings, dense=replace(settings.dense, encoder=encoder)))
    open_index(store, "j").search(QUERIES, 10, "hybrid")
    assert cached(store) == 2 * before


def test_another_processor_or_library_does_not_believe_the_cache(store, monkeypatch):
    open_index(store, "i").search(QUERIES, 10, "hybrid")
    before = cached(store)
    monkeypatch.setattr(on_demand_module, "_processor", lambda: "another")
    open_index(store, "i").search(QUERIES, 10, "hybrid")
    assert cached(store) == 2 * before


def test_nothing_is_kept_where_the_environment_says_so(store, monkeypatch):
    expected = bits(open_index(store, "i").search(QUERIES, 10, "hybrid"))
    shutil.rmtree(store.root / "indexes" / FOLDER)
    monkeypatch.setenv(LIMIT, "0")
    assert bits(open_index(store, "i").search(QUERIES, 10, "hybrid")) == expected
    assert not (store.root / "indexes" / FOLDER).exists()
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(BadInput, match=LIMIT):
        open_index(store, "i").search(QUERIES, 10, "hybrid")


def test_more_than_the_depth_is_refused(index):
    with pytest.raises(BadInput, match=rf"first {DEPTH} hits.*k = {DEPTH + 1}"):
        index.search(QUERIES, DEPTH + 1, "hybrid")


@pytest.mark.parametrize("retrievers", [("on-demand",), ("dense", "on-demand"), ("lexical", "dense", "on-demand")])
def test_on_demand_goes_with_lexical_alone(retrievers):
    with pytest.raises(BadInput, match="beside lexical alone"):
        IndexSettings(retrievers=retrievers)


def test_the_depth_has_a_default_of_its_own():
    assert IndexSettings(retrievers=("lexical", "on-demand")).depth == on_demand_module.DEPTH
    assert IndexSettings().depth == 1000
    assert IndexSettings(retrievers=("lexical", "on-demand"), fusion_depth=7).depth == 7


def test_a_corpus_smaller_than_the_depth_is_searched_whole(tmp_path, tiny_model):
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path, sentences(6))
    build_index(store, "i", "c", lexical_and(tiny_model))
    assert open_index(store, "i").search(QUERIES, 50, "hybrid").rows.shape == (len(QUERIES), 6)


def test_another_model_in_its_place_is_refused(store, tmp_path, tiny_model):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    build_index(store, "j", "c", lexical_and(model))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    with pytest.raises(BadInput, match="built with encoder model of fingerprint"):
        open_index(store, "j").search(QUERIES, 3, "hybrid")


def test_a_static_encoder_needs_neither_its_model_nor_torch(store, tmp_path, tiny_model):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    build_index(store, "s", "c", lexical_and(f"static:{model}"))
    shutil.rmtree(model)
    code = (
        "import sys; from pathlib import Path; from contract.store import Store; from indexer.index import open_index;"
        "print(open_index(Store(Path(sys.argv[1])), 's').search(['play jazz'], 9, 'hybrid').rows[0].tolist());"
        "assert not {'torch', 'faiss', 'sentence_transformers', 'transformers'} & set(sys.modules), sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.root)], env=environment, check=True, capture_output=True
    )
    assert json.loads(done.stdout) == open_index(store, "s").search(["play jazz"], 9, "hybrid").rows[0].tolist()


def test_an_index_that_grew_is_the_one_built_at_once(store, tmp_path, tiny_model):
    texts = sentences(ROWS + 20)
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[ROWS:]))
    grown = add_to_index(store, "i", [str(tmp_path / "more.jsonl")])
    build_index(store, "whole", "c", lexical_and(tiny_model))
    assert grown.id == open_index(store, "whole").artifact.id
    assert grown.id != open_index(store, "i@1").artifact.id
