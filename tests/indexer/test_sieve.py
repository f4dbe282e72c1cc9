"""The sieve: what it knows is what was kept, so that a new life goes on exactly as the old one would have."""

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.errors import BadInput
from indexer.corpus_settings import CorpusSettings
from indexer.reading.sieve import Sieve
from indexer.reading.sources import DOCUMENT

pytest.importorskip("rensa")
NEAR = [" ".join("abcdefghijkl"[start : start + 10]) for start in range(3)]
TEXTS = [*NEAR, NEAR[0].upper(), "another text of five words", "1 2 3", "x"]
SETTINGS = CorpusSettings(near_duplicates=0.75, filters={"digits": 0.5}, min_words=2)


def documents(rows: list[tuple[str, str]]) -> pa.RecordBatch:
    ids, texts = ([row[place] for row in rows] for place in (0, 1))
    nothing = pa.nulls(len(rows), pa.string())
    columns = [pa.array(ids, pa.string()), pa.array(texts, pa.string()), pa.array(["s"] * len(rows)), nothing]
    return pa.RecordBatch.from_arrays(columns, names=DOCUMENT.names)


ROWS = st.lists(st.tuples(st.sampled_from(["1", "2", "1~2"]), st.sampled_from(TEXTS)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=6))
@example([[("1", NEAR[0]), ("2", NEAR[1])], [("3", NEAR[1]), ("4", NEAR[2])]])
def test_a_sieve_that_remembers_what_was_kept_goes_on_as_the_one_that_saw_all(batches):
    old, kept = Sieve(SETTINGS), []
    for rows in batches:
        new = Sieve(SETTINGS)
        for passages in kept:
            new.remember(passages)
        one, other = old.sift(documents(rows)), new.sift(documents(rows))
        assert one.passages.equals(other.passages)
        assert (one.dropped, one.renamed) == (other.dropped, other.renamed)
        kept.append(one.passages)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_every_document_is_kept_or_dropped_for_one_reason(rows):
    sifted = Sieve(SETTINGS).sift(documents(rows))
    assert sifted.passages.num_rows + sum(map(len, sifted.dropped.values())) == len(rows)
    assert set(sifted.dropped) == {"too_short", "digits", "duplicate", "near_duplicate"}


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from([0.2, 0.5, 1.0]))
def test_a_sample_is_drawn_by_the_text_alone(rows, share):
    sieve = Sieve(CorpusSettings(min_words=1, sample=share))
    kept = set(sieve.sift(documents(rows)).passages.column("text").to_pylist())
    alone = {
        text
        for _, text in rows
        if Sieve(CorpusSettings(min_words=1, sample=share)).sift(documents([("1", text)])).passages.num_rows
    }
    assert {text.casefold() for text in kept} == {text.casefold() for text in alone}


def test_a_sample_is_about_as_large_as_asked_and_within_a_larger_one():
    rows = [(str(number), f"text number {number}") for number in range(2000)]
    found = {}
    for share in (0.1, 0.3):
        sifted = Sieve(CorpusSettings(sample=share)).sift(documents(rows))
        found[share] = set(sifted.passages.column("passage_id").to_pylist())
        assert len(sifted.dropped["sample"]) == 2000 - len(found[share])
        assert len(found[share]) / 2000 == pytest.approx(share, abs=0.03)
    assert found[0.1] < found[0.3]


def test_passages_of_a_source_that_is_left_out_are_dropped_by_that_reason():
    rows = documents([("1", "said in a talk"), ("2", "written in a book"), ("3", "said in another talk")])
    sources = pa.array(["talks", "books", "talks"])
    rows = rows.set_column(rows.schema.get_field_index("source"), "source", sources)
    sifted = Sieve(CorpusSettings(without_sources=("talks",))).sift(rows)
    assert sifted.passages.column("passage_id").to_pylist() == ["2"]
    assert sifted.dropped["source"] == ["1", "3"]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_that_is_none_is_a_sentence(share):
    with pytest.raises(BadInput, match="change --sample"):
        CorpusSettings(sample=share)
