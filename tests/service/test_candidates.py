"""Claims of the judgement: a near-duplicate is one by the definition, whichever pairs were looked at closely."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.schemas import CORPUS
from service.candidates import Judgement
from service.heldout import HeldoutSettings, folded, folded_words, hold_out
from service.selection import SelectionPolicy
from tests.service.fake_index import FakeIndex

texts = st.lists(st.sampled_from(["a", "A", "b", "c", "d", "e", "?"]), min_size=1, max_size=7).map(" ".join)
thresholds = st.none() | st.sampled_from([0.2, 0.5, 0.6, 0.75, 0.8, 1.0])


def is_near(passage: str, own: str, threshold: float | None) -> bool:
    """The definition: equal after folding, or a Jaccard of word sets that reaches the threshold."""
    one, other = {*folded_words(passage)}, {*folded_words(own)}
    common = len(one & other)
    alike = threshold is not None and common > 0 and common >= threshold * len(one | other)
    return folded(passage) == folded(own) or alike


@given(
    st.lists(texts, min_size=1, max_size=6, unique=True),
    st.lists(st.tuples(texts) | st.tuples(texts, texts), min_size=1, max_size=4),
    thresholds,
)
def test_near_duplicates_are_those_of_the_definition(
    passages: list[str], own: list[tuple[str, ...]], threshold: float | None
) -> None:
    table = FakeIndex(passages).passages(np.arange(len(passages)))
    assert table.schema == CORPUS
    pairs = [(u, p) for u in range(len(own)) for p in range(len(passages))]
    judgement = Judgement(SelectionPolicy(), hold_out([], HeldoutSettings()), own, threshold)
    utterance, passage = np.array([u for u, _ in pairs], np.int32), np.array([p for _, p in pairs])
    found = judgement.judge(table, utterance, passage)["near"].to_pylist()
    assert found == [any(is_near(passages[p], text, threshold) for text in own[u]) for u, p in pairs]
