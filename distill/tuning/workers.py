"""Workers: processes of one host that make a study's trials side by side; one that is killed takes down no other."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from contract.errors import TransfersetError, WorkerLost
from contract.progress import Progress
from distill.tuning.trial import Search, work

POLL_S = 0.5


def work_together(search: Search, workers: int, progress: Progress) -> None:
    """Make all trials of a study, in this process or in so many others; what one of them raises is raised here."""
    if workers == 1:
        work(search, progress)
        return
    spawning = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(workers):
        ours, theirs = spawning.Pipe(duplex=False)
        process = spawning.Process(target=_worker, args=(search, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        _wait(search, processes, progress)
        _raise_what_went_wrong(processes, pipes)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _wait(search: Search, processes: Sequence[BaseProcess], progress: Progress) -> None:
    """Until all have ended: each stays until every trial is over, so that it can take over another's."""
    _, study = search.open()
    while any(process.is_alive() for process in processes):
        over = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        progress("trials", over, search.trials)
        time.sleep(POLL_S)


def _raise_what_went_wrong(processes: Sequence[BaseProcess], pipes: Sequence[Connection]) -> None:
    """What workers raised; nothing where one of them ended well, since then every trial is over."""
    for process in processes:
        process.join()
    if any(process.exitcode == 0 for process in processes):
        return
    for pipe in pipes:
        try:
            raise pipe.recv()
        except EOFError:
            continue
    codes = ", ".join(str(process.exitcode) for process in processes)
    raise WorkerLost(
        f"All {len(processes)} workers of the study died (exit codes {codes}; -9 is often a lack of memory); "
        "take fewer with --workers. The same command goes on from here"
    )


def _worker(search: Search, pipe: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(search)
    except TransfersetError as error:
        pipe.send(error)
        os._exit(2)
    except KeyboardInterrupt:
        os._exit(130)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
