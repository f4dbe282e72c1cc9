"""Plans: what is run, in which order, and on what it stands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from contract.errors import BadInput
from demo.arms import NO_DISTILLATION
from demo.commands import name_of
from distill.config import read_config
from experiments.__main__ import EXPERIMENTS
from experiments.experiment import Experiment, quickened
from experiments.objectives import PARTS

FILES = [
    *(f"tasks/{task}.parquet" for task in ("snips", "hwu64", "clinc150", "xsid")),
    *(f"glue/{task}.parquet" for task in ("sst2", "mrpc")),
    "models/e5-small",
    *(f"generic/en/part-00{number}.parquet" for number in range(2)),
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


def test_xsid_and_snips_share_no_transfer_set() -> None:
    """xSID's training rows hold most of SNIPS' test sentences."""
    of_xsid = {name_of(need) for run in EXPERIMENTS["languages"]((0,)).runs for need in run.needs[2:]}
    others = [plan((0,)) for name, plan in EXPERIMENTS.items() if name != "languages"]
    assert of_xsid.isdisjoint(name_of(need) for other in others for run in other.runs for need in run.needs[2:])


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
