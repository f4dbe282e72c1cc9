"""Claims of diversity: it picks as maximal marginal relevance does, whatever the batch, and counts what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.store import Store
from service.candidates import Work
from service.diversity import WordSets, places
from service.neighbours import DISCOUNT
from service.selection import CROWDED, POOL, SelectionPolicy
from service.transfer_set import build_transfer_set, read_request
from tests.service.fake_index import FakeIndex, generic_texts, opener_of
from tests.service.tasks_for_tests import write_task
from tests.service.test_selection import candidates
from tests.service.test_transfer_set import neighbours_of, rows_of

INDEX = FakeIndex(generic_texts(400))
TEXTS = ["play some jazz", "play some rock", "jazz", "", "book a table for two", "book a table", "some jazz now", "?!"]
TEXTS += ["jazz jazz jazz jazz jazz play", "Play, some JAZZ!"]


def by_the_book(texts: Sequence[str], ranks: Sequence[int], diversity: float, keep: int) -> list[int]:
    """Carbonell and Goldstein's rule, read aloud: the hits of one utterance in the order they are picked."""
    words = [{*text.lower().replace(",", "").replace("!", "").split()} - {"?"} for text in texts]

    def alike(one: int, other: int) -> float:
        either = len(words[one] | words[other])
        return len(words[one] & words[other]) / either if either else 0.0

    picked: list[int] = []
    while len(picked) < min(keep, len(texts)):
        left = [hit for hit in range(len(texts)) if hit not in picked]
        picked.append(
            max(
                left,
                key=lambda hit: (
                    (1 - diversity) * DISCOUNT / (DISCOUNT + ranks[hit])
                    - diversity * max((alike(hit, other) for other in picked), default=0.0),
                    -ranks[hit],
                ),
            )
        )
    return picked


def picked_of(lists: Sequence[Sequence[int]], ranks: Sequence[Sequence[int]], diversity: float, keep: int) -> Any:
    """The places of hits given as lists of passages, an utterance each."""
    hits = candidates(
        utterance=[utterance for utterance, passages in enumerate(lists) for _ in passages],
        row=[passage for passages in lists for passage in passages],
        rank=[rank for own in ranks for rank in own],
    )
    return places(hits, hits.row, WordSets.of(TEXTS), diversity, keep)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    one = st.lists(st.integers(0, len(TEXTS) - 1), max_size=8, unique=True)
    lists = draw(st.lists(one, min_size=1, max_size=5))
    ranks = [sorted(draw(st.sets(st.integers(0, 90), min_size=len(own), max_size=len(own)))) for own in lists]
    return lists, ranks


@given(pools(), st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]), st.integers(1, 9))
def test_it_picks_what_the_rule_picks(pool: tuple[list[list[int]], list[list[int]]], share: float, keep: int) -> None:
    lists, ranks = pool
    found = picked_of(lists, ranks, share, keep).tolist()
    for own, own_ranks in zip(lists, ranks, strict=True):
        mine, found = found[: len(own)], found[len(own) :]
        wanted = by_the_book([TEXTS[passage] for passage in own], own_ranks, share, keep)
        assert [mine.index(place) for place in range(len(wanted))] == wanted
        assert sorted(mine)[len(wanted) :] == [CROWDED] * (len(own) - len(wanted))


@given(pools(), st.floats(0, 1), st.integers(1, 4))
def test_the_first_picks_of_many_are_those_of_few(
    pool: tuple[list[list[int]], list[list[int]]], share: float, keep: int
) -> None:
    few, many = picked_of(*pool, share, keep), picked_of(*pool, share, keep + 3)
    assert np.array_equal(np.where(many < keep, many, CROWDED), few)


@given(pools(), st.floats(0, 1))
def test_what_one_utterance_picks_is_no_matter_to_another(
    pool: tuple[list[list[int]], list[list[int]]], share: float
) -> None:
    lists, ranks = pool
    alone = [picked_of([own], [of_own], share, 3) for own, of_own in zip(lists, ranks, strict=True)]
    assert np.array_equal(picked_of(lists, ranks, share, 3), np.concatenate(alone))


@pytest.fixture
def build(tmp_path: Path) -> Any:
    task = write_task(tmp_path)

    def build_one(name: str = "y", *, work: Work | None = None, index: FakeIndex = INDEX, **settings: Any) -> Artifact:
        values = {"task": task, "index": "fake", "retriever": "lexical", "k": 4} | settings
        return build_transfer_set(Store(tmp_path), name, read_request(values), work=work, opener=opener_of(index))

    return build_one


def test_of_two_that_are_alike_the_nearer_stays(tmp_path: Path) -> None:
    task = write_task(tmp_path, [{"text": "play jazz tonight", "split": "train"}])
    texts = ["play jazz in town please", "please play jazz in town", "jazz is cold", "some jazz"]
    request = {"task": task, "index": "fake", "retriever": "lexical", "k": 2, "policy": {"diversity": 0.5}}
    made = build_transfer_set(Store(tmp_path), "y", read_request(request), opener=opener_of(FakeIndex(texts)))
    assert [n["text"] for n in neighbours_of(made)] == ["play jazz in town please", "jazz is cold"]
    assert made.manifest.counts["neighbours"].dropped == {"diversity": 2}


def test_what_is_left_out_is_counted_and_each_utterance_has_its_k(build: Any) -> None:
    made = build(policy={"diversity": 0.5, "pool": 30})
    count = made.manifest.counts["neighbours"]
    assert count.rows_in == 40 * 30 == count.rows_out + sum(count.dropped.values())
    assert count.dropped["diversity"] > 40
    assert max(len(row["neighbours"]) for row in rows_of(made)) == 4
    for row in rows_of(made):
        assert [n["rank"] for n in row["neighbours"]] == sorted(n["rank"] for n in row["neighbours"])


def test_without_a_wish_for_unlikeness_it_is_the_nearest_of_the_pool(build: Any) -> None:
    plain, pooled = build("plain"), build("pooled", policy={"diversity": 0, "pool": 4})
    assert rows_of(plain) == rows_of(pooled)
    assert plain.id != pooled.id


def test_more_diversity_has_more_words(build: Any) -> None:
    def words(share: float) -> float:
        made = build(f"d{share}", policy={"diversity": share, "pool": 40})
        sets = [[{*n["text"].split()} for n in row["neighbours"]] for row in rows_of(made)]
        return float(np.mean([len(set().union(*own)) / sum(map(len, own)) for own in sets if own]))

    assert words(0.0) < words(0.4) < words(1.0)


def test_the_size_of_the_steps_changes_nothing(build: Any) -> None:
    policy = {"diversity": 0.6, "pool": 25, "budget_generic": 90}
    sizes = enumerate([(9, 40), (15, 200), (1000, 100_000)])
    assert len({build(f"w{n}", work=Work(*size), policy=policy).id for n, size in sizes}) == 1


def test_a_budget_takes_first_what_was_picked_first(build: Any) -> None:
    policy = {"diversity": 0.9, "pool": 40, "max_uses": 100}
    whole, cut = build("whole", policy=policy), build("cut", policy=policy | {"budget_generic": 80})
    two = build("two", k=2, policy=policy)
    assert [row["neighbours"] for row in rows_of(cut)] == [row["neighbours"] for row in rows_of(two)]
    assert len(neighbours_of(whole)) > len(neighbours_of(cut)) == 80


def test_the_pool_is_in_the_settings_of_the_set_and_nothing_is_where_it_is_off(build: Any) -> None:
    assert build(policy={"diversity": 0.5}).manifest.params["policy"]["pool"] == POOL * 4
    assert SelectionPolicy(diversity=0.5, pool=7).depth(20) == 20
    assert SelectionPolicy(diversity=0.5).depth(900) == 1000


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"retriever": "random", "policy": {"diversity": 0.5}}, "policy.diversity: expected a retriever that ranks"),
        ({"retriever": "none", "policy": {"diversity": 0.5}}, "found none"),
        ({"retriever": "augmented", "policy": {"diversity": 0}}, "found augmented"),
        ({"policy": {"pool": 50}}, "expected a diversity to choose out of a pool of 50 by, found none"),
        ({"policy": {"diversity": 1.2}}, r"policy\.diversity: input should be less than or equal to 1"),
        ({"policy": {"diversity": float("nan")}}, r"policy\.diversity"),
        ({"policy": {"diversity": 0.5, "pool": 1001}}, r"policy\.pool"),
    ],
)
def test_what_cannot_be_chosen_by_gets_a_sentence(build: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        build(**settings)
