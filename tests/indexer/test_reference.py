"""An index can be had that rank-bm25 itself searches, from the build to the hits."""

import numpy as np
import pytest

from contract.errors import BadInput
from indexer.bm25.reference import RankBM25
from indexer.build import add_to_index, build_index
from indexer.index import IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.conftest import make_corpus, sentences

QUERIES = ["play jazz in paris", "weather", "nothing of this", ""]


def settings(scorer):
    return IndexSettings(("lexical",), LexicalSettings(variant="bm25plus", k1=1.5, scorer=scorer))


def test_an_index_is_searched_by_rank_bm25_when_it_is_built_so(store, tmp_path):
    make_corpus(store, tmp_path, sentences(60))
    build_index(store, "fast", "c", settings("bulk"))
    build_index(store, "slow", "c", settings("rank-bm25"))
    fast, slow = (open_index(store, name).search(QUERIES, 20, "lexical") for name in ("fast", "slow"))
    np.testing.assert_allclose(fast.scores, slow.scores, atol=1e-4)
    index = open_index(store, "slow")
    index.search(["jazz"], 1, "lexical")
    assert isinstance(index._lexical, RankBM25)


def test_a_corpus_that_grows_too_large_for_it_is_refused_before_anything_is_made(store, tmp_path, monkeypatch):
    make_corpus(store, tmp_path, sentences(20))
    build_index(store, "slow", "c", settings("rank-bm25"))
    more = tmp_path / "more.jsonl"
    more.write_text('{"text": "one more"}\n')
    monkeypatch.setattr("indexer.lexical.MAX_ROWS_RANK_BM25", 20)
    with pytest.raises(BadInput, match="has 21 passages, rank-bm25 serves up to 20"):
        add_to_index(store, "slow", [str(more)])
    assert open_index(store, "slow").rows == 20
