"""Claims about the store: a name is a folder below its root and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.draft import drafting
from contract.errors import BadInput
from contract.manifest import Kind
from contract.store import FOLDERS, Store, check_name, default_store, exact_name, split_version
from tests.contract.making import PLAN, make_artifact

ROOT = Path("/srv/artifacts")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc",
        "..",
        ".",
        "",
        "/etc",
        "a/b",
        "a\\b",
        ".hidden",
        "-rf",
        "a\0b",
        "a\n",
        "name ",
        "é",
        "x" * 101,
        "~",
        "*",
    ],
)
def test_a_name_that_is_no_plain_name_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot name a corpus: expected at most 100 letters.*names are not paths"):
        Store(ROOT).path("corpus", name)


@given(st.text(max_size=120), st.sampled_from(sorted(FOLDERS)))
def test_whatever_the_name_the_path_stays_below_the_root(name: str, kind: Kind) -> None:
    try:
        path = Store(ROOT).path(kind, name)
    except BadInput:
        return
    assert path.parent == ROOT / FOLDERS[kind]
    assert path.resolve().is_relative_to(ROOT)
    assert path.name == name


@pytest.mark.parametrize("name", ["en", "en-2.1_x", "0", "x" * 100])
def test_a_plain_name_is_kept(name: str) -> None:
    assert check_name("corpus", name) == name


def test_a_long_name_is_cut_in_the_sentence() -> None:
    with pytest.raises(BadInput) as caught:
        check_name("run", "/" * 10_000)
    assert len(caught.value.message) < 300


def test_every_kind_has_a_folder_of_its_own() -> None:
    assert len(set(FOLDERS.values())) == len(FOLDERS)


def test_only_finished_artifacts_have_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.names("corpus") == []
    make_artifact(store.path("corpus", "b"))
    make_artifact(store.path("corpus", "a"))
    with drafting(store.path("corpus", "half"), PLAN):
        assert store.names("corpus") == ["a", "b"]
    assert store.names("index") == []


def test_the_environment_says_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFERSET_ARTIFACTS", raising=False)
    assert default_store().root == Path("artifacts")
    monkeypatch.setenv("TRANSFERSET_ARTIFACTS", str(ROOT))
    assert default_store().root == ROOT


def test_a_plain_name_opens_the_newest_finished_version_and_a_numbered_one_that_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for version in (1, 2, 10):
        make_artifact(store.path("corpus", "en", version))
    with drafting(store.path("corpus", "en", 11), PLAN):
        pass  # begun, not finished
    make_artifact(store.path("corpus", "en-gb", 3))
    assert store.versions("corpus", "en") == [1, 2, 10]
    assert store.find("corpus", "en").name == "en@10"
    assert store.find("corpus", "en@1").name == "en"
    assert store.find("corpus", "en@2").name == "en@2"
    assert store.names("corpus") == ["en", "en-gb"]
    assert store.find("corpus", "en-gb").name == "en-gb@3"


def test_a_version_is_found_after_the_first_one_was_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make_artifact(store.path("corpus", "en", 2))
    assert store.find("corpus", "en").name == "en@2"


def test_where_there_is_nothing_the_first_version_is_looked_for(tmp_path: Path) -> None:
    assert Store(tmp_path).find("corpus", "en") == Store(tmp_path).path("corpus", "en")


@given(st.text(max_size=120), st.sampled_from(sorted(FOLDERS)))
def test_whatever_is_asked_for_what_is_found_stays_below_the_root(name: str, kind: Kind) -> None:
    try:
        path = Store(ROOT).find(kind, name)
    except BadInput:
        return
    assert path.parent == ROOT / FOLDERS[kind]


@pytest.mark.parametrize("name", ["en@0", "en@", "en@-1", "@2", "en@2@3", "en@1e3", "en@00", "../en@2", "e@9999999999"])
def test_a_version_that_is_no_number_from_one_on_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Store(ROOT).find("index", name)


def test_the_exact_name_of_a_directory_finds_it_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for version in (1, 2):
        directory = store.path("index", "a", version)
        assert store.find("index", exact_name(directory)) == directory
    assert split_version("a@2") == ("a", 2)
    assert split_version("a") == ("a", None)
