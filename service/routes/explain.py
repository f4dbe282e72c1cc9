"""POST /v1/neighbours:explain: the neighbours of a few utterances, and what the selection policy would do with each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from contract.rows import BadRow
from contract.task import read_task
from jobs.problem import Refused
from service.explanation import Asked, explain
from service.forms import Name, Neighbour, Neighbours, NeighboursRequest
from service.heldout import Heldout, HeldoutSettings, hold_out, texts_of
from service.neighbours import SearchIndex, choose_retriever
from service.orders import at, at_most, check_depth
from service.plan import check_encoder, check_ranking, check_split
from service.routes.context import EVERYWHERE, Here, Service
from service.routes.neighbours import check_limits
from service.selection import SelectionPolicy
from service.strict import StrictRoute

MOST_UTTERANCES = 64
MOST_TASK_ROWS = 200_000  # read for the held-out text; a build takes any number
MOST_EMBEDDED = 1024  # held-out texts that a cosine embeds
AT_ONCE = 4  # explanations; beside them the searches of others go on

router = APIRouter(prefix="/v1", tags=["neighbours"], dependencies=EVERYWHERE, route_class=StrictRoute)
_places = threading.BoundedSemaphore(AT_ONCE)

EXAMPLES = {
    "policy": {
        "summary": "Which of the ten nearest passages would stay, of 4 to 30 words",
        "value": {"index": "web", "utterances": ["play some jazz"], "policy": {"min_words": 4, "max_words": 30}},
    },
    "task": {
        "summary": "Nothing near to what tests the task's student",
        "value": {"index": "web", "utterances": ["play some jazz", "play jazz"], "k": 5, "task": "clinc150"},
    },
}


class ExplainRequest(NeighboursRequest):
    """Utterances and an index, and what a transfer set would be selected by."""

    policy: SelectionPolicy = SelectionPolicy()
    task: Name | None = Field(None, description="a task of GET /v1/tasks, whose held-out text must not leak")
    split: str = Field("train", min_length=1, description="the split of the task that the utterances belong to")
    heldout_splits: list[str] | None = Field(None, description="default: every other split of the task; [] for none")


class ExplainedNeighbour(Neighbour):
    """A neighbour, and whether it would stand in the transfer set."""

    n_words: int
    kept: bool
    reason: str | None = Field(description="what drops it, as the counts of a transfer set call it; null when kept")
    why: str = Field(description="the same as a sentence")


class ExplainedUtterance(BaseModel):
    id: str
    text: str
    neighbours: list[ExplainedNeighbour]


class Explanation(Neighbours):
    """The neighbours, as POST /v1/neighbours gives them, each with what the policy does with it.

    With `policy.diversity` it is all the neighbours of the pool, out of which k are chosen.
    """

    heldout_texts: int = Field(description="held-out texts that were looked at")
    utterances: list[ExplainedUtterance]  # type: ignore[assignment]  # each says more


@router.post("/neighbours:explain", response_model=Explanation, summary="Find neighbours, and say which a policy keeps")
def explain_neighbours(here: Here, body: Annotated[ExplainRequest, Body(openapi_examples=EXAMPLES)]) -> Response:
    """The code that builds transfer sets judges these neighbours as if the utterances were a whole set: one use a
    passage, shares and budgets count among them. For a look at a policy before a set is ordered with it.
    """
    at_most(MOST_UTTERANCES, len(body.utterances), "utterances", "utterances to explain in a request")
    check_limits(here.settings, body)
    check_depth(here.settings.max_k, body.policy, body.k, "neighbours for an utterance")
    if body.policy.per_class:
        raise Refused(
            "policy.per_class: expected a policy that needs no classes, as these utterances have none; leave it out",
            field="policy.per_class",
        )
    with _place():
        index = here.indexes.get(body.index)
        retriever = choose_retriever(index, body.retriever)
        with at("policy.heldout.cosine"):
            check_encoder(index, body.policy)
        with at("policy.diversity"):
            check_ranking(retriever, body.policy)
        heldout = _hold_out(here, index, body)
        asked = Asked(
            ids=[str(n) if utterance.id is None else utterance.id for n, utterance in enumerate(body.utterances)],
            texts=[utterance.text for utterance in body.utterances],
            k=body.k,
            retriever=retriever,
            seed=body.seed,
            policy=body.policy,
            heldout=heldout,
        )
        explained = explain(index, asked)
    answer: dict[str, Any] = {
        "index": body.index,
        "index_id": index.artifact.id,
        "retriever": retriever,
        "k": body.k,
        "heldout_texts": len(heldout.grams),
        "utterances": [
            {"id": utterance_id, "text": text, "neighbours": neighbours}
            for utterance_id, text, neighbours in zip(asked.ids, asked.texts, explained, strict=True)
        ],
    }
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


@contextmanager
def _place() -> Iterator[None]:
    """A place among the explanations that are made now."""
    if not _places.acquire(blocking=False):
        raise Refused(
            f"{AT_ONCE} explanations are being made, as many as this service makes at a time; ask again in a second",
            status=429,
            kind="busy",
            limit=AT_ONCE,
            found=AT_ONCE + 1,
            retry_after=1,
        )
    try:
        yield
    finally:
        _places.release()


def _hold_out(here: Service, index: SearchIndex, body: ExplainRequest) -> Heldout:
    """The held-out text of the task, ready to judge by; kept ready as long as the task stays as it is."""
    settings = body.policy.heldout
    if body.task is None:
        return hold_out([], HeldoutSettings())
    with at("task"):
        facts = here.tasks.read(body.task)
        at_most(MOST_TASK_ROWS, facts.rows, "task", "rows of a task to explain with")
    others = sorted({*facts.splits} - {body.split}) if body.heldout_splits is None else sorted({*body.heldout_splits})
    for field, splits in (("split", [body.split]), ("heldout_splits", others)):
        with at(field):
            for split in splits:
                check_split(facts, split)
    columns = tuple(sorted(here.tasks.columns(body.task).items()))
    texts = _texts_once(here.tasks.path(body.task), facts.id, columns, tuple(others))
    if settings.cosine is None:
        return _ready_once(texts, settings)
    at_most(MOST_EMBEDDED, len(texts), "policy.heldout.cosine", "held-out texts to embed for an explanation")
    return hold_out(texts, settings, index.encoder)


@lru_cache(maxsize=2)
def _texts_once(
    path: Path, _task_id: str, columns: tuple[tuple[str, str], ...], splits: tuple[str, ...]
) -> tuple[str, ...]:
    task = read_task(path, columns=dict(columns), on_bad_row=_pass_over)
    return tuple(text for split in splits for text in texts_of(task.split(split)))


@lru_cache(maxsize=2)
def _ready_once(texts: Sequence[str], settings: HeldoutSettings) -> Heldout:
    return hold_out(texts, settings)


def _pass_over(_bad: BadRow) -> None:
    """Rows that cannot be used were counted when the task came."""
