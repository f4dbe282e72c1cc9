"""Several processes train as one: the same weights up to rounding, all of them alike, and exactly so after a kill."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.training.processes import ALONE, Processes
from tests.distill.test_training import RECIPE, bag, learn
from tests.distill.together import LOST, apart, learnt, train_together

KILLED = -signal.SIGKILL


def test_the_processes_share_a_batch_without_overlap() -> None:
    rows = np.arange(11)
    shares = [Processes(rank, 3).share(rows) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == rows.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert np.array_equal(ALONE.share(rows), rows)


def test_processes_draw_differently_and_the_main_one_as_if_alone() -> None:
    seeds = {Processes(rank, 64).seed(2**31 * 1_000_003) for rank in range(64)}
    assert len(seeds) == 64
    assert max(seeds) < 2**63
    assert Processes(0, 64).seed(7) == ALONE.seed(7) == 7


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Helpers, the sparse rows of the embedding and the clipping of the whole included."""
    alone = bag(0.0)
    learn(alone, tmp_path / "alone")
    assert train_together(tmp_path, 2) == [0, 0]
    found = learnt(tmp_path)
    assert apart(found, learnt(tmp_path, 1)) == 0, "both have the same weights to the last bit"
    assert apart({f"model.{name}": t for name, t in alone.state_dict().items()}, found) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_killed_process_ends_all_and_they_go_on_exactly(tmp_path: Path, dies: int) -> None:
    told = {"dropout": 0.2, "helpers": True, "recipe": {"accumulate": 2}}
    assert train_together(tmp_path / "whole", 2, **told) == [0, 0]
    codes = train_together(tmp_path / "broken", 2, dies={dies: 11}, **told)
    assert codes[dies] == KILLED
    assert codes[1 - dies] == LOST
    assert train_together(tmp_path / "broken", 2, **told) == [0, 0]
    assert apart(learnt(tmp_path / "broken"), learnt(tmp_path / "whole")) == 0
    assert apart(learnt(tmp_path / "whole"), learnt(tmp_path / "whole", 1)) == 0


@pytest.mark.slow
def test_three_processes_go_on_with_a_batch_of_fewer_texts(tmp_path: Path) -> None:
    """A process without a text has a gradient of nothing, and the others' count as ever."""
    alone = bag(0.0)
    learn(alone, tmp_path / "alone", replace(RECIPE, batch_size=2))
    assert train_together(tmp_path, 3, recipe={"batch_size": 2}) == [0, 0, 0]
    assert apart({f"model.{name}": t for name, t in alone.state_dict().items()}, learnt(tmp_path)) < 1e-4
