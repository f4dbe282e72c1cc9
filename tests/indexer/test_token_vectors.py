"""Token vectors: distilled alike each time, and read and written as model2vec does."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from contract.errors import BadInput
from indexer.encoder import _load
from indexer.encoders.token_vectors import (
    CONFIG,
    MAX_LENGTH,
    MODEL,
    SIF,
    TOKENIZER,
    distil,
    is_static,
    open_tokenizer,
    read_token_vectors,
    write_token_vectors,
)

TEXTS = ["play some jazz", "weather in paris?", "[CLS] play", "an alarm for seven", "", "zürich, naïve"]


def distilled(model, dims=16, max_length=MAX_LENGTH):
    return distil(_load(model), open_tokenizer(model / TOKENIZER), dims=dims, max_length=max_length)


def written(table, folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_token_vectors(table, [folder / name for name in (MODEL, TOKENIZER, CONFIG)])
    return folder


@pytest.fixture(scope="module")
def table(tiny_model):
    return distilled(tiny_model)


@pytest.fixture
def folder(table, tmp_path):
    return written(table, tmp_path / "static")


def unit_sums(table, texts):
    """The reference: whole texts through the tokenizer, rows added up in float64."""
    ids = [table.tokenizer.encode(text, add_special_tokens=False).ids[: table.max_length] for text in texts]
    sums = np.stack([table.vectors[of_text].astype(np.float64).sum(axis=0) for of_text in ids])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def test_what_is_written_is_read_back_to_the_bit(table, folder):
    again = read_token_vectors(folder)
    assert again.vectors.tobytes() == table.vectors.tobytes()
    assert again.tokenizer.to_str() == table.tokenizer.to_str()
    assert again.max_length == table.max_length
    assert is_static(folder)


def test_model2vec_opens_what_is_written_and_gives_the_same_vectors(table, folder):
    static = pytest.importorskip("model2vec").StaticModel.from_pretrained(str(folder), quantize_to="float32")
    np.testing.assert_allclose(static.encode(TEXTS), unit_sums(table, TEXTS), atol=1e-6)


def test_what_model2vec_wrote_is_read_with_its_weights_and_mapping(table, tmp_path):
    static = pytest.importorskip("model2vec").StaticModel
    draw = np.random.default_rng(0)
    tokens = len(table.vectors)
    theirs = static(
        draw.normal(size=(10, 4)).astype(np.float32),
        table.tokenizer,
        {"normalize": True},
        normalize=True,
        weights=draw.random(tokens).astype(np.float32),
        token_mapping=draw.integers(0, 10, tokens),
    )
    theirs.save_pretrained(tmp_path)
    np.testing.assert_allclose(unit_sums(read_token_vectors(tmp_path), TEXTS), theirs.encode(TEXTS), atol=1e-6)


def test_distilling_gives_the_same_bytes_whatever_the_number_of_threads(tiny_model, tmp_path):
    written_bytes, threads = set(), torch.get_num_threads()
    for number, wanted in enumerate((1, 2)):
        torch.set_num_threads(wanted)
        folder = written(distilled(tiny_model), tmp_path / str(number))
        assert torch.get_num_threads() == wanted
        written_bytes.add(tuple((folder / name).read_bytes() for name in (MODEL, TOKENIZER, CONFIG)))
    torch.set_num_threads(threads)
    assert len(written_bytes) == 1


def test_all_axes_keep_the_angles_of_what_the_model_says_of_each_token(tiny_model):
    """Principal axes are a rotation: without leaving any out, products of centred vectors are as they were."""
    table = distilled(tiny_model, dims=32)
    tokens = [table.tokenizer.token_to_id(word) for word in ("jazz", "paris", "##a", "seven")]
    model = _load(tiny_model)
    cls, sep = (table.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    vocabulary = sorted(table.tokenizer.get_vocab().values())
    special = [table.tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    kept = [token for token in vocabulary if token not in special]
    ids = torch.tensor([[cls, token, sep] for token in kept])
    with torch.inference_mode():
        said = model[0]({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["token_embeddings"].mean(1).numpy()
    centred = (said - said.mean(axis=0))[[kept.index(token) for token in tokens]]
    frequencies = 1 / np.arange(2, len(kept) + 2)
    weights = SIF / (SIF + frequencies / frequencies.sum())
    unweighted = table.vectors[kept] / weights[:, None]
    assert (unweighted[np.abs(unweighted).argmax(axis=0), np.arange(32)] >= 0).all()  # else a sign would be by chance
    ours = unweighted[[kept.index(token) for token in tokens]]
    np.testing.assert_allclose(ours @ ours.T, centred @ centred.T, rtol=0.01, atol=0.01)


def test_fewer_axes_are_the_first_of_more(tiny_model, table):
    np.testing.assert_array_equal(distilled(tiny_model, dims=5).vectors, table.vectors[:, :5])


def test_special_tokens_say_nothing_and_are_words_like_others(table):
    special = [table.tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    assert (table.vectors[special] == 0).all()
    assert not set(special[2:]) & set(table.tokenizer.encode("[CLS] play [MASK]").ids)


def test_a_model_to_distil_is_not_static(tiny_model, tmp_path):
    assert not is_static(tiny_model)
    assert not is_static(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-9]),
        lambda folder: (folder / MODEL).write_bytes(b"no tensors"),
        lambda folder: save_file({"other": np.zeros(3, np.float32)}, folder / MODEL),
        lambda folder: save_file({"embeddings": np.zeros((3, 4), np.float32)}, folder / MODEL),
        lambda folder: save_file({"embeddings": np.zeros(500, np.float32)}, folder / MODEL),
        lambda folder: save_file({"embeddings": np.full((500, 4), np.nan, np.float32)}, folder / MODEL),
        lambda folder: save_file(
            {"embeddings": np.zeros((9, 4), np.float32), "mapping": np.full(500, 9)}, folder / MODEL
        ),
        lambda folder: (folder / TOKENIZER).write_text("{}"),
        lambda folder: (folder / CONFIG).write_text("{"),
        lambda folder: (folder / CONFIG).write_text("[]"),
        lambda folder: (folder / CONFIG).write_text('{"max_length": "long"}'),
    ],
    ids=["short", "junk", "other", "few rows", "no table", "nan", "mapping", "tokenizer", "config", "list", "length"],
)
def test_files_that_are_no_static_model_get_a_sentence(folder, spoil):
    spoil(folder)
    with pytest.raises(BadInput, match="no static model this version can read"):
        read_token_vectors(folder)


def test_finer_vectors_than_halves_are_kept_as_they_are(table, folder, tmp_path):
    tensors = load_file(folder / MODEL)
    save_file({"embeddings": tensors["embeddings"].astype(np.float32) / 3}, folder / MODEL)
    fine = read_token_vectors(folder)
    again = read_token_vectors(written(fine, tmp_path / "again"))
    assert again.vectors.tobytes() == fine.vectors.tobytes()
    assert json.loads((tmp_path / "again" / CONFIG).read_text())["embedding_dtype"] == "float32"


def test_a_model_without_a_fast_tokenizer_gets_a_sentence(tiny_model, tmp_path):
    from indexer.encoder import open_encoder

    copied = shutil.copytree(tiny_model, tmp_path / "copy")
    (copied / TOKENIZER).unlink()
    with pytest.raises(BadInput, match=r"no tokenizer\.json"):
        open_encoder(f"static:{copied}")
