"""The processes that train one model together: each takes its share of every batch, gradients are added up.

All have the same weights at all times, to the last bit. They meet through accelerate: gloo on this machine's own
address, or NCCL with a GPU each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor

from contract.errors import BadInput, MissingExtra, WorkerLost
from distill.models.device import THREADS
from distill.training.batches import Rows

LONGEST_WAIT = timedelta(hours=2)  # while the first tests a student; one that has died is noticed at once
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}


class Processes:
    """`rank` 0 of `count` is the main one, which alone writes."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def main(self) -> bool:
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """For draws that differ among the processes; the main one's is the seed itself."""
        return seed + (self.rank << 52)

    def share(self, rows: Rows) -> Rows:
        """This process's rows of a batch; none where the batch has fewer rows than there are processes."""
        return rows[self.rank :: self.count]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes in the place of these tensors, in one exchange."""
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with _lost(self.count):
            summed = reduce(flat, "sum")
        with torch.no_grad():
            for tensor, total in zip(tensors, summed.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def total(self, value: float, device: str) -> float:
        """The sum of every process's value."""
        tensor = torch.tensor([value], dtype=torch.float64, device=device)
        self.add_up([tensor])
        return float(tensor.item())

    def rows_of_all(self, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """What all processes have of a table: numbers of rows (n,) and what is to be added to them, (n, H)."""
        if self.count == 1:
            return rows, values
        from accelerate.utils import gather, pad_across_processes

        with _lost(self.count):  # padding adds nothing to row 0
            gathered = [gather(pad_across_processes(part)) for part in (rows, values)]
        return gathered[0], gathered[1]

    def refuse_other(self, update: int, device: str) -> None:
        """All must go on from the same update."""
        if self.total(update, device) != self.count * update:
            raise WorkerLost("The processes of a training stand at different updates; run the same command again")


ALONE = Processes()


@contextmanager
def joined(rank: int, count: int, meeting: Path) -> Iterator[Processes]:
    """The processes, once all of them have come to `meeting`, a path where nothing is yet."""
    try:
        from accelerate import PartialState
        from accelerate.utils import patch_environment
    except ImportError:
        raise MissingExtra(
            "Several processes need accelerate, which is not installed; pip install 'transferset[processes]', "
            "or ask for one process"
        ) from None
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    with patch_environment(**places, **_LOOPBACK, OMP_NUM_THREADS=THREADS), _lost(count):
        state = PartialState(
            cpu=not torch.cuda.is_available(),
            init_method=f"file://{meeting}",
            timeout=LONGEST_WAIT,
            **({"rank": rank, "world_size": count} if torch.cuda.is_available() else {}),
        )
    try:
        yield Processes(rank, count)
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


def refuse_too_many(count: int) -> None:
    """BadInput where there are fewer GPUs than processes."""
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise BadInput(
            f"{count} processes need a GPU each, found {torch.cuda.device_count()}; ask for fewer with --processes"
        )


@contextmanager
def _lost(count: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise WorkerLost(
            f"One of the {count} processes of this training has ended ({str(error).splitlines()[0][:120]}); "
            "run the same command again: it goes on from the last checkpoint"
        ) from error
