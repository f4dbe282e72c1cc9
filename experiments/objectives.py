"""What to distil by: soft targets alone, or with each intermediate family beside them (papers B and C).

Joint intent and slots on SNIPS and HWU64; one transfer set of retrieved neighbours a task; equal updates for every
arm but `soft-longer`, which has twice as many: comparing states takes time, and with a teacher that runs beside its
student most of it. Weights are the papers': 1 for each loss of TinyBERT, MiniLM and Distiller, 100 for PKD, from the
middle of its grid of 10 to 1,000. In `soft-embeddings` soft targets alone teach a student whose word embeddings begin
as the teacher's.
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
ALONE: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        NO_DISTILLATION: {},
        "soft": {},
        "soft-longer": {"distill.updates": 2 * UPDATES},
        "soft-embeddings": {"student.embeddings": "teacher"},
    }
)
FAMILIES = (  # an arm, the objectives beside soft targets, and the weight of each
    ("hidden-mse", "hidden-mse", 1.0),
    ("mi-alpha", "mi-alpha", 1.0),
    ("tinybert", '["hidden-mse", "attention"]', 1.0),
    ("minilmv2", "minilmv2", 1.0),
    ("pkd", "pkd", 100.0),
    ("hidden-cosine", "hidden-cosine", 1.0),
    ("infonce", "infonce", 1.0),
    ("minilm", "minilm", 1.0),
)
OTHERS = tuple((name, name, 1.0) for name in ("attention", "hidden-l2", "hidden-ce", "nwj", "tuba"))
METRICS = ("sem_er", "accuracy", "span_f1", "ir_er")


@dataclass(frozen=True)
class Part:
    """A task with so many labels a class (None for all), its neighbours an utterance, and a student."""

    task: str
    shots: int | None
    k: int
    layers: int
    width: int
    families: tuple[tuple[str, str, float], ...] = FAMILIES

    @property
    def name(self) -> str:
        return f"{self.task}-{self.shots or 'full'}"

    @property
    def arms(self) -> dict[str, Mapping[str, object]]:
        """The settings of each arm. States are stored: all arms and seeds read what the teacher said once."""
        beside = {
            arm: {
                "objective.intermediate": names,
                "objective.intermediate_weight": weight,
                "objective.states": "stored",
            }
            for arm, names, weight in self.families
        }
        return {**ALONE, **beside}

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
    Part("snips", 10, 100, 2, 128, (*FAMILIES, *OTHERS)),
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
    for arm, objective in part.arms.items():
        name = f"{part.name}-{part.student}-{arm}-{seed}"
        build = None if arm == NO_DISTILLATION else part.build
        settings = {**part.settings, **objective}
        yield distilled(name, f"{part.name}-{part.student}", RUN_TOML, settings, arm=arm, seed=seed, build=build)
