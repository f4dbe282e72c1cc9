"""A browser and a server for the console's tests; without Chromium or Playwright they are skipped, with a sentence."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from contract.manifest import Json
from contract.progress import Progress
from contract.store import Store
from jobs.builder import Made
from service.api import create_app
from service.build import made_of
from service.orders import resolve
from service.settings import Settings
from service.transfer_set import build_transfer_set
from tests.service.console.gallery import GalleryIndex, make_index, reports, task_lines
from tests.service.house import folder_of, settings_in, until

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e '.[dev]'")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SCREENSHOTS = Path(__file__).parents[3] / "docs" / "screenshots"
TALLEST_PICTURE = 1250  # pixels, so that each file stays below 150 kB
HOSTILE = '<img src=x onerror="document.title=1"> <script>document.title=2</script> \u202eback\u202c {{7*7}} " &amp; '
LONG = "w" * 300


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed, so that the console was not looked at: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class House:
    """A service with a server of its own, whose jobs go on when the test says so."""

    url: str
    settings: Settings
    may_go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path, *, index: GalleryIndex | None = None, **given: Any) -> Iterator[House]:
    """A real server on a free port of 127.0.0.1; its builder waits in the midst until it may go on."""
    settings = settings_in(folder, **given)
    may_go_on = threading.Event()
    may_go_on.set()
    known = index or GalleryIndex([f"{HOSTILE}zebra", f"zebra {LONG} zebra"])

    def opener(_store: Store, _name: str) -> GalleryIndex:
        return known

    def build(asked: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Made:
        until(lambda: progress("searching", 5, 12) or may_go_on.is_set(), seconds=60)
        found = resolve(folder_of(asked), request)
        return made_of(build_transfer_set(asked.store, name, found, progress=progress, restart=restart, opener=opener))

    app = create_app(settings, opener=opener, builders={"transfer-set": build})
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started)
        yield House(f"http://127.0.0.1:{listener.getsockname()[1]}/", settings, may_go_on)
    finally:
        may_go_on.set()
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[House]:
    """A service with an index, a task and a worker: of workers there is one a process."""
    with furnished(tmp_path_factory.mktemp("gallery")) as house:
        yield house


@contextmanager
def furnished(folder: Path, **given: Any) -> Iterator[House]:
    settings = settings_in(folder)
    make_index(settings.store, len(GalleryIndex().texts))
    settings.tasks_folder.mkdir(parents=True, exist_ok=True)
    (settings.tasks_folder / "home.jsonl").write_bytes(task_lines())
    with serving(folder, **given) as house:
        yield house


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, house: House) -> Iterator[Open]:
    """Opens a page of the console; what the browser complained of by its end fails the test."""
    contexts, complaints = [], []

    def open_one(
        path: str = "", *, at: House = house, width: int = 1200, expect: tuple[str, ...] = (), **given: Any
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 850}, **given)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if is_complaint(said, expect) else None)
        page.route("**/v1/runs**", fake_runs)
        page.goto(at.url + path)
        page.wait_for_selector("h1")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints


def is_complaint(said: Any, expect: tuple[str, ...]) -> bool:
    """Whether a line of the browser's console is an error nobody expects."""
    return said.type == "error" and not any(part in said.text for part in expect)


RUNS = reports()


def fake_runs(route: Any) -> None:
    """Answers as /v1/runs does, with the gallery's reports."""
    parts = route.request.url.split("/v1/runs")[1].partition("?")[0].strip("/").split("/")
    if parts == [""]:
        items = [{"name": name, "fault": None, "params": {}, "facts": {}} for name in RUNS]
        route.fulfill(json={"items": items, "next_page_token": None})
    elif parts[0] not in RUNS:
        route.fulfill(status=404, json={"detail": f"There is no run {parts[0]}", "status": 404})
    elif parts[-1] == "model":
        route.fulfill(body=b"PK\5\6" + bytes(18), content_type="application/zip")
    else:
        route.fulfill(json=RUNS[parts[0]])


def picture(page: Any, name: str, *, of: str = "body") -> None:
    """Keep what is seen, from the top of a part on, where TRANSFERSET_SCREENSHOTS asks for it."""
    if os.environ.get("TRANSFERSET_SCREENSHOTS"):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.evaluate("document.activeElement.blur(); window.scrollTo({top: 0, behavior: 'instant'})")
        part = page.locator(of).bounding_box()
        seen = part | {"height": min(part["height"], TALLEST_PICTURE)}
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", full_page=True, clip=seen)


def too_wide(page: Any) -> int:
    """By how many pixels the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
