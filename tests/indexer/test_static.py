"""The static encoder: sums of token vectors, a text at a time, known by all that changes them, kept in its index."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from contract.errors import BadInput, NotFound
from contract.store import Store
from indexer.build import add_to_index, build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings, open_encoder
from indexer.encoders import static as static_module
from indexer.encoders.static import FOLDER
from indexer.encoders.token_vectors import MODEL, TOKENIZER, TokenVectors, open_tokenizer, write_token_vectors
from indexer.index import IndexSettings, open_index
from tests.indexer.conftest import make_corpus, sentences

ROOT = Path(__file__).parents[2]
TEXTS = ["play some jazz", "weather in paris?", "[CLS] play", "", "zürich, naïve", "a\x01b\tc  d", "東京 play", "don't"]


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return open_encoder(f"static:{tiny_model}", dims=16)


@pytest.fixture(scope="module")
def static_model(encoder, tmp_path_factory):
    """A folder with a static model, as model2vec would have written it."""
    folder = tmp_path_factory.mktemp("static") / "tiny-static"
    folder.mkdir()
    write_token_vectors(encoder.table, [folder / name for name in (MODEL, TOKENIZER, "config.json")])
    return folder


def sent(encoder):
    """The encoder as a worker process gets it."""
    return pickle.loads(pickle.dumps(encoder))  # noqa: S301


@pytest.fixture
def copied(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def by_whole_texts(table, texts):
    """The reference: whole texts through the tokenizer, rows added up one by one in float32."""
    vectors = np.zeros((len(texts), table.vectors.shape[1]), np.float32)
    for into, text in zip(vectors, texts, strict=True):
        for token in table.tokenizer.encode(text, add_special_tokens=False).ids[: table.max_length]:
            into += table.vectors[token]
        norm = np.sqrt((into.astype(np.float64) ** 2).sum())
        into *= 1 / norm if norm else 0.0
    return vectors


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.text(st.sampled_from("ab c.'-[]#é \u0301\u00a0\x01\t\n東A1_ßİ"), max_size=20) | st.text(), max_size=6)
)
def test_a_text_is_the_sum_of_its_tokens_wherever_it_is_cut(encoder, texts):
    texts = [text for text in texts if not any(0xD800 <= ord(letter) < 0xE000 for letter in text)]
    np.testing.assert_allclose(
        encoder.encode(texts, kind="passage"), by_whole_texts(encoder.table, texts), rtol=0, atol=3e-7
    )


def test_a_tokenizer_that_cuts_elsewhere_is_asked_with_whole_texts(encoder):
    described = json.loads(encoder.table.tokenizer.to_str())
    described["pre_tokenizer"] = {"type": "WhitespaceSplit"}  # "paris?" is one word to it
    tokenizer = type(encoder.table.tokenizer).from_str(json.dumps(described))
    table = TokenVectors(encoder.table.vectors, tokenizer)
    other = static_module.StaticEncoder(encoder.settings, "here", "f", lambda: table)
    np.testing.assert_allclose(other.encode(TEXTS, kind="query"), by_whole_texts(table, TEXTS), atol=3e-7)
    assert not np.array_equal(other.encode(TEXTS, kind="query"), encoder.encode(TEXTS, kind="query"))


def test_a_tokenizer_with_words_of_its_own_is_asked_with_whole_texts(encoder, tiny_model):
    tokenizer = open_tokenizer(tiny_model / TOKENIZER)
    tokenizer.add_tokens(["play some", "paris?"])
    described = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 4)).astype(np.float32)
    table = TokenVectors(described, tokenizer)
    other = static_module.StaticEncoder(encoder.settings, "here", "f", lambda: table)
    np.testing.assert_allclose(other.encode(TEXTS, kind="query"), by_whole_texts(table, TEXTS), atol=3e-7)


def test_vectors_are_float32_of_length_one_or_nothing(encoder):
    vectors = encoder.encode(TEXTS, kind="passage")
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dim) == (len(TEXTS), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 1, 1, 1, 1], atol=1e-6)
    assert encoder.encode([], kind="query").shape == (0, 16)


def test_a_text_has_one_vector_alone_and_in_any_company(encoder, monkeypatch):
    together = encoder.encode(TEXTS, kind="passage")
    alone = np.concatenate([encoder.encode([text], kind="passage") for text in TEXTS])
    assert alone.tobytes() == together.tobytes()
    monkeypatch.setattr(static_module, "_TEXTS_AT_ONCE", 3)
    monkeypatch.setattr(static_module, "_MOST_PIECES", 4)
    assert encoder.encode(TEXTS, kind="passage").tobytes() == together.tobytes()


def test_many_threads_get_what_one_gets(encoder):
    texts = sentences(400)
    expected = encoder.encode(texts, kind="passage")
    fresh = sent(encoder)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda start: fresh.encode(texts[start : start + 7], kind="passage"), range(0, 400, 7)))
    assert np.concatenate(parts).tobytes() == expected.tobytes()


def test_what_is_known_of_pieces_is_bounded(encoder, monkeypatch):
    fresh = sent(encoder)
    monkeypatch.setattr(static_module, "_MOST_PIECES", 50)
    for start in range(0, 300, 10):
        fresh.encode(sentences(300)[start : start + 10], kind="passage")
        assert len(fresh._pieces._known) <= 50


def test_a_text_is_read_as_far_as_max_length(tiny_model):
    short = open_encoder(f"static:{tiny_model}", dims=16, max_length=4)
    vectors = short.encode(["a b c d", "a b c d e f", "a b c"], kind="query")
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[0] != vectors[2]).any()


def test_prompts_go_before_queries_and_passages_each(tiny_model, encoder):
    prompted = open_encoder(f"static:{tiny_model}", dims=16, query_prompt="book ", passage_prompt="play ")
    for kind, prompt in (("query", "book "), ("passage", "play ")):
        expected = encoder.encode([prompt + "some jazz"], kind=kind)
        assert (prompted.encode(["some jazz"], kind=kind) == expected).all()


def test_the_fingerprint_is_known_before_the_distilling_and_knows_no_place(encoder, copied):
    again = open_encoder(f"static:{copied}", dims=16)
    assert again.fingerprint == encoder.fingerprint
    assert "table" not in vars(again)
    assert again.settings.model == "static:copy"


@pytest.mark.parametrize(
    "change",
    [{"dims": 15}, {"max_length": 8}, {"query_prompt": "q "}, {"passage_prompt": "p "}],
    ids=["dims", "max length", "query prompt", "passage prompt"],
)
def test_a_setting_that_changes_vectors_changes_the_fingerprint(encoder, tiny_model, change):
    assert open_encoder(f"static:{tiny_model}", **({"dims": 16} | change)).fingerprint != encoder.fingerprint


def test_other_weights_or_words_are_another_fingerprint(encoder, copied):
    weights = load_file(copied / MODEL)
    weights["embeddings.word_embeddings.weight"][7, 3] += 0.001
    save_file(weights, copied / MODEL, metadata={"format": "pt"})
    changed = open_encoder(f"static:{copied}", dims=16).fingerprint
    tokenizer = json.loads((copied / TOKENIZER).read_text())
    (copied / TOKENIZER).write_text(json.dumps(tokenizer | {"normalizer": None}))
    assert len({encoder.fingerprint, changed, open_encoder(f"static:{copied}", dims=16).fingerprint}) == 3


def test_another_way_of_distilling_is_another_fingerprint(encoder, tiny_model, monkeypatch):
    for name in ("RECIPE", "SIF"):
        monkeypatch.setattr(static_module, name, 7)
        assert open_encoder(f"static:{tiny_model}", dims=16).fingerprint != encoder.fingerprint
        monkeypatch.undo()


def test_a_static_model_is_opened_as_it_is(encoder, static_model):
    opened = open_encoder(f"static:{static_model}")
    assert opened.settings.dims is None
    assert opened.encode(TEXTS, kind="query").tobytes() == encoder.encode(TEXTS, kind="query").tobytes()
    with pytest.raises(BadInput, match="static already"):
        open_encoder(f"static:{static_model}", dims=8)


def test_a_changed_file_of_a_static_model_is_another_fingerprint(static_model, tmp_path):
    before = open_encoder(f"static:{static_model}").fingerprint
    copy = shutil.copytree(static_model, tmp_path / "copy")
    assert open_encoder(f"static:{copy}").fingerprint == before
    tensors = load_file(copy / MODEL)
    tensors["embeddings"][20, 3] += 1
    save_file(tensors, copy / MODEL)
    assert open_encoder(f"static:{copy}").fingerprint != before


def test_settings_that_make_no_sense_are_refused(tiny_model):
    with pytest.raises(BadInput, match="bfloat16"):
        open_encoder(f"static:{tiny_model}", dtype="bfloat16")
    with pytest.raises(BadInput, match="static encoder"):
        open_encoder(str(tiny_model), dims=8)
    with pytest.raises(BadInput, match="at least 1 dimension"):
        EncoderSettings(dims=0)
    with pytest.raises(NotFound, match="encoder"):
        open_encoder("static:")
    with pytest.raises(BadInput, match="lone surrogates"):
        open_encoder(f"static:{tiny_model}").encode(["\ud800"], kind="query")


def dense(model: Path, **others) -> IndexSettings:
    encoder = EncoderSettings(f"static:{model}", dims=16)
    return IndexSettings(dense=DenseSettings(encoder=encoder, shard_rows=32), fusion_depth=50, **others)


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("built")
    store = Store(folder / "artifacts")
    make_corpus(store, folder, sentences(120))
    model = shutil.copytree(tiny_model, folder / "model")
    build_index(store, "i", "c", dense(model))
    shutil.rmtree(model)  # nothing of what follows needs it
    return store


def test_an_index_holds_its_static_encoder(built, encoder):
    index = open_index(built, "i")
    assert index.encoder.fingerprint == encoder.fingerprint
    texts = index.passages(np.arange(0, 120, 7))["text"].to_pylist()
    assert index.encoder.encode(texts, kind="passage").tobytes() == encoder.encode(texts, kind="passage").tobytes()
    assert index.search(texts, 1, "dense").rows[:, 0].tolist() == list(range(0, 120, 7))


def test_it_encodes_without_torch(built):
    code = (
        "import sys; from pathlib import Path; from contract.store import Store; from indexer.index import open_index;"
        "print(open_index(Store(Path(sys.argv[1])), 'i').encoder.encode(['some jazz'], kind='query').tolist());"
        "assert not {'torch', 'sentence_transformers', 'transformers'} & set(sys.modules), sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(built.root)], env=environment, check=True, capture_output=True
    )
    assert json.loads(done.stdout) == open_index(built, "i").encoder.encode(["some jazz"], kind="query").tolist()


def test_model2vec_opens_the_folder_in_an_index(built):
    static = pytest.importorskip("model2vec").StaticModel
    index = open_index(built, "i")
    theirs = static.from_pretrained(str(index.artifact.directory / FOLDER), quantize_to="float32")
    np.testing.assert_allclose(theirs.encode(TEXTS), index.encoder.encode(TEXTS, kind="query"), atol=1e-6)


def test_a_changed_file_of_the_encoder_is_found(built, tmp_path):
    store = Store(shutil.copytree(built.root, tmp_path / "artifacts"))
    path = store.path("index", "i") / FOLDER / MODEL
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    index = open_index(store, "i")
    assert any(MODEL in fault for fault in index.artifact.verify())
    with pytest.raises(Exception, match="does not match the sha256"):
        index.search(["jazz"], 3, "dense")


def test_a_build_stopped_anywhere_goes_on_to_the_same_id(built, tmp_path, tiny_model):
    store = Store(tmp_path / "artifacts")
    make_corpus(store, tmp_path, sentences(120))
    model = shutil.copytree(tiny_model, tmp_path / "model")
    for allowed in range(1, 60):
        left = allowed

        def stop(stage, done, total):
            nonlocal left
            left -= 1
            if left < 0:
                raise InterruptedError

        try:
            index = build_index(store, "i", "c", dense(model), progress=stop)
            break
        except InterruptedError:
            assert store.names("index") == []
    assert allowed > 3
    assert index.id == open_index(built, "i").artifact.id


def test_an_index_that_grew_is_the_one_built_at_once(built, tmp_path, tiny_model):
    store = Store(shutil.copytree(built.root, tmp_path / "artifacts"))
    texts = sentences(150)
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[120:]))
    grown = add_to_index(store, "i", [str(tmp_path / "more.jsonl")])
    build_index(store, "whole", "c", dense(shutil.copytree(tiny_model, tmp_path / "model")))
    assert grown.id == open_index(store, "whole").artifact.id


def test_the_id_knows_the_dimensions_and_no_place(built, tmp_path, tiny_model):
    store = Store(shutil.copytree(built.root, tmp_path / "artifacts"))
    settings = dense(shutil.copytree(tiny_model, tmp_path / "model"))
    assert build_index(store, "j", "c", settings).id == open_index(built, "i").artifact.id
    fewer = replace(settings, dense=replace(settings.dense, encoder=replace(settings.dense.encoder, dims=8)))
    assert build_index(store, "k", "c", fewer).id != open_index(built, "i").artifact.id
    assert str(tmp_path) not in json.dumps(dict(open_index(store, "j").artifact.manifest.params))
