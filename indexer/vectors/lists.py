"""Lists: the passages as codes, grouped by the centroid they are nearest to, so that a query visits a few groups only.

Derived from the vectors by `index build`, memory-mapped by its readers. Without centroids (a flat index) the groups are
the passages as they come, and every query visits all. Which lists a query visits depends on the query alone.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numba import njit

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from contract.errors import CorruptArtifact, MissingExtra, NotFound
from contract.manifest import canonical_json
from contract.progress import Progress
from indexer.vectors.codes import QueryCodes, codes_of, errors_of, products, step_for
from indexer.vectors.stored import Vectors

STEP = "lists"
CODES, ROWS, STARTS, BOUNDS, CENTROIDS, ABOUT = (
    f"lists-{name}" for name in ("codes.npy", "rows.npy", "starts.npy", "bounds.npy", "centroids.npy", "about.json")
)
FLAT_LIST = 4096  # passages of a list without centroid
TRAIN_PER_LIST = 64  # passages a centroid is trained on
TRAIN_BYTES = 1 << 29  # of vectors in training, whatever the machine has: they decide what comes out
FIRST_LISTS = 10  # of a query: they are looked at first, and how near the last of them is says how far to go on
_ROUNDS = 10  # of k-means
_MOST_PER_CENTROID = 256  # vectors it looks at
_SAMPLE = 8192  # vectors from which the step is taken
_AT_ONCE = 1024  # vectors assigned, queries sent to their lists


@dataclass(frozen=True)
class Visits:
    """Query q visits lists[starts[q]:starts[q + 1]], the nearest first where they are chosen."""

    starts: np.ndarray  # (n + 1,) int64
    lists: np.ndarray  # int32

    def __len__(self) -> int:
        return len(self.starts) - 1

    def in_turn(self) -> list[Visits]:
        """The first few visits of every query, then the others."""
        sizes = np.diff(self.starts)
        few = np.minimum(sizes, FIRST_LISTS)
        return [self._some(self.starts[:-1], few), self._some(self.starts[:-1] + few, sizes - few)]

    def by_list(self, lists: int) -> tuple[np.ndarray, np.ndarray]:
        """Turned round: list l is visited by queries[starts[l]:starts[l + 1]], ascending."""
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.lists, minlength=lists))])
        queries = np.empty(len(self.lists), np.int64)
        _turn_round(self.starts, self.lists, starts.copy(), queries)
        return starts, queries

    def of(self, queries: np.ndarray) -> Visits:
        """Those of some of the queries, in their order."""
        return self._some(self.starts[queries], np.diff(self.starts)[queries])

    def _some(self, first: np.ndarray, sizes: np.ndarray) -> Visits:
        starts = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(first - starts[:-1], sizes) + np.arange(starts[-1])
        return Visits(starts, self.lists[places])


@dataclass(frozen=True)
class Lists:
    """List l is the passages rows[starts[l]:starts[l + 1]], with their codes."""

    codes: np.ndarray  # (rows, dim) int8
    rows: np.ndarray  # (rows,) int32
    starts: np.ndarray  # (lists + 1,) int64
    bounds: np.ndarray  # (lists, 2) float32: the greatest error of a code, the greatest norm of one
    centroids: np.ndarray  # (lists, dim) int8 codes; (0, dim) where there are none
    step: float  # what a code of 1 stands for
    centroid_step: float  # and in a centroid

    @classmethod
    def open(cls, artifact: Artifact) -> Lists:
        """The lists of an index; every file is checked against the manifest before it is read."""
        if not any(entry.name == ABOUT for entry in artifact.manifest.files):
            raise NotFound(
                f"Expected {ABOUT} in {artifact.directory}, found none: an earlier version built this index; "
                "build it again"
            )
        return cls._read({name: artifact.path(name) for name in _FILES})

    @classmethod
    def of_draft(cls, draft: Draft) -> Lists:
        return cls._read({name: draft.directory / name for name in _FILES})

    @classmethod
    def _read(cls, paths: dict[str, Path]) -> Lists:
        # Copy on write: torch warns of what it might write to, and nothing here does.
        arrays = [np.asarray(np.load(paths[name], mmap_mode="c", allow_pickle=False)) for name in _FILES[:-1]]
        try:
            about = json.loads(paths[ABOUT].read_bytes())
            steps = float(about["step"]), float(about["centroid_step"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"{paths[ABOUT]} cannot be read; build the index again") from error
        codes, rows, starts, bounds, centroids = arrays
        return cls(codes, rows, starts, bounds, centroids, *steps)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)

    @cached_property
    def list_of(self) -> np.ndarray:
        """The list of every row, (rows,) int32."""
        numbers = np.empty(len(self.rows), np.int32)
        numbers[self.rows] = np.repeat(np.arange(len(self), dtype=np.int32), self.sizes)
        return numbers

    def everywhere(self, queries: int) -> Visits:
        """Every query visits every list."""
        return Visits(np.arange(queries + 1) * len(self), np.tile(np.arange(len(self), dtype=np.int32), queries))

    def visits(self, queries: np.ndarray, margin: float, depth: int) -> Visits:
        """The lists that are less near than the query's tenth nearest by no more than the margin, a cosine.

        And as many more as hold `depth` passages together.
        """
        if not len(self.centroids) or not len(queries):
            return self.everywhere(len(queries))
        steps = range(0, len(queries), _AT_ONCE)
        parts = [self._chosen(queries[first : first + _AT_ONCE], margin, depth) for first in steps]
        starts = np.concatenate([[0], np.cumsum(np.concatenate([counts for counts, _ in parts]))])
        return Visits(starts, np.concatenate([lists for _, lists in parts]))

    def _chosen(self, queries: np.ndarray, margin: float, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """How many lists each query visits, and which, the ten nearest first."""
        near, tenth, units = self.nearness(queries)
        bars = (tenth - np.minimum(np.floor(margin / units), 2**30)).astype(np.int64)
        counts, held = np.empty(len(near), np.int64), np.empty(len(near), np.int64)
        _count(near, bars, self.sizes, counts, held)
        for short in np.flatnonzero(held < depth):
            order = np.argsort(-near[short], kind="stable")
            last = order[min(int((np.cumsum(self.sizes[order]) < depth).sum()), len(order) - 1)]
            bars[short] = near[short, last]
        if (held < depth).any():
            _count(near, bars, self.sizes, counts, held)
        lists = np.empty(counts.sum(), np.int32)
        _fill(near, tenth, bars, np.cumsum(counts) - counts, lists)
        return counts, lists

    def nearness(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How near each list is to each query, (n, lists) int32, exact as products of codes are.

        With the tenth best of each query, (n,) int32, and the cosine that 1 stands for, (n,) float64.
        """
        coded = QueryCodes.of(queries)
        near = products(coded.codes, self.centroids)
        place = max(len(self) - FIRST_LISTS, 0)
        return near, np.partition(near, place, axis=1)[:, place], coded.steps.astype(np.float64) * self.centroid_step


_FILES = (CODES, ROWS, STARTS, BOUNDS, CENTROIDS, ABOUT)


def lists_for(rows: int) -> int:
    """How many lists: the power of two nearest below 8.4 sqrt(rows), 8192 for a million."""
    return 1 << int(math.log2(max(8.4 * math.sqrt(rows), 1)))


def write_lists(vectors: Vectors, draft: Draft, *, clustered: bool, seed: int, progress: Progress) -> Receipt:
    """Group and encode all vectors, one step. The same vectors and seed give the same bytes."""
    if receipt := draft.receipt(STEP):
        return receipt
    sample = vectors.take(_drawn(vectors.rows, _SAMPLE, seed))
    step = step_for(sample)
    if clustered:
        found = _trained(vectors, min(lists_for(vectors.rows), vectors.rows), seed, progress)
        centroid_step = step_for(found)
        centroids = codes_of(found, centroid_step)
        numbers = _assigned(vectors, centroids, step, progress)
        count = len(centroids)
    else:
        centroids, centroid_step = np.zeros((0, vectors.dim), np.int8), 1.0
        numbers = np.arange(vectors.rows, dtype=np.int32) // FLAT_LIST
        count = -(-vectors.rows // FLAT_LIST)
    rows = np.argsort(numbers, kind="stable").astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))]).astype(np.int64)
    bounds = _write_codes(vectors, numbers, rows, starts, step, draft.partial(CODES))
    for name, array in ((ROWS, rows), (STARTS, starts), (BOUNDS, bounds), (CENTROIDS, centroids)):
        with draft.partial(name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
    draft.partial(ABOUT).write_bytes(canonical_json({"step": step, "centroid_step": centroid_step}))
    lengths = {CODES: len(rows), ROWS: len(rows), STARTS: len(starts), BOUNDS: count, CENTROIDS: len(centroids)}
    return draft.keep(STEP, lengths | {ABOUT: 1}, state={"lists": count})


def _trained(vectors: Vectors, count: int, seed: int, progress: Progress) -> np.ndarray:
    """About `count` centroids of unit length, (count, dim) float32, by FAISS's k-means in two levels.

    The sample is cut into as many groups as each of them is cut into again: a hundredth of the work of one level.
    """
    most = max(count, TRAIN_BYTES // (4 * vectors.dim))
    sample = vectors.take(_drawn(vectors.rows, min(TRAIN_PER_LIST * count, most), seed))
    groups = _centroids(sample, math.isqrt(count), seed)
    own = products(codes_of(sample, step_for(sample)), codes_of(groups, step_for(groups))).argmax(axis=1)
    found, done = [], 0
    for group in range(len(groups)):
        members = sample[own == group]
        if len(members):
            found.append(_centroids(members, max(1, round(count * len(members) / len(sample))), seed))
            done += len(found[-1])
            progress("train lists", done, None)
    return np.concatenate(found)


def _centroids(sample: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count, dim) float32. On one thread: two would sum otherwise."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(f"Grouping vectors needs faiss-cpu ({error}); pip install 'transferset[indexer]'") from error
    count = min(count, len(sample))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        clustering = faiss.Kmeans(
            sample.shape[1], count, niter=_ROUNDS, spherical=True, seed=seed + 1, min_points_per_centroid=1,
            max_points_per_centroid=_MOST_PER_CENTROID,
        )  # fmt: skip
        clustering.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = np.asarray(clustering.centroids, np.float32)
    return centroids


def _assigned(vectors: Vectors, centroids: np.ndarray, step: float, progress: Progress) -> np.ndarray:
    """The nearest centroid of every row, by codes, the first where several are: (rows,) int32."""
    numbers = np.empty(vectors.rows, np.int32)
    for first, part in vectors.parts(_AT_ONCE):
        numbers[first : first + len(part)] = products(codes_of(part, step), centroids).argmax(axis=1)
        progress("group passages", first + len(part), vectors.rows)
    return numbers


def _write_codes(
    vectors: Vectors, numbers: np.ndarray, rows: np.ndarray, starts: np.ndarray, step: float, path: Path
) -> np.ndarray:
    """The codes, each row's at its place in its list; the bounds of the lists, (lists, 2)."""
    places = np.empty(len(rows), np.int64)
    places[rows] = np.arange(len(rows))
    bounds = np.zeros((len(starts) - 1, 2), np.float32)
    file = _file_of_codes(path, (len(rows), vectors.dim))
    for first, part in vectors.parts(_AT_ONCE):
        here = slice(first, first + len(part))
        codes = codes_of(part, step)
        file[places[here]] = codes
        errors, norms = errors_of(part, codes, step)
        np.maximum.at(bounds[:, 0], numbers[here], errors)
        np.maximum.at(bounds[:, 1], numbers[here], norms)
    return bounds


def _file_of_codes(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A file to write codes into. Its place on the disk is taken first: a full disk would else kill the process."""
    if 0 in shape:
        with path.open("wb") as empty:
            np.save(empty, np.zeros(shape, np.int8), allow_pickle=False)
        return np.zeros(shape, np.int8)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.int8, shape=shape)
    with path.open("r+b") as taken:
        os.posix_fallocate(taken.fileno(), 0, path.stat().st_size)
    return file


def _drawn(rows: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(rows, min(size, rows), replace=False))


@njit(nogil=True, cache=True)
def _turn_round(starts, lists, places, queries):  # type: ignore[no-untyped-def]
    """Fill `queries`, list after list, from each list's first place."""
    for query in range(len(starts) - 1):
        for visit in range(starts[query], starts[query + 1]):
            queries[places[lists[visit]]] = query
            places[lists[visit]] += 1


@njit(nogil=True, cache=True)
def _count(near, bars, sizes, counts, held):  # type: ignore[no-untyped-def]
    """How many lists reach each query's bar, and how many passages they hold."""
    for query in range(len(near)):
        bar, count, passages = bars[query], 0, 0
        for number in range(near.shape[1]):
            reaches = near[query, number] >= bar
            count += reaches
            passages += sizes[number] * reaches
        counts[query], held[query] = count, passages


@njit(nogil=True, cache=True)
def _fill(near, tenth, bars, starts, lists):  # type: ignore[no-untyped-def]
    """The lists that reach each query's bar, from its place in `starts` on: the nearest few first, then the others."""
    for query in range(len(near)):
        first = starts[query]
        few = first
        for number in range(near.shape[1]):
            few += near[query, number] >= max(tenth[query], bars[query])
        for number in range(near.shape[1]):
            if near[query, number] >= bars[query]:
                if near[query, number] >= tenth[query]:
                    lists[first] = number
                    first += 1
                else:
                    lists[few] = number
                    few += 1
