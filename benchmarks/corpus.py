"""Corpus building at growing sizes: passages a second and peak memory; plain, without near-duplicates, and added to.

    python -m benchmarks.corpus --sizes 200000,1300000

Up to what the real passages give, they are read as they are; beyond, they are grown (benchmarks/grown.py). Each line is
a process of its own, so that its peak is its own. Time a passage and memory shall not grow with the corpus, but for
what de-duplication remembers of a passage: 16 bytes, and with near-duplicates about 170 more. `add` is the second half
of the passages put behind the first; its rate is that of the passages added, and its id must be the plain build's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.data import CORPUS
from benchmarks.grown import write_grown
from contract.artifact import Artifact, write_parquet
from contract.store import Store
from indexer.corpus import add_to_corpus, build_corpus
from indexer.corpus_settings import CorpusSettings

WAYS = ("plain", "near-duplicates", "add")


def main() -> None:
    options = _options()
    if options.measure:
        _measure(options.measure, options.folder)
        return
    print(f"{'passages':>12} {'way':<16} {'a second':>10} {'us of processor a passage':>26} {'peak MB':>8}  kept")
    with tempfile.TemporaryDirectory(prefix="corpus-", dir=options.folder) as folder:
        for size in map(int, options.sizes.split(",")):
            place = Path(folder) / str(size)
            _write_halves(options.corpus, place, size)
            ids = {way: _run(way, place, size) for way in options.ways.split(",")}
            assert ids.get("add", "") in ("", ids.get("plain", ids.get("add"))), "add made another corpus"


def _write_halves(corpus: Path, folder: Path, size: int) -> None:
    """`size` passages as two files, the real ones or grown."""
    folder.mkdir(parents=True)
    parts = sorted(corpus.glob("*.parquet"))
    if size > sum(pq.read_metadata(part).num_rows for part in parts):
        parts = write_grown(corpus, folder / "grown", size, 0)
    table = pq.read_table(parts).slice(0, size)
    write_parquet(table.slice(0, size // 2), folder / "first.parquet")
    write_parquet(table.slice(size // 2), folder / "second.parquet")


def _run(way: str, folder: Path, size: int) -> str:
    """Measure one way in a process of its own, print its line; the corpus's id."""
    arguments = [sys.executable, "-m", "benchmarks.corpus", "--measure", way, "--folder", str(folder)]
    out = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(out)
    rate, each = found["rows"] / found["clock"], found["processor"] / found["rows"] * 1e6
    print(f"{size:>12,} {way:<16} {rate:>10,.0f} {each:>26.1f} {found['peak']:>8,.0f}  {found['kept']:,}", flush=True)
    return str(found["id"])


def _measure(way: str, folder: Path) -> None:
    store, files = Store(folder / way), [str(folder / name) for name in ("first.parquet", "second.parquet")]
    if way == "add":
        _in_another_process(folder)
    clock, processor = time.perf_counter(), time.process_time()
    corpus, rows = _build(way, store, files)
    took = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    print(json.dumps(took | {"peak": _peak_mb(), "rows": rows, "kept": corpus.rows, "id": corpus.id}))


def _peak_mb() -> float:
    """Of this process since it began; getrusage would tell its parent's, where that was larger."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def _build(way: str, store: Store, files: list[str]) -> tuple[Artifact, int]:
    """The corpus, and how many passages were read for it."""
    rows = [pq.read_metadata(file).num_rows for file in files]
    if way == "add":
        return add_to_corpus(store, "c", files[1:]), rows[1]
    if way == "first":
        return build_corpus(store, "c", files[:1]), rows[0]
    settings = CorpusSettings(near_duplicates=0.8 if way == "near-duplicates" else None)
    return build_corpus(store, "c", files, settings), sum(rows)


def _in_another_process(folder: Path) -> None:
    """Build what is added to, so that its memory is not measured."""
    arguments = [sys.executable, "-m", "benchmarks.corpus", "--measure", "first", "--folder", str(folder)]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    (folder / "first").rename(folder / "add")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="a folder of Parquet files")
    parser.add_argument("--sizes", default="200000,1300000", help="passages, separated by commas")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"out of {', '.join(WAYS)}")
    parser.add_argument("--folder", type=Path, default=None, help="where to work [default: the system's]")
    parser.add_argument("--measure", choices=[*WAYS, "first"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
