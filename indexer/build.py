"""The build: from a finished corpus to a finished index, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from contract.artifact import Artifact, open_artifact
from contract.draft import Draft, Plan, drafting, planned
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress, silent
from contract.removal import MADE_FROM
from contract.store import Store, exact_name, split_version
from indexer.corpus import add_to_corpus, open_corpus
from indexer.dense import build_dense
from indexer.encoder import TextEncoder, encoder_of
from indexer.encoders.static import StaticEncoder
from indexer.engine import Engine, LocalEngine
from indexer.index import INDEX_VERSION, IndexSettings, open_index, recorded_encoder
from indexer.lexical import build_lexical
from indexer.texts import write_texts


def build_index(
    store: Store,
    name: str,
    corpus_name: str,
    settings: IndexSettings,
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
    restart: bool = False,
) -> Artifact:
    """Make the index `name` of a corpus, or go on where a killed build left it."""
    directory = store.path("index", name)
    corpus = open_corpus(store, corpus_name)
    encoder = _encoder(settings, None if restart else planned(directory))
    with drafting(directory, _plan(corpus, settings, encoder), restart=restart) as draft:
        _make(draft, corpus, settings, encoder, engine or LocalEngine(), None, progress)
    return open_artifact(directory, "index", version=INDEX_VERSION)


def add_to_index(
    store: Store,
    name: str,
    sources: Sequence[str],
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
    skip_bad_rows: bool = False,
    restart: bool = False,
) -> Artifact:
    """Put documents behind those of an index's corpus, and make the next version of both beside the ones there are.

    The new version is, id and all, what `corpus build` and `index build` would make of all sources together; what the
    version before has is taken from it. Without sources the index follows its corpus to that one's newest version.
    """
    earlier = open_index(store, name)
    corpus_name, _ = split_version(earlier.corpus_name)
    corpus = open_corpus(store, corpus_name)
    if sources:
        corpus = add_to_corpus(store, corpus_name, sources, progress=progress, skip_bad_rows=skip_bad_rows)
    if corpus.id == earlier.corpus.id:
        return earlier.artifact
    plain, _ = split_version(name)
    directory = store.path("index", plain, store.versions("index", plain)[-1] + 1)
    settings, encoder = earlier.settings, earlier.encoder
    with drafting(directory, _plan(corpus, settings, encoder), restart=restart) as draft:
        _make(draft, corpus, settings, encoder, engine or LocalEngine(), earlier.artifact, progress)
    return open_artifact(directory, "index", version=INDEX_VERSION)


def _make(
    draft: Draft,
    corpus: Artifact,
    settings: IndexSettings,
    encoder: TextEncoder | None,
    engine: Engine,
    earlier: Artifact | None,
    progress: Progress,
) -> None:
    """Every part of the index, one after another, and the manifest."""
    if draft.finished is not None:
        return
    engine.reach(draft.directory)
    facts: dict[str, Json] = {"rows": corpus.rows}
    write_texts(corpus, draft, engine=engine, earlier=earlier, progress=progress)
    if "lexical" in settings.retrievers:
        facts["lexical"] = build_lexical(
            corpus, draft, settings.lexical, engine=engine, earlier=earlier, progress=progress
        )
    if isinstance(encoder, StaticEncoder):
        encoder.keep(draft, progress)
    if encoder is not None and "dense" in settings.retrievers:
        facts["dense"] = build_dense(
            corpus, draft, encoder, settings.dense, engine=engine, earlier=earlier, progress=progress
        )
    _keep_made_from(draft, exact_name(corpus.directory), encoder)
    draft.finish(counts={"passages": Count(corpus.rows, corpus.rows)}, facts=facts, attachments=[MADE_FROM])


def _encoder(settings: IndexSettings, begun: Plan | None) -> TextEncoder | None:
    """The encoder, its dtype settled: a build that was begun keeps the one it began with."""
    if not {"dense", "on-demand"} & {*settings.retrievers}:
        return None
    wanted = settings.dense.encoder
    recorded = recorded_encoder(begun.params).get("dtype") if begun else None
    if wanted.dtype == "auto" and recorded:
        wanted = replace(wanted, dtype=recorded)
    return encoder_of(wanted)


def _plan(corpus: Artifact, settings: IndexSettings, encoder: TextEncoder | None) -> Plan:
    """The settings of what is built, and of nothing else; the encoder by what it is, not by where it lies."""
    params: dict[str, Json] = {"retrievers": sorted(settings.retrievers)}
    if "lexical" in settings.retrievers:
        params["lexical"] = asdict(settings.lexical)
    if encoder is not None and "dense" in settings.retrievers:
        params["dense"] = asdict(settings.dense) | {"encoder": _encoder_params(encoder)}
    elif encoder is not None:
        params["on-demand"] = {"encoder": _encoder_params(encoder)}
    if len(settings.retrievers) == 2:
        params["fusion_depth"] = settings.depth
    return Plan("index", INDEX_VERSION, params, {"corpus": corpus.id})


def _encoder_params(encoder: TextEncoder) -> Mapping[str, Json]:
    """The resolved settings with which a query encoder is opened later, and the fingerprint it must have."""
    model = Path(encoder.settings.model)
    name = model.name if model.is_dir() else encoder.settings.model
    return asdict(encoder.settings) | {"model": name, "fingerprint": encoder.fingerprint}


def _keep_made_from(draft: Draft, corpus_name: str, encoder: TextEncoder | None) -> None:
    """Where things lay on this machine: an attachment, since it is no part of what the index is."""
    if draft.receipt("made-from"):
        return
    made_from = {"corpus": corpus_name} | ({"encoder": encoder.location} if encoder else {})
    draft.partial(MADE_FROM).write_bytes(canonical_json(made_from))
    draft.keep("made-from", {MADE_FROM: 1})
