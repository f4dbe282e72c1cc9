"""The indexer's commands: `corpus build | info` and `index build | info | verify`.

`corpus_app` and `index_app` are mounted by `transferset`; `app` is what `python -m indexer` runs. The rooms' heavy
libraries are imported inside the commands, so that asking for help is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.console import (
    ArtifactsOption,
    JsonOption,
    MapOption,
    NameOption,
    RestartOption,
    answer,
    balance,
    make_app,
    print_json,
    progress_shown,
    read_map,
    screen,
    store_at,
)
from contract.errors import BadInput, CorruptArtifact

if TYPE_CHECKING:
    from contract.artifact import Artifact
    from indexer.build import Built

app = make_app("indexer", "Documents in, a finished index out.")
corpus_app = make_app("corpus", "Make a corpus of passages out of documents.")
index_app = make_app("index", "Make an index out of a corpus.")
app.add_typer(corpus_app)
app.add_typer(index_app)


@corpus_app.command("build")
def build_corpus_command(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, directories or quoted globs.")],
    name: NameOption,
    columns: MapOption = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Keep the good rows, list the bad.")] = False,
    min_words: Annotated[int, typer.Option(help="Shorter passages are dropped.")] = 3,
    max_words: Annotated[int, typer.Option(help="Longer documents are split.")] = 64,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read documents (Parquet, JSONL, CSV, TSV, text), split and clean them, drop duplicates, write a corpus."""
    from indexer.corpus import ERRORS, CorpusSettings, build_corpus

    settings = CorpusSettings(
        columns=read_map(columns), min_words=min_words, max_words=max_words, skip_bad_rows=skip_bad_rows
    )
    with progress_shown() as progress:
        corpus = build_corpus(store_at(artifacts), name, sources, settings, progress=progress, restart=restart)
    _show(name, corpus, as_json)
    if not as_json and any(entry.name == ERRORS for entry in corpus.manifest.attachments):
        screen.print(f"bad rows are listed in {corpus.directory / ERRORS}", highlight=False, markup=False)


@corpus_app.command("info")
def corpus_info_command(
    name: Annotated[str, typer.Argument(help="The corpus.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is in a corpus, and what was dropped on the way."""
    from indexer.corpus import open_corpus

    _show(name, open_corpus(store_at(artifacts), name), as_json)


@index_app.command("build")
def build_index_command(
    corpus: Annotated[str, typer.Option("--corpus", help="The corpus to index.")],
    name: NameOption,
    retrievers: Annotated[str, typer.Option(help="What to build: lexical, dense or both.")] = "lexical,dense",
    encoder: Annotated[str, typer.Option(help="minilm, a folder, or a name of the Hugging Face hub.")] = "minilm",
    revision: Annotated[str | None, typer.Option(help="The hub's revision of the encoder.")] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="auto (measured on this machine), float32 or bfloat16."),
    ] = "auto",
    max_length: Annotated[int | None, typer.Option(help="Tokens of a passage the encoder reads.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before queries, as in 'query: ' for e5.")] = None,
    passage_prompt: Annotated[str | None, typer.Option(help="Put before passages, as in 'passage: ' for e5.")] = None,
    variant: Annotated[Literal["lucene", "okapi"], typer.Option(help="BM25 formula: lucene or okapi.")] = "lucene",
    k1: Annotated[float | None, typer.Option(help="BM25 saturation [default: 1.2 lucene, 1.5 okapi]")] = None,
    b: Annotated[float, typer.Option(help="BM25 length normalisation.")] = 0.75,
    language: Annotated[str, typer.Option(help="Stemmer's language, or none.")] = "english",
    fusion_depth: Annotated[int, typer.Option(help="Hits of each ranking that hybrid fuses.")] = 1000,
    exact_rows: Annotated[int, typer.Option(help="Up to so many passages dense search is exact.")] = 200_000,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the retrievers of an index: lexical (BM25), dense (embeddings), and with both of them hybrid."""
    from indexer.build import IndexSettings, build_index
    from indexer.dense import DenseSettings
    from indexer.encoder import EncoderSettings
    from indexer.lexical import LexicalSettings

    if k1 is None:
        k1 = 1.5 if variant == "okapi" else 1.2
    settings = IndexSettings(
        retrievers=_names(retrievers),
        lexical=LexicalSettings(variant=variant, k1=k1, b=b, language=language),
        dense=DenseSettings(
            encoder=EncoderSettings(encoder, revision, dtype, max_length, query_prompt, passage_prompt),
            exact_rows=exact_rows,
        ),
        fusion_depth=fusion_depth,
    )
    with progress_shown() as progress:
        index = build_index(store_at(artifacts), name, corpus, settings, progress=progress, restart=restart)
    _show(name, index, as_json)


@index_app.command("info")
def index_info_command(
    name: Annotated[str, typer.Argument(help="The index.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What an index can do, what it was made from, and what was measured of it."""
    from indexer.index import open_index

    index = open_index(store_at(artifacts), name)
    _show(name, index.artifact, as_json, corpus=index.corpus_name, retrievers=list(index.retrievers))


@index_app.command("verify")
def verify_index_command(
    name: Annotated[str, typer.Argument(help="The index.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of an index and of its corpus against their manifests; names what was changed."""
    from indexer.index import open_index

    index = open_index(store_at(artifacts), name)
    faults = [*index.artifact.verify(), *index.corpus.verify()]
    files = sum(len(part.manifest.files) + len(part.manifest.attachments) for part in (index.artifact, index.corpus))
    if as_json:
        print_json({"name": name, "id": index.artifact.id, "files": files, "faults": faults})
    if faults:
        raise CorruptArtifact(f"{len(faults)} of {files} files are not what they were: " + "; ".join(faults))
    if not as_json:
        screen.print(f"index {name}: {files} files are as their manifests say", highlight=False, markup=False)


def _names(retrievers: str) -> tuple[Built, ...]:
    """`lexical,dense` -> ("lexical", "dense")."""
    names: list[Built] = []
    for part in retrievers.split(","):
        if part.strip() == "lexical":
            names.append("lexical")
        elif part.strip() == "dense":
            names.append("dense")
        else:
            raise BadInput(f"--retrievers expects lexical, dense or lexical,dense, found {retrievers!r}")
    return tuple(names)


def _show(name: str, artifact: Artifact, as_json: bool, **more: Any) -> None:
    manifest = artifact.manifest
    about = {"name": name, "id": manifest.id, "kind": manifest.kind, **more}
    size = sum(entry.bytes for entry in manifest.files)
    details = {
        "counts": {unit: vars(count) for unit, count in manifest.counts.items()},
        "facts": manifest.facts,
        "params": manifest.params,
        "inputs": manifest.inputs,
        "bytes": size,
    }
    if as_json:
        print_json(about | details)
        return
    lines = [f"{name} {manifest.id}, {size / 1e6:,.1f} MB"]
    lines += [f"{unit}: {balance(count)}" for unit, count in manifest.counts.items()]
    lines += [f"{key}: {_in_words(value)}" for key, value in (more | dict(manifest.facts)).items() if value]
    answer.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _in_words(value: Any) -> str:
    """A fact as a person reads it: `terms 269,824, mean length 16.98`."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
