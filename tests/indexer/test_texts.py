"""The index's own copy of the passages gives them by row, in the order asked for, from any shard."""

import numpy as np
import pyarrow as pa
import pytest

from contract.artifact import open_artifact
from contract.draft import Plan, drafting
from contract.errors import BadInput
from contract.schemas import CORPUS
from indexer import texts as texts_module
from indexer.texts import Texts, write_texts
from tests.indexer.conftest import make_corpus, sentences


@pytest.fixture
def corpus(store, tmp_path, monkeypatch):
    monkeypatch.setattr(texts_module, "SHARD_ROWS", 25)
    return make_corpus(store, tmp_path, sentences(110))


def write(store, corpus, name, progress=lambda *_: None):
    directory = store.path("index", name)
    with drafting(directory, Plan("index", 1, {}, {})) as draft:
        write_texts(corpus, draft, progress=progress)
        draft.finish()
    return open_artifact(directory, "index", version=1)


def test_rows_come_in_the_order_asked_for_whatever_their_shard(store, corpus):
    texts = Texts.open(write(store, corpus, "i"))
    whole = pa.Table.from_batches(corpus.batches(), CORPUS)
    assert texts.rows == 110
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(0, 110, 60)
        assert texts.take(rows).equals(whole.take(pa.array(rows)))
    assert texts.take(np.arange(110)).equals(whole)
    assert texts.take(np.array([], np.int64)).schema == CORPUS


@pytest.mark.parametrize("row", [-1, 110])
def test_a_row_that_is_not_there_is_refused(store, corpus, row):
    with pytest.raises(BadInput, match="0 to 109"):
        Texts.open(write(store, corpus, "i")).take(np.array([3, row]))


def test_a_copy_stopped_after_each_shard_goes_on_to_the_same_id(store, corpus):
    def stop(stage, done, total):
        if done < total and f"texts-{(done - 1) // 25:05d}" not in stopped:
            stopped.append(f"texts-{(done - 1) // 25:05d}")
            raise InterruptedError

    stopped: list[str] = []
    for _ in range(10):
        try:
            again = write(store, corpus, "again", stop)
            break
        except InterruptedError:
            assert "again" not in store.names("index")
    assert len(stopped) == 4
    assert again.id == write(store, corpus, "whole").id
