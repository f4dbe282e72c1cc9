"""Kills at random moments over build and distill jobs, on SQLite and Postgres, with one and three workers of a queue.

    python -m benchmarks.chaos --kills 200
    python -m benchmarks.chaos --quick

In between processes are frozen, Postgres is restarted, and a client sends the same orders again and again. Every job
shall end once, with the bytes of an undisturbed one. Writes in a temporary folder, and ends what it started.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.house import make_house
from benchmarks.chaos.trial import Outcome, run_trial
from tests.jobs.postgres import ADVICE, installed

SETTINGS = (("sqlite", 1), ("sqlite", 3), ("postgres", 1), ("postgres", 3))


def main() -> None:
    options = _options()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    trials = [each for each in SETTINGS if each[0] in options.only and each[1] in options.workers]
    if installed() is None:
        print(ADVICE)
        trials = [each for each in trials if each[0] == "sqlite"]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, seed {options.seed}", flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=options.scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make_house(folder / "house" / "artifacts", options.utterances)
        print(HEAD, flush=True)
        for number, (database, workers) in enumerate(trials):
            kills = options.kills // len(trials) + (number < options.kills % len(trials))
            place = folder / f"{database}-{workers}"
            place.mkdir()
            outcome = run_trial(folder / "house" / "artifacts", place, database, workers, kills, options.seed + number)
            outcomes.append(outcome)
            print(_line(outcome), flush=True)
    for outcome in outcomes:
        for fault in (*outcome.lost, *outcome.doubled, *outcome.changed, *outcome.wrong)[:20]:
            print(f"{outcome.database}, {outcome.workers}: {fault}")
    kills = sum(sum(outcome.kills.values()) for outcome in outcomes)
    lost, doubled, changed = (sum(len(getattr(o, what)) for o in outcomes) for what in ("lost", "doubled", "changed"))
    print(
        f"{kills} kills: {lost} lost, {doubled} doubled, {changed} changed; to reach 0, 0, 0; "
        f"{time.monotonic() - began:.0f} s in all"
    )
    sys.exit(not all(outcome.is_whole for outcome in outcomes))


HEAD = (
    "| database | workers a queue | kills (API, build, distill) | frozen | restarts | sets | runs | sent again "
    "| lost | doubled | changed | seconds |\n|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def _line(outcome: Outcome) -> str:
    kills = outcome.kills
    cells = (
        outcome.database, outcome.workers,
        f"{sum(kills.values())} ({kills['api']}, {kills['build']}, {kills['distill']})", outcome.frozen,
        outcome.restarts, outcome.jobs["transfer-sets"], outcome.jobs["runs"], outcome.asked_again,
        len(outcome.lost), len(outcome.doubled), len(outcome.changed), f"{outcome.seconds:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--utterances", type=int, default=6000, help="of the task the transfer sets are built for")
    parser.add_argument("--only", nargs="+", choices=("sqlite", "postgres"), default=("sqlite", "postgres"))
    parser.add_argument("--workers", nargs="+", type=int, choices=(1, 3), default=(1, 3), help="of each queue")
    parser.add_argument("--scratch", type=Path, help="where to make the temporary folder")
    parser.add_argument("--quick", action="store_true", help="12 kills, in a minute or two")
    options = parser.parse_args()
    if options.quick:
        options.kills = min(options.kills, 12)
    return options


if __name__ == "__main__":
    main()
