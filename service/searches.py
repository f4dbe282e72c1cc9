"""Searches: those of all requests, a bounded number at a time. What waits meanwhile is searched together.

An encoder and a scorer take hardly longer for sixteen utterances than for one, so requests that come while all threads
are busy are put together: nobody waits on purpose, and a crowd is served faster. Who would wait too long is told to
come again before waiting, so that those inside are still answered in time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from contract.errors import TransfersetError
from service import metrics
from service.indexes import OpenIndexes
from service.neighbours import Floats, SearchIndex, Searching, check_k, choose_retriever, neighbours_of
from service.problems import Refused
from service.tracing import Traced, carrier_now, span

SMOOTH = 0.2  # the newest search's share in what the next one is thought to cost


@dataclass(frozen=True)
class Ask:
    """What one request wants of an index: an answer as JSON."""

    index: str
    ids: Sequence[str]
    texts: Sequence[str]
    k: int
    retriever: Searching | None
    seed: int

    @property
    def kind(self) -> tuple[str, str | None, int]:
        """Requests of one kind can be searched together: of one k the first hits are those of a smaller."""
        return self.index, self.retriever, self.seed


@dataclass
class _Waiting:
    ask: Ask
    answer: asyncio.Future[bytes]
    trace: dict[str, str]
    since: float = field(default_factory=time.perf_counter)


class Searches:
    """All methods but `close` are for the event loop; the searches themselves run in threads of their own."""

    def __init__(self, indexes: OpenIndexes, *, threads: int, together: int, queue: int, patience: float) -> None:
        self._indexes = indexes
        self._threads = threads
        self._together = together
        self._queue = queue
        self._patience = patience
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._waiting: deque[_Waiting] = deque()
        self._running = 0
        self._cost: dict[tuple[str, str | None, int], float] = {}  # seconds an utterance, by kind

    async def find(self, ask: Ask) -> bytes:
        """The answer to `ask`; Refused with 429 when it would wait too long."""
        if self._running >= self._threads:
            self._refuse_crowd()
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future(), carrier_now())
        self._waiting.append(waiting)
        metrics.WAITING.set(len(self._waiting))
        if self._running < self._threads:
            self._start()
        return await waiting.answer

    def run(self, work: Callable[..., None], *given: object) -> None:
        """Do some work of another kind among the searches."""
        self._pool.submit(work, *given)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _refuse_crowd(self) -> None:
        wait = sum(self._cost.get(w.ask.kind, 0.0) * len(w.ask.texts) for w in self._waiting) / self._threads
        if len(self._waiting) < self._queue and wait <= self._patience:
            return
        metrics.REFUSED.labels("crowd").inc()
        raise Refused(
            f"{len(self._waiting)} requests wait for a search now, about {wait:.1f} seconds of work; "
            "come again later, or ask less at a time",
            status=429,
            kind="busy",
            limit=self._queue if len(self._waiting) >= self._queue else self._patience,
            found=len(self._waiting) if len(self._waiting) >= self._queue else round(wait, 1),
            retry_after=max(1.0, wait),
        )

    def _start(self) -> None:
        """Send the requests that waited longest, and those that go with it, to a thread."""
        batch = self._take()
        metrics.WAITING.set(len(self._waiting))
        if not batch:
            return
        self._running += 1
        task = asyncio.get_running_loop().run_in_executor(self._pool, self._search, batch)
        task.add_done_callback(lambda done: self._finish(batch, done))

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        texts, rest = 0, deque[_Waiting]()
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.answer.cancelled():
                continue
            fits = texts + len(waiting.ask.texts) <= self._together
            if batch and not (fits and waiting.ask.kind == batch[0].ask.kind):
                rest.append(waiting)
                continue
            batch.append(waiting)
            texts += len(waiting.ask.texts)
            if texts >= self._together:
                break
        self._waiting = rest + self._waiting
        return batch

    def _finish(self, batch: list[_Waiting], done: asyncio.Future[list[bytes | Exception]]) -> None:
        self._running -= 1
        error = None if done.cancelled() else done.exception()
        answers = [error or ConnectionError()] * len(batch) if done.cancelled() or error else done.result()
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, bytes):
                waiting.answer.set_result(answer)
            else:
                waiting.answer.set_exception(answer)
        while self._waiting and self._running < self._threads:
            self._start()

    def _search(self, batch: Sequence[_Waiting]) -> list[bytes | Exception]:
        """In a thread: the answers to one batch, or what went wrong with each."""
        began = time.perf_counter()
        for waiting in batch:
            metrics.WAIT_SECONDS.observe(began - waiting.since)
        metrics.TOGETHER.observe(len(batch))
        asks = [waiting.ask for waiting in batch]
        with span("search", batch[0].trace) as traced:
            try:
                return self._answer(asks, traced)
            except TransfersetError as error:
                # One that asks for too much shall not fail those it came with.
                return [error] if len(asks) == 1 else [answer for w in batch for answer in self._search([w])]
            except Exception as error:
                return [error] * len(asks)

    def _answer(self, asks: Sequence[Ask], traced: Traced) -> list[bytes | Exception]:
        index = self._indexes.get(asks[0].index)
        began = time.perf_counter()
        retriever = choose_retriever(index, asks[0].retriever)
        answers = search_together(index, asks, retriever)
        spent, texts = time.perf_counter() - began, sum(len(ask.texts) for ask in asks)
        before = self._cost.get(asks[0].kind, spent / texts)
        self._cost[asks[0].kind] = before + SMOOTH * (spent / texts - before)
        metrics.SEARCH_SECONDS.labels(retriever).observe(spent)
        metrics.SEARCHED.labels(retriever).inc(texts)
        traced.note(**{"transferset.requests": len(asks), "transferset.utterances": texts, "retriever": retriever})
        return list(answers)


@dataclass(frozen=True)
class _Part:
    """Some rows of the hits of a common search, and of them the first k."""

    rows: npt.NDArray[np.int64]
    scores: Floats
    lexical_rank: npt.NDArray[np.int32] | None
    lexical_score: Floats | None
    dense_rank: npt.NDArray[np.int32] | None
    dense_score: Floats | None


def search_together(index: SearchIndex, asks: Sequence[Ask], retriever: Searching) -> list[bytes]:
    """One search for requests of one kind -> the JSON that answers each: a `service.forms.Neighbours`."""
    k = check_k(max(ask.k for ask in asks))
    hits = index.search([text for ask in asks for text in ask.texts], min(k, index.rows), retriever, seed=asks[0].seed)
    columns = ("rows", "scores", "lexical_rank", "lexical_score", "dense_rank", "dense_score")
    answers, first = [], 0
    for ask in asks:
        last = first + len(ask.texts)
        parts: dict[str, Any] = {
            name: None if (values := getattr(hits, name)) is None else values[first:last, : ask.k] for name in columns
        }
        answers.append(_json(index, ask, retriever, neighbours_of(index, _Part(**parts), retriever).to_pylist()))
        first = last
    return answers


def _json(index: SearchIndex, ask: Ask, retriever: Searching, found: list[list[dict[str, object]]]) -> bytes:
    return to_json(
        {
            "index": ask.index,
            "index_id": index.artifact.id,
            "retriever": retriever,
            "k": ask.k,
            "utterances": [
                {"id": utterance_id, "text": text, "neighbours": neighbours}
                for utterance_id, text, neighbours in zip(ask.ids, ask.texts, found, strict=True)
            ],
        },
        inf_nan_mode="null",
    )
