"""The corpus: passages in Parquet shards, made from sources so that any number of kills leaves the same artifact.

Written by `corpus build` and `corpus add`; read by whatever makes an index, and by the service for the texts of hits.
A corpus that was added to is, id and all, the one that all its sources make at once: whole shards are taken from the
version before, its last shard is continued.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import pyarrow as pa
import pyarrow.parquet as pq

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Draft, Plan, Receipt, discard, drafting
from contract.errors import BadInput
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress, silent
from contract.rows import BadRow, refuse_bad_rows
from contract.schemas import CORPUS
from contract.store import Store, split_version
from indexer.corpus_settings import CorpusSettings, settings_of
from indexer.reading.bad_rows import ERRORS, BadRows
from indexer.reading.remote import Options
from indexer.reading.shard import Shard, merge_examples
from indexer.reading.sieve import Sieve
from indexer.reading.sources import Position, SourceFile, check_columns, find_files, read_documents

CORPUS_VERSION = 1
EXAMPLES = "dropped.json"  # an attachment: reason -> a few ids; ids are the user's own words, so no part of a manifest
READ_PER_PASSAGE = 4  # a shard also ends when it read so many documents a passage: a kill costs no more than that
_EARLIER = "earlier"  # the step that stands for the version before: its counts, and where it stopped


def build_corpus(
    store: Store,
    name: str,
    sources: Sequence[str],
    settings: CorpusSettings | None = None,
    *,
    options: Options | None = None,
    progress: Progress = silent,
    restart: bool = False,
) -> Artifact:
    """Make the corpus `name` from files, directories, globs and URLs, or go on where a killed build left it."""
    directory = store.path("corpus", name)
    settings = settings or CorpusSettings()
    files = find_files(sources, options=options, progress=progress)
    check_columns(files, settings.columns)
    with drafting(directory, _plan([file.as_param() for file in files], settings), restart=restart) as draft:
        if draft.finished is None:
            _make(draft, files, settings, None, progress)
    return open_artifact(directory, "corpus", version=CORPUS_VERSION)


def add_to_corpus(
    store: Store,
    name: str,
    sources: Sequence[str],
    *,
    options: Options | None = None,
    progress: Progress = silent,
    skip_bad_rows: bool = False,
    restart: bool = False,
) -> Artifact:
    """The next version of a corpus: its passages, and behind them those of more sources.

    Files that it has, by name and content, are nothing to add: without others it stays as it is.
    """
    earlier = open_corpus(store, name)
    settings = replace(_settings_of(earlier), skip_bad_rows=skip_bad_rows)
    known = earlier.manifest.params["sources"]
    files = find_files(sources, earlier=known, options=options, progress=progress)
    if not files:
        return earlier
    check_columns(files, settings.columns)
    plain, _ = split_version(name)
    directory = store.path("corpus", plain, store.versions("corpus", plain)[-1] + 1)
    plan = _plan([*known, *(file.as_param() for file in files)], settings)
    with drafting(directory, plan, restart=restart) as draft:
        if draft.finished is None:
            _make(draft, files, settings, earlier, progress)
    return open_artifact(directory, "corpus", version=CORPUS_VERSION)


def open_corpus(store: Store, name: str) -> Artifact:
    """The newest finished corpus of that name (`name@2`: that version): shards in the schema CORPUS."""
    return open_artifact(store.find("corpus", name), "corpus", version=CORPUS_VERSION)


def _plan(sources: Sequence[Json], settings: CorpusSettings) -> Plan:
    """The same files and settings on any machine, at any path, give the same plan."""
    params = settings.as_params() | {"sources": sources}
    digest = hashlib.sha256(canonical_json(sources)).hexdigest()
    return Plan("corpus", CORPUS_VERSION, params, {"sources": digest[:32]})


def _settings_of(corpus: Artifact) -> CorpusSettings:
    if "last_shard" not in corpus.manifest.facts:
        raise BadInput(
            f"{corpus.directory} was made before corpora could be added to, and does not say how its last shard ends; "
            "build it anew from all sources, under another name"
        )
    return settings_of(corpus.manifest.params)


def _make(
    draft: Draft, files: Sequence[SourceFile], settings: CorpusSettings, earlier: Artifact | None, progress: Progress
) -> None:
    """All shards, and the manifest."""
    try:
        if earlier is not None and draft.receipt(_EARLIER) is None:
            _take_over(draft, earlier)
        _write_shards(draft, files, settings, earlier, progress)
    except BadInput:
        if not any(step.startswith("part-") for step in _own_steps(draft)):
            discard(draft.directory)  # nothing to go on from: the name is free for mended sources
        raise
    _keep_examples(draft, earlier)
    draft.finish(facts=_facts(draft), attachments=[ERRORS, EXAMPLES])


def _take_over(draft: Draft, earlier: Artifact) -> None:
    """Adopt the whole shards of the version before, and put down its counts and where it stopped."""
    facts = earlier.manifest.facts
    last = facts["last_shard"]["number"]
    for entry in earlier.shards:
        if entry.name != _shard_name(last):
            draft.adopt(entry.name.removesuffix(".parquet"), earlier.directory, [entry])
    errors = draft.partial("bad-rows")
    if _has(earlier, ERRORS):
        shutil.copyfile(earlier.path(ERRORS), errors)
    state = {
        **asdict(Position()),
        "number": last - 1,
        "is_last": False,
        "errors_bytes": errors.stat().st_size if errors.exists() else 0,
        **{fact: facts[fact] for fact in ("renamed", "words")},
    }
    draft.keep(_EARLIER, {}, counts=earlier.manifest.counts, state=state)


def _write_shards(
    draft: Draft, files: Sequence[SourceFile], settings: CorpusSettings, earlier: Artifact | None, progress: Progress
) -> None:
    """Read on from the last finished shard; every shard is whole batches of documents, so its end is a position."""
    finished = _finished(draft)
    last = finished[-1].state if finished else {}
    with BadRows(draft.partial("bad-rows"), last.get("errors_bytes", 0)) as bad_rows:
        if not last.get("is_last"):
            shard = _continued(earlier) if earlier is not None and len(finished) == 1 else Shard()
            _read_on(draft, files, settings, shard, bad_rows, progress)
    _keep_errors(draft, bad_rows)


def _continued(earlier: Artifact) -> Shard:
    """The last shard of the version before, still open: it ended because its sources did."""
    last = earlier.manifest.facts["last_shard"]
    name = _shard_name(last["number"])
    if not _has(earlier, name):
        return Shard(documents=last["documents"])
    table = pq.read_table(earlier.path(name))
    return Shard(pa.Table.from_arrays(table.columns, schema=CORPUS), last["documents"])


def _read_on(
    draft: Draft,
    files: Sequence[SourceFile],
    settings: CorpusSettings,
    shard: Shard,
    bad_rows: BadRows,
    progress: Progress,
) -> None:
    finished = _finished(draft)
    last = finished[-1].state if finished else {"number": -1}
    number = last["number"] + 1
    position = begun = Position(last.get("files", 0), last.get("batches", 0))
    sieve = _sieve(draft, settings, shard)
    documents = sum(receipt.counts["documents"].rows_in for receipt in finished)

    def on_bad_row(file: SourceFile, bad: BadRow) -> None:
        if not settings.skip_bad_rows:
            refuse_bad_rows(bad)
        bad_rows.add(bad)
        shard.add_bad(f"bad_row: {bad.reason.split(',')[0]}", f"{file.label}-{bad.row}")

    for position, batch in read_documents(files, on_bad_row, columns=settings.columns, start=begun):
        shard.add(batch.num_rows, sieve.sift(batch))
        documents += batch.num_rows
        progress("read documents", documents, None)
        if shard.rows >= settings.shard_passages or shard.documents >= READ_PER_PASSAGE * settings.shard_passages:
            _keep(draft, number, shard, position, bad_rows, is_last=False)
            number, shard = number + 1, Shard()
    if not shard.rows + sum(receipt.counts["passages"].rows_out for receipt in _finished(draft)):
        raise BadInput(_nothing_left(files, [*_finished(draft), Receipt(counts=shard.counts)]))
    _keep(draft, number, shard, position, bad_rows, is_last=True)
    progress("read documents", documents, documents)


def _keep(draft: Draft, number: int, shard: Shard, position: Position, bad_rows: BadRows, *, is_last: bool) -> None:
    """Finish a shard. One with no passages left (all duplicates, or the end) leaves its counts only."""
    step = f"part-{number:05d}"
    ends: dict[str, Json] = {"number": number, "is_last": is_last, "errors_bytes": bad_rows.flush()}
    state = {**asdict(position), **ends, **shard.state}
    if shard.rows:
        write_shard(draft, step, shard.table, counts=shard.counts, state=state)
    else:
        draft.keep(step, {}, counts=shard.counts, state=state)


def _sieve(draft: Draft, settings: CorpusSettings, shard: Shard) -> Sieve:
    """A sieve that knows what it knew when the last finished shard was written."""
    sieve = Sieve(settings)
    receipts = [receipt for step in draft.steps() if step.startswith("part-") and (receipt := draft.receipt(step))]
    for name in (entry.name for receipt in receipts for entry in receipt.files):
        with pq.ParquetFile(draft.directory / name) as file:
            for batch in file.iter_batches(columns=["passage_id", "text"]):
                sieve.remember(batch)
    for batch in shard.table.to_batches():
        sieve.remember(batch)
    return sieve


def _own_steps(draft: Draft) -> list[str]:
    """The steps that stand for something counted: the version before, and what was made since."""
    return [step for step in draft.steps() if (receipt := draft.receipt(step)) and "number" in receipt.state]


def _finished(draft: Draft) -> list[Receipt]:
    return [receipt for step in _own_steps(draft) if (receipt := draft.receipt(step))]


def _facts(draft: Draft) -> dict[str, Json]:
    states = [receipt.state for receipt in _finished(draft)]
    facts: dict[str, Json] = {fact: sum(state[fact] for state in states) for fact in ("renamed", "words")}
    return facts | {"last_shard": {key: states[-1][key] for key in ("number", "documents")}}


def _keep_errors(draft: Draft, bad_rows: BadRows) -> None:
    """Turn the collected bad rows into an attachment; without any, leave no file."""
    documents = [receipt.counts["documents"] for receipt in _finished(draft)]
    bad = sum(count.rows_in - count.rows_out for count in documents)
    if draft.receipt("errors") is None and bad:
        shutil.copyfile(bad_rows.path, draft.partial(ERRORS))
        draft.keep("errors", {ERRORS: bad})
    bad_rows.path.unlink()


def _keep_examples(draft: Draft, earlier: Artifact | None) -> None:
    """The first few ids of every reason, over all versions."""
    if draft.receipt("dropped") is not None:
        return
    examples = read_examples(earlier) if earlier is not None else {}
    for receipt in _finished(draft):
        merge_examples(examples, receipt.state.get("examples", {}))
    draft.partial(EXAMPLES).write_bytes(canonical_json(examples))
    draft.keep("dropped", {EXAMPLES: sum(map(len, examples.values()))})


def read_examples(corpus: Artifact) -> dict[str, list[str]]:
    """A few ids of what was dropped, by reason."""
    if not _has(corpus, EXAMPLES):
        return {}
    examples: dict[str, list[str]] = json.loads(corpus.path(EXAMPLES).read_bytes())
    return examples


def _has(corpus: Artifact, name: str) -> bool:
    return any(entry.name == name for entry in (*corpus.manifest.files, *corpus.manifest.attachments))


def _shard_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _nothing_left(files: Sequence[SourceFile], receipts: Sequence[Receipt]) -> str:
    total = {unit: sum((r.counts[unit] for r in receipts), Count()) for unit in ("documents", "passages")}
    dropped: Mapping[str, int] = {**total["documents"].dropped, **total["passages"].dropped}
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "none dropped"
    names = ", ".join(file.file.name for file in files[:5])
    return (
        f"No passage is left of {names}: {total['documents'].rows_in} rows read, {reasons}; "
        "expected text; name other sources, map another column with --map text=COLUMN, or lower --min-words"
    )
