"""Claims of the inspection: it says what is in the shards, and measures variety as the paper defines it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.store import Store
from service.inspection import BARS, _Reader, histogram, inspect_transfer_set, vocabulary_overlap
from service.transfer_set import build_transfer_set, read_request
from tests.service.fake_index import WORDS, FakeIndex, generic_texts, opener_of
from tests.service.tasks_for_tests import write_task


@pytest.mark.parametrize("retriever", ["lexical", "random", "augmented", "none"])
def test_an_inspection_agrees_with_the_manifest(tmp_path: Path, retriever: str) -> None:
    index = FakeIndex(generic_texts(100))
    request = read_request({"task": write_task(tmp_path), "index": "fake", "retriever": retriever, "k": 6})
    artifact = build_transfer_set(Store(tmp_path), "y", request, opener=opener_of(index))
    found, facts = inspect_transfer_set(artifact), artifact.manifest.facts
    assert (found.name, found.id, found.rows, found.retriever) == ("y", artifact.id, 40, retriever)
    assert found.texts == facts["texts"]
    assert found.generic_share == pytest.approx(facts["generic_share"], abs=1e-6)
    assert (found.task.texts, found.generic.texts) == (facts["utterances"], facts["neighbours"])
    assert dict(found.sources) == facts["sources"]
    assert found.neighbours_per_utterance is not None
    assert found.neighbours_per_utterance.most == facts["neighbours_per_utterance"]["max"]
    assert found.counts == artifact.manifest.counts
    if facts["neighbours"]:
        assert found.ranks is not None
        assert found.ranks.mean == pytest.approx(facts["mean_rank"], abs=1e-5)
        assert found.generic.words is not None
        assert found.generic.words.mean * found.generic.texts == pytest.approx(facts["words"]["neighbours"])
    else:
        assert found.ranks is found.scores is found.generic.words is found.generic.words_histogram is None
        assert not found.histograms
    if retriever == "lexical":
        assert found.histograms.keys() == {"score", "lexical_score"}
        assert sum(found.histograms["score"].counts) == facts["neighbours"]
    assert found.task.words_histogram is not None
    assert sum(found.task.words_histogram.counts) == facts["utterances"]
    json.dumps(asdict(found), allow_nan=False)


def test_texts_that_are_not_included_are_not_inspected(tmp_path: Path) -> None:
    settings = {"task": write_task(tmp_path), "index": "fake", "retriever": "lexical", "include_utterance": False}
    opener = opener_of(FakeIndex(generic_texts(50)))
    found = inspect_transfer_set(build_transfer_set(Store(tmp_path), "y", read_request(settings), opener=opener))
    assert found.task.texts == 0
    assert found.task.distinct_1 is None
    assert found.vocabulary_overlap is None
    assert found.generic_share == 1


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=12)


@given(texts, st.integers(0, 12))
def test_distinct_n_is_distinct_n_grams_over_all_n_grams_however_the_texts_are_cut(made: list[str], cut: int) -> None:
    reader = _Reader()
    reader.read(made[:cut])
    reader.read(made[cut:])
    side = reader.side()
    words = [word for text in made for word in text.split()]
    pairs = [pair for text in made for pair in zip(text.split(), text.split()[1:], strict=False)]
    assert side.distinct_1 == (len(set(words)) / len(words) if words else None)
    assert side.distinct_2 == (len(set(pairs)) / len(pairs) if pairs else None)
    assert side.texts == len(made)


def test_vocabulary_overlap_compares_the_most_frequent_words() -> None:
    task, generic = Counter(["a", "a", "a", "b", "b", "c"]), Counter(["b", "b", "b", "c", "c", "a", "d", "d", "d", "d"])
    assert vocabulary_overlap(task, generic) == 1
    assert vocabulary_overlap(task, generic, most=2) == 0.5  # {a, b} of the task, {d, b} of the generic text
    assert vocabulary_overlap(Counter(), generic) is None
    assert vocabulary_overlap(task, Counter()) == 0


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=50))
def test_a_histogram_counts_every_number_once_from_the_least_to_the_most(numbers: list[float]) -> None:
    finite = [number for number in numbers if math.isfinite(number)]
    found = histogram(numbers)
    if not finite:
        assert found is None
        return
    assert found is not None
    assert sum(found.counts) == len(finite)
    assert len(found.edges) == len(found.counts) + 1 == BARS + 1
    assert found.edges[0] <= min(finite)
    assert max(finite) <= found.edges[-1]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=50))
def test_bars_over_whole_numbers_are_alike_in_what_they_can_hold(numbers: list[int]) -> None:
    found = histogram(numbers, whole=True)
    assert found is not None
    assert sum(found.counts) == len(numbers)
    assert len(found.counts) <= BARS
    assert all(edge == int(edge) for edge in found.edges)
    assert found.edges[-1] > max(numbers)  # the closed end of the last bar holds nothing more than the others
    for low, high, rows in zip(found.edges, found.edges[1:], found.counts, strict=False):
        assert rows == sum(low <= number < high for number in numbers)
