"""Quality: every filter drops what it is named after, and none drops an ordinary sentence."""

import json

import pyarrow as pa
import pytest

from contract.errors import BadInput
from indexer.corpus import build_corpus, read_examples
from indexer.corpus_settings import CorpusSettings
from indexer.reading.quality import FILTERS, read_filters

POOR = {
    "symbols": ["*** --- === ||| <<< >>> ok", "$$$ {} [] () ;; :: x"],
    "digits": ["12 345 678 90 and 1234", "2020 2021 2022 2023 total"],
    "upper_case": ["THIS IS SHOUTED AT You", "BREAKING NEWS TODAY ok"],
    "repeated_words": ["buy buy buy buy now", "very very very very very good"],
    "repeated_characters": ["so goooooooood that it hurts", "a line ---------- and on"],
    "addresses": ["see https://example.org/a now", "write to me@example.org please"],
    "boilerplate": ["We use cookies: see our Privacy Policy here.", "Lorem ipsum dolor sit amet."],
}
GOOD = [
    "What is the weather in Paris tomorrow?",
    "Dr. Smith's 2nd book (1984) sold 3,000 copies.",
    "Das Wetter wird morgen schön, sagte Frau Müller.",
    "Он сказал, что завтра будет дождь.",
    "東京は今日とても良い天気です。",
    "NASA said so.",
]


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_drops_what_it_is_named_after_and_no_ordinary_sentence(name):
    quality = FILTERS[name]
    assert (quality.measure(pa.array(POOR[name])) > quality.threshold).all()
    assert not (quality.measure(pa.array(GOOD)) > quality.threshold).any()


@pytest.mark.parametrize("name", FILTERS)
def test_a_measure_is_a_number_for_any_text(name):
    found = FILTERS[name].measure(pa.array(["", " ", "!", "a", "1", "\n", "é", "🎷"]))
    assert ((found >= 0) & (found < float("inf"))).all()
    assert len(FILTERS[name].measure(pa.array([], pa.string()))) == 0


def test_nothing_is_filtered_unless_it_is_asked_for(store, tmp_path):
    texts = [text for poor in POOR.values() for text in poor] + GOOD
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    assert build_corpus(store, "all", [str(path)], CorpusSettings(min_words=1)).rows == len(texts)


def test_what_is_filtered_is_counted_by_the_first_filter_with_a_few_ids_and_no_text(store, tmp_path):
    texts = [f"{n} 12 345 678 90" for n in range(20)] + ["12 12 12 12 12 12"] + GOOD
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    settings = CorpusSettings(min_words=1, filters=read_filters(["repeated_words=0.6", "digits"]))
    corpus = build_corpus(store, "c", [str(path)], settings)
    count = corpus.manifest.counts["passages"]
    assert count.dropped == {"digits": 21, "duplicate": 0, "repeated_words": 0, "too_short": 0}
    assert read_examples(corpus) == {"digits": ["d0", "d1", "d2", "d3", "d4"]}
    assert corpus.manifest.params["filters"] == {"digits": 0.3, "repeated_words": 0.6}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("beauty", "a filter out of symbols"),
        ("digits=x", "NAME=NUMBER"),
        ("digits=-1", "from 0"),
        ("digits=nan", "from 0"),
    ],
)
def test_a_filter_that_there_is_not_is_a_sentence(given, sentence):
    with pytest.raises(BadInput, match=sentence):
        read_filters([given])
