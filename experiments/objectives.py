"""What to distil by: soft targets alone, or with each intermediate family beside them (papers B and C).

Joint intent and slots on SNIPS and HWU64; one transfer set of retrieved neighbours a task; equal updates for every
arm but `soft-longer`, which has twice as many: a teacher that runs beside its student takes as long. Weights are the
papers': 1 for each loss of TinyBERT, MiniLM and Distiller, 100 for PKD, from the middle of its grid of 10 to 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from demo.arms import NO_DISTILLATION
from demo.commands import Command
from experiments.data import real_data
from experiments.experiment import ENGLISH, Experiment, PlannedRun, distilled

RUN_TOML = Path(__file__).with_name("objectives.toml")
UPDATES = 1000
ARMS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        NO_DISTILLATION: {},
        "soft": {},
        "hidden-mse": {"objective.intermediate": "hidden-mse"},
        "mi-alpha": {"objective.intermediate": "mi-alpha"},
        "tinybert": {"objective.intermediate": '["hidden-mse", "attention"]'},
        "minilmv2": {"objective.intermediate": "minilmv2"},
        "pkd": {"objective.intermediate": "pkd", "objective.intermediate_weight": 100.0},
        "hidden-cosine": {"objective.intermediate": "hidden-cosine"},
        "infonce": {"objective.intermediate": "infonce"},
        "minilm": {"objective.intermediate": "minilm"},
        "soft-longer": {"distill.updates": 2 * UPDATES},
    }
)
METRICS = ("sem_er", "accuracy", "span_f1", "ir_er")


@dataclass(frozen=True)
class Part:
    """A task with so many labels a class (None for all), its neighbours an utterance, and a student."""

    task: str
    shots: int | None
    k: int
    layers: int
    width: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.shots or 'full'}"

    @property
    def student(self) -> str:
        return f"{self.layers}x{self.width}"

    @property
    def build(self) -> Command:
        """What makes its transfer set."""
        few = ["--shots", str(self.shots), "--seed", "0"] if self.shots else []
        where = ["--index", ENGLISH, "--task", str(self._path), "--split", "train", *few]
        return ["build", *where, "--retriever", "lexical", "--k", str(self.k), "--name", f"{self.name}-k{self.k}"]

    @property
    def settings(self) -> dict[str, object]:
        few = {"task.shots": self.shots} if self.shots else {"teacher.updates": 1200, "finetune.updates": 500}
        return {"task.path": self._path, "student.layers": self.layers, "student.width": self.width, **few}

    @property
    def _path(self) -> Path:
        return real_data("tasks", f"{self.task}.parquet")


PARTS = (
    Part("snips", 10, 100, 2, 128),
    Part("hwu64", 10, 20, 2, 128),
    Part("snips", None, 5, 2, 128),
    Part("hwu64", None, 5, 2, 128),
    Part("snips", 10, 100, 4, 256),
    Part("hwu64", 10, 20, 4, 256),
    Part("snips", None, 5, 4, 256),
    Part("hwu64", None, 5, 4, 256),
)


def plan(seeds: tuple[int, ...]) -> Experiment:
    """Part by part, and within a part seed by seed, so that an early table has all arms."""
    runs = [run for part in PARTS for seed in seeds for run in _runs(part, seed)]
    return Experiment("objectives", "Which objective teaches a small student most?", "soft", METRICS, tuple(runs))


def _runs(part: Part, seed: int) -> Iterator[PlannedRun]:
    for arm, objective in ARMS.items():
        name = f"{part.name}-{part.student}-{arm}-{seed}"
        build = None if arm == NO_DISTILLATION else part.build
        settings = {**part.settings, **objective}
        yield distilled(name, f"{part.name}-{part.student}", RUN_TOML, settings, arm=arm, seed=seed, build=build)
