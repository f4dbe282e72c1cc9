"""The settings of a corpus: how documents become passages, and which of them stay out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from contract.errors import BadInput
from contract.manifest import Json
from indexer.reading.languages import DETECT, check_tag, detector_name
from indexer.reading.passages import Bounds
from indexer.reading.quality import check_filters


@dataclass(frozen=True)
class CorpusSettings:
    """How documents become passages. `skip_bad_rows` is no part of what the corpus is: its counts say what was bad.

    By default nothing is dropped but what is too short and what stands twice.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    min_words: int = 3
    max_words: int = 64
    shard_passages: int = 100_000
    lang: str | None = None  # the tag of documents that have none, or "detect"
    keep_lang: tuple[str, ...] = ()  # passages of other languages are dropped
    filters: Mapping[str, float] = field(default_factory=dict)  # of indexer.reading.quality: name -> threshold
    near_duplicates: float | None = None  # drop what has so similar a set of words
    without_sources: tuple[str, ...] = ()  # whose passages are dropped
    sample: float | None = None  # the share of passages kept, drawn by their texts
    skip_bad_rows: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words:
            raise BadInput(
                f"Expected 1 <= min words <= max words, found {self.min_words} and {self.max_words}; "
                "change --min-words or --max-words"
            )
        if self.shard_passages < 1:
            raise BadInput(f"Expected at least one passage a shard, found {self.shard_passages}")
        for tag in (*self.keep_lang, *([self.lang] if self.lang not in (None, DETECT) else [])):
            check_tag(tag or "")
        check_filters(self.filters)
        if self.near_duplicates is not None and not 0.5 <= self.near_duplicates <= 1:
            raise BadInput(
                f"Expected a similarity from 0.5 to 1 for near-duplicates, found {self.near_duplicates}; "
                "change --near-duplicates"
            )
        if self.sample is not None and not 0 < self.sample <= 1:
            raise BadInput(f"Expected a share above 0 and at most 1, found {self.sample}; change --sample")

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.min_words, self.max_words)

    def as_params(self) -> dict[str, Json]:
        """What the manifest says: the settings, and by what languages and near-duplicates were found."""
        always = ("columns", "min_words", "max_words", "shard_passages")
        params: dict[str, Json] = {name: getattr(self, name) for name in always}
        chosen = {
            "lang": self.lang,
            "detector": detector_name() if self.lang == DETECT else None,
            "keep_lang": sorted(set(self.keep_lang)),
            "filters": self.filters,
            "near_duplicates": self.near_duplicates,
            "min_hash": None if self.near_duplicates is None else _min_hash(self.near_duplicates),
            "without_sources": sorted(set(self.without_sources)),
            "sample": self.sample,
        }
        return params | {name: value for name, value in chosen.items() if value}


def _min_hash(similarity: float) -> str:
    from indexer.reading.near_duplicates import method  # numba, where it is needed

    return method(similarity)


def settings_of(params: Mapping[str, Json]) -> CorpusSettings:
    """The settings a corpus was made with. BadInput when they would mean something else on this machine."""
    known = {setting.name for setting in fields(CorpusSettings)}
    given: dict[str, Any] = {name: value for name, value in params.items() if name in known}
    lists = {name: tuple(given.get(name, ())) for name in ("keep_lang", "without_sources")}
    settings = CorpusSettings(**given | lists)
    for name, value in settings.as_params().items():
        if params.get(name) != value:
            raise BadInput(
                f"The corpus was made with {name} {params.get(name)}, here it is {value}; "
                "install that version, or build the corpus anew from all sources"
            )
    return settings
