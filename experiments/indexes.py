"""The corpora and indexes that experiments retrieve from, each as the commands that make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from demo.commands import Command
from experiments.data import real_data

ENGLISH = "en-lex"  # all English passages, 1.3 M
SAMPLE = "en-50k"
THIRTIETH = 0.0385  # of the passages: about 50,000
ONE_PART = "en-200k"  # one part of six, the only index with vectors: embedding all would take 40 minutes
HALF = "en-650k"
NO_DIALOGUES = "en-no-dialogues"
DIALOGUES = "sgd_dialogues"
GERMAN = "de-lex"


@dataclass(frozen=True)
class _Index:
    """The first `parts` files of a language's passages [all], as a corpus, and its index."""

    corpus: str
    lang: str = "en"
    parts: int | None = None
    corpus_options: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ("--retrievers", "lexical")


_INDEXES: Mapping[str, _Index] = MappingProxyType(
    {
        ENGLISH: _Index("en"),
        SAMPLE: _Index("en-50k", corpus_options=("--sample", str(THIRTIETH))),
        ONE_PART: _Index("en-200k", parts=1, index_options=("--retrievers", "lexical,dense", "--structure", "flat")),
        HALF: _Index("en-650k", parts=3),
        NO_DIALOGUES: _Index("en-no-dialogues", corpus_options=("--without-source", DIALOGUES)),
        GERMAN: _Index("de", "de", index_options=("--retrievers", "lexical", "--language", "german")),
    }
)


def index_commands(name: str) -> tuple[Command, ...]:
    """The corpus of that index, and the index."""
    made = _INDEXES[name]
    parts = [str(part) for part in sorted(real_data("generic", made.lang).glob("part-*.parquet"))[: made.parts]]
    return (
        ("corpus", "build", *parts, "--name", made.corpus, *made.corpus_options),
        ("index", "build", "--corpus", made.corpus, "--name", name, *made.index_options),
    )
