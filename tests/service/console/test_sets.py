"""A transfer set in a browser: all that its report says, its rows a page at a time, its files."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.console.conftest import House, Open, expect, picture, too_wide
from tests.service.house import until


@pytest.fixture(scope="module")
def made(house: House) -> str:
    """A finished transfer set."""
    asked = {"name": "home-hybrid", "task": "home", "index": "web", "k": 20, "policy": {"max_words": 15, "max_uses": 4}}
    job = httpx.post(f"{house.url}v1/transfer-sets", json=asked).json()
    until(lambda: httpx.get(f"{house.url}v1/jobs/{job['id']}").json()["state"] == "finished", seconds=60)
    return "home-hybrid"


def test_its_page_says_what_its_report_says(open_page: Open, house: House, made: str) -> None:
    report = httpx.get(f"{house.url}v1/transfer-sets/{made}/report").json()
    page = open_page(f"#/sets/of/{made}")
    page.get_by_role("heading", name="Where it comes from").wait_for()
    tiles = page.locator(".tiles").inner_text()
    assert f"{report['texts']}" in tiles
    assert f"{100 * report['generic_share']:.1f}\u00a0%" in tiles
    shown = page.locator("svg[role=img]").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert [label.split(" of ")[0] for label in shown[:3]] == [
        "Histogram: Score", "Histogram: Lexical score (BM25)", "Histogram: Dense score (cosine)",
    ]  # fmt: skip
    for name, plot in zip(("score", "lexical_score", "dense_score"), page.locator("svg[role=img]").all(), strict=False):
        drawn = plot.locator("rect").evaluate_all("all => all.map(e => Number(e.getAttribute('height')) > 0)")
        assert drawn == [rows > 0 for rows in report["histograms"][name]["counts"]]
    amounts = page.locator(".amounts").all_inner_texts()
    assert "too short or too long" in "".join(amounts)
    assert str(report["counts"]["neighbours"]["dropped"]["length_band"]) in "".join(amounts)
    assert all(source in amounts[-1] for source in report["sources"])
    picture(page, "transfer-set")


def test_its_rows_come_a_page_at_a_time(open_page: Open, made: str) -> None:
    page = open_page(f"#/sets/of/{made}", width=360)
    examples = page.locator(".examples > li")
    examples.first.wait_for()
    assert examples.count() == 5
    page.get_by_role("button", name="Show more").click()
    expect(examples).to_have_count(10)
    page.get_by_role("button", name="Show more").click()
    expect(examples).to_have_count(12)
    assert page.get_by_role("button", name="Show more").count() == 0
    assert too_wide(page) <= 0


def test_its_shards_are_downloaded_with_and_without_a_key(open_page: Open, house: House, made: str) -> None:
    page = open_page(f"#/sets/of/{made}")
    sizes = []
    for secret in ("", "tset_of_no_use_here"):
        page.evaluate("(secret) => sessionStorage.setItem('transferset-key', secret)", secret)
        with page.expect_download() as fetched:
            page.get_by_role("button", name="Download").click()
        assert fetched.value.suggested_filename == "home-hybrid-part-00000.parquet"
        sizes.append(fetched.value.path().stat().st_size)
    shard = httpx.get(f"{house.url}v1/transfer-sets/{made}/shards").json()["items"][0]
    assert sizes == [shard["bytes"]] * 2


def test_a_set_there_is_not_is_a_sentence_and_a_way_on(open_page: Open) -> None:
    page = open_page("#/sets/of/none", expect=("404",))
    assert "There is no transfer-set" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Try again").is_visible()
    page.goto(page.url.partition("#")[0] + "#/no/such/page")
    page.get_by_role("heading", name="Nothing here").wait_for()


def test_a_long_list_is_shown_a_page_at_a_time(open_page: Open) -> None:
    names = [f"set-{n:03d}" for n in range(95)]
    asked: list[str] = []

    def listed(route: Any) -> None:
        asked.append(route.request.url)
        first = int(route.request.url.partition("page_token=")[2] or 0)
        items = [{"name": name, "fault": f"{name} is damaged"} for name in names[first : first + 30]]
        route.fulfill(json={"items": items, "next_page_token": str(first + 30) if first + 30 < len(names) else None})

    page = open_page("#/jobs")
    page.route("**/v1/transfer-sets?**", listed)
    page.get_by_role("link", name="Transfer sets").click()
    for shown in (30, 60, 90, 95):
        expect(page.locator(".cards > li")).to_have_count(shown)
        if shown < 95:
            page.get_by_role("button", name="Show more").click()
    assert len(asked) == 4
