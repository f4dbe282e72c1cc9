"""Around one centre (BM25, k = 20, 1.3 M passages): what of retrieval matters, each thing varied by itself (paper B).

Retriever, k, the share of the contextualized corpus that is used, the corpus's size, its dialogues, and the student's
size. The centre, random text and no distillation are runs of `contextualized`, made once for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from demo.arms import NO_DISTILLATION, ArmRun, ArmsPlan, build_commands
from demo.commands import Command, name_of
from experiments.contextualized import PARTS, Part, arms_plan, runs_of
from experiments.experiment import Claim, Experiment, PlannedRun, Sweep, planned
from experiments.indexes import ENGLISH, HALF, NO_DIALOGUES, ONE_PART, SAMPLE

CENTRE = "retrieved"
TASKS = {"clinc150": 21_906, "snips": 1_381}  # -> texts at the centre, of which a share is used
SHARES = (20, 40, 60, 80)
STUDENTS = {
    "1x64": ("student.layers=1", "student.width=64"),
    "4x256": ("student.layers=4", "student.width=256"),
    "6x384": ("student.layers=6", "student.width=384", "distill.learning_rate=5e-4"),  # 1e-3 was not tried
}
OF_STUDENTS = (NO_DISTILLATION, "generic-random", CENTRE)
# arm -> what its set is built with instead: retriever, index, k
VARIED = MappingProxyType(
    {
        "k-5": ("lexical", ENGLISH, 5),
        "k-50": ("lexical", ENGLISH, 50),
        "k-100": ("lexical", ENGLISH, 100),
        "no-dialogues": ("lexical", NO_DIALOGUES, 20),
        "random-no-dialogues": ("random", NO_DIALOGUES, 20),
        "lexical-200k": ("lexical", ONE_PART, 20),
        "dense-200k": ("dense", ONE_PART, 20),
        "hybrid-200k": ("hybrid", ONE_PART, 20),
        "lexical-50k": ("lexical", SAMPLE, 20),
        "lexical-650k": ("lexical", HALF, 20),
    }
)
SWEEPS = MappingProxyType(
    {
        "Neighbours an utterance": {"k-5": "5", CENTRE: "20", "k-50": "50", "k-100": "100"},
        "Retriever, on 200,000 passages": {
            "lexical-200k": "lexical",
            "dense-200k": "dense",
            "hybrid-200k": "hybrid",
        },
        "Passages in the corpus": {
            "lexical-50k": "50 k",
            "lexical-200k": "200 k",
            "lexical-650k": "650 k",
            CENTRE: "1.3 M",
        },
        "Share of the nearest texts used": {**{f"share-{share}": f"{share} %" for share in SHARES}, CENTRE: "100 %"},
    }
)
CUT = (
    "Two tasks, CLINC150 and SNIPS, with ten labels a class; students of other sizes on CLINC150 alone.",
    "Vectors are of 216,667 passages: embedding 1.3 million takes these two cores 40 minutes and more. Retrievers are "
    "compared on that part of the corpus.",
    "A share of the contextualized corpus is its nearest part, not a random one. Every arm makes 2,500 updates, so "
    "that larger sets are met fewer times.",
)


def plan(seeds: tuple[int, ...]) -> Experiment:
    """Each task's sweeps, then the other students."""
    parts = [part for part in PARTS if part.name in TASKS]
    runs = [run for part in parts for run in (*_centre(part, seeds), *_varied(part, seeds))]
    runs += [run for student in STUDENTS for run in _sized(parts[0], student, seeds)]
    others = ("generic-random", *VARIED, *(f"share-{share}" for share in SHARES))
    return Experiment(
        "retrieval",
        "Which retriever, how many neighbours, from how large a corpus, for how large a student?",
        CENTRE,
        ("accuracy",),
        tuple(runs),
        claims=(Claim(CENTRE, others), Claim("no-dialogues", ("random-no-dialogues",))),
        sweeps=tuple(Sweep(title, part.name, arms) for part in parts for title, arms in SWEEPS.items()),
        cut=CUT,
    )


def _centre(part: Part, seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    """What all is measured beside, as `contextualized` makes it."""
    made = runs_of(arms_plan(part, seeds), half=0)
    return (run for run in made if run.arm in OF_STUDENTS)


def _varied(part: Part, seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    arms = arms_plan(part, seeds)
    (centre,) = [build for build in build_commands(arms) if name_of(build) == f"{part.name}-{CENTRE}"]
    builds = {arm: _built(centre, f"{part.name}-{arm}", *other) for arm, other in VARIED.items()}
    for share in SHARES:
        most = str(TASKS[part.name] * share // 100)
        builds[f"share-{share}"] = (*_built(centre, f"{part.name}-share-{share}"), "--budget-rows", most)
    builds["random-no-dialogues"] += ("--size-of", name_of(builds["no-dialogues"]))
    for arm, build in builds.items():
        sets = (builds["no-dialogues"], build) if "--size-of" in build else (build,)
        for seed in seeds:
            yield planned(_run(arms, arm, seed, *sets), part.name)


def _built(
    centre: Command, name: str, retriever: str = "lexical", index: str = ENGLISH, k: int = 20
) -> tuple[str, ...]:
    """The centre's set with these instead."""
    told = {"--name": name, "--retriever": retriever, "--index": index, "--k": str(k)}
    before = (None, *centre[:-1])
    return tuple(told.get(key or "", value) for key, value in zip(before, centre, strict=True))


def _run(arms: ArmsPlan, arm: str, seed: int, *sets: Command) -> ArmRun:
    """A run on the last of the sets."""
    settings = (
        *(f"seed={seed}", f"task.path={arms.task}", f"task.shots={arms.shots}"),
        *(f"arm={arm}", f"transfer_set.name={name_of(sets[-1])}", *arms.settings),
    )
    chosen = [part for setting in settings for part in ("--set", setting)]
    command = ["distill", str(arms.run_toml), "--name", f"{arms.prefix}-{arm}-{seed}", *chosen]
    return ArmRun(arm, seed, command, sets)


def _sized(part: Part, student: str, seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    """Another student on the centre's sets."""
    for run in _centre(part, seeds):
        at = run.command.index("--name") + 1
        name = f"{part.name}-{student}-{run.arm}-{run.seed}"
        chosen = [each for setting in STUDENTS[student] for each in ("--set", setting)]
        command = (*run.command[:at], name, *run.command[at + 1 :], *chosen)
        yield PlannedRun(f"{part.name}-{student}", run.arm, run.seed, command, run.needs)
