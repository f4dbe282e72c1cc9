"""Claims of the explanation: it keeps and drops what a build keeps and drops, for the same reasons, and says why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from contract.store import Store
from contract.task import read_task
from service.explanation import Asked, explain
from service.heldout import HeldoutSettings, hold_out, texts_of
from service.selection import SelectionPolicy
from service.transfer_set import build_transfer_set, read_request
from tests.service.fake_index import FakeIndex, generic_texts, opener_of
from tests.service.tasks_for_tests import task_rows, write_task

POLICIES: list[dict[str, Any]] = [
    {},
    {"min_words": 7, "max_words": 10},
    {"min_rank": 1, "max_rank": 5},
    {"min_score": 2.0},
    {"near_utterance": 0.3},
    {"max_uses": 2},
    {"generic_share": 0.6},
    {"budget_rows": 70},
    {"budget_generic": 25},
    {"budget_words": 500},
    {"heldout": {"ngram": 1, "containment": 0.5, "min_words": 1}, "drop_no_match": False},
]


def asked(texts: list[str], policy: SelectionPolicy | None = None, **given: Any) -> Asked:
    values = {"k": 6, "retriever": "lexical", "seed": 0, "heldout": hold_out([], HeldoutSettings())} | given
    return Asked([str(n) for n in range(len(texts))], texts, policy=policy or SelectionPolicy(), **values)


@pytest.mark.parametrize("retriever", ["lexical", "random"])
@pytest.mark.parametrize("given", POLICIES, ids=lambda given: "-".join(given) or "default")
def test_what_is_kept_and_why_the_rest_is_not_is_what_a_build_does(
    tmp_path: Path, given: dict[str, Any], retriever: str
) -> None:
    index = FakeIndex([*generic_texts(60), *(row["text"] for row in task_rows()[35:45])])
    path = write_task(tmp_path)
    request = {"task": path, "index": "fake", "retriever": retriever, "k": 6, "policy": given, "seed": 3}
    built = build_transfer_set(Store(tmp_path), "y", read_request(request), opener=opener_of(index))
    rows = [row for batch in built.batches() for row in batch.to_pylist()]
    policy = SelectionPolicy.model_validate(given)
    heldout = hold_out(texts_of(read_task(path).split("test")), policy.heldout)
    told = explain(
        index, asked([row["text"] for row in rows], policy, retriever=retriever, seed=3, heldout=heldout)
    )  # fmt: skip
    kept = [[n["passage_id"] for n in neighbours if n["kept"]] for neighbours in told]
    assert kept == [[n["passage_id"] for n in row["neighbours"]] for row in rows]
    reasons = Counter(n["reason"] for neighbours in told for n in neighbours if not n["kept"])
    assert reasons == built.manifest.counts["neighbours"].dropped
    assert all(n["why"].endswith(".") and (n["reason"] is None) == n["kept"] for told_of in told for n in told_of)


@pytest.mark.parametrize("given", [{"diversity": 0.5}, {"diversity": 0.8, "pool": 40, "budget_generic": 30}], ids=str)
def test_what_diversity_chooses_is_what_a_build_chooses(tmp_path: Path, given: dict[str, Any]) -> None:
    index, path = FakeIndex(generic_texts(150)), write_task(tmp_path)
    request = {"task": path, "index": "fake", "retriever": "lexical", "k": 4, "policy": given, "heldout_splits": []}
    built = build_transfer_set(Store(tmp_path), "y", read_request(request), opener=opener_of(index))
    rows = [row for batch in built.batches() for row in batch.to_pylist()]
    told = explain(index, asked([row["text"] for row in rows], SelectionPolicy.model_validate(given), k=4))
    kept = [[n["passage_id"] for n in neighbours if n["kept"]] for neighbours in told]
    assert kept == [[n["passage_id"] for n in row["neighbours"]] for row in rows]
    reasons = Counter(n["reason"] for neighbours in told for n in neighbours if not n["kept"])
    assert reasons == built.manifest.counts["neighbours"].dropped
    left_out = next(n for neighbours in told for n in neighbours if n["reason"] == "diversity")
    assert f"diversity is {given['diversity']:g}" in left_out["why"]


def only(told: list[list[dict[str, Any]]], passage: str) -> list[dict[str, Any]]:
    return [n for neighbours in told for n in neighbours if n["text"] == passage]


@pytest.mark.parametrize(
    ("given", "texts", "reason", "says"),
    [
        ({"max_words": 3}, ["play"], "length_band", "It has 5 words; the policy keeps 1 to 3."),
        ({"max_rank": 0, "min_rank": 0}, ["weather"], "rank_band", "Its rank is 1; the policy keeps 0 to 0."),
        ({"min_score": 9}, ["play"], "score_band", "Its score is 1; the policy keeps 9 and more."),
        ({}, ["nothing alike"], "no_match", "It shares no word with the utterance"),
        ({}, ["play some cold jazz tonight"], "near_utterance", "80 % or more are common"),
        ({"near_utterance": None}, ["Play some cold JAZZ tonight!"], "near_utterance", "the utterance itself"),
        ({}, ["jazz tonight", "some jazz"], "max_uses", "It stands with utterance 0, where it ranks no worse"),
        ({"budget_generic": 0}, ["play"], "budget_generic", "the budget of 0 generic texts"),
        ({"generic_share": 0.0}, ["play"], "generic_share", "the share of generic texts asked for, 0."),
    ],
)
def test_every_drop_is_said_with_its_numbers(given: dict[str, Any], texts: list[str], reason: str, says: str) -> None:
    index = FakeIndex(["play some cold jazz tonight", "the weather is cold"])
    told = explain(index, asked(texts, SelectionPolicy.model_validate(given), k=2))
    found = [n for n in only(told, "play some cold jazz tonight") if n["reason"] == reason]
    assert says in found[-1]["why"], told


def test_a_leak_is_said_to_be_one_of_the_task() -> None:
    index = FakeIndex(["please play some cold jazz tonight in town", "book a table"])
    heldout = hold_out(["Play some cold jazz tonight", "book a table!"], HeldoutSettings())
    told = explain(index, asked(["jazz", "table"], k=1, heldout=heldout))
    assert [neighbours[0]["reason"] for neighbours in told] == ["heldout_ngram", "heldout_exact"]
    assert "75 % or more of the runs of 3 words" in told[0][0]["why"]
    assert "equals a held-out utterance" in told[1][0]["why"]


def test_k_beyond_the_corpus_explains_the_whole_corpus_in_order_of_rank() -> None:
    index = FakeIndex(generic_texts(9))
    (told,) = explain(index, asked(["play some jazz"], k=100))
    assert [n["rank"] for n in told] == list(range(9))
    assert [n["n_words"] for n in told] == [len(n["text"].split()) for n in told]
