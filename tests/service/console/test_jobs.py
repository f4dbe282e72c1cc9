"""Jobs in a browser: ordered by a form, watched while they go on, cancelled, and left with what was built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.console.conftest import House, Open, picture, too_wide

EMPTY = {"name": "empty", "task": "home", "index": "web", "include_utterance": False, "policy": {"min_words": 900}}


@pytest.fixture
def held(house: House) -> Iterator[House]:
    """The service, with its builder waiting in the midst of each job until it may go on."""
    house.may_go_on.clear()
    yield house
    house.may_go_on.set()


def card(page: Any, name: str) -> Any:
    return page.locator("li.job").filter(has=page.get_by_role("heading", name=name, exact=True))


def order(page: Any, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Neighbours each").fill("5")
    page.get_by_role("button", name="Order it").click()
    page.wait_for_selector("li.job")


def test_a_set_is_ordered_watched_and_looked_into(open_page: Open, held: House) -> None:
    page = open_page("#/sets")
    page.get_by_role("link", name="Order a transfer set").click()
    order(page, "first")
    job = card(page, "first")
    job.locator("progress[value]").wait_for()
    assert (job.locator("progress").evaluate("(bar) => [bar.value, bar.max]")) == [5, 12]
    assert "searching 5 of 12" in job.inner_text()
    assert job.locator(".state").inner_text() == "running"
    held.may_go_on.set()
    job.locator(".state[data-state=finished]").wait_for()
    assert page.locator("#said").inner_text() == "first is finished."
    assert re.search(r"ordered [\d:]+ · begun [\d:]+ · finished [\d:]+, after", job.inner_text())
    assert not job.locator("progress").is_visible()
    job.get_by_role("link", name="first").click()
    page.get_by_role("heading", name="Sources").wait_for()
    assert page.locator("h1").inner_text() == "first"


def test_a_job_is_cancelled_where_it_stands(open_page: Open, held: House) -> None:
    page = open_page("#/sets/new")
    order(page, "unwanted")
    job = card(page, "unwanted")
    job.locator("progress[value]").wait_for()
    job.get_by_role("button", name="Cancel").click()
    job.locator(".state[data-state=cancelled]").wait_for()
    assert not job.get_by_role("button", name="Cancel").is_visible()


@pytest.mark.slow  # it waits as long as the page does between two looks
def test_without_streams_polling_shows_the_same(open_page: Open, held: House) -> None:
    page = open_page("#/sets/new", expect=("429",))
    page.route("**/events", lambda route: route.fulfill(status=429, json={"detail": "busy", "status": 429}))
    order(page, "polled")
    job = card(page, "polled")
    job.locator("progress[value]").wait_for()
    held.may_go_on.set()
    job.locator(".state[data-state=finished]").wait_for()


def test_a_job_that_failed_says_why(open_page: Open, house: House) -> None:
    assert httpx.post(f"{house.url}v1/transfer-sets", json=EMPTY).status_code == 202
    page = open_page("#/jobs")
    job = card(page, "empty")
    job.locator(".state[data-state=failed]").wait_for()
    assert "The policy leaves no text at all" in job.locator(".problem").inner_text()
    picture(page, "jobs")
    job.get_by_text("The order").click()
    assert '"min_words": 900' in job.locator("pre").inner_text()


@pytest.mark.slow  # as above
def test_a_service_that_went_away_is_said_and_asked_again(open_page: Open) -> None:
    page = open_page("#/jobs", expect=("Failed to load",))
    page.route("**/v1/jobs?**", lambda route: route.abort())
    page.get_by_text("Below is what was last known").wait_for()
    page.unroute("**/v1/jobs?**")
    page.get_by_text("Below is what was last known").wait_for(state="hidden")


def test_an_order_that_is_refused_is_refused_at_its_field(open_page: Open, house: House) -> None:
    page = open_page("#/sets/new", expect=("422",))
    page.get_by_label("Name").fill("x")
    page.get_by_label("Retriever").select_option("none")
    page.get_by_text("Selection policy").click()
    page.get_by_label("Fewest").fill("9")
    page.get_by_role("group", name="Words").get_by_label("Most").fill("3")
    page.get_by_role("button", name="Order it").click()
    page.get_by_role("alert").wait_for()
    assert "expected min_words to be at most max_words" in page.get_by_role("alert").inner_text()


def test_an_order_sent_twice_is_one_job(open_page: Open, house: House) -> None:
    page = open_page("#/sets/new", expect=("Failed to load",))
    sent: list[str] = []

    def broken_once(route: Any) -> None:
        sent.append(route.request.headers["idempotency-key"])
        if len(sent) == 1:
            route.fetch()  # it arrives, and the answer is lost
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/transfer-sets", broken_once)
    page.get_by_label("Name").fill("twice")
    page.get_by_role("button", name="Order it").click()
    page.get_by_role("alert").wait_for()
    page.get_by_role("button", name="Order it").click()
    page.wait_for_selector("li.job")
    assert len(set(sent)) == 1
    assert card(page, "twice").count() == 1


def test_a_task_is_uploaded_and_its_bad_rows_are_listed(open_page: Open, house: House, tmp_path: Path) -> None:
    page = open_page("#/tasks", expect=("422",), width=360)
    file = tmp_path / "my task.jsonl"
    file.write_text('{"text": "play jazz", "intent": "music"}\n{"intent": "music"}\n')
    page.get_by_label("File", exact=True).set_input_files(file)
    assert page.get_by_label("Name").input_value() == "my-task"
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("alert").wait_for()
    assert "row 2" in page.get_by_role("alert").inner_text()
    page.get_by_label("Keep the file though").check()
    page.get_by_role("button", name="Upload").click()
    found = page.locator("li.card").filter(has_text="my-task")
    found.wait_for()
    found.get_by_text("1 row cannot be used").click()
    found.get_by_text("Row 2, text:").wait_for()
    assert too_wide(page) <= 0


def test_a_stream_that_breaks_is_taken_up_where_it_broke(open_page: Open) -> None:
    page = open_page("#/tasks")
    asked: list[str | None] = []

    def broken_off(route: Any) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        said = [
            ": a comment\r\n\r\nevent: state\r\nid: running\r\ndata: {}\r\n\r\n",
            'event: progress\r\nid: running.searching.5\r\ndata: {"done": 5}\r\n\r\nevent: prog',
            'event: end\r\nid: finished\r\ndata: {"state": "finished"}\r\n\r\n',
        ]
        route.fulfill(body=said[len(asked) - 1], content_type="text/event-stream")

    page.route("**/v1/jobs/broken/events", broken_off)
    heard = page.evaluate(
        """async () => {
            const {follow} = await import(new URL("console/events.js", document.baseURI));
            const heard = [];
            const hear = (name, data) => heard.push([name, data]);
            const wasFollowed = await follow("broken", hear, new AbortController().signal, {wait: async () => {}});
            return [...heard, wasFollowed];
        }"""
    )
    assert heard == [["state", {}], ["progress", {"done": 5}], ["end", {"state": "finished"}], True]
    assert asked == [None, "running", "running.searching.5"]
