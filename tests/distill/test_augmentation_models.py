"""Claims of the operations that need a model: words that fit, texts that come back, and the same at every call."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from contract.errors import BadInput
from distill.augmentation.contextual import Contextual
from distill.augmentation.translation import BackTranslation, Translator
from distill.augmentation.wording import read_wording
from distill.models.device import Device
from tests.distill.masked_lms import make_masked_lm
from tests.distill.tiny import TOPICS, make_encoder, utterances
from tests.distill.translators import BACK, MEANT, make_trained_lm, make_translators

CPU = Device("cpu", "float32")
TEXTS = [text for text, _ in utterances(24, 3)]


def draws(number: int, seed: int = 0) -> list[random.Random]:
    return [random.Random(100 * seed + index) for index in range(number)]


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Translator]:
    there, back = make_translators(tmp_path_factory.mktemp("translators"))
    return Translator(there, CPU), Translator(back, CPU)


def replaced(operation: Contextual, texts: list[str], seed: int = 0) -> list[str]:
    return [w.text for w in operation([read_wording(text) for text in texts], draws(len(texts), seed))]


def test_a_word_becomes_another_that_fits_its_place(masked_lm: Path) -> None:
    """The model was trained on texts whose first two words are of one topic."""
    texts = [f"{words.split()[0]} {words.split()[1]} please can" for words in TOPICS.values()] * 20
    done = replaced(Contextual(masked_lm, 0.2, 3, CPU), texts)
    firsts = [(old.split()[0], new.split()[0]) for old, new in zip(texts, done, strict=True) if old[:3] != new[:3]]
    fitting = sum(any({old, new} <= {*words.split()} for words in TOPICS.values()) for old, new in firsts)
    assert len(firsts) >= 5
    assert fitting / len(firsts) > 0.7, "by chance one in five"


def test_no_word_is_replaced_by_itself_and_about_as_many_are_as_the_probability_says(masked_lm: Path) -> None:
    texts = TEXTS * 10
    words = sum(len(text.split()) for text in texts)
    all_words = replaced(Contextual(masked_lm, 1.0, 2, CPU), texts)
    assert all(
        a != b for old, new in zip(texts, all_words, strict=True) for a, b in zip(old.split(), new.split(), strict=True)
    )
    some = replaced(Contextual(masked_lm, 0.3, 2, CPU), texts)
    changed = sum(
        a != b for old, new in zip(texts, some, strict=True) for a, b in zip(old.split(), new.split(), strict=True)
    )
    assert abs(changed / words - 0.3) < 0.05


def test_replacements_are_drawn_and_follow_the_draws_alone(masked_lm: Path) -> None:
    operation = Contextual(masked_lm, 0.5, 8, CPU)
    assert replaced(operation, TEXTS) == replaced(operation, TEXTS)
    assert replaced(operation, TEXTS) != replaced(operation, TEXTS, seed=1)
    likeliest = Contextual(masked_lm, 0.5, 1, CPU)
    kinds = {tuple(replaced(operation, [TEXTS[0]], seed)) for seed in range(30)}
    assert len(kinds) > len({tuple(replaced(likeliest, [TEXTS[0]], seed)) for seed in range(30)}), "top_k counts"


def test_a_mask_that_the_user_wrote_stays_and_marks_stay(masked_lm: Path) -> None:
    done = replaced(Contextual(masked_lm, 1.0, 3, CPU), ["[MASK] lamp, (please) ?! [MASK]"])[0]
    assert done.count("[MASK]") <= 2
    assert "," in done
    assert "?!" in done
    assert done.split()[2].startswith("(")


def test_a_text_longer_than_the_model_keeps_its_end(masked_lm: Path) -> None:
    long = " ".join(["lamp"] * 500)
    done = replaced(Contextual(masked_lm, 1.0, 3, CPU), [long])[0].split()
    assert len(done) == 500
    assert done[0] != "lamp"
    assert set(done[100:]) == {"lamp"}


def test_nothing_to_replace_is_no_trouble(masked_lm: Path) -> None:
    assert replaced(Contextual(masked_lm, 1.0, 3, CPU), ["", "?!"]) == ["", "?!"]


@pytest.mark.parametrize("kind", ["without a head", "an encoder"])
def test_a_model_that_fills_no_masks_is_refused(tmp_path: Path, kind: str) -> None:
    directory = make_encoder(tmp_path) if kind == "an encoder" else make_masked_lm(tmp_path, with_head=False)
    with pytest.raises(BadInput, match="is no masked language model"):
        Contextual(directory, 0.5, 3, CPU)
    with pytest.raises(BadInput, match="more than 400"):
        Contextual(make_masked_lm(tmp_path / "small"), 0.5, 400, CPU)


def test_a_text_goes_there_and_comes_back_in_other_words(translators: tuple[Translator, Translator]) -> None:
    there, _ = translators
    assert there(TEXTS, None) == [" ".join(MEANT[word] for word in text.split()) for text in TEXTS]
    done = BackTranslation(*translators, 1.0, sampled=False)([read_wording(t) for t in TEXTS], draws(len(TEXTS)))
    assert [w.text for w in done] == [" ".join(BACK[MEANT[word]] for word in text.split()) for text in TEXTS]
    assert not any(w.keeps_words for w in done)


def test_greedy_is_the_same_for_all_draws_and_sampled_follows_them(translators: tuple[Translator, Translator]) -> None:
    def done(seed: int, *, sampled: bool) -> list[str]:
        operation = BackTranslation(*translators, 1.0, sampled=sampled)
        return [w.text for w in operation([read_wording(t) for t in TEXTS], draws(len(TEXTS), seed))]

    assert done(0, sampled=False) == done(1, sampled=False)
    assert done(0, sampled=True) == done(0, sampled=True)
    assert len({tuple(done(seed, sampled=True)) for seed in (0, 1)}) == 2
    assert done(0, sampled=True) != done(0, sampled=False)


def test_a_probability_is_that_of_each_text(translators: tuple[Translator, Translator]) -> None:
    texts = [read_wording(text) for text in TEXTS * 10]
    done = BackTranslation(*translators, 0.3, sampled=False)(texts, draws(len(texts)))
    changed = sum(old != new for old, new in zip(texts, done, strict=True))
    assert abs(changed / len(texts) - 0.3) < 0.1


def test_empty_and_endless_texts_come_through(translators: tuple[Translator, Translator]) -> None:
    texts = ["", " ", "lamp " * 300]
    done = BackTranslation(*translators, 1.0, sampled=False)([read_wording(text) for text in texts], draws(3))
    assert [w.text for w in done[:2]] == ["", " "]
    assert done[2].text.startswith("bulb bulb")


def test_a_model_that_translates_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        Translator(make_encoder(tmp_path), CPU)
