"""POST /v1/neighbours: utterances in, the same utterances with their neighbours out, at once."""

from __future__ import annotations

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from pydantic_core import to_json

from service.forms import Neighbours, NeighboursRequest
from service.neighbours import choose_retriever, find_neighbours
from service.problems import Refused
from service.routes.context import Here, Service
from service.settings import Settings

router = APIRouter(prefix="/v1", tags=["neighbours"])


@router.post("/neighbours", response_model=Neighbours, summary="Find the neighbours of some utterances")
async def find(here: Here, body: NeighboursRequest) -> Response:
    """The same utterances in the same order, each with the passages of the index nearest to it, best first."""
    _check_limits(here.settings, body)
    # Searches have threads of their own, so that a crowd of them leaves the other routes alone.
    content = await run_sync(_search, here, body, limiter=here.searching)
    return Response(content, media_type="application/json")


def _check_limits(settings: Settings, body: NeighboursRequest) -> None:
    _at_most(settings.max_utterances, len(body.utterances), "utterances", "utterances in a request")
    _at_most(settings.max_k, body.k, "k", "neighbours for an utterance")
    for place, utterance in enumerate(body.utterances):
        _at_most(settings.max_text_chars, len(utterance.text), f"utterances.{place}.text", "characters in an utterance")


def _at_most(limit: int, found: int, field: str, what: str) -> None:
    if found > limit:
        raise Refused(f"{field}: expected at most {limit:,} {what}, found {found:,}", field=field, limit=limit)


def _search(here: Service, body: NeighboursRequest) -> bytes:
    """Search, and write the answer as JSON: both take long enough to keep them off the event loop."""
    index = here.indexes.get(body.index)
    retriever = choose_retriever(index, body.retriever)
    found = find_neighbours(index, [utterance.text for utterance in body.utterances], body.k, retriever, seed=body.seed)
    return to_json(
        {
            "index": index.name,
            "index_id": index.artifact.id,
            "retriever": retriever,
            "k": body.k,
            "utterances": [
                {"id": str(place) if asked.id is None else asked.id, "text": asked.text, "neighbours": neighbours}
                for place, (asked, neighbours) in enumerate(zip(body.utterances, found.to_pylist(), strict=True))
            ],
        },
        inf_nan_mode="null",
    )
