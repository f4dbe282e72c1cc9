"""Open indexes: opened once, by whoever comes first, and no longer than they are wanted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.store import Store
from service.indexes import OpenIndexes
from service.neighbours import SearchIndex
from tests.service.fake_index import FakeIndex
from tests.service.house import make_index, until


class Opener:
    """Opens fakes, slowly when told to, and remembers which."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.wait = threading.Event()
        self.wait.set()

    def __call__(self, store: Store, name: str) -> SearchIndex:
        self.opened.append(name)
        assert name == "quick@1" or self.wait.wait(10)
        if name == "broken@1":
            raise CorruptArtifact("broken")
        if not store.find("index", name).exists():
            raise NotFound(name)
        return FakeIndex(["a passage"], name=name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for name in ("one", "two", "three", "quick"):
        make_index(store, name)
    return store


def test_an_index_is_opened_once(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    assert indexes.get("one") is indexes.get("one")
    assert opener.opened == ["one@1"]


def test_of_many_that_ask_at_once_one_opens_it(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    opener.wait.clear()
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(indexes.get, "one") for _ in range(64)]
        until(lambda: opener.opened)
        opener.wait.set()
        found = [index.result(10) for index in asked]
    assert opener.opened == ["one@1"]
    assert len({id(index) for index in found}) == 1


def test_who_waits_for_one_index_does_not_keep_others_from_theirs(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 4)
    opener.wait.clear()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(indexes.get, "one")
        assert threads.submit(indexes.get, "quick").result(10).name == "quick@1"
        assert not slow.done()
        opener.wait.set()
        assert slow.result(10).name == "one@1"


def test_the_one_asked_for_longest_ago_is_closed_first(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    for name in ("one", "two", "one", "three", "one", "two"):
        indexes.get(name)
    assert opener.opened == ["one@1", "two@1", "three@1", "two@1"]


def test_an_index_built_anew_is_opened_anew(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    before = indexes.get("one")
    manifest = store.path("index", "one") / "manifest.json"
    content = manifest.read_bytes()
    manifest.rename(manifest.with_name("old"))
    manifest.write_bytes(content)
    assert indexes.get("one") is not before


def test_an_index_that_could_not_be_opened_is_tried_again(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    for _ in range(2):
        with pytest.raises(CorruptArtifact):
            indexes.get("broken")
    assert opener.opened == ["broken@1", "broken@1"]


def test_names_that_lead_nowhere_do_not_push_out_those_that_do(store: Store) -> None:
    opener = Opener()
    indexes = OpenIndexes(store, opener, 2)
    indexes.get("one")
    for number in range(5):
        with pytest.raises(NotFound):
            indexes.get(f"none{number}")
    indexes.get("one")
    assert opener.opened.count("one@1") == 1


def test_a_name_that_is_a_path_is_refused_before_anything_is_opened(store: Store) -> None:
    opener = Opener()
    with pytest.raises(BadInput):
        OpenIndexes(store, opener, 2).get("../../etc")
    assert opener.opened == []
