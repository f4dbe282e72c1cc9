"""The transfer set: a task's utterances with their neighbours, searched, judged, selected and written.

Reads top to bottom as the data's way. Written as shards in the schema TRANSFER_SET, one row an utterance; read by
distill. Every arm of a comparison has this one form; only the retriever differs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.artifact import Artifact
from contract.draft import Draft, Plan, drafting
from contract.errors import BadInput
from contract.manifest import Count, Json
from contract.progress import Progress, silent
from contract.rows import BadRow, refuse_bad_rows
from contract.store import Store
from contract.task import Target, Task, few_shot, read_task
from service.augmented import Augmented, vocabulary_of
from service.candidates import Judgement, Retrieval, Retrieved, Work, find_hits, judge_hits, unjudged
from service.diversity import spread_hits
from service.examples import facts_of as facts_of_set
from service.examples import write_examples
from service.heldout import equal_examples, hold_out, texts_of
from service.neighbours import HITS, MAX_K, SearchIndex, queries_of
from service.plan import check_encoder, plan_transfer_set
from service.plan import open_transfer_set as open_transfer_set
from service.reader import facts_of
from service.request import Retriever
from service.request import TransferSetRequest as TransferSetRequest
from service.request import read_request as read_request
from service.rounds import choose_asking, find_again, join
from service.selection import Candidates, Selection, SelectionPolicy, Utterances, count, select

K_FOR_SIZE = 4 * MAX_K  # how deep `size_of` draws before the set says by how much it is smaller
ERRORS = "errors.jsonl"

Opener = Callable[[Store, str], SearchIndex]


def build_transfer_set(
    store: Store,
    name: str,
    request: TransferSetRequest,
    *,
    progress: Progress = silent,
    restart: bool = False,
    work: Work | None = None,
    opener: Opener | None = None,
) -> Artifact:
    """Build the transfer set `name`, or go on with it where a killed process left it. Raises TransfersetError.

    `work` is how much one step does, and changes no result; `opener` opens indexes, by default the indexer's.
    """
    directory = store.path("transfer-set", name)
    bad: list[BadRow] = []
    on_bad_row = bad.append if request.skip_bad_rows else refuse_bad_rows
    task = read_task(request.task, columns=request.columns, on_bad_row=on_bad_row)
    index = (opener or open_index)(store, request.index) if request.index is not None else None
    plan = _resolve(store, task, index, request)
    with drafting(directory, plan.plan, restart=restart) as draft:
        if draft.finished is None:
            attachments = _keep_errors(draft, bad)
            made = _gather(draft, plan, work or Work(), progress)
            write_examples(
                draft,
                plan.utterances,
                made.hits,
                made.selection,
                made.retrieval,
                retriever=plan.retriever,
                progress=progress,
            )
            facts = facts_of_set(draft, made.candidates, plan.measured, made.selection)
            draft.finish(counts=_counts(plan, made), facts=facts | _size_facts(plan, made), attachments=attachments)
    return open_transfer_set(store, name)


@dataclass(frozen=True)
class _Resolved:
    """A request with its defaults filled in and its names looked up."""

    request: TransferSetRequest
    policy: SelectionPolicy
    retriever: Retriever
    index: SearchIndex | None
    utterances: pa.Table
    left_out: Mapping[str, int]  # utterances of the split that are not in the set, by reason
    classes: npt.NDArray[np.int64] | None  # of every utterance, where the policy asks
    heldout_texts: Sequence[str]
    plan: Plan

    @property
    def queries(self) -> list[str]:
        return queries_of(self.utterances)

    @property
    def measured(self) -> Utterances:
        words = [len(query.split()) for query in self.queries]
        return Utterances(np.array(words, np.int32), np.full(len(words), self.request.include_utterance), self.classes)

    @property
    def wanted(self) -> int | None:
        """How many generic texts `size_of` asks for."""
        return self.policy.budget_generic if self.request.size_of is not None else None

    @property
    def deepens(self) -> bool:
        """Whether more of the same can be drawn to reach a size."""
        return self.wanted is not None and self.retriever in ("random", "augmented")


@dataclass(frozen=True)
class _Gathered:
    """All hits, what is known of them, and which of them stay."""

    k: int
    hits: pa.Table
    candidates: Candidates
    selection: Selection
    retrieval: Retrieval | None


def _resolve(store: Store, task: Task, index: SearchIndex | None, request: TransferSetRequest) -> _Resolved:
    planned = plan_transfer_set(store, facts_of(task), index, request)
    check_encoder(index, planned.policy)
    heldout = [task.split(split) for split in planned.heldout_splits]
    utterances, left_out = _choose_utterances(task, request, planned.target, heldout)
    texts = [text for rows in heldout for text in texts_of(rows)]
    classes = _classes_of(task, utterances, planned.target) if planned.policy.per_class else None
    return _Resolved(
        request, planned.policy, planned.retriever, index, utterances, left_out, classes, texts, planned.plan
    )


def _choose_utterances(
    task: Task, request: TransferSetRequest, target: Target | None, heldout: Sequence[pa.Table]
) -> tuple[pa.Table, dict[str, int]]:
    """The utterances of the set: the split's, `shots` a class, without those that are held out word for word.

    Shots first, as distill draws them for training: the same seed must give the same utterances in both.
    """
    rows = task.split(request.split)
    chosen = rows
    if request.shots is not None:
        assert target is not None
        chosen = few_shot(rows, target, request.shots, seed=request.seed)
    leaked = equal_examples(chosen, heldout)
    kept = chosen.filter(pa.array(~leaked))
    if not kept.num_rows:
        raise BadInput(
            f"Split {request.split!r} of task {task.name} has no utterance left: expected some that are neither "
            f"without a label nor held out, found {rows.num_rows} rows, {int(leaked.sum())} of them held out"
        )
    return kept, {"shots": rows.num_rows - chosen.num_rows, "heldout_exact": int(leaked.sum())}


def _classes_of(task: Task, utterances: pa.Table, target: Target | None) -> npt.NDArray[np.int64]:
    """The class of every utterance as a number; BadInput when some have none."""
    assert target is not None
    labels = utterances[target].combine_chunks()
    if labels.null_count:
        raise BadInput(
            f"policy.per_class is even over the classes of {target}: expected one for every utterance of task "
            f"{task.name}, found {labels.null_count:,} of {len(labels):,} without; name another --target, label them, "
            "or leave per_class out"
        )
    return labels.dictionary_encode().indices.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _gather(draft: Draft, plan: _Resolved, work: Work, progress: Progress) -> _Gathered:
    """Search, judge and select; where a size is to be reached and more can be drawn, again with a larger k."""
    judgement = _judgement(plan)
    k = plan.request.k
    if plan.deepens and plan.wanted:
        k = max(k, math.ceil(plan.wanted / plan.utterances.num_rows))
    while True:
        made = _gather_k(draft, plan, judgement, k, work, progress)
        found = int(made.selection.kept_hits.sum())
        if not found and not made.selection.kept_utterances.any():
            reasons = ", ".join(f"{reason} {rows}" for reason, rows in count(made.selection.hits).dropped.items())
            raise BadInput(
                "The policy leaves no text at all: expected at least one, found all dropped "
                f"(neighbours: {reasons or 'none found'}); widen its bands, share or budget"
            )
        deeper = _deeper(plan, k, found)
        if deeper == k:
            return made
        k = deeper


def _gather_k(draft: Draft, plan: _Resolved, judgement: Judgement, k: int, work: Work, progress: Progress) -> _Gathered:
    retrieval = _retrieval(plan, k)
    if retrieval is None:
        hits = HITS.empty_table()
        candidates = unjudged(hits, plan.retriever)
    else:
        hits, candidates = _find(draft, plan, retrieval, judgement, f"k{k}", work, progress)
    if retrieval is not None and plan.policy.diversity is not None:
        keep = k * plan.request.rounds
        spread_hits(draft, retrieval, candidates, plan.policy, keep=keep, label=f"k{k}", work=work, progress=progress)
    selection = select(plan.policy, candidates, plan.measured, seed=plan.request.seed)
    return _Gathered(k, hits, candidates, selection, retrieval)


def _find(
    draft: Draft,
    plan: _Resolved,
    retrieval: Retrieval,
    judgement: Judgement,
    label: str,
    work: Work,
    progress: Progress,
) -> tuple[pa.Table, Candidates]:
    """The hits of every round, and what is known of them."""
    utterances = plan.utterances.num_rows
    hits = find_hits(draft, retrieval, utterances, label=label, work=work, progress=progress)
    candidates = unjudged(hits, plan.retriever)
    judge_hits(draft, retrieval, candidates, judgement, label=label, work=work, progress=progress)
    for number in range(1, plan.request.rounds):
        assert isinstance(retrieval, Retrieved), "the plan refuses rounds of other retrievers"
        of_round, first = f"{label}-round{number}", number * retrieval.k
        asking = choose_asking(plan.policy, candidates, plan.request.askers, nearest=first - retrieval.k)
        more = find_again(draft, retrieval, asking, utterances, first, label=of_round, work=work, progress=progress)
        others = unjudged(more, plan.retriever)
        judge_hits(draft, retrieval, others, judgement, label=of_round, work=work, progress=progress)
        hits, candidates = join(hits, more, candidates, others)
    return hits, candidates


def _deeper(plan: _Resolved, k: int, found: int) -> int:
    """The next k to try; the same when enough was found or no more can be."""
    if not plan.deepens or plan.wanted is None or found >= plan.wanted:
        return k
    most = K_FOR_SIZE
    if plan.retriever == "random" and plan.index is not None:
        most = min(most, plan.index.rows)
    guess = math.ceil(1.02 * k * plan.wanted / max(found, 1))
    return max(k, min(most, max(k + 1, min(guess, 4 * k + 4))))


def _retrieval(plan: _Resolved, k: int) -> Retrieval | None:
    """Who finds the neighbours; None when nobody does."""
    request, utterances = plan.request, plan.utterances
    if plan.retriever == "none" or k == 0:
        return None
    if plan.retriever == "augmented":
        ids, langs = utterances["id"].to_pylist(), utterances["lang"].to_pylist()
        vocabulary = vocabulary_of(plan.queries)
        return Augmented(ids, plan.queries, langs, vocabulary, edited=request.edited, seed=request.seed, stride=k)
    assert plan.index is not None
    depth = min(plan.policy.depth(k), plan.index.rows)
    return Retrieved(plan.index, plan.queries, depth, plan.retriever, request.seed)


def _judgement(plan: _Resolved) -> Judgement:
    settings = plan.policy.heldout
    encoder = plan.index.encoder if plan.index is not None and settings.cosine is not None else None
    pairs = zip(plan.utterances["text"].to_pylist(), plan.utterances["text_pair"].to_pylist(), strict=True)
    texts = [(text, text_pair) if text_pair else (text,) for text, text_pair in pairs]
    # A variant is near its utterance by construction: of variants only equal ones go.
    near = None if plan.retriever == "augmented" else plan.policy.near_utterance
    return Judgement(plan.policy, hold_out(plan.heldout_texts, settings, encoder), texts, near)


def _counts(plan: _Resolved, made: _Gathered) -> dict[str, Count]:
    return {
        "utterances": count(made.selection.utterances, plan.left_out),
        "neighbours": count(made.selection.hits),
    }


def _size_facts(plan: _Resolved, made: _Gathered) -> dict[str, Json]:
    """The retriever, how deep it went and, where a size was asked for, by how many texts the set is smaller.

    Where there were several rounds, `rounds` has the neighbours of each.
    """
    facts: dict[str, Json] = {"retriever": plan.retriever, "k": made.k if made.retrieval else 0}
    if plan.request.rounds > 1 and isinstance(made.retrieval, Retrieved):
        found = made.candidates.rank[made.selection.kept_hits] // made.retrieval.k
        facts["rounds"] = np.bincount(found, minlength=plan.request.rounds).tolist()
    if plan.wanted is not None:
        facts["generic_wanted"] = plan.wanted
        facts["generic_short"] = plan.wanted - int(made.selection.kept_hits.sum())
    return facts


def _keep_errors(draft: Draft, bad: Sequence[BadRow]) -> list[str]:
    """Leave the rows that could not be read beside the shards, outside the id: they name files of this machine."""
    if not bad:
        return []
    if draft.receipt("errors") is None:
        lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in bad)
        draft.partial(ERRORS).write_text(lines, encoding="utf-8")
        draft.keep("errors", {ERRORS: len(bad)})
    return [ERRORS]


def open_index(store: Store, name: str) -> SearchIndex:
    """The indexer's index; its libraries are loaded with the first one."""
    from indexer import index

    opened: SearchIndex = index.open_index(store, name)
    return opened
