"""RUN.toml: what is left out has a default, what is wrong has a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from contract.errors import BadInput, NotFound
from distill.config import RunConfig, make_config, read_config

SMALLEST = {"task": {"path": "t.jsonl"}}
CONFIGS = Path(__file__).parents[2] / "distill" / "configs"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "RUN.toml"
    path.write_text('seed = 3\n[task]\npath = "t.jsonl"\n[distill]\nupdates = 10\n[student]\nfrom = "skip"\n')
    return path


def test_only_the_task_is_needed() -> None:
    config = make_config(SMALLEST)
    assert config.transfer_set is None
    assert config.teacher.model == "minilm"
    assert (config.student.layers, config.student.origin, config.distill.updates) == (2, "scratch", 2500)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_configs(path: Path) -> None:
    assert read_config(path).seed == 0


def test_a_file_and_its_overrides_make_one_config(toml: Path) -> None:
    config = read_config(toml, ["distill.updates=500", "seed=1", "transfer_set.name=clinc", "arm=task only"])
    assert (config.distill.updates, config.seed, config.arm, config.student.origin) == (500, 1, "task only", "skip")
    assert config.transfer_set is not None
    assert config.transfer_set.name == "clinc"


def test_a_config_comes_back_from_its_json(toml: Path) -> None:
    config = read_config(toml)
    assert make_config(config.to_json()) == config
    assert config.to_json()["student"]["from"] == "skip"


@pytest.mark.parametrize(
    ("key", "near"),
    [("distill.update", "updates"), ("finetune.learningrate", "learning_rate"), ("studnet.layers", "student"),
     ("student.form", "from"), ("transfer_set.names", "name"), ("task.shot", "shots")],
)  # fmt: skip
def test_an_unknown_setting_is_named_with_the_nearest_known_one(toml: Path, key: str, near: str) -> None:
    with pytest.raises(BadInput, match=f"unknown setting '{key.split('=')[0]}|did you mean {near}") as error:
        read_config(toml, [f"{key}=1", *(["transfer_set.name=x"] if key.startswith("transfer") else [])])
    assert f"did you mean {near}?" in error.value.message


def test_an_unknown_setting_like_none_lists_the_known_ones(toml: Path) -> None:
    with pytest.raises(BadInput, match=r"known there: .*batch_size.*updates"):
        read_config(toml, ["distill.zzzzzz=1"])


@pytest.mark.parametrize("key", ["distill.temperature", "distill.soft_weight", "student.alpha", "distill.hard_weight"])
def test_a_setting_in_another_section_is_named_with_its_own(toml: Path, key: str) -> None:
    with pytest.raises(BadInput, match=rf"unknown setting '{key}'; did you mean objective\.{key.split('.')[1]}\?"):
        read_config(toml, [f"{key}=1"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("distill.updates=-1", "distill.updates: .*found -1"),
        ("objective.soft_weight=-0.5", "objective.soft_weight"),
        ("objective.hard_weight=inf", "objective.hard_weight"),
        ("objective.temperature=0", "objective.temperature"),
        ("objective.alpha=1.1", "objective.alpha"),
        ("objective.soft_targets=kld", "'kl', 'ce' or 'mse', found 'kld'"),
        ("objective.intermediate=mi", "objective.intermediate.0: .*'mi-alpha', found 'mi'"),
        ("objective.intermediate_weight=0", "objective.intermediate_weight.0: .*greater than 0, found 0"),
        ("objective.intermediate=['pkd', 'pkd']", "objective: intermediate names one objective twice: pkd, pkd"),
        ("objective.intermediate_weight=[1, 2]", "objective: intermediate_weight has 2 numbers for 0 objectives"),
        ("objective.soft_weight=0", "objective: every weight is 0, so that nothing is learnt"),
        ("objective.layer_mapping=middle", "'top' or 'emd', found 'middle'"),
        ("objective.layer_pairs=[1, 2]", "objective.layer_pairs.0"),
        ("objective.relation_heads=0", "objective.relation_heads"),
        ("student.from=half", "student.from.*found 'half'"),
        ("task.target=slots", "slots are a kind"),
        ("task.shots=0", "task.shots"),
        ("seed=-1", "seed"),
        ("distill.updates=many", "found 'many'"),
        ("precision=int8", "precision"),
        ("nonsense", "expects KEY=VALUE"),
        ("seed.deeper=1", "a value, not a section"),
        ("transfer_set.name=[1]", "transfer_set.name"),
    ],
)
def test_a_wrong_value_gets_a_sentence(toml: Path, override: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_config(toml, [override])


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(BadInput, match=r"'task\.path' is missing"):
        make_config({"task": {}})


def test_a_file_that_is_no_toml_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "RUN.toml"
    path.write_text("seed = = 1")
    with pytest.raises(BadInput, match="is not TOML"):
        read_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is not TOML"):
        read_config(path)
    with pytest.raises(BadInput, match="is a directory"):
        read_config(tmp_path)
    with pytest.raises(NotFound, match=r"There is no .*other\.toml"):
        read_config(tmp_path / "other.toml")


# Students


@pytest.mark.parametrize(
    "student",
    [
        {"from": "static"},
        {"from": "static", "width": 64, "embeddings": "random", "vocabulary": "trimmed"},
        {"from": "pretrained", "model": "minilm", "vocabulary": 3000},
        {"from": "skip", "vocabulary": "trimmed"},
        {},
    ],
)
def test_a_student_comes_back_from_its_json(student: dict[str, Any]) -> None:
    config = make_config({**SMALLEST, "student": student})
    assert make_config(config.to_json()) == config
    assert student.items() <= config.to_json()["student"].items()
    assert config.student.layers == (None if student.get("from") in ("static", "pretrained") else 2)


def test_what_a_student_does_not_use_is_not_written() -> None:
    """The ids of runs hang on it: those of before there was such a thing stay as they are."""
    written = make_config(SMALLEST).to_json()["student"]
    assert written == {
        "layers": 2, "width": None, "heads": None, "from": "scratch", "dropout": None, "max_length": 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ({"from": "pretrained"}, 'from = "pretrained" needs model'),
        ({"model": "minilm"}, 'model is of from = "pretrained", found from = "scratch"'),
        ({"from": "static", "layers": 2}, "has neither layers nor heads"),
        ({"from": "static", "heads": 2}, "has neither layers nor heads"),
        (
            {"from": "skip", "embeddings": "random"},
            'embeddings is of from = "static" or "scratch", found from = "skip"',
        ),
        ({"vocabulary": 7}, 'student.vocabulary: expected "teacher", "trimmed" or a number of pieces from 8, found 7'),
        ({"vocabulary": True}, "found True"),
        ({"vocabulary": "small"}, "found 'small'"),
        ({"vocabulary": 40.5}, "found 40.5"),
    ],
)
def test_a_student_that_cannot_be_gets_a_sentence(student: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        make_config({**SMALLEST, "student": student})


def test_a_fault_of_two_sections_names_both_settings() -> None:
    with pytest.raises(BadInput, match=r"^the settings: objective.intermediate is pkd, .* another student.from"):
        make_config({**SMALLEST, "student": {"from": "static"}, "objective": {"intermediate": "pkd"}})


def test_an_objective_is_one_section() -> None:
    settings = {"intermediate": "mi-alpha", "intermediate_weight": 0.1, "layer_mapping": "skip", "alpha": 0.5}
    objective = make_config({**SMALLEST, "objective": settings}).objective
    assert objective.intermediates == (("mi-alpha", 0.1),)
    assert (objective.soft_weight, objective.hard_weight, objective.temperature) == (1.0, 0.0, 2.0)
    several = {"intermediate": ["hidden-mse", "attention"], "intermediate_weight": [1, 0.5]}
    objective = make_config({**SMALLEST, "objective": several}).objective
    assert objective.intermediates == (("hidden-mse", 1.0), ("attention", 0.5))
    one_weight = make_config({**SMALLEST, "objective": {**several, "intermediate_weight": 2}}).objective
    assert one_weight.intermediates == (("hidden-mse", 2.0), ("attention", 2.0))
    assert make_config({**SMALLEST, "objective": {"intermediate": "none"}}).objective.intermediates == ()


def test_two_ways_to_map_layers_are_one_too_many() -> None:
    pairs = {"intermediate": "pkd", "layer_pairs": [[1, 3], [2, 6]]}
    assert make_config({**SMALLEST, "objective": pairs}).objective.layer_pairs == ((1, 3), (2, 6))
    with pytest.raises(BadInput, match="objective: layer_mapping and layer_pairs both say"):
        make_config({**SMALLEST, "objective": {**pairs, "layer_mapping": "skip"}})


@pytest.mark.parametrize("intermediate", ["none", "pkd", ["pkd", "attention"]])
def test_an_objective_comes_back_from_its_json_as_it_was_written(intermediate: str | list[str]) -> None:
    """`compare` tells runs apart by these texts, so that there is one for each objective."""
    config = make_config({**SMALLEST, "objective": {"intermediate": intermediate}})
    assert config.to_json()["objective"]["intermediate"] == intermediate
    assert config.to_json()["objective"]["intermediate_weight"] == 1.0
    assert make_config(config.to_json()) == config


def test_a_list_of_one_is_that_one() -> None:
    one, listed = (make_config({**SMALLEST, "objective": {"intermediate": given}}) for given in ("pkd", ["pkd"]))
    assert one == listed
    assert one.to_json() == listed.to_json()


def test_every_arm_has_as_many_updates() -> None:
    def updates(**sections: object) -> int:
        return make_config({**SMALLEST, "distill": {"updates": 50}, **sections}).finetune_updates

    both = {"finetune": {"updates": 7}}
    assert updates(transfer_set={"name": "x"}, **both) == 7
    assert updates(**both) == 57
    assert updates(finetune={"updates": 7, "updates_alone": 9}) == 9
    assert updates(finetune={"updates": 7, "updates_alone": 0}) == 0


def test_a_student_from_scratch_is_not_held_to_a_finetuning_rate() -> None:
    """The arm without distillation would lose by its learning rate alone."""
    rates = {"finetune": {"learning_rate": 1e-5}, "distill": {"learning_rate": 3e-3}}
    assert make_config({**SMALLEST, **rates}).finetune_recipe.learning_rate == 3e-3
    assert make_config({**SMALLEST, **rates, "transfer_set": {"name": "x"}}).finetune_recipe.learning_rate == 1e-5
    alone = {"finetune": {"learning_rate_alone": 1e-4}}
    assert make_config({**SMALLEST, **alone}).finetune_recipe.learning_rate == 1e-4


def test_a_config_cannot_be_changed() -> None:
    config = make_config(SMALLEST)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 2  # type: ignore[misc]
    assert isinstance(config, RunConfig)
