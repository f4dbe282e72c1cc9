"""Dense search: a structure that says why it is one, its measured recall, and an index that grows without encoding."""

import json

import numpy as np
import pytest

from contract.artifact import open_artifact
from contract.draft import Plan, drafting
from contract.errors import BadInput, CorruptArtifact, NotFound
from indexer import dense
from indexer.dense import SEARCH, DenseIndex, DenseSettings, build_dense, choose_structure
from indexer.engine import LocalEngine
from indexer.vectors import stored as vectors
from indexer.vectors.hnsw import HNSW
from indexer.vectors.lists import CODES
from indexer.vectors.recall import OPENING_WORDS, margin_for
from tests.indexer.conftest import HashingEncoder, make_corpus, sentences
from tests.indexer.test_nearest import brute_force, clustered

SMALL = DenseSettings(shard_rows=64)
APPROXIMATE = DenseSettings(shard_rows=64, structure="ivf", recall=0.8, depth=40)
GRAPH = DenseSettings(shard_rows=64, structure="hnsw", recall=0.9, depth=40)
ALL = pytest.mark.parametrize("settings", [SMALL, APPROXIMATE, GRAPH], ids=["flat", "ivf", "hnsw"])


def build(store, corpus, name, settings, encoder=None, **more):
    """An artifact with nothing but the dense part."""
    directory = store.path("index", name)
    more = {"engine": LocalEngine(1)} | more
    with drafting(directory, Plan("index", 1, {}, {"corpus": corpus.id})) as draft:
        draft.finish(facts=build_dense(corpus, draft, encoder or HashingEncoder(), settings, **more))
    return open_artifact(directory, "index", version=1)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 16)
    monkeypatch.setattr("indexer.vectors.recall.SAMPLE", 100)


@pytest.fixture
def corpus(store, tmp_path):
    return make_corpus(store, tmp_path, sentences(300))


def texts_of(corpus) -> list[str]:
    return [text for batch in corpus.batches(columns=["text"]) for text in batch.column("text").to_pylist()]


@pytest.mark.parametrize(
    ("settings", "rows", "structure", "why"),
    [
        ({}, 200_000, "flat", "at most exact_rows = 200000"),
        ({}, 200_001, "ivf", "more than exact_rows = 200000"),
        ({"exact_rows": 5}, 6, "ivf", "as find 0.98"),
        ({"structure": "hnsw"}, 6, "hnsw", "was asked for"),
        ({"structure": "flat"}, 10**9, "flat", "was asked for"),
    ],
)
def test_the_structure_follows_the_rows_unless_one_is_asked_for(settings, rows, structure, why):
    chosen, said = choose_structure(DenseSettings(**settings), rows)
    assert chosen == structure
    assert why in said


@ALL
def test_the_facts_name_the_structure(store, corpus, settings):
    facts = build(store, corpus, "i", settings).manifest.facts
    assert facts["structure"] == ("flat" if settings is SMALL else settings.structure)
    assert facts["rows"] == 300
    assert facts["why"]


def test_vectors_are_the_encoders_in_the_corpus_order(store, corpus):
    index = DenseIndex.open(build(store, corpus, "flat", SMALL), SMALL)
    expected = HashingEncoder().encode(texts_of(corpus), kind="passage").astype(np.float16)
    assert (index.vectors.take(np.arange(300)) == expected).all()
    _, rows = index.search(expected.astype(np.float32), 1)
    assert rows[:, 0].tolist() == list(range(300))


def test_a_flat_index_finds_what_brute_force_finds(store, corpus):
    index = DenseIndex.open(build(store, corpus, "flat", SMALL), SMALL)
    passages, queries = index.vectors.take(np.arange(300)), clustered(50, seed=3)
    scores, rows = index.search(queries, 20)
    expected_scores, expected_rows = brute_force(passages, queries, 20)
    assert rows.tolist() == expected_rows.tolist()
    assert scores.tobytes() == np.ascontiguousarray(expected_scores).tobytes()


def asked(corpus, rows):
    """The openings of these passages, as the build asks them."""
    said = texts_of(corpus)
    return HashingEncoder().encode([" ".join(said[row].split()[:OPENING_WORDS]) for row in rows], kind="query")


@pytest.mark.parametrize("settings", [APPROXIMATE, GRAPH], ids=["ivf", "hnsw"])
def test_an_approximate_index_tells_its_true_recall(store, corpus, settings):
    """Law 4: measured again from outside, on what it was measured on, it is what the facts say, and what was asked."""
    artifact = build(store, corpus, "i", settings)
    facts, index = artifact.manifest.facts, DenseIndex.open(artifact, settings)
    passages = index.vectors.take(np.arange(300))
    own = np.sort(np.random.default_rng(settings.seed + 1).choice(300, facts["recall_queries"], replace=False))
    for name, queries in (("recall", asked(corpus, own)), ("recall_passages", passages[own])):
        true = brute_force(passages, queries, facts["recall_k"] + 1)[1]
        found = index.search(queries, facts["recall_k"] + 1)[1]
        shares = [len({*f} & {*t} - {o}) / len({*t} - {o}) for f, t, o in zip(found, true, own, strict=True)]
        assert facts[name] == pytest.approx(np.mean(shares), abs=0.005)
    assert settings.recall <= facts["recall"] < 1


def test_a_higher_recall_visits_more(store, corpus):
    probes = [
        build(
            store, corpus, f"i{n}", DenseSettings(shard_rows=64, structure="ivf", recall=recall, depth=10)
        ).manifest.facts
        for n, recall in enumerate((0.5, 0.9, 0.999))
    ]
    assert probes[0]["margin"] < probes[1]["margin"] < probes[2]["margin"]
    assert probes[0]["visited"] < probes[1]["visited"] < probes[2]["visited"]
    assert probes[0]["recall"] < probes[1]["recall"] < probes[2]["recall"]


def test_the_margin_is_the_least_that_finds_the_share_asked_for():
    gaps = np.array([[-0.2, -0.1, 0.3], [0.1, -0.3, 0.25]])
    assert [margin_for(gaps, recall) for recall in (0.1, 0.5, 0.6, 0.7, 0.99)] == [0, 0, 0.1, 0.25, 0.3]


@pytest.mark.parametrize("settings", [APPROXIMATE, GRAPH], ids=["ivf", "hnsw"])
def test_an_approximate_index_gives_min_k_rows_hits_all_different(store, corpus, settings):
    index = DenseIndex.open(build(store, corpus, "i", settings), settings)
    queries = clustered(20, seed=3)
    for k in (1, 10, 40, 41, 299, 300, 1000):
        scores, rows = index.search(queries, k)
        assert rows.shape == scores.shape == (20, min(k, 300))
        assert all(len(set(query)) == min(k, 300) for query in rows.tolist())
        assert rows.min() >= 0
        assert (np.diff(scores, axis=1) <= 0).all()


@ALL
def test_fewer_hits_are_the_first_of_more_and_a_query_alone_finds_the_same(store, corpus, settings):
    index = DenseIndex.open(build(store, corpus, "i", settings), settings)
    queries = clustered(20, seed=3)
    scores, rows = index.search(queries, 40)
    for k in (1, 10, 32):
        fewer_scores, fewer_rows = index.search(queries, k)
        assert (fewer_rows == rows[:, :k]).all()
        assert (fewer_scores == scores[:, :k]).all()
    assert (index.search(queries[5:6], 10)[1] == rows[5:6, :10]).all()
    assert (index.search(queries, 40, threads=3)[1] == rows).all()


def test_no_queries_give_no_hits(store, corpus):
    index = DenseIndex.open(build(store, corpus, "i", APPROXIMATE), APPROXIMATE)
    scores, rows = index.search(np.zeros((0, 16), np.float32), 3)
    assert scores.shape == rows.shape == (0, 3)


def test_queries_of_another_width_are_refused(store, corpus):
    with pytest.raises(BadInput, match=r"\(n, 16\)"):
        DenseIndex.open(build(store, corpus, "i", SMALL), SMALL).search(clustered(1, 8), 3)


@ALL
def test_a_build_stopped_anywhere_goes_on_to_the_same_id(store, corpus, settings):
    whole = build(store, corpus, "whole", settings)
    for _ in range(40):
        try:
            stopped = build(store, corpus, "stopped", settings, HashingEncoder(fail_after=5))
            break
        except InterruptedError:
            assert "stopped" not in store.names("index")
    assert stopped.id == whole.id


class CountingEncoder(HashingEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.passages = 0

    def encode(self, texts, *, kind):
        self.passages += len(texts) if kind == "passage" else 0
        return super().encode(texts, kind=kind)


@ALL
@pytest.mark.parametrize("before", [1, 16, 64, 130])
def test_an_index_that_grew_equals_one_from_scratch_and_encodes_no_finished_block_again(
    store, tmp_path, settings, before
):
    said = sentences(300)
    small = make_corpus(store, tmp_path / "small", said[:before], name="small")
    large = make_corpus(store, tmp_path / "large", said, name="large")
    earlier = build(store, small, "earlier", SMALL)
    encoder = CountingEncoder()
    grown = build(store, large, "grown", settings, encoder, earlier=earlier)
    assert encoder.passages == 300 - before // 64 * 64 - before % 64 // 16 * 16
    assert grown.id == build(store, large, "scratch", settings).id


def test_an_earlier_vector_that_was_changed_is_not_built_upon(store, tmp_path):
    said = sentences(200)
    small = make_corpus(store, tmp_path / "small", said[:150], name="small")
    large = make_corpus(store, tmp_path / "large", said, name="large")
    for name in ("dense-00000.npy", "dense-00002.npy"):  # a whole shard, and one in part
        earlier = build(store, small, f"before-{name[:-4]}", SMALL)
        path = earlier.directory / name
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        again = open_artifact(earlier.directory, "index", version=1)
        with pytest.raises(CorruptArtifact, match=name):
            build(store, large, f"grown-{name[:-4]}", SMALL, earlier=again)


@pytest.mark.parametrize(("settings", "name"), [(APPROXIMATE, CODES), (GRAPH, HNSW), (SMALL, SEARCH)])
def test_a_changed_file_is_refused_before_it_is_read(store, corpus, settings, name):
    artifact = build(store, corpus, "i", settings)
    path = artifact.directory / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    again = open_artifact(artifact.directory, "index", version=1)
    with pytest.raises(CorruptArtifact, match=name):
        DenseIndex.open(again, settings)


def test_an_index_of_an_earlier_version_is_told_to_be_built_again(store, corpus):
    with drafting(store.path("index", "old"), Plan("index", 1, {}, {})) as draft:
        draft.finish()
    with pytest.raises(NotFound, match="build it again"):
        DenseIndex.open(open_artifact(store.path("index", "old"), "index", version=1), SMALL)


def test_a_graph_that_does_not_fit_the_memory_granted_is_refused_before_anything_is_encoded(store, corpus):
    encoder = CountingEncoder()
    with pytest.raises(BadInput, match="structure ivf"):
        build(store, corpus, "i", GRAPH, encoder, engine=LocalEngine(1, memory_budget=10_000))
    assert encoder.passages == 0


@pytest.mark.parametrize(
    "wrong", [{"structure": "lsh"}, {"recall": 1.0}, {"recall": 0.0}, {"shard_rows": 0}, {"depth": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadInput, match="Expected"):
        DenseSettings(**wrong)


def test_how_much_is_visited_is_part_of_the_content(store, corpus):
    """Not of the settings: it was measured."""
    artifact = build(store, corpus, "i", APPROXIMATE)
    search = json.loads(artifact.path(SEARCH).read_bytes())
    assert search["margin"] == artifact.manifest.facts["margin"]
    assert dense.SEARCH in {entry.name for entry in artifact.manifest.files}
