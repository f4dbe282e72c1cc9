"""Work shared out over the cores: each piece on one thread of torch, results in order, nothing left changed."""

import pytest
import torch

from indexer.encoders.threads import cores, shared_out


@pytest.mark.parametrize("threads", [1, 3])
def test_each_piece_has_one_thread_and_the_caller_keeps_its_own(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = shared_out(lambda piece: (piece, torch.get_num_threads()), list(range(7)), threads)
        assert seen == [(piece, 1) for piece in range(7)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_pieces_are_no_work():
    assert shared_out(lambda piece: piece, [], 3) == []


def test_what_a_piece_raises_is_raised():
    with pytest.raises(InterruptedError):
        shared_out(lambda piece: (_ for _ in ()).throw(InterruptedError()), [1, 2], 2)


@pytest.mark.parametrize(("given", "found"), [("3", 3), ("", None), ("0", None), ("many", None)])
def test_the_cores_are_those_that_were_granted(given, found, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert cores() == found if found else cores() >= 1
