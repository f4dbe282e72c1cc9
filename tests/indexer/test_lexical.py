"""Bulk BM25 is one BM25: equal to rank-bm25, equal to plain numpy, whatever the shards, threads, blocks and kills."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi, BM25Plus

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan, drafting
from contract.errors import BadInput, CorruptArtifact
from contract.schemas import CORPUS
from indexer.bm25 import postings
from indexer.bm25 import scan as bm25
from indexer.bm25.reference import RankBM25
from indexer.bm25.terms import add_up
from indexer.bm25.tokens import Tokenizer
from indexer.engine import LocalEngine
from indexer.lexical import LexicalIndex, LexicalSettings, build_lexical, open_lexical

WORDS = [*"abcdefgh"]
PLAIN = LexicalSettings(language="none")
OKAPI = replace(PLAIN, variant="okapi", k1=1.5)
PLUS = replace(PLAIN, variant="bm25plus", k1=1.5, delta=0.7)
VARIANTS = [PLAIN, OKAPI, PLUS]
CORPORA = st.lists(st.lists(st.sampled_from(WORDS[:6]), max_size=8).map(" ".join), min_size=1, max_size=14)
QUERIES = st.lists(st.lists(st.sampled_from([*WORDS, "unseen"]), max_size=7).map(" ".join), min_size=1, max_size=5)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Power cuts are not what is tested here, and a hundred small indexes would wait for the disk a thousand times."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def make_corpus(folder: Path, texts: list[str], shard_rows: int = 7) -> Artifact:
    with drafting(folder / "corpus", Plan("corpus", 1, {})) as draft:
        for start in range(0, len(texts), shard_rows):
            part = texts[start : start + shard_rows]
            ids = [f"p{start + i}" for i in range(len(part))]
            lengths = [len(text.split()) for text in part]
            table = pa.table([ids, part, ["test"] * len(part), ["en"] * len(part), lengths], schema=CORPUS)
            write_shard(draft, f"corpus-{start:05d}", table)
        draft.finish()
    return open_artifact(folder / "corpus", "corpus", version=1)


def make_index(folder: Path, corpus: Artifact, settings: LexicalSettings, name: str = "index", **options) -> Artifact:
    with drafting(folder / name, Plan("index", 1, {})) as draft:
        draft.finish(facts=build_lexical(corpus, draft, settings, **{"engine": Alone(), **options}))
    return open_artifact(folder / name, "index", version=1)


class Alone:
    """The engine that a test can look into: one shard after another, here."""

    memory_budget = None

    def map(self, work, numbers, *, bytes_each=0):
        return map(work, numbers)


def in_memory(texts: list[str], settings: LexicalSettings) -> LexicalIndex:
    """An index without a disk, in shards as `settings` says: for laws, of which many are searched."""
    shards = []
    for first in range(0, len(texts), settings.shard_rows):
        part = pa.array(texts[first : first + settings.shard_rows], pa.string())
        shards.append(replace(postings.invert(settings.tokenizer.tokens([part])), first_row=first))
    terms, frequencies = add_up([(shard.terms, np.diff(shard.starts)) for shard in shards])
    return LexicalIndex(shards, terms, frequencies, settings)


def search(texts: list[str], queries: list[str], k: int, settings: LexicalSettings = PLAIN, **options):
    return in_memory(texts, settings).search(queries, k, **options)


def lucene(texts: list[str], query: str, k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    """BM25 as Lucene defines it, a passage and a term at a time; float32 sums from the rarest term on."""
    bags = [text.split() for text in texts]
    mean = sum(map(len, bags)) / len(bags)
    frequency = {term: sum(term in bag for bag in bags) for term in set(query.split())}
    scores = np.zeros(len(bags), np.float32)
    for term in sorted((t for t in frequency if frequency[t]), key=lambda t: (frequency[t], t)):
        n = frequency[term]
        idf = np.log1p((len(bags) - n + 0.5) / (n + 0.5))
        for row, bag in enumerate(bags):
            if count := bag.count(term):
                impact = np.float32(idf * (count / (count + k1 * (1 - b + b * (len(bag) / mean)))))
                scores[row] += np.float32(query.split().count(term)) * impact
    return scores


def ranked(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best k of all rows, ties by row."""
    rows = np.argsort(-scores, kind="stable")[:k]
    return scores[rows], rows


def random_texts(rows: int, words: int, length: int, seed: int) -> list[str]:
    """Passages with the long-tailed words of real text, some of them empty."""
    draw = np.random.default_rng(seed)
    share = 1 / np.arange(1, words + 1)
    drawn = draw.choice(words, size=(rows, length), p=share / share.sum())
    lengths = draw.integers(0, length + 1, rows)
    return [" ".join(f"w{w}" for w in row[:n]) for row, n in zip(drawn, lengths, strict=True)]


@given(CORPORA, QUERIES, st.integers(1, 20), st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_it_is_lucenes_bm25_to_the_bit(texts, queries, k, shard_rows):
    scores, rows = search(texts, queries, k, replace(PLAIN, shard_rows=shard_rows))
    for query, found_scores, found_rows in zip(queries, scores, rows, strict=True):
        expected_scores, expected_rows = ranked(lucene(texts, query), k)
        assert found_rows.tolist() == expected_rows.tolist()
        assert found_scores.tobytes() == expected_scores.tobytes()


class Lucene(BM25Okapi):
    """rank-bm25 with Lucene's idf; its k1 + 1 is divided out below."""

    def _calc_idf(self, nd):
        self.idf = {word: np.log1p((self.corpus_size - n + 0.5) / (n + 0.5)) for word, n in nd.items()}


def by_rank_bm25(texts: list[str], query: str, chosen: LexicalSettings) -> np.ndarray:
    """What rank-bm25 scores every passage, 0 for one that has no term of the query."""
    bags = [text.split() for text in texts]
    if not any(bags):
        return np.zeros(len(bags))
    if chosen.variant == "bm25plus":
        reference = BM25Plus(bags, k1=chosen.k1, b=chosen.b, delta=chosen.delta)
    else:
        reference = {"okapi": BM25Okapi, "lucene": Lucene}[chosen.variant](bags, k1=chosen.k1, b=chosen.b)
    with np.errstate(invalid="ignore"):  # at b = 1 it divides nothing by nothing for an empty passage
        scores = reference.get_scores(query.split()) / (chosen.k1 + 1 if chosen.variant == "lucene" else 1)
    return np.where([bool({*bag} & {*query.split()}) for bag in bags], scores, 0)


def check_against_rank_bm25(texts, queries, k, chosen):
    scores, rows = search(texts, queries, k, chosen)
    for query, found_scores, found_rows in zip(queries, scores, rows, strict=True):
        expected = by_rank_bm25(texts, query, chosen)
        assert len(set(found_rows.tolist())) == min(k, len(texts))
        np.testing.assert_allclose(found_scores, np.sort(expected)[::-1][:k], atol=1e-4, rtol=1e-6)
        np.testing.assert_allclose(expected[found_rows], found_scores, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@given(CORPORA, QUERIES, st.integers(1, 20), st.integers(1, 15), st.sampled_from([(1.5, 0.75), (0.4, 0.0), (2.0, 1.0)]))
@settings(max_examples=30, deadline=None)
def test_it_is_rank_bm25_in_every_variant_negative_idf_and_all(variant, texts, queries, k, shard_rows, settled):
    k1, b = settled
    check_against_rank_bm25(texts, queries, k, replace(variant, shard_rows=shard_rows, k1=k1, b=b))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("terms", [1, 1000])
def test_it_is_rank_bm25_for_queries_of_one_and_of_a_thousand_terms(variant, terms):
    texts = [*random_texts(300, 400, 30, seed=terms), "", "", "w1 w1 w1"]
    words = np.random.default_rng(terms).integers(0, 500, (3, terms))
    queries = [" ".join(f"w{word}" for word in some) for some in words]
    check_against_rank_bm25(texts, queries, 400, replace(variant, shard_rows=100))


def test_bm25_plus_lifts_every_passage_that_shares_a_term_and_changes_no_order():
    texts = random_texts(200, 40, 9, seed=8)
    plus, without = search(texts, ["w1 w2 w2"], 200, PLUS), search(texts, ["w1 w2 w2"], 200, replace(PLUS, delta=0.0))
    assert plus[1].tolist() == without[1].tolist()
    shares = without[0] > 0
    assert shares.any()
    assert not shares.all()
    holders = [sum(word in text.split() for text in texts) for word in ("w1", "w2")]
    lift = 0.7 * (np.log(201 / holders[0]) + 2 * np.log(201 / holders[1]))
    np.testing.assert_allclose((plus[0] - without[0])[shares], lift, rtol=1e-5)
    assert not plus[0][~shares].any()


@given(CORPORA, QUERIES, st.integers(1, 20), st.integers(1, 6), st.integers(1, 3), st.sampled_from(VARIANTS))
@settings(max_examples=30, deadline=None)
def test_sharded_equals_unsharded_to_the_bit(texts, queries, k, shard_rows, threads, variant):
    whole = search(texts, queries, k, variant, threads=1)
    parts = search(texts, queries, k, replace(variant, shard_rows=shard_rows), threads=threads)
    assert whole[0].tobytes() == parts[0].tobytes()
    assert whole[1].tolist() == parts[1].tolist()


@given(CORPORA, QUERIES, st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_the_first_hits_of_more_are_the_hits_of_fewer(texts, queries, k, more):
    few, many = search(texts, queries, k), search(texts, queries, k + more)
    assert few[0].tobytes() == np.ascontiguousarray(many[0][:, :k]).tobytes()
    assert few[1].tolist() == many[1][:, :k].tolist()


@pytest.fixture(scope="module")
def long_tailed(tmp_path_factory):
    """Texts, and their corpus: large enough for several blocks, for rows of frequent terms, and for many ties."""
    texts = random_texts(40_000, 500, 10, seed=0)
    return texts, make_corpus(tmp_path_factory.mktemp("long-tailed"), texts, 20_000)


@pytest.mark.parametrize("shard_rows", [40_000, 17_001])
def test_skipping_frequent_terms_and_blocks_changes_nothing(tmp_path, long_tailed, shard_rows):
    texts, corpus = long_tailed
    draw = np.random.default_rng(1)
    queries = [" ".join(f"w{w}" for w in draw.integers(0, 500, n) ** 2 // 500) for n in draw.integers(1, 9, 40)]
    queries += ["w0", "w0 w0 w0 w1", "w499", "w499 w0 w1 w2 w3 w3", "w0 w1 w2 w3 w4 w5 w6 w7 w8", "", "unseen"]
    index = LexicalIndex.open(make_index(tmp_path, corpus, replace(PLAIN, shard_rows=shard_rows)), PLAIN)
    holders = inverted(texts)
    lengths = np.array([len(text.split()) for text in texts])
    for k in (1, 20):
        scores, rows = index.search(queries, k)
        for query, found_scores, found_rows in zip(queries, scores, rows, strict=True):
            expected_scores, expected_rows = ranked(fast_lucene(holders, lengths, query), k)
            assert found_scores.tobytes() == expected_scores.tobytes(), query
            assert found_rows.tolist() == expected_rows.tolist(), query


def inverted(texts: list[str]) -> dict[str, dict[int, int]]:
    """Term -> row -> count."""
    holders: dict[str, dict[int, int]] = {}
    for row, text in enumerate(texts):
        for term in text.split():
            counts = holders.setdefault(term, {})
            counts[row] = counts.get(row, 0) + 1
    return holders


def fast_lucene(holders: dict[str, dict[int, int]], lengths: np.ndarray, query: str) -> np.ndarray:
    """`lucene` by columns of numpy, for corpora of many rows."""
    scores = np.zeros(len(lengths), np.float32)
    for term in sorted(set(query.split()) & set(holders), key=lambda t: (len(holders[t]), t)):
        rows = np.array(list(holders[term]))
        counts = np.array(list(holders[term].values()))
        idf = np.log1p((len(lengths) - len(rows) + 0.5) / (len(rows) + 0.5))
        impact = idf * (counts / (counts + 1.2 * (1 - 0.75 + 0.75 * (lengths[rows] / lengths.mean()))))
        scores[rows] += np.float32(query.split().count(term)) * impact.astype(np.float32)
    return scores


def test_ties_stand_in_the_order_of_rows_and_the_rest_fills_up_at_zero():
    scores, rows = search(["x", "a", "x", "a", "x", "a b"], ["a"], 6)
    assert rows.tolist() == [[1, 3, 5, 0, 2, 4]]
    assert scores[0, 0] == scores[0, 1] > scores[0, 2] > 0
    assert scores[0, 3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("query", ["", "unseen words", "!?", "   "])
def test_a_query_of_nothing_known_gets_the_first_rows_at_zero(query):
    scores, rows = search(["a b", "", "b"], [query, "b"], 2)
    assert (rows[0].tolist(), scores[0].tolist()) == ([0, 1], [0, 0])
    assert rows[1].tolist() == [2, 0]


def test_k_beyond_the_rows_gives_all_rows_and_no_queries_give_no_hits():
    scores, rows = search(["a", "b"], ["b"], 100)
    assert rows.tolist() == [[1, 0]]
    assert scores.shape == (1, 2)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert search(["a", "b"], [], 5)[0].shape == (0, 2)


@pytest.mark.parametrize("texts", [[], [""], ["", "!", ""]])
@pytest.mark.parametrize("settings", VARIANTS)
def test_corpora_without_any_word_can_be_indexed_and_searched(texts, settings):
    scores, rows = search(texts, ["a", ""], 2, settings)
    assert rows.tolist() == [list(range(len(texts)))[:2]] * 2
    assert not scores.any()


def test_a_term_that_a_query_repeats_counts_as_often():
    once, thrice = search(["a b", "b"], ["a"], 1), search(["a b", "b"], ["a a a"], 1)
    assert thrice[0] == np.float32(3) * once[0]


def test_counts_past_a_byte_are_kept():
    texts = ["a " * 300, "a " * 299 + "b", "b"]
    scores, rows = search(texts, ["a"], 3, replace(PLAIN, k1=100.0, b=0.0))
    assert rows.tolist() == [[0, 1, 2]]
    np.testing.assert_array_equal(scores[0], lucene(texts, "a", 100.0, 0.0)[rows[0]])


def test_passages_and_queries_are_stemmed_alike():
    settings = LexicalSettings(shard_rows=2)
    _, rows = search(["no such thing", "He plays jazz.", "songs"], ["PLAYING!", "song"], 1, settings)
    assert rows.tolist() == [[1], [2]]


@given(CORPORA, QUERIES, st.integers(1, 20), st.sampled_from([OKAPI, PLUS]))
@settings(max_examples=10, deadline=None)
def test_the_scorer_rank_bm25_searches_the_same_files_and_agrees(texts, queries, k, variant):
    with tempfile.TemporaryDirectory() as folder:
        chosen = replace(variant, shard_rows=3)
        artifact = make_index(Path(folder), make_corpus(Path(folder), texts), chosen)
        scores, rows = open_lexical(artifact, chosen).search(queries, k)
        reference = open_lexical(artifact, replace(chosen, scorer="rank-bm25"))
        assert isinstance(reference, RankBM25)
        reference_scores, reference_rows = reference.search(queries, k)
    assert (scores.shape, rows.dtype) == (reference_scores.shape, reference_rows.dtype)
    np.testing.assert_allclose(scores, reference_scores, atol=1e-4)


def test_rank_bm25_refuses_what_it_is_not_for(tmp_path, monkeypatch):
    slow = replace(OKAPI, scorer="rank-bm25")
    corpus = make_corpus(tmp_path, ["a", "b"])
    artifact = make_index(tmp_path, corpus, slow)
    monkeypatch.setattr("indexer.lexical.MAX_ROWS_RANK_BM25", 1)
    for refused in (lambda: open_lexical(artifact, slow), lambda: make_index(tmp_path, corpus, slow, "large")):
        with pytest.raises(BadInput, match="has 2 passages, rank-bm25 serves up to 1; take the scorer bulk"):
            refused()
    with pytest.raises(BadInput, match="rank-bm25 has no variant lucene"):
        replace(PLAIN, scorer="rank-bm25")


@given(CORPORA, st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_the_vocabulary_is_that_of_all_shards(texts, shard_rows):
    with tempfile.TemporaryDirectory() as folder:
        artifact = make_index(Path(folder), make_corpus(Path(folder), texts), replace(PLAIN, shard_rows=shard_rows))
        terms, frequencies = postings.open_vocabulary(artifact)
        expected = {word: sum(word in text.split() for text in texts) for text in texts for word in text.split()}
        assert dict(zip(terms.strings(), frequencies.tolist(), strict=True)) == expected
        assert terms.strings() == sorted(expected)


def test_the_facts_are_those_of_the_corpus(tmp_path):
    artifact = make_index(tmp_path, make_corpus(tmp_path, ["a b a", "b", ""]), replace(PLAIN, shard_rows=2))
    assert artifact.manifest.facts == {"rows": 3, "terms": 2, "tokens": 4, "postings": 3, "mean_length": 4 / 3}


def test_threads_change_no_file(tmp_path):
    corpus = make_corpus(tmp_path, random_texts(60, 30, 8, seed=3))
    made = {
        make_index(tmp_path, corpus, replace(PLAIN, shard_rows=7), f"t{n}", engine=LocalEngine(n)).id for n in (1, 2, 5)
    }
    assert len(made) == 1


class _Killed(Exception):
    pass


@pytest.mark.parametrize("steps", range(6))
def test_a_build_that_stops_midway_goes_on_to_the_same_files(tmp_path, steps, monkeypatch):
    settings = replace(PLAIN, shard_rows=4)
    corpus = make_corpus(tmp_path, random_texts(19, 30, 8, seed=4))
    whole = make_index(tmp_path, corpus, settings, "whole")
    written, honest = [], postings.write_postings

    def write_some(draft, step, shard):
        if len(written) >= steps:
            draft.partial(step + ".starts.npy").write_bytes(b"half")
            raise _Killed
        written.append(step)
        return honest(draft, step, shard)

    monkeypatch.setattr("indexer.lexical.write_postings", write_some)
    monkeypatch.setattr("indexer.lexical.write_vocabulary", _stop)
    with pytest.raises(_Killed):
        make_index(tmp_path, corpus, settings, "killed", engine=Alone())
    monkeypatch.undo()
    again = []
    monkeypatch.setattr("indexer.lexical.write_postings", lambda *a: again.append(a[1]) or honest(*a))
    resumed = make_index(tmp_path, corpus, settings, "killed")
    assert not {*written} & {*again}
    assert (resumed.id, resumed.manifest.files) == (whole.id, whole.manifest.files)
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def _stop(*_):
    raise _Killed


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_kill_9_at_any_moment_of_a_build_or_an_add_loses_nothing_that_is_finished(tmp_path, moment):
    """The moment is the nth file that goes into its place: before, between and after those of a shard."""
    settings = replace(PLAIN, shard_rows=4)
    texts = random_texts(19, 30, 8, seed=4)
    make_index(tmp_path / "old", make_corpus(tmp_path / "old", texts[:10]), settings)
    corpus = make_corpus(tmp_path, texts)
    whole = make_index(tmp_path, corpus, settings, "whole")
    program = """
        import os, signal, sys
        from pathlib import Path
        import contract.draft
        from contract.artifact import open_artifact
        from indexer.lexical import LexicalSettings
        from tests.indexer.test_lexical import Alone, make_index
        folder, moment = Path(sys.argv[1]), int(sys.argv[2])
        left, honest = [moment // 2 * 5 // 2], contract.draft.move_into_place
        def move(partial, path):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            honest(partial, path)
        contract.draft.move_into_place = move
        earlier = open_artifact(folder / "old" / "index", "index", version=1) if moment % 2 else None
        corpus = open_artifact(folder / "corpus", "corpus", version=1)
        make_index(folder, corpus, LexicalSettings(language="none", shard_rows=4), "killed", earlier=earlier)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), str(moment)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "manifest.json").exists()
    earlier = open_artifact(tmp_path / "old" / "index", "index", version=1) if moment % 2 else None
    assert make_index(tmp_path, corpus, settings, "killed", earlier=earlier).id == whole.id


@given(st.lists(CORPORA, min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_an_index_that_was_added_to_is_the_one_built_from_scratch(additions, shard_rows):
    """Law 2 over any sequence of adds: the same files to the byte, hence the same id."""
    chosen = replace(PLAIN, shard_rows=shard_rows)
    with tempfile.TemporaryDirectory() as folder:
        texts, index = [], None
        for number, more in enumerate(additions):
            texts += more
            corpus = make_corpus(Path(folder) / str(number), texts)
            index = make_index(Path(folder) / str(number), corpus, chosen, earlier=index)
        scratch = make_index(Path(folder), corpus, chosen, "scratch")
        assert (index.id, index.manifest.files) == (scratch.id, scratch.manifest.files)


@pytest.mark.parametrize("shard_rows", [4, 10, 100])
def test_adding_tokenises_no_old_text_and_makes_no_whole_shard_again(tmp_path, shard_rows, monkeypatch):
    chosen = replace(PLAIN, shard_rows=shard_rows)
    texts = [f"number {n}" for n in range(37)]
    earlier = make_index(tmp_path / "a", make_corpus(tmp_path / "a", texts[:30]), chosen)
    seen, honest = [], Tokenizer.tokens

    def watched(tokenizer, batches):
        kept = list(batches)
        seen.extend(text for batch in kept for text in batch.to_pylist())
        return honest(tokenizer, kept)

    monkeypatch.setattr(Tokenizer, "tokens", watched)
    added = make_index(tmp_path / "b", make_corpus(tmp_path / "b", texts), chosen, earlier=earlier)
    assert seen == texts[30:]
    for name in (f"lexical-{n:05d}.passages.npy" for n in range(30 // shard_rows)):
        assert (added.directory / name).samefile(earlier.directory / name)


def test_adding_to_a_damaged_index_is_refused(tmp_path):
    chosen = replace(PLAIN, shard_rows=4)
    earlier = make_index(tmp_path / "a", make_corpus(tmp_path / "a", ["x"] * 6), chosen)
    for number in (0, 1):
        path = earlier.directory / f"lexical-0000{number}.passages.npy"
        honest = path.read_bytes()
        path.write_bytes(honest[:-1] + b"?")
        with pytest.raises(CorruptArtifact, match=path.name):
            make_index(tmp_path / "b", make_corpus(tmp_path / f"b{number}", ["x"] * 9), chosen, earlier=earlier)
        path.write_bytes(honest)


def test_progress_that_raises_leaves_a_draft_that_goes_on(tmp_path):
    corpus = make_corpus(tmp_path, random_texts(19, 30, 8, seed=4))
    with pytest.raises(_Killed):
        make_index(tmp_path, corpus, replace(PLAIN, shard_rows=4), progress=_stop)
    assert not (tmp_path / "index" / "manifest.json").exists()
    seen = []
    progress = lambda stage, done, total: seen.append((stage, done, total))  # noqa: E731
    make_index(tmp_path, corpus, replace(PLAIN, shard_rows=4), progress=progress)
    assert seen[-1] == ("lexical", 19, 19)


def test_a_flipped_byte_in_any_file_is_found_by_opening(tmp_path):
    artifact = make_index(tmp_path, make_corpus(tmp_path, ["a b", "b c", "c"]), replace(PLAIN, shard_rows=2))
    for entry in artifact.manifest.files:
        path = artifact.directory / entry.name
        honest = path.read_bytes()
        path.write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
        with pytest.raises(CorruptArtifact, match=entry.name):
            LexicalIndex.open(open_artifact(artifact.directory, "index", version=1), PLAIN)
        path.write_bytes(honest)
    LexicalIndex.open(open_artifact(artifact.directory, "index", version=1), PLAIN)


def test_opening_copies_no_postings_into_memory(tmp_path):
    artifact = make_index(tmp_path, make_corpus(tmp_path, random_texts(50, 30, 8, seed=5)), PLAIN)
    (shard,) = postings.open_postings(artifact)
    arrays = (shard.starts, shard.passages, shard.counts, shard.lengths, shard.terms.letters, shard.terms.starts)
    assert not any(array.flags.owndata or array.flags.writeable for array in arrays)


def test_a_panel_holds_no_more_rows_of_impacts_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(bm25, "_DENSE_TERMS", 2)
    texts = random_texts(200, 20, 10, seed=6)
    artifact = make_index(tmp_path, make_corpus(tmp_path, texts), PLAIN)
    index = LexicalIndex.open(artifact, PLAIN)
    (shard,) = postings.open_postings(artifact)
    every = np.arange(len(shard.starts) - 1)
    (panel,) = bm25.panels(shard, every, np.ones(len(every)), index.statistics)
    assert panel.dense.shape[0] == 2
    scores, _ = index.search(["w0 w1 w2 w3 w4"], 5)
    assert scores[0].tobytes() == ranked(lucene(texts, "w0 w1 w2 w3 w4"), 5)[0].tobytes()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"variant": "bm25+"}, r"variant is 'bm25\+'; expected lucene, okapi, bm25plus"),
        ({"scorer": "slow"}, "scorer is 'slow'; expected bulk or rank-bm25"),
        ({"delta": -0.5}, "delta is -0.5; expected a number of at least 0"),
        ({"k1": -1.0}, "k1 is -1.0; expected a number of at least 0"),
        ({"k1": float("nan")}, "k1 is nan"),
        ({"b": 1.5}, "b is 1.5; expected a number from 0 to 1"),
        ({"shard_rows": 0}, "shard_rows is 0; expected 1 to"),
        ({"language": "xx"}, "language is 'xx'; expected one of"),
    ],
)
def test_a_setting_that_cannot_be_gets_a_sentence(wrong, sentence):
    with pytest.raises(BadInput, match=sentence):
        LexicalSettings(**wrong)


def test_panels_follow_neither_shard_nor_corpus(monkeypatch):
    monkeypatch.setattr(bm25, "PANEL_ROWS", bm25.BLOCK)
    texts = random_texts(bm25.BLOCK * 2 + 100, 60, 3, seed=9)
    bounds = [bm25.BLOCK - 1, bm25.BLOCK, 2 * bm25.BLOCK]
    for row in bounds:
        texts[row] = "bound"
    queries = ["w0 w1", "w7 w59 w3", "w20", "bound"]
    pieces = search(texts, queries, 40, replace(PLAIN, shard_rows=2**24))
    shard = postings.invert(PLAIN.tokenizer.tokens([pa.array(texts)]))
    laid_out = list(bm25.panels(shard, np.array([0, -1, 2]), np.ones(3), in_memory(texts, PLAIN).statistics))
    assert [panel.rows for panel in laid_out] == [bm25.BLOCK, bm25.BLOCK, 100]
    assert sum(len(panel.slots) for panel in laid_out) == np.diff(shard.starts)[[0, 2]].sum()
    monkeypatch.undo()
    whole = search(texts, queries, 40, PLAIN)
    assert (pieces[0].tobytes(), pieces[1].tolist()) == (whole[0].tobytes(), whole[1].tolist())
    assert pieces[1][3, :3].tolist() == bounds


def test_queries_and_k_that_cannot_be_get_a_sentence():
    with pytest.raises(BadInput, match="k is 0; expected at least 1"):
        search(["a"], ["a"], 0)
    with pytest.raises(BadInput, match="not Unicode text"):
        search(["a"], ["\ud800"], 1)
