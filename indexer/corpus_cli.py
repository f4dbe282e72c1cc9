"""The commands of a corpus: `corpus build | add | info | remove`.

Heavy libraries are imported inside the commands, so that asking for help is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from contract.console import (
    ArtifactsOption,
    JsonOption,
    MapOption,
    NameOption,
    RestartOption,
    answer,
    make_app,
    print_json,
    progress_shown,
    read_map,
    screen,
    store_at,
)
from indexer.shown import show_artifact

if TYPE_CHECKING:
    from contract.artifact import Artifact

corpus_app = make_app("corpus", "Make a corpus of passages out of documents.")

SourcesArgument = Annotated[
    list[str], typer.Argument(metavar="SOURCE...", help="Files, directories, quoted globs, or URLs (s3://, hf:// …).")
]
SkipOption = Annotated[bool, typer.Option("--skip-bad-rows", help="Keep the good rows, list the bad.")]
StorageOption = Annotated[
    list[str] | None,
    typer.Option("--storage-option", help="KEY=VALUE for URLs, as endpoint_url=…; credentials better by environment."),
]
_PASSAGES = "Passages"


@corpus_app.command("build")
def build_corpus_command(
    sources: SourcesArgument,
    name: NameOption,
    columns: MapOption = None,
    skip_bad_rows: SkipOption = False,
    storage_options: StorageOption = None,
    min_words: Annotated[int, typer.Option(help="Shorter passages are dropped.", rich_help_panel=_PASSAGES)] = 3,
    max_words: Annotated[int, typer.Option(help="Longer documents are split.", rich_help_panel=_PASSAGES)] = 64,
    lang: Annotated[
        str | None,
        typer.Option(help="Language of documents that name none, or: detect.", rich_help_panel=_PASSAGES),
    ] = None,
    keep_lang: Annotated[
        str | None,
        typer.Option(help="Drop passages of other languages, as in en,de.", rich_help_panel=_PASSAGES),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="NAME or NAME=THRESHOLD: symbols, digits, upper_case, repeated_words, repeated_characters, addresses, "
            "boilerplate. None by default.",
            rich_help_panel=_PASSAGES,
        ),
    ] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(help="Drop passages with so similar a set of words, as in 0.8.", rich_help_panel=_PASSAGES),
    ] = None,
    without_sources: Annotated[
        list[str] | None,
        typer.Option("--without-source", help="Drop passages of a source; repeatable.", rich_help_panel=_PASSAGES),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(help="Keep so large a share of the passages, drawn by their texts.", rich_help_panel=_PASSAGES),
    ] = None,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read documents (Parquet, Arrow, JSONL, CSV, TSV, text), split and clean them, drop duplicates, write a corpus."""
    from indexer.corpus import build_corpus
    from indexer.corpus_settings import CorpusSettings
    from indexer.reading.quality import read_filters
    from indexer.reading.remote import read_options

    settings = CorpusSettings(
        columns=read_map(columns),
        min_words=min_words,
        max_words=max_words,
        lang=lang,
        keep_lang=tuple(tag.strip() for tag in keep_lang.split(",")) if keep_lang else (),
        filters=read_filters(filters or []),
        near_duplicates=near_duplicates,
        without_sources=tuple(without_sources or ()),
        sample=sample,
        skip_bad_rows=skip_bad_rows,
    )
    options = read_options(storage_options or [])
    with progress_shown() as progress:
        store = store_at(artifacts)
        corpus = build_corpus(store, name, sources, settings, options=options, progress=progress, restart=restart)
    _show(name, corpus, as_json)


@corpus_app.command("add")
def add_to_corpus_command(
    name: Annotated[str, typer.Argument(help="The corpus.")],
    sources: SourcesArgument,
    skip_bad_rows: SkipOption = False,
    storage_options: StorageOption = None,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put documents behind those of a corpus: a new version NAME@2 beside it, as if built from all of them at once."""
    from contract.store import exact_name
    from indexer.corpus import add_to_corpus
    from indexer.reading.remote import read_options

    options = read_options(storage_options or [])
    with progress_shown() as progress:
        corpus = add_to_corpus(
            store_at(artifacts),
            name,
            sources,
            options=options,
            progress=progress,
            skip_bad_rows=skip_bad_rows,
            restart=restart,
        )
    _show(exact_name(corpus.directory), corpus, as_json)


@corpus_app.command("info")
def corpus_info_command(
    name: Annotated[str, typer.Argument(help="The corpus, or NAME@N for one version of it.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is in a corpus, and what was dropped on the way, with a few ids as examples."""
    from contract.store import split_version
    from indexer.corpus import open_corpus, read_examples

    store = store_at(artifacts)
    corpus = open_corpus(store, name)
    versions = store.versions("corpus", split_version(name)[0])
    show_artifact(name, corpus, as_json, versions=versions if len(versions) > 1 else [], dropped=read_examples(corpus))


@corpus_app.command("remove")
def remove_corpus_command(
    name: Annotated[str, typer.Argument(help="The corpus; NAME@N where it has several versions.")],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove one version of a corpus; refused while an index was made from it."""
    from contract.removal import remove_artifact
    from contract.store import exact_name

    removed = exact_name(remove_artifact(store_at(artifacts), "corpus", name))
    if as_json:
        print_json({"removed": removed})
    else:
        answer.print(f"removed corpus {removed}", highlight=False, markup=False)


def _show(name: str, corpus: Artifact, as_json: bool) -> None:
    from indexer.corpus import read_examples
    from indexer.reading.bad_rows import ERRORS

    show_artifact(name, corpus, as_json, dropped=read_examples(corpus))
    if not as_json and any(entry.name == ERRORS for entry in corpus.manifest.attachments):
        screen.print(f"bad rows are listed in {corpus.directory / ERRORS}", highlight=False, markup=False)
