"""Stop words: words too frequent to say anything, by the name of one of bm25s's lists or from a file.

An index keeps the words themselves. No list is the default: BM25 weighs frequent words down by itself, and "what is on"
is all that some utterances have.
"""

from __future__ import annotations

from pathlib import Path

from contract.errors import BadInput

_LISTS = {
    "chinese": "STOPWORDS_CHINESE",
    "danish": "STOPWORDS_DANISH",
    "dutch": "STOPWORDS_DUTCH",
    "english": "STOPWORDS_EN",  # the 33 of Lucene
    "english-long": "STOPWORDS_EN_PLUS",
    "french": "STOPWORDS_FRENCH",
    "german": "STOPWORDS_GERMAN",
    "italian": "STOPWORDS_ITALIAN",
    "korean": "STOPWORDS_KOREAN",
    "norwegian": "STOPWORDS_NORWEGIAN",
    "portuguese": "STOPWORDS_PORTUGUESE",
    "russian": "STOPWORDS_RUSSIAN",
    "spanish": "STOPWORDS_SPANISH",
    "swedish": "STOPWORDS_SWEDISH",
    "turkish": "STOPWORDS_TURKISH",
}


def stop_words(name: str) -> tuple[str, ...]:
    """The words of a list (`english`), of a file with one word a line, or of `none`; sorted, each once."""
    if name == "none":
        return ()
    if name in _LISTS:
        from bm25s import stopwords

        return tuple(sorted(set(getattr(stopwords, _LISTS[name]))))
    try:
        lines = Path(name).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(
            f"Stop words {name!r} are neither a list nor a readable UTF-8 file; "
            f"expected none, a file with one word a line, or one of {', '.join(_LISTS)}"
        ) from error
    return tuple(sorted({line.strip() for line in lines} - {""}))
