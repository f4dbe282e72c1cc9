"""Synonyms: those of a user's file, or WordNet's where nltk's data is on this machine. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contract.errors import BadInput, MissingExtra, NotFound
from contract.manifest import hash_file
from distill.settings.augmentation import WORDNET

MOST_BYTES = 64 * 2**20  # WordNet as JSON is a tenth of it
_TABLE = TypeAdapter(dict[str, list[str]])

SynonymsOf = Callable[[str], Sequence[str]]  # of a word in small letters; none where there are none


def find_synonyms(file: str) -> SynonymsOf:
    """The synonyms in a file, or WordNet's; BadInput, NotFound or MissingExtra in a sentence."""
    return _wordnet() if file == WORDNET else synonyms_in(_read(Path(file)))


def identity_of(file: str) -> str:
    """What an id hangs on: the file's content, or WordNet's version."""
    if file == WORDNET:
        return f"{WORDNET} {_corpus().get_version()}"
    return hash_file(_found(Path(file)))


def synonyms_in(table: Mapping[str, Sequence[str]]) -> SynonymsOf:
    """The synonyms of a table, whose words may be written large or small; no word is its own."""
    known = {
        word.casefold(): [o for o in others if o.strip() and o.casefold() != word.casefold()]
        for word, others in table.items()
    }
    return lambda word: known.get(word, ())


def _read(path: Path) -> Mapping[str, Sequence[str]]:
    raw = _found(path).read_bytes()
    try:
        return _TABLE.validate_json(raw, strict=True)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"][1:])) or "the whole"
        raise BadInput(
            f"{path} is no file of synonyms (in {where}: {error.errors()[0]['msg'].lower()}); expected JSON as "
            '{"film": ["movie", "picture"]}'
        ) from None


def _found(path: Path) -> Path:
    if not path.is_file():
        raise NotFound(f'There is no file of synonyms {path}; expected JSON as {{"film": ["movie"]}}, or "{WORDNET}"')
    if path.stat().st_size > MOST_BYTES:
        raise BadInput(f"{path} has {path.stat().st_size} bytes, expected a file of synonyms of at most {MOST_BYTES}")
    return path


def _wordnet() -> SynonymsOf:
    corpus = _corpus()

    @cache
    def of(word: str) -> Sequence[str]:
        lemmas = {name.replace("_", " ") for synset in corpus.synsets(word) for name in synset.lemma_names()}
        return sorted(lemma for lemma in lemmas if lemma.casefold() != word)

    return of


def _corpus() -> Any:
    """nltk's WordNet, read; the sentence says what to do where it is not here."""
    try:
        from nltk.corpus import wordnet
    except ImportError as error:
        raise MissingExtra("WordNet is read by nltk: pip install 'transferset[wordnet]'") from error
    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise NotFound(
            f"There is no WordNet on this machine, and none is fetched; put it in nltk_data (python -m nltk.downloader "
            f"{WORDNET}), or name a file of synonyms"
        ) from None
    return wordnet
