"""The console for everyone: by keyboard alone, on a phone, in the dark, without motion, with a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.keys import KeyRing
from tests.service.console.conftest import House, Open, furnished, picture, serving, too_wide

PAGES = ["", "#/sets", "#/sets/new", "#/runs", "#/runs/new", "#/runs/of/home-retrieved-0", "#/jobs", "#/tasks"]

NAMELESS = "all => all.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)"
COMMANDS = {"#/sets": "transferset build --index", "#/jobs": "curl http://127.0.0.1:", "#/tasks": "cp "}


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_no_page_is_wider_than_a_phone_and_all_controls_have_names(open_page: Open, scheme: str) -> None:
    page = open_page(width=360, color_scheme=scheme, reduced_motion="reduce")
    for path in PAGES:
        page.goto(page.url.partition("#")[0] + (path or "#/"))
        page.wait_for_selector(f'main[data-shown="{path or "#/"}"]:not([aria-busy])')
        assert too_wide(page) <= 0, path
        assert page.locator("h1").count() == 1
        page.locator("details").evaluate_all("all => all.forEach((details) => (details.open = true))")
        assert too_wide(page) <= 0, path
        assert page.locator("input, select, textarea, button, a").evaluate_all(NAMELESS) == []
    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 0


@pytest.mark.slow  # they show no more than the others claim
@pytest.mark.parametrize(("name", "given"), [("try-dark", {"color_scheme": "dark"}), ("try-phone", {"width": 360})])
def test_pictures_of_other_screens(open_page: Open, name: str, given: dict[str, Any]) -> None:
    page = open_page(**given)
    page.get_by_label("Utterances").fill("wake me up at seven tomorrow\nset an alarm for seven")
    page.get_by_label("Neighbours each").fill("4")
    page.get_by_role("button", name="Find neighbours").click()
    page.wait_for_selector(".neighbours")
    assert too_wide(page) <= 0
    picture(page, name)


def test_the_keyboard_alone_finds_neighbours(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the content"
    assert focused.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.locator(":focus").evaluate("(e) => e.name") == "utterances"
    assert page.locator(":focus").evaluate("(e) => getComputedStyle(e).outline").endswith("solid 2px")
    page.keyboard.type("wake me up at seven")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".neighbours")
    assert "neighbours by the hybrid retriever" in page.locator("#said").inner_text()


def test_every_control_of_the_form_is_reached_in_order(open_page: Open) -> None:
    page = open_page()
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        if reached[-1] == "Find neighbours":
            break
    bar = ["Skip to the content", "Transferset", "Try", "Transfer sets", "Runs", "Jobs", "Tasks", "API key"]
    form = ["utterances", "index", "retriever", "k", "task", "Selection policy", "Find neighbours"]
    assert reached == bar + form


def test_a_new_page_begins_at_its_heading(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("navigation").get_by_role("link", name="Jobs").press("Enter")
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.title() == "Jobs · Transferset"
    assert page.locator("nav [aria-current=page]").inner_text() == "Jobs"


def test_a_key_is_asked_for_kept_in_the_tab_and_forgotten(open_page: Open, tmp_path: Path) -> None:
    _, secret = KeyRing(tmp_path / "artifacts" / "keys.json").create("ann", "admin")
    with furnished(tmp_path, workers=0) as locked:
        check_key(open_page, locked, secret)


def check_key(open_page: Open, locked: House, secret: str) -> None:
    page = open_page("#/tasks", at=locked, expect=("401",))
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert "Expected an API key" in dialog.inner_text()
    assert page.evaluate("document.activeElement.id") == "key-field"
    dialog.get_by_label("Key").fill("tset_\u2026")
    page.keyboard.press("Enter")
    dialog.get_by_text("copy it again").wait_for()
    dialog.get_by_label("Key").fill(secret)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="home", exact=True).wait_for()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.reload()
    page.get_by_role("heading", name="home", exact=True).wait_for()
    page.get_by_role("button", name="API key: set").click()
    dialog.get_by_role("button", name="Forget the key").click()
    dialog.get_by_text("Expected an API key").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    page.keyboard.press("Escape")
    assert page.get_by_role("alert").is_visible()


def test_an_empty_service_says_what_to_type(open_page: Open, tmp_path: Path) -> None:
    with serving(tmp_path, workers=0) as empty:
        page = open_page(at=empty)
        assert "transferset index build --corpus web --name web" in page.locator(".empty pre").inner_text()
        for path, command in COMMANDS.items():
            page.goto(empty.url + path)
            page.locator(".empty pre", has_text=command).wait_for()
