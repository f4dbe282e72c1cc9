"""The commands of an index: `index build | add | info | verify | remove | cache`.

Heavy libraries are imported inside the commands, so that asking for help is quick.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from contract.console import (
    ArtifactsOption,
    EngineOption,
    JsonOption,
    MemoryBudgetOption,
    NameOption,
    RayAddressOption,
    RestartOption,
    WorkersOption,
    answer,
    make_app,
    print_json,
    progress_shown,
    screen,
    store_at,
)
from contract.errors import CorruptArtifact
from contract.store import exact_name
from indexer.shown import show_artifact

if TYPE_CHECKING:
    from indexer.index import Built

LEXICAL, DENSE = "Lexical", "Dense and hybrid"  # panels of the help

index_app = make_app("index", "Make an index out of a corpus.")


@index_app.command("build")
def build_index_command(
    corpus: Annotated[str, typer.Option("--corpus", help="The corpus to index.")],
    name: NameOption,
    retrievers: Annotated[
        str, typer.Option(help="What to build: lexical, dense, both, or lexical,on-demand: no vectors at the build.")
    ] = "lexical,dense",
    encoder: Annotated[
        str,
        typer.Option(
            help="minilm, a folder, or a name of the Hugging Face hub; static:NAME for a fast one.",
            rich_help_panel=DENSE,
        ),
    ] = "minilm",
    revision: Annotated[
        str | None, typer.Option(help="The hub's revision of the encoder.", rich_help_panel=DENSE)
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="auto (measured on this machine), float32 or bfloat16.", rich_help_panel=DENSE),
    ] = "auto",
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a passage the encoder reads.", rich_help_panel=DENSE)
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Put before queries, as in 'query: ' for e5.", rich_help_panel=DENSE)
    ] = None,
    passage_prompt: Annotated[
        str | None, typer.Option(help="Put before passages, as in 'passage: ' for e5.", rich_help_panel=DENSE)
    ] = None,
    variant: Annotated[
        Literal["lucene", "okapi", "bm25plus"],
        typer.Option(help="BM25 formula: lucene, okapi or bm25plus.", rich_help_panel=LEXICAL),
    ] = "lucene",
    k1: Annotated[
        float | None, typer.Option(help="BM25 saturation (default: 1.2 lucene, else 1.5)", rich_help_panel=LEXICAL)
    ] = None,
    b: Annotated[float, typer.Option(help="BM25 length normalisation.", rich_help_panel=LEXICAL)] = 0.75,
    delta: Annotated[float, typer.Option(help="What bm25plus adds to every term.", rich_help_panel=LEXICAL)] = 1.0,
    language: Annotated[str, typer.Option(help="Stemmer's language, or none.", rich_help_panel=LEXICAL)] = "english",
    stop_words: Annotated[
        str,
        typer.Option(
            help="Words that are no terms: none, english (or another list), or a file of them.", rich_help_panel=LEXICAL
        ),
    ] = "none",
    scorer: Annotated[
        Literal["bulk", "rank-bm25"],
        typer.Option(help="bulk, or the library rank-bm25 (small corpora only).", rich_help_panel=LEXICAL),
    ] = "bulk",
    shard_rows: Annotated[
        int, typer.Option(help="Passages of a lexical shard: hits are the same for any.", rich_help_panel=LEXICAL)
    ] = 131_072,
    dims: Annotated[
        int | None, typer.Option(help="Dimensions of a static encoder (default: 256)", rich_help_panel=DENSE)
    ] = None,
    fusion_depth: Annotated[
        int | None,
        typer.Option(
            help="Hits of each ranking that hybrid fuses (default: 1000, on-demand 200)", rich_help_panel=DENSE
        ),
    ] = None,
    structure: Annotated[
        Literal["auto", "flat", "ivf", "hnsw"],
        typer.Option(
            help="What finds vectors: flat (exact), ivf (lists), hnsw (a graph in memory), or auto.",
            rich_help_panel=DENSE,
        ),
    ] = "auto",
    exact_rows: Annotated[
        int, typer.Option(help="Up to so many passages auto is flat, above ivf.", rich_help_panel=DENSE)
    ] = 200_000,
    recall: Annotated[
        float, typer.Option(help="Share of the true nearest that ivf and hnsw are to find.", rich_help_panel=DENSE)
    ] = 0.98,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    memory_budget: MemoryBudgetOption = None,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the retrievers of an index: lexical (BM25), dense (embeddings), and with both of them hybrid."""
    from indexer.bm25.stop_words import stop_words as read_stop_words
    from indexer.build import build_index
    from indexer.dense import DenseSettings
    from indexer.encoder import EncoderSettings
    from indexer.engine import open_engine
    from indexer.index import IndexSettings
    from indexer.lexical import LexicalSettings

    if k1 is None:
        k1 = 1.2 if variant == "lucene" else 1.5
    settings = IndexSettings(
        retrievers=_names(retrievers),
        lexical=LexicalSettings(variant, k1, b, delta, language, read_stop_words(stop_words), scorer, shard_rows),
        dense=DenseSettings(
            encoder=EncoderSettings(encoder, revision, dtype, max_length, query_prompt, passage_prompt, dims),
            structure=structure,
            exact_rows=exact_rows,
            recall=recall,
        ),
        fusion_depth=fusion_depth,
    )
    machines = open_engine(engine, address=ray_address, workers=workers, memory_budget=memory_budget)
    with progress_shown() as progress:
        index = build_index(
            store_at(artifacts), name, corpus, settings, engine=machines, progress=progress, restart=restart
        )
    show_artifact(name, index, as_json)


@index_app.command("add")
def add_to_index_command(
    name: Annotated[str, typer.Argument(help="The index.")],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]...", help="Documents, as `corpus build` reads them.")
    ] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Keep the good rows, list the bad.")] = False,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    memory_budget: MemoryBudgetOption = None,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put documents behind an index's corpus: the next version of both, beside the ones there are.

    It equals a build from scratch, id and all, and takes from the version before what that has. Without a source the
    index follows its corpus to that one's newest version.
    """
    from indexer.build import add_to_index
    from indexer.engine import open_engine

    machines = open_engine(engine, address=ray_address, workers=workers, memory_budget=memory_budget)
    with progress_shown() as progress:
        index = add_to_index(
            store_at(artifacts),
            name,
            sources or [],
            engine=machines,
            progress=progress,
            skip_bad_rows=skip_bad_rows,
            restart=restart,
        )
    show_artifact(exact_name(index.directory), index, as_json)


@index_app.command("remove")
def remove_index_command(
    name: Annotated[str, typer.Argument(help="The index; of several versions, one by NAME@N.")],
    artifacts: ArtifactsOption = None,
) -> None:
    """Remove one version of an index from the disk."""
    from contract.removal import remove_artifact

    removed = remove_artifact(store_at(artifacts), "index", name)
    screen.print(f"removed {removed}", highlight=False, markup=False)


@index_app.command("info")
def index_info_command(
    name: Annotated[str, typer.Argument(help="The index.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What an index can do, what it was made from, and what was measured of it."""
    from indexer.index import open_index

    index = open_index(store_at(artifacts), name)
    show_artifact(name, index.artifact, as_json, corpus=index.corpus_name, retrievers=list(index.retrievers))


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


@index_app.command("cache")
def cache_command(
    empty: Annotated[bool, typer.Option("--empty", help="Remove all vectors; searches make them again.")] = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What on-demand indexes have encoded so far: vectors and bytes of each encoder, kept beside the indexes."""
    from contract.store import FOLDERS
    from indexer.vector_cache import empty_caches, list_caches

    indexes = store_at(artifacts).root / FOLDERS["index"]
    if empty:
        empty_caches(indexes)
    caches = list_caches(indexes)
    if as_json:
        print_json([asdict(cache) for cache in caches])
        return
    lines = [f"{cache.name}: {cache.vectors:,} vectors, {cache.bytes / 1e6:,.1f} MB" for cache in caches]
    answer.print("\n".join(lines) or "no vectors are kept", highlight=False, markup=False)


def _names(retrievers: str) -> tuple[Built, ...]:
    """`lexical,dense` -> ("lexical", "dense"); IndexSettings says what may stand there."""
    return cast("tuple[Built, ...]", tuple(part.strip() for part in retrievers.split(",")))
