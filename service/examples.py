"""Examples: the rows of a transfer set, each an utterance with the neighbours it kept, written as shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.artifact import write_shard
from contract.draft import Draft
from contract.manifest import Json
from contract.progress import Progress
from contract.schemas import NEIGHBOUR, TRANSFER_SET
from service.candidates import Retrieval
from service.neighbours import neighbour_lists, numbers
from service.selection import Candidates, Selection, Utterances

SHARD_TEXTS = 65_536  # about so many texts a shard; part of the format, so that the same set has the same shards


def write_examples(
    draft: Draft,
    utterances: pa.Table,
    hits: pa.Table,
    selection: Selection,
    retrieval: Retrieval | None,
    *,
    retriever: str,
    progress: Progress,
) -> None:
    """Write every utterance with its kept hits, a step a shard; `hits` is ordered by utterance, then rank."""
    kept = np.flatnonzero(selection.kept_hits)
    of_utterance = numbers(hits, "utterance")[kept]
    per_utterance = np.bincount(of_utterance, minlength=utterances.num_rows)
    for number, (first, last) in enumerate(shard_bounds(per_utterance + 1, SHARD_TEXTS)):
        step = f"part-{number:05d}"
        if draft.receipt(step) is None:
            begin, end = np.searchsorted(of_utterance, (first, last))
            mine = hits.take(pa.array(kept[begin:end]))
            lists = _lists(mine, retrieval, retriever, first, last)
            included = pa.array(selection.kept_utterances[first:last])
            table = _examples(utterances.slice(first, last - first), lists, included)
            write_shard(draft, step, table, state={"sources": _sources(lists)})
        progress("writing", last, utterances.num_rows)


def shard_bounds(texts: npt.NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Ranges of utterances whose texts together begin within the same `most`; there is always one range."""
    shard = (np.cumsum(texts) - texts) // most
    edges = np.flatnonzero(np.diff(shard)) + 1
    bounds = [0, *edges.tolist(), len(texts)]
    return list(pairwise(bounds))


def facts_of(draft: Draft, hits: Candidates, utterances: Utterances, selection: Selection) -> dict[str, Json]:
    """What was measured of a transfer set; distill's report copies texts, utterances, neighbours and generic share."""
    generic, task = selection.kept_hits, selection.kept_utterances
    neighbours, included = int(generic.sum()), int(task.sum())
    per_utterance = np.bincount(hits.utterance[generic], minlength=len(task))
    scores = hits.score[generic]
    return {
        "rows": len(task),
        "texts": neighbours + included,
        "utterances": included,
        "neighbours": neighbours,
        "generic_share": _rounded(neighbours / (neighbours + included)),
        "passages": len(np.unique(hits.row[generic])),
        "words": {
            "utterances": int(utterances.n_words[task].sum()),
            "neighbours": int(hits.n_words[generic].sum()),
        },
        "neighbours_per_utterance": {
            "min": int(per_utterance.min()),
            "mean": _rounded(per_utterance.mean()),
            "max": int(per_utterance.max()),
            "none": int((per_utterance == 0).sum()),
        },
        "mean_rank": _rounded(hits.rank[generic].mean()) if neighbours else None,
        "mean_score": _rounded(scores.mean(dtype=np.float64)) if neighbours and not np.isnan(scores).any() else None,
        "sources": _all_sources(draft),
    }


def _lists(hits: pa.Table, retrieval: Retrieval | None, retriever: str, first: int, last: int) -> pa.ListArray:
    if retrieval is None or not len(hits):
        return pa.array([[] for _ in range(first, last)], TRANSFER_SET.field("neighbours").type)
    return neighbour_lists(hits, retrieval.passages(numbers(hits, "row")), retriever, last - first, first)


def _examples(utterances: pa.Table, neighbours: pa.ListArray, included: pa.Array) -> pa.Table:
    made = {"utterance_id": utterances["id"], "include_utterance": included, "neighbours": neighbours}
    columns = [made[field.name] if field.name in made else utterances[field.name] for field in TRANSFER_SET]
    return pa.table(columns, schema=TRANSFER_SET)


def _sources(lists: pa.ListArray) -> dict[str, int]:
    """Neighbours by the part of the corpus they come from."""
    source = lists.flatten().field(NEIGHBOUR.get_field_index("source"))
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(source).to_pylist()}


def _all_sources(draft: Draft) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for step in draft.steps():
        receipt = draft.receipt(step)
        total.update(receipt.state.get("sources", {}) if receipt else {})
    return dict(sorted(total.items()))


def _rounded(value: float) -> float:
    return round(float(value), 6)
