"""The training loop: it learns, it goes on where it stood, and its short cuts change no number."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from contract.progress import Progress, silent
from distill.models.device import Device
from distill.models.states import Said, Shape, States
from distill.objectives.intermediate import Intermediate
from distill.objectives.objective import HARD, Objective, make_objective
from distill.reading.examples import Examples
from distill.reading.gold import NO_LABEL
from distill.reading.tokens import Batch, Tokens
from distill.settings.objective import ObjectiveConfig
from distill.training.batches import Schedule
from distill.training.checkpoint import Best, Checkpoint, Standing
from distill.training.early_stopping import Judge, Patience
from distill.training.loop import Recipe, _slope, train

CPU = Device("cpu", "float32")
RECIPE = Recipe(updates=24, batch_size=8, learning_rate=0.02, warmup=0.25, weight_decay=0.1, clip=1.0, seed=3)


class Bag(nn.Module):
    """The mean of word vectors with dropout, and a linear layer: the smallest classifier of texts, with two states."""

    def __init__(self, words: int = 50, width: int = 8, classes: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def forward(self, batch: Batch) -> Said:
        mask = batch.attention_mask.unsqueeze(-1).float()
        words = self.words(batch.input_ids)
        mean = (words * mask).sum(1) / mask.sum(1)
        return Said(self.head(self.dropout(mean)), States({0: words, 1: words.tanh()}, {}, batch.attention_mask))


def bag(dropout: float = 0.2) -> Bag:
    torch.manual_seed(0)
    return Bag(dropout=dropout)


def examples(soft: bool = False) -> Examples:
    """60 texts whose class is the remainder of their first word."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 9, 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = draw.integers(1, 50, offsets[-1]).astype(np.int32)
    classes = (flat[offsets[:-1]] % 3).astype(np.int64)
    logits = (5 * np.eye(3)[classes]).astype(np.float16) if soft else None
    tokens = Tokens(flat, offsets, lengths.astype(np.int32), 0, False)
    return Examples(tokens, np.full(60, NO_LABEL) if soft else classes, logits)


def some_examples() -> Examples:
    """The same, of 20 of the 50 words, spread over the table."""
    some = examples()
    return replace(some, tokens=replace(some.tokens, flat=1 + 2 * (some.tokens.flat % 20)))


class Killed(Exception):
    """What stands for a kill: it leaves the loop between two updates."""


def killed_at(update: int) -> Callable[[str, int, int | None], None]:
    def listen(stage: str, done: int, total: int | None) -> None:
        if done == update:
            raise Killed

    return listen


def checkpoint_at(path: Path, interval: float = 1e9) -> Checkpoint:
    return Checkpoint(path, itertools.count().__next__, interval)


def learn(model: Bag, path: Path, recipe: Recipe = RECIPE, **others: Any) -> Standing:
    given = {"objective": HARD, "examples": examples(), "progress": silent, "checkpoint": checkpoint_at(path)} | others
    some, objective, checkpoint = given.pop("examples"), given.pop("objective"), given.pop("checkpoint")
    order = recipe.order(some.tokens.lengths)
    return train("bag", model, model, some, order, objective, recipe, checkpoint, device=CPU, **given)


def again(model: Bag, some: Examples, objective: Objective, checkpoint: Checkpoint, progress: Progress) -> Standing:
    """The same, with a checkpoint that is there."""
    order = RECIPE.order(some.tokens.lengths)
    return train("bag", model, model, some, order, objective, RECIPE, checkpoint, device=CPU, progress=progress)


def weights(model: nn.Module) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("soft", [False, True])
def test_it_learns(tmp_path: Path, soft: bool) -> None:
    model, some = bag(0.0), examples(soft)
    recipe = Recipe(150, 20, 0.05, 0.1, 0.0, 1.0, 0)
    learn(model, tmp_path / "c", recipe, examples=some, objective=Objective(1.0, 0.0) if soft else HARD)
    predicted = model(some.tokens.batch(np.arange(60))).logits.argmax(1).numpy()
    assert (predicted == examples().classes).mean() > 0.95


@pytest.mark.parametrize("updates", [1, 7, 23])
def test_a_loop_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path, updates: int) -> None:
    """Weights to the last bit, dropout and AdamW's state included; so does one that was killed twice."""
    whole, broken = bag(), bag()
    learn(whole, tmp_path / "whole")
    for stop in (updates, min(updates + 3, 24)) if updates < 23 else (updates,):
        broken = bag()
        checkpoint = checkpoint_at(tmp_path / "broken", 0)  # a checkpoint after every update
        with pytest.raises(Killed):
            again(broken, examples(), HARD, checkpoint, killed_at(stop))
    broken = bag()
    standing = again(broken, examples(), HARD, checkpoint, silent)
    assert weights(broken) == weights(whole)
    assert [point.update for point in standing.curve] == list(range(1, 25))


def with_helpers() -> tuple[Objective, Examples]:
    """An objective that learns a critic, a baseline and projections, and a wider teacher that is asked live."""
    config = ObjectiveConfig(intermediate=("mi-alpha", "hidden-mse"), intermediate_weight=(0.5, 0.1))
    objective = make_objective(config, Shape(1, 8, 1), Shape(1, 12, 1), pooling="mean", device="cpu", seed=0)
    torch.manual_seed(1)
    teacher = Bag(width=12).eval()
    return objective, replace(examples(soft=True), teacher=torch.no_grad()(teacher))


def test_what_learns_beside_the_student_goes_on_too(tmp_path: Path) -> None:
    """Critic, baseline, projections and their AdamW state are in the checkpoint: all ends to the last bit the same."""
    (whole, some), (broken, _) = with_helpers(), with_helpers()
    student = bag()
    learn(student, tmp_path / "whole", examples=some, objective=whole)
    resumed = bag()
    for stop in (5, 16):
        checkpoint = checkpoint_at(tmp_path / "broken", 0)
        with pytest.raises(Killed):
            again(resumed, some, broken, checkpoint, killed_at(stop))
        (broken, _), resumed = with_helpers(), bag()
    learn(resumed, tmp_path / "broken", examples=some, objective=broken)
    assert weights(resumed) == weights(student)
    assert weights(broken.helpers) == weights(whole.helpers)
    fresh = weights(with_helpers()[0].helpers)
    assert all(weights(whole.helpers)[name] != fresh[name] for name in fresh), "every helper has learnt"


def test_the_student_is_read_without_what_learnt_beside_it(tmp_path: Path) -> None:
    objective, some = with_helpers()
    student, read = bag(), bag()
    learn(student, tmp_path / "c", examples=some, objective=objective)
    assert checkpoint_at(tmp_path / "c").read({"model": read}, None).update == 24
    assert weights(read) == weights(student)


class Steep(nn.Module):
    """A helper's loss that has nothing to do with the student, and a great gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.ones(()))

    def forward(self, *_: object) -> Tensor:
        return 1e6 * self.height


def test_a_steep_helper_does_not_slow_the_student(tmp_path: Path) -> None:
    steep = replace(HARD, intermediates=((1.0, Intermediate("nwj", ((1, 1),), Steep())),))
    one, other = bag(), bag()
    learn(one, tmp_path / "one", examples=replace(examples(), teacher=Bag().eval()), objective=steep)
    learn(other, tmp_path / "other")
    assert weights(one) == weights(other)


def test_the_teacher_is_asked_about_the_very_batch_and_its_logits_are_the_stored_ones() -> None:
    some = with_helpers()[1]
    rows = np.array([7, 3, 11])
    batch = some.tokens.batch(rows)
    taught = some.taught(rows, batch)
    assert taught.logits is not None
    assert some.teacher_logits is not None
    assert np.array_equal(taught.logits.numpy(), some.teacher_logits[rows].astype(np.float32))
    assert taught.states is not None
    assert taught.states.hidden[0].shape == (*batch.input_ids.shape, 12)
    assert not taught.states.hidden[0].requires_grad
    assert replace(some, teacher=None).taught(rows, batch).states is None


def test_updates_after_the_last_checkpoint_are_made_again(tmp_path: Path) -> None:
    whole, broken = bag(), bag()
    learn(whole, tmp_path / "whole")
    checkpoint = checkpoint_at(tmp_path / "broken", 5)  # due at every fifth look at the clock
    with pytest.raises(Killed):
        again(broken, examples(), HARD, checkpoint, killed_at(13))
    with safe_open(tmp_path / "broken", "pt") as file:
        assert 0 < json.loads(file.metadata()["standing"])["update"] < 13
    broken = bag()
    learn(broken, tmp_path / "broken")
    assert weights(broken) == weights(whole)


def test_a_checkpoint_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    whole, broken = bag(), bag()
    learn(whole, tmp_path / "whole")
    (tmp_path / "broken").write_bytes((tmp_path / "whole").read_bytes()[:500])
    learn(broken, tmp_path / "broken")
    assert weights(broken) == weights(whole)


def test_a_seed_is_a_training(tmp_path: Path) -> None:
    def trained(seed: int, name: str) -> dict[str, list[float]]:
        model = bag()
        learn(model, tmp_path / name, replace(RECIPE, seed=seed))
        return weights(model)

    assert trained(1, "a") == trained(1, "b") != trained(2, "c")


def test_rows_of_gradients_are_the_whole_gradient(tmp_path: Path) -> None:
    """The reference: torch's own dense gradient, AdamW and clipping, written out plainly."""
    fast, plain = bag(0.0), bag(0.0)
    learn(fast, tmp_path / "c")
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": [plain.head.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.02)
    some = examples()
    schedule = Schedule(some.tokens.lengths, 8, 3)
    for update in range(24):
        rows = schedule.rows(update)
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            plain(some.tokens.batch(rows)).logits, torch.from_numpy(some.classes[rows])
        ).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * _slope(update, RECIPE)
        optimizer.step()
    for name, expected in plain.state_dict().items():
        assert torch.allclose(fast.state_dict()[name], expected, atol=1e-6), name


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    slopes = [_slope(update, RECIPE) for update in range(24)]
    assert slopes.index(max(slopes)) == 6
    assert max(slopes) == 1.0
    assert 0 < slopes[0] < slopes[3] < 1
    assert slopes[6:] == sorted(slopes[6:], reverse=True)
    assert 0 < slopes[-1] < 0.1
    flat = replace(RECIPE, warmup=0.0)
    assert _slope(0, flat) == 1.0
    assert all(_slope(update, replace(RECIPE, warmup=1.0)) <= 1 for update in range(24))


def test_a_head_may_learn_faster(tmp_path: Path) -> None:
    def moved(head_rate: float) -> float:
        model = bag()
        before = model.head.weight.detach().clone()
        learn(model, tmp_path / str(head_rate), replace(RECIPE, head_learning_rate=head_rate))
        return float((model.head.weight.detach() - before).abs().sum())

    assert moved(0.2) > 3 * moved(0.001)


def test_no_update_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = bag()
    learn(model, tmp_path / "c", replace(RECIPE, updates=0))
    assert weights(model) == weights(bag())


def test_a_curve_has_at_most_a_hundred_points_and_the_mean_losses(tmp_path: Path) -> None:
    model = bag()
    recipe = replace(RECIPE, updates=250, learning_rate=1e-9)
    some = examples()
    order, checkpoint = recipe.order(some.tokens.lengths), checkpoint_at(tmp_path / "c")
    standing = train("bag", model, model, some, order, HARD, recipe, checkpoint, device=CPU, progress=silent)
    assert len(standing.curve) <= 100
    assert standing.curve[-1].update == 250
    assert standing.curve[0].loss == pytest.approx(standing.curve[-1].loss, abs=0.3)
    assert 0.5 < standing.curve[0].loss < 2


def scores(*found: float) -> tuple[Judge, list[float]]:
    """A judge that finds these, one look after the other, and what it has still to find."""
    left = list(found)
    return (lambda: left.pop(0)), left


PATIENT = replace(RECIPE, patience=Patience(looks=2, every=3))


def test_training_stops_after_so_many_looks_without_a_better_score_and_keeps_the_best_weights(tmp_path: Path) -> None:
    best, whole = bag(), bag()
    seen: list[dict[str, list[float]]] = []
    judge, left = scores(0.1, 0.5, 0.4, 0.5, 0.9)

    def look() -> float:
        seen.append(weights(best))
        return judge()

    standing = learn(best, tmp_path / "c", PATIENT, judge=look)
    assert (standing.update, standing.best, standing.over) == (12, Best(0.5, 6), True)
    assert left == [0.9], "after the fourth look it was over"
    assert weights(best) == seen[1], "of equal scores the earlier is kept"
    assert standing.curve[-1].update == 12
    assert not best.training
    learn(whole, tmp_path / "w", replace(RECIPE, updates=6))
    assert weights(whole) != weights(best), "the rate falls as if all updates were made"


def test_training_that_gets_better_and_better_makes_all_updates(tmp_path: Path) -> None:
    model, plain = bag(), bag()
    standing = learn(model, tmp_path / "c", PATIENT, judge=scores(*range(8))[0])
    assert (standing.update, standing.best) == (24, Best(7, 24))
    learn(plain, tmp_path / "p")
    assert weights(model) == weights(plain), "looking changes nothing"


def test_the_last_weights_are_judged_even_between_two_looks(tmp_path: Path) -> None:
    standing = learn(bag(), tmp_path / "c", replace(PATIENT, updates=10), judge=scores(1, 2, 3, 4)[0])
    assert standing.best == Best(4, 10)


@pytest.mark.parametrize("stop", [1, 4, 7, 11, 12])
def test_early_stopping_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path, stop: int) -> None:
    """The best weights are in the checkpoint; a judge that looks at the weights sees the same ones."""

    def judge_of(model: Bag) -> Judge:
        return lambda: -abs(float(model.head.weight.detach().abs().sum()) - 3.91)

    whole, broken = bag(), bag()
    expected = learn(whole, tmp_path / "whole", PATIENT, judge=judge_of(whole))
    assert expected.update < 24
    checkpoint = checkpoint_at(tmp_path / "broken", 2)
    with pytest.raises(Killed):
        learn(broken, tmp_path, PATIENT, checkpoint=checkpoint, judge=judge_of(broken), progress=killed_at(stop))
    broken = bag()
    found = learn(broken, tmp_path / "broken", PATIENT, judge=judge_of(broken))
    assert weights(broken) == weights(whole)
    assert (found.update, found.best, found.curve) == (expected.update, expected.best, expected.curve)


def sparse_gold() -> Examples:
    """Soft targets for all texts, gold labels for one in seven: a micro-batch has two of them, or none."""
    some = examples(soft=True)
    gold = examples().classes
    assert gold is not None
    return replace(some, classes=np.where(np.arange(60) % 7 == 0, gold, NO_LABEL))


@pytest.mark.parametrize("parts", [2, 5])
def test_accumulated_batches_teach_what_one_large_one_does(tmp_path: Path, parts: int) -> None:
    one, many = bag(0.0), bag(0.0)
    some, mixed = sparse_gold(), Objective(1.0, 0.7)
    whole = replace(RECIPE, batch_size=4 * parts, updates=1)
    small = replace(RECIPE, batch_size=4, accumulate=parts, updates=1)

    class Parted:
        """The large batch, cut into small ones."""

        def rows(self, number: int) -> np.ndarray:
            update, part = divmod(number, parts)
            return whole.order(some.tokens.lengths).rows(update)[part::parts]

    learn(one, tmp_path / "one", whole, examples=some, objective=mixed)
    checkpoint = checkpoint_at(tmp_path / "many")
    train("bag", many, many, some, Parted(), mixed, small, checkpoint, device=CPU, progress=silent)
    grads_apart = [float((weight - many.state_dict()[name]).abs().max()) for name, weight in one.state_dict().items()]
    assert max(grads_apart) < 1e-5


def test_accumulated_batches_are_the_next_ones_of_the_order(tmp_path: Path) -> None:
    met: list[list[int]] = []

    class Told:
        def rows(self, number: int) -> np.ndarray:
            met.append([number])
            return np.arange(4)

    recipe = replace(RECIPE, updates=3, accumulate=2)
    train("bag", bag(), bag(), examples(), Told(), HARD, recipe, checkpoint_at(tmp_path / "c"), device=CPU, progress=silent)  # fmt: skip # noqa: E501
    assert met == [[number] for number in range(6)]


def test_a_budget_of_tokens_trains_and_goes_on(tmp_path: Path) -> None:
    recipe = replace(RECIPE, tokens_per_batch=30, accumulate=2)
    whole, broken = bag(), bag()
    learn(whole, tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        learn(broken, tmp_path, recipe, checkpoint=checkpoint_at(tmp_path / "b", 0), progress=killed_at(17))
    broken = bag()
    learn(broken, tmp_path / "b", recipe)
    assert weights(broken) == weights(whole)
