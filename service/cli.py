"""The service's commands: neighbours of an utterance, transfer sets built and looked into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from contract.console import (
    ArtifactsOption,
    EngineOption,
    JsonOption,
    MapOption,
    NameOption,
    RayAddressOption,
    RestartOption,
    answer,
    balance,
    make_app,
    print_json,
    progress_shown,
    read_map,
    run,
    screen,
    store_at,
)
from contract.errors import BadInput
from service.keys_cli import keys_app

if TYPE_CHECKING:  # the libraries behind these load inside the commands, so that --help is quick
    from contract.artifact import Artifact
    from service.candidates import Work
    from service.inspection import Inspection
    from service.neighbours import Searching
    from service.transfer_set import Opener

QUERIES = 512  # utterances searched at once for `neighbours --file`
BULK_QUERIES = 16_384  # utterances searched at once by a cluster: a search has its cost, however few ask

app = make_app("service", "Neighbours and transfer sets.")
app.add_typer(keys_app, name="keys")


@app.command()
def neighbours(
    index: Annotated[str, typer.Argument(help="The index's name.")],
    utterances: Annotated[list[str] | None, typer.Argument(help="Utterances to find neighbours of.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Utterances in Parquet, JSONL, CSV or text.")] = None,
    k: Annotated[int, typer.Option("--k", help="Neighbours an utterance, 1 to 1000.")] = 5,
    retriever: Annotated[
        str | None, typer.Option("--retriever", help="lexical, dense, hybrid or random (default: what the index has)")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="What the random retriever draws with.")] = 0,
    columns: MapOption = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Ask with the file's good rows.")] = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages nearest to utterances; with --json one object a line."""
    from indexer.index import open_index
    from service.neighbours import check_k, choose_retriever, find_neighbours

    if not utterances and file is None:
        raise BadInput('neighbours expects utterances: give them as arguments, as in "play some jazz", or as --file')
    check_k(k)
    opened = open_index(store_at(artifacts), index)
    chosen = choose_retriever(opened, cast("Searching | None", retriever))
    if k > opened.rows:
        screen.print(f"note: {index} has {opened.rows} passages, fewer than k = {k}; all of them are returned")
    asked = _queries(utterances or [], file, read_map(columns), skip_bad_rows)
    searched, unmatched = 0, 0
    while queries := list(islice(asked, QUERIES)):
        found = find_neighbours(opened, queries, k, chosen, seed=seed).to_pylist()
        searched += len(found)
        unmatched += sum(chosen != "random" and all(record["score"] == 0 for record in records) for records in found)
        for utterance, records in zip(queries, found, strict=True):
            if as_json:
                print_json({"utterance": utterance, "neighbours": records})
            else:
                _show_neighbours(utterance, records)
    if unmatched:
        screen.print(
            f"note: no passage holds a word of {unmatched:,} of {searched:,} utterances; what is shown for them has "
            "score 0 and stands in the order of the corpus"
        )


@app.command()
def build(
    task: Annotated[Path, typer.Option("--task", help="The task's file, or a directory with one file a split.")],
    name: NameOption,
    index: Annotated[str | None, typer.Option("--index", help="The index; augmented and none need none.")] = None,
    split: Annotated[str, typer.Option("--split", help="The split whose utterances get neighbours.")] = "train",
    shots: Annotated[int | None, typer.Option("--shots", help="Utterances of each class (default: all)")] = None,
    seed: Annotated[int, typer.Option("--seed", help="What every draw is made with.")] = 0,
    target: Annotated[
        str | None, typer.Option("--target", help="Whose classes --shots and --per-class mean: intent, label, domain.")
    ] = None,
    retriever: Annotated[
        str | None,
        typer.Option(
            "--retriever", help="lexical, dense, hybrid, random, augmented or none (default: what the index has)"
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Neighbours searched for each utterance, 1 to 1000.")] = 20,
    rounds: Annotated[int, typer.Option("--rounds", help="2: the best neighbours ask in their turn, for k more.")] = 1,
    askers: Annotated[int, typer.Option("--askers", help="Neighbours of each utterance that ask in a round.")] = 3,
    no_utterances: Annotated[bool, typer.Option("--no-utterances", help="Generic texts only.")] = False,
    heldout_split: Annotated[
        list[str] | None,
        typer.Option("--heldout-split", help="Whose texts must not leak; repeatable (default: every other split)"),
    ] = None,
    heldout_cosine: Annotated[
        float | None, typer.Option("--heldout-cosine", help="Drop passages this near to held-out text, by encoder.")
    ] = None,
    min_rank: Annotated[int | None, typer.Option("--min-rank", help="Nearest rank kept; 0 is the best.")] = None,
    max_rank: Annotated[int | None, typer.Option("--max-rank", help="Farthest rank kept.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Least score kept.")] = None,
    max_score: Annotated[float | None, typer.Option("--max-score", help="Greatest score kept.")] = None,
    min_words: Annotated[int | None, typer.Option("--min-words", help="Shortest passage kept, in words.")] = None,
    max_words: Annotated[int | None, typer.Option("--max-words", help="Longest passage kept, in words.")] = None,
    max_uses: Annotated[
        int | None, typer.Option("--max-uses", help="Utterances that may share a passage (default: 1)")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option("--diversity", help="Choose the k of a pool by nearness (0) to unlikeness (1).")
    ] = None,
    pool: Annotated[int | None, typer.Option("--pool", help="Neighbours to choose k of (default: 3 times k)")] = None,
    generic_share: Annotated[
        float | None, typer.Option("--generic-share", help="Generic texts / all texts, 0 to 1.")
    ] = None,
    budget_rows: Annotated[int | None, typer.Option("--budget-rows", help="At most so many texts.")] = None,
    budget_words: Annotated[int | None, typer.Option("--budget-words", help="At most so many words.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Cut generic texts evenly over the classes.")] = False,
    size_of: Annotated[
        str | None, typer.Option("--size-of", help="A transfer set: make as many generic texts as it has.")
    ] = None,
    columns: MapOption = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Keep the task's good rows; the bad ones go to errors.jsonl.")
    ] = False,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    restart: RestartOption = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a transfer set: a task's utterances, each with its neighbours. Run it again to go on after a kill."""
    from service.neighbours import check_k
    from service.transfer_set import build_transfer_set, read_request

    check_k(k)

    policy = {
        "min_rank": min_rank,
        "max_rank": max_rank,
        "min_score": min_score,
        "max_score": max_score,
        "min_words": min_words,
        "max_words": max_words,
        "max_uses": max_uses,
        "diversity": diversity,
        "pool": pool,
        "generic_share": generic_share,
        "budget_rows": budget_rows,
        "budget_words": budget_words,
        "per_class": per_class,
        "heldout": {"cosine": heldout_cosine},
    }
    request = read_request(
        {
            "task": task,
            "index": index,
            "columns": read_map(columns),
            "skip_bad_rows": skip_bad_rows,
            "split": split,
            "target": target,
            "shots": shots,
            "seed": seed,
            "retriever": retriever,
            "k": k,
            "rounds": rounds,
            "askers": askers,
            "include_utterance": not no_utterances,
            "heldout_splits": heldout_split,
            "policy": {setting: value for setting, value in policy.items() if value is not None},
            "size_of": size_of,
        }
    )
    opener, work = _machines(engine, ray_address)
    with progress_shown() as progress:
        artifact = build_transfer_set(
            store_at(artifacts), name, request, progress=progress, restart=restart, opener=opener, work=work
        )
    if as_json:
        print_json(_summary(artifact))
    else:
        _show_summary(artifact)
    if not artifact.manifest.params["heldout_splits"]:
        screen.print("note: no split is held out, so nothing was checked for leaks; name one with --heldout-split")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="The transfer set's name.")],
    examples: Annotated[int, typer.Option("--examples", min=0, help="Print so many rows, texts and all.")] = 0,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in a transfer set."""
    from service.inspection import inspect_transfer_set
    from service.transfer_set import open_transfer_set

    artifact = open_transfer_set(store_at(artifacts), name)
    inspection = inspect_transfer_set(artifact)
    rows = list(islice(_rows(artifact), examples))
    if as_json:
        print_json(asdict(inspection) | ({"examples": rows} if examples else {}))
        return
    _show_inspection(inspection)
    for row in rows:
        _show_neighbours(row["text"], row["neighbours"])


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on (default: 127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The port; 0 takes a free one (default: 8000)")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Jobs built at a time in this process; 0 leaves them to workers.")
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", help="Of the jobs: a PostgreSQL URL (default: a SQLite file)")
    ] = None,
    allow_open: Annotated[
        bool | None, typer.Option("--allow-open", help="Listen beyond this machine though there are no API keys.")
    ] = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Serve the HTTP API, and build its jobs. Every option is also a TRANSFERSET_ variable."""
    from jobs.cli import announce
    from service.server import serve
    from service.settings import read_settings

    settings = read_settings(
        host=host, port=port, workers=workers, database=database, allow_open=allow_open, artifacts=artifacts
    )
    serve(settings, announce)


def main() -> NoReturn:
    """`python -m service`."""
    run(app)


def _machines(engine: str, address: str | None) -> tuple[Opener | None, Work | None]:
    """Who opens the index and how much is searched at once: this process by default, or the workers of a cluster."""
    from indexer.engine import open_engine

    machines = open_engine(engine, address=address)
    if engine == "local":
        return None, None
    from indexer.engines.bulk import open_bulk_index
    from service.candidates import Work

    return lambda store, name: open_bulk_index(store, name, machines), Work(utterances=BULK_QUERIES)


def _queries(
    utterances: Sequence[str], file: Path | None, columns: dict[str, str], skip_bad_rows: bool
) -> Iterator[str]:
    """The utterances of the command line, then those of the file; a pair asks with both its texts."""
    import pyarrow as pa

    from contract.rows import BadRow, read_rows, refuse_bad_rows
    from service.neighbours import queries_of

    def say(bad: BadRow) -> None:
        screen.print(f"passed over {bad}", highlight=False, markup=False, soft_wrap=True)

    yield from utterances
    if file is not None:
        schema = pa.schema([pa.field("text", pa.string(), nullable=False), pa.field("text_pair", pa.string())])
        asked = 0
        for _, batch in read_rows(file, schema, columns=columns, on_bad_row=say if skip_bad_rows else refuse_bad_rows):
            asked += batch.num_rows
            yield from queries_of(batch)
        if not asked:
            raise BadInput(f"{file} has no utterance to ask with; expected rows with a text")


def _rows(artifact: Artifact) -> Iterator[dict[str, Any]]:
    for batch in artifact.batches(batch_rows=64):
        yield from batch.to_pylist()


def _summary(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "name": artifact.directory.name,
        "id": artifact.id,
        "path": str(artifact.directory),
        "rows": artifact.rows,
        "counts": {unit: asdict(count) for unit, count in manifest.counts.items()},
        "facts": dict(manifest.facts),
    }


def _show_neighbours(utterance: str, records: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    answer.print(Text(_visible(utterance), style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(justify="right", style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    for record in records:
        score = "" if record["score"] is None else f"{record['score']:.3f}"
        table.add_row(str(record["rank"]), score, Text(_visible(record["text"])), Text(_visible(record["source"])))
    answer.print(table if records else Text("no neighbours", style="dim"))
    answer.print()


def _show_summary(artifact: Artifact) -> None:
    facts = artifact.manifest.facts
    _say(f"[bold]{artifact.directory.name}[/] {artifact.id}")
    _say(
        f"{facts['texts']:,} texts: {facts['utterances']:,} utterances and {facts['neighbours']:,} neighbours "
        f"({facts['retriever']}, k = {facts['k']}), generic share {facts['generic_share']:.3f}"
    )
    for unit, count in artifact.manifest.counts.items():
        _say(f"{unit}: {balance(count)}")
    if facts.get("generic_short"):
        short, wanted = facts["generic_short"], facts["generic_wanted"]
        _say(f"[yellow]{short:,} generic texts fewer than the {wanted:,} it was to have: the arms are not equal[/]")


def _say(line: str) -> None:
    answer.print(line, highlight=False, soft_wrap=True)


def _show_inspection(found: Inspection) -> None:
    from rich.table import Table
    from rich.text import Text

    _say(f"[bold]{found.name}[/] {found.id}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    sides = {"task": found.task, "generic": found.generic}
    lines = {
        "retriever": found.retriever,
        "texts": f"{found.texts:,} in {found.rows:,} rows",
        "generic share": f"{found.generic_share:.4f}",
        **{f"{side} texts": f"{of.texts:,}, words a text {_spread(of.words)}" for side, of in sides.items()},
        **{
            f"{side} variety": f"{of.vocabulary:,} words, Distinct-1 {_number(of.distinct_1)}, "
            f"Distinct-2 {_number(of.distinct_2)}"
            for side, of in sides.items()
        },
        "vocabulary overlap": f"{_number(found.vocabulary_overlap)} of the task's top words are top generic words",
        "neighbours each": _spread(found.neighbours_per_utterance),
        "ranks": _spread(found.ranks),
        "scores": _spread(found.scores),
        "sources": ", ".join(f"{source} {rows:,}" for source, rows in found.sources.items()) or "none",
        **{unit: balance(count) for unit, count in found.counts.items()},
    }
    for label, value in lines.items():
        table.add_row(label, Text(_visible(value)))
    answer.print(table)


def _spread(spread: Any) -> str:
    if spread is None:
        return "none"
    return f"{spread.least:g} to {spread.most:g}, median {spread.median:g}, mean {spread.mean:.3f}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _visible(text: str) -> str:
    """Text that a terminal shall not read as commands."""
    return "".join(character if character.isprintable() else " " for character in text)
