"""Claims about the store: a name is a folder below its root and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.draft import drafting
from contract.errors import BadInput
from contract.manifest import Kind
from contract.store import FOLDERS, Store, check_name, default_store
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
