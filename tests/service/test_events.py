"""Events: whoever comes, goes and comes back sees every state of a job once, and its end; polling would do as well."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from contract.progress import Progress
from jobs.job import ENDED, Counts, Job, State
from service.events import Seen, news
from tests.service.house import ended, running, settings_in, until
from tests.service.test_api import ORDER, problem


def job(state: State, stage: str | None = None, done: int | None = None, *, started: bool | None = None) -> Job:
    has_started = state != "queued" if started is None else started
    return Job(
        id="job-1",
        kind="transfer-set",
        name="a",
        state=state,
        stage=stage,
        counts=Counts(done=done, total=10),
        queued_at=1,
        started_at=2 if has_started else None,
        request={},
    )


def told(events: list[Any]) -> list[str]:
    return [json.loads(event.data).get("state", "progress") for event in events]


# A job's life: queued, perhaps begun and lost and begun again, and how far it is each time it is looked at.
lives = st.lists(
    st.sampled_from([job("queued"), job("queued", "searching", 3, started=True)])
    | st.builds(job, st.just("running"), st.sampled_from(["searching", "judging"]), st.integers(0, 10)),
    max_size=8,
)
ends = st.sampled_from([job(state, "judging", 10) for state in ("finished", "failed", "cancelled")])


@given(lives, ends, st.data())
def test_a_reader_that_comes_back_at_any_time_misses_no_present_and_sees_nothing_twice(
    life: list[Job], end: Job, data: st.DataObject
) -> None:
    seen, states, kinds = Seen(), [], []
    for now in [*life, end]:
        if data.draw(st.booleans(), label="the connection breaks"):
            seen = Seen.read(seen.id)
        events, seen = news(now, seen)
        kinds += [event.event for event in events]
        states += [state for state in told(events) if state != "progress"]
        if events:
            assert Seen.read(events[-1].id) == seen, "an id says all there is to know"
        assert seen.state == now.state
        assert news(now, seen)[0] == [], "nothing is told twice"
    assert kinds.index("end") == len(kinds) - 1
    assert all(before != after for before, after in pairwise(states)), "no state is entered twice in a row"
    assert states[-1] == end.state


def test_who_comes_late_is_told_of_every_state_there_was() -> None:
    assert told(news(job("running", "judging", 4), Seen())[0]) == ["queued", "running", "progress"]
    assert told(news(job("finished"), Seen())[0]) == ["queued", "running", "finished"]
    assert told(news(job("cancelled", started=False), Seen())[0]) == ["queued", "cancelled"]
    assert told(news(job("finished"), Seen("queued"))[0]) == ["running", "finished"]


def test_a_job_that_went_back_to_the_queue_says_so() -> None:
    assert told(news(job("queued", "judging", 4, started=True), Seen("running", "judging", 4))[0]) == ["queued"]


@given(st.text(max_size=40))
def test_an_id_of_somebody_else_is_a_reader_that_has_seen_nothing_or_one_of_ours(event_id: str) -> None:
    seen = Seen.read(event_id)
    assert seen == Seen() or Seen.read(seen.id) == seen


def read_stream(client: TestClient, job_id: str, last: str | None = None) -> list[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    answer = client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in answer.text.replace("\r\n", "\n").split("\n\n") if block and block[0] != ":"]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]  # type: ignore[misc]


def test_a_stream_over_http_ends_with_the_job_as_polling_shows_it(tmp_path: Path) -> None:
    go_on = threading.Event()

    def build(settings: Any, name: str, request: Any, progress: Progress, restart: bool) -> Any:
        progress("searching", 5, 10)
        assert go_on.wait(20)
        return until_built()

    def until_built() -> Any:
        from tests.jobs.counting import built

        return built("an-id")

    with running(settings_in(tmp_path), build) as client:
        ordered = client.post("/v1/transfer-sets", json=ORDER).json()
        until(lambda: client.get(f"/v1/jobs/{ordered['id']}").json()["counts"].get("done") == 5)
        threading.Timer(0.7, go_on.set).start()
        events = read_stream(client, ordered["id"])
        assert [event["event"] for event in events][:3] == ["state", "state", "progress"]
        assert json.loads(events[2]["data"]) == {"stage": "searching", "done": 5, "total": 10}
        assert json.loads(events[-1]["data"]) == ended(client, ordered["id"])
        assert [event["event"] for event in read_stream(client, ordered["id"], events[2]["id"])] == ["end"]
        gone = client.get(f"/v1/jobs/{ordered['id']}/events", headers={"Last-Event-ID": events[-1]["id"]})
        assert (gone.status_code, gone.content) == (204, b"")
        problem(client.get("/v1/jobs/job-0/events"), 404)


def test_only_so_many_streams_are_open_at_a_time(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, workers=0, max_streams=1)) as client:
        ordered = client.post("/v1/transfer-sets", json=ORDER).json()
        service: Any = client.app.state.service  # type: ignore[attr-defined]
        service.streams.add("another")
        refused = client.get(f"/v1/jobs/{ordered['id']}/events")
        problem(refused, 429, "1 event streams are open", limit=1)
        service.streams.clear()
        client.post(f"/v1/jobs/{ordered['id']}:cancel")
        assert [event["event"] for event in read_stream(client, ordered["id"])] == ["state", "end"]
        assert not service.streams


@pytest.mark.parametrize("state", ENDED)
def test_every_end_is_an_end(state: State) -> None:
    assert Seen.read(Seen(state).id).has_ended
