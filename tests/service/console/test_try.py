"""Trying utterances in a browser: what is found, what would be kept, and why not."""

from __future__ import annotations

import httpx

from tests.service.console.conftest import HOSTILE, LONG, House, Open, picture, too_wide

ASKED = "please wake me up at seven tomorrow\nhow do i order a new credit card"


def test_utterances_come_back_with_neighbours_scores_and_verdicts(open_page: Open, house: House) -> None:
    page = open_page()
    page.get_by_label("Utterances").fill(ASKED)
    page.get_by_label("Neighbours each").fill("7")
    page.get_by_label("Held-out text of").select_option("home")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    asked = {
        "index": "web", "retriever": "hybrid", "k": 7, "task": "home",
        "utterances": [{"id": str(n + 1), "text": text} for n, text in enumerate(ASKED.split("\n"))],
    }  # fmt: skip
    told = httpx.post(f"{house.url}v1/neighbours:explain", json=asked).json()["utterances"]
    assert page.locator(".asked bdi").all_inner_texts() == ASKED.split("\n")
    hits = [hit for utterance in told for hit in utterance["neighbours"]]
    assert [text.strip() for text in page.locator(".passage > p:first-child").all_text_contents()] == [
        hit["text"].strip() for hit in hits
    ]
    assert page.locator(".verdict").all_inner_texts() == ["kept" if hit["kept"] else "dropped" for hit in hits]
    assert page.locator(".why").all_inner_texts() == [hit["why"] for hit in hits if not hit["kept"]]
    assert "lexical #0 (" in page.locator(".neighbours li").first.inner_text()
    kept = sum(hit["kept"] for hit in hits)
    assert f"{kept} kept" in page.locator(".summary").inner_text()
    assert f"{kept} kept" in page.locator("#said").inner_text()
    picture(page, "try")


def test_the_policy_of_the_form_is_the_one_that_judges(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Utterances").fill("play some quiet jazz")
    page.get_by_text("Selection policy").click()
    page.get_by_role("group", name="Words").get_by_label("Most").fill("8")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    assert any("the policy keeps 1 to 8" in why for why in page.locator(".why").all_inner_texts())


def test_what_is_refused_is_said_at_its_field(open_page: Open) -> None:
    page = open_page(expect=("422",))
    page.get_by_label("Utterances").fill("play some quiet jazz")
    page.get_by_text("Selection policy").click()
    page.get_by_label("Uses of a passage").evaluate("(field) => { field.min = ''; field.value = '0'; }")
    page.get_by_text("Selection policy").click()  # closed: what is wrong in it must open it
    page.get_by_role("button", name="Find neighbours").click()
    field = page.locator("input[name='policy.max_uses']")
    page.wait_for_selector("input[aria-invalid]")
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("(field) => field === document.activeElement")
    said = page.locator(f"#{field.get_attribute('id')}-fault")
    assert "greater than or equal to 1" in said.inner_text()
    assert said.get_attribute("id") in (field.get_attribute("aria-describedby") or "")
    field.fill("2")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    assert not said.is_visible()


def test_hostile_text_is_text(open_page: Open) -> None:
    page = open_page(width=360)
    page.get_by_label("Utterances").fill(f"{HOSTILE}stripes zebra\n{LONG} zebra")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    assert HOSTILE.strip() in page.locator(".neighbours").first.inner_text()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Try some utterances · Transferset"
    assert too_wide(page) <= 0


def test_the_retrievers_offered_are_those_of_the_index(open_page: Open) -> None:
    page = open_page()
    offered = page.locator("select[name=retriever] option").all_inner_texts()
    assert offered == ["hybrid", "dense", "lexical", "random"]


def test_a_service_that_went_away_is_said_in_a_sentence(open_page: Open) -> None:
    page = open_page(expect=("ERR_FAILED", "Failed to load"))
    page.route("**/v1/neighbours:explain", lambda route: route.abort())
    page.get_by_label("Utterances").fill("play some quiet jazz")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector("[role=alert]")
    assert "Is transferset serve still running" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Find neighbours").is_enabled()


def test_who_looks_elsewhere_comes_back_to_what_was_found(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Utterances").fill("play some quiet jazz")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    page.get_by_role("link", name="Tasks").click()
    page.get_by_role("heading", name="Tasks", level=1).wait_for()
    page.go_back()
    page.wait_for_selector(".neighbours")
    assert page.get_by_label("Utterances").input_value() == "play some quiet jazz"
    page.get_by_label("Utterances").fill("will it rain")
    page.get_by_role("button", name="Find neighbours").click()
    page.locator(".asked bdi", has_text="will it rain").wait_for()
