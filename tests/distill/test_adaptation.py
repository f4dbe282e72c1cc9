"""Teachers adapted to the domain first: on which texts, that it goes on after a kill, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact
from contract.manifest import MANIFEST
from contract.progress import Progress, silent
from contract.store import Store
from distill.config import RunConfig, make_config
from distill.models.device import Device
from distill.models.masked import Masking, guessing, load_masked_lm
from distill.models.states import Said
from distill.pipeline import run_distillation
from distill.reading.examples import Examples
from distill.reading.gold import read_gold
from distill.reading.source import Targets
from distill.reading.texts import open_transfer_set
from distill.reading.tokens import tokenize
from distill.reporting.outcome import read_report
from distill.settings.teacher import AdaptConfig
from distill.teachers.adaptation import ToldTokens, unlabelled_texts
from distill.teachers.teacher import obtain_teacher, open_teacher
from distill.tuning.run_toml import to_toml
from tests.distill.many_lives import told_after_kills
from tests.distill.masked_lms import make_masked_lm, make_tokenizer
from tests.distill.test_intermediate_runs import changed
from tests.distill.tiny import config_of, make_encoder, make_transfer_set, make_world, utterances, write_task

CPU = Device("cpu", "float32")
ADAPT = {"updates": 150, "learning_rate": 3e-3, "batch_size": 16}


def made_world(root: Path, **sections: Any) -> tuple[Store, RunConfig]:
    """The tiny world with a masked language model as teacher, adapted, and few updates of the rest."""
    root.mkdir(exist_ok=True)
    store, config = make_world(root)
    masked = make_masked_lm(root / "masked")
    short = changed(config, distill={"updates": 8}, finetune={"updates": 2}, precision="float32")
    return store, changed(changed(short, teacher={"model": str(masked), "updates": 20, "adapt": ADAPT}), **sections)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    return made_world(tmp_path_factory.mktemp("adapted"))


def obtained(store: Store, config: RunConfig, progress: Progress = silent) -> Artifact:
    """The first teacher of a run."""
    gold, adapt = read_gold(config.task), config.teacher.adapt
    texts = None
    if adapt is not None:
        name = config.transfer_set.name if config.transfer_set else None
        texts = unlabelled_texts(adapt, config.task, gold, open_transfer_set(store, name) if name else None)
    return obtain_teacher(store, config.teacher.members[0], gold, CPU, progress=progress, unlabelled=texts)


def telling_loss(directory: Path, texts: list[str]) -> float:
    """How badly a masked language model tells the hidden tokens of texts."""
    loaded = load_masked_lm(directory, CPU)
    assert loaded is not None
    model, tokenizer = loaded[0].eval(), make_tokenizer()
    examples = Examples(tokenize(tokenizer, texts, [None] * len(texts), max_length=32))
    torch.manual_seed(99)
    with torch.no_grad():
        said = guessing(lambda _: Said(None), model, Masking.of(tokenizer))(
            examples.tokens.batch(np.arange(len(texts)))
        )
        return ToldTokens()(said, Said(None), Targets()).item()


def test_an_adapted_teacher_tells_hidden_words_of_texts_it_never_saw(
    world: tuple[Store, RunConfig],
) -> None:
    store, config = world
    base = Path(config.teacher.model)
    adapted = obtained(store, changed(config, teacher={"updates": 0}, objective={"soft_weight": 0, "mlm_weight": 1}))
    unseen = [text for text, _ in utterances(60, 77)]
    before, after = telling_loss(base, unseen), telling_loss(adapted.directory / "encoder", unseen)
    assert after < before - 0.25, "a random model does not even know which words are frequent"


def test_its_curve_and_its_texts_are_in_the_report(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    report = read_report(run_distillation(store, "told", config).directory)
    adapted = report.teacher.adapted
    assert adapted is not None
    assert (adapted.texts, adapted.held_out, adapted.updates, adapted.head) == (80, 0, 150, "found")
    assert adapted.curve[-1].update == 150
    assert adapted.curve[-1].loss < adapted.curve[0].loss - 0.3
    page = (store.path("run", "told") / "report.html").read_text()
    assert "adapted on 80 texts in 150 updates" in page
    assert "Adapting the teacher, 150 updates" in page
    assert make_config(report.settings) == config


def test_a_head_is_made_where_the_model_has_none(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    store, config = world
    plain = changed(config, teacher={"model": str(make_masked_lm(tmp_path / "plain", with_head=False))})
    teacher = open_teacher(obtained(store, plain), CPU)
    facts = json.loads(teacher.artifact.path("adaptation.json").read_bytes())
    assert facts["head"] == "made"
    assert teacher.masked is not None, "which it keeps"
    assert teacher.masked.encoder is teacher.model.encoder


def test_what_it_is_adapted_by_is_in_its_id(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    short = changed(config, teacher={"updates": 1, "adapt": {**ADAPT, "updates": 2}})
    others = [
        changed(short, teacher={"adapt": None}),
        *(changed(short, teacher={"adapt": {**ADAPT, "updates": 2, **other}})
          for other in ({"learning_rate": 1e-4}, {"updates": 3}, {"texts": "transfer-set"}, {"texts": "train"})),
        changed(short, teacher={"seed": 1}),
    ]  # fmt: skip
    ids = [obtained(store, each).id for each in (short, *others)]
    assert len(set(ids)) == 7


def test_the_setting_left_out_leaves_no_trace(world: tuple[Store, RunConfig]) -> None:
    config = changed(world[1], teacher={"adapt": None})
    assert not {"adapt", "beside"} & set(config.to_json()["teacher"])


# On which texts


def texts_for(config: RunConfig, store: Store, **settings: Any) -> tuple[set[str], int]:
    gold = read_gold(config.task)
    transfer_set = open_transfer_set(store, config.transfer_set.name) if config.transfer_set else None
    found = unlabelled_texts(AdaptConfig(**settings), config.task, gold, transfer_set)
    return {text for text, _ in found.texts}, found.held_out


def test_the_texts_are_those_it_is_asked_for(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    split, shots = {text for text, _ in utterances(80, 1)}, texts_for(config, store, texts="train")[0]
    assert texts_for(config, store, texts="split")[0] == split
    assert len(shots) == 60
    assert shots < split
    assert texts_for(config, store, texts="transfer-set")[0] == split | {f"some {text} today" for text in split}


def test_no_held_out_text_is_ever_among_them(tmp_path: Path) -> None:
    """Law 7: nothing of any split but the train ones, in whatever letters and spaces, as text or as partner."""
    test = utterances(40, 2)[3][0]
    leaks = [
        {"id": "leak-0", "text": test, "intent": "music", "split": "train"},
        {"id": "leak-1", "text": f" {test.upper().replace(' ', '  ')}", "intent": "music", "split": "train"},
        {"id": "dev-0", "text": "a rainy valid row", "intent": "music", "split": "dev"},
        {"id": "leak-2", "text": "A rainy  valid row", "intent": "music", "split": "train"},
    ]
    store = Store(tmp_path / "artifacts")
    config = config_of(
        make_encoder(tmp_path / "e"), write_task(tmp_path / "task.jsonl", extra=leaks), task={"shots": None}
    )
    rows = [{"utterance_id": row["id"], "text": row["text"]} for row in leaks] + [{"utterance_id": "x", "text": "rain"}]
    make_transfer_set(store, "near", rows)
    for texts, left in (("train", 80), ("split", 80), ("transfer-set", 1)):
        found, held_out = texts_for(config, store, texts=texts)
        assert len(found) == left
        assert held_out == (4 if texts == "transfer-set" else 3)
        assert not any("rainy" in text or " ".join(text.casefold().split()) == test for text in found)


def test_a_transfer_set_larger_than_what_is_learnt_is_drawn_from_evenly(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    found, _ = texts_for(config, store, texts="transfer-set", updates=5, batch_size=8)
    assert len(found) == 40
    everything, _ = texts_for(config, store, texts="transfer-set")
    assert found < everything
    assert any(text.startswith("some ") for text in found)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"adapt": {"texts": "the web"}}, "teacher.adapt.texts"),
        ({"adapt": {"update": 3}}, "did you mean updates"),
        ({"adapt": {"updates": 0}}, "teacher.adapt.updates"),
        ({"adapt": {"patience": 3}}, "a teacher makes all its updates"),
        ({"patience": 3}, "a teacher makes all its updates"),
    ],
)
def test_settings_that_mean_nothing_get_a_sentence(
    world: tuple[Store, RunConfig], teacher: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        changed(world[1], teacher=teacher)


def test_without_a_transfer_set_there_is_none_to_adapt_on(world: tuple[Store, RunConfig]) -> None:
    with pytest.raises(BadInput, match=r"add \[transfer_set\]"):
        changed(world[1], teacher={"adapt": {**ADAPT, "texts": "transfer-set"}}, transfer_set=None)


def test_where_all_texts_are_held_out_there_are_none(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    rows = [{"utterance_id": "x", "text": utterances(40, 2)[0][0]}]
    make_transfer_set(store, "far", rows)
    with pytest.raises(BadInput, match="1 found, all of them held out"):
        texts_for(changed(config, transfer_set={"name": "far"}), store, texts="transfer-set")


def test_a_model_that_cannot_hide_a_token_gets_a_sentence(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    store, config = world
    with pytest.raises(BadInput, match="no mask token"):
        obtained(store, changed(config, teacher={"model": str(make_encoder(tmp_path / "e"))}))


# Kills


class Killed(Exception):
    """What stands for a kill."""


def killed_in(stage: str, done: int) -> Progress:
    def listen(now: str, at: int, total: int | None) -> None:
        if (now, at) == (stage, done):
            raise Killed

    return listen


SHORT = {"updates": 8, "adapt": {**ADAPT, "updates": 12}}


@pytest.mark.parametrize(("stage", "done"), [("adapt", 1), ("adapt", 7), ("adapt", 12), ("teacher", 3), ("teacher", 8)])
def test_a_teacher_that_stops_goes_on_to_the_same_id(
    world: tuple[Store, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, done: int
) -> None:
    store, config = world[0], changed(world[1], teacher=SHORT)
    monkeypatch.setattr("distill.training.checkpoint.Checkpoint.due", lambda _: True)
    other, again = made_world(tmp_path / "again", teacher=SHORT)
    with pytest.raises(Killed):
        obtained(other, again, killed_in(stage, done))
    assert not list(other.root.glob(f"teachers/*/{MANIFEST}"))
    seen: list[tuple[str, int]] = []
    teacher = obtained(other, again, lambda now, at, _: seen.append((now, at)))
    assert teacher.id == obtained(store, config).id
    assert (stage, 1) not in seen, "what was done is not done again"


def test_weights_that_are_gone_are_not_passed_over(tmp_path: Path) -> None:
    store, config = made_world(tmp_path / "w", teacher={"adapt": {**ADAPT, "updates": 2}})
    with pytest.raises(Killed):
        obtained(store, config, killed_in("teacher", 1))
    next(store.root.glob("teachers/*/.draft/scratch/adapt.safetensors")).unlink()
    with pytest.raises(CorruptArtifact, match="weights it left are gone"):
        obtained(store, config)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    """kill -9 at any touch of the disk, a checkpoint an update."""
    short = {"teacher": {"adapt": {**ADAPT, "updates": 20}, "updates": 10}}
    store, config = made_world(tmp_path / "whole", **short)
    whole = run_distillation(store, "r1", config)
    _, again = made_world(tmp_path / "killed", **short)
    (tmp_path / "killed" / "RUN.toml").write_text(to_toml(again.to_json()))
    told = told_after_kills(tmp_path / "killed")
    assert told["id"] == whole.id
