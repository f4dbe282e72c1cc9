"""POST /v1/neighbours: utterances in, the same utterances with their neighbours out, at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from service.forms import Neighbours, NeighboursRequest
from service.orders import at_most
from service.routes.context import EVERYWHERE, Here
from service.searches import Ask
from service.settings import Settings
from service.strict import StrictRoute

router = APIRouter(prefix="/v1", tags=["neighbours"], dependencies=EVERYWHERE, route_class=StrictRoute)

EXAMPLES = {
    "texts": {
        "summary": "Some texts",
        "value": {"index": "web", "utterances": ["play some jazz", "wake me at seven"], "k": 5},
    },
    "ids": {
        "summary": "Utterances with ids of their own, by the lexical retriever of version 1 of the index",
        "value": {
            "index": "web@1",
            "utterances": [{"id": "train-17", "text": "play some jazz"}],
            "k": 3,
            "retriever": "lexical",
        },
    },
    "random": {
        "summary": "Passages drawn at random, the same for the same seed",
        "value": {"index": "web", "utterances": ["play some jazz"], "k": 3, "retriever": "random", "seed": 7},
    },
}


@router.post("/neighbours", response_model=Neighbours, summary="Find the neighbours of some utterances")
async def find(
    here: Here, request: Request, body: Annotated[NeighboursRequest, Body(openapi_examples=EXAMPLES)]
) -> Response:
    """The same utterances in the same order, each with the passages of the index nearest to it, best first.

    Requests that come while others are searched are searched together. When more wait than can be answered soon, the
    answer is 429 with `Retry-After`.
    """
    check_limits(here.settings, body)
    ask = Ask(
        index=body.index,
        ids=[str(n) if utterance.id is None else utterance.id for n, utterance in enumerate(body.utterances)],
        texts=[utterance.text for utterance in body.utterances],
        k=body.k,
        retriever=body.retriever,
        seed=body.seed,
        caller=request.scope.get("key", ""),
    )
    return Response(await here.searches.find(ask), media_type="application/json")


def check_limits(settings: Settings, body: NeighboursRequest) -> None:
    """Refuse more utterances, neighbours or characters than the service takes in a request."""
    at_most(settings.max_utterances, len(body.utterances), "utterances", "utterances in a request")
    at_most(settings.max_k, body.k, "k", "neighbours for an utterance")
    for n, utterance in enumerate(body.utterances):
        field = f"utterances.{n}.text"
        at_most(settings.max_text_chars, len(utterance.text), field, "characters in an utterance", row=n)
