"""The space of a study: what it says it may try is what RUN.toml takes, and nothing else is tried."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput, NotFound
from distill.config import make_config
from distill.tuning.search_space import Space, _Drawn, default_space, make_space, raw_settings, read_space

SPACES = Path(__file__).parents[2] / "distill" / "spaces"
RAW: dict[str, Any] = {"task": {"path": "t.jsonl"}, "transfer_set": {"name": "near"}}
CONFIG = make_config(RAW)


def space_of(**parameters: Any) -> Space:
    return make_space({"space": {key.replace("__", "."): value for key, value in parameters.items()}}, RAW)


def drawn(space: Space, seed: int) -> dict[str, Any]:
    return space.suggest(_Drawn(random.Random(seed)), CONFIG)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("distill.learning_rat", {"low": 1e-4, "high": 1e-3}, "did you mean learning_rate"),
        ("distil.learning_rate", {"low": 1e-4, "high": 1e-3}, "cannot be tried"),
        ("task.shots", [5, 10], "trials are compared on one task"),
        ("teacher.updates", [5, 10], "made once for all trials"),
        ("seed", [1, 2], "compared at one seed"),
        ("distill.learning_rate", {"low": 1e-3, "high": 1e-4}, "low below high"),
        ("distill.learning_rate", {"low": 0.0, "high": 1.0, "log": True}, "low above 0"),
        ("distill.learning_rate", {"low": -1.0, "high": 1.0}, "distill.learning_rate"),
        ("distill.learning_rate", {"low": 1e-4}, "numbers as low and high"),
        ("distill.learning_rate", {"low": 1e-4, "high": 1e-3, "logg": True}, "expected {low"),
        ("distill.batch_size", {"low": 8.0, "high": 64.0}, "batch_size"),
        ("distill.batch_size", {"low": 8, "high": 64, "step": 0.5}, "whole"),
        ("objective.intermediate", ["none", "pdk"], "intermediate"),
        ("objective.intermediate", [], "list of choices"),
        ("objective.intermediate", ["pkd", "pkd"], "none twice"),
        ("objective.alpha", {"low": 0.1, "high": 0.9, "when": {"objective.intermediat": "mi-alpha"}}, "did you mean"),
    ],
)
def test_what_runtoml_would_refuse_is_told_before_any_trial(key: str, value: Any, said: str) -> None:
    with pytest.raises(BadInput, match="the space") as raised:
        make_space({"space": {key: value}}, RAW)
    assert said in str(raised.value)


def test_what_is_wrong_only_together_is_told_too() -> None:
    with pytest.raises(BadInput, match="nothing is learnt"):
        space_of(objective__soft_weight=[0.0, 1.0], objective__hard_weight=[0.0, 1.0])


def test_a_condition_on_a_value_that_is_never_tried_is_refused() -> None:
    when = {"objective.intermediate": "nwj"}
    with pytest.raises(BadInput, match="that the space has not"):
        space_of(objective__intermediate=["none", "pkd"], objective__alpha={"low": 0.1, "high": 0.9, "when": when})


def test_conditions_in_a_circle_are_refused() -> None:
    with pytest.raises(BadInput, match="wait for the other"):
        space_of(
            objective__soft_targets={"choices": ["kl", "mse"], "when": {"objective.layer_mapping": "skip"}},
            objective__layer_mapping={"choices": ["skip", "emd"], "when": {"objective.soft_targets": "kl"}},
        )


def test_a_setting_is_tried_only_where_it_means_something() -> None:
    space = default_space(RAW)
    for seed in range(200):
        point = drawn(space, seed)
        assert ("objective.alpha" in point) == (point["objective.intermediate"] == "mi-alpha")
        assert ("objective.intermediate_weight" in point) == (point["objective.intermediate"] != "none")
        assert ("objective.temperature" in point) == (point["objective.soft_targets"] == "kl")


def test_a_condition_may_be_on_a_setting_that_is_fixed() -> None:
    alpha = {"low": 0.1, "high": 0.9, "when": {"objective.intermediate": "mi-alpha"}}
    assert drawn(space_of(objective__alpha=alpha, distill__batch_size=[8, 16]), 0).keys() == {"distill.batch_size"}


def test_what_means_nothing_in_a_trial_is_left_at_its_default() -> None:
    raw = RAW | {"objective": {"intermediate": "mi-alpha", "alpha": 0.3, "intermediate_weight": 5.0}}
    settings = default_space(raw).settings(raw, {"objective.intermediate": "none"})
    assert settings["objective"] == {"intermediate": "none"}
    assert raw["objective"]["alpha"] == 0.3, "what was given is not changed"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_every_point_is_a_config_within_the_bounds(seed: int) -> None:
    space = default_space(RAW)
    point = drawn(space, seed)
    make_config(space.settings(RAW, point))
    assert all(parameter.holds(point[parameter.key]) for parameter in space.parameters if parameter.key in point)


def test_the_default_space_holds_runtomls_own_settings() -> None:
    for objective in ({}, {"intermediate": "attention"}, {"intermediate": "pkd", "intermediate_weight": 0.5}):
        raw = RAW | {"objective": objective}
        point = default_space(raw).point_of(make_config(raw))
        assert point is not None
        again = make_config(default_space(raw).settings(raw, point))
        assert again.objective.intermediates == make_config(raw).objective.intermediates
        assert again.distill == make_config(raw).distill


def test_settings_outside_the_space_are_no_point_of_it() -> None:
    assert space_of(distill__learning_rate={"low": 1e-5, "high": 1e-4}).point_of(CONFIG) is None


def test_a_student_without_layers_has_no_objective_of_layers_to_try() -> None:
    raw = RAW | {"student": {"from": "static"}}
    assert not any("intermediate" in parameter.key for parameter in default_space(raw).parameters)


def test_without_a_transfer_set_only_what_finetuning_reads_is_tried() -> None:
    assert [p.key for p in default_space({"task": {"path": "t.jsonl"}}).parameters] == ["distill.learning_rate"]


def test_the_order_in_a_file_changes_nothing() -> None:
    one = {"objective.intermediate": ["none", "pkd"], "distill.batch_size": [8, 16]}
    other = dict(reversed(one.items()))
    first, second = (make_space({"space": each}, RAW) for each in (one, other))
    assert first == second
    assert drawn(first, 3) == drawn(second, 3)


def test_lists_are_choices_too() -> None:
    space = space_of(objective__intermediate=["none", ["hidden-mse", "attention"]])
    found = {str(drawn(space, seed)["objective.intermediate"]) for seed in range(20)}
    assert found == {"none", "['hidden-mse', 'attention']"}


def test_a_file_is_read_with_its_keys_in_quotes_or_not(tmp_path: Path) -> None:
    path = tmp_path / "SPACE.toml"
    rate = "= {low = 1e-4, high = 3e-3, log = true}\n"
    read = []
    for key in ('"distill.learning_rate" ', "distill.learning_rate "):
        path.write_text("[space]\n" + key + rate)
        read.append(read_space(path, RAW))
    assert read[0] == read[1]
    (parameter,) = read[0].parameters
    assert (parameter.low, parameter.high, parameter.log) == (1e-4, 3e-3, True)


@pytest.mark.parametrize(
    "content", ["", "x = ", "[spaces]\na = 1\n", "[space]\n", "[space]\nx = 3\n", "[space]\n[other]\n"]
)
def test_a_file_without_a_space_is_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "SPACE.toml"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"SPACE\.toml"):
        read_space(path, RAW)


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no"):
        read_space(tmp_path / "no.toml", RAW)


def test_what_was_given_survives_the_way_through_a_config() -> None:
    raw = RAW | {"student": {"layers": 3, "from": "skip"}, "objective": {"intermediate": ["pkd", "attention"]}}
    assert make_config(raw_settings(make_config(raw))) == make_config(raw)
    assert "teacher" not in raw_settings(make_config(raw))


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_spaces(path: Path) -> None:
    space = read_space(path, RAW)
    assert {"objective.alpha", "distill.learning_rate"} <= {parameter.key for parameter in space.parameters}


def test_what_a_student_sees_can_be_tried_too() -> None:
    """Augmentation, mixup and curriculum are written only where they are used; the space knows their defaults."""
    swap = [{"name": "swap", "probability": 0.1}]
    space = space_of(
        augmentation__operations=[[], swap],
        augmentation__copies={"choices": [1, 2], "when": {"augmentation.operations": [swap]}},
        mixup__batches=["none", "append"],
        mixup__beta={"low": 0.1, "high": 1.0, "when": {"mixup.batches": "append"}},
        curriculum__by=["none", "rank"],
    )
    assert space.point_of(CONFIG) == {"augmentation.operations": [], "mixup.batches": "none", "curriculum.by": "none"}
    seen = [make_config(space.settings(RAW, drawn(space, seed))) for seed in range(30)]
    assert {len(config.augmentation.operations) for config in seen} == {0, 1}
    assert {config.mixup.batches for config in seen} == {"none", "append"}
    assert all(config.mixup.beta == 0.4 for config in seen if config.mixup.batches == "none")


def test_distillers_space_has_all_it_tries_and_runtomls_own_settings() -> None:
    """He et al. 2021: intermediate loss, its mapping and alpha, prediction loss, mixup, augmentation."""
    space = read_space(SPACES / "distiller.toml", RAW)
    keys = {parameter.key for parameter in space.parameters}
    wanted = {"intermediate", "layer_mapping", "alpha", "soft_targets", "hard_weight"}
    assert {f"objective.{name}" for name in wanted} | {"mixup.batches", "augmentation.operations"} <= keys
    assert space.point_of(CONFIG) is not None
    assert default_space(RAW).point_of(CONFIG) is not None
    assert {"mixup.batches", "augmentation.operations"} <= {p.key for p in default_space(RAW).parameters}


@pytest.mark.parametrize("kind", ["slots", "joint"])
def test_words_are_not_mixed(kind: str) -> None:
    raw = {**RAW, "task": {**RAW["task"], "kind": kind}}
    assert "mixup.batches" not in {parameter.key for parameter in default_space(raw).parameters}
