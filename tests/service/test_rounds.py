"""Claims of rounds: the best neighbours ask, nothing held out does, and what they find comes after the first round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.store import Store
from service.candidates import Work
from service.neighbours import DISCOUNT, Searching
from service.rounds import UNIT
from service.transfer_set import build_transfer_set, read_request
from tests.service.fake_index import FakeHits, FakeIndex, generic_texts, opener_of
from tests.service.tasks_for_tests import write_task
from tests.service.test_transfer_set import neighbours_of, rows_of

# As overlap counts words of sets, so that no text is nearest to itself by being long.
LOOSE = {"max_uses": 10_000, "near_utterance": None}


class Asked(FakeIndex):
    """An index that remembers what it was asked."""

    def __init__(self, texts: Sequence[str], **given: Any) -> None:
        super().__init__(texts, **given)
        self.asked: list[str] = []

    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> FakeHits:
        self.asked.extend(queries)
        return super().search(queries, k, retriever, seed=seed)


@pytest.fixture
def build(tmp_path: Path) -> Any:
    task = write_task(tmp_path)

    def build_one(
        name: str = "y", *, work: Work | None = None, index: FakeIndex | None = None, **settings: Any
    ) -> Artifact:
        values = {"task": task, "index": "fake", "retriever": "lexical", "k": 4, "rounds": 2} | settings
        opened = index or FakeIndex(generic_texts(300))
        return build_transfer_set(Store(tmp_path), name, read_request(values), work=work, opener=opener_of(opened))

    return build_one


def second_round(index: FakeIndex, first: Sequence[int], k: int) -> list[int]:
    """Reciprocal rank fusion of what the passages `first` find, but for themselves and each other, in plain words."""
    worth: dict[int, int] = defaultdict(int)
    for asker in first[:3]:
        hits = index.search([index.texts[asker]], k, "lexical")
        for rank, (row, score) in enumerate(zip(hits.rows[0].tolist(), hits.scores[0].tolist(), strict=True)):
            if score > 0 and row not in first:
                worth[row] += UNIT * DISCOUNT // (DISCOUNT + rank)
    return sorted(worth, key=lambda row: (-worth[row], row))[:k]


def test_the_second_round_is_what_the_best_neighbours_find(build: Any) -> None:
    index = FakeIndex(generic_texts(300))
    for row in rows_of(build(policy=LOOSE, index=index, heldout_splits=[])):
        found = [int(n["passage_id"][1:]) for n in row["neighbours"]]
        first = [int(passage) for passage, score in _hits(index, row["text"]) if score > 0]
        assert found == first + second_round(index, first, 4)


def _hits(index: FakeIndex, text: str) -> list[tuple[int, float]]:
    hits = index.search([text], 4, "lexical")
    return list(zip(hits.rows[0].tolist(), hits.scores[0].tolist(), strict=True))


def test_a_neighbours_rank_says_its_round_and_only_the_first_round_has_scores(build: Any) -> None:
    made = build(rounds=3, policy=LOOSE)
    found = [(n["rank"] // 4, n["score"] is None, n["lexical_rank"] is None) for n in neighbours_of(made)]
    assert {*found} == {(0, False, False), (1, True, True), (2, True, True)}
    rounds = [sum(number == of for of, *_ in found) for number in range(3)]
    assert made.manifest.facts["rounds"] == rounds
    for row in rows_of(made):
        ranks = [n["rank"] for n in row["neighbours"]]
        assert ranks == sorted({*ranks})
        assert len({n["passage_id"] for n in row["neighbours"]}) == len(ranks) <= 12


def test_the_first_round_is_as_it_is_without_a_second(build: Any) -> None:
    alone, both = build("alone", rounds=1, policy=LOOSE), build("both", policy=LOOSE)
    for one, two in zip(rows_of(alone), rows_of(both), strict=True):
        assert [n for n in two["neighbours"] if n["rank"] < 4] == one["neighbours"]
    assert "rounds" not in {*alone.manifest.params, *alone.manifest.facts}


def test_nothing_held_out_asks_and_no_double_of_an_utterance(tmp_path: Path) -> None:
    rows = [{"text": "play some jazz music", "split": "train"}, {"text": "play a rock song in town", "split": "test"}]
    index = Asked([
        *("play a rock song in town", "well play a rock song in town", "Play some jazz, music!", "jazz music is cold"),
        *("is it cold", "rock song town", "a cold table"),
    ])  # fmt: skip
    request = {"task": write_task(tmp_path, rows), "index": "fake", "retriever": "lexical", "k": 4, "rounds": 2}
    made = build_transfer_set(Store(tmp_path), "y", read_request(request), opener=opener_of(index))
    assert index.asked == ["play some jazz music", "jazz music is cold"]
    assert [n["text"] for n in neighbours_of(made)] == ["jazz music is cold", "is it cold", "a cold table"]


def test_only_so_many_ask(build: Any) -> None:
    for askers in (1, 2):
        index = Asked(generic_texts(300))
        rows = rows_of(build(f"a{askers}", index=index, askers=askers, policy=LOOSE))
        best = {n["text"] for row in rows for n in row["neighbours"][:askers]}
        assert {*index.asked[40:]} == best


def test_in_the_third_round_those_of_the_second_ask(tmp_path: Path) -> None:
    task = write_task(tmp_path, [{"text": "play", "split": "train"}])
    index = Asked(["play aa", "aa bb", "bb cc", "cc dd", "dd ee"])
    request = {"task": task, "index": "fake", "retriever": "lexical", "k": 3, "rounds": 3}
    made = build_transfer_set(Store(tmp_path), "y", read_request(request), opener=opener_of(index))
    assert index.asked == ["play", "play aa", "aa bb"]
    assert [(n["text"], n["rank"]) for n in neighbours_of(made)] == [("play aa", 0), ("aa bb", 3), ("bb cc", 6)]


def test_what_shares_no_word_with_what_asks_is_not_found(tmp_path: Path) -> None:
    task = write_task(tmp_path, [{"text": "play", "split": "train"}])
    index = FakeIndex(["play aa", "xx", "aa bb", "yy zz"])
    request = {"task": task, "index": "fake", "retriever": "lexical", "k": 1, "rounds": 2}
    deep = request | {"policy": {"diversity": 0, "pool": 4}}
    for name, given in (("one", request), ("deep", deep)):
        made = build_transfer_set(Store(tmp_path), name, read_request(given), opener=opener_of(index))
        assert [n["text"] for n in neighbours_of(made)] == (["play aa"] if name == "one" else ["play aa", "aa bb"])


class Hybrid(FakeIndex):
    """Fuses its lexical ranking with a dense one that finds nothing."""

    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> FakeHits:
        hits = super().search(queries, k, "lexical", seed=seed)
        nowhere, missing = np.full(hits.rows.shape, -1, np.int32), np.full(hits.rows.shape, np.nan, np.float32)
        return replace(hits, dense_rank=nowhere, dense_score=missing)


def test_a_later_round_of_the_hybrid_retriever_stays_as_that_of_the_lexical_one_does(build: Any) -> None:
    index = Hybrid(generic_texts(300), retrievers=("hybrid", "lexical"))
    both = [build(retriever, index=index, retriever=retriever) for retriever in ("hybrid", "lexical")]
    found = [[(n["passage_id"], n["rank"]) for n in neighbours_of(made)] for made in both]
    assert found[0] == found[1]
    assert both[0].manifest.facts["rounds"][1] > 20


def test_the_size_of_the_steps_changes_nothing(build: Any) -> None:
    settings = {"rounds": 3, "policy": {"diversity": 0.4, "pool": 9, "per_class": True, "budget_generic": 200}}
    sizes = enumerate([(9, 60), (15, 200), (1000, 100_000)])
    assert len({build(f"w{n}", work=Work(*size), **settings).id for n, size in sizes}) == 1


def test_a_small_corpus_is_found_whole_and_no_passage_twice(build: Any) -> None:
    made = build(index=FakeIndex(generic_texts(7)), k=1000, rounds=3, policy=LOOSE | {"drop_no_match": False})
    assert made.manifest.counts["neighbours"].rows_in == 7 * 40


def test_utterances_that_match_nothing_ask_nothing(build: Any) -> None:
    index = Asked(["xx yy", "zz"])
    made = build(index=index)
    assert len(index.asked) == 40
    assert made.manifest.facts["rounds"] == [0, 0]


class Stopped(Exception):
    """A kill, as far as one process can play it."""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_build_stopped_anywhere_goes_on_to_the_same_set(tmp_path: Path, share: float) -> None:
    index, task = Asked(generic_texts(300)), write_task(tmp_path)
    settings = {"rounds": 3, "k": 5, "policy": {"diversity": 0.5, "pool": 12, "per_class": True, "budget_rows": 180}}
    request = read_request({"task": task, "index": "fake", "retriever": "lexical", **settings})
    reports, stop_after = 0, 10_000

    def watch(stage: str, done: int, total: int | None) -> None:
        nonlocal reports
        reports += 1
        if reports > stop_after:
            raise Stopped

    def run(name: str) -> Artifact:
        nonlocal reports
        reports = 0
        work = Work(utterances=20, passages=100)
        return build_transfer_set(Store(tmp_path), name, request, progress=watch, work=work, opener=opener_of(index))

    undisturbed = run("undisturbed")
    asked, read, stop_after = len(index.asked), len(index.read), int(share * reports)
    with pytest.raises(Stopped):
        run("y")
    stop_after = 10_000
    assert run("y").id == undisturbed.id
    assert (len(index.asked), len(index.read)) == (2 * asked, 2 * read)  # nothing is done twice


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"retriever": "random"}, "rounds: expected a retriever that ranks passages .* found random"),
        ({"retriever": "augmented"}, "found augmented"),
        ({"retriever": "none", "k": 1}, "found none"),
        ({"k": 0}, "expected a k for the neighbours that ask"),
        ({"rounds": 4}, "rounds: input should be less than or equal to 3"),
        ({"rounds": 0}, "rounds: input should be greater"),
        ({"askers": 0}, "askers: input should be greater"),
    ],
)
def test_what_cannot_be_asked_gets_a_sentence(build: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        build(**settings)
