"""The ONNX form: texts are read as transformers reads them, files of others are refused, and torch is not needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import CorruptArtifact
from distill.reading.tokens import tokenize
from distill.reading.words import gather_words, split_words
from distill.settings.task import Kind
from distill.shipping.forms import Heard
from distill.shipping.onnx_form import TOKENIZER, open_session, open_tokenizer, read_tokens
from tests.distill.shipped import Shipped
from tests.distill.tokenizers_for_tests import SENTENCES, TOKENIZERS
from tests.test_imports import import_without

ROOT = Path(__file__).parents[2]
TEXTS = st.text(st.sampled_from("abc defgü é'.,7:\u3042"), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each tokenizer as transformers saves it."""
    made = {name: tmp_path_factory.mktemp("tokenizer") for name in TOKENIZERS}
    for name, folder in made.items():
        TOKENIZERS[name]().save_pretrained(folder)
    return made


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=4), pairs=st.lists(TEXTS, min_size=4, max_size=4), paired=st.booleans()
)
def test_tokens_are_those_of_transformers(
    folders: dict[str, Path], name: str, texts: list[str], pairs: list[str], paired: bool
) -> None:
    """Cut at the same place, the longer sentence of a pair first, each word's first token the same."""
    texts = [*texts, *SENTENCES]
    others = [*pairs, *reversed(SENTENCES)][: len(texts)] + ["x"] * max(0, len(texts) - 8) if paired else None
    partners: Sequence[str | None] = others or [None] * len(texts)
    spans = None if paired else [split_words(text) for text in texts]
    theirs = tokenize(
        TOKENIZERS[name](), texts, partners, max_length=16, words=None if spans is None else gather_words(spans)
    )
    heard = [
        Heard(text, pair, None if spans is None else spans[row])
        for row, (text, pair) in enumerate(zip(texts, partners, strict=True))
    ]
    ours = read_tokens(open_tokenizer(folders[name] / TOKENIZER, 16), heard, with_words=not paired)
    for row, each in enumerate(ours):
        assert each.ids.tolist() == theirs.flat[slice(*theirs.offsets[row : row + 2])].tolist()
        if theirs.words is not None:
            assert each.places.tolist() == theirs.words.places[slice(*theirs.words.offsets[row : row + 2])].tolist()
        if theirs.typed:
            assert each.types.tolist() == (np.arange(len(each.ids)) >= theirs.seconds[row]).astype(int).tolist()


def test_a_file_that_is_no_model_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(CorruptArtifact, match="not a model onnxruntime opens"):
        open_session(tmp_path / "model.onnx")
    with pytest.raises(CorruptArtifact, match="not a tokenizer"):
        open_tokenizer(tmp_path / "model.onnx", 16)


def test_a_session_works_on_one_thread(shipped_kind: Callable[[Kind], Shipped]) -> None:
    session = open_session(shipped_kind("classes").export.path("model.onnx"))
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_asking_an_exported_folder_needs_neither_torch_nor_transformers() -> None:
    heavy = "torch,transformers,sklearn,scipy,seqeval,onnx,onnxscript,safetensors"
    modules = [
        "distill.shipping.cli",
        "distill.shipping.prediction",
        "distill.shipping.onnx_form",
        "distill.shipping.outcome",
    ]
    assert import_without(modules, absent=heavy) == ""


def test_it_answers_where_torch_is_absent(shipped_kind: Callable[[Kind], Shipped]) -> None:
    folder = shipped_kind("joint").export.directory
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'sklearn', 'scipy']));"
        f"sys.argv = ['transferset', 'predict', '{folder}', 'play a song', '--int8', '--json'];"
        "import contract.console, distill.cli; contract.console.run(distill.cli.app)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert '"label"' in ended.stdout


def test_without_onnxruntime_it_is_said_what_to_install(shipped_kind: Callable[[Kind], Shipped]) -> None:
    folder = shipped_kind("classes").export.directory
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['onnxruntime']));"
        f"sys.argv = ['transferset', 'predict', '{folder}', 'play a song', '--int8'];"
        "import contract.console, distill.cli; contract.console.run(distill.cli.app)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pip install 'transferset[onnx]'" in " ".join(ended.stderr.split())
