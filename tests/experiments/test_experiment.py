"""Plans: what is run, in which order, and on what it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from contract.errors import BadInput
from demo.arms import NO_DISTILLATION
from demo.commands import name_of
from distill.config import TransferSetConfig, read_config
from experiments.__main__ import EXPERIMENTS
from experiments.experiment import Experiment, quickened
from experiments.experiment import _config_of as config_of
from experiments.mixing import PARTS as MIXED
from experiments.mixing import SHARES
from experiments.objectives import PARTS

FILES = [
    *(f"tasks/{task}.parquet" for task in ("snips", "hwu64", "clinc150", "xsid")),
    *(f"glue/{task}.parquet" for task in ("trec", "sst2", "mrpc")),
    "models/e5-small",
    *(f"generic/en/part-00{number}.parquet" for number in range(6)),
    "generic/de/part-000.parquet",
]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the real data's names, without anything in them: a plan reads none."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("TRANSFERSET_DATA", str(tmp_path))


@pytest.fixture(params=EXPERIMENTS)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return EXPERIMENTS[request.param]((0, 1, 2))


def test_no_two_runs_have_one_name(experiment: Experiment) -> None:
    assert [name for name, times in Counter(run.name for run in experiment.runs).items() if times > 1] == []


def test_every_run_has_settings_that_distill_takes(experiment: Experiment) -> None:
    for run in experiment.runs:
        config = read_config(*run.config)
        assert config.seed == run.seed
        assert config.arm == (None if run.arm == NO_DISTILLATION else run.arm)


def test_no_two_runs_are_of_the_same_settings(experiment: Experiment) -> None:
    settings = [read_config(*run.config).model_dump_json() for run in experiment.runs]
    assert len(set(settings)) == len(settings)


def test_the_transfer_set_of_a_run_is_among_what_it_needs(experiment: Experiment) -> None:
    for run in experiment.runs:
        chosen = read_config(*run.config).transfer_set
        assert [chosen.name] == [name_of(run.needs[-1])] if chosen else run.needs == ()


def test_what_a_set_is_as_large_as_is_made_before_it(experiment: Experiment) -> None:
    for run in experiment.runs:
        made: list[str] = []
        for need in run.needs:
            if "--size-of" in need:
                assert need[need.index("--size-of") + 1] in made
            made.append(name_of(need))


def test_arms_of_a_part_have_the_same_seeds(experiment: Experiment) -> None:
    seeds = {(run.part, run.arm): set() for run in experiment.runs}
    for run in experiment.runs:
        seeds[run.part, run.arm].add(run.seed)
    assert all(found == {0, 1, 2} for found in seeds.values())


def test_every_part_has_its_baseline(experiment: Experiment) -> None:
    parts = {run.part for run in experiment.runs}
    named = experiment.baseline.replace(" ", "-")
    assert {run.part for run in experiment.runs if run.arm == named} == parts


def test_one_name_is_one_command_in_all_experiments() -> None:
    """So that a run, a set or an index that two of them need is made once; and none of xSID, whose training rows hold
    most of SNIPS' test sentences, is taken for one of SNIPS."""
    known: dict[str, tuple[str, ...]] = {}
    for plan in EXPERIMENTS.values():
        for run in plan((0, 1)).runs:
            made = [*run.needs, *([run.before] if run.before else []), run.command]
            for command in map(tuple, made):
                kind = command[0] if command[0] in ("corpus", "index", "distill") else "build"
                assert known.setdefault(f"{kind} {name_of(command)}", command) == command


def test_what_is_swept_and_claimed_is_run(experiment: Experiment) -> None:
    arms = {(run.part, run.arm) for run in experiment.runs}
    for sweep in experiment.sweeps:
        assert {(sweep.part, arm) for arm in sweep.arms} <= arms
    for claim in experiment.claims:
        for than in claim.than:
            assert any({(part, claim.arm), (part, than)} <= arms for part, _ in arms)


def test_two_stages_make_as_many_updates_as_one() -> None:
    runs = EXPERIMENTS["contextualized"]((0,)).runs
    whole = {run.part: read_config(*run.config).distill.updates for run in runs if run.arm == "augmented"}
    staged = [run for run in runs if run.arm == "two-stage"]
    assert {run.part for run in staged} == whole.keys()
    for run in staged:
        assert run.before is not None
        first, second = read_config(*config_of(run.before)), read_config(*run.config)
        assert first.distill.updates + second.distill.updates == whole[run.part]
        assert (first.finetune.updates, first.transfer_set) == (0, TransferSetConfig(name=f"{run.part}-generic-random"))
        assert second.student.model == f"{{runs}}/{name_of(run.before)}/student"


def test_a_plan_knows_where_runs_lie_once_it_is_told() -> None:
    experiment = EXPERIMENTS["contextualized"]((0,)).only("*two-stage*").placed(Path("there"))
    models = [read_config(*run.config).student.model for run in experiment.runs]
    assert models == [f"there/{run.part}-general-0/student" for run in experiment.runs]


def test_sets_of_a_mix_are_of_one_size_and_differ_in_their_share_alone() -> None:
    for part in MIXED:
        builds = [part.build(share) for share in SHARES]
        kept = {tuple(word for word in build if word not in (name_of(build), share_of(build))) for build in builds}
        assert len(kept) == 1
        assert [float(share_of(build)) for build in builds] == [1.0, 0.7, 0.3, 0.0]


def share_of(build: Sequence[str]) -> str:
    return build[build.index("--generic-share") + 1]


def test_the_most_telling_comes_first() -> None:
    names = [run.name for run in EXPERIMENTS["objectives"]((0, 1, 2)).runs]
    first = [f"snips-10-2x128-{arm}-{seed}" for seed in range(3) for arm in PARTS[0].arms]
    assert names[: len(first)] == first
    assert len(names) == 3 * sum(len(part.arms) for part in PARTS)


def test_arms_of_objectives_differ_in_nothing_but_their_objective() -> None:
    """But for those that say so: no transfer set, twice the updates, another beginning."""
    runs = EXPERIMENTS["objectives"]((0,)).only("snips-10-2x128-*").runs
    told = {run.arm: read_config(*run.config).to_json() for run in runs}
    del told[NO_DISTILLATION], told["soft-longer"], told["soft-embeddings"]
    for settings in told.values():
        del settings["objective"], settings["arm"]
    assert len(told) == len(PARTS[0].arms) - 3
    assert all(settings == told["soft"] for settings in told.values())


def test_quick_is_one_part_one_seed_and_names_of_its_own(experiment: Experiment) -> None:
    quick = quickened(experiment)
    assert {(run.part, run.seed) for run in quick.runs} == {(experiment.runs[0].part, 0)}
    assert {run.arm for run in quick.runs} == {run.arm for run in experiment.runs if run.part == quick.runs[0].part}
    assert {run.name for run in quick.runs}.isdisjoint(run.name for run in experiment.runs)
    assert all(read_config(*run.config).distill.updates <= 20 for run in quick.runs)


def test_a_pattern_that_fits_no_run_is_a_sentence(experiment: Experiment) -> None:
    with pytest.raises(BadInput, match="expected one such as"):
        experiment.only("nothing-*")
