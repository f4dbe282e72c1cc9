"""Removal: by exact name, never what an index needs, never what is being built; killed on the way, it is gone."""

import json
import shutil
from pathlib import Path

import pytest

from contract.draft import Plan, drafting, locked
from contract.errors import BadInput, Busy, InUse, NotFound
from contract.manifest import Kind, read_manifest
from contract.removal import MADE_FROM, remove_artifact
from contract.store import FOLDERS, Store
from tests.contract.making import make_artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def make(store: Store, name: str, version: int = 1) -> Path:
    return make_artifact(store.path("corpus", name, version)).directory


def make_index(store: Store, name: str, corpus: str) -> Path:
    directory = store.path("index", name)
    with drafting(directory, Plan("index", 1, {"name": name})) as draft:
        draft.partial(MADE_FROM).write_text(json.dumps({"corpus": corpus}))
        draft.keep("made-from", {MADE_FROM: 1})
        draft.finish(attachments=[MADE_FROM])
    return directory


def test_what_is_removed_is_gone_and_its_name_is_free(store: Store) -> None:
    directory = make(store, "c")
    assert remove_artifact(store, "corpus", "c") == directory
    assert store.names("corpus") == []
    assert [path.name for path in directory.parent.iterdir()] == [".c.lock"]
    make(store, "c")


def test_a_bare_name_with_several_versions_is_refused_with_their_list(store: Store) -> None:
    for version in (1, 2, 3):
        make(store, "c", version)
    make(store, "c.other")
    with pytest.raises(BadInput, match="3 versions, expected one of c@1, c@2, c@3"):
        remove_artifact(store, "corpus", "c")
    remove_artifact(store, "corpus", "c@2")
    assert store.versions("corpus", "c") == [1, 3]
    remove_artifact(store, "corpus", "c@1")
    remove_artifact(store, "corpus", "c")
    assert store.names("corpus") == ["c.other"]


@pytest.mark.parametrize("name", ["c", "c@1", "c@2"])
def test_what_is_not_there_is_a_sentence(store: Store, name: str) -> None:
    make(store, "d")
    with pytest.raises(NotFound, match="expected the name of one that is there: d"):
        remove_artifact(store, "corpus", name)


@pytest.mark.parametrize("name", ["../d", "", ".d", "d/..", "*", "d@0", "d@1@2"])
def test_hostile_names_remove_nothing(store: Store, name: str) -> None:
    make(store, "d")
    with pytest.raises(BadInput):
        remove_artifact(store, "corpus", name)
    assert store.names("corpus") == ["d"]


def test_what_an_index_was_made_from_stays(store: Store) -> None:
    make(store, "c")
    make(store, "c", 2)
    old, new = make_index(store, "old", "c"), make_index(store, "i", "c@2")
    for name, index in (("c@1", "old"), ("c@2", "i")):
        with pytest.raises(BadInput, match=rf"{name} is what the index {index} was made from"):
            remove_artifact(store, "corpus", name)
    remove_artifact(store, "index", "i")
    remove_artifact(store, "corpus", "c@2")
    shutil.rmtree(old)
    remove_artifact(store, "corpus", "c")
    assert not new.exists()


def test_what_a_half_built_index_is_made_from_stays(store: Store) -> None:
    artifact = make_artifact(store.path("corpus", "c"))
    with drafting(store.path("index", "i"), Plan("index", 1, {}, {"corpus": artifact.id})):
        pass
    with pytest.raises(BadInput, match="The index i is half built and needs"):
        remove_artifact(store, "corpus", "c")
    remove_artifact(store, "index", "i")
    remove_artifact(store, "corpus", "c")


def test_what_is_being_built_stays(store: Store) -> None:
    directory = make(store, "c")
    with locked(directory), pytest.raises(Busy):
        remove_artifact(store, "corpus", "c")
    assert (directory / "manifest.json").exists()


def test_one_that_was_killed_on_the_way_is_gone_and_swept_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(store, "c")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: path.exists() and (path / "manifest.json").unlink())
        remove_artifact(store, "corpus", "c")
    assert store.names("corpus") == []
    assert (directory.parent / ".c.removed").exists()
    make(store, "c")
    remove_artifact(store, "corpus", "c")
    assert not (directory.parent / ".c.removed").exists()


def test_a_damaged_artifact_can_be_removed(store: Store) -> None:
    directory = make(store, "c")
    (directory / "manifest.json").write_text("{")
    remove_artifact(store, "corpus", "c")
    assert not directory.exists()


# What was made from it


def make_from(store: Store, kind: Kind, name: str, inputs: dict[str, str], *, finish: bool = True) -> Path:
    directory = store.path(kind, name)
    with drafting(directory, Plan(kind, 1, {"name": name}, inputs)) as draft:
        if finish:
            draft.finish()
    return directory


def test_a_transfer_set_stays_while_a_run_was_made_from_it_unless_asked(store: Store) -> None:
    made = read_manifest(make_from(store, "transfer-set", "s", {}))
    make_from(store, "run", "r", {"transfer-set": made.id})
    with pytest.raises(InUse, match="run r@1 was made from the transfer-set s@1") as raised:
        remove_artifact(store, "transfer-set", "s")
    assert raised.value.status == 409
    remove_artifact(store, "transfer-set", "s", even_if_used=True)
    assert store.names("transfer-set") == []
    remove_artifact(store, "run", "r")


def test_of_two_sets_with_one_content_one_may_go(store: Store) -> None:
    plan = Plan("transfer-set", 1, {})
    for name in ("a", "b"):
        with drafting(store.path("transfer-set", name), plan) as draft:
            made = draft.finish()
    make_from(store, "run", "r", {"transfer-set": made.id})
    remove_artifact(store, "transfer-set", "a")
    with pytest.raises(InUse):
        remove_artifact(store, "transfer-set", "b")


@pytest.mark.parametrize("even_if_used", [False, True])
def test_what_something_half_built_needs_never_goes(store: Store, even_if_used: bool) -> None:
    made = read_manifest(make_from(store, "transfer-set", "s", {}))
    make_from(store, "run", "r", {"transfer-set": made.id}, finish=False)
    with pytest.raises(InUse, match="run r is half built"):
        remove_artifact(store, "transfer-set", "s", even_if_used=even_if_used)
    remove_artifact(store, "run", "r")
    remove_artifact(store, "transfer-set", "s")


def test_the_second_of_a_kind_is_needed_as_the_first_is(store: Store) -> None:
    made = read_manifest(make_from(store, "teacher", "t", {}))
    make_from(store, "run", "r", {"teacher-1": made.id}, finish=False)
    with pytest.raises(InUse, match="run r is half built"):
        remove_artifact(store, "teacher", "t")


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_every_kind_goes_the_same_way(store: Store, kind: Kind) -> None:
    make_from(store, kind, "x", {})
    assert remove_artifact(store, kind, "x").name == "x"
    assert store.names(kind) == []
