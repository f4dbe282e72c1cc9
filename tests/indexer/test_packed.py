"""Packed texts: the states the library computes, nothing padded, and no trace of the batch in a text's vector."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from contract.errors import BadInput
from indexer.encoder import Encoder, EncoderSettings, open_encoder, reopened
from indexer.encoders.packed import LEAST_TOKENS, PackedBert, batches
from tests.indexer.conftest import sentences

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXTS = ["a", "", "play some jazz", *sentences(60), "weather " * 100]


class Model(list):
    """The transformer of a sentence-transformers model and nothing after it."""

    def __init__(self, body):
        super().__init__([self])
        self.auto_model = body.eval()


@pytest.mark.parametrize(
    "body",
    [
        BertModel(BertConfig(vocab_size=50, hidden_act="relu", **SIZES)),
        XLMRobertaModel(XLMRobertaConfig(vocab_size=50, **SIZES)),
    ],
    ids=["bert", "xlm-roberta"],
)
def test_the_states_are_the_librarys(body):
    draw = np.random.default_rng(0)
    groups = [torch.from_numpy(draw.integers(3, 50, shape)) for shape in ((3, 7), (1, 7), (5, 2), (2, 20))]
    with torch.inference_mode():
        packed = PackedBert(Model(body)).states(groups)
        for group, states in zip(groups, packed, strict=True):
            expected = body(input_ids=group, attention_mask=torch.ones_like(group)).last_hidden_state
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-4)


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(1, 600))
def test_every_text_is_in_a_batch_of_its_length_and_batches_keep_the_budget(lengths, tokens):
    found = list(batches(np.array(lengths), tokens))
    assert {text for batch in found for group in batch for text in group.tolist()} == set(range(len(lengths)))
    for batch in found:
        assert all(len({lengths[text] for text in group}) == 1 for group in batch)
        assert all(len(group) * lengths[group[0]] >= LEAST_TOKENS for group in batch)
        real = sum(len(set(group.tolist())) * lengths[group[0]] for group in batch)
        assert real <= tokens or len(batch) == 1
    firsts = [lengths[batch[0][0]] for batch in found]
    assert firsts == sorted(firsts, reverse=True)


def test_no_texts_make_no_batch():
    assert list(batches(np.zeros(0, np.int64))) == []


@pytest.fixture(scope="module", params=["packed", "by the library"])
def encoder(request, tiny_model):
    opened = open_encoder(str(tiny_model), dtype="float32")
    assert isinstance(opened, Encoder)
    assert opened._forward._packed is not None
    if request.param == "by the library":
        opened._forward._packed = None
    return opened


def test_a_text_has_the_same_bytes_alone_in_any_batch_and_on_any_threads(encoder, monkeypatch):
    together = encoder.encode(TEXTS, kind="passage")
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert encoder.encode(TEXTS, kind="passage").tobytes() == together.tobytes()
    backwards = encoder.encode(TEXTS[::-1] * 3, kind="passage")
    assert backwards[: len(TEXTS)][::-1].tobytes() == together.tobytes()
    for text, vector in zip(TEXTS, together, strict=True):
        assert encoder.encode([text], kind="passage")[0].tobytes() == vector.tobytes()


def test_the_vectors_are_those_of_sentence_transformers(encoder):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(encoder.location, device="cpu", local_files_only=True)
    expected = plain.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode(TEXTS, kind="passage"), expected, atol=1e-5)


def test_both_ways_give_the_same_vectors(tiny_model):
    one, other = (open_encoder(str(tiny_model), dtype="float32", passage_prompt="play ") for _ in range(2))
    other._forward._packed = None
    np.testing.assert_allclose(one.encode(TEXTS, kind="passage"), other.encode(TEXTS, kind="passage"), atol=1e-5)


def test_bfloat16_is_near_float32(tiny_model):
    one, other = (open_encoder(str(tiny_model), dtype=dtype) for dtype in ("float32", "bfloat16"))
    cosines = (one.encode(TEXTS, kind="query") * other.encode(TEXTS, kind="query")).sum(axis=1)
    assert cosines.min() > 0.999


ELSEWHERE = """
import sys
from multiprocessing.reduction import ForkingPickler
encoder = ForkingPickler.loads(bytes.fromhex(sys.argv[1]))
again = ForkingPickler.loads(bytes.fromhex(sys.argv[1]))
assert encoder is again, "opened once a process"
print(encoder.encode(["play some jazz"], kind="query").tobytes().hex())
"""


def test_an_encoder_travels_to_another_process_as_its_settings(tiny_model):
    from multiprocessing.reduction import ForkingPickler

    encoder = open_encoder(str(tiny_model), dtype="float32", query_prompt="book ")
    travelling = bytes(ForkingPickler.dumps(encoder))
    assert len(travelling) < 2000
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, travelling.hex()],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    ).stdout.strip()  # fmt: skip
    assert answer == encoder.encode(["play some jazz"], kind="query").tobytes().hex()


def test_an_encoder_that_is_another_there_is_refused(tiny_model):
    with pytest.raises(BadInput, match="fingerprint"):
        reopened(EncoderSettings(str(tiny_model), dtype="float32"), "of another model")
