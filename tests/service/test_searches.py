"""Searches: a crowd is answered as each of it would be alone, sooner, and in bounded time or with 429."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from contract.errors import BadInput
from jobs.problem import Refused
from service import metrics
from service.indexes import OpenIndexes
from service.neighbours import Searching, find_neighbours
from service.searches import LONGEST_PAUSE, Ask, Searches, search_together
from tests.service.fake_index import WORDS, FakeHits, FakeIndex, generic_texts
from tests.service.house import make_index, running, settings_in
from tests.service.test_api import PLAY, problem

TEXTS = generic_texts(60)


class GatedIndex(FakeIndex):
    """Searches only while its gate is open, and remembers how many utterances each search had."""

    def __init__(self, texts: Sequence[str] = TEXTS, **options: Any) -> None:
        super().__init__(texts, **options)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []

    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> FakeHits:
        self.sizes.append(len(queries))
        assert self.gate.wait(20)
        if k > 50:
            raise BadInput("this index fuses 50")
        return super().search(queries, k, retriever, seed=seed)


def ask(*texts: str, k: int = 3, retriever: Searching | None = None, seed: int = 0) -> Ask:
    return Ask("web", [str(n) for n in range(len(texts))], texts, k, retriever, seed)


def run(index: GatedIndex, tmp_path: Path, crowd: Callable[[Searches], Awaitable[None]], **options: Any) -> Searches:
    make_index(settings_in(tmp_path).store)
    indexes = OpenIndexes(settings_in(tmp_path).store, lambda _, __: index, 2)
    indexes.get("web")
    index.sizes.clear()
    given = {"threads": 1, "together": 8, "queue": 100, "patience": 60.0}

    async def within() -> Searches:
        searches = Searches(indexes, **(given | options))
        await asyncio.wait_for(crowd(searches), 30)
        searches.close()
        return searches

    return asyncio.run(within())


async def hold(searches: Searches, index: GatedIndex) -> asyncio.Task[bytes]:
    """One search that keeps its thread until the gate opens."""
    index.gate.clear()
    first = asyncio.create_task(searches.find(ask("first one")))
    while not index.sizes:
        await asyncio.sleep(0.001)
    return first


utterances = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
asks = st.lists(st.tuples(st.lists(utterances, min_size=1, max_size=4), st.integers(1, 40)), min_size=1, max_size=5)


@given(asks, st.sampled_from(["lexical", "dense", "random"]), st.integers(0, 3))
def test_searched_together_each_gets_what_it_would_get_alone(
    crowd: list[tuple[list[str], int]], retriever: Searching, seed: int
) -> None:
    index = FakeIndex(TEXTS, retrievers=("lexical", "dense"))
    given_asks = [ask(*texts, k=k, seed=seed) for texts, k in crowd]
    for (texts, k), answer in zip(crowd, search_together(index, given_asks, retriever), strict=True):
        alone = find_neighbours(index, texts, k, retriever, seed=seed).to_pylist()
        assert [u["neighbours"] for u in json.loads(answer)["utterances"]] == alone


def test_what_comes_while_others_are_searched_is_searched_in_one_go(tmp_path: Path) -> None:
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        others = [asyncio.create_task(searches.find(ask(f"play {n}", k=n + 1))) for n in range(5)]
        await asyncio.sleep(0)
        index.gate.set()
        answers = [json.loads(answer) for answer in await asyncio.gather(first, *others)]
        assert [answer["k"] for answer in answers] == [3, 1, 2, 3, 4, 5]
        assert [len(a["utterances"][0]["neighbours"]) for a in answers] == [3, 1, 2, 3, 4, 5]

    run(index, tmp_path, crowd)
    assert index.sizes == [1, 5]


def test_only_requests_of_one_kind_go_together_and_no_more_than_fit(tmp_path: Path) -> None:
    index = GatedIndex(retrievers=("lexical", "dense"))

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        wanted = [
            ask("a", "b", "c", retriever="lexical"),
            ask("d", retriever="dense"),
            ask("e", "f", "g", retriever="lexical"),
            ask("h", retriever="lexical", seed=1),
            ask("i", "j", "k", retriever="lexical"),  # the ninth utterance of its kind: eight fit
        ]
        others = [asyncio.create_task(searches.find(each)) for each in wanted]
        await asyncio.sleep(0)
        index.gate.set()
        await asyncio.gather(first, *others)

    run(index, tmp_path, crowd)
    assert index.sizes == [1, 6, 1, 1, 3]


def test_a_common_search_takes_no_more_than_a_part_of_what_others_may_wait(tmp_path: Path) -> None:
    """Three seconds an utterance, sixty of patience: five at a time, though eight would be let go together."""
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        searches._running += 1  # else the first one's end would change what a search is thought to cost
        waiting = [asyncio.create_task(searches.find(ask(f"play {n}"))) for n in range(7)]
        await asyncio.sleep(0)
        searches._cost["web", None] = 3.0
        assert [len(searches._take()) for _ in range(3)] == [5, 2, 0]
        index.gate.set()
        await first
        for task in waiting:
            task.cancel()

    run(index, tmp_path, crowd)


def test_one_that_asks_too_much_fails_alone(tmp_path: Path) -> None:
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        good, bad = asyncio.create_task(searches.find(ask("a"))), asyncio.create_task(searches.find(ask("b", k=51)))
        await asyncio.sleep(0)
        index.gate.set()
        await first
        assert len(json.loads(await good)["utterances"]) == 1
        with pytest.raises(BadInput, match="fuses 50"):
            await bad

    run(index, tmp_path, crowd)


def test_a_queue_that_is_full_is_said_before_anyone_waits(tmp_path: Path) -> None:
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        waiting = [asyncio.create_task(searches.find(ask(str(n)))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="3 requests wait") as raised:
            await searches.find(ask("one more"))
        assert (raised.value.status, raised.value.limit, raised.value.found) == (429, 3, 3)
        assert raised.value.headers["Retry-After"] == "1"
        index.gate.set()
        assert len(await asyncio.gather(first, *waiting)) == 4
        await searches.find(ask("later"))

    run(index, tmp_path, crowd, queue=3)


def test_who_would_wait_too_long_is_told_so_and_for_how_long(tmp_path: Path) -> None:
    """What a search costs is learned from those before: 0.5 seconds an utterance, and ten wait already."""
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        searches._cost["web", None] = 0.5
        waiting = [asyncio.create_task(searches.find(ask("a", "b"))) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match=r"about 5\.0 seconds") as raised:
            await searches.find(ask("c"))
        assert raised.value.headers["Retry-After"] == "5"
        index.gate.set()
        await asyncio.gather(first, *waiting)
        assert searches._cost["web", None] < 0.5, "it has learned that they are quick"

    run(index, tmp_path, crowd, patience=4.9)


def test_who_gave_up_waiting_costs_nothing(tmp_path: Path) -> None:
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        gone = asyncio.create_task(searches.find(ask("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        stays = asyncio.create_task(searches.find(ask("stays")))
        await asyncio.sleep(0)
        index.gate.set()
        await asyncio.gather(first, stays)

    run(index, tmp_path, crowd)
    assert index.sizes == [1, 1]


def test_who_waited_too_long_is_told_so_and_not_searched(tmp_path: Path) -> None:
    """What the estimate did not foresee: the search before it took longer than anyone has patience."""
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        waiting = asyncio.create_task(searches.find(ask("late")))
        await asyncio.sleep(0)
        searches._waiting[0].since -= 121
        in_time = asyncio.create_task(searches.find(ask("in time")))
        await asyncio.sleep(0)
        index.gate.set()
        with pytest.raises(Refused) as raised:
            await waiting
        assert raised.value.status == 429
        assert raised.value.headers["Retry-After"] == "120"
        await asyncio.gather(first, in_time)

    run(index, tmp_path, crowd)
    assert index.sizes == [1, 1]


def test_four_times_too_many_are_each_answered_or_told_to_come_again(tmp_path: Path) -> None:
    """Forty at once where ten may wait: ten are searched, the others hear at once, and nobody hears nothing."""
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        many = [asyncio.create_task(searches.find(ask(f"play {n}"))) for n in range(40)]
        while sum(task.done() for task in many) < 30:
            await asyncio.sleep(0)
        index.gate.set()
        answers = await asyncio.gather(first, *many, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert {answer.status for answer in refused} == {429}
        assert len(refused) == 30
        assert all(isinstance(answer, bytes | Refused) for answer in answers)

    run(index, tmp_path, crowd, queue=10)
    assert sum(index.sizes) == 11


def test_a_caller_that_floods_keeps_no_other_out_and_waits_for_itself(tmp_path: Path) -> None:
    """After one search more the other is answered, though twenty of the first's had waited before."""
    index = GatedIndex()
    order: list[str] = []

    async def noted(searches: Searches, wanted: Ask) -> None:
        await searches.find(wanted)
        order.append(wanted.caller)

    async def crowd(searches: Searches) -> None:
        first = await hold(searches, index)
        eight = ("a", "b", "c", "d", "e", "f", "g", "h")
        flood = [asyncio.create_task(noted(searches, replace(ask(*eight), caller="greedy"))) for _ in range(20)]
        await asyncio.sleep(0)
        with pytest.raises(Refused):
            searches.check_room("greedy")
        modest = asyncio.create_task(noted(searches, replace(ask("a"), caller="modest")))
        await asyncio.sleep(0)
        index.gate.set()
        await asyncio.gather(first, *flood, modest)

    run(index, tmp_path, crowd, queue=20)
    assert order.index("modest") == 1


shares = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8)), min_size=1, max_size=30)


@given(shares)
def test_callers_that_wait_get_equal_shares_to_within_one_request_each(wanted: list[tuple[str, int]]) -> None:
    """While both have requests waiting, neither is ahead by more than its largest request and the other's."""

    async def turns() -> list[tuple[str, int]]:
        searches = Searches(OpenIndexes(None, None, 1), threads=1, together=1, queue=100, patience=60)  # type: ignore[arg-type]
        searches._running = 1
        tasks = []
        for caller, size in wanted:
            tasks.append(asyncio.create_task(searches.find(replace(ask(*["x"] * size), caller=caller))))
            await asyncio.sleep(0)
        taken = []
        while searches._waiting:
            taken += [(w.ask.caller, len(w.ask.texts)) for w in searches._take()]
        for task in tasks:
            task.cancel()
        searches.close()
        return taken

    taken = asyncio.run(turns())
    assert sorted(taken) == sorted(wanted)
    had, left = Counter[str](), Counter(caller for caller, _ in wanted)
    for caller, size in taken:
        if min(left["a"], left["b"]):
            assert abs(had["a"] - had["b"]) <= 16
        had[caller] += size
        left[caller] -= 1


def test_a_crowd_that_comes_back_is_gathered_and_one_alone_never_waits(tmp_path: Path) -> None:
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        await searches.find(ask("alone"))
        assert searches._pause == 0
        index.sizes.clear()
        first = await hold(searches, index)
        others = [asyncio.create_task(searches.find(ask(f"play {n}"))) for n in range(3)]
        await asyncio.sleep(0)
        index.gate.set()
        await asyncio.gather(first, *others)
        assert 0 < searches._pause <= LONGEST_PAUSE
        searches._pause = 0.01
        again = [asyncio.create_task(searches.find(ask(f"stop {n}"))) for n in range(2)]
        await asyncio.sleep(0)
        later = asyncio.create_task(searches.find(ask("stop")))
        await asyncio.gather(*again, later)
        await searches.find(ask("alone again"))
        await searches.find(ask("alone again"))
        assert searches._pause == 0

    run(index, tmp_path, crowd)
    assert index.sizes == [1, 3, 3, 1, 1]


def test_seeds_leave_no_trace(tmp_path: Path) -> None:
    """A number of a client's choice in what a server remembers would grow it for ever."""
    index = GatedIndex()

    async def crowd(searches: Searches) -> None:
        for seed in range(20):
            await searches.find(ask("a", seed=seed, retriever="random"))
        assert len(searches._cost) == 1
        assert not searches._waiting
        assert len(searches._next_turn) <= 1

    run(index, tmp_path, crowd)


def test_a_crowd_over_http_leaves_the_probes_alone_and_is_answered_or_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.searches

    go_on, inside, real = threading.Event(), threading.Semaphore(0), service.searches.neighbours_of

    def slow(*given: Any) -> Any:
        inside.release()
        assert go_on.wait(20)
        return real(*given)

    settings = settings_in(tmp_path, workers=0, search_threads=2, search_queue=20)
    with running(settings) as client, ThreadPoolExecutor(60) as threads:
        client.post("/v1/neighbours", json=PLAY)
        monkeypatch.setattr(service.searches, "neighbours_of", slow)
        crowd = [threads.submit(client.post, "/v1/neighbours", json=PLAY) for _ in range(60)]
        assert inside.acquire(timeout=20)
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        refused = _first_done(crowd)
        problem(refused, 429, "requests wait for a search", limit=20)
        assert refused.headers["retry-after"]
        go_on.set()
        codes = [search.result(30).status_code for search in crowd]
    assert set(codes) == {200, 429}
    assert codes.count(200) >= 20


def _first_done(crowd: Sequence[Any]) -> Any:
    from concurrent.futures import FIRST_COMPLETED, wait

    done, _ = wait(crowd, 20, FIRST_COMPLETED)
    return next(iter(done)).result()


def test_a_search_is_counted_with_its_utterances(client_alone: TestClient) -> None:
    def searched() -> float:
        return metrics.REGISTRY.get_sample_value("transferset_searched_utterances_total", {"retriever": "lexical"}) or 0

    before = searched()
    client_alone.post("/v1/neighbours", json=PLAY | {"utterances": ["a", "b", "c"]})
    assert searched() == before + 3


@pytest.fixture
def client_alone(tmp_path: Path) -> Any:
    with running(settings_in(tmp_path, workers=0)) as client:
        yield client
