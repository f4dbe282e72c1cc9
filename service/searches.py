"""Searches: those of all requests, a bounded number at a time. What waits meanwhile is searched together.

An encoder and a scorer take hardly longer for sixteen utterances than for one, so requests that come while all threads
are busy are put together, and in a crowd a free thread waits a moment for more. Who would wait too long is told to come
again before waiting, so that those inside are still answered in time. Turns go round the callers by how many utterances
each had searched: who asks much waits for itself, not the others for it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from contract.errors import TransfersetError
from jobs.problem import Refused
from jobs.tracing import Traced, carrier_now, span
from service import metrics
from service.indexes import OpenIndexes
from service.neighbours import Floats, SearchIndex, Searching, check_k, choose_retriever, neighbours_of

PAUSE = 0.2  # of the last search's seconds: in a crowd those just answered ask again, and cost little beside others
LONGEST_PAUSE = 0.02  # seconds
LONGEST = 0.25  # of the patience: how long a common search may take, else those who wait for it are late before it ends
MEMORY = 64  # utterances after which what a search was thought to cost is half forgotten


@dataclass(frozen=True)
class Ask:
    """What one request wants of an index: an answer as JSON."""

    index: str
    ids: Sequence[str]
    texts: Sequence[str]
    k: int
    retriever: Searching | None
    seed: int
    caller: str = ""  # whose turn it is when many wait: a key's fingerprint

    @property
    def kind(self) -> tuple[str, str | None, int]:
        """Requests of one kind can be searched together: of one k the first hits are those of a smaller."""
        return self.index, self.retriever, self.seed


@dataclass
class _Waiting:
    ask: Ask
    answer: asyncio.Future[bytes]
    trace: dict[str, str]
    turn: float  # utterances that were to be searched before it, had all callers asked alike
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
        self._waiting: list[_Waiting] = []  # in the order of their turns
        self._turn = 0.0  # of the request that was last taken
        self._next_turn: dict[str, float] = {}  # of each caller; those behind `_turn` are forgotten
        self._running = 0
        self._pause = 0.0  # before a thread that is free takes what comes: in a crowd others are about to come
        self._gathering: asyncio.TimerHandle | None = None
        self._cost: dict[tuple[str, str | None], float] = {}  # seconds an utterance, by index and retriever

    async def find(self, ask: Ask) -> bytes:
        """The answer to `ask`; Refused with 429 when it would wait too long."""
        self.check_room(ask.caller)
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future(), carrier_now(), self._turn_of(ask))
        insort(self._waiting, waiting, key=_by_turn)
        metrics.WAITING.set(len(self._waiting))
        if self._running < self._threads and not self._gathering:
            self._gathering = asyncio.get_running_loop().call_later(self._pause, self._fill)
        return await waiting.answer

    def check_room(self, caller: str = "") -> None:
        """Refused with 429 when so much waits that one more would wait too long; cheap, to be asked before all else.

        A caller none of whose requests waits is let in beyond the limit, up to twice: its turn comes soon.
        """
        if self._running < self._threads:
            return
        room = 1 if any(waiting.ask.caller == caller for waiting in self._waiting) or not self._waiting else 2
        wait = sum(self._cost.get(w.ask.kind[:2], 0.0) * len(w.ask.texts) for w in self._waiting) / self._threads
        if len(self._waiting) < room * self._queue and wait <= room * self._patience:
            return
        raise self._crowd(wait)

    def run(self, work: Callable[..., None], *given: object) -> None:
        """Do some work of another kind among the searches."""
        self._pool.submit(work, *given)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _crowd(self, wait: float) -> Refused:
        metrics.REFUSED.labels("crowd").inc()
        is_full = len(self._waiting) >= self._queue
        return Refused(
            f"{len(self._waiting)} requests wait for a search now, about {wait:.1f} seconds of work; "
            "come again later, or ask less at a time",
            status=429,
            kind="busy",
            limit=self._queue if is_full else self._patience,
            found=len(self._waiting) if is_full else round(wait, 1),
            retry_after=max(1.0, wait),
        )

    def _turn_of(self, ask: Ask) -> float:
        """Start-time fair queueing (Goyal et al. 1996): callers take turns by utterances, each in its own order."""
        turn = max(self._turn, self._next_turn.get(ask.caller, 0.0))
        self._next_turn[ask.caller] = turn + len(ask.texts)
        return turn

    def _fill(self) -> None:
        """Give the threads that are free what waits."""
        self._gathering = None
        while self._waiting and self._running < self._threads:
            self._start()

    def _start(self) -> None:
        """Send the request whose turn it is, and those that go with it, to a thread."""
        batch = self._take()
        metrics.WAITING.set(len(self._waiting))
        if not batch:
            return
        self._running += 1
        task = asyncio.get_running_loop().run_in_executor(self._pool, self._search, batch)
        task.add_done_callback(lambda done: self._finish(batch, done))

    def _take(self) -> list[_Waiting]:
        """The request whose turn it is, and those that can be searched with it.

        Who waited twice as long as was foreseen at most is told to come again.
        """
        late = time.perf_counter() - 2 * self._patience
        batch: list[_Waiting] = []
        rest: list[_Waiting] = []
        texts = 0
        for waiting in self._waiting:
            if waiting.answer.done():
                continue  # who asked is gone
            fits = not batch or texts + len(waiting.ask.texts) <= self._most(batch[0].ask)
            if waiting.since < late:
                waiting.answer.set_exception(self._crowd(2 * self._patience))
            elif not fits or (batch and waiting.ask.kind != batch[0].ask.kind):
                rest.append(waiting)
            else:
                batch.append(waiting)
                texts += len(waiting.ask.texts)
        self._waiting = rest
        if batch:
            self._turn = batch[0].turn
            self._next_turn = {caller: turn for caller, turn in self._next_turn.items() if turn > self._turn}
        return batch

    def _most(self, ask: Ask) -> int:
        """Utterances searched with those of `ask` at most: fewer where others would wait too long for them."""
        cost, longest = self._cost.get(ask.kind[:2], 0.0), LONGEST * self._patience
        return self._together if cost * self._together <= longest else int(longest / cost)

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
        self._fill()

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
        self._pause = min(PAUSE * spent, LONGEST_PAUSE, self._patience / 2) if len(asks) > 1 else 0.0
        before = self._cost.get(asks[0].kind[:2], spent / texts)
        self._cost[asks[0].kind[:2]] = before + (spent / texts - before) * texts / (texts + MEMORY)
        metrics.SEARCH_SECONDS.labels(retriever).observe(spent)
        metrics.SEARCHED.labels(retriever).inc(texts)
        traced.note(**{"transferset.requests": len(asks), "transferset.utterances": texts, "retriever": retriever})
        return list(answers)


def _by_turn(waiting: _Waiting) -> float:
    return waiting.turn


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
