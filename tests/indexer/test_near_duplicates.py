"""Near-duplicates: nothing is dropped that is not near, nearly all that is near is found, kills change nothing."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput
from contract.store import Store
from indexer.corpus import build_corpus
from indexer.corpus_settings import CorpusSettings
from indexer.reading import near_duplicates
from indexer.reading.near_duplicates import BANDS, FOUND, NearDuplicates, _Buckets, _rows, _words_of, method
from tests.indexer.conftest import WORDS

pytest.importorskip("rensa")
PASSAGES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=40)


def similarity(one: str, other: str) -> float:
    first, second = set(_words_of(one)), set(_words_of(other))
    return len(first & second) / max(len(first | second), 1)


def batches_of(texts: list[str], size: int) -> list[pa.Array]:
    return [pa.array(texts[start : start + size], pa.string()) for start in range(0, len(texts), size)]


@settings(max_examples=60, deadline=None)
@given(PASSAGES, st.sampled_from([0.5, 0.7, 0.8, 1.0]), st.integers(1, 20))
def test_what_is_dropped_is_near_a_kept_one_before_it(texts, threshold, size):
    near = NearDuplicates(threshold)
    is_fresh = np.concatenate([[], *(near.add(batch) for batch in batches_of(texts, size))]).astype(bool)
    kept: list[str] = []
    for text, fresh in zip(texts, is_fresh, strict=True):
        if fresh:
            kept.append(text)
        else:
            assert max(similarity(text, other) for other in kept) >= threshold


@settings(max_examples=60, deadline=None)
@given(PASSAGES, st.integers(0, 40), st.integers(1, 20))
def test_what_was_kept_can_be_taken_in_again_by_another_life(texts, cut, size):
    texts = list(dict.fromkeys(texts))  # as the sieve does, before
    before = [*batches_of(texts[:cut], size)]
    after = [*batches_of(texts[cut:], size)]
    one, other = NearDuplicates(0.6), NearDuplicates(0.6)
    for batch in before:
        kept = batch.filter(pa.array(one.add(batch)))
        for part in batches_of(kept.to_pylist(), 3):
            other.remember(part)
    for batch in after:
        assert one.add(batch).tolist() == other.add(batch).tolist()


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_what_is_near_is_found_as_often_as_promised(threshold):
    """Pairs a little nearer than the threshold: the promise is for those that are exactly as near."""
    draw, pairs = np.random.default_rng(0), 400
    common = int(np.ceil(2 * threshold * 60 / (1 + threshold)))  # of 60 words each: Jaccard at the threshold
    firsts = [[f"w{number}x{word}" for word in range(60)] for number in range(pairs)]
    others = [
        [*draw.permutation(words)[:common], *(f"v{number}x{word}" for word in range(60 - common))]
        for number, words in enumerate(firsts)
    ]
    near = NearDuplicates(threshold)
    assert near.add(pa.array(map(" ".join, firsts))).all()
    found = pairs - near.add(pa.array(map(" ".join, others))).sum()
    assert found / pairs >= FOUND - 0.03


@pytest.mark.parametrize("size", [1, 3])
def test_what_was_dropped_drops_nothing(size):
    """Each is near the one before it; the third is far from the first, and the second is not in the corpus."""
    texts = [" ".join(f"w{word}" for word in range(start, start + 10)) for start in range(3)]
    near = NearDuplicates(0.75)
    assert [fresh for batch in batches_of(texts, size) for fresh in near.add(batch).tolist()] == [True, False, True]


def test_case_punctuation_and_order_make_no_difference_a_word_does():
    near = NearDuplicates(0.8)
    texts = ["Play some jazz, please!", "please play SOME jazz", "play some rock please", "", "", "!?"]
    assert near.add(pa.array(texts)).tolist() == [True, False, True, True, True, True]


def test_text_without_spaces_is_compared_by_pairs_of_characters():
    near = NearDuplicates(0.7)
    texts = ["東京は今日とても良い天気です", "東京は今日とても良い天気でした", "大阪では雨が降っています"]
    assert near.add(pa.array(texts)).tolist() == [True, False, True]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=8))
def test_a_crowded_bucket_proposes_its_earliest_only_whatever_the_runs(batches):
    """Or a corpus of one template would cost its square."""
    in_runs, at_once, first = _Buckets(), _Buckets(), 0
    for keys in batches:
        in_runs.add(np.array(keys, np.uint64), np.arange(first, first + len(keys)))
        first += len(keys)
    flat = [key for keys in batches for key in keys]
    at_once.add(np.array(flat, np.uint64), np.arange(first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "MAX_COMPARED", 3)
        for buckets in (in_runs, at_once):
            text, number = buckets.pairs(np.arange(4, dtype=np.uint64))
            found = {key: number[text == key].tolist() for key in range(4)}
            assert found == {key: [n for n, other in enumerate(flat) if other == key][:3] for key in range(4)}


def test_the_method_is_part_of_what_a_corpus_is(store, tmp_path):
    (tmp_path / "a.txt").write_text("play some jazz now please\nplease play some jazz now\n")
    corpus = build_corpus(store, "c", [str(tmp_path / "a.txt")], CorpusSettings(near_duplicates=0.8))
    assert corpus.manifest.params["min_hash"] == method(0.8) == f"rensa R2, {BANDS} x {_rows(0.8)}"
    assert corpus.manifest.counts["passages"].dropped["near_duplicate"] == 1
    plain = build_corpus(store, "plain", [str(tmp_path / "a.txt")])
    assert "near_duplicates" not in plain.manifest.params
    assert plain.rows == 2


def test_another_min_hash_than_the_one_of_the_first_version_is_refused(store, tmp_path, monkeypatch):
    from indexer.corpus import add_to_corpus

    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"play some jazz now {name}\n")
    build_corpus(store, "c", [str(tmp_path / "a.txt")], CorpusSettings(near_duplicates=0.8))
    monkeypatch.setattr(near_duplicates, "BANDS", 10)
    with pytest.raises(BadInput, match=r"made with min_hash rensa .*12 x .*here it is .*10 x"):
        add_to_corpus(store, "c", [str(tmp_path / "b.txt")])


@pytest.mark.parametrize("value", [0.0, 0.49, 1.1, float("nan")])
def test_a_similarity_that_makes_no_sense_is_refused(value):
    with pytest.raises(BadInput, match=r"0\.5 to 1"):
        CorpusSettings(near_duplicates=value)


def test_the_batches_of_a_build_do_not_change_what_is_dropped_across_files(tmp_path: Path):
    """The same rows in one file and in two: other batches, the same kept texts."""
    rows = [{"text": f"play some {WORDS[n % 7]} in the room {n // 3}"} for n in range(60)]
    found = []
    for cuts in ([60], [20, 60]):
        folder, begin = tmp_path / str(len(cuts)), 0
        folder.mkdir()
        for cut in cuts:
            (folder / f"{cut}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[begin:cut]))
            begin = cut
        corpus = build_corpus(Store(folder), "c", [str(folder)], CorpusSettings(near_duplicates=0.7))
        found.append([text for batch in corpus.batches(columns=["text"]) for text in batch.column(0).to_pylist()])
    assert found[0] == found[1]
