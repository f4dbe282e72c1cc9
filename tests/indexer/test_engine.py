"""Claims about the local engine: results in order, errors whole, a dead worker costs its shard, none outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import BadInput, MissingExtra, WorkerLost
from indexer.engine import LocalEngine, open_engine, read_bytes
from tests.indexer.counting import Dying, Failing, Slow, Square

ROOT = Path(__file__).parents[2]
GB = 10**9


def processes(workers: int = 2) -> LocalEngine:
    return LocalEngine(workers, processes=True)


@pytest.mark.parametrize("by_processes", [False, True])
def test_results_come_in_the_numbers_order_however_long_each_takes(by_processes: bool) -> None:
    engine = LocalEngine(3, processes=by_processes)
    assert list(engine.map(Slow(), [3, 0, 7, 5, 1, 6])) == [3, 0, 7, 5, 1, 6]
    assert list(engine.map(Slow(), [])) == []


def test_processes_are_others_than_this_one_and_as_many_as_asked_for() -> None:
    done = list(processes(2).map(Square(), range(40)))
    assert [square for square, _ in done] == [n * n for n in range(40)]
    pids = {pid for _, pid in done}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_a_killed_worker_costs_its_shard_only(tmp_path: Path) -> None:
    assert list(processes().map(Dying(tmp_path, 4, 2), range(8))) == list(range(8))
    attempts = {number: len(list(tmp_path.glob(f"{number}-*"))) for number in range(8)}
    assert attempts == {number: 3 if number == 4 else 1 for number in range(8)}


def test_a_shard_that_kills_three_workers_ends_the_build_with_a_sentence(tmp_path: Path) -> None:
    expected = r"Shard 2 was given to 3 worker processes and each died \(killed by SIGKILL, as the kernel does when"
    with pytest.raises(WorkerLost, match=expected):
        list(processes().map(Dying(tmp_path, 2, 99), range(4)))
    assert len(list(tmp_path.glob("2-*"))) == 3


@pytest.mark.parametrize("by_processes", [False, True])
def test_errors_come_back_whole(by_processes: bool) -> None:
    engine = LocalEngine(2, processes=by_processes)
    with pytest.raises(BadInput, match="Expected this, found that") as bad:
        list(engine.map(Failing("input"), range(6)))
    assert bad.value.message == "Expected this, found that"
    with pytest.raises(OSError, match="No space left on device") as full:
        list(engine.map(Failing("disk"), range(6)))
    assert (full.value.errno, full.value.filename) == (28, "somewhere")


def test_an_error_of_a_worker_brings_its_traceback_even_when_it_cannot_be_pickled() -> None:
    with pytest.raises(RuntimeError, match="OddError: one") as odd:
        list(processes().map(Failing("odd"), range(6)))
    assert "counting.py" in odd.value.__notes__[0]


def test_work_that_cannot_be_pickled_is_refused_before_a_process_starts() -> None:
    with pytest.raises((AttributeError, TypeError), match=r"[Pp]ickle"):
        list(processes().map(lambda number: number, range(4)))


@pytest.mark.parametrize("way", ["kill", "interrupt", "terminate"])
def test_no_worker_outlives_its_parent(tmp_path: Path, way: str) -> None:
    code = (
        # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from indexer.engine import LocalEngine\n"
        "from tests.indexer.counting import Lingering\n"
        f"list(LocalEngine(2, processes=True).map(Lingering(Path({str(tmp_path)!r})), range(4)))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    parent.send_signal({"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}[way])
    parent.wait(timeout=10)
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    wait_until(lambda: not any(map(is_alive, pids)))


def test_an_iterator_that_is_left_ends_its_workers(tmp_path: Path) -> None:
    results = processes().map(Square(), range(100))
    _, pid = next(results)
    results.close()  # type: ignore[attr-defined]
    assert not is_alive(pid)


def test_a_worker_knows_what_a_parent_without_a_guarded_main_module_imported(tmp_path: Path) -> None:
    """A user's script has no `if __name__ == "__main__"`: the workers must not run it again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from indexer.engine import LocalEngine\nfrom tests.indexer.counting import Square\n"
        "print(sum(square for square, _ in LocalEngine(2, processes=True).map(Square(), range(5))))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("30\n", "")


def test_workers_are_as_many_as_the_memory_budget_allows() -> None:
    seen, most = [], 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal most
        with lock:
            seen.append(number)
            most = max(most, len(seen))
        time.sleep(0.01)
        with lock:
            seen.remove(number)
        return number

    for budget, at_most in ((GB, 1), (3 * GB, 3), (None, 4)):
        most = 0
        assert list(LocalEngine(4, budget, processes=False).map(work, range(12), bytes_each=GB)) == list(range(12))
        assert most <= at_most
    assert list(LocalEngine(4, 1, processes=False).map(work, range(3), bytes_each=GB)) == [0, 1, 2], "one is always had"


@pytest.mark.parametrize(("calls", "seconds_each", "apart"), [(2, 30.0, False), (40, 0.1, False), (40, 3.0, True)])
def test_work_for_long_goes_on_in_processes(
    calls: int, seconds_each: float, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the first ones seem to take by the clock, of which there is one here that each call moves on."""
    clock = [0.0]
    monkeypatch.setattr("indexer.engine.time.monotonic", lambda: clock[0])

    class Ticking(Square):
        def __call__(self, number: int) -> tuple[int, int]:
            clock[0] += seconds_each
            return super().__call__(number)

        def __reduce__(self) -> tuple[type[Square], tuple[()]]:
            return Square, ()

    done = list(LocalEngine(2).map(Ticking(), range(calls)))
    assert [square for square, _ in done] == [number * number for number in range(calls)]
    assert {pid for _, pid in done[:2]} == {os.getpid()}, "the first ones are made here"
    assert ({pid for _, pid in done} != {os.getpid()}) == apart


@pytest.mark.parametrize(
    ("size", "expected"),
    [("2GB", 2 * GB), ("1.5 gib", 3 << 29), ("512MiB", 512 << 20), ("1500", 1500), ("64k", 64_000), ("1 TB", 10**12)],
)
def test_a_size_is_read_as_people_write_it(size: str, expected: int) -> None:
    assert read_bytes(size) == expected
    engine = open_engine("local", address=None, workers=2, memory_budget=size)
    assert (engine.memory_budget, engine.workers) == (expected, 2)


@pytest.mark.parametrize("size", ["", "GB", "-1GB", "2 EB", "1e9", "2GB2"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(BadInput, match="Expected a size as in 2GB"):
        read_bytes(size)


def test_engines_are_local_or_ray() -> None:
    with pytest.raises(BadInput, match="out of local and ray, found 'spark'"):
        open_engine("spark")
    with pytest.raises(BadInput, match="needs --engine ray"):
        open_engine("local", address="auto")
    with pytest.raises(BadInput, match="at least one worker"):
        open_engine("local", workers=0)


def test_without_ray_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"--engine ray needs Ray .*pip install 'transferset\[ray\]'"):
        open_engine("ray")


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
