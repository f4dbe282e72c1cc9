"""A grown corpus is the real one's sentences, halved and crossed: as long, with the same words as often, and new."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import grown

TEXTS = [
    *(f"The {n} small dogs of town {n} ran past. Nobody saw them, nobody!" for n in range(40)),
    *(f'He said "go away {n}." Then he left for good?' for n in range(40)),
    *(f"word{n}" for n in range(10)),
    "",
]


@pytest.fixture
def real(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    for part in (0, 1):
        texts = TEXTS[part::2]
        table = pa.table({"text": texts, "source": [f"s{part}"] * len(texts), "lang": ["en"] * len(texts)})
        pq.write_table(table, folder / f"part-{part}.parquet")
    return folder


def texts_in(folder):
    return [text for path in sorted(folder.glob("*.parquet")) for text in pq.read_table(path)["text"].to_pylist()]


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_round_has_the_lengths_and_the_words_of_the_original(tmp_path, real, rounds):
    grown.write_grown(real, tmp_path / "out", rounds * len(TEXTS))
    texts = texts_in(tmp_path / "out")
    assert Counter(len(text.split()) for text in texts) == Counter(len(t.split()) for t in TEXTS * rounds)
    assert Counter(" ".join(texts).split()) == Counter(" ".join(TEXTS * rounds).split())


def test_passages_are_new(tmp_path, real):
    grown.write_grown(real, tmp_path / "out", len(TEXTS))
    long = {text for text in TEXTS if len(text.split()) > 1}
    assert len({*texts_in(tmp_path / "out")} & long) < len(long) / 10


def test_every_sentence_is_half_of_one_and_half_of_another(tmp_path, real):
    grown.write_grown(real, tmp_path / "out", len(TEXTS))
    sentences = [
        part.split() for text in TEXTS for part in text.replace('." ', '."\n').replace(". ", ".\n").split("\n")
    ]
    heads = {" ".join(words[: len(words) // 2]) for words in sentences}
    tails = {" ".join(words[len(words) // 2 :]) for words in sentences}
    whole = [text for text in texts_in(tmp_path / "out") if text.count(" ") == 12]
    assert whole
    for text in whole:
        first = text.split()[:9]
        assert " ".join(first[:4]) in heads
        assert " ".join(first[4:]) in tails


def test_one_seed_gives_one_corpus_whatever_its_parts_and_batches(tmp_path, real, monkeypatch):
    grown.write_grown(real, tmp_path / "a", 250, seed=1)
    monkeypatch.setattr(grown, "PART_ROWS", 40)
    monkeypatch.setattr(grown, "_BATCH_ROWS", 7)
    paths = grown.write_grown(real, tmp_path / "b", 250, seed=1)
    grown.write_grown(real, tmp_path / "c", 250, seed=2)
    assert [pq.read_metadata(path).num_rows for path in paths] == [40] * 6 + [10]
    assert pq.read_table(tmp_path / "a").equals(pq.read_table(tmp_path / "b"))
    assert texts_in(tmp_path / "a") != texts_in(tmp_path / "c")
    ids = pq.read_table(tmp_path / "b")["id"].to_pylist()
    assert len(set(ids)) == 250
