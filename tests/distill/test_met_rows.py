"""The met rows of an embedding: learning on them alone changes no weight, wherever it stops and whoever looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from contract.progress import Progress, silent
from contract.store import Store
from distill.config import RunConfig
from distill.models.device import Device
from distill.models.states import Said, Speaker
from distill.objectives.objective import Objective
from distill.pipeline import run_distillation
from distill.reading.examples import Examples
from distill.reading.joined import JoinedTokens
from distill.reading.tokens import Batch, Tokens
from distill.training.checkpoint import Standing
from distill.training.early_stopping import Judge, Patience
from distill.training.loop import Recipe, train
from distill.training.met_rows import MetRows, met_rows
from distill.training.mixup import MixedTokens, Mixup, mixing
from tests.distill.test_training import (  # fmt: skip
    CPU,
    RECIPE,
    Bag,
    Killed,
    bag,
    checkpoint_at,
    killed_at,
    some_examples,
    with_helpers,
)
from tests.distill.together import apart, learnt, train_together

WORDS = 50


def learn(
    model: Bag,
    path: Path,
    recipe: Recipe = RECIPE,
    *,
    compact: bool = True,
    some: Examples | None = None,
    interval: float = 1e9,
    speak: Callable[[Bag], Speaker] = lambda model: model,
    progress: Progress = silent,
    **given: Any,
) -> Standing:
    some = some or some_examples()
    objective = given.pop("objective", Objective(0.0, 1.0))
    order, checkpoint = recipe.order(some.tokens.lengths), checkpoint_at(path, interval)

    def go(met: MetRows | None) -> Standing:
        said = speak(model)
        return train("bag", model, said, some, order, objective, recipe, checkpoint, device=CPU, progress=progress, met=met, **given)  # fmt: skip # noqa: E501

    if not compact:
        return go(None)
    with met_rows(model, some.tokens.met(), CPU) as met:
        assert met is not None
        return go(met)


def same(one: nn.Module, other: nn.Module) -> bool:
    """All weights, to the last bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, accumulate=3), replace(RECIPE, weight_decay=0.0)])
def test_all_rows_are_to_the_last_bit_those_of_the_whole_table(tmp_path: Path, recipe: Recipe) -> None:
    whole, compact, fresh = bag(), bag(), bag()
    learn(whole, tmp_path / "whole", recipe, compact=False)
    learn(compact, tmp_path / "compact", recipe)
    assert same(whole, compact)
    met = some_examples().tokens.met()
    rest = np.setdiff1d(np.arange(WORDS), met)
    began, ended = fresh.words.weight.detach(), compact.words.weight.detach()
    assert not torch.equal(began[met], ended[met])
    assert torch.equal(began[rest], ended[rest]) == (recipe.weight_decay == 0)
    assert torch.allclose(ended[rest], began[rest], rtol=0.1), "rows that are not met decay, and no more"


def test_the_optimizer_goes_over_the_met_rows_alone(tmp_path: Path) -> None:
    model, seen = bag(), []
    learn(model, tmp_path / "c", progress=lambda *_: seen.append(model.words.weight.shape[0]))
    assert set(seen) == {len(some_examples().tokens.met())}
    assert model.words.weight.shape == (WORDS, 8)


@pytest.mark.parametrize("first", [True, False])
def test_a_loop_that_was_killed_goes_on_with_either_table(tmp_path: Path, first: bool) -> None:
    """The checkpoint is that of the whole table: a run begun without met rows goes on with them, and the other way."""
    whole = bag()
    learn(whole, tmp_path / "whole", compact=False)
    for stop, compact in ((5, first), (11, not first), (17, first)):
        with pytest.raises(Killed):
            learn(bag(), tmp_path / "c", compact=compact, interval=0, progress=killed_at(stop))
    broken = bag()
    learn(broken, tmp_path / "c", compact=first)
    assert same(whole, broken)


def test_a_checkpoint_holds_the_same_numbers(tmp_path: Path) -> None:
    for compact in (True, False):
        with pytest.raises(Killed):
            learn(bag(), tmp_path / str(compact), compact=compact, interval=0, progress=killed_at(9))
    one, other = load_file(tmp_path / "True"), load_file(tmp_path / "False")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_table_is_put_back_when_learning_fails(tmp_path: Path) -> None:
    model = bag()
    weight = model.words.weight
    with pytest.raises(Killed):
        learn(model, tmp_path / "c", progress=killed_at(7))
    assert model.words.weight is weight
    assert "forward" not in vars(model.words)
    assert model.words.padding_idx == 0
    reference = bag()
    with pytest.raises(Killed):
        learn(reference, tmp_path / "whole", compact=False, progress=killed_at(7))
    assert same(model, reference)


def every_token() -> Batch:
    ids = torch.arange(WORDS).view(5, 10)
    return Batch(ids, torch.ones_like(ids), None)


def test_on_the_way_every_token_has_its_row(tmp_path: Path) -> None:
    """Judges and onlookers show the model texts with other tokens than those it learns from."""

    def looks(compact: bool) -> list[list[float]]:
        model, seen = bag(), []

        def judge() -> float:
            model.eval()
            with torch.inference_mode():
                logits = model(every_token()).logits
            assert logits is not None
            seen.append(logits.flatten().tolist())
            return -float(len(seen))

        patient = replace(RECIPE, patience=Patience(9, 3))
        learn(model, tmp_path / str(compact), patient, compact=compact, judge=judge)
        return seen

    assert looks(True) == looks(False)


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_early_stopping_puts_the_best_weights_back_even_after_a_kill(tmp_path: Path, stop: int) -> None:
    def judge_of(model: Bag) -> Judge:
        return lambda: -abs(float(model.state_dict()["words.weight"].abs().sum()) - 312.0)

    recipe = replace(RECIPE, patience=Patience(2, 3))
    whole = bag()
    expected = learn(whole, tmp_path / "whole", recipe, compact=False, judge=judge_of(whole))
    broken = bag()
    with pytest.raises(Killed):
        learn(broken, tmp_path / "c", recipe, interval=0, judge=judge_of(broken), progress=killed_at(stop))
    broken = bag()
    found = learn(broken, tmp_path / "c", recipe, judge=judge_of(broken))
    assert same(whole, broken)
    assert (found.best, found.update) == (expected.best, expected.update)


def test_mixed_texts_are_of_met_rows() -> None:
    some, mixup = some_examples().tokens, Mixup(1.0, append=True, seed=4)

    def gradient(model: Bag) -> Tensor:
        logits = mixing(model, model.words)(MixedTokens(some, mixup).batch(np.arange(12))).logits
        assert logits is not None
        logits.square().sum().backward()
        assert model.words.weight.grad is not None
        return model.words.weight.grad

    plain, compact = bag(0.0), bag(0.0)
    with met_rows(compact, some.met(), CPU):
        found = gradient(compact)
    assert torch.equal(found, gradient(plain)[torch.from_numpy(some.met())])


def test_helpers_and_a_live_teacher_learn_beside_it(tmp_path: Path) -> None:
    def trained(compact: bool) -> tuple[Bag, nn.Module]:
        objective, some = with_helpers()
        model = bag()
        some = replace(some, tokens=some_examples().tokens)
        learn(model, tmp_path / str(compact), compact=compact, some=some, objective=objective)
        return model, objective.helpers

    for one, other in zip(trained(True), trained(False), strict=True):
        assert same(one, other)


def test_padding_learns_nothing_wherever_its_row_lies() -> None:
    model = bag()
    model.words.padding_idx = 7
    with met_rows(model, np.array([1, 7, 9]), CPU):
        model.words(torch.tensor([[1, 7, 7, 9]])).sum().backward()
        assert model.words.weight.grad is not None
        assert model.words.weight.grad.sum(1).tolist() == [8, 0, 8]
    assert model.words.padding_idx == 7


def test_a_table_that_is_mostly_met_is_left_as_it_is() -> None:
    model = bag()
    for met in (WORDS, 38):
        with met_rows(model, np.arange(met), CPU) as rows:
            assert rows is None
            assert "forward" not in vars(model.words)
    with met_rows(model, np.arange(37), CPU) as rows:
        assert rows is not None


def test_a_table_that_others_have_too_is_left_as_it_is() -> None:
    model = bag()
    model.head = nn.Linear(8, WORDS, bias=False)
    model.head.weight = model.words.weight
    with met_rows(model, np.arange(3), CPU) as rows:
        assert rows is None


def test_a_gpu_goes_over_the_whole_table() -> None:
    with met_rows(bag(), np.arange(3), Device("cuda", "float32")) as rows:
        assert rows is None


def test_learning_from_a_token_that_was_not_met_is_an_error() -> None:
    model = bag()
    with met_rows(model, np.array([0, 3, 9]), CPU), pytest.raises(IndexError):
        model(every_token())


@given(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=37, unique=True), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_whatever_is_met_a_model_says_and_saves_the_same(met: list[int], seed: int) -> None:
    model, plain = bag(0.0).eval(), bag(0.0).eval()
    torch.manual_seed(seed)
    other = {name: torch.randn_like(tensor) for name, tensor in plain.state_dict().items()}
    with met_rows(model, np.sort(np.array(met)), CPU), torch.no_grad():
        assert same(model, plain)
        assert torch.equal(_logits(model), _logits(plain))
        model.load_state_dict(other)
        plain.load_state_dict(other)
        assert same(model, plain)
        assert torch.equal(_logits(model), _logits(plain))
    assert same(model, plain)


def _logits(model: Bag) -> Tensor:
    said: Said = model(every_token())
    assert said.logits is not None
    return said.logits


def tokens(flat: list[int], pad: int = 0) -> Tokens:
    return Tokens(np.array(flat, np.int32), np.array([0, len(flat)]), np.array([len(flat)], np.int32), pad, False)


def test_what_is_met_are_the_tokens_of_all_texts_and_the_padding() -> None:
    assert tokens([9, 4, 4]).met().tolist() == [0, 4, 9]
    assert tokens([2, 4], pad=6).met().tolist() == [2, 4, 6]
    both = JoinedTokens.of([tokens([9, 4]), tokens([5])])
    assert both.met().tolist() == [0, 4, 5, 9]
    assert MixedTokens(both, Mixup(1.0, append=False, seed=0)).met().tolist() == [0, 4, 5, 9]


def test_a_run_is_the_same_either_way(world: tuple[Store, RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    """Distilled and finetuned, through checkpoints and tests: the same file of weights, hence the same id."""
    store, config = world
    made = []
    for name, most in (("whole", 0.0), ("compact", 1.0)):
        monkeypatch.setattr("distill.training.met_rows.MOST", most)
        run = run_distillation(store, name, config)
        made.append((run.id, (run.directory / "student" / "model.safetensors").read_bytes()))
    assert made[0] == made[1]


@pytest.mark.slow
def test_processes_agree_on_the_met_rows(tmp_path: Path) -> None:
    alone = bag(0.0)
    learn(alone, tmp_path / "alone")
    assert train_together(tmp_path, 2, met=True) == [0, 0]
    found = learnt(tmp_path)
    assert apart(found, learnt(tmp_path, 1)) == 0
    assert apart({f"model.{name}": t for name, t in alone.state_dict().items()}, found) < 1e-4
