"""The real data of the benchmarks: where it lies, and the options that name other data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

DATA = Path(os.environ.get("TRANSFERSET_DATA", "../shared/data"))
CORPUS, TASK = DATA / "generic" / "en", DATA / "tasks" / "clinc150.parquet"


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for, with a corpus and a task that are there, and a place to work in."""
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="a folder of Parquet, column text")
    parser.add_argument("--task", type=Path, default=TASK, help="Parquet: text, split")
    parser.add_argument("--scratch", type=Path, help="where to put what is built [default: the system's place]")
    options = parser.parse_args()
    if not (options.corpus.is_dir() and options.task.is_file()):
        parser.error(f"expected Parquet at {options.corpus} and {options.task}; name others with --corpus and --task")
    return options
