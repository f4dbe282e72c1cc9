"""Paper A: how much of a transfer set should be the task's own text, without its labels?

Random passages and unlabelled utterances, mixed 10:0, 7:3, 3:7 and 0:10 to sets of one size; a 2 x 128 student
distilled on each, then finetuned on the gold labels: the domain (DC), or intent and slots together (ICNER).
`taught` teachers were finetuned on the task and hand on soft targets; `adapted` ones learnt the domain's text by masked
tokens first; `as-is` and `as-is-adapted` ones were never finetuned, as in the paper, and hand on their relations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from demo.arms import NO_DISTILLATION
from experiments.data import real_data
from experiments.experiment import Claim, Experiment, PlannedRun, distilled
from experiments.indexes import ENGLISH, GERMAN

RUN_TOML = Path(__file__).with_name("mixing.toml")
SHARES = (100, 70, 30, 0)  # generic texts of a hundred
_RELATIONS = {
    "teacher.updates": 0,
    "objective.soft_weight": 0.0,
    "objective.intermediate": "minilmv2",
    "objective.states": "stored",
}
_ADAPTED = {"teacher.adapt.updates": 500}
TEACHERS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {"taught": {}, "adapted": _ADAPTED, "as-is": _RELATIONS, "as-is-adapted": {**_RELATIONS, **_ADAPTED}}
)
TAUGHT = ("taught", "adapted")
METRICS = ("sem_er", "accuracy", "span_f1")  # of a kind of task those it has: the first decides


@dataclass(frozen=True)
class Part:
    """A task and what is learnt of it; `texts` is the size of its sets, about as many as it has utterances."""

    task: str
    kind: str
    texts: int
    teachers: tuple[str, ...] = TAUGHT
    shots: int | None = None
    german: bool = False

    @property
    def name(self) -> str:
        return f"{self.task}-{'dc' if self.kind == 'classes' else 'icner'}"

    @property
    def settings(self) -> dict[str, object]:
        """What all its runs set."""
        learnt = {"task.kind": "joint", "task.target": "intent"} if self.kind == "joint" else {}
        few = {"task.shots": self.shots, "finetune.updates": 200} if self.shots else {}
        bad = {"task.unseen_labels": "wrong", "task.skip_bad_rows": "true"} if self.task == "xsid" else {}
        return {"task.path": self._path, **learnt, **few, **bad}

    def build(self, share: int, index: str = ENGLISH) -> tuple[str, ...]:
        """What makes the set of that generic share: drawn from all utterances, labelled or not."""
        german = "-german" if index == GERMAN else ""
        heldout = ("--heldout-split", "valid", "--heldout-split", "test") if self.task == "xsid" else ()
        bad = ("--skip-bad-rows",) if self.task == "xsid" else ()
        return (
            *("build", "--index", index, "--task", str(self._path), "--split", "train", *heldout, *bad),
            *("--retriever", "random", "--k", "2", "--generic-share", str(share / 100)),
            *("--budget-rows", str(self.texts), "--name", f"{self.task}-generic-{share}{german}"),
        )

    @property
    def _path(self) -> Path:
        return real_data("tasks", f"{self.task}.parquet")


PARTS = (
    Part("hwu64", "classes", 9_900, tuple(TEACHERS)),
    Part("hwu64", "joint", 9_900, tuple(TEACHERS)),
    Part("snips", "classes", 12_900),
    Part("snips", "joint", 12_900),
    Part("xsid", "joint", 10_000, ("taught",), shots=50, german=True),
)
CUT = (
    "Students have 2 layers of 128 numbers and one language; the paper’s are multilingual, of sizes it does not give.",
    "xSID has 50 labelled rows a class, 10,000 of its 43,605 unlabelled utterances, and an encoder that knows English "
    "alone: its German is read in English pieces.",
    "Teachers that were never finetuned are tried on HWU64 alone: running beside the student they cost most.",
    "SNIPS has 12,900 texts of which some are equal, so that its sets differ by a few hundredths; the pages say by how "
    "much.",
)


def plan(seeds: tuple[int, ...]) -> Experiment:
    """Part by part: the finetuned teacher's shares first, seed by seed, then the other teachers'."""
    runs = [run for part in PARTS for run in _runs(part, seeds)]
    own, generic = arm_of("taught", 0), arm_of("taught", 100)
    return Experiment(
        "mixing",
        "How much of a transfer set should be the task's own text, without its labels?",
        "no distillation",
        METRICS,
        tuple(runs),
        claims=(
            Claim(own, (arm_of("taught", 30), arm_of("taught", 70), generic, NO_DISTILLATION)),
            Claim(generic, (NO_DISTILLATION,)),
            Claim(arm_of("adapted", 0), (own,)),
            Claim(arm_of("as-is", 0), (arm_of("as-is", 100), NO_DISTILLATION)),
            Claim(arm_of("as-is-adapted", 0), (arm_of("as-is", 0),)),
        ),
        cut=CUT,
    )


def arm_of(teacher: str, share: int) -> str:
    """'taught-generic-70'."""
    return f"{teacher}-generic-{share}"


def _runs(part: Part, seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    for seed in seeds:
        yield _run(part, NO_DISTILLATION, seed, {}, None)
        for share in SHARES:
            yield _run(part, arm_of("taught", share), seed, {}, part.build(share))
    for seed in seeds if part.german else ():
        for share in (100, 70):
            yield _run(part, f"taught-german-{share}", seed, {}, part.build(share, GERMAN))
    for teacher in part.teachers[1:]:
        for seed in seeds:
            for share in SHARES:
                yield _run(part, arm_of(teacher, share), seed, TEACHERS[teacher], part.build(share))


def _run(part: Part, arm: str, seed: int, teacher: Mapping[str, object], build: tuple[str, ...] | None) -> PlannedRun:
    name, settings = f"{part.name}-{arm}-{seed}", {**part.settings, **teacher}
    return distilled(name, part.name, RUN_TOML, settings, arm=arm, seed=seed, build=build)
