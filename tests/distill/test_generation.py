"""Claims of a generation: a function of its seed and number, in the transfer set's form, with every drop counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from contract.artifact import Artifact
from contract.errors import BadInput, MissingExtra, NotFound
from contract.progress import Progress, silent
from contract.schemas import TRANSFER_SET
from contract.store import Store
from distill.augmentation import generation as module
from distill.augmentation.generation import obtain_generation
from distill.augmentation.gold import gold_of_copies
from distill.augmentation.synonyms import find_synonyms
from distill.models.device import Device
from distill.reading.gold import Gold, read_gold
from distill.reading.texts import read_texts
from distill.settings.augmentation import AugmentationConfig
from distill.settings.task import Kind
from tests.distill.kinds import make_kind, tagged
from tests.distill.tiny import make_transfer_set, neighbour, utterances
from tests.distill.translators import make_translators

CPU = Device("cpu", "float32")
SWAP = {"name": "swap", "probability": 0.3}
DELETE = {"name": "delete", "probability": 0.3}


def asked(*operations: dict[str, Any], **settings: Any) -> AugmentationConfig:
    return AugmentationConfig.model_validate({"operations": operations or (SWAP, DELETE), **settings})


class World:
    """A store with a transfer set, and its task."""

    def __init__(self, root: Path, kind: Kind = "classes", rows: list[dict[str, Any]] | None = None) -> None:
        self.store, config = make_kind(root, kind)
        self.gold: Gold = read_gold(config.task)
        self.transfer_set = make_transfer_set(self.store, "mine", rows or ROWS)

    def make(self, config: AugmentationConfig, number: int = 0, progress: Progress = silent) -> Artifact:
        return obtain_generation(self.store, config, number, self.transfer_set, self.gold, CPU, progress=progress)

    def rows(self, config: AugmentationConfig, number: int = 0) -> list[dict[str, Any]]:
        return [row for batch in self.make(config, number).batches() for row in batch.to_pylist()]

    def texts(self, config: AugmentationConfig, number: int = 0) -> list[str]:
        return read_texts(self.make(config, number)).table["text"].to_pylist()


ROWS = [
    {"utterance_id": f"train-{i}", "text": text, "intent": intent, "neighbours": [neighbour(f"some {text} today", 3)]}
    for i, (text, intent) in enumerate(utterances(60, 1))
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_a_generation_is_a_function_of_its_seed_and_number(world: World, tmp_path: Path) -> None:
    plain = world.texts(asked())
    assert plain == World(tmp_path).texts(asked())
    assert plain != world.texts(asked(), 1)
    assert plain != world.texts(asked(seed=1))
    assert len({world.make(asked(), number).id for number in range(3)}) == 3


def test_copies_differ_and_the_first_is_the_one_of_fewer(world: World) -> None:
    one, two = world.rows(asked()), world.rows(asked(copies=2))
    assert two[: len(one)] == one
    texts = Counter(row["text"] for row in two if row["include_utterance"])
    assert len(texts) > 1.5 * len({row["text"] for row in one})


def test_a_generation_has_the_form_of_a_transfer_set_and_its_neighbours_stay_where_they_were(world: World) -> None:
    assert next(iter(world.make(asked()).batches())).schema == TRANSFER_SET
    before = {row["utterance_id"]: row for row in ROWS}
    for row in world.rows(asked()):
        assert row["intent"] == before[row["utterance_id"]]["intent"]
        for found in row["neighbours"]:
            [old] = before[row["utterance_id"]]["neighbours"]
            assert {**found, "text": ""} == {**old, "text": ""}
            assert found["text"] != old["text"]


@pytest.mark.parametrize(("texts", "utterances_made", "neighbours_made"), [
    ("utterances", True, False), ("neighbours", False, True), ("both", True, True),
])  # fmt: skip
def test_those_texts_are_changed_that_are_asked_for(
    world: World, texts: str, utterances_made: bool, neighbours_made: bool
) -> None:
    rows = world.rows(asked(texts=texts))
    assert any(row["include_utterance"] for row in rows) == utterances_made
    assert any(row["neighbours"] for row in rows) == neighbours_made
    assert world.make(asked(texts=texts)).manifest.counts["texts"].rows_in == 60 * (utterances_made + neighbours_made)


def test_what_is_asked_for_is_there_or_counted(world: World) -> None:
    rare = asked({"name": "swap", "probability": 0.05})
    count = world.make(rare).manifest.counts["texts"]
    rows = world.rows(rare)
    there = sum(row["include_utterance"] + len(row["neighbours"]) for row in rows)
    assert count.rows_in == 120
    assert count.rows_out == there
    assert count.dropped["unchanged"] > 30
    assert all(row["include_utterance"] or row["neighbours"] for row in rows)


def test_a_copy_that_is_a_test_text_is_dropped_and_counted(tmp_path: Path) -> None:
    test = World(tmp_path / "one").gold.test.texts[0][0]
    words = test.split()
    swapped = " ".join([words[1], words[0], *words[2:]])
    rows = [
        {"utterance_id": "train-0", "text": swapped},
        {"utterance_id": "train-1", "text": swapped.upper()},  # case makes no other text of it
    ]
    world = World(tmp_path / "two", rows=rows)
    config = asked({"name": "swap", "probability": 0.15}, copies=60)
    count, made = world.make(config).manifest.counts["texts"], world.texts(config)
    assert count.dropped["held_out"] > 1
    assert {row.casefold() for row in made}.isdisjoint({test})
    assert any(row.isupper() for row in made)


def test_slots_go_with_their_words(tmp_path: Path) -> None:
    """Tokens, tags and text stay aligned through swaps, deletions and synonyms: a tag follows from its word here."""
    table = tmp_path / "synonyms.json"
    table.write_text(json.dumps({"please": ["kindly"], "lamp": ["bulb"]}))
    rows = [
        {"utterance_id": f"train-{i}", "text": text, "tokens": text.split(), "slots": tagged(text)}
        for i, (text, _) in enumerate(utterances(60, 1))
    ]
    world = World(tmp_path / "world", "joint", rows)
    made = world.rows(asked(SWAP, DELETE, {"name": "synonyms", "probability": 0.5, "file": str(table)}))
    assert len(made) > 50
    for row in made:
        assert row["text"].split() == row["tokens"]
        assert row["slots"] == tagged(row["text"])


def test_a_tag_whose_slot_began_elsewhere_begins_one(tmp_path: Path) -> None:
    rows = [{"utterance_id": "train-0", "text": "play new york", "tokens": ["play", "new", "york"],
             "slots": ["O", "B-city", "I-city"]}]  # fmt: skip
    made = World(tmp_path, "joint", rows).rows(asked({"name": "delete", "probability": 0.5}, copies=20))
    kinds = {(tuple(row["tokens"]), tuple(row["slots"])) for row in made}
    assert (("york",), ("B-city",)) in kinds
    assert all(tags[0][0] != "I" for _, tags in kinds)


def test_a_pair_is_changed_on_both_sides(tmp_path: Path) -> None:
    rows = [{"utterance_id": "a", "text": "lamp bulb please now", "text_pair": "song band the my",
             "neighbours": [neighbour("sun rain storm wind")]}]  # fmt: skip
    made = World(tmp_path, rows=rows).rows(asked({"name": "swap", "probability": 0.5}, copies=10))
    assert {row["text"] for row in made} > {"lamp bulb please now"} or len({row["text"] for row in made}) > 3
    assert len({row["text_pair"] for row in made}) > 3
    assert len({found["text"] for row in made for found in row["neighbours"]}) > 3


def test_gold_goes_with_the_copies_of_training_rows_alone(tmp_path: Path) -> None:
    world = World(tmp_path, "joint", [
        {"utterance_id": name, "text": text, "tokens": text.split(), "slots": tagged(text)}
        for name, text in [("train-0", utterances(1, 1)[0][0]), ("stranger", "lamp bulb please now")]
    ])  # fmt: skip
    made = world.make(asked(copies=5))
    gold = gold_of_copies(world.gold, made)
    assert set(gold.train.table["id"].to_pylist()) == {"train-0"}
    assert gold.train.classes is not None
    assert set(gold.train.classes.tolist()) == {world.gold.classes.index("lights")}
    assert gold.train.slots is not None
    for text, tags in zip(gold.train.table["text"].to_pylist(), gold.train.slots.names, strict=True):
        assert tags == tagged(text)
    assert len(gold.train.slots.tags) == len(gold.train.slots.spans.bounds)


def test_nothing_new_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, rows=[{"utterance_id": "a", "text": "stop"}])
    with pytest.raises(BadInput, match="made no new text of the 1 rows of mine"):
        world.make(asked())


def test_empty_and_odd_texts_are_no_trouble(tmp_path: Path) -> None:
    rows = [{"utterance_id": "a", "text": " ", "neighbours": [neighbour("?!"), neighbour("\u3000界界 ก")]},
            {"utterance_id": "b", "text": "a b c d"}]  # fmt: skip
    made = World(tmp_path, rows=rows).rows(asked(copies=5))
    assert all(row["text"].strip() for row in made if row["include_utterance"])


def test_models_are_known_by_their_content_and_not_by_where_they_lie(tmp_path: Path) -> None:
    world = World(tmp_path)
    there, back = make_translators(tmp_path / "models")
    config = {"name": "back-translation", "probability": 0.5, "there": str(there), "back": str(back)}
    before = world.make(asked(config))
    (tmp_path / "models").rename(tmp_path / "moved")
    moved = {**config, "there": str(tmp_path / "moved" / "there"), "back": str(tmp_path / "moved" / "back")}
    assert world.make(asked(moved)).directory == before.directory
    assert str(tmp_path) not in json.dumps(before.manifest.params)
    rows = [row for batch in before.batches() for row in batch.to_pylist()]
    assert rows
    assert all(row["tokens"] is None for row in rows)


def test_synonyms_are_those_of_a_file_or_a_sentence_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"Film": ["movie"]}')
    assert list(find_synonyms(str(tmp_path / "good.json"))("film")) == ["movie"]
    for content in ('["film"]', '{"film": "movie"}', "{", "", '{"film": [1]}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(BadInput, match=r"is no file of synonyms .*expected JSON as"):
            find_synonyms(str(tmp_path / "bad.json"))
    with pytest.raises(NotFound, match="There is no file of synonyms"):
        find_synonyms(str(tmp_path / "none.json"))


def test_wordnet_is_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(NotFound, match="There is no WordNet on this machine, and none is fetched"):
        find_synonyms("wordnet")


def test_without_nltk_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(MissingExtra, match=r"transferset\[wordnet\]"):
        find_synonyms("wordnet")


class Stopped(Exception):
    """Somebody pulled the plug."""


def test_a_generation_that_was_stopped_goes_on_at_its_next_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_ROWS", 7)
    whole, broken = World(tmp_path / "whole").make(asked(copies=3)), World(tmp_path / "broken")
    calls: list[int] = []

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "augmenting":
            calls.append(done)
            if len(calls) in (4, 15):
                raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            broken.make(asked(copies=3), progress=stop)
    assert broken.make(asked(copies=3)).id == whole.id


@pytest.mark.slow
def test_a_generation_that_was_killed_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    run = [sys.executable, "-m", "tests.distill.killed_generations", str(tmp_path)]
    said = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert said["lives"] > 1
    monkeypatch.setattr(module, "SHARD_ROWS", 7)
    shutil.rmtree(world.store.root / "augmentations")
    assert said["id"] == world.make(asked(copies=3)).id


def test_the_store_knows_it_by_its_content(world: World) -> None:
    made = world.make(asked())
    assert made.directory.parent == world.store.root / "augmentations"
    assert world.make(asked()).id == made.id
    assert made.verify() == []
    assert isinstance(world.store, Store)
