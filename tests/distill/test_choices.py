"""Claims of choices on disk: read again as they were made, made once, and never made from another model."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from contract.errors import CorruptArtifact
from distill.selecting.choices import Choices
from distill.selecting.quota import Numbers
from distill.training.curriculum import Stage
from distill.training.processes import Processes

STAGE = Stage(20, 30)
CHOSEN = np.array([0, 3, 7, 8, 12])


def choose() -> tuple[Numbers, int]:
    return CHOSEN, 11


def never() -> tuple[Numbers, int]:
    raise AssertionError("it was chosen before")


def made(folder: Path, now: int = 20) -> Numbers:
    return Choices(folder).obtain(STAGE, now, 13, "cpu", choose)


def test_a_choice_is_made_once_and_read_wherever_its_stage_goes_on(tmp_path: Path) -> None:
    assert made(tmp_path).tolist() == CHOSEN.tolist()
    for now in (20, 24, 29):
        assert Choices(tmp_path).obtain(STAGE, now, 13, "cpu", never).tolist() == CHOSEN.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["0000000020.safetensors"]


def test_a_later_batch_does_not_choose_by_a_later_model(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match="gone or damaged; run the same command with --restart"):
        made(tmp_path, now=21)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("left", [b"", b"{", b"x" * 300])
def test_a_damaged_choice_is_made_again_where_it_can_be(tmp_path: Path, left: bytes) -> None:
    made(tmp_path)
    path = tmp_path / "0000000020.safetensors"
    for damage in (left, path.read_bytes()[:-1]):
        path.write_bytes(damage)
        with pytest.raises(CorruptArtifact, match="damaged"):
            made(tmp_path, now=25)
        assert made(tmp_path).tolist() == CHOSEN.tolist()


def test_a_choice_among_other_texts_is_none(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(CorruptArtifact, match="damaged"):
        Choices(tmp_path).obtain(STAGE, 25, 130, "cpu", never)


def test_all_choices_cost_what_each_did(tmp_path: Path) -> None:
    assert Choices(tmp_path / "none").cost is None
    for begin in (20, 30, 40):
        Choices(tmp_path).obtain(Stage(begin, begin + 10), begin, 13, "cpu", choose)
    (tmp_path / ".0000000050.safetensors.partial").write_bytes(b"half")
    cost = Choices(tmp_path).cost
    assert cost is not None
    assert (cost.choices, cost.texts) == (3, 33)
    assert cost.seconds >= 0


class Beside(Processes):
    """Two that wait for each other as processes do."""

    def __init__(self, rank: int, meeting: threading.Barrier) -> None:
        super().__init__(rank, 2)
        self._meeting = meeting

    def total(self, value: float, device: str) -> float:
        self._meeting.wait(10)
        return value


def test_of_several_processes_one_chooses_and_all_learn_the_same(tmp_path: Path) -> None:
    meeting, found = threading.Barrier(2), {}

    def learn(rank: int) -> None:
        of = Choices(tmp_path, Beside(rank, meeting))
        found[rank] = of.obtain(STAGE, 20, 13, "cpu", never if rank else choose).tolist()

    beside = threading.Thread(target=learn, args=(1,))
    beside.start()
    learn(0)
    beside.join()
    assert found == {0: CHOSEN.tolist(), 1: CHOSEN.tolist()}
