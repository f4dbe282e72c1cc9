"""A recipe as a RUN.toml that `transferset distill` takes, and what of it no RUN.toml can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import BadInput
from contract.manifest import Json, write_whole
from distill.config import make_config
from distill.recommending.recipe import NO_DISTILLATION, NONE, THEN, Recipe
from distill.tuning.run_toml import to_toml

# Models that Distiller's code names for its augmentations; a masked one of ours stands for its "distilbert".
_OPERATIONS: Mapping[str, Mapping[str, Json]] = {
    "contextual": {"model": "distilbert-base-uncased"},
    "back-translation": {"there": "Helsinki-NLP/opus-mt-en-ROMANCE", "back": "Helsinki-NLP/opus-mt-ROMANCE-en"},
}
_OBJECTIVE = ("intermediate", "alpha", "layer_mapping", "intermediate_weight", "temperature", "hard_weight")
_SOFT_TARGETS = ("kl", "ce", "mse")


@dataclass(frozen=True)
class WrittenRecipe:
    """`settings` are RUN.toml's, `unsaid` a sentence for each thing that they leave open."""

    settings: Mapping[str, Json]
    unsaid: tuple[str, ...]

    @property
    def text(self) -> str:
        comment = "Written by transferset recommend. What it leaves open:\n" + "\n".join(f"- {s}" for s in self.unsaid)
        return to_toml(self.settings, comment=comment)


def written_recipe(
    pipeline: Recipe, text: Recipe | None, task: Mapping[str, Json], *, context: tuple[str, str]
) -> WrittenRecipe:
    """The pipeline's settings, on the transfer set of the other recipe; BadInput where distill would refuse them.

    `task` is the section [task]; `context` is the student and teacher that the pipeline was tried with.
    """
    name = _set_name(str(task["path"]), text)
    settings: dict[str, Json] = {"task": dict(task)}
    if name is not None:
        settings |= {"transfer_set": {"name": name}, **_pipeline(pipeline)}
    make_config(settings, "the recipe")
    return WrittenRecipe(settings, tuple(_unsaid(pipeline, text, task, name, context)))


def write_recipe(recipe: WrittenRecipe, path: Path) -> None:
    """Write the file; a file that is there already is left alone."""
    if path.exists():
        raise BadInput(f"{path} is there already; give --write another name, or remove it")
    try:
        write_whole(path, recipe.text.encode())
    except OSError as error:
        raise BadInput(
            f"The recipe cannot be written to {path} ({error.strerror}); give --write a file in a folder that exists"
        ) from error


def _pipeline(recipe: Recipe) -> dict[str, Json]:
    """[objective], [mixup] and [augmentation]; what the runs did not say is left at its default."""
    objective: dict[str, Json] = {
        name: value for name in _OBJECTIVE if (value := getattr(recipe, name)) not in (None, NONE)
    }
    names = recipe.intermediate.split(" + ")
    if len(names) > 1:
        objective["intermediate"] = names
    if recipe.soft_targets in _SOFT_TARGETS:
        objective["soft_targets"] = recipe.soft_targets
    if recipe.layer_mapping == "own":
        del objective["layer_mapping"]
    settings: dict[str, Json] = {"objective": objective}
    if recipe.mixup:
        settings["mixup"] = {"batches": "append"}
    if recipe.augmentation != NONE:
        settings["augmentation"] = _augmentation(recipe)
    return settings


def _augmentation(recipe: Recipe) -> dict[str, Json]:
    operations: list[dict[str, Any]] = [
        {"name": name, "probability": recipe.augmentation_share, **_OPERATIONS.get(name, {})}
        for name in recipe.augmentation.split(THEN)
    ]
    return {"operations": operations, "copies": recipe.augmentation_times or 1}


def _set_name(task: str, text: Recipe | None) -> str | None:
    """The transfer set the run will ask for, None for a run without one."""
    if text is None or text.retriever is None:
        return f"{Path(task).stem}-task-only"
    if text.retriever == NO_DISTILLATION:
        return None
    kind = text.retriever if text.neighbours else "all-unlabelled" if text.unlabelled else "task-only"
    return f"{Path(task).stem}-{kind}"


def _unsaid(
    pipeline: Recipe, text: Recipe | None, task: Mapping[str, Json], name: str | None, context: tuple[str, str]
) -> list[str]:
    if name is None:
        return ["It does not distil, as the best of the transfer sets tried did not: the pipeline is left out."]
    student, teacher = context
    said = [
        f"Build its transfer set first: {_build(text, task, name)}",
        f"Its pipeline was tried on {student}, taught by {teacher}, on the task's own text: which student, which "
        "teacher, and for how long they learn is yours to say in [student], [teacher] and [distill].",
    ]
    if text is not None and text.retriever is not None:
        said.append("No run tried this pipeline and this transfer set together.")
    used = [operation for operation in pipeline.augmentation.split(THEN) if operation in _OPERATIONS]
    if used:
        said.append(f"The models of {' and '.join(used)} are named after Distiller's code; take ones of your language.")
    if pipeline.augmentation != NONE:
        said.append("How often texts are augmented anew was not published; see augmentation.every.")
    if pipeline.adapted:
        said.append("Its teacher learnt the domain's text first: see [teacher.adapt].")
    return said


def _build(text: Recipe | None, task: Mapping[str, Json], name: str) -> str:
    """The command that builds the transfer set."""
    few = f" --shots {task['shots']}" if task.get("shots") and not (text and text.unlabelled) else ""
    if text is None or not text.neighbours:
        return f"transferset build --task {task['path']} --retriever none{few} --name {name}"
    index = "" if text.retriever == "augmented" else " --index INDEX"
    return (
        f"transferset build{index} --task {task['path']} --retriever {text.retriever} --k {text.neighbours}"
        f"{few} --name {name}"
    )
