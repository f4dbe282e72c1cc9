"""Paper B, small: is text retrieved for the task a better textbook than random, augmented or bare task text?

Six tasks with few labels; the 1.3 M English passages; a 2 x 128 student from scratch; equal updates for every arm.
`two-stage` learns half of them on random text and goes on with augmented text, under a new head. `all-unlabelled` is
the ceiling: it sees the task's train text, without labels. SST-2 is tested on its valid split, since its test labels
are hidden. A neighbour of a sentence pair stands as the second sentence beside the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from demo.arms import ArmRun, ArmsPlan, arm_runs
from demo.commands import Command, name_of
from experiments.data import real_data
from experiments.experiment import ENGLISH, RUNS, Claim, Experiment, PlannedRun, planned

RUN_TOML = Path(__file__).with_name("contextualized.toml")
UPDATES = 2500
TWO_STAGE = "two-stage"


@dataclass(frozen=True)
class Part:
    """A task, its labelled rows a class, neighbours an utterance, and updates; what is hard has the deeper teacher."""

    name: str
    folder: str
    shots: int
    k: int = 20
    updates: int = UPDATES
    test: str = "test"
    heldout: tuple[str, ...] = ("test",)
    has_deep_teacher: bool = False
    most_unlabelled: int | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """What it sets besides task and labels."""
        deep = (f"teacher.model={real_data('models', 'e5-small')}", "teacher.updates=600", "teacher.learning_rate=5e-5")
        return (
            *(("task.target=label",) if self.folder == "glue" else ()),
            *((f"task.test_split={self.test}",) if self.test != "test" else ()),
            *(deep if self.has_deep_teacher else ()),
            *((f"distill.updates={self.updates}",) if self.updates != UPDATES else ()),
        )


BOTH = ("valid", "test")
PARTS = (
    Part("clinc150", "tasks", 10),
    Part("hwu64", "tasks", 10),
    Part("snips", "tasks", 10),
    Part("trec", "glue", 10),
    Part("sst2", "glue", 500, 10, 1500, "valid", BOTH, has_deep_teacher=True, most_unlabelled=15_000),
    Part("mrpc", "glue", 500, 10, 1500, "test", BOTH, has_deep_teacher=True),
)
CUT = (
    "The corpus has 1.3 million passages; the paper’s is a thousand times larger. Its tasks are those of GLUE with all "
    "their labels; ours have at most 1,000.",
    "Students have 2 layers of 128 numbers and learn for 2,500 updates of 64 (1,500 on SST-2 and MRPC).",
    "One teacher and one draw of the labelled rows a task: what varies is the students’ seed.",
    "Of SST-2’s 67,349 unlabelled sentences all-unlabelled sees 15,000. RTE is left out: MRPC stands for pairs.",
)


def plan(seeds: tuple[int, ...]) -> Experiment:
    """Task by task, and within a task seed by seed."""
    runs = [run for part in PARTS for run in runs_of(arms_plan(part, seeds), half=part.updates // 2)]
    return Experiment(
        "contextualized",
        "Is text retrieved for the task a better textbook than random, augmented or bare task text?",
        "no distillation",
        ("accuracy", "macro_f1"),
        tuple(runs),
        claims=(Claim("retrieved", ("generic-random", "augmented", TWO_STAGE, "task-only")),),
        cut=CUT,
    )


def arms_plan(part: Part, seeds: tuple[int, ...]) -> ArmsPlan:
    """The comparison of arms on that task."""
    return ArmsPlan(
        prefix=part.name,
        index=ENGLISH,
        task=real_data(part.folder, f"{part.name}.parquet"),
        run_toml=RUN_TOML,
        retriever="lexical",
        k=part.k,
        seeds=seeds,
        shots=part.shots,
        unlabelled=True,
        most_unlabelled=part.most_unlabelled,
        heldout=part.heldout,
        settings=part.settings,
    )


def runs_of(arms: ArmsPlan, *, half: int) -> Iterator[PlannedRun]:
    """The arms of a task, and after them each seed's two stages of `half` the updates."""
    for run in arm_runs(arms):
        yield planned(run, arms.prefix)
        if run.arm == "all-unlabelled":
            yield _two_stage(arms, run.seed, half)


def _two_stage(arms: ArmsPlan, seed: int, half: int) -> PlannedRun:
    """Random text, and with the student that came of it the augmented text."""
    of_arms = {run.arm: run for run in arm_runs(replace(arms, seeds=(seed,)))}
    general, augmented = of_arms["generic-random"], of_arms["augmented"]
    first = _named(general.command, f"{arms.prefix}-general-{seed}", arm="general", half=half)
    begin = ("--set", "student.from=pretrained", "--set", f"student.model={RUNS}/{name_of(first)}/student")
    second = _named(augmented.command, f"{arms.prefix}-{TWO_STAGE}-{seed}", arm=TWO_STAGE, half=half)
    sets = dict.fromkeys(tuple(build) for build in (*general.sets, *augmented.sets))
    run = ArmRun(TWO_STAGE, seed, (*second, *begin), tuple(sets))
    return replace(planned(run, arms.prefix), before=(*first, "--set", "finetune.updates=0"))


def _named(command: Command, name: str, *, arm: str, half: int) -> Command:
    at = command.index("--name") + 1
    changes = ("--set", f"arm={arm}", "--set", f"distill.updates={half}")
    return (*command[:at], name, *command[at + 1 :], *changes)
