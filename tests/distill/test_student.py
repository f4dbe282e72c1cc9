"""The student: its size is what was asked, its kept layers are the teacher's, and plain transformers opens it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from contract.errors import BadInput, NotFound
from distill.models.device import Device
from distill.models.pretrained import load_encoder, load_tokenizer, parameters_of
from distill.reading.tokens import tokenize
from distill.reading.words import gather_words, split_words
from distill.settings.student import StudentConfig
from distill.students.student import Joint, Student, identity_of, kept_layers, make_student, open_student
from distill.teachers.teacher import Classifier, Teacher
from tests.distill.piece_encoders import make_piece_encoder
from tests.distill.tiny import make_encoder

CPU = Device("cpu", "float32")
CLASSES = ("lights", "music", "travel")


def teacher_of(directory: Path) -> Teacher:
    model = Classifier(load_encoder(directory, CPU), "mean", len(CLASSES), 0.0)
    return Teacher(cast(Any, SimpleNamespace()), model, load_tokenizer(directory), CLASSES, 32)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of(make_encoder(tmp_path_factory.mktemp("deep"), layers=6))


def student_of(teacher: Teacher, seed: int = 0, **settings: Any) -> Student:
    return make_student(StudentConfig(**settings), teacher, CPU, seed=seed)


@pytest.mark.parametrize(("layers", "width", "heads"), [(1, 16, 2), (3, 64, 1), (2, 128, 2)])
def test_a_student_from_scratch_has_the_size_asked_for(teacher: Teacher, layers: int, width: int, heads: int) -> None:
    student = student_of(teacher, layers=layers, width=width, heads=heads)
    shape = student.config
    assert (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads) == (layers, width, heads)
    in_layers = layers * (12 * width**2 + 13 * width)
    rest = (len(teacher.tokenizer) + 64 + 2 + 2) * width + width**2 + width + (width + 1) * len(CLASSES)
    assert parameters_of(student.model) == in_layers + rest


def test_the_same_seed_is_the_same_student(teacher: Teacher) -> None:
    first, again, other = (student_of(teacher, seed).model.state_dict() for seed in (1, 1, 2))
    name = "bert.embeddings.word_embeddings.weight"
    assert all(first[key].equal(again[key]) for key in first)
    assert not first[name].equal(other[name])


@pytest.mark.parametrize(
    ("origin", "kept"), [("skip", [1, 3, 5]), ("first", [0, 1, 2]), ("last", [3, 4, 5])]
)  # fmt: skip
def test_kept_layers_are_the_teachers_weight_for_weight(teacher: Teacher, origin: str, kept: list[int]) -> None:
    student = student_of(teacher, layers=3, **{"from": origin})
    ours, theirs = student.model.state_dict(), teacher.model.encoder.state_dict()
    key = "encoder.layer.{}.attention.self.query.weight"
    for ours_at, theirs_at in enumerate(kept):
        assert ours["bert." + key.format(ours_at)].equal(theirs[key.format(theirs_at)])
    word = "embeddings.word_embeddings.weight"
    assert ours["bert." + word].equal(theirs[word])
    assert student.config.num_hidden_layers == 3


def test_keeping_all_layers_keeps_what_the_encoder_says(teacher: Teacher) -> None:
    student = student_of(teacher, layers=6, **{"from": "first"})
    batch = tokenize(teacher.tokenizer, ["play some song"], [None], max_length=32).batch(np.zeros(1, np.int64))
    with torch.no_grad():
        expected = teacher.model.encoder.eval()(**batch.inputs).last_hidden_state
        found = student.model.eval().base_model(**batch.inputs).last_hidden_state  # type: ignore[operator]
    assert torch.allclose(found, expected, atol=1e-6)


def test_skipped_layers_end_with_the_last() -> None:
    assert kept_layers("skip", 2, 6) == [2, 5]
    assert kept_layers("skip", 4, 6) == [0, 2, 3, 5]
    assert kept_layers("skip", 6, 6) == list(range(6))
    assert kept_layers("last", 2, 12) == [10, 11]


def test_kept_layers_do_not_change_with_the_student(teacher: Teacher) -> None:
    student = student_of(teacher, layers=2, **{"from": "last"})
    before = teacher.model.encoder.state_dict()["embeddings.word_embeddings.weight"].clone()
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.zero_()
    assert teacher.model.encoder.state_dict()["embeddings.word_embeddings.weight"].equal(before)
    assert teacher.model.encoder.config.num_hidden_layers == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": 9, "from": "skip"}, "has 6 to keep"),
        ({"layers": 2, "width": 128, "from": "first"}, "student.width is 128.*have 32"),
        ({"layers": 2, "heads": 4, "from": "last"}, "student.heads is 4.*have 2"),
        ({"width": 100, "heads": 3}, "not a multiple"),
    ],
)
def test_a_student_that_cannot_be_gets_a_sentence(teacher: Teacher, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        student_of(teacher, **settings)


@pytest.mark.parametrize("settings", [{"width": 16, "heads": 2}, {"layers": 2, "from": "skip"}])
def test_plain_transformers_opens_it_and_says_labels(
    teacher: Teacher, tmp_path: Path, settings: dict[str, Any]
) -> None:
    student = student_of(teacher, **settings)
    student.model.eval()
    student.save(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "please play the song now"
    with torch.no_grad():
        theirs = model(**tokenizer(text, return_tensors="pt")).logits
        ours = student.forward(tokenize(tokenizer, [text], [None], max_length=32).batch(np.zeros(1, np.int64))).logits
    assert torch.allclose(theirs, ours, atol=1e-5)
    said = pipeline("text-classification", model=model, tokenizer=tokenizer)(text)[0]["label"]
    assert said == CLASSES[int(ours.argmax())]
    assert not list(tmp_path.glob("*.bin"))


def test_a_regression_is_one_amount_that_begins_at_the_mean(teacher: Teacher, tmp_path: Path) -> None:
    student = student_of(replace(teacher, classes=(), mean=3.5), width=16, heads=2)
    student.save(tmp_path)
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    with torch.no_grad():
        amount = model(**tokenizer("play", "song", return_tensors="pt")).logits
    assert amount.shape == (1, 1)
    assert float(amount) == pytest.approx(3.5, abs=1.5)
    assert model.classifier.bias.item() == 3.5
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)


@pytest.mark.parametrize("settings", [{"width": 16, "heads": 2}, {"layers": 2, "from": "skip"}])
def test_slots_alone_are_a_token_classifier(teacher: Teacher, tmp_path: Path, settings: dict[str, Any]) -> None:
    tags = ("O", "B-x", "I-x")
    student = student_of(replace(teacher, classes=(), tags=tags), **settings)
    student.model.eval()
    student.save(tmp_path)
    model, tokenizer = (
        AutoModelForTokenClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    text = "please play the song now"
    words = gather_words([split_words(text)])
    with torch.no_grad():
        theirs = model(**tokenizer(text, return_tensors="pt")).logits
        said = student.forward(
            tokenize(tokenizer, [text], [None], max_length=32, words=words).batch(np.zeros(1, np.int64))
        )
    assert said.logits is None
    assert said.slot_logits is not None
    assert torch.allclose(said.slot_logits, theirs[0, 1:-1], atol=1e-5)
    assert tuple(model.config.id2label.values()) == tags
    assert not (tmp_path / "sentence_head.safetensors").exists()


# A model that is given


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_piece_encoder(tmp_path_factory.mktemp("given"), layers=3)


def test_a_pretrained_student_is_that_encoder_with_its_own_tokenizer(teacher: Teacher, given: Path) -> None:
    student = student_of(teacher, **{"from": "pretrained", "model": str(given), "max_length": 32})
    encoder, tokenizer = load_encoder(given, CPU).eval(), load_tokenizer(given)
    assert (student.config.num_hidden_layers, student.config.hidden_size) == (3, 24)
    assert student.tokenizer.get_vocab() == tokenizer.get_vocab() != teacher.tokenizer.get_vocab()
    batch = tokenize(student.tokenizer, ["play some song"], [None], max_length=32).batch(np.zeros(1, np.int64))
    with torch.no_grad():
        found = student.model.eval().base_model(**batch.inputs).last_hidden_state  # type: ignore[operator]
        assert torch.allclose(found, encoder(**batch.inputs).last_hidden_state, atol=1e-6)
        assert student.forward(batch).logits.shape == (1, len(CLASSES))  # type: ignore[union-attr]


def test_a_pretrained_student_is_known_by_its_content(given: Path, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere"
    shutil.copytree(given, there)
    settings = [StudentConfig(**{"from": "pretrained", "model": str(path)}) for path in (given, there)]
    assert identity_of(settings[0]) == identity_of(settings[1])
    assert str(given) not in str(identity_of(settings[0]))
    (there / "tokenizer.json").write_text((there / "tokenizer.json").read_text() + " ")
    assert identity_of(settings[0]) != identity_of(settings[1])


def test_what_is_not_asked_for_is_not_in_an_id() -> None:
    """Runs made before there was a vocabulary to trim keep their ids."""
    assert sorted(identity_of(StudentConfig())) == ["dropout", "from", "heads", "layers", "max_length", "width"]
    assert identity_of(StudentConfig())["layers"] == 2
    assert identity_of(StudentConfig(vocabulary="trimmed"))["vocabulary"] == "trimmed"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": 2}, "student.layers is 2, but .* has 3; leave it out"),
        ({"width": 32}, "student.width is 32, but .* has 24; leave it out"),
        ({"max_length": 128}, "student.max_length is 128, its encoder reads 64 tokens"),
        ({"model": "no such model anywhere"}, "There is no model 'no such model anywhere'"),
    ],
)
def test_a_pretrained_student_that_cannot_be_gets_a_sentence(
    teacher: Teacher, given: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((BadInput, NotFound), match=said):
        student_of(teacher, **{"from": "pretrained", "model": str(given), **settings})


# A trimmed vocabulary

LEARNT: list[tuple[str, str | None]] = [("please play the song now", None), ("rain", "snow")]


@pytest.fixture(scope="module")
def reader(given: Path) -> Teacher:
    """A teacher that reads pieces."""
    return teacher_of(given)


def trimmed_of(reader: Teacher, given: Path, origin: str, vocabulary: str | int = "trimmed") -> Student:
    model = {"model": str(given)} if origin == "pretrained" else {}
    size = {"width": 16, "heads": 2} if origin == "scratch" else {}
    layers = {} if origin == "pretrained" else {"layers": 2}
    config = StudentConfig(**{"from": origin, "vocabulary": vocabulary, "max_length": 32, **model, **size, **layers})
    return make_student(config, reader, CPU, seed=0, texts=[LEARNT])


@pytest.mark.parametrize("origin", ["scratch", "skip", "first", "last", "pretrained"])
def test_a_trimmed_student_has_an_embedding_for_every_piece_it_kept(
    reader: Teacher, given: Path, origin: str, tmp_path: Path
) -> None:
    student = trimmed_of(reader, given, origin)
    pieces = len(student.tokenizer)
    assert pieces < len(reader.tokenizer)
    assert student.transformer.get_input_embeddings().weight.shape[0] == pieces == student.config.vocab_size
    assert student.config.pad_token_id == student.tokenizer.pad_token_id
    student.save(tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        theirs = opened.eval()(**tokenizer(["a weather lamp"], return_tensors="pt")).logits
        batch = tokenize(student.tokenizer, ["a weather lamp"], [None], max_length=32).batch(np.zeros(1, np.int64))
        student.model.eval()
        assert torch.allclose(theirs, student.forward(batch).logits, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", ["skip", "pretrained"])
def test_kept_pieces_keep_their_embeddings(reader: Teacher, given: Path, origin: str) -> None:
    student = trimmed_of(reader, given, origin)
    ours, theirs = student.transformer.get_input_embeddings().weight, reader.model.encoder.get_input_embeddings().weight  # type: ignore[operator]
    for piece, token in student.tokenizer.get_vocab().items():
        assert torch.equal(ours[token], theirs[reader.tokenizer.convert_tokens_to_ids(piece)])


def test_what_a_trimmed_encoder_says_of_its_texts_is_what_the_whole_one_says(reader: Teacher, given: Path) -> None:
    student = trimmed_of(reader, given, "pretrained")
    whole = load_encoder(given, CPU).eval()
    for text, pair in LEARNT:
        states = []
        for tokenizer, encoder in ((student.tokenizer, student.model.eval().base_model), (reader.tokenizer, whole)):
            batch = tokenize(tokenizer, [text], [pair], max_length=32).batch(np.zeros(1, np.int64))
            with torch.no_grad():
                states.append(encoder(**batch.inputs).last_hidden_state)  # type: ignore[operator]
        assert torch.allclose(states[0], states[1], atol=1e-6)


def test_a_whole_vocabulary_is_not_touched(reader: Teacher, given: Path) -> None:
    assert trimmed_of(reader, given, "skip", "teacher").vocabulary is None
    assert len(trimmed_of(reader, given, "skip", "teacher").tokenizer) == len(reader.tokenizer)


def test_the_teachers_tokenizer_is_left_as_it_was(reader: Teacher, given: Path) -> None:
    before = reader.tokenizer.model_max_length, reader.tokenizer.backend_tokenizer.to_str()
    trimmed_of(reader, given, "skip")
    assert before == (reader.tokenizer.model_max_length, reader.tokenizer.backend_tokenizer.to_str())


# Opened again

TAGS = ("O", "B-x", "I-x")


@pytest.mark.parametrize("settings", [{"width": 16, "heads": 2}, {"layers": 2, "from": "skip"}])
@pytest.mark.parametrize("kind", [{}, {"classes": (), "mean": 3.5}, {"classes": (), "tags": TAGS}, {"tags": TAGS}])
def test_a_student_opens_again_whatever_its_kind(
    teacher: Teacher, tmp_path: Path, settings: dict[str, Any], kind: dict[str, Any]
) -> None:
    student = student_of(replace(teacher, **kind), **settings)
    student.model.eval()
    student.save(tmp_path)
    opened = open_student(tmp_path)
    assert (opened.max_length, opened.tags) == (64, student.tags)
    assert isinstance(opened.model, Joint) == isinstance(student.model, Joint)
    assert not opened.model.training
    text = "please play the song now"
    words = gather_words([split_words(text)]) if student.tags else None
    batch = tokenize(opened.tokenizer, [text], [None], max_length=64, words=words).batch(np.zeros(1, np.int64))
    with torch.no_grad():
        ours, theirs = student.forward(batch), opened.forward(batch)
    for one, other in ((ours.logits, theirs.logits), (ours.slot_logits, theirs.slot_logits)):
        assert (one is None) == (other is None)
        assert one is None or (other is not None and torch.allclose(one, other, atol=1e-6))


def test_a_folder_that_holds_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        open_student(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": []}')
    with pytest.raises(BadInput, match="cannot be loaded"):
        open_student(tmp_path)
