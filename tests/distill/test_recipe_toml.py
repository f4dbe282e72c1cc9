"""Written recipes: distill reads back what was recommended, and what no RUN.toml can say stands above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import BadInput
from distill.config import read_config
from distill.recommending.evidence import shipped_evidence
from distill.recommending.recipe import NO_DISTILLATION, Recipe
from distill.recommending.recipe_toml import write_recipe, written_recipe

TASK = {"path": "tasks/mine.parquet", "shots": 10}
CONTEXT = ("TinyBERT4", "BERT_BASE")
NEIGHBOURS = Recipe(retriever="lexical", neighbours=16, unlabelled=False)


def test_every_recipe_that_ships_is_one_that_distill_takes(tmp_path: Path) -> None:
    recipes = sorted({run.recipe for run in shipped_evidence()}, key=lambda recipe: recipe.key)
    assert len(recipes) > 150
    for number, recipe in enumerate(recipes):
        path = tmp_path / f"{number}.toml"
        write_recipe(written_recipe(recipe, NEIGHBOURS, TASK, context=CONTEXT), path)
        config = read_config(path)
        wanted = [] if recipe.intermediate == "none" else [recipe.intermediate]
        assert list(config.objective.intermediate) == wanted
        assert config.objective.layer_mapping == recipe.layer_mapping
        assert (config.mixup.batches != "none") == recipe.mixup
        assert [o.name for o in config.augmentation.operations] == recipe.augmentation.replace("none", "").split(" > ")[
            : 0 if recipe.augmentation == "none" else None
        ]
        assert recipe.alpha in (None, config.objective.alpha)


def test_what_it_leaves_open_stands_above_it() -> None:
    recipe = Recipe(intermediate="mi-alpha", alpha=0.9, augmentation="back-translation", augmentation_share=0.3)
    written = written_recipe(recipe, NEIGHBOURS, TASK, context=CONTEXT)
    said = written.text.split("[task]")[0]
    for part in (
        "--retriever lexical --k 16 --shots 10 --name mine-lexical",
        "TinyBERT4",
        "back-translation",
        "No run",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "mine-task-only"),
        (Recipe(retriever="none", neighbours=0, unlabelled=True), "mine-all-unlabelled"),
        (Recipe(retriever="none", neighbours=0, unlabelled=False), "mine-task-only"),
        (NEIGHBOURS, "mine-lexical"),
    ],
)
def test_the_transfer_set_is_the_one_whose_command_is_given(text: Recipe | None, name: str) -> None:
    written = written_recipe(Recipe(soft_targets="kl"), text, TASK, context=CONTEXT)
    assert written.settings["transfer_set"] == {"name": name}
    assert f"--name {name}" in written.text
    assert ("--shots 10" in written.text) == ("unlabelled" not in name)


def test_where_no_distillation_is_best_none_is_written() -> None:
    written = written_recipe(
        Recipe(intermediate="pkd", mixup=True), Recipe(retriever=NO_DISTILLATION), TASK, context=CONTEXT
    )
    assert set(written.settings) == {"task"}
    assert "does not distil" in written.text


def test_what_distill_would_refuse_is_refused_here() -> None:
    recipe = Recipe(augmentation="back-translation", augmentation_share=0.3)
    with pytest.raises(BadInput, match="slots lose their words"):
        written_recipe(recipe, NEIGHBOURS, {**TASK, "kind": "slots"}, context=CONTEXT)


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="there already"):
        write_recipe(written_recipe(Recipe(), None, TASK, context=CONTEXT), path)
    assert path.read_text(encoding="utf-8") == "mine"
    with pytest.raises(BadInput, match="folder that exists"):
        write_recipe(written_recipe(Recipe(), None, TASK, context=CONTEXT), tmp_path / "no" / "run.toml")
