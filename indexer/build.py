"""The build: from a finished corpus to a finished index, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from contract.artifact import Artifact, open_artifact
from contract.draft import Draft, Plan, drafting, planned
from contract.errors import BadInput
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress, silent
from contract.store import Store
from indexer.corpus import open_corpus
from indexer.dense import DenseSettings, build_dense
from indexer.encoder import Encoder, open_encoder
from indexer.index import INDEX_VERSION, MADE_FROM
from indexer.lexical import LexicalSettings, build_lexical
from indexer.texts import write_texts

Built = Literal["lexical", "dense"]


@dataclass(frozen=True)
class IndexSettings:
    """What an index can do, and how its parts are made. `fusion_depth`: hits of each ranking that hybrid fuses."""

    retrievers: tuple[Built, ...] = ("lexical", "dense")
    lexical: LexicalSettings = field(default_factory=LexicalSettings)
    dense: DenseSettings = field(default_factory=DenseSettings)
    fusion_depth: int = 1000

    def __post_init__(self) -> None:
        unknown = [name for name in self.retrievers if name not in ("lexical", "dense")]
        if unknown or not self.retrievers or len(set(self.retrievers)) < len(self.retrievers):
            raise BadInput(
                f"Expected retrievers to build out of lexical and dense, each once, found "
                f"{', '.join(self.retrievers) or 'none'}; hybrid and random need no building of their own"
            )
        if self.fusion_depth < 1:
            raise BadInput(f"Expected a fusion depth of at least 1, found {self.fusion_depth}")


def build_index(
    store: Store,
    name: str,
    corpus_name: str,
    settings: IndexSettings,
    *,
    progress: Progress = silent,
    restart: bool = False,
) -> Artifact:
    """Make the index `name` of a corpus, or go on where a killed build left it."""
    directory = store.path("index", name)
    corpus = open_corpus(store, corpus_name)
    encoder = _encoder(settings, None if restart else planned(directory))
    with drafting(directory, _plan(corpus, settings, encoder), restart=restart) as draft:
        if draft.finished is None:
            facts: dict[str, Json] = {"rows": corpus.rows}
            write_texts(corpus, draft, progress=progress)
            if "lexical" in settings.retrievers:
                facts["lexical"] = build_lexical(corpus, draft, settings.lexical, progress=progress)
            if encoder is not None:
                facts["dense"] = build_dense(corpus, draft, encoder, settings.dense, progress=progress)
            _keep_made_from(draft, corpus_name, encoder)
            counts = {"passages": Count(corpus.rows, corpus.rows)}
            draft.finish(counts=counts, facts=facts, attachments=[MADE_FROM])
    return open_artifact(directory, "index", version=INDEX_VERSION)


def _encoder(settings: IndexSettings, begun: Plan | None) -> Encoder | None:
    """The encoder, its dtype settled: a build that was begun keeps the one it began with."""
    if "dense" not in settings.retrievers:
        return None
    wanted = settings.dense.encoder
    recorded = ((begun.params.get("dense") or {}) if begun else {}).get("encoder", {}).get("dtype")
    if wanted.dtype == "auto" and recorded:
        wanted = replace(wanted, dtype=recorded)
    return open_encoder(
        wanted.model,
        revision=wanted.revision,
        dtype=wanted.dtype,
        max_length=wanted.max_length,
        query_prompt=wanted.query_prompt,
        passage_prompt=wanted.passage_prompt,
    )


def _plan(corpus: Artifact, settings: IndexSettings, encoder: Encoder | None) -> Plan:
    """The settings of what is built, and of nothing else; the encoder by what it is, not by where it lies."""
    params: dict[str, Json] = {"retrievers": sorted(settings.retrievers)}
    if "lexical" in settings.retrievers:
        params["lexical"] = asdict(settings.lexical)
    if encoder is not None:
        params["dense"] = asdict(settings.dense) | {"encoder": _encoder_params(encoder)}
    if len(settings.retrievers) == 2:
        params["fusion_depth"] = settings.fusion_depth
    return Plan("index", INDEX_VERSION, params, {"corpus": corpus.id})


def _encoder_params(encoder: Encoder) -> Mapping[str, Json]:
    """The resolved settings with which a query encoder is opened later, and the fingerprint it must have."""
    model = Path(encoder.settings.model)
    name = model.name if model.is_dir() else encoder.settings.model
    return asdict(encoder.settings) | {"model": name, "fingerprint": encoder.fingerprint}


def _keep_made_from(draft: Draft, corpus_name: str, encoder: Encoder | None) -> None:
    """Where things lay on this machine: an attachment, since it is no part of what the index is."""
    if draft.receipt("made-from"):
        return
    made_from = {"corpus": corpus_name} | ({"encoder": encoder.location} if encoder else {})
    draft.partial(MADE_FROM).write_bytes(canonical_json(made_from))
    draft.keep("made-from", {MADE_FROM: 1})
