"""What trials are judged on: never the test, and nothing that is learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import BadInput
from contract.task import read_task
from distill.reading.gold import read_gold
from distill.reading.texts import open_transfer_set, read_texts, text_id
from distill.tuning.validation import TrialStore, Validation, choose_validation, judged_config
from tests.distill.tuning.world import make_search_world


def test_the_valid_split_is_taken_where_there_is_one(tmp_path: Path) -> None:
    _, config = make_search_world(tmp_path)
    assert choose_validation(config, None, None) == Validation("valid")


def test_without_a_valid_split_one_must_say_what_to_hold_back(tmp_path: Path) -> None:
    _, config = make_search_world(tmp_path, valid=False)
    with pytest.raises(BadInput, match="--hold-back"):
        choose_validation(config, None, None)
    assert choose_validation(config, None, 0.25).share == 0.25


@pytest.mark.parametrize("split", ["test", "train"])
def test_what_a_run_trains_or_tests_on_is_refused(tmp_path: Path, split: str) -> None:
    _, config = make_search_world(tmp_path)
    with pytest.raises(BadInput, match="does not see"):
        choose_validation(config, split, None)


def test_a_valid_split_that_is_the_test_is_not_taken(tmp_path: Path) -> None:
    _, config = make_search_world(tmp_path)
    config = config.model_copy(update={"task": config.task.model_copy(update={"test_split": "valid"})})
    with pytest.raises(BadInput, match="--hold-back"):
        choose_validation(config, None, None)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_is_a_share(tmp_path: Path, share: float) -> None:
    _, config = make_search_world(tmp_path)
    with pytest.raises(BadInput, match="between 0 and 1"):
        choose_validation(config, None, share)


def test_a_split_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    _, config = make_search_world(tmp_path)
    with pytest.raises(BadInput, match="no rows of split 'later'"):
        choose_validation(config, "later", None)


def test_what_is_held_back_is_in_no_text_that_is_learnt_from(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path, valid=False)
    judged, trials = judged_config(config, Validation("valid", 0.25), store, tmp_path / "held", ("near",))
    gold, before = read_gold(judged.task), read_gold(config.task)
    held = {text_id(text, pair) for text, pair in gold.test.texts}
    learnt = {text_id(text, pair) for text, pair in gold.train.texts}
    assert held
    assert not held & learnt
    assert held | learnt == {text_id(text, pair) for text, pair in before.train.texts}
    assert {*gold.classes} == {*before.classes}, "a class keeps a row to learn from"
    texts = set(read_texts(open_transfer_set(trials, "near")).table["text_id"].to_pylist())
    assert not held & texts
    assert held & set(read_texts(open_transfer_set(store, "near")).table["text_id"].to_pylist())
    assert read_task(judged.task.path).splits == ["train", "valid"], "the test is not even there"


def test_a_second_time_the_same_rows_are_held_back(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path, valid=False)
    ids = []
    for folder in ("one", "one", "other"):
        judged, _ = judged_config(config, Validation("valid", 0.25), store, tmp_path / folder, ("near",))
        ids.append(read_gold(judged.task).task.id)
    assert len({*ids}) == 1


def test_a_share_of_too_few_rows_is_a_sentence(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path, valid=False)
    few = config.model_copy(update={"task": config.task.model_copy(update={"shots": 1})})
    with pytest.raises(BadInput, match="hold back more"):
        judged_config(few, Validation("valid", 0.5), store, tmp_path / "held", ())


def test_a_trial_writes_its_runs_into_the_studys_folder_and_nowhere_else(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "artifacts", tmp_path / "study")
    assert store.path("run", "trial-1") == tmp_path / "study" / "runs" / "trial-1"
    assert store.path("teacher", "t") == tmp_path / "artifacts" / "teachers" / "t"
    assert store.path("transfer-set", "near") == tmp_path / "artifacts" / "transfer-sets" / "near"
    with pytest.raises(BadInput):
        store.path("run", "../away")
