"""A study, whole, in a tiny world: the same trials every time, judged on what they may see, the best measured once."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract.artifact import Artifact
from contract.errors import BadInput, NameTaken
from contract.store import Store
from distill.config import RunConfig, make_config
from distill.pipeline import run_distillation
from distill.tuning import study as study_file
from distill.tuning.outcome import StudyReport, read_study
from distill.tuning.search_space import make_space, raw_settings
from distill.tuning.study import keep_best, open_study_artifact, run_study
from distill.tuning.validation import Validation, choose_validation
from distill.tuning.workers import work_together
from tests.distill.tuning.world import make_search_world, options, small_space

TRIALS = 6


def made_in(root: Path, **changes: Any) -> tuple[Store, RunConfig, Artifact]:
    store, config = make_search_world(root)
    return store, config, made_by(store, config, **changes)


def made_by(store: Store, config: RunConfig, **changes: Any) -> Artifact:
    validation = choose_validation(config, None, None)
    return run_study(store, "s", config, small_space(config), validation, options(**changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig, Artifact, StudyReport]:
    store, config, made = made_in(tmp_path_factory.mktemp("study"), trials=TRIALS)
    return store, config, made, read_study(made.directory)


Finished = tuple[Store, RunConfig, Artifact, StudyReport]


def test_it_makes_as_many_trials_as_asked_for_and_the_first_is_runtomls_own(finished: Finished) -> None:
    _, config, _, study = finished
    assert [trial.number for trial in study.trials] == list(range(TRIALS))
    assert study.default_trial == 0
    assert study.trials[0].params["distill.learning_rate"] == config.distill.learning_rate
    assert {trial.state for trial in study.trials} <= {"complete", "pruned"}


def test_the_best_is_the_highest_of_the_whole_trials(finished: Finished) -> None:
    study = finished[3]
    assert study.best_trial.state == "complete"
    assert study.best_trial.value == max(trial.value or 0 for trial in study.of("complete"))


def test_a_trial_is_the_run_that_distill_makes_of_its_settings(finished: Finished, tmp_path: Path) -> None:
    store, config, _, study = finished
    judged = config.model_copy(update={"task": config.task.model_copy(update={"test_split": "valid"})})
    trial = study.of("complete")[-1]
    settings = small_space(config).settings(raw_settings(judged), trial.params)
    run = run_distillation(store, "by-hand", make_config(settings))
    assert run.id == trial.run_id, "looking at a student on the way changes nothing of it"


def test_the_test_split_is_seen_by_no_trial(finished: Finished) -> None:
    study = finished[3]
    assert study.judged_on == "split valid"
    assert study.judged_rows == 24
    assert study.on_test.split == "test"


def test_the_table_has_a_row_a_trial_and_a_column_a_setting(finished: Finished) -> None:
    _, _, made, study = finished
    table = pq.read_table(made.path("trials.parquet"))
    assert table["trial"].to_pylist() == list(range(TRIALS))
    wanted = {"state", "value", "seconds", "updates", "run_id", "pruned_at", "reason", "metrics.accuracy"}
    assert wanted | {"distill.learning_rate", "objective.intermediate", "objective.alpha"} <= {*table.column_names}
    for row, trial in zip(table.to_pylist(), study.trials, strict=True):
        assert row["objective.alpha"] == trial.params.get("objective.alpha")
        assert (row["objective.alpha"] is None) == (row["objective.intermediate"] != "mi-alpha")
        assert (row["pruned_at"] is None) == (row["state"] != "pruned")


def test_the_best_settings_are_a_runtoml_that_distill_takes(finished: Finished) -> None:
    store, config, made, study = finished
    written = tomllib.loads(made.path("best.toml").read_text())
    best = make_config(written)
    assert best.distill.learning_rate == study.best_trial.params["distill.learning_rate"]
    assert best.task == config.task, "judged on its own test again"
    kept = keep_best(store, study, "best-run")
    assert kept.directory == store.path("run", "best-run")


def test_nothing_of_the_trials_is_left_but_their_record(finished: Finished) -> None:
    store, _, made, _ = finished
    left = sorted(path.name for path in made.directory.iterdir())
    assert left == ["best.toml", "history.jsonl", "manifest.json", "study.html", "study.json", "trials.parquet"]
    assert not list(store.root.glob("runs/trial*"))


def test_the_cost_is_said(finished: Finished) -> None:
    _, _, made, study = finished
    assert study.updates == sum(pq.read_table(made.path("trials.parquet"))["updates"].to_pylist())
    assert all(trial.updates == 11 for trial in study.of("complete"))
    assert all(trial.updates < 11 for trial in study.of("pruned"))


def test_asked_again_a_finished_study_answers_at_once(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    store, config, made, _ = finished
    monkeypatch.setattr(study_file, "work_together", None)
    validation = choose_validation(config, None, None)
    again = run_study(store, "s", config, small_space(config), validation, options(trials=TRIALS))
    assert again.id == made.id


def test_more_trials_go_on_from_a_finished_study_and_end_as_if_asked_for_at_once(
    finished: Finished, tmp_path: Path
) -> None:
    """What is finished is not changed: the longer study is a version beside it, and its id that of six at once."""
    store, config = make_search_world(tmp_path)
    first = made_by(store, config, trials=2)
    longer = made_by(store, config, trials=TRIALS)
    assert longer.directory == store.path("study", "s", 2)
    assert longer.id == finished[2].id
    assert [trial.seconds for trial in read_study(longer.directory).trials[:2]] == [
        trial.seconds for trial in read_study(first.directory).trials
    ], "they were not made again"
    assert open_study_artifact(store, "s").directory == longer.directory
    assert open_study_artifact(store, "s@1").id == first.id
    assert made_by(store, config, trials=3).id == longer.id, "as many are there already"


def test_a_longer_study_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_search_world(tmp_path)
    made_by(*world, trials=2)
    monkeypatch.setattr(study_file, "work_together", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        made_by(*world, trials=3)
    monkeypatch.undo()
    with pytest.raises(NameTaken, match="sampler"):
        made_by(*world, trials=3, sampler="random")
    assert len(read_study(made_by(*world, trials=3).directory).trials) == 3


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_finished_study_without_its_history_cannot_go_on(tmp_path: Path) -> None:
    """One that an earlier version made."""
    world = make_search_world(tmp_path)
    made = made_by(*world, trials=2)
    manifest = json.loads((made.directory / "manifest.json").read_bytes())
    manifest["attachments"] = [each for each in manifest["attachments"] if each["name"] != "history.jsonl"]
    (made.directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NameTaken, match=r"with --trials 2, and its history is not in it.*choose another name"):
        made_by(*world, trials=3)


def test_other_settings_under_the_name_are_refused(finished: Finished) -> None:
    store, config, _, _ = finished
    with pytest.raises(NameTaken, match="sampler"):
        run_study(store, "s", config, small_space(config), Validation("valid"), options(sampler="random"))


def test_one_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made_in(tmp_path / "whole", trials=3)[2]
    calls = 0

    def stopping(search: Any, workers: int, progress: Any) -> None:
        nonlocal calls
        calls += 1
        told: dict[str, int] = {}

        def stop(stage: str, done: int, total: int | None) -> None:
            told[stage] = done
            if stage == "trials" and done == 2 and calls == 1:
                raise KeyboardInterrupt

        work_together(search, workers, stop)

    monkeypatch.setattr(study_file, "work_together", stopping)
    world = make_search_world(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        made_by(*world, trials=3)
    assert made_by(*world, trials=3).id == whole.id


def test_with_no_time_no_trial_begins_and_that_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"None of 0 trials.*no time"):
        made_in(tmp_path, timeout=0.0)


def test_settings_under_which_no_run_can_be_made_fail_alone(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path)
    space = make_space({"space": {"student.heads": [2, 3]}}, raw_settings(config))  # 16 is no multiple of 3
    made = run_study(store, "s", config, space, Validation("valid"), options(trials=5, sampler="random"))
    study = read_study(made.directory)
    assert {trial.state for trial in study.trials if trial.params["student.heads"] == 3} == {"failed"}
    assert "not a multiple of" in str(study.of("failed")[0].reason)
    assert study.best_trial.params == {"student.heads": 2}
    assert study.gained_nothing


def test_a_study_of_which_nothing_can_be_made_says_why(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path)
    space = make_space({"space": {"student.heads": [3, 5]}}, raw_settings(config))
    with pytest.raises(BadInput, match=r"None of 2 trials.*not a multiple"):
        run_study(store, "s", config, space, Validation("valid"), options(trials=2))


def test_a_loss_that_is_no_number_is_given_up_and_told_why(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path)
    rates = {"distill.learning_rate": {"low": 1e-2, "high": 1e20, "log": True}}
    space = make_space({"space": rates}, raw_settings(config))
    made = run_study(store, "s", config, space, Validation("valid"), options(trials=5, pruner="none"))
    diverged = [trial for trial in read_study(made.directory).of("pruned") if "the loss is" in str(trial.reason)]
    assert diverged


def test_rows_held_back_stand_in_for_a_valid_split(tmp_path: Path) -> None:
    store, config = make_search_world(tmp_path, valid=False)
    validation = choose_validation(config, None, 0.2)
    made = run_study(store, "s", config, small_space(config), validation, options(trials=2))
    study = read_study(made.directory)
    assert study.judged_on == "20% of the training rows, held back"
    assert study.judged_rows == 8
    assert json.loads(made.path("study.json").read_bytes())["on_test"]["split"] == "test"
