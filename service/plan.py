"""The plan of a transfer set: what a request will become, known from its inputs' facts before anything is searched.

It is the identity of the artifact (law 2), and tells an order that can be from one that cannot, or whose name is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract.artifact import Artifact, open_artifact
from contract.draft import Plan
from contract.errors import BadInput
from contract.manifest import Json
from contract.store import Store
from contract.task import Target
from service.examples import SHARD_TEXTS
from service.neighbours import SearchIndex, choose_retriever
from service.reader import TaskFacts
from service.request import Retriever, TransferSetRequest
from service.selection import SelectionPolicy

VERSION = 1


@dataclass(frozen=True)
class Planned:
    """A request with its defaults filled in and its names looked up."""

    target: Target | None
    heldout_splits: Sequence[str]
    retriever: Retriever
    policy: SelectionPolicy
    plan: Plan


def plan_transfer_set(store: Store, task: TaskFacts, index: SearchIndex | None, request: TransferSetRequest) -> Planned:
    """The plan; BadInput when the task or the index lacks what the request names."""
    target = choose_target(task, request)
    others = {*task.splits} - {request.split}
    heldout_splits = sorted(others if request.heldout_splits is None else {*request.heldout_splits})
    for split in (request.split, *heldout_splits):
        check_split(task, split)
    retriever = _choose_retriever(index, request)
    policy, inputs = request.policy, {"task": task.id}
    asks_index = retriever not in ("augmented", "none") or policy.heldout.cosine is not None
    if index is not None and asks_index:
        inputs["index"] = index.artifact.id
    if request.size_of is not None:
        other = open_transfer_set(store, request.size_of)
        inputs["transfer-set"] = other.id
        policy = _sized(policy, int(other.manifest.facts["neighbours"]))
    params: dict[str, Json] = {
        "task": task.name,
        "split": request.split,
        "target": target,
        "shots": request.shots,
        "seed": request.seed,
        "skip_bad_rows": request.skip_bad_rows,
        "heldout_splits": heldout_splits,
        "retriever": retriever,
        "k": 0 if retriever == "none" else request.k,
        "include_utterance": request.include_utterance,
        "policy": policy.params(request.k),
        "edited": request.edited if retriever == "augmented" else None,
        "shard_texts": SHARD_TEXTS,
        **({"rounds": request.rounds, "askers": request.askers} if request.rounds > 1 else {}),
    }
    return Planned(target, heldout_splits, retriever, policy, Plan("transfer-set", VERSION, params, inputs))


def open_transfer_set(store: Store, name: str) -> Artifact:
    """A finished transfer set."""
    return open_artifact(store.path("transfer-set", name), "transfer-set", version=VERSION)


def check_split(task: TaskFacts, split: str) -> None:
    """BadInput when a task has no rows of a split."""
    if split not in task.splits:
        raise BadInput(f"Task {task.name} has no rows of split {split!r}; it has {', '.join(task.splits) or 'no rows'}")


def check_encoder(index: SearchIndex | None, policy: SelectionPolicy) -> None:
    """BadInput when the policy compares by an encoder and there is none."""
    if policy.heldout.cosine is not None and (index is None or "dense" not in index.retrievers):
        raise BadInput(
            "policy.heldout.cosine: expected an index with an encoder, found none; "
            "name an index built with the dense retriever, or leave the cosine out"
        )


def check_ranking(retriever: Retriever, policy: SelectionPolicy, rounds: int = 1) -> None:
    """BadInput when what asks for nearest passages gets none."""
    if retriever in ("random", "augmented", "none") and (policy.diversity is not None or rounds > 1):
        setting = "rounds" if policy.diversity is None else "policy.diversity"
        raise BadInput(
            f"{setting}: expected a retriever that ranks passages (lexical, dense or hybrid), found {retriever}"
        )


def choose_target(task: TaskFacts, request: TransferSetRequest) -> Target | None:
    """The column whose classes `shots` counts and `per_class` is even over, where the request asks for either."""
    if request.shots is None and request.target is None and not request.policy.per_class:
        return None
    wanted = request.target or next(iter(task.targets), None)
    if wanted not in task.targets:
        raise BadInput(
            f"Task {task.name} has no {wanted or 'intent, label or domain'} column with values; "
            f"it has {', '.join(task.targets) or 'none to predict'}; map one with --map label=COLUMN"
        )
    return wanted


def _choose_retriever(index: SearchIndex | None, request: TransferSetRequest) -> Retriever:
    if request.retriever == "augmented" or request.retriever == "none":
        retriever: Retriever = request.retriever
    else:
        assert index is not None, "the request's validation asks for an index"
        retriever = choose_retriever(index, request.retriever)
    check_ranking(retriever, request.policy, request.rounds)
    return retriever


def _sized(policy: SelectionPolicy, neighbours: int) -> SelectionPolicy:
    """The policy with a set's number of generic texts as its budget, unless its own is smaller."""
    own = neighbours if policy.budget_generic is None else policy.budget_generic
    return policy.model_copy(update={"budget_generic": min(own, neighbours)})
