"""A corpus larger than the one there is, made of its sentences: for measuring how time and memory grow.

    python -m benchmarks.grown --rows 10000000 --out DIR [--compare]

Every passage keeps the plan of a real one: so many sentences of so many words. Each sentence is made anew: its first
half is taken from a sentence as long as it, its second half from another. A round gives every real first half and every
real second half out once, in an order drawn from the seed, so that lengths in words and counts of words are those of
the original, round for round; `--rows` takes as many rounds as it needs. Halves of real sentences keep the company that
words keep, and there are so many pairs of halves that few passages come twice. What does not grow is the vocabulary:
real text of eight times the size would have two to three times as many terms, each of the new ones once or twice.

`--compare` measures both: terms, mean length, the share of terms that stand in another place, passages that come twice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numba import njit

from benchmarks.data import CORPUS
from indexer.bm25.tokens import Tokenizer

PART_ROWS = 1_000_000
_BATCH_ROWS = 65_536


class Sentences(NamedTuple):
    """The sentences of real passages, in order; passage i has sentences passages[i]:passages[i + 1]."""

    letters: np.ndarray  # uint8
    starts: np.ndarray  # (s,) int64 into letters
    middles: np.ndarray  # (s,) where the second half starts, with the space before it
    ends: np.ndarray  # (s,)
    words: np.ndarray  # (s,) int32
    passages: np.ndarray  # (n + 1,) int64


def main() -> None:
    options = _options()
    started = time.perf_counter()
    paths = write_grown(options.corpus, options.out, options.rows, options.seed)
    took = time.perf_counter() - started
    print(f"{options.rows:,} passages in {len(paths)} parts of {options.out}, {options.rows / took:,.0f} a second")
    if options.compare:
        _compare(sorted(options.corpus.glob("*.parquet")), paths)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, required=True, help="how many passages")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the Parquet parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="Parquet: text, source, lang")
    parser.add_argument("--compare", action="store_true", help="measure it beside the original")
    options = parser.parse_args()
    if not any(options.corpus.glob("*.parquet")):
        parser.error(f"expected Parquet in {options.corpus}; name another folder with --corpus")
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} holds files already; name a new folder")
    return options


def write_grown(corpus: Path, out: Path, rows: int, seed: int = 0) -> list[Path]:
    """Write `rows` passages as Parquet parts `id, text, source, lang` into `out`; one seed, one content."""
    real = pa.concat_tables(pq.read_table(path, columns=["text", "source", "lang"]) for path in _parts(corpus))
    sentences = _sentences(real["text"].cast(pa.large_string()).combine_chunks())
    sources, languages = real["source"].combine_chunks(), real["lang"].combine_chunks()
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    writer: pq.ParquetWriter | None = None
    for first, texts, plans in _passages(sentences, rows, seed):
        if first // PART_ROWS == len(paths):
            paths.append(out / f"part-{len(paths):03d}.parquet")
            if writer:
                writer.close()
            writer = pq.ParquetWriter(paths[-1], _SCHEMA, compression="zstd", use_dictionary=["source", "lang"])
        assert writer
        numbers = pc.cast(pa.array(np.arange(first, first + len(texts))), pa.string())
        ids = pc.binary_join_element_wise("g", pc.utf8_lpad(numbers, 9, "0"), "")
        columns = [ids, texts, sources.take(plans), languages.take(plans)]
        writer.write_batch(pa.record_batch(columns, schema=_SCHEMA), row_group_size=_BATCH_ROWS)
    if writer:
        writer.close()
    return paths


_SCHEMA = pa.schema({"id": pa.string(), "text": pa.string(), "source": pa.string(), "lang": pa.string()})


def _parts(corpus: Path) -> list[Path]:
    return sorted(corpus.glob("*.parquet"))


def _passages(sentences: Sentences, rows: int, seed: int) -> Iterator[tuple[int, pa.Array, pa.Array]]:
    """Batches of new passages, none over a part's bound: (number of the first, texts, the rows of their plans)."""
    draw, real, first = np.random.default_rng(seed), len(sentences.passages) - 1, 0
    while first < rows:
        plans = draw.permutation(real)[: rows - first]
        heads, tails = _shuffled(sentences.words, draw), _shuffled(sentences.words, draw)
        begin = 0
        while begin < len(plans):
            end = min(begin + _BATCH_ROWS, len(plans), begin + PART_ROWS - (first + begin) % PART_ROWS)
            starts, letters = _join(sentences, plans[begin:end], heads, tails)
            texts = pa.StringArray.from_buffers(end - begin, pa.py_buffer(starts), pa.py_buffer(letters))
            yield first + begin, texts, pa.array(plans[begin:end])
            begin = end
        first += len(plans)


def _shuffled(words: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """For every sentence another (or itself) of as many words, each given out once."""
    order = np.argsort(words, kind="stable")
    other = np.empty(len(words), np.int64)
    other[order] = np.lexsort((draw.random(len(words), np.float32), words))
    return other


def _sentences(texts: pa.Array) -> Sentences:
    _, starts, letters = texts.buffers()
    return Sentences(*_cut(np.frombuffer(letters, np.uint8), np.frombuffer(starts, np.int64)[: len(texts) + 1]))


@njit(cache=True)
def _cut(letters, text_starts):  # type: ignore[no-untyped-def]
    """Cut texts into sentences at spaces after . ! ? (and closing quotes), sentences into halves at their spaces."""
    texts = len(text_starts) - 1
    most = texts
    for at in range(len(letters)):
        most += letters[at] in (46, 33, 63)
    starts, middles, ends = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    words, passages = np.empty(most, np.int32), np.zeros(texts + 1, np.int64)
    found = 0
    for text in range(texts):
        begin, spaces, closing = text_starts[text], 0, False
        for at in range(text_starts[text], text_starts[text + 1] + 1):
            over = at == text_starts[text + 1]
            if over or letters[at] == 32:
                if over or closing:
                    starts[found], ends[found], words[found] = begin, at, spaces + 1
                    middle, left = begin, (spaces + 1) // 2
                    while middle < at and left >= 0:
                        left -= letters[middle] == 32
                        if left == 0 and letters[middle] == 32:
                            break
                        middle += 1
                    middles[found] = middle
                    found += 1
                    begin, spaces = at + 1, -1
                spaces += 1
                closing = False
            elif letters[at] in (46, 33, 63):
                closing = True
            elif letters[at] not in (34, 39, 41):
                closing = False
        passages[text + 1] = found
    return letters, starts[:found], middles[:found], ends[:found], words[:found], passages


@njit(cache=True)
def _join(sentences, plans, heads, tails):  # type: ignore[no-untyped-def]
    """The new passages of these plans: (starts (n + 1,) int32, letters uint8)."""
    letters, starts, middles, ends, _, passages = sentences
    text_starts = np.zeros(len(plans) + 1, np.int32)
    for at in range(len(plans)):
        size = 0
        for sentence in range(passages[plans[at]], passages[plans[at] + 1]):
            head, tail = heads[sentence], tails[sentence]
            size += middles[head] - starts[head] + ends[tail] - middles[tail] + 1
        text_starts[at + 1] = text_starts[at] + max(size - 1, 0)
    joined = np.empty(text_starts[-1], np.uint8)
    for at in range(len(plans)):
        to = np.int64(text_starts[at])
        for sentence in range(passages[plans[at]], passages[plans[at] + 1]):
            if to > text_starts[at]:
                joined[to] = 32
                to += 1
            head, tail = heads[sentence], tails[sentence]
            for source in range(starts[head], middles[head]):
                joined[to] = letters[source]
                to += 1
            for source in range(middles[tail], ends[tail]):
                joined[to] = letters[source]
                to += 1
    return text_starts, joined


def _compare(real: list[Path], grown: list[Path]) -> None:
    """Both corpora as the index sees them, on as many rows of the grown as the original has."""
    rows = sum(pq.read_metadata(path).num_rows for path in real)
    texts = [_texts(real, rows), _texts(grown, rows)]
    counted = [_counted(some) for some in texts]
    print("| corpus | passages | come twice | words a passage | terms |\n|---|--:|--:|--:|--:|")
    for name, some, counts in zip(("original", "grown"), texts, counted, strict=True):
        twice, mean = len(some) - len(some.unique()), sum(counts.values()) / len(some)
        print(f"| {name} | {len(some):,} | {twice:,} | {mean:.3f} | {len(counts):,} |")
    was, now = counted
    moved = sum(abs(was.get(term, 0) - now.get(term, 0)) for term in {*was, *now}) / 2 / sum(was.values())
    print(f"{moved:.2%} of the terms' occurrences moved from one term to another")


def _texts(paths: list[Path], rows: int) -> pa.ChunkedArray:
    return pq.ParquetDataset(paths).read(columns=["text"])["text"][:rows]


def _counted(texts: pa.ChunkedArray) -> dict[str, int]:
    tokens = Tokenizer().tokens(texts.chunks)
    counts = np.bincount(tokens.terms, minlength=len(tokens.vocabulary))
    return dict(zip(tokens.vocabulary.to_pylist(), counts.tolist(), strict=True))


if __name__ == "__main__":
    main()
