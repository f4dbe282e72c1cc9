"""The journal: it outlives kills at any byte of it, and holds what every writer wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage

from distill.tuning.journal import Journal, kernel_lock, mend

ROOT = Path(__file__).parents[3]
EVENTS = [{"op_code": number, "text": "ü" * number} for number in range(4)]


def written(path: Path) -> list[dict[str, object]]:
    return list(Journal(path).read_logs(0))


def test_a_line_cut_anywhere_is_gone_and_the_next_one_stands(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path).append_logs(EVENTS)
    whole = path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        Journal(path).append_logs([{"op_code": 9}])
        kept = sum(end < cut for end in ends)
        assert written(path) == [*EVENTS[:kept], {"op_code": 9}], cut


def test_a_writer_that_is_open_goes_on_after_another_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    open_before = Journal(path)
    open_before.append_logs(EVENTS[:1])
    with path.open("ab") as file:
        file.write(b'{"op_code": 1, "te')  # another's death
    open_before.append_logs(EVENTS[1:2])
    assert list(open_before.read_logs(0)) == EVENTS[:2]


def test_mending_looks_further_back_than_one_block(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    mend(path)
    assert path.read_bytes() == b"{}\n"
    path.write_bytes(b"x" * 200_000)
    mend(path)
    assert path.read_bytes() == b""


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys; from pathlib import Path; from distill.tuning.journal import kernel_lock\n"
        f"with kernel_lock(Path({str(path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with kernel_lock(path, wait=False) as got:
            assert not got
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with kernel_lock(path, wait=False) as got:
            assert got


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    script = (
        "import sys; from pathlib import Path; from distill.tuning.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r}))\n"
        "for n in range(50): journal.append_logs([{'op_code': 0, 'worker': sys.argv[1], 'n': n}])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)], cwd=ROOT) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = [(log["worker"], log["n"]) for log in written(path)]
    assert sorted(found) == sorted((str(worker), n) for worker in range(3) for n in range(50))


def test_optuna_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=JournalStorage(Journal(path)), study_name="s")
    for _ in range(3):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
    path.write_bytes(path.read_bytes()[:-7])
    again = optuna.load_study(storage=JournalStorage(Journal(path)), study_name="s")
    assert [trial.state.name for trial in again.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    trial = again.ask()
    again.tell(trial, 1.0)
    assert again.trials[3].value == 1.0


@pytest.mark.parametrize("url", ["sqlite:///study.db", "mysql://u@h/d", "redis://h", "study.db"])
def test_a_storage_that_workers_would_spoil_is_refused(url: str) -> None:
    from contract.errors import BadInput
    from distill.tuning.trial_storage import check_storage

    with pytest.raises(BadInput, match="--storage: expected postgresql://") as raised:
        check_storage(url)
    assert ("SQLite loses trials" in str(raised.value)) == url.startswith("sqlite")
