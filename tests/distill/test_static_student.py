"""The static student: a mean of embeddings, which begin as the teacher sees each token alone, and opens again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from contract.errors import BadInput
from distill.models.pretrained import parameters_of
from distill.models.states import Shape, pooled
from distill.reading.tokens import Batch, tokenize
from distill.reading.words import gather_words, split_words
from distill.settings.student import StudentConfig
from distill.students.static import StaticModel, teacher_embeddings
from distill.students.student import Joint, Student, make_student, open_student
from distill.teachers.teacher import Teacher
from tests.distill.piece_encoders import make_piece_encoder
from tests.distill.test_student import CLASSES, CPU, teacher_of

TEXTS = ["please play the song now", "rain", "lamp lamp weather [SEP] unknown"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of(make_piece_encoder(tmp_path_factory.mktemp("teacher")))


def student_of(teacher: Teacher, seed: int = 0, **settings: Any) -> Student:
    return make_student(StudentConfig(**{"from": "static", **settings}), teacher, CPU, seed=seed)


def batch_of(student: Student, texts: list[str] = TEXTS, pairs: list[str | None] | None = None) -> Batch:
    words = gather_words(split_words(text) for text in texts) if student.tags else None
    pairs = pairs or [None] * len(texts)
    return tokenize(student.tokenizer, texts, pairs, max_length=32, words=words).batch(np.arange(len(texts)))


@pytest.mark.parametrize("pairs", [None, ["play", "", "the band"]])
def test_a_text_is_the_mean_of_its_tokens_under_a_head(teacher: Teacher, pairs: list[str | None] | None) -> None:
    """The reference adds up token by token; special tokens and padding are none, an unknown one is."""
    student = student_of(teacher)
    model: Any = student.model.eval()
    batch = batch_of(student, pairs=pairs)
    said = student.forward(batch).logits
    assert said is not None
    tokenizer = student.tokenizer
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    for row, ids in enumerate(batch.input_ids.tolist()):
        tokens = [token for token in ids if token not in special]
        mean = torch.stack([model.embeddings.weight[token] for token in tokens]).mean(0)
        assert torch.allclose(said[row], model.classifier(mean), atol=1e-5)


def test_what_the_mask_leaves_out_counts_for_nothing(teacher: Teacher) -> None:
    """Whatever stands there: some tokenizers pad with a token that is a word elsewhere."""
    student = student_of(teacher)
    batch = batch_of(student, ["play some rain now"])
    mask = batch.attention_mask.clone()
    mask[0, 4:] = 0
    disturbed = torch.where(mask == 0, batch.input_ids.roll(1), batch.input_ids)
    one, other = (student.transformer(ids, mask).logits for ids in (batch.input_ids, disturbed))
    assert torch.equal(one, other)
    assert not torch.allclose(one, student.transformer(batch.input_ids, batch.attention_mask).logits)


def test_a_text_of_nothing_is_no_fault(teacher: Teacher) -> None:
    student = student_of(teacher)
    said = student.forward(batch_of(student, ["", "rain"])).logits
    assert said is not None
    assert said.isfinite().all()
    assert torch.allclose(said[0], student.model.classifier.bias)  # type: ignore[union-attr, arg-type]


def test_it_is_as_large_as_its_table(teacher: Teacher) -> None:
    student = student_of(teacher, width=8)
    pieces = len(teacher.tokenizer)
    assert parameters_of(student.model) == pieces * 8 + 9 * len(CLASSES)
    assert Shape.of(student.config) == Shape(0, 8, 0)
    assert student_of(teacher).config.hidden_size == 24, "the teacher's, being less than 256"
    fewer = student_of(teacher, width=8, vocabulary="trimmed")
    assert parameters_of(fewer.model) == len(fewer.tokenizer) * 8 + 9 * len(CLASSES)
    assert len(fewer.tokenizer) < pieces


# How its embeddings begin


def seen_alone(teacher: Teacher, token: int) -> torch.Tensor:
    """By the tokenizer and the encoder themselves, where the token is a word."""
    tokenizer = teacher.tokenizer
    ids = torch.tensor([[tokenizer.cls_token_id, token, tokenizer.sep_token_id]])
    with torch.no_grad():
        states = teacher.model.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return pooled(states, torch.ones_like(ids), teacher.model.pooling)[0]


@pytest.mark.parametrize("vocabulary", ["teacher", "trimmed"])
def test_embeddings_begin_as_the_teacher_sees_each_token_alone(teacher: Teacher, vocabulary: str) -> None:
    """Turned and scaled, so that what tells tokens apart stays: all distances are the teacher's, times one number."""
    student = student_of(teacher, vocabulary=vocabulary)
    names = student.tokenizer.convert_ids_to_tokens(range(len(student.tokenizer)))
    states = torch.stack([seen_alone(teacher, teacher.tokenizer.convert_tokens_to_ids(name)) for name in names])
    found = student.transformer.embeddings.weight.detach()
    ratio = torch.pdist(found) / torch.pdist(states)
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-3)
    assert found.square().mean().item() == pytest.approx(1, rel=1e-4)


def test_fewer_numbers_are_the_main_axes(teacher: Teacher) -> None:
    tokens = np.arange(len(teacher.tokenizer))
    whole = teacher_embeddings(teacher, tokens, width=24, device=CPU)
    few = teacher_embeddings(teacher, tokens, width=5, device=CPU)
    spread = whole.var(0)
    assert torch.all(spread[:-1] >= spread[1:] - 1e-6), "the widest first"
    ratio = few / whole[:, :5]
    assert torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-2)
    assert torch.equal(few, teacher_embeddings(teacher, tokens, width=5, device=CPU))


def test_the_batches_tokens_are_seen_in_do_not_matter(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.arange(len(teacher.tokenizer))
    whole = teacher_embeddings(teacher, tokens, width=5, device=CPU)
    monkeypatch.setattr("distill.students.static.TEXTS_A_BATCH", 7)
    assert torch.allclose(whole, teacher_embeddings(teacher, tokens, width=5, device=CPU), atol=1e-4)


def test_random_embeddings_follow_the_seed(teacher: Teacher) -> None:
    made = (student_of(teacher, seed, embeddings="random", width=40) for seed in (1, 1, 2))
    one, again, other = (student.transformer.embeddings.weight for student in made)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_more_numbers_than_the_teacher_has_are_refused(teacher: Teacher) -> None:
    with pytest.raises(BadInput, match=r'student.width is 40, .* 24 numbers at most; .*embeddings = "random"'):
        student_of(teacher, width=40)


# All kinds of tasks, saved and opened again

KINDS: dict[str, dict[str, Any]] = {
    "classes": {},
    "regression": {"classes": (), "mean": 3.5},
    "slots": {"classes": (), "tags": ("O", "B-x", "I-x")},
    "joint": {"tags": ("O", "B-x", "I-x")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_again_and_says_the_same(teacher: Teacher, tmp_path: Path, kind: str) -> None:
    student = student_of(replace(teacher, **KINDS[kind]))
    student.model.eval()
    student.tokenizer.model_max_length = 32
    student.save(tmp_path)
    opened = open_student(tmp_path)
    assert isinstance(opened.transformer, StaticModel)
    assert isinstance(opened.model, Joint) == (kind == "joint")
    assert (opened.max_length, opened.tags) == (32, student.tags)
    with torch.no_grad():
        ours, theirs = (each.forward(batch_of(each)) for each in (student, opened))
    for one, other in ((ours.logits, theirs.logits), (ours.slot_logits, theirs.slot_logits)):
        assert (one is None) == (other is None)
        # the last bit follows where in memory a file's weights are laid
        assert one is None or (other is not None and torch.allclose(one, other, atol=1e-6))
    assert opened.config.id2label == student.config.id2label
    assert (opened.config.problem_type == "regression") == (kind == "regression")
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == opened.config.vocab_size
    assert not list(tmp_path.glob("*.bin"))


def test_words_are_said_by_their_first_tokens_and_sentences_by_their_mean(teacher: Teacher) -> None:
    student = student_of(replace(teacher, **KINDS["joint"]))
    student.model.eval()
    batch = batch_of(student)
    said = student.forward(batch)
    assert batch.words is not None
    assert said.slot_logits is not None
    assert said.logits is not None
    flat = student.transformer.embeddings(batch.input_ids).flatten(0, 1)[batch.words]
    assert torch.allclose(said.slot_logits, student.transformer.classifier(flat), atol=1e-6)
    alone = student_of(teacher)
    mean = alone.transformer(**batch.inputs).hidden_states[-1][:, 0]
    assert torch.allclose(said.logits, student.model.head(mean), atol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("change", ["cut short", "no weights", "other size", "no json"])
def test_what_is_not_whole_is_refused_in_a_sentence(teacher: Teacher, tmp_path: Path, change: str) -> None:
    student_of(teacher).save(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if change == "cut short":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif change == "no weights":
        weights.unlink()
    elif change == "other size":
        config.write_text(config.read_text().replace('"hidden_size": 24', '"hidden_size": 23'))
    else:
        config.write_text("[")
    with pytest.raises(BadInput, match="cannot be loaded"):
        open_student(tmp_path)


def test_a_student_from_scratch_may_begin_with_the_teachers_tokens(teacher: Teacher) -> None:
    """Turned to its width, and spread as random ones are; all else is as with random ones."""
    of = {"from": "scratch", "layers": 1, "width": 8, "heads": 2}
    random, begun = (student_of(teacher, **of, embeddings=embeddings) for embeddings in ("random", "teacher"))
    table = begun.transformer.get_input_embeddings().weight
    tokens = np.arange(len(begun.tokenizer))
    seen = teacher_embeddings(teacher, tokens, width=8, device=CPU)
    assert torch.allclose(table / table.norm(), seen / seen.norm(), atol=1e-5)
    own = random.transformer.get_input_embeddings().weight
    assert table.square().mean().sqrt().item() == pytest.approx(own.std().item(), rel=1e-3)
    differing = [name for name, tensor in begun.model.state_dict().items() if not torch.equal(
        tensor, random.model.state_dict()[name])]  # fmt: skip
    assert differing == ["bert.embeddings.word_embeddings.weight"]


@pytest.mark.parametrize(("origin", "own"), [("static", "teacher"), ("scratch", "random")])
def test_how_an_origin_begins_by_itself_is_not_written(origin: str, own: str) -> None:
    """The ids of runs hang on it."""
    said, silent = (StudentConfig(**{"from": origin, **given}) for given in ({"embeddings": own}, {}))
    assert said.model_dump() == silent.model_dump()
    assert "embeddings" not in said.model_dump()
