"""Stop words come by name or from a file, and what cannot be read is said."""

import pytest

from contract.errors import BadInput
from indexer.bm25.stop_words import _LISTS, stop_words


def test_none_is_the_empty_list():
    assert stop_words("none") == ()


@pytest.mark.parametrize("name", _LISTS)
def test_every_list_is_sorted_words_each_once(name):
    words = stop_words(name)
    assert len(words) > 30
    assert list(words) == sorted({word.strip() for word in words})


def test_the_english_list_spares_the_words_that_ask():
    assert {"the", "of", "is"} <= set(stop_words("english"))
    assert not {"what", "where", "how", "home", "bill"} & set(stop_words("english"))


def test_a_file_has_a_word_a_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("und\n\n  der \nund\n", "utf-8")
    assert stop_words(str(path)) == ("der", "und")


@pytest.mark.parametrize("name", ["klingon", "/", "nul\0"])
def test_an_unknown_list_is_named_with_those_there_are(name):
    with pytest.raises(BadInput, match=r"neither a list nor a readable UTF-8 file; expected none, .* german"):
        stop_words(name)


def test_a_file_that_is_no_text_gets_a_sentence(tmp_path):
    (tmp_path / "words").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="neither a list nor a readable"):
        stop_words(str(tmp_path / "words"))
